"""`python -m tests.linux.soak`: boot Debian's kernel again and again, up to a little work on every vCPU and a power-off.

Says at the end how many boots were whole, and how long they took. It ends with the first that is not, after what its console said
last, and with 1; one that hangs stays for a debugger to look at, until its process is ended.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import time

from avmm.fetch.archive import configured_mirror
from avmm.fetch.guest import Guest, fetch
from avmm.fetch.places import SUITES
from avmm.user_cache import user_cache
from tests.linux.console import TROUBLE, Console, start
from tests.unit.fetch.mirror import Told

WORK = "seq 300 | sort | md5sum >/dev/null"
LAST_LINES = 40


class Failed(Exception):
    """A boot that was not whole: why, and what was said in it."""

    def __init__(self, why: str, console: Console) -> None:
        super().__init__(why)
        self.why, self.console = why, console


async def boot(guest: Guest, vcpus: int, options: list[str]) -> float:
    """One boot; how long it took, in seconds."""
    work = " & ".join([f"({WORK})"] * vcpus)
    append = f'console=ttyAMA0 panic=-1 run="{work}; wait; nproc"'
    files = ("--kernel", str(guest.kernel), "--initrd", str(guest.initrd), "--append", append)
    started = time.monotonic()
    console = await start(*files, "--smp", str(vcpus), "--memory", "512M", "--on-reset", "exit", *options)
    try:
        status = await console.ended()
    except TimeoutError:
        print(f"process {console.process.pid} hangs: look at it, then end it", flush=True)
        await console.process.wait()
        raise Failed("hung", console) from None
    took_s = time.monotonic() - started
    if status != 0:
        raise Failed(f"ended with {status}", console)
    if f"\n{vcpus}\nrun: exit status 0\n" not in console.text:
        raise Failed(f"did not work on {vcpus} vCPUs", console)
    if found := TROUBLE.search(console.text):
        raise Failed(f"said {found[0]!r}", console)
    return took_s


async def soak(guest: Guest, boots: int, vcpus: int, options: list[str]) -> int:
    """All boots, one after the other; the exit status."""
    times: list[float] = []
    for number in range(1, boots + 1):
        try:
            times.append(await boot(guest, vcpus, options))
        except Failed as failed:
            print("\n".join(failed.console.text.splitlines()[-LAST_LINES:]))
            print(f"boot {number} of {boots} {failed.why}")
            break
        if sys.stderr.isatty():
            print(f"\r{number} of {boots}", end="", file=sys.stderr, flush=True)
    if len(times) >= 2:
        print(f"{len(times)} of {boots} boots with {vcpus} vCPUs {' '.join(options)}: {quantiles(times)}")
    return int(len(times) < boots)


def quantiles(times: list[float]) -> str:
    """The spread of the times, which are at least two, in words."""
    cuts = statistics.quantiles(times, n=100, method="inclusive")
    parts = {"least": min(times), "half": cuts[49], "90%": cuts[89], "99%": cuts[98], "most": max(times)}
    return ", ".join(f"{name} {value:.2f} s" for name, value in parts.items())


def main() -> int:
    """Fetch what is missing, and boot."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--boots", type=int, default=200)
    parser.add_argument("--smp", type=int, default=2, help="how many vCPUs")
    parser.add_argument("--suite", choices=SUITES, default=SUITES[0])
    arguments, options = parser.parse_known_args()
    guest = fetch(user_cache(), arguments.suite, configured_mirror(), Told())
    return asyncio.run(soak(guest, arguments.boots, arguments.smp, options))


if __name__ == "__main__":
    sys.exit(main())
