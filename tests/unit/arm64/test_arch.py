"""The machine as a whole: its description's mistakes, its places, its traps and its interrupt pin."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import cast

import fdt
import pytest

from avmm.plugin import (
    ArchOptions,
    BootImage,
    ConfigError,
    ExitReason,
    ExternalAbort,
    Firmware,
    LoadError,
    MemorySlot,
    Request,
    VmServices,
)
from avmm_arm64 import create_arch
from avmm_arm64.requests import ArmRequest
from tests.unit.arm64.fakes import FakeMachine, FakeVm
from tests.unit.arm64.gic_bench import FRAME, IGROUPR, ISENABLER, ISPENDR, SGI_BASE

GICD, GICR = 0x0800_0000, 0x080A_0000
NOWHERE = 0x0700_0000


class TestDescription:
    def make(self, **changes: object) -> None:
        values: dict[str, object] = {"cpu": "cortex-a57", "vcpus": 1, "memory_bytes": 1 << 20, "irqchip": "", "options": {}}
        values.update(changes)
        create_arch(cast(VmServices, FakeVm()), ArchOptions(**values))  # type: ignore[arg-type]

    @pytest.mark.parametrize("cpu", ["cortex-a57", "cortex-a72", "max"])
    @pytest.mark.parametrize(("irqchip", "vcpus"), [("", 64), ("gicv3", 64), ("3", 64), ("gicv2", 8), ("2", 8)])
    def test_what_there_is(self, cpu: str, irqchip: str, vcpus: int) -> None:
        self.make(cpu=cpu, irqchip=irqchip, vcpus=vcpus, memory_bytes=8 << 30)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"cpu": "cortex-m3"}, "cpu: 'cortex-m3' is not one of cortex-a57, cortex-a72, max"),
            ({"irqchip": "gicv4"}, "irqchip: 'gicv4' is not one of gicv3 (or 3), gicv2 (or 2)"),
            ({"irqchip": "2", "vcpus": 9}, "vcpus: 9 is not from 1 to 8"),
            ({"vcpus": 65}, "vcpus: 65 is not from 1 to 64"),
            ({"memory_bytes": (8 << 30) + 4096}, "memory: 8589938688 bytes are more than 8G"),
            (
                {"options": {"gic": 3}},
                "arch.gic: no such setting of an arm64 machine; "
                "there are virtual_timer_ppi, physical_timer_ppi, pmu, pmu_counters, pmu_irq",
            ),
            ({"options": {"virtual_timer_ppi": 15}}, "arch.virtual_timer_ppi: 15 is not a whole number from 16 to 31"),
            ({"options": {"physical_timer_ppi": True}}, "arch.physical_timer_ppi: true is not a whole number from 16 to 31"),
        ],
    )
    def test_what_there_is_not(self, change: dict[str, object], message: str) -> None:
        with pytest.raises(ConfigError) as error:
            self.make(**change)
        assert str(error.value) == message

    def test_timers_with_one_interrupt_between_them_do_not_run(self) -> None:
        FakeMachine(virtual_timer_ppi=16, physical_timer_ppi=31).arch.check()
        with pytest.raises(ConfigError, match="both timers have private interrupt 30"):
            FakeMachine(virtual_timer_ppi=30).arch.check()


class TestPlaces:
    def test_defaults(self, machine: FakeMachine) -> None:
        assert [(place.name, place.kind, place.address, place.irq) for place in machine.arch.default_devices()] == [
            ("uart0", "pl011", 0x0900_0000, 1),
            ("rtc0", "pl031", 0x0901_0000, 2),
        ]

    def test_left_open(self, machine: FakeMachine) -> None:
        machine.arch.default_devices()
        chosen = [
            machine.arch.place(name, kind, None, None)
            for name, kind in (
                ("a", "virtio-blk"),
                ("b", "virtio-net"),
                ("c", "pl031"),
                ("d", "doorbell"),
                ("e", "pl011"),
                ("f", "pl061"),
            )
        ]
        assert [(place.address, place.irq) for place in chosen] == [
            (0x0A00_0000, 16),
            (0x0A00_0200, 17),
            (0x0C00_0000, 112),
            (0x0C01_0000, 113),
            (0x0C02_0000, 114),
            (0x0903_0000, 7),
        ]

    def test_said(self, machine: FakeMachine) -> None:
        place = machine.arch.place("bell", "doorbell", 0x0D00_0000, 99)
        assert (place.address, place.irq) == (0x0D00_0000, 99)

    def test_the_default_can_be_replaced_by_name(self, machine: FakeMachine) -> None:
        machine.arch.default_devices()
        assert machine.arch.place("uart0", "pl011", None, 1).irq == 1

    @pytest.mark.parametrize(
        ("address", "irq", "message"),
        [
            (None, 256, "devices.x.irq: 256 is not a shared interrupt: 0 to 255"),
            (None, 1, "devices.x.irq: shared interrupt 1 belongs to devices.uart0"),
            (0x4000_0000, 5, r"devices.x.base: 0x40000000 lies in memory \(0x40000000-0x40ffffff\)"),
        ],
    )
    def test_mistakes(self, machine: FakeMachine, address: int | None, irq: int, message: str) -> None:
        machine.arch.default_devices()
        with pytest.raises(ConfigError, match=message):
            machine.arch.place("x", "doorbell", address, irq)

    def test_no_room(self, machine: FakeMachine) -> None:
        for n in range(32):
            machine.arch.place(f"disk{n}", "virtio-blk", None, None)
        with pytest.raises(ConfigError, match=r"devices.disk32: no room for another virtio-blk"):
            machine.arch.place("disk32", "virtio-blk", None, None)


class TestMmio:
    def test_the_gic_is_on_the_bus(self, machine: FakeMachine) -> None:
        traps = machine.parts[0].traps
        traps.mmio_write(GICD + ISENABLER + 4, 4, 0xF0)
        assert traps.mmio_read(GICD + ISENABLER + 4, 4) == 0xF0
        assert traps.mmio_read(GICR + FRAME + 8, 8) == 1 << 32 | 1 << 8 | 1 << 4
        counts = machine.parts[0].exits_by_reason
        assert (counts[ExitReason.MMIO_READ], counts[ExitReason.MMIO_WRITE]) == (2, 1)

    @pytest.mark.parametrize("address", [NOWHERE, 0, GICR + 2 * FRAME, 0x4100_0000, (1 << 48) - 1])
    def test_nothing_there_is_an_external_abort_and_counted(self, machine: FakeMachine, address: int) -> None:
        with pytest.raises(ExternalAbort):
            machine.parts[0].mmio_read(address, 4)
        with pytest.raises(ExternalAbort):
            machine.parts[0].mmio_write(address, 1, 7)
        assert [kind for kind, _ in machine.vm.faults] == ["mmio", "mmio"]


class TestInterruptPin:
    @pytest.fixture
    def ready(self, machine: FakeMachine) -> FakeMachine:
        """SGI 1 enabled on both vCPUs, sent by ICC_SGI1R_EL1."""
        machine.vm.bus.write(GICD, 4, 0b11)
        for index in (0, 1):
            machine.vm.bus.write(GICR + index * FRAME + SGI_BASE + IGROUPR, 4, 0xFFFF_FFFF)
            machine.vm.bus.write(GICR + index * FRAME + SGI_BASE + ISENABLER, 4, 1 << 1)
            machine.msr(index, "ICC_PMR_EL1", 0xFF)
            machine.msr(index, "ICC_IGRPEN1_EL1", 1)
        return machine

    def test_its_own_thread_drives_it_in_place(self, ready: FakeMachine) -> None:
        ready.vm.fakes[0].own_thread = True
        ready.msr(0, "ICC_SGI1R_EL1", 1 << 24 | 1)
        assert ready.engines[0].irq_changes == [True]
        assert ready.mrs(0, "ICC_IAR1_EL1") == 1
        assert ready.engines[0].irq_changes == [True, False]
        assert ready.vm.fakes[0].kicked == []

    def test_another_thread_asks_for_a_flush(self, ready: FakeMachine) -> None:
        ready.vm.fakes[0].own_thread = True
        ready.msr(0, "ICC_SGI1R_EL1", 1 << 24 | 2)
        assert ready.vm.fakes[1].kicked == [ArmRequest.IRQ_PENDING]
        assert ready.engines[1].irq_changes == [], "the engine belongs to the vCPU's own thread"
        ready.parts[1].flush_hwstate()
        assert ready.engines[1].irq_line

    def test_another_thread_reaches_the_guest_where_the_engine_can(self, ready: FakeMachine) -> None:
        ready.parts[1].flush_hwstate()
        ready.engines[1].live_pins = ready.vm.fakes[1].in_guest = True
        ready.msr(0, "ICC_SGI1R_EL1", 1 << 24 | 2)
        assert ready.engines[1].irq_changes == [False, True]
        ready.vm.bus.write(GICR + FRAME + SGI_BASE + 0x280, 4, 1 << 1)
        assert ready.engines[1].irq_changes == [False, True, False]
        assert ready.vm.fakes[1].kicked == []
        assert ready.parts[1].interrupts_posted == 2

    def test_and_asks_for_a_flush_where_the_vcpu_is_outside(self, ready: FakeMachine) -> None:
        ready.engines[1].live_pins = True
        ready.msr(0, "ICC_SGI1R_EL1", 1 << 24 | 2)
        assert ready.vm.fakes[1].kicked == [ArmRequest.IRQ_PENDING]
        assert ready.engines[1].irq_changes == []

    def test_a_line_that_falls_kicks_nobody(self, ready: FakeMachine) -> None:
        ready.msr(0, "ICC_SGI1R_EL1", 1 << 24 | 2)
        ready.parts[1].flush_hwstate()
        ready.vm.bus.write(GICR + FRAME + SGI_BASE + 0x280, 4, 1 << 1)
        assert ready.vm.fakes[1].kicked == [ArmRequest.IRQ_PENDING]
        ready.parts[1].flush_hwstate()
        assert not ready.engines[1].irq_line

    def test_a_flush_without_a_change_tells_the_engine_nothing(self, ready: FakeMachine) -> None:
        for _ in range(3):
            ready.parts[0].flush_hwstate()
        assert ready.engines[0].irq_changes == [False]

    def test_a_reset_tells_the_engine_anew(self, ready: FakeMachine) -> None:
        ready.parts[0].flush_hwstate()
        ready.parts[0].reset()
        ready.parts[0].flush_hwstate()
        assert ready.engines[0].irq_changes == [False, False]

    def test_runnable_with_an_interrupt_whatever_the_guest_masks(self, ready: FakeMachine) -> None:
        assert not ready.parts[1].runnable()
        ready.msr(0, "ICC_SGI1R_EL1", 1 << 24 | 2)
        assert ready.parts[1].runnable()
        assert not ready.parts[0].runnable()

    def test_runnable_with_a_group_0_interrupt(self, ready: FakeMachine) -> None:
        ready.msr(0, "ICC_IGRPEN0_EL1", 1)
        ready.vm.bus.write(GICR + SGI_BASE + IGROUPR, 4, 0)
        ready.vm.bus.write(GICR + SGI_BASE + ISPENDR, 4, 1 << 1)
        assert ready.parts[0].runnable()
        ready.parts[0].flush_hwstate()
        assert (ready.engines[0].irq_line, ready.engines[0].fiq_line) == (False, True), "an FIQ, not an IRQ"

    def test_in_the_vcpus_own_thread_a_group_0_interrupt_drives_the_fiq_pin_at_once(self, ready: FakeMachine) -> None:
        ready.vm.fakes[0].own_thread = True
        ready.vm.bus.write(GICR + SGI_BASE + IGROUPR, 4, 0)
        ready.msr(0, "ICC_IGRPEN0_EL1", 1)
        ready.msr(0, "ICC_SGI0R_EL1", 1 << 24 | 1)
        assert ready.engines[0].fiq_line
        assert ready.mrs(0, "ICC_IAR0_EL1") == 1
        assert (ready.engines[0].fiq_line, ready.engines[0].irq_changes) == (False, [False])

    def test_another_thread_asks_for_a_flush_for_an_fiq_too(self, ready: FakeMachine) -> None:
        ready.vm.fakes[0].own_thread = True
        ready.vm.bus.write(GICR + FRAME + SGI_BASE + IGROUPR, 4, 0)
        ready.msr(1, "ICC_IGRPEN0_EL1", 1)
        ready.msr(0, "ICC_SGI0R_EL1", 1 << 24 | 2)
        assert ready.vm.fakes[1].kicked == [ArmRequest.IRQ_PENDING]
        assert not ready.engines[1].fiq_line
        ready.parts[1].flush_hwstate()
        assert ready.engines[1].fiq_line

    def test_a_reset_takes_an_fiq_back_from_the_engine(self, ready: FakeMachine) -> None:
        ready.vm.bus.write(GICR + SGI_BASE + IGROUPR, 4, 0)
        ready.msr(0, "ICC_IGRPEN0_EL1", 1)
        ready.msr(0, "ICC_SGI0R_EL1", 1 << 24 | 1)
        ready.parts[0].flush_hwstate()
        assert ready.engines[0].fiq_line
        ready.parts[0].reset()
        ready.parts[0].flush_hwstate()
        assert not ready.engines[0].fiq_line

    def test_not_runnable_for_a_timer_that_the_gic_does_not_let_through(self, ready: FakeMachine) -> None:
        ready.msr(0, "CNTV_CVAL_EL0", 0)
        ready.msr(0, "CNTV_CTL_EL0", 1)
        assert not ready.parts[0].runnable()
        assert not ready.parts[0].pending_timer()

    def test_a_timer_kicks_its_vcpu_when_it_is_due(self, ready: FakeMachine) -> None:
        ready.vm.bus.write(GICR + SGI_BASE + ISENABLER, 4, 1 << 27)
        ready.msr(0, "CNTV_TVAL_EL0", 1000)
        ready.msr(0, "CNTV_CTL_EL0", 1)
        ready.vm.clock.advance(999 * 16)
        assert ready.vm.fakes[0].kicked == []
        ready.vm.clock.advance(32)
        assert ready.vm.fakes[0].kicked == [ArmRequest.IRQ_PENDING]
        assert ready.parts[0].runnable()


class TestRequests:
    def test_the_kernels_numbers(self) -> None:
        assert {request.name: int(request) for request in ArmRequest} == {"IRQ_PENDING": 9, "VCPU_RESET": 10, "RELOAD_PMU": 13}

    def test_reset_is_handled_before_the_interrupt(self, machine: FakeMachine) -> None:
        assert list(machine.arch.handlers()) == [ArmRequest.VCPU_RESET, ArmRequest.IRQ_PENDING, ArmRequest.RELOAD_PMU]

    def test_a_tlb_flush_goes_to_all_others(self) -> None:
        machine = FakeMachine(vcpus=3)
        machine.parts[1].tlb_flush_all()
        assert [vcpu.kicked for vcpu in machine.vm.fakes] == [[Request.TLB_FLUSH], [], [Request.TLB_FLUSH]]

    def test_a_tlb_flush_that_is_pending_serves_the_next_too(self) -> None:
        machine = FakeMachine(vcpus=3)
        machine.vm.fakes[0].kicked.append(Request.TLB_FLUSH)
        machine.parts[1].tlb_flush_all()
        assert [vcpu.kicked for vcpu in machine.vm.fakes] == [[Request.TLB_FLUSH], [], [Request.TLB_FLUSH]]


class TestBootMistakes:
    def test_no_room(self, machine: FakeMachine) -> None:
        with pytest.raises(LoadError, match="guest memory is too small: the image ends at 0x40fffff0"):
            machine.arch.boot(BootImage(0x4008_0000, 0x40FF_FFF0), [])

    @pytest.fixture
    def initrd(self, tmp_path: Path) -> Path:
        return tmp_path / "initrd"

    def refused(self, machine: FakeMachine, initrd: Path) -> str:
        """The one line that says why."""
        with pytest.raises(LoadError) as error:
            machine.arch.boot(BootImage(0x4008_0000, 0x4010_0000, initrd=initrd), [])
        return str(error.value).removeprefix(f"{initrd}: ")

    def test_no_initrd(self, machine: FakeMachine, initrd: Path) -> None:
        assert self.refused(machine, initrd) == "No such file or directory"

    def test_an_initrd_that_is_no_file(self, machine: FakeMachine, initrd: Path) -> None:
        os.mkfifo(initrd)
        assert self.refused(machine, initrd) == "is not a regular file"

    def test_an_empty_initrd(self, machine: FakeMachine, initrd: Path) -> None:
        initrd.touch()
        assert self.refused(machine, initrd) == "is empty"

    def test_an_initrd_that_does_not_fit(self, machine: FakeMachine, initrd: Path) -> None:
        with initrd.open("wb") as file:
            file.truncate(64 << 30)
        assert self.refused(machine, initrd) == (
            "0x1000000000 bytes do not fit into guest memory between the image's end at 0x40100000"
            " and the device tree at 0x40fff000"
        )

    @pytest.mark.parametrize(("spare", "fits"), [(0, True), (1, False)])
    def test_an_initrd_that_fits_to_the_page(self, machine: FakeMachine, initrd: Path, spare: int, fits: bool) -> None:
        with initrd.open("wb") as file:
            file.truncate(0x40FF_F000 - 0x4010_0000 + spare)
        if fits:
            machine.arch.boot(BootImage(0x4008_0000, 0x4010_0000, initrd=initrd), [])
        else:
            assert "do not fit" in self.refused(machine, initrd)

    def test_a_device_tree_that_grows_too_large(self, machine: FakeMachine) -> None:
        with pytest.raises(LoadError) as error:
            machine.arch.boot(BootImage(0x4008_0000, 0x4010_0000, "x" * (2 << 20)), [])
        assert re.fullmatch(
            r"the device tree has 20\d{5} bytes, the guest's command line being 2097152 of them;"
            r" no more than 2097152 are allowed",
            str(error.value),
        )


class TestFirmware:
    """A machine that starts from flash, as QEMU's `virt` does."""

    FIRMWARE = Firmware(Path("code"), Path("vars"), Path("kernel"), Path("initrd"), "quiet")

    def test_what_it_has(self) -> None:
        machine = FakeMachine(firmware=self.FIRMWARE)
        _, _, code, variables, fw_cfg = machine.arch.default_devices()
        assert (code.kind, code.address, code.irq) == ("cfi-flash", 0, None)
        assert code.options == {"file": Path("code"), "read_only": True}
        assert (variables.kind, variables.address, variables.options) == ("cfi-flash", 0x0400_0000, {"file": Path("vars")})
        assert (fw_cfg.kind, fw_cfg.address, fw_cfg.irq) == ("fw-cfg", 0x0902_0000, None)
        given = {"kernel": Path("kernel"), "initrd": Path("initrd"), "append": "quiet", "vcpus": 2}
        assert fw_cfg.options == given

    def test_variables_without_a_file(self) -> None:
        machine = FakeMachine(firmware=Firmware(Path("code")))
        assert machine.arch.default_devices()[3].options == {}

    def test_it_starts_in_flash_with_the_device_tree_at_the_start_of_memory(self) -> None:
        machine = FakeMachine(firmware=self.FIRMWARE)
        machine.vm.memory.add(MemorySlot(0, 4096, name="flash0", read_only=True))
        machine.arch.boot(BootImage(0x4000_0000, 0x4000_0000, "quiet", Path("initrd")), [])
        assert (machine.engines[0].registers["pc"], machine.engines[0].registers["x0"]) == (0, 0)
        assert not machine.vm.fakes[0].powered_off
        size = int.from_bytes(machine.vm.memory.read(0x4000_0004, 4), "big")
        tree = fdt.parse_dtb(machine.vm.memory.read(0x4000_0000, size))
        assert list(tree.get_property("bootargs", "chosen")) == ["quiet"]
        assert not tree.exist_property("linux,initrd-start", "chosen")

    def test_there_must_be_something_to_start(self) -> None:
        machine = FakeMachine(firmware=self.FIRMWARE)
        with pytest.raises(LoadError, match=r"^no flash at 0x0, where firmware starts: give it one, or leave it the usual"):
            machine.arch.boot(BootImage(0, 0), [])

    @pytest.mark.parametrize(
        ("memory_bytes", "append", "message"),
        [(16 << 20, 1 << 20, "; firmware has room for 1048576$"), (4096, 4096, "^guest memory is too small for the device tree")],
    )
    def test_a_device_tree_that_does_not_fit(self, memory_bytes: int, append: int, message: str) -> None:
        machine = FakeMachine(firmware=self.FIRMWARE, memory_bytes=memory_bytes)
        machine.vm.memory.add(MemorySlot(0, 4096, name="flash0", read_only=True))
        with pytest.raises(LoadError, match=message):
            machine.arch.boot(BootImage(0, 0, "x" * append), [])

    def test_flash_of_ones_own(self, machine: FakeMachine) -> None:
        places = [machine.arch.place(f"flash{n}", "cfi-flash", None, None) for n in (0, 1)]
        assert [(place.address, place.irq) for place in places] == [(0, None), (0x0400_0000, None)]
        place = machine.arch.place("info", "fw-cfg", None, None)
        assert (place.address, place.irq) == (0x0902_0000, None)
        with pytest.raises(ConfigError, match="no room for another cfi-flash"):
            machine.arch.place("flash2", "cfi-flash", None, None)
        assert machine.arch.place("flash2", "cfi-flash", 0x1000_0000, None).irq is None


def test_a_reset_of_the_machine_resets_the_gic(machine: FakeMachine) -> None:
    machine.vm.bus.write(GICD, 4, 0b11)
    machine.msr(0, "ICC_PMR_EL1", 0xF0)
    with machine.vm.device_lock:
        machine.arch.reset()
    assert machine.vm.bus.read(GICD, 4) == 0x50
    assert machine.mrs(0, "ICC_PMR_EL1") == 0
