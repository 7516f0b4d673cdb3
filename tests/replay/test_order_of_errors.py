"""Where several things are wrong at once, the first in the kernel's order decides, whatever the values."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from errno import EBUSY, EEXIST, EFAULT, EINVAL, ENODEV, ENXIO

import pytest

from avmm.devattr import AttributeValue, EventFilter
from avmm.errors import OperationRefused
from avmm_arm64.attributes import TimerAttribute, TimerAttributes
from avmm_arm64.interrupt_claims import Claims
from avmm_arm64.pmu_attributes import HOST_PMU, PmuAttribute, PmuAttributes, PmuState
from avmm_arm64.timer import TimerPpis

INTERRUPTS = 96
NUMBERS = (-(2**31), -1, 0, 1, 15, 16, 22, 23, 27, 30, 31, 32, 33, 95, 96, 991, 1019, 1020, 1023, 1024, 2**31 - 1)
BOTH = (False, True)


@dataclass
class Irqchip:
    """A controller of 96 interrupts in any state."""

    in_kernel: bool = True
    initialized: bool = True
    claims: Claims = field(default_factory=lambda: Claims(INTERRUPTS))

    def valid_spi(self, intid: int) -> bool:
        return self.claims.valid_spi(intid)

    def claim(self, vcpu: int, intid: int, owner: str) -> None:
        self.claims.claim(vcpu, intid, owner)


def errno_of(work: Callable[[], object]) -> int | None:
    """The errno with which `work` is refused, or None."""
    try:
        work()
    except OperationRefused as refusal:
        return refusal.errno
    return None


def first(*wrong: tuple[bool, int]) -> int | None:
    """The errno of the first thing that is wrong."""
    return next((errno for is_wrong, errno in wrong if is_wrong), None)


def is_ppi(number: int) -> bool:
    return 16 <= number < 32


def is_spi(number: int) -> bool:
    return 32 <= number < 1020


class TestTimers:
    """Linux, kvm_arm_timer_set_attr: controller, pointer, range, whether a vCPU has run, attribute."""

    @pytest.mark.parametrize("attribute", range(6))
    @pytest.mark.parametrize(("in_kernel", "has_run"), list(itertools.product(BOTH, BOTH)))
    def test_set(self, attribute: int, in_kernel: bool, has_run: bool) -> None:
        for value in (*NUMBERS, None):
            timers = TimerAttributes(Irqchip(in_kernel), TimerPpis())
            timers.vcpus = [TimerPpis(), TimerPpis()]
            timers.immutable = has_run
            before = [timers.get(1, known) for known in TimerAttribute]
            expected = first(
                (not in_kernel, EINVAL),
                (value is None, EFAULT),
                (value is not None and not is_ppi(value), EINVAL),
                (has_run, EBUSY),
                (attribute not in frozenset(TimerAttribute), ENXIO),
            )
            assert errno_of(lambda value=value, timers=timers: timers.set(attribute, value)) == expected
            if expected is None:
                before[attribute] = value
            assert [timers.get(1, known) for known in TimerAttribute] == before

    @pytest.mark.parametrize("attribute", range(6))
    def test_has_and_get_need_nothing(self, attribute: int) -> None:
        timers = TimerAttributes(Irqchip(in_kernel=False), TimerPpis())
        timers.vcpus = [TimerPpis()]
        known = attribute in frozenset(TimerAttribute)
        assert timers.has(attribute) == known
        assert errno_of(lambda: timers.get(0, attribute)) == (None if known else ENXIO)

    def test_the_physical_timer_claims_first_and_keeps_what_it_claimed(self) -> None:
        for virtual, physical in itertools.product(range(16, 32), repeat=2):
            timers = TimerAttributes(Irqchip(), TimerPpis())
            timers.vcpus = [TimerPpis(virtual, physical)]
            assert errno_of(lambda timers=timers: timers.check(0)) == (EINVAL if virtual == physical else None)
            assert timers.immutable == (virtual != physical)
            if virtual == physical:
                moved = 16 if virtual != 16 else 17
                assert errno_of(lambda timers=timers, moved=moved: timers.set(TimerAttribute.TIMER_IRQ_PTIMER, moved)) is None

    def test_a_vcpu_made_later_has_the_defaults_until_something_is_set(self) -> None:
        timers = TimerAttributes(Irqchip(), TimerPpis())
        timers.vcpus = [TimerPpis()]
        timers.set(TimerAttribute.TIMER_IRQ_VTIMER, 20)
        timers.vcpus.append(TimerPpis())
        assert [timers.get(vcpu, TimerAttribute.TIMER_IRQ_VTIMER) for vcpu in (0, 1)] == [20, 27]
        timers.set(TimerAttribute.TIMER_IRQ_HPTIMER, 25)
        assert [timers.get(vcpu, TimerAttribute.TIMER_IRQ_VTIMER) for vcpu in (0, 1)] == [20, 20]


def pmu(
    irqchip: Irqchip, *, supported: bool = True, created: bool = False, irqs: tuple[int | None, ...] = (None,)
) -> PmuAttributes:
    attributes = PmuAttributes(irqchip, lambda: False)
    attributes.supported = supported
    attributes.vcpus = [PmuState(irq, created and index == 0) for index, irq in enumerate(irqs)]
    return attributes


class TestPmuInterrupt:
    """Linux, kvm_arm_pmu_v3_set_attr; a second number is EBUSY before it is compared, as the document has it."""

    @pytest.mark.parametrize("own", [None, 23, 40])
    @pytest.mark.parametrize("other", [None, 23, 22, 40, 41])
    @pytest.mark.parametrize(("supported", "created", "in_kernel"), list(itertools.product(BOTH, BOTH, BOTH)))
    def test_set(self, own: int | None, other: int | None, supported: bool, created: bool, in_kernel: bool) -> None:
        for value in (*NUMBERS, 40, 41, None):
            attributes = pmu(Irqchip(in_kernel), supported=supported, created=created, irqs=(own, other))
            expected = first(
                (not supported, ENODEV),
                (created, EBUSY),
                (not in_kernel, EINVAL),
                (value is None, EFAULT),
                (value is not None and not is_ppi(value) and not is_spi(value), EINVAL),
                (own is not None, EBUSY),
                (value is not None and other is not None and is_ppi(value) and value != other, EINVAL),
                (value is not None and other is not None and is_spi(value) and (is_ppi(other) or value == other), EINVAL),
            )
            assert errno_of(lambda value=value, at=attributes: at.set(0, PmuAttribute.IRQ, value)) == expected
            assert attributes.vcpus[0].irq == (value if expected is None else own)

    @pytest.mark.parametrize("own", [None, 23])
    @pytest.mark.parametrize(("supported", "in_kernel"), list(itertools.product(BOTH, BOTH)))
    @pytest.mark.parametrize("attribute", range(6))
    def test_get(self, own: int | None, supported: bool, in_kernel: bool, attribute: int) -> None:
        attributes = pmu(Irqchip(in_kernel), supported=supported, irqs=(own,))
        expected = first(
            (attribute != PmuAttribute.IRQ, ENXIO), (not in_kernel, EINVAL), (not supported, ENODEV), (own is None, ENXIO)
        )
        assert errno_of(lambda: attributes.get(0, attribute)) == expected

    @pytest.mark.parametrize("attribute", range(6))
    @pytest.mark.parametrize("supported", BOTH)
    def test_has(self, attribute: int, supported: bool) -> None:
        assert pmu(Irqchip(), supported=supported).has(attribute) == (supported and attribute < 5)


class TestPmuInit:
    @pytest.mark.parametrize("irq", [None, 16, 23, 31, 32, 95, 96, 1019])
    @pytest.mark.parametrize("taken", BOTH)
    @pytest.mark.parametrize(("supported", "created", "in_kernel", "initialized"), list(itertools.product(BOTH, repeat=4)))
    def test_set(self, irq: int | None, taken: bool, supported: bool, created: bool, in_kernel: bool, initialized: bool) -> None:
        irqchip = Irqchip(in_kernel, initialized)
        if taken and irq is not None:
            with suppress(OperationRefused):
                irqchip.claim(0, irq, "timer")
        attributes = pmu(irqchip, supported=supported, created=created, irqs=(irq,))
        expected = first(
            (not supported, ENODEV),
            (created, EBUSY),
            (in_kernel and not initialized, ENODEV),
            (in_kernel and irq is None, ENXIO),
            (in_kernel and irq is not None and not is_ppi(irq) and irq >= INTERRUPTS, EINVAL),
            (in_kernel and taken, EEXIST),
        )
        assert errno_of(lambda: attributes.set(0, PmuAttribute.INIT, None)) == expected
        assert attributes.vcpus[0].created == (created or expected is None)

    @pytest.mark.parametrize("irq", [None, 23, 95, 96])
    @pytest.mark.parametrize(("supported", "created", "in_kernel"), list(itertools.product(BOTH, BOTH, BOTH)))
    def test_the_first_run_needs_it(self, irq: int | None, supported: bool, created: bool, in_kernel: bool) -> None:
        attributes = pmu(Irqchip(in_kernel), supported=supported, created=created, irqs=(irq,))
        usable = created and (not in_kernel or (irq is not None and irq < INTERRUPTS))
        assert errno_of(lambda: attributes.check(0)) == (EINVAL if supported and not usable else None)


class TestPmuFilterAndChoice:
    @pytest.mark.parametrize(("supported", "created", "has_run"), list(itertools.product(BOTH, BOTH, BOTH)))
    def test_set(self, supported: bool, created: bool, has_run: bool) -> None:
        values: list[tuple[int, AttributeValue, int | None]] = [
            (PmuAttribute.FILTER, EventFilter(0, 0xFFFF, 0), None),
            (PmuAttribute.FILTER, EventFilter(0xFFFF, 1, 1), None),
            (PmuAttribute.FILTER, EventFilter(0xFFFF, 2, 1), EINVAL),
            (PmuAttribute.FILTER, EventFilter(1, 1, 2), EINVAL),
            (PmuAttribute.FILTER, None, EFAULT),
            (PmuAttribute.SET_PMU, HOST_PMU, None),
            (PmuAttribute.SET_PMU, HOST_PMU + 1, ENXIO),
            (PmuAttribute.SET_PMU, None, EFAULT),
            (9, 1, ENXIO),
        ]
        for attribute, value, wrong in values:
            attributes = pmu(Irqchip(in_kernel=False), supported=supported, created=created)
            attributes = _with_run(attributes, has_run=has_run)
            expected = first((not supported, ENODEV), (created, EBUSY), (wrong is not None, wrong or 0), (has_run, EBUSY))
            assert errno_of(lambda at=attributes, a=attribute, v=value: at.set(0, a, v)) == expected


def _with_run(attributes: PmuAttributes, *, has_run: bool) -> PmuAttributes:
    made = PmuAttributes(Irqchip(in_kernel=False), lambda: has_run)
    made.supported, made.vcpus = attributes.supported, attributes.vcpus
    return made


class TestClaims:
    def test_a_shared_input_belongs_to_one_vcpus_device(self) -> None:
        claims = Claims(INTERRUPTS)
        claims.claim(0, 40, "pmu")
        claims.claim(0, 40, "pmu")
        assert errno_of(lambda: claims.claim(1, 40, "pmu")) == EEXIST
        assert claims.owned(1, 40)

    def test_a_private_input_belongs_to_a_device_of_each_vcpu(self) -> None:
        claims = Claims(INTERRUPTS)
        claims.claim(0, 23, "pmu")
        claims.claim(1, 23, "pmu")
        assert errno_of(lambda: claims.claim(0, 23, "virtual timer")) == EEXIST
        assert not claims.owned(2, 23)

    @pytest.mark.parametrize("intid", [0, 15, 96, 1020])
    def test_what_does_not_exist_cannot_be_claimed(self, intid: int) -> None:
        assert errno_of(lambda: Claims(INTERRUPTS).claim(0, intid, "pmu")) == EINVAL
