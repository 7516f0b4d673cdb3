"""One arm64 vCPU: its traps, its registers, its interrupt pin."""

from __future__ import annotations

from collections.abc import Iterable

from avmm.plugin import (
    ArchVcpu,
    AttributeValue,
    Counter,
    ExitReason,
    ExternalAbort,
    Figure,
    FigureKind,
    FigureValue,
    Hypercall,
    Request,
    Tracepoint,
    Vcpu,
    VcpuEngine,
    VcpuView,
    VmServices,
)
from avmm_arm64 import views
from avmm_arm64.attributes import GROUPS, VcpuAttributes
from avmm_arm64.gic import BankedTraps, Gic, GicV2
from avmm_arm64.intid import FIRST_SPI
from avmm_arm64.layout import COUNTER_HZ, affinity
from avmm_arm64.pmu import Pmu
from avmm_arm64.pmu_options import NO_PMU, PmuOptions
from avmm_arm64.psci import Psci
from avmm_arm64.register_names import REGISTER_NAMES
from avmm_arm64.requests import ArmRequest
from avmm_arm64.smccc import dispatch
from avmm_arm64.sysregs import CNTPCT_EL0, CNTVCT_EL0, EL0PCTEN, EL0VCTEN, PMU_IDENTITY, system_registers
from avmm_arm64.timer import SystemCounter, TimerPpis, VcpuTimers

MPIDR_RES1 = 1 << 31

# Plain integers for what every trap counts: looking up the enum's costs more than the counting.
_MMIO_READ, _MMIO_WRITE, _HYPERCALL = int(ExitReason.MMIO_READ), int(ExitReason.MMIO_WRITE), int(ExitReason.HYPERCALL)

_FIRES = tuple(
    Figure("timer_fires", FigureKind.COUNTER, "Times a timer's interrupt line went high.", {"timer": timer})
    for timer in ("virtual", "physical")
)
_LATENESS = Figure(
    "timer_lateness_seconds",
    FigureKind.HISTOGRAM,
    "From the time a timer was due to its line going high, for timers set to the future.",
)
_ACKNOWLEDGED = tuple(
    Figure("interrupts_acknowledged", FigureKind.COUNTER, "Interrupts the guest acknowledged.", {"kind": kind})
    for kind in ("sgi", "ppi", "spi")
)
_POSTED = Figure(
    "interrupts_posted", FigureKind.COUNTER, "Changes of an interrupt pin that reached the running guest without a kick."
)
_OVERFLOWS = tuple(
    Figure("pmu_overflows", FigureKind.COUNTER, "Times a counter of the PMU wrapped.", {"counter": counter})
    for counter in ("event", "cycle")
)
_PMU_INTERRUPTS = Figure("pmu_interrupts", FigureKind.COUNTER, "Times the PMU's overflow interrupt went high.")


class Arm64Vcpu(ArchVcpu):
    """The architecture's part of a vCPU, which is also what its traps reach."""

    engine: VcpuEngine
    attribute_groups = GROUPS
    register_names = REGISTER_NAMES
    attributes: VcpuAttributes
    """The device attributes of the VM's vCPUs. Set once, after the vCPU is made."""

    def __init__(
        self,
        vcpu: Vcpu,
        vm: VmServices,
        cpu: str,
        gic: Gic | GicV2,
        psci: Psci,
        counters: tuple[SystemCounter, SystemCounter],
        ppis: TimerPpis,
        pmu: PmuOptions = NO_PMU,
    ) -> None:
        """`counters` are the virtual and the physical one."""
        self._vcpu, self._vm, self._gic, self._psci = vcpu, vm, gic, psci
        self._bus, self._lock = vm.bus, vm.device_lock
        self.index = vcpu.index
        self.mpidr = MPIDR_RES1 | affinity(vcpu.index)
        self.exits_by_reason = vcpu.stats.exits_by_reason
        self.cntkctl = 0
        self._interface = gic.interfaces[self.index]
        self._pins: tuple[bool, bool] | None = None
        """The levels of IRQ and FIQ the engine was told last; None when it must be told."""
        self.interrupts_posted = 0
        """Changes of a pin that reached the running guest without an exit. Owner: the device lock."""
        self._start: tuple[int, int] | None = None
        """Where VCPU_RESET starts this vCPU: entry address and x0. Written before the request is made."""
        virtual, physical = counters
        self.timers = VcpuTimers(virtual, physical, ppis, self._lock, self._set_ppi, vcpu)
        self.pmu: Pmu | None = None
        """None when the machine has none."""
        self._pmu_intid = pmu.intid(self.index)
        if pmu.present:
            self.pmu = Pmu(self._lock, self._set_pmu_line, counters=pmu.counters, identity=PMU_IDENTITY[cpu])
        self.traps = BankedTraps(self, self.index, gic.accessor, self._lock) if isinstance(gic, GicV2) else self
        self.system_registers = system_registers(self, cpu, gic, self._lock)
        self.counters = (
            Counter("CNTPCT_EL0", CNTPCT_EL0, COUNTER_HZ, physical.offset, lambda: bool(self.cntkctl & EL0PCTEN)),
            Counter("CNTVCT_EL0", CNTVCT_EL0, COUNTER_HZ, virtual.offset, lambda: bool(self.cntkctl & EL0VCTEN)),
        )

    # ArchVcpu: the run loop.

    def attach(self, engine: VcpuEngine) -> None:
        self.engine = engine
        if self.pmu is not None:
            self.pmu.attach(engine)

    def flush_hwstate(self) -> None:
        if self.pmu is not None:
            self.pmu.flush()
        self.timers.update_due()
        # Pairs with drive_pins(): the pins' levels are there before IRQ_PENDING is, and IRQ_PENDING is cleared before we look.
        pins = self._interface.irq, self._interface.fiq
        if pins != self._pins:
            self._drive(pins)

    def sync_hwstate(self) -> None:
        # Every register the guest changes is changed in place; only counters run on by themselves.
        if self.pmu is not None:
            self.pmu.sync_after_exit()

    def runnable(self) -> bool:
        return self._interface.irq or self._interface.fiq

    def timers_sleep(self) -> int | None:
        return self.timers.sleep()

    def timers_wake(self) -> None:
        self.timers.wake()

    def reset(self) -> None:
        self.engine.reset()
        self._start, self._pins, self.cntkctl = None, None, 0
        with self._lock:
            self._interface.reset()
            self.timers.reset()
            if self.pmu is not None:
                self.pmu.reset()

    def has_attr(self, group: int, attribute: int) -> bool:
        return self.attributes.has_attr(self.index, group, attribute)

    def get_attr(self, group: int, attribute: int) -> int:
        return self.attributes.get_attr(self.index, group, attribute)

    def set_attr(self, group: int, attribute: int, value: AttributeValue) -> None:
        self.attributes.set_attr(self.index, group, attribute, value)

    def figures(self) -> Iterable[tuple[Figure, FigureValue]]:
        timers, pmu = self.timers, self.pmu
        yield from zip(_FIRES, (timers.virtual.fires, timers.physical.fires), strict=True)
        yield _LATENESS, timers.lateness
        yield from zip(_ACKNOWLEDGED, self._interface.acknowledged, strict=True)
        yield _POSTED, self.interrupts_posted
        if pmu is not None:
            yield from zip(_OVERFLOWS, pmu.overflows, strict=True)
            yield _PMU_INTERRUPTS, pmu.interrupts

    def view(self) -> VcpuView:
        return VcpuView(views.timers(self.timers), views.lines(self._gic.private_bank(self.index)), views.counters(self.pmu))

    # The interrupt controller's side.

    def drive_pins(self, irq: bool, fiq: bool) -> None:
        """The IRQ pin, the FIQ pin or both changed; the device lock is held, on any thread."""
        vcpu = self._vcpu
        if vcpu.in_own_thread():
            self._drive((irq, fiq))
        elif self.engine.live_pins and vcpu.reach_guest(lambda: self._drive((irq, fiq))):
            self.interrupts_posted += 1  # the guest takes it without leaving
        elif irq or fiq:
            # A pin that went low needs no kick: the interrupt that was is spurious when it is taken.
            vcpu.make_request_and_kick(ArmRequest.IRQ_PENDING)

    def _drive(self, pins: tuple[bool, bool]) -> None:
        told, self._pins = self._pins, pins
        irq, fiq = pins
        if told is None or irq is not told[0]:
            if self._vcpu.trace is not None:
                self._vcpu.trace(Tracepoint.IRQ_PIN, irq)
            self.engine.set_irq_line(irq)
        if told is None or fiq is not told[1]:
            if self._vcpu.trace is not None:
                self._vcpu.trace(Tracepoint.FIQ_PIN, fiq)
            self.engine.set_fiq_line(fiq)

    def _set_ppi(self, intid: int, level: bool) -> None:
        if self._vcpu.trace is not None:
            self._vcpu.trace(Tracepoint.PRIVATE_LINE, 2 * intid + level)
        self._gic.set_ppi_level(self.index, intid, level)

    @property
    def pmu_intid(self) -> int:
        """The overflow interrupt: an INTID, private (16 to 31) or shared, as device attributes or else the options say."""
        irq = self.attributes.pmu.vcpus[self.index].irq
        return self._pmu_intid if irq is None else irq

    def _set_pmu_line(self, level: bool) -> None:
        intid = self.pmu_intid
        if intid < FIRST_SPI:
            self._set_ppi(intid, level)
        else:
            self._gic.set_spi_level(intid - FIRST_SPI, level)

    def reload_pmu(self) -> None:
        """RELOAD_PMU. Own thread, outside the guest."""
        if self.pmu is not None:
            with self._lock:
                self.pmu.reload()

    # Traps: inside the guest's entry, on its thread.

    def mmio_read(self, address: int, width: int) -> int:
        self.exits_by_reason[_MMIO_READ] += 1
        region = self._bus.find(address)
        if region is None:
            self._vm.guest_fault("mmio", f"vcpu {self.index} read {width} bytes at {address:#x}, where nothing is")
            raise ExternalAbort
        return self._bus.read_from(region, address, width)

    def mmio_write(self, address: int, width: int, value: int) -> None:
        self.exits_by_reason[_MMIO_WRITE] += 1
        region = self._bus.find(address)
        if region is None:
            self._vm.guest_fault("mmio", f"vcpu {self.index} wrote {width} bytes at {address:#x}, where nothing is")
            raise ExternalAbort
        self._bus.write_to(region, address, width, value)

    def hypercall(self, call: Hypercall) -> None:
        self.exits_by_reason[_HYPERCALL] += 1
        with self._lock:
            dispatch(call, self, self._psci)

    def tlb_flush_all(self) -> None:
        # Not waited for: a vCPU that is in the guest leaves it for this, one that is not handles the request before it enters.
        for vcpu in self._vm.vcpus:
            # One that has not flushed yet will do so later than now: that covers this invalidation too.
            if vcpu is not self._vcpu and not vcpu.test_request(Request.TLB_FLUSH):
                vcpu.make_request_and_kick(Request.TLB_FLUSH)

    def count_tlb_flushes(self, made: int, handled: int, ipis: int) -> None:
        self._vcpu.count_waits(Request.TLB_FLUSH, made, handled, ipis)

    # sysregs.Owner

    def current_el(self) -> int:
        """The guest's exception level now."""
        return self.engine.read_register("pstate") >> 2 & 3

    def undefined_register(self, name: str) -> None:
        """Count an access to a register that this machine does not have."""
        self._vm.guest_fault("sysreg", f"vcpu {self.index}: {name} does not exist")

    # psci.PsciCpu

    @property
    def is_off(self) -> bool:
        """True while the vCPU is powered off."""
        return self._vcpu.powered_off

    def turn_on(self, entry: int, context: int) -> None:
        """Start this vCPU at `entry` with `context` in x0; the caller holds the device lock, on any thread."""
        self._start = entry, context
        self._vcpu.make_request(ArmRequest.VCPU_RESET)
        self._vcpu.power_on()

    def turn_off(self) -> None:
        """Power this vCPU off, its timers with it; the device lock is held."""
        self.timers.stop()
        self._vcpu.power_off()

    def suspend(self) -> None:
        """Sleep behind the call that is being handled until there is an interrupt, as WFI does."""
        self._vcpu.halt()

    def start_at(self, entry: int, context: int) -> None:
        """Set the registers that a start sets. Own thread, outside the guest, after a reset."""
        self.engine.write_register("x0", context)
        self.engine.write_register("pc", entry)

    def handle_reset(self) -> None:
        """VCPU_RESET: reset, and start where CPU_ON said. Nothing when a reset of the whole VM came between."""
        start = self._start
        if start is not None:
            self.reset()
            self.start_at(*start)
