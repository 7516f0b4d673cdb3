"""Where the guest was when it faulted is found from where the host was: among many translations, and after all were dropped."""

from __future__ import annotations

import random
from collections.abc import Iterable

import pytest

from avmm.plugin import HALTED, ExternalAbort
from tests.unit.unicorn import programs
from tests.unit.unicorn.guest import DATA, DEADLINE, RAM, VECTORS, Guest

NOWHERE = 0x7000_0000
FIRST, LENGTH = RAM + 0x2_0000, 64
FUNCTIONS = range(FIRST, FIRST + 400 * LENGTH, LENGTH)
SCRAMBLED = random.Random(5).sample(FUNCTIONS, len(FUNCTIONS))


def refuse(address: int, width: int) -> int:
    raise ExternalAbort


def visit(guest: Guest, functions: Iterable[int], x1: int) -> list[int]:
    """Run each with the address it reads from: where the aborts were, less the function's address."""
    aborts = []
    for function in functions:
        guest.go(function, x1=x1, elr_el1=function)
        assert guest.vcpu.enter(DEADLINE) is HALTED
        aborts.append(guest.registers("elr_el1")[0] - function)
    return aborts


@pytest.mark.parametrize("length", [1, 8])
def test_an_abort_is_at_its_instruction_whichever_block_that_is_in(guest: Guest, length: int) -> None:
    guest.trap.on_read = refuse
    for before in (length, 9 - length):
        for function in FUNCTIONS:
            guest.load(function, programs.load_behind(before))
        assert visit(guest, FUNCTIONS, DATA) == [0] * len(FUNCTIONS)
        assert visit(guest, SCRAMBLED, NOWHERE) == [4 * before] * len(FUNCTIONS)
        guest.vcpu.reset()  # drops every translation: the next are at other places
        guest.go(FIRST, vbar_el1=VECTORS)
