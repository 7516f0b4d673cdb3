"""What a VM's devices do on the event loop, beside their registers on the bus."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine

from avmm.bus import Bus, Region
from avmm.errors import first_failure
from avmm.lock import DeviceLock


class DeviceTasks:
    """The coroutines of all devices on one bus. A device that raises is quarantined. Owned by the event loop."""

    def __init__(self, bus: Bus, lock: DeviceLock) -> None:
        self._bus, self._lock = bus, lock

    def start(self, group: asyncio.TaskGroup, name: str) -> list[asyncio.Task[None]]:
        """Have every device run, in a task called after it and after `name`, until that is cancelled."""
        return [
            group.create_task(self._guarded(region, region.device.run()), name=f"{name}-{region.name}") for region in self._bus
        ]

    async def quiesce(self) -> None:
        """Bring every device to rest."""
        for region in self._bus:
            if not region.quarantined:
                await self._guarded(region, region.device.quiesce())

    async def resume(self) -> None:
        """Let every device go on."""
        for region in self._bus:
            if not region.quarantined:
                await self._guarded(region, region.device.resume())

    async def _guarded(self, region: Region, call: Coroutine[object, object, None]) -> None:
        try:
            await call
        except Exception as error:  # noqa: BLE001 - the plugin boundary
            cause = first_failure(error) if isinstance(error, ExceptionGroup) else error
            with self._lock:
                self._bus.quarantine(region, cause)
