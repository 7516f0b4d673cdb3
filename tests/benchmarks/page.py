"""What the page costs: the share of a core it takes with 16 vCPUs, and the guest's speed with everything on."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from tests.benchmarks.guests import IMAGES, RATE, on_avmm, rate
from tests.benchmarks.table import Row, at_least

VCPUS = 16
SECONDS = 4.0
METRICS = "127.0.0.1:9465"
PAIRS = 5
_TICK = os.sysconf("SC_CLK_TCK")


@contextmanager
def started(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`avmm run` with its page, and the page's address with the token."""
    command = [sys.executable, "-m", "avmm.cli", "run", *arguments, "--ui", "127.0.0.1:0"]
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        assert running.stderr is not None
        try:
            found = next(found for line in running.stderr if (found := re.search(r"http://\S+", line)))
            yield running, found[0]
        finally:
            running.terminate()


@contextmanager
def watched(url: str) -> Iterator[None]:
    """A client, in a process of its own, that takes all it is sent as a page does."""
    with subprocess.Popen([sys.executable, "-m", "tests.benchmarks.page_client", url], stdout=subprocess.PIPE) as client:
        assert client.stdout is not None
        client.stdout.readline()  # the first frame is there
        try:
            yield
        finally:
            client.terminate()


def cpu_s(pid: int) -> float:
    """The time all threads of a process have run, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


def share(pid: int) -> float:
    """The share of a core that a process takes over the next seconds."""
    before, since = cpu_s(pid), time.perf_counter()
    time.sleep(SECONDS)
    return (cpu_s(pid) - before) / (time.perf_counter() - since)


def page() -> Row:
    """What a page adds to a process whose 16 vCPUs tick and send each other interrupts."""
    guest = ["--kernel", str(IMAGES / "smp.img"), "--smp", str(VCPUS), "--memory", "128M", "--append", "seconds=3600"]
    with started(*guest) as (running, url):
        pairs = []
        for _ in range(PAIRS):
            without = share(running.pid)
            with watched(url):
                pairs.append((share(running.pid), without))
    added = median(on - off for on, off in pairs)
    off = median(off for _, off in pairs)
    against = f"without {off * 100:.0f} %"
    return Row(f"page with {VCPUS} vCPUs, of one core", f"{added * 100:.1f} %", against, None, "at most 5 %", added <= 0.05)


def _everything_on(guest: str) -> float:
    """Operations a second of guest time with a page connected, metrics scraped and a timeline recorded."""
    with tempfile.TemporaryDirectory() as folder:
        arguments = [*on_avmm(guest)[4:], "--metrics", METRICS, "--trace", f"{folder}/trace"]
        with started(*arguments) as (running, url), watched(url):
            with urllib.request.urlopen(f"http://{METRICS}/metrics") as answer:
                answer.read()
            assert running.stdout is not None
            found = RATE.search(running.stdout.read())
    assert found is not None
    count, ticks, hertz = map(int, found.groups())
    return count * hertz / ticks


def speed(guest: str, what: str) -> Row:
    """The guest's speed with everything on beside everything off, each pair one after the other."""
    pairs = [(_everything_on(guest), rate(on_avmm(guest))) for _ in range(PAIRS)]
    on, off = (median(side) / 1e6 for side in zip(*pairs, strict=True))
    return at_least(f"guest with page, metrics and timeline, {what}", on, off, 0.97, "MIPS", "with none of them")


def run() -> list[Row]:
    """All figures of this file."""
    return [page(), speed("bench_mem", "memory and branch loop")]
