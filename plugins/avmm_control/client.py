"""A client of the control API, for asyncio.

async with ControlClient("/run/user/1000/avmm/vm0-4711.sock") as control:
    vm = control.vm("vm0")
    await vm.pause()
    print(await vm.registers(0))
"""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

import httpx
from pydantic import TypeAdapter

from avmm.plugin import AvmmError, DeviceSnapshot, VmSnapshot
from avmm_control.address import TcpAddress, UnixAddress, parse_address
from avmm_control.limits import MIB
from avmm_control.models import Stepped, VmDetails, VmSummary
from avmm_control.sse import StreamEvent, decode

T = TypeVar("T")
TIMEOUT_S = 60.0


class ControlError(AvmmError):
    """A request that was not carried out: `status` is the HTTP status, or 0 when the server could not be reached."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status, self.detail = status, detail


class ControlClient:
    """A connection to one control server. An async context manager. ControlError says why a request was not carried out."""

    def __init__(self, address: Path | str, *, token: str | None = None, timeout_s: float = TIMEOUT_S) -> None:
        """`address`: the path of a Unix socket, or `HOST:PORT`, which needs the server's `token`."""
        place = parse_address(str(address), "")
        transport, base = None, f"http://{place}"
        if isinstance(place, UnixAddress):
            transport, base = httpx.AsyncHTTPTransport(uds=str(place.path)), "http://localhost"
        elif not place.host:
            base = f"http://{TcpAddress('127.0.0.1', place.port)}"
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        self.address = str(address)
        self._http = httpx.AsyncClient(base_url=base, transport=transport, headers=headers, timeout=timeout_s, trust_env=False)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def vms(self) -> list[VmSummary]:
        """The VMs of this server."""
        return await self.get("/v1/vms", list[VmSummary])

    def vm(self, name: str) -> VmClient:
        """The VM of that name. Nothing is asked of the server yet."""
        return VmClient(self, name)

    async def openapi(self) -> dict[str, Any]:
        """The OpenAPI document."""
        return await self.get("/openapi.json", dict[str, Any])

    # For VmClient.

    async def get(self, path: str, kind: type[T], **parameters: str | int) -> T:
        """GET `path`, and what it answers."""
        return TypeAdapter(kind).validate_json((await self.send("GET", path, params=parameters)).content)

    async def send(self, method: str, path: str, **further: Any) -> httpx.Response:
        """Carry out a request; ControlError unless it succeeds."""
        try:
            response = await self._http.request(method, path, **further)
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error
        _check(response)
        return response

    async def stream(self, path: str, last: str | None, **parameters: str) -> AsyncIterator[StreamEvent]:
        """GET a stream of events."""
        headers = {} if last is None else {"Last-Event-ID": last}
        timeout = httpx.Timeout(TIMEOUT_S)
        try:
            async with self._http.stream("GET", path, params=parameters, headers=headers, timeout=timeout) as response:
                if response.is_error:
                    await response.aread()
                _check(response)
                async for event in decode(response.aiter_lines()):
                    yield event
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error

    def _unreachable(self, error: httpx.HTTPError) -> ControlError:
        return ControlError(0, f"{self.address}: {str(error) or type(error).__name__}")


class VmClient:
    """One VM of a control server. What its state does not allow is a ControlError (409)."""

    def __init__(self, control: ControlClient, name: str) -> None:
        self._control, self.name = control, name
        self._path = f"/v1/vms/{name}"

    async def inspect(self) -> VmDetails:
        """The VM, whole."""
        return await self._control.get(self._path, VmDetails)

    async def snapshot(self) -> VmSnapshot:
        """How it stands now."""
        return await self._control.get(f"{self._path}/snapshot", VmSnapshot)

    async def devices(self) -> list[DeviceSnapshot]:
        """The devices on its bus."""
        return await self._control.get(f"{self._path}/devices", list[DeviceSnapshot])

    # Life.

    async def pause(self) -> VmSummary:
        """Pause it: when this returns, every vCPU is outside the guest."""
        return await self._live("pause")

    async def resume(self) -> VmSummary:
        """Let it go on."""
        return await self._live("resume")

    async def reset(self) -> VmSummary:
        """Reset it."""
        return await self._live("reset")

    async def power_off(self) -> VmSummary:
        """Switch it off, at once."""
        return await self._live("power-off")

    async def press_power_button(self) -> VmSummary:
        """Ask its guest to shut down; a ControlError (404) when it has no power button."""
        return await self._live("power-button")

    async def stop(self) -> VmSummary:
        """End it from the host's side."""
        return await self._live("stop")

    async def _live(self, what: str) -> VmSummary:
        response = await self._control.send("POST", f"{self._path}/{what}")
        return VmSummary.model_validate_json(response.content)

    async def step(self, instructions: int, vcpu: int | None = None) -> list[Stepped]:
        """Have it, paused, execute so many instructions: one vCPU, or each that is powered on, one after the other."""
        body = {"instructions": instructions, "vcpu": vcpu}
        response = await self._control.send("POST", f"{self._path}/step", json=body)
        return TypeAdapter(list[Stepped]).validate_json(response.content)

    # Interrupts.

    async def irq(self, number: int, action: Literal["pulse", "raise", "lower"] = "pulse") -> None:
        """Drive shared input `number` (0-based) of the interrupt controller, or pulse it."""
        await self._control.send("POST", f"{self._path}/irqs", json={"irq": number, "action": action})

    # Registers, not while it runs.

    async def registers(self, vcpu: int) -> dict[str, int]:
        """All registers of a vCPU by name."""
        found = await self._control.get(f"{self._path}/vcpus/{vcpu}/registers", dict[str, str])
        return {name: int(value, 0) for name, value in found.items()}

    async def register(self, vcpu: int, name: str) -> int:
        """One register of a vCPU."""
        found = await self._control.get(f"{self._path}/vcpus/{vcpu}/registers/{name}", dict[str, str])
        return int(found["value"], 0)

    async def set_register(self, vcpu: int, name: str, value: int) -> None:
        """Set a register of a vCPU, to 64 bits at most."""
        await self._control.send("PUT", f"{self._path}/vcpus/{vcpu}/registers/{name}", json={"value": hex(value)})

    # Memory.

    async def read_memory(self, address: int, size: int) -> bytes:
        """`size` bytes of guest memory at guest physical `address`."""
        parts = []
        for offset in range(0, size, MIB):
            parameters = {"address": hex(address + offset), "length": min(MIB, size - offset)}
            parts.append((await self._control.send("GET", f"{self._path}/memory", params=parameters)).content)
        return b"".join(parts)

    async def write_memory(self, address: int, data: bytes) -> None:
        """Store `data` at guest physical `address`."""
        for offset in range(0, len(data), MIB):
            parameters = {"address": hex(address + offset)}
            await self._control.send("PUT", f"{self._path}/memory", params=parameters, content=data[offset : offset + MIB])

    # Device attributes, by name or number.

    async def attributes(self, vcpu: int) -> dict[str, list[str]]:
        """The names of a vCPU's device attributes, by group."""
        return await self._control.get(f"{self._path}/vcpus/{vcpu}/attributes", dict[str, list[str]])

    async def attribute(self, vcpu: int, group: str | int, attribute: str | int) -> int:
        """The value of a device attribute of a vCPU."""
        found = await self._control.get(f"{self._path}/vcpus/{vcpu}/attributes/{group}/{attribute}", dict[str, str])
        return int(found["value"], 0)

    async def set_attribute(self, vcpu: int, group: str | int, attribute: str | int, value: int | None = None) -> None:
        """Set a device attribute of a vCPU."""
        body = {"value": None if value is None else hex(value)}
        await self._control.send("PUT", f"{self._path}/vcpus/{vcpu}/attributes/{group}/{attribute}", json=body)

    # Streams.

    def events(self, kinds: Iterable[str] = ("state",), last: str | None = None) -> AsyncIterator[StreamEvent]:
        """What happens in it: events of `kinds` (`state`, `exit`, `kick`, `request`, `handled`), until it is over.

        `last` is the id of an event to go on behind, of an earlier stream of the same kinds.
        """
        return self._control.stream(f"{self._path}/events", last, kinds=",".join(kinds))

    async def console(self) -> AsyncIterator[bytes]:
        """What its console writes, from the last 64 KiB on, until it is over."""
        async for event in self._control.stream(f"{self._path}/console", None):
            if event.name == "output":
                yield base64.b64decode(event.data["data"])

    async def type(self, data: bytes) -> None:
        """Type on its console, up to 64 KiB at once: all of it, or a ControlError (429) when the guest does not read."""
        await self._control.send("POST", f"{self._path}/console", content=data)


def _check(response: httpx.Response) -> None:
    if response.is_error:
        try:
            detail = str(response.json()["detail"])
        except (ValueError, KeyError, TypeError):
            detail = f"{response.status_code} {response.reason_phrase}"
        raise ControlError(response.status_code, detail)


__all__ = ["ControlClient", "ControlError", "Stepped", "StreamEvent", "VmClient", "VmDetails", "VmSummary"]
