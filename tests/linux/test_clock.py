"""The guest's clock beside the host's."""

from __future__ import annotations

import time

import pytest

from tests.linux.conftest import Linux
from tests.linux.console import Console

LIMIT = 0.001


async def compare(guest: Console) -> tuple[int, int, int]:
    """Guest and host time of one moment, and how far apart they can be, in nanoseconds: the best of several attempts."""
    best = (0, 0, 1 << 62)
    for _ in range(8):
        before = time.monotonic_ns()
        guest.type("clock")
        told = int((await guest.expect(r"^clock (\d+)\n"))[1])
        after = time.monotonic_ns()
        if after - before < best[2]:
            best = told, (before + after) // 2, after - before
    return best


@pytest.mark.parametrize("load", [False, True])
async def test_it_does_not_drift(linux: Linux, load: bool) -> None:
    async with linux.boot("--smp", "2") as guest:
        await guest.shell()
        if load:
            await guest.output("yes >/dev/null & yes >/dev/null & :")
        first = await compare(guest)
        # Only the interval's length counts, not when it begins or ends.
        await guest.output("sleep 3")
        last = await compare(guest)
        elapsed = last[1] - first[1]
        drift = abs((last[0] - first[0]) - elapsed)
        assert drift <= LIMIT * elapsed + (first[2] + last[2]) / 2
