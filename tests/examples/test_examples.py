"""Every example runs, as a newcomer would run it, and says what it is there to say."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"

SAYS = {
    "arch_request.py": [r"IPIs sent: 2", r"vcpu 0 reloads its PMU in its own thread: True, mode OUTSIDE_GUEST_MODE", r"vcpu 1 "],
    "deterministic_time.py": [r"run 1: (\d+ ns) .* (sha256 \w+)\nrun 2: (\d+ ns) .* (sha256 \w+)"],
    "device.py": [r"guest: interrupt 16, 2 rings", r"host: doorbell at 0x10000000, 1 reads, 1 writes"],
    "disk.py": [r"guest: interrupt status 1, status 0: this is sector 123456789", r"host: 512 bytes read"],
    "embed.py": [r"PASS: 4 vCPUs", r"paused at pc 0x", r"shutdown \(SYSTEM_OFF\)", r"vcpu 3: \d+ exits"],
    "watch_requests.py": [r"asleep: True, pending: True", r"kvm_exit +OUTSIDE_GUEST_MODE +TLB_FLUSH", r"= \[\d+, 1, 1\]"],
}


def test_every_example_is_here() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == set(SAYS)


@pytest.mark.parametrize("example", sorted(SAYS))
def test_it_runs(example: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / example)], capture_output=True, text=True, timeout=120, cwd=tmp_path, check=False
    )
    assert done.returncode == 0, done.stderr
    for pattern in SAYS[example]:
        assert re.search(pattern, done.stdout), done.stdout


def test_virtual_time_is_the_same_in_two_runs(tmp_path: Path) -> None:
    command = [sys.executable, str(EXAMPLES / "deterministic_time.py")]
    said = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=tmp_path, check=True).stdout
    first, second = (re.findall(r"(\d+) ns of guest time.*sha256 (\w+)", line) for line in said.splitlines() if "run " in line)
    assert first == second
    assert int(first[0][0]) >= 3_000_000_000
