"""The device tree: what it says, and that the device tree compiler finds nothing to complain about."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import fdt
import pytest

from avmm.plugin import BootImage, DevicePlace
from avmm_arm64.fdt import Board, build_fdt
from avmm_arm64.timer import TimerPpis
from tests.unit.arm64.fakes import FakeMachine

UART = DevicePlace("uart0", "pl011", 0x0900_0000, 1)
RTC = DevicePlace("rtc", "pl031", 0x0901_0000, 2)
GPIO = DevicePlace("gpio", "pl061", 0x0903_0000, 7)
DISK = DevicePlace("disk", "virtio-blk", 0x0A00_0200, 17)
DOORBELL = DevicePlace("bell", "doorbell", 0x0C00_0000, 112)
FLASH = [DevicePlace(f"flash{n}", "cfi-flash", n * 0x0400_0000, None) for n in (0, 1)]
FW_CFG = DevicePlace("fw_cfg", "fw-cfg", 0x0902_0000, None)
SILENT = DevicePlace("mailbox", "mailbox", 0x0C01_0000, None)
GIC, CLOCK = 1, 2


def board(
    *devices: DevicePlace, vcpus: int = 1, cpu: str = "cortex-a57", ppis: TimerPpis | None = None, memory: int = 256 << 20
) -> Board:
    return Board(cpu, vcpus, memory, ppis or TimerPpis(), devices)


def seed_of(tree: fdt.FDT) -> bytes:
    return b"".join(word.to_bytes(4, "big") for word in words(tree, "chosen", "rng-seed"))


def words(tree: fdt.FDT, path: str, name: str) -> list[int]:
    value = tree.get_property(name, path)
    return [] if value is None else [int(word) for word in value]


def strings(tree: fdt.FDT, path: str, name: str) -> list[str]:
    return [str(value) for value in tree.get_property(name, path)]


def parse(blob: bytes) -> fdt.FDT:
    return fdt.parse_dtb(blob)


class TestNodes:
    def test_memory(self) -> None:
        tree = parse(build_fdt(board(memory=8 << 30), "", None))
        assert words(tree, "memory@40000000", "reg") == [0, 0x4000_0000, 2, 0]
        assert strings(tree, "memory@40000000", "device_type") == ["memory"]

    def test_cpus(self) -> None:
        tree = parse(build_fdt(board(vcpus=18, cpu="cortex-a72"), "", None))
        names = [node.name for node in tree.get_node("cpus").nodes]
        assert names == [f"cpu@{n:x}" for n in (*range(16), 0x100, 0x101)]
        assert words(tree, "cpus/cpu@101", "reg") == [0x101]
        assert strings(tree, "cpus/cpu@101", "enable-method") == ["psci"]
        assert strings(tree, "cpus/cpu@101", "compatible") == ["arm,cortex-a72"]

    def test_psci(self) -> None:
        tree = parse(build_fdt(board(), "", None))
        assert strings(tree, "psci", "method") == ["hvc"]
        assert strings(tree, "psci", "compatible")[0] == "arm,psci-1.0"

    def test_the_timer_lists_physical_and_virtual_in_their_places(self) -> None:
        tree = parse(build_fdt(board(), "", None))
        assert words(tree, "timer", "interrupts") == [1, 13, 4, 1, 14, 4, 1, 11, 4, 1, 10, 4]
        tree = parse(build_fdt(board(ppis=TimerPpis(virtual=20, physical=21)), "", None))
        assert words(tree, "timer", "interrupts")[3:9] == [1, 5, 4, 1, 4, 4]

    def test_the_gic(self) -> None:
        tree = parse(build_fdt(board(vcpus=3), "", None))
        path = "interrupt-controller@8000000"
        assert words(tree, path, "reg") == [0, 0x0800_0000, 0, 0x10000, 0, 0x080A_0000, 0, 3 * 0x20000]
        assert strings(tree, path, "compatible") == ["arm,gic-v3"]
        assert words(tree, path, "#interrupt-cells") == [3]
        assert words(tree, path, "phandle") == words(tree, "", "interrupt-parent") == [GIC]

    def test_a_gicv2_and_which_vcpus_have_its_private_interrupts(self) -> None:
        tree = parse(build_fdt(replace(board(vcpus=3), gicv2=True), "", None))
        path = "interrupt-controller@8000000"
        assert words(tree, path, "reg") == [0, 0x0800_0000, 0, 0x1000, 0, 0x0801_0000, 0, 0x2000]
        assert strings(tree, path, "compatible") == ["arm,cortex-a15-gic"]
        assert words(tree, path, "phandle") == words(tree, "", "interrupt-parent") == [GIC]
        assert words(tree, "timer", "interrupts")[2::3] == [0x704] * 4

    def test_the_console(self) -> None:
        tree = parse(build_fdt(board(UART), "", None))
        assert strings(tree, "chosen", "stdout-path") == ["/serial@9000000"]
        assert strings(tree, "serial@9000000", "compatible") == ["arm,pl011", "arm,primecell"]
        assert words(tree, "serial@9000000", "interrupts") == [0, 1, 4]
        assert words(tree, "serial@9000000", "clocks") == [CLOCK, CLOCK]
        assert words(tree, "apb-pclk", "phandle") == [CLOCK]
        assert words(tree, "apb-pclk", "clock-frequency") == [24_000_000]

    def test_other_devices(self) -> None:
        tree = parse(build_fdt(board(RTC, DISK, DOORBELL, SILENT), "", None))
        assert strings(tree, "rtc@9010000", "clock-names") == ["apb_pclk"]
        assert words(tree, "virtio_mmio@a000200", "reg") == [0, 0x0A00_0200, 0, 0x200]
        assert words(tree, "virtio_mmio@a000200", "interrupts") == [0, 17, 4]
        assert strings(tree, "doorbell@c000000", "compatible") == ["avmm,doorbell"]
        assert not tree.exist_property("interrupts", "mailbox@c010000")
        assert not tree.exist_property("stdout-path", "chosen")

    def test_a_gpio_controller_and_the_power_button_on_it(self) -> None:
        """As QEMU describes them, with what the bindings ask for beside."""
        other = replace(GPIO, name="other", address=0x0C00_0000, irq=112)
        tree = parse(build_fdt(board(GPIO, other), "", None))
        assert strings(tree, "gpio@9030000", "compatible") == ["arm,pl061", "arm,primecell"]
        assert words(tree, "gpio@9030000", "interrupts") == [0, 7, 4]
        for number, path in enumerate(("gpio@9030000", "gpio@c000000")):
            [controller] = words(tree, path, "phandle")
            key = f"gpio-keys/key-poweroff-{number}"
            assert words(tree, key, "gpios") == [controller, 3, 0]
            assert words(tree, key, "linux,code") == [116]
        assert not parse(build_fdt(board(RTC), "", None)).exist_node("gpio-keys")

    def test_what_firmware_has(self) -> None:
        """As QEMU describes them: all flash is one node."""
        tree = parse(build_fdt(board(FLASH[1], UART, FW_CFG, FLASH[0]), "", None))
        assert words(tree, "flash@0", "reg") == [0, 0, 0, 0x1000, 0, 0x0400_0000, 0, 0x1000]
        assert strings(tree, "flash@0", "compatible") == ["cfi-flash"]
        assert words(tree, "flash@0", "bank-width") == [4]
        assert strings(tree, "fw-cfg@9020000", "compatible") == ["qemu,fw-cfg-mmio"]
        assert tree.exist_property("dma-coherent", "fw-cfg@9020000")
        assert not any(tree.exist_property("interrupts", node) for node in ("flash@0", "fw-cfg@9020000"))

    def test_command_line_and_initrd(self) -> None:
        tree = parse(build_fdt(board(), "console=ttyAMA0 quiet", (0x4800_0000, 0x4812_3456)))
        assert strings(tree, "chosen", "bootargs") == ["console=ttyAMA0 quiet"]
        assert words(tree, "chosen", "linux,initrd-start") == [0, 0x4800_0000]
        assert words(tree, "chosen", "linux,initrd-end") == [0, 0x4812_3456]
        assert not tree.exist_property("rng-seed", "chosen")

    def test_a_seed(self) -> None:
        tree = parse(build_fdt(replace(board(), seed=bytes(range(32))), "", None))
        assert seed_of(tree) == bytes(range(32))


@pytest.mark.skipif(shutil.which("dtc") is None, reason="dtc is not installed")
@pytest.mark.parametrize(("vcpus", "gicv2"), [(1, False), (4, False), (64, False), (1, True), (8, True)])
def test_dtc_accepts_it_without_a_warning(vcpus: int, gicv2: bool) -> None:
    machine = replace(board(*FLASH, UART, RTC, GPIO, FW_CFG, DISK, DOORBELL, SILENT, vcpus=vcpus), gicv2=gicv2)
    blob = build_fdt(machine, "quiet", (0x4800_0000, 0x4900_0000))
    done = subprocess.run(["dtc", "-I", "dtb", "-O", "dts"], input=blob, capture_output=True, check=False, timeout=60)
    assert done.returncode == 0
    assert done.stderr == b""


BOARDS = {
    "one vCPU": board(UART, RTC, DISK),
    "two clusters": board(UART, RTC, DISK, vcpus=18, cpu="max"),
    "GICv2": replace(board(UART, vcpus=8, cpu="cortex-a72"), gicv2=True, pmu_irqs=(23,)),
    "a power button": board(UART, GPIO),
    "firmware": board(*FLASH, UART, FW_CFG, DISK),
    "a shared interrupt for each PMU": replace(board(UART, vcpus=2), pmu_irqs=(40, 41)),
    "devices without a binding": board(DOORBELL, SILENT),
}


def complaints(blob: bytes, folder: Path) -> str:
    """What dtschema has to say of a tree, by its own schemas and by `bindings`, which adds the types that those lack."""
    (folder / "tree.dtb").write_bytes(blob)
    command = [str(Path(sys.executable).with_name("dt-validate")), "-s", str(Path(__file__).with_name("bindings"))]
    done = subprocess.run([*command, str(folder / "tree.dtb")], capture_output=True, text=True, check=True, timeout=60)
    return done.stdout + done.stderr


@pytest.mark.parametrize("name", BOARDS)
def test_dtschema_accepts_it_without_a_warning(name: str, tmp_path: Path) -> None:
    assert complaints(build_fdt(BOARDS[name], "quiet", (0x4800_0000, 0x4900_0000)), tmp_path) == ""


def test_dtschema_would_notice(tmp_path: Path) -> None:
    tree = parse(build_fdt(BOARDS["one vCPU"], "", None))
    tree.get_node("cpus/cpu@0").set_property("device_type", "dog")
    assert "device_type" in complaints(tree.to_dtb(version=17), tmp_path)


class TestBoot:
    """Linux, Documentation/arch/arm64/booting.rst."""

    def boot(self, machine: FakeMachine, image: BootImage) -> tuple[int, fdt.FDT]:
        """Boot; the address of the device tree, and the tree."""
        machine.arch.boot(image, [UART])
        address = machine.engines[0].registers["x0"]
        size = int.from_bytes(machine.vm.memory.read(address + 4, 4), "big")
        return address, parse(machine.vm.memory.read(address, size))

    def test_vcpu_0_alone_starts_with_the_tree_in_x0(self, machine: FakeMachine) -> None:
        machine.vm.fakes[0].powered_off = True
        address, tree = self.boot(machine, BootImage(0x4008_0000, 0x4010_0000, "hello"))
        assert machine.engines[0].registers["pc"] == 0x4008_0000
        assert address % 8 == 0
        assert 0x4010_0000 <= address < 0x4100_0000
        assert [vcpu.powered_off for vcpu in machine.vm.fakes] == [False, True]
        assert strings(tree, "chosen", "bootargs") == ["hello"]
        assert [node.name for node in tree.get_node("cpus").nodes] == ["cpu@0", "cpu@1"]

    def test_each_start_has_a_seed_of_its_own_but_not_in_virtual_time(self, machine: FakeMachine) -> None:
        image = BootImage(0x4008_0000, 0x4010_0000)
        assert not self.boot(machine, image)[1].exist_property("rng-seed", "chosen")
        machine.vm.clock.is_host = True
        seeds = [seed_of(self.boot(machine, image)[1]) for _ in range(2)]
        assert [len(seed) for seed in seeds] == [64, 64]
        assert seeds[0] != seeds[1]

    def test_the_initrd_is_in_memory_clear_of_image_and_tree(self, machine: FakeMachine, tmp_path: Path) -> None:
        initrd = tmp_path / "initrd"
        initrd.write_bytes(bytes(range(256)) * 20)
        address, tree = self.boot(machine, BootImage(0x4008_0000, 0x4010_0000, initrd=initrd))
        start, end = (words(tree, "chosen", f"linux,initrd-{edge}")[1] for edge in ("start", "end"))
        assert machine.vm.memory.read(start, end - start) == initrd.read_bytes()
        assert start % 4096 == 0
        assert 0x4010_0000 <= start < end <= address
