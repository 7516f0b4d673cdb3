"""The PMU as Linux drives it, for a program of ours."""

from __future__ import annotations

import re

import pytest

from tests.linux.conftest import Linux
from tests.linux.test_boot import interrupts

ROUNDS = 1_000_000


@pytest.mark.parametrize("vcpus", [1, 2])
async def test_a_program_counts_and_samples_by_the_pmus_interrupt(linux: Linux, vcpus: int) -> None:
    async with linux.boot("--smp", str(vcpus)) as guest:
        await guest.shell()
        # Linux drops samples when it finds that taking them costs too much time, as it may where the host is busy.
        text = await guest.output("echo 0 >/proc/sys/kernel/perf_cpu_time_max_percent; perf")
        found = {name: int(value) for name, value in re.findall(r"^(\w+) (\d+)$", text, re.MULTILINE)}
        # Two instructions a round; the system calls around the loop and what enters and leaves them are few.
        assert 2 * ROUNDS <= found["instructions"] < 2 * ROUNDS + 2000
        assert found["cycles"] > 0
        # One sample every 100,000 instructions, of the twenty million in the loop.
        assert found["samples"] == 200
        assert found["inside"] >= 199
        rows = interrupts(await guest.output("cat /proc/interrupts"))
        (pmu,) = (counts for name, counts in rows.items() if "arm-pmu" in name)
        assert sum(pmu) >= 200
        assert await guest.power_off() == 0
