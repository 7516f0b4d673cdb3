"""The PMU as a guest of our own finds it, and what it costs the machine."""

from __future__ import annotations

import re

import pytest

from avmm import HaltReason

from .conftest import Booting


async def test_the_guest_finds_everything_exact(boot: Booting) -> None:
    async with boot("pmu", append="exact") as guest:
        halt = await guest.run()
    assert halt.reason is HaltReason.SHUTDOWN
    assert "pmu: PASS" in guest.console
    assert "PMUVer 6, 6 event counters" in guest.console
    assert "not on this machine" not in guest.console
    assert "50 overflows, 50 interrupts" in guest.console


async def test_two_runs_are_the_same(boot: Booting) -> None:
    consoles = []
    for _ in range(2):
        async with boot("pmu", append="exact rounds=10") as guest:
            await guest.run()
        consoles.append(guest.console)
    assert consoles[0] == consoles[1]


@pytest.mark.parametrize(("counters", "verdict"), [(2, "PASS"), (31, "PASS"), (1, "FAIL")])
async def test_the_number_of_counters(boot: Booting, counters: int, verdict: str) -> None:
    async with boot("pmu", arch_options={"pmu_counters": counters}) as guest:
        await guest.run()
    assert f"pmu: {verdict}" in guest.console


async def test_without_one_it_says_so(boot: Booting) -> None:
    async with boot("pmu", arch_options={"pmu": False}) as guest:
        await guest.run()
    assert re.search(r"PMUVer 0|FAIL: exception", guest.console)
