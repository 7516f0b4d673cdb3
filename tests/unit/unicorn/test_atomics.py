"""Atomic operations on memory that others may access too (Arm DDI 0487, LD<OP>): at every size, signed or not."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from avmm.plugin import HALTED
from tests.unit.unicorn.guest import CODE, DATA, DEADLINE, Guest
from tests.unit.unicorn.programs import WFI

Operation = Callable[[int, int, int], int]


def signed(value: int, bits: int) -> int:
    return value - (value >> bits - 1 << bits)


OPERATIONS: dict[str, tuple[int, Operation]] = {
    "ldadd": (0x0000, lambda old, new, bits: old + new),
    "ldclr": (0x1000, lambda old, new, bits: old & ~new),
    "ldeor": (0x2000, lambda old, new, bits: old ^ new),
    "ldset": (0x3000, lambda old, new, bits: old | new),
    "ldsmax": (0x4000, lambda old, new, bits: max(old, new, key=lambda value: signed(value, bits))),
    "ldsmin": (0x5000, lambda old, new, bits: min(old, new, key=lambda value: signed(value, bits))),
    "ldumax": (0x6000, lambda old, new, bits: max(old, new)),
    "ldumin": (0x7000, lambda old, new, bits: min(old, new)),
    "swp": (0x8000, lambda old, new, bits: new),
}


@pytest.mark.parametrize("parallel", [False, True])
@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("size", range(4))
def test_what_memory_holds_afterwards(size: int, name: str, parallel: bool) -> None:
    code, operation = OPERATIONS[name]
    bits = 8 << size
    above = -1 << bits & (1 << 64) - 1  # in the register, and not part of the operand
    instruction = 0x38220023 | size << 30 | code  # <op> x2, x3, [x1]
    with Guest(cpu="max", parallel=parallel) as guest:
        guest.load(CODE, (instruction, *WFI))
        for old, new in ((1, 1 << bits - 1), (1 << bits - 1, 1), (3, 5), ((1 << bits) - 1, 1)):
            guest.write(DATA, old.to_bytes(8, "little"))
            guest.go(CODE, x1=DATA, x2=new | above)
            assert guest.vcpu.enter(DEADLINE) is HALTED
            assert guest.registers("x3") == (old,)
            assert guest.read64(DATA) == operation(old, new, bits) & (1 << bits) - 1
