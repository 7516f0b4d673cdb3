"""The columns of the two tables: what they show, and what they are sorted by."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from avmm_control.top.rates import VcpuRates, VmRates

T = TypeVar("T")
_LEVELS = "▁▂▃▄▅▆▇█"


@dataclass(frozen=True, slots=True)
class Column(Generic[T]):
    """One column."""

    head: str
    width: int
    help: str
    sort: Callable[[T], float | str]
    show: Callable[[T], str] | None = None
    """None: the value it is sorted by, as a rate."""

    words: bool = False
    """It holds words, which stand at the left; numbers stand at the right."""

    def cell(self, row: T) -> str:
        """What it shows of `row`."""
        return self._placed(self.show(row) if self.show is not None else rate(float(self.sort(row))))

    def title(self) -> str:
        """Its head, above what it shows."""
        return self._placed(self.head)

    def _placed(self, text: str) -> str:
        return text[: self.width].ljust(self.width) if self.words else text.rjust(self.width)


def rate(value: float) -> str:
    """A rate in five characters or less."""
    for limit, unit in ((1e4, ""), (1e7, "k"), (1e10, "M")):
        if value < limit:
            scaled = value / (limit / 1e4)
            return f"{scaled:.0f}{unit}"
    return f"{value / 1e9:.0f}G"


def sparkline(values: Iterable[float], width: int, top: float) -> str:
    """The last `width` values as bars; `top` or more is a full one."""
    last = list(values)[-width:]
    return "".join(_LEVELS[min(len(_LEVELS) - 1, int(value / top * len(_LEVELS)))] for value in last).rjust(width)


def _reason(*names: str) -> Callable[[VcpuRates], float]:
    return lambda row: sum(row.by_reason.get(name, 0.0) for name in names)


def _size(value: int) -> str:
    return f"{value >> 20}M" if value < 10 << 30 else f"{value >> 30}G"


VMS: Sequence[Column[VmRates]] = (
    Column("NAME", 16, "the VM's name", lambda row: row.found.vm.name, lambda row: row.found.vm.name, words=True),
    Column("PID", 7, "its process", lambda row: row.found.vm.pid, lambda row: str(row.found.vm.pid)),
    Column("STATE", 7, "running, paused, ...", lambda row: row.state, lambda row: row.state, words=True),
    Column("VCPUS", 5, "how many vCPUs", lambda row: len(row.vcpus), lambda row: str(len(row.vcpus))),
    Column("MEM", 6, "guest memory", lambda row: row.found.vm.memory_bytes, lambda row: _size(row.found.vm.memory_bytes)),
    Column("CORES", 6, "guest time, in cores", lambda row: row.cores, lambda row: f"{row.cores:.2f}"),
    Column("EXITS/s", 7, "exits and traps", lambda row: row.exits),
    Column("KICKS/s", 7, "kicks", lambda row: sum(row.kicks.values())),
    Column("WAKES/s", 7, "sleepers woken", lambda row: row.wakeups),
)
VCPUS: Sequence[Column[VcpuRates]] = (
    Column("VCPU", 4, "the vCPU's index", lambda row: row.index, lambda row: str(row.index)),
    Column("DOES", 8, "in guest, outside, asleep, off", lambda row: row.doing, lambda row: row.doing, words=True),
    Column("CORES", 5, "guest time, in cores", lambda row: row.cores, lambda row: f"{row.cores:.2f}"),
    Column("HISTORY", 11, "of guest time", lambda row: row.cores, lambda row: sparkline(row.history.cores, 11, 1.0)),
    Column("EXITS/s", 7, "exits and traps", lambda row: row.exits),
    Column("HALT", 5, "exits: waits for interrupts", _reason("halted")),
    Column("KICK", 5, "exits: a kick arrived", _reason("kicked")),
    Column("MMIO", 5, "device registers", _reason("mmio_read", "mmio_write")),
    Column("SREG", 5, "system registers", _reason("system_register")),
    Column("HVC", 4, "hypercalls", _reason("hypercall")),
    Column("WAKES", 5, "times woken, a second", lambda row: row.wakeups),
)
