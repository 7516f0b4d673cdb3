"""The engine contract, on the Unicorn engine."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from avmm.plugin import ServedMmio, VcpuEngine
from avmm.testing import contract
from avmm.testing.contract import EngineContract, RecordedTraps
from tests.unit.unicorn import programs
from tests.unit.unicorn.guest import Guest

PROGRAMS = {
    contract.Guest.SPIN: programs.SPIN,
    contract.Guest.HALT: programs.WFI_LOOP,
    contract.Guest.MMIO: programs.CONTRACT_MMIO,
    contract.Guest.HYPERCALL: programs.CONTRACT_HVC,
}


class TestUnicornEngine(EngineContract):
    """Real machine code."""

    @pytest.fixture(autouse=True)
    def guests(self) -> Iterator[None]:
        self._guests: list[Guest] = []
        yield
        for guest in self._guests:
            guest.close()

    def make_vcpu(self, guest: contract.Guest, traps: RecordedTraps) -> VcpuEngine:
        machine = Guest(make_traps=lambda: traps)
        self._guests.append(machine)
        machine.start(PROGRAMS[guest], x1=contract.MMIO_ADDRESS)
        return machine.vcpu

    def served_mmio(self) -> ServedMmio | None:
        return self._guests[-1].engine.served_mmio
