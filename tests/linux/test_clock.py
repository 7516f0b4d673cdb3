"""The guest's clock beside the host's."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

import pytest

from tests.linux.conftest import Linux
from tests.linux.console import Console

LIMIT = 0.001
ATTEMPTS = 32
LEAST_S = int(os.environ.get("AVMM_TEST_CLOCK_S", "3"))
"""How long to look at the clock at least; the bound is the same however long it is."""


@dataclass(frozen=True, slots=True)
class Moment:
    """Guest and host time of one moment in nanoseconds: the host's is off by `unsure_ns` at most, either way."""

    guest_ns: int
    host_ns: int
    unsure_ns: int


async def moment(guest: Console) -> Moment:
    """The surest of several attempts to have the guest tell its time."""
    best = Moment(0, 0, 1 << 62)
    guest.type("clock")
    await guest.expect("^ready\n")
    for _ in range(ATTEMPTS):
        before = time.monotonic_ns()
        guest.type("now")
        told = int((await guest.expect(r"^clock (\d+)\n"))[1])
        after = time.monotonic_ns()
        if (after - before) // 2 < best.unsure_ns:
            best = Moment(told, (before + after) // 2, (after - before) // 2)
    guest.type("")
    await guest.expect("^done\n")
    return best


@pytest.mark.parametrize("load", [False, True])
async def test_it_does_not_drift(linux: Linux, load: bool) -> None:
    """Looks until what it cannot be sure of is at most half of what is allowed, and then allows only the other half."""
    async with linux.boot("--smp", "2") as guest:
        await guest.shell()
        if load:
            await guest.output("yes >/dev/null & yes >/dev/null & :")
        first = await moment(guest)
        elapsed = unsure = drift = 0
        while elapsed < LEAST_S * 10**9 or unsure > LIMIT * elapsed / 2:
            await guest.output("sleep 1")
            last = await moment(guest)
            elapsed, unsure = last.host_ns - first.host_ns, first.unsure_ns + last.unsure_ns
            drift = abs(last.guest_ns - first.guest_ns - elapsed)
        print(f"drift {drift / elapsed:.2e}, unsure {unsure / elapsed:.2e}, in {elapsed / 1e9:.1f} s")
        assert drift + unsure <= LIMIT * elapsed
        assert await guest.power_off() == 0
