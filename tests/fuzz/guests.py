"""What the guests do: any access to any register, any call, in any order; and in the end they listen for interrupts."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field

from hypothesis import strategies as st

from avmm.plugin import ExternalAbort, Halted, Undefined, Yielded
from avmm.testing import (
    Call,
    Compute,
    FlushAllTlbs,
    MmioRead,
    MmioWrite,
    ReadSystemRegister,
    ScriptedVcpu,
    WriteSystemRegister,
)
from avmm.testing.steps import Step
from avmm_arm64.layout import GICC_BASE, GICD_BASE, GICR_BASE, GPIO_BASE, RTC_BASE, UART_BASE, VIRTIO_BASE
from tests.unit.arm64.fakes import EL0, EL1H

GICC_CTLR, GICC_IAR, GICC_EOIR = GICC_BASE, GICC_BASE + 0xC, GICC_BASE + 0x10
SPECIAL_INTID = 1020
RESETS = 3

values = st.one_of(st.sampled_from([0, 1, 2, 3, 1 << 31, 2**32 - 1, 2**63, 2**64 - 1]), st.integers(0, 2**64 - 1))
widths = st.sampled_from([1, 2, 4, 4, 4, 8])
frames = st.sampled_from(
    [
        *((GICD_BASE, 0x1_0000), (GICD_BASE, 0x1000), (GICC_BASE, 0x2000), (GICR_BASE, 0x4_0000), (GICR_BASE + 0x1_0000, 0x1000)),
        *(
            (UART_BASE, 0x1000),
            (UART_BASE, 0x50),
            (RTC_BASE, 0x1000),
            (RTC_BASE, 0x30),
            (GPIO_BASE, 0x1000),
            (GPIO_BASE + 0x400, 0x24),
            (VIRTIO_BASE, 0x200),
            (VIRTIO_BASE, 0x80),
        ),
        *((0x0100_0000, 0x100), (0x0A00_4000, 0x1000), (0x1_0000_0000_0000, 0x100)),
    ]
)
addresses = frames.flatmap(
    lambda frame: st.one_of(
        st.integers(frame[0], frame[0] + frame[1] - 1),
        st.integers(0, frame[1] // 4 - 1).map(lambda word: frame[0] + 4 * word),
    )
)
functions = st.one_of(
    st.integers(0, 0x20).map(lambda number: 0x8400_0000 + number),
    st.integers(0, 0x20).map(lambda number: 0xC400_0000 + number),
    st.sampled_from([0x8000_0000, 0x8000_0001, 0xC500_0020, 0x8600_0000]),
    values,
)
calls = st.builds(
    Call,
    immediate=st.sampled_from([0, 0, 0, 0, 1, 0xFFFF]),
    arguments=st.tuples(functions, st.one_of(st.sampled_from([0, 1, 2, 99]), values), values, values),
    secure=st.booleans(),
)


def steps(registers: Sequence[str]) -> st.SearchStrategy[Step]:
    """One thing that a guest does, whose system registers are these."""
    names = st.sampled_from([*registers, "NO_SUCH_REGISTER"])
    access: st.SearchStrategy[Step] = st.one_of(
        st.builds(MmioRead, addresses, widths),
        st.tuples(addresses, values, widths).map(lambda one: MmioWrite(one[0], one[1] & (1 << 8 * one[2]) - 1, one[2])),
        st.builds(ReadSystemRegister, names),
        st.builds(WriteSystemRegister, names, values),
    )
    return st.one_of(
        access,
        access,
        access,
        calls,
        st.builds(Compute, st.integers(1, 20_000)),
        st.sampled_from([Halted(), Yielded(), FlushAllTlbs()]),
    )


@dataclass
class Guest:
    """One vCPU: does its steps, at an exception level each, then listens. A reset makes it begin anew."""

    steps: Sequence[tuple[Step, bool]]
    gicv2: bool
    heard: list[int] = field(default_factory=list)
    """The interrupts it took while listening."""
    listening: bool = False
    begun: int = 0

    def __call__(self, vcpu: ScriptedVcpu) -> Generator[Step, int, None]:
        self.listening = False
        self.begun += 1
        for step, el0 in self.steps if self.begun <= RESETS else ():  # one that resets the machine must not do so for ever
            vcpu.write_register("pstate", EL0 if el0 else EL1H)
            yield from attempt(step)
        vcpu.write_register("pstate", EL1H)
        # Nothing wakes it until the controller is set up from outside.
        if self.gicv2:
            yield from attempt(MmioWrite(GICC_CTLR, 0))
        else:
            for group in (0, 1):
                yield from attempt(WriteSystemRegister(f"ICC_IGRPEN{group}_EL1", 0))
        self.listening = True
        while True:
            yield Halted()
            intid = yield (MmioRead(GICC_IAR) if self.gicv2 else ReadSystemRegister("ICC_IAR1_EL1"))
            if intid & 0x3FF < SPECIAL_INTID:
                self.heard.append(intid & 0x3FF)
                yield (MmioWrite(GICC_EOIR, intid) if self.gicv2 else WriteSystemRegister("ICC_EOIR1_EL1", intid))


def attempt(step: Step) -> Generator[Step, int, None]:
    """A step that the machine may refuse."""
    try:
        yield step
    except (ExternalAbort, Undefined):
        pass
