"""A console device as a table of a machine's description: `[devices.NAME]` with `kind = "virtio-console"`."""

from __future__ import annotations

from collections.abc import Mapping

from avmm.plugin import Device, DeviceOptions, DeviceTable, OptionTable
from avmm_virtio.chardev.base import Chardev, OutputChardev
from avmm_virtio.chardev.file import FileChardev
from avmm_virtio.chardev.stream import StreamChardev
from avmm_virtio.chardev.vm_console import ConsoleChardev
from avmm_virtio.console.device import MOST_PORTS, VirtioConsole
from avmm_virtio.console.port import Port
from avmm_virtio.console.testdev import TestDevice
from avmm_virtio.legacy import LegacyVirtioMmio
from avmm_virtio.mmio import VirtioMmio
from avmm_virtio.one_peer import StreamClient, StreamServer
from avmm_virtio.sockets import listen, parse_address

_KEYS = ("hvc", "ports", "max_ports", "reconnect", "testdev")
_SPECS = "console, stream:ADDRESS, listen:ADDRESS, file:PATH or none"
_NAME_BYTES = 255


def create_console(options: DeviceOptions) -> Device:
    """The factory behind the name `virtio-console`; ConfigError names the key that is wrong.

    `hvc`: what port 0 leads to, a console in the guest. `ports`: a table of further ports by name, each a string likewise or
    `{to = ..., hvc = true}`. They lead to the VM's `console`, to `stream:unix:PATH` or `stream:tcp:HOST:PORT` as a client, to
    `listen:...` as a server, to `file:PATH`, or to `none`; in Python also to a `Chardev`. `max_ports`: how many there may be,
    number 0 included, for ports that come later; up to MOST_PORTS. `reconnect` (1): seconds until a `stream` tries again, 0 for
    never. `testdev`: true for a test device (see `TestDevice`), and nothing else.
    """
    table = _Table(options)
    if table.flag("testdev", default=False):
        return LegacyVirtioMmio(VirtioConsole({0: Port(TestDevice(options.shut_down))}), options)
    ports = table.ports()
    max_ports = table.integer("max_ports", max(ports, default=0) + 1, MOST_PORTS) or max(ports, default=0) + 1
    return VirtioMmio(VirtioConsole(ports, max_ports=max_ports), options)


class _Table(DeviceTable):
    """The options of one console device."""

    def __init__(self, options: DeviceOptions) -> None:
        super().__init__(options, "virtio-console", _KEYS)
        self._console = options.console
        if not self.values.keys() & {"hvc", "ports", "max_ports", "testdev"}:
            raise self.error("hvc", f"missing: {_SPECS}; or give it `ports`, or make it a `testdev`")
        if self.flag("testdev", default=False) and len(self.values) > 1:
            raise self.error("testdev", "a test device has no other settings")

    def ports(self) -> dict[int, Port]:
        """The ports by their numbers."""
        ports = {}
        if "hvc" in self.values:
            ports[0] = Port(self._chardev("hvc", self.values["hvc"]), hvc=True)
        table = self.values.get("ports", {})
        if not isinstance(table, Mapping) or len(table) >= MOST_PORTS:
            raise self.error("ports", f"is not a table of up to {MOST_PORTS - 1} ports by name")
        for number, (name, entry) in enumerate(table.items(), 1):
            ports[number] = self._port(f"ports.{name}", name, entry)
        return ports

    def _port(self, key: str, name: str, entry: object) -> Port:
        if not name or "\0" in name or len(name.encode()) > _NAME_BYTES:
            raise self.is_not("ports", name, f"a port's name: 1 to {_NAME_BYTES} bytes")
        hvc = False
        if isinstance(entry, Mapping):
            port = OptionTable(entry, f"devices.{self.name}.{key}", "a port", ("to", "hvc"))
            entry, hvc = entry.get("to"), port.flag("hvc", default=False)
        return Port(self._chardev(key, entry), name=name, hvc=hvc)

    def _chardev(self, key: str, spec: object) -> Chardev:
        """The host's end that `spec` asks for."""
        if isinstance(spec, Chardev):
            return spec
        kind, _, rest = spec.partition(":") if isinstance(spec, str) else ("", "", "")
        match kind:
            case "console" if not rest:
                return ConsoleChardev(self._console)
            case "none" if not rest:
                return OutputChardev()
            case "stream" | "listen":
                return self._stream(key, kind, rest)
            case "file" if rest:
                return self._file(key, rest)
            case _:
                raise self.is_not(key, spec, _SPECS)

    def _stream(self, key: str, kind: str, rest: str) -> Chardev:
        try:
            address = parse_address(rest)
        except ValueError as error:
            raise self.error(key, str(error)) from None
        if kind == "stream":
            return StreamChardev(f"{self.name}.{key}", StreamClient(address, reconnect_s=self.seconds("reconnect", 1.0)))
        try:
            return StreamChardev(f"{self.name}.{key}", StreamServer(listen(address)))
        except OSError as error:
            raise self.error(key, f"cannot listen at {address}: {error.strerror or error}") from None

    def _file(self, key: str, path: str) -> Chardev:
        try:
            return FileChardev(f"{self.name}.{key}", open(path, "ab", buffering=0))
        except (OSError, ValueError) as error:
            raise self.error(key, f"cannot write {path}: {getattr(error, 'strerror', None) or error}") from None
