"""A guest's process, watched from its start to its end."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

PATIENCE_S = 300
"""After this a guest is taken to hang. Nothing waits for it to pass."""

_TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")

Watcher = Callable[[int, str], None]


@dataclass(slots=True)
class Observed:
    """What it did, and when."""

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    """The process's own, at user and system level, with those of its children."""
    text: str = ""
    loads: dict[str, float] = field(default_factory=dict)
    """Seconds between the guest's lines "begin NAME" and "end"."""
    load_cpu: dict[str, float] = field(default_factory=dict)
    """CPU seconds of the process between them."""


def observe(command: list[str], watch: Watcher | None = None, *, files: tuple[int, ...] = ()) -> Observed:
    """Run `command` to its end. `watch` is called with the process's id and every line the guest writes.

    `files` are descriptors that it inherits. RuntimeError when it fails or hangs.
    """
    observed = Observed()
    started = time.perf_counter()
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        pass_fds=files,
    )
    alarm = threading.Timer(PATIENCE_S, process.kill)
    alarm.start()
    try:
        _read(process, started, observed, watch)
        _, status, usage = os.wait4(process.pid, 0)
    except BaseException:
        process.kill()
        raise
    finally:
        alarm.cancel()
    process.returncode = os.waitstatus_to_exitcode(status)
    observed.seconds = time.perf_counter() - started
    observed.cpu_seconds = usage.ru_utime + usage.ru_stime
    if process.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: status {process.returncode}:\n{observed.text}")
    return observed


def _read(process: subprocess.Popen[str], started: float, observed: Observed, watch: Watcher | None) -> None:
    assert process.stdout is not None
    name, begun, used = "", 0.0, 0.0
    for line in process.stdout:
        now = time.perf_counter()
        observed.text += line
        match line.split():
            case ["begin", name]:
                begun, used = now, cpu_seconds(process.pid)
            case ["end"]:
                observed.loads[name] = now - begun
                observed.load_cpu[name] = cpu_seconds(process.pid) - used
            case _:
                pass
        if watch is not None:
            watch(process.pid, line)


def cpu_seconds(process: int) -> float:
    """What a running process has used so far, all its threads together; in steps of 10 ms."""
    # The name, in parentheses, may have spaces in it.
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_A_SECOND
