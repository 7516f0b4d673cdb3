"""vCPUs go off and come back while Linux runs, and what one of them does is what another one sees."""

from __future__ import annotations

import re

import pytest

from tests.linux.conftest import Linux
from tests.linux.test_boot import interrupts

TIMES = 50


async def test_a_cpu_goes_off_and_on_fifty_times(linux: Linux) -> None:
    online = "/sys/devices/system/cpu/cpu1/online"
    async with linux.boot("--smp", "2") as guest:
        await guest.shell()
        # Linux waits a tenth of a second for CPU_OFF. Where the host holds the vCPU up for longer it is on still when it is to be
        # turned on again, which can be tried until it is not.
        on = f"until echo 1 >{online}; do usleep 10000; done 2>/dev/null"
        cycle = f"echo 0 >{online} && [ $(nproc) = 1 ] && {on} && [ $(nproc) = 2 ]"
        done = await guest.output(f"n=0; while [ $n -lt {TIMES} ] && {cycle}; do n=$((n + 1)); done; echo $n")
        assert done == f"{TIMES}\n"
        log = await guest.output("dmesg")
        assert len(re.findall("psci: CPU1 (killed|may not have shut down cleanly)", log)) == TIMES
        assert log.count("CPU1: Booted secondary processor") == TIMES + 1
        before = interrupts(await guest.output("cat /proc/interrupts"))
        work = "seq 2000 | sort -r | md5sum >/dev/null; cut -d' ' -f39 /proc/self/stat"
        assert await guest.output(f'taskset 2 sh -c "{work}"') == "1\n", "it works there"
        after = interrupts(await guest.output("cat /proc/interrupts"))
        (timer,) = (name for name in after if "arch_timer" in name)
        assert after[timer][1] > before[timer][1], "it has its timer still"
        assert await guest.power_off() == 0


@pytest.mark.parametrize("mode", ["parallel", "turns"])
async def test_what_one_cpu_does_another_sees(linux: Linux, mode: str) -> None:
    async with linux.boot("--smp", "2", "--smp-mode", mode) as guest:
        await guest.shell()
        found = {
            name: int(number) for name, number in (line.split() for line in (await guest.output("together 2000")).splitlines())
        }
        assert min(found.pop("looks"), found.pop("calls")) > 0
        assert found == {"stale": 0, "old": 0, "torn": 0, "lost": 0}
        assert await guest.power_off() == 0
