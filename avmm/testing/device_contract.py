"""What every device promises."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from avmm.clock import VirtualClock
from avmm.console import Console
from avmm.device import Device, DeviceOptions, Width
from avmm.exits import HALTED
from avmm.irq import IrqLine
from avmm.lock import DeviceLock
from avmm.served import SERVES_READS, SERVES_WRITES, ServedRegister
from avmm.testing.scripted_vcpu import Script, ScriptedVcpu
from avmm.testing.steps import MmioRead, MmioWrite, Step
from avmm.testing.toy import DEVICES_BASE
from avmm.testing.vm import ScriptedVm


class RecordedIrqs:
    """An interrupt controller that records its inputs."""

    def __init__(self) -> None:
        self.levels: dict[int, bool] = {}
        self.changes: list[tuple[int, bool]] = []

    def set_spi_level(self, number: int, level: bool) -> None:
        self.levels[number] = level
        self.changes.append((number, level))


class DeviceContract:
    """Derive from it, call the class `Test...`, and define `make_device`."""

    volatile: Sequence[int] = ()
    """Offsets whose value is not the same after every reset (a clock's, say)."""
    seed = 1

    def make_device(self, options: DeviceOptions) -> Device:
        """The device, made anew from what its factory is given."""
        raise NotImplementedError

    @pytest.fixture
    def irqs(self) -> RecordedIrqs:
        return RecordedIrqs()

    @pytest.fixture
    def served(self) -> dict[int, ServedRegister]:
        """The registers that the device has served, by offset."""
        return {}

    @pytest.fixture
    def options(self, irqs: RecordedIrqs, served: dict[int, ServedRegister]) -> DeviceOptions:
        return self._options(irqs, served)

    def _options(self, irqs: RecordedIrqs, served: dict[int, ServedRegister]) -> DeviceOptions:
        def serve(offset: int) -> ServedRegister:
            return served.setdefault(offset, ServedRegister())

        lock = DeviceLock()
        irq = IrqLine(irqs, 3, lock)
        return DeviceOptions("device", VirtualClock(), lock, Console(lock), irq, serve_register=serve)

    def _registers(self, device: Device, options: DeviceOptions) -> list[int]:
        with options.lock:
            return [
                device.read(offset, Width.W32) & 0xFFFF_FFFF
                for offset in range(0, device.size - 3, 4)
                if offset not in self.volatile
            ]

    def _misuse(self, device: Device, options: DeviceOptions, accesses: int = 5_000) -> None:
        """Accesses no driver would make."""
        dice = random.Random(self.seed)
        with options.lock:
            for _ in range(accesses):
                self._access(device, dice)

    def _access(self, device: Device, dice: random.Random) -> None:
        width = dice.choice(list(Width))
        offset = dice.randrange(device.size - width + 1)
        if dice.random() < 0.5:
            assert isinstance(device.read(offset, width), int)
        else:
            device.write(offset, width, dice.choice((0, (1 << width * 8) - 1, dice.getrandbits(width * 8))))

    def test_it_has_a_size(self, options: DeviceOptions) -> None:
        assert self.make_device(options).size > 0

    @pytest.mark.parametrize("width", list(Width))
    def test_every_offset_can_be_read_at_every_width(self, options: DeviceOptions, width: Width) -> None:
        device = self.make_device(options)
        with options.lock:
            for offset in range(device.size - width + 1):
                assert isinstance(device.read(offset, width), int)

    @pytest.mark.parametrize("width", list(Width))
    @pytest.mark.parametrize("ones", [False, True])
    def test_every_offset_can_be_written_at_every_width(self, options: DeviceOptions, width: Width, ones: bool) -> None:
        device = self.make_device(options)
        with options.lock:
            for offset in range(device.size - width + 1):
                device.write(offset, width, (1 << width * 8) - 1 if ones else 0)

    def test_a_reset_brings_back_the_state_after_power_on(self, options: DeviceOptions, irqs: RecordedIrqs) -> None:
        device = self.make_device(options)
        before = self._registers(device, options)
        self._misuse(device, options)
        with options.lock:
            device.reset()
        assert not any(irqs.levels.values()), "an interrupt line is high after a reset"
        assert self._registers(device, options) == before

    def test_what_it_tells_of_served_reads_is_what_the_guest_would_read(
        self, options: DeviceOptions, served: dict[int, ServedRegister]
    ) -> None:
        device, dice = self.make_device(options), random.Random(self.seed)
        with options.lock:
            for _ in range(2_000):
                self._access(device, dice)
                for offset, register in served.items():
                    if register.words[0] & SERVES_READS:
                        assert device.read(offset, Width.W32) & 0xFFFF_FFFF == register.words[0] & 0xFFFF_FFFF

    def test_writes_that_it_has_coalesced_come_to_what_they_would_one_by_one(
        self, options: DeviceOptions, irqs: RecordedIrqs, served: dict[int, ServedRegister]
    ) -> None:
        device = self.make_device(options)
        if not served:
            return
        theirs = RecordedIrqs()
        others = self._options(theirs, {})
        twin = self.make_device(others)
        with options.lock, others.lock:
            for number in range(200):
                for one in (device, twin):
                    self._access(one, random.Random(number))
                for offset, register in served.items():
                    if not register.words[0] & SERVES_WRITES:
                        continue
                    before = [one.words[0] & ~SERVES_WRITES for one in served.values()], len(irqs.changes)
                    values = [number & 0xFF, 0xFFFF_FFFF, 0]
                    device.write_coalesced(offset, Width.W32, values)
                    after = [one.words[0] & ~SERVES_WRITES for one in served.values()], len(irqs.changes)
                    assert after == before, "the guest could have seen that a write waits"
                    for value in values:
                        twin.write(offset, Width.W32, value)
                    assert self._registers(device, options) == self._registers(twin, others)
        assert irqs.changes == theirs.changes

    def test_resetting_twice_is_resetting_once(self, options: DeviceOptions) -> None:
        device = self.make_device(options)
        with options.lock:
            device.reset()
            device.reset()

    def test_closed_it_gives_all_back_whether_it_was_used_or_not(self, options: DeviceOptions) -> None:
        self.make_device(options).close()
        device = self.make_device(options)
        self._misuse(device, options, 100)
        device.close()

    @pytest.mark.asyncio
    async def test_it_can_be_quiesced_at_any_time(self, options: DeviceOptions) -> None:
        device = self.make_device(options)
        for _ in range(2):
            await device.quiesce()
            await device.resume()
            self._misuse(device, options, 100)

    @pytest.mark.asyncio
    @pytest.mark.parametrize("kind", ["inline", "thread"])
    async def test_it_lives_in_a_vm_through_pause_reset_and_stop(self, kind: str) -> None:
        dice = random.Random(self.seed)

        def driver(cpu: ScriptedVcpu) -> Script:
            for _ in range(200):
                offset = dice.randrange(0, size - 7, 8)
                yield MmioRead(DEVICES_BASE + offset, dice.choice((1, 2, 4, 8)))
                yield MmioWrite(DEVICES_BASE + offset, dice.getrandbits(32))
            cpu.write_register("x0", 1)
            while True:
                yield HALTED

        async with ScriptedVm(
            driver, slot="inline" if kind == "inline" else "thread", devices={"device": self.make_device}
        ) as vm:
            (region,) = vm.bus
            size = region.device.size
            await vm.start()
            await vm.until(lambda: vm.guest().read_register("x0"))
            async with vm.paused():
                accesses = region.reads + region.writes
                await vm.passes()
                assert region.reads + region.writes == accesses
            vm.bus.reset()
            assert not region.quarantined, "the device raised"
            await vm.stop()
            assert region.reads >= 200

    @pytest.mark.asyncio
    async def test_broken_it_is_taken_out_and_the_vm_goes_on(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def broken(device: Device, offset: int, width: Width) -> int:
            raise OSError("broken by the test")

        program: list[Step] = [MmioRead(DEVICES_BASE), MmioWrite(DEVICES_BASE, 1)]
        async with ScriptedVm(program, devices={"device": self.make_device}) as vm:
            (region,) = vm.bus
            monkeypatch.setattr(type(region.device), "read", broken)
            await vm.start()
            await vm.until(lambda: region.quarantined and vm.vcpus[0].asleep)
            async with vm.paused():
                assert region.faults == 1
            assert vm.state() == "running"
