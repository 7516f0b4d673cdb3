"""The VMs that a server serves."""

from __future__ import annotations

from collections.abc import Iterator

from avmm.plugin import ConfigError, NotThere, SteeredVm
from avmm_control.events import EventLog
from avmm_control.transcript import ConsoleLog


class ServedVm:
    """One VM, and what is recorded of it."""

    def __init__(self, vm: SteeredVm) -> None:
        self.vm, self.steering = vm, vm.steering
        self.events, self.console = EventLog(vm), ConsoleLog(vm)

    def close(self) -> None:
        """Record no more, and end every stream."""
        self.events.close()
        self.console.close()


class Hub:
    """VMs by name. Owned by the event loop."""

    def __init__(self) -> None:
        self._vms: dict[str, ServedVm] = {}

    def __iter__(self) -> Iterator[ServedVm]:
        return iter(tuple(self._vms.values()))

    def __len__(self) -> int:
        return len(self._vms)

    def add(self, vm: SteeredVm) -> None:
        """Serve `vm`; ConfigError when there is one of that name."""
        if vm.name in self._vms:
            raise ConfigError(f"a VM called {vm.name} is served there already", key="control")
        self._vms[vm.name] = ServedVm(vm)

    def remove(self, vm: SteeredVm) -> None:
        """Serve `vm` no more, and end its streams. Harmless when it is not served."""
        served = self._vms.get(vm.name)
        if served is not None and served.vm is vm:
            del self._vms[vm.name]
            served.close()

    def get(self, name: str) -> ServedVm:
        """The VM of that name; NotThere when there is none."""
        try:
            return self._vms[name]
        except KeyError:
            raise NotThere(f"there is no VM {name}") from None
