"""The flattened device tree that tells the guest what its machine is made of (Devicetree Specification 0.4)."""

from __future__ import annotations

import fdt

from avmm.plugin import DevicePlace, Record
from avmm_arm64.gic.redistributor import FRAME_SIZE
from avmm_arm64.intid import is_ppi
from avmm_arm64.layout import GICC_BASE, GICD_BASE, GICR_BASE, RAM_BASE, UART_CLOCK_HZ, VIRTIO_STRIDE, affinity
from avmm_arm64.timer import TimerPpis

_GIC_PHANDLE, _CLOCK_PHANDLE = 1, 2
_CPU_PHANDLES = 0x100
"""Where the vCPUs' phandles begin; they have some only if somebody refers to them."""
_GPIO_PHANDLES = 0x200
"""Where those of GPIO controllers begin."""
_POWER_BUTTON_PIN = 3
"""Of each GPIO controller, as on QEMU's `virt`."""
_KEY_POWER = 116
"""Linux, include/uapi/linux/input-event-codes.h."""
_SPI, _PPI = 0, 1
_LEVEL_HIGH = 4
_SECURE_PHYSICAL_PPI, _HYP_PPI = 29, 26
"""Timers that do not exist here, but whose places in the timer node's list come before and after those that do."""
_COMPATIBLE_CPU = {"cortex-a57": "arm,cortex-a57", "cortex-a72": "arm,cortex-a72", "max": "arm,armv8"}


class Board(Record):
    """What the device tree describes: memory at RAM_BASE, vCPUs, timers and devices."""

    cpu: str
    vcpus: int
    memory_bytes: int
    ppis: TimerPpis
    devices: tuple[DevicePlace, ...]
    gicv2: bool = False
    """The interrupt controller is a GICv2, not a GICv3."""
    pmu_irqs: tuple[int, ...] = ()
    """The overflow interrupt of each vCPU's PMU, an INTID; empty without PMU."""
    seed: bytes = b""
    """Random bytes for the guest's generator of random numbers (`rng-seed`); empty: none."""


def build_fdt(board: Board, command_line: str, initrd: tuple[int, int] | None) -> bytes:
    """The device tree blob; `initrd` is the first and the first free guest physical address of the initrd."""
    tree = fdt.FDT()
    root = tree.root
    _strings(root, "compatible", "linux,dummy-virt")
    _strings(root, "model", "linux,dummy-virt")
    _words(root, "#address-cells", 2)
    _words(root, "#size-cells", 2)
    _words(root, "interrupt-parent", _GIC_PHANDLE)
    root.append(_chosen(board, command_line, initrd))
    memory = _node(f"memory@{RAM_BASE:x}", reg=(RAM_BASE, board.memory_bytes))
    _strings(memory, "device_type", "memory")
    root.append(memory)
    root.append(_cpus(board))
    psci = fdt.Node("psci")
    _strings(psci, "compatible", "arm,psci-1.0", "arm,psci-0.2")
    _strings(psci, "method", "hvc")
    root.append(psci)
    root.append(_timer(board))
    if board.pmu_irqs:
        root.append(_pmu(board))
    root.append(_clock())
    root.append(_gicv2() if board.gicv2 else _gicv3(board.vcpus))
    flash = [place for place in board.devices if place.kind == "cfi-flash"]
    if flash:
        root.append(_flash(flash))
    gpios = 0
    for place in board.devices:
        if place in flash:
            continue
        root.append(node := _device(place))
        if place.kind == "pl061":
            _gpio(node, _GPIO_PHANDLES + gpios)
            gpios += 1
    if gpios:
        root.append(_keys(gpios))
    blob: bytes = tree.to_dtb(version=17)
    return blob


def _node(name: str, *, reg: tuple[int, ...] = ()) -> fdt.Node:
    """A node with 64-bit address and size cells in `reg`."""
    node = fdt.Node(name)
    if reg:
        _doublewords(node, "reg", *reg)
    return node


def _strings(node: fdt.Node, name: str, *values: str) -> None:
    node.append(fdt.PropStrings(name, *values))


def _words(node: fdt.Node, name: str, *values: int) -> None:
    node.append(fdt.PropWords(name, *values))


def _doublewords(node: fdt.Node, name: str, *values: int) -> None:
    _words(node, name, *(word for value in values for word in (value >> 32, value & 0xFFFF_FFFF)))


def _chosen(board: Board, command_line: str, initrd: tuple[int, int] | None) -> fdt.Node:
    node = fdt.Node("chosen")
    if command_line:
        _strings(node, "bootargs", command_line)
    console = next((place for place in board.devices if place.kind == "pl011"), None)
    if console is not None:
        _strings(node, "stdout-path", f"/{_device_name(console)}")
    if initrd is not None:
        for name, address in zip(("linux,initrd-start", "linux,initrd-end"), initrd, strict=True):
            _doublewords(node, name, address)
    if board.seed:
        node.append(fdt.PropBytes("rng-seed", data=board.seed))
    return node


def _cpus(board: Board) -> fdt.Node:
    cpus = fdt.Node("cpus")
    _words(cpus, "#address-cells", 1)
    _words(cpus, "#size-cells", 0)
    for index in range(board.vcpus):
        cpu = fdt.Node(f"cpu@{affinity(index):x}")
        _strings(cpu, "device_type", "cpu")
        _strings(cpu, "compatible", _COMPATIBLE_CPU[board.cpu])
        _words(cpu, "reg", affinity(index))
        _strings(cpu, "enable-method", "psci")
        if _has_shared_pmu_irqs(board.pmu_irqs):
            _words(cpu, "phandle", _CPU_PHANDLES + index)
        cpus.append(cpu)
    return cpus


def _ppi_flags(board: Board) -> int:
    """Level-sensitive, active high. A GICv2's private interrupts say which vCPUs have them."""
    return _LEVEL_HIGH | ((1 << board.vcpus) - 1 << 8 if board.gicv2 else 0)


def _timer(board: Board) -> fdt.Node:
    """In the binding's order: secure physical, physical, virtual, hypervisor."""
    ppis = board.ppis
    flags = _ppi_flags(board)
    node = fdt.Node("timer")
    _strings(node, "compatible", "arm,armv8-timer")
    cells: list[int] = []
    for intid in (_SECURE_PHYSICAL_PPI, ppis.physical, ppis.virtual, _HYP_PPI):
        cells += (_PPI, intid - 16, flags)
    _words(node, "interrupts", *cells)
    node.append(fdt.Property("always-on"))
    return node


def _has_shared_pmu_irqs(irqs: tuple[int, ...]) -> bool:
    return bool(irqs) and not is_ppi(irqs[0])


def _pmu(board: Board) -> fdt.Node:
    """One private interrupt for all vCPUs, or a shared one each, in the order of `interrupt-affinity`."""
    irqs = board.pmu_irqs
    node = fdt.Node("pmu")
    _strings(node, "compatible", "arm,armv8-pmuv3")
    if not _has_shared_pmu_irqs(irqs):
        _words(node, "interrupts", _PPI, irqs[0] - 16, _ppi_flags(board))
        return node
    _words(node, "interrupts", *(cell for intid in irqs for cell in (_SPI, intid - 32, _LEVEL_HIGH)))
    _words(node, "interrupt-affinity", *(_CPU_PHANDLES + index for index in range(len(irqs))))
    return node


def _clock() -> fdt.Node:
    node = fdt.Node("apb-pclk")
    _strings(node, "compatible", "fixed-clock")
    _words(node, "#clock-cells", 0)
    _words(node, "clock-frequency", UART_CLOCK_HZ)
    _strings(node, "clock-output-names", "clk24mhz")
    _words(node, "phandle", _CLOCK_PHANDLE)
    return node


def _gicv3(vcpus: int) -> fdt.Node:
    node = _gic("arm,gic-v3", (GICD_BASE, 0x10000, GICR_BASE, vcpus * FRAME_SIZE))
    _words(node, "#redistributor-regions", 1)
    return node


def _gicv2() -> fdt.Node:
    return _gic("arm,cortex-a15-gic", (GICD_BASE, 0x1000, GICC_BASE, 0x2000))


def _gic(compatible: str, reg: tuple[int, ...]) -> fdt.Node:
    node = _node(f"interrupt-controller@{GICD_BASE:x}", reg=reg)
    _strings(node, "compatible", compatible)
    node.append(fdt.Property("interrupt-controller"))
    _words(node, "#interrupt-cells", 3)
    _words(node, "#address-cells", 0)
    _words(node, "phandle", _GIC_PHANDLE)
    return node


_GENERIC_NAMES = {"pl011": "serial", "pl031": "rtc", "pl061": "gpio"}
"""What the bindings call devices of a kind (Devicetree Specification 2.2.2); any other's name is its kind."""


def _device_name(place: DevicePlace) -> str:
    name = "virtio_mmio" if place.kind.startswith("virtio") else _GENERIC_NAMES.get(place.kind, place.kind)
    return f"{name}@{place.address:x}"


def _flash(banks: list[DevicePlace]) -> fdt.Node:
    """All banks in one node: the operating system sees them as one device."""
    first, *_ = sorted(banks, key=lambda place: place.address)
    reg = [cell for place in sorted(banks, key=lambda place: place.address) for cell in (place.address, _size(place))]
    node = _node(f"flash@{first.address:x}", reg=tuple(reg))
    _strings(node, "compatible", "cfi-flash")
    _words(node, "bank-width", 4)
    return node


def _size(place: DevicePlace) -> int:
    return 0x1000 if place.device is None else place.device.size


def _device(place: DevicePlace) -> fdt.Node:
    """A device's node; a kind without a binding of its own is compatible with `avmm,<kind>`."""
    size = _size(place)
    match place.kind:
        case "pl011" | "pl031" | "pl061":
            node = _node(_device_name(place), reg=(place.address, size))
            _strings(node, "compatible", f"arm,{place.kind}", "arm,primecell")
            clocks = ("uartclk", "apb_pclk") if place.kind == "pl011" else ("apb_pclk",)
            _words(node, "clocks", *(_CLOCK_PHANDLE for _ in clocks))
            _strings(node, "clock-names", *clocks)
        case kind if kind.startswith("virtio"):
            node = _node(_device_name(place), reg=(place.address, VIRTIO_STRIDE))
            _strings(node, "compatible", "virtio,mmio")
            node.append(fdt.Property("dma-coherent"))
        case "fw-cfg":
            node = _node(_device_name(place), reg=(place.address, size))
            _strings(node, "compatible", "qemu,fw-cfg-mmio")
            node.append(fdt.Property("dma-coherent"))
        case kind:
            node = _node(_device_name(place), reg=(place.address, size))
            _strings(node, "compatible", f"avmm,{kind}")
    if place.irq is not None:
        _words(node, "interrupts", _SPI, place.irq, _LEVEL_HIGH)
    return node


def _gpio(node: fdt.Node, phandle: int) -> None:
    """What a GPIO controller has beside its registers: pins to refer to, each of which is an interrupt too."""
    node.append(fdt.Property("gpio-controller"))
    _words(node, "#gpio-cells", 2)
    node.append(fdt.Property("interrupt-controller"))
    _words(node, "#interrupt-cells", 2)
    _words(node, "#address-cells", 0)
    _words(node, "phandle", phandle)


def _keys(gpios: int) -> fdt.Node:
    """The power button on each of so many GPIO controllers. How long it may bounce is left to the driver, as QEMU leaves it."""
    keys = fdt.Node("gpio-keys")
    _strings(keys, "compatible", "gpio-keys")
    for number in range(gpios):
        key = fdt.Node(f"key-poweroff-{number}")
        _strings(key, "label", "GPIO Key Poweroff")
        _words(key, "linux,code", _KEY_POWER)
        _words(key, "gpios", _GPIO_PHANDLES + number, _POWER_BUTTON_PIN, 0)
        keys.append(key)
    return keys
