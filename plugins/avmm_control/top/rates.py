"""What VMs do in a second, from one look to the next, and their history."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from avmm.plugin import VcpuSnapshot, VmSnapshot
from avmm_control.find import Found
from avmm_control.text import NS_PER_S, doing

KEPT = 120
"""Looks of which the history is kept."""


def _history() -> deque[float]:
    return deque(maxlen=KEPT)


@dataclass(slots=True)
class History:
    """The last rates, the newest at the end."""

    cores: deque[float] = field(default_factory=_history)
    exits: deque[float] = field(default_factory=_history)

    def add(self, cores: float, exits: float) -> None:
        """One more of each."""
        self.cores.append(cores)
        self.exits.append(exits)


@dataclass(frozen=True, slots=True)
class VcpuRates:
    """One vCPU: what it does now, and what it did in a second on average since the last look."""

    index: int
    doing: str
    cores: float
    """Time in guest mode."""
    exits: float
    by_reason: Mapping[str, float]
    kicks: Mapping[str, float]
    """By what they came to."""
    wakeups: float
    history: History


@dataclass(frozen=True, slots=True)
class VmRates:
    """One VM, likewise; its rates are the sums of its vCPUs'."""

    found: Found
    state: str
    vcpus: tuple[VcpuRates, ...]
    history: History

    @property
    def key(self) -> str:
        """What tells it from others."""
        return f"{self.found.address}#{self.found.vm.name}"

    @property
    def cores(self) -> float:
        """Time in guest mode: as many seconds a second."""
        return sum(vcpu.cores for vcpu in self.vcpus)

    @property
    def exits(self) -> float:
        """Exits, and traps handled in place."""
        return sum(vcpu.exits for vcpu in self.vcpus)

    @property
    def wakeups(self) -> float:
        """Times a sleeper was woken."""
        return sum(vcpu.wakeups for vcpu in self.vcpus)

    @property
    def kicks(self) -> dict[str, float]:
        """By what they came to."""
        actions = self.vcpus[0].kicks if self.vcpus else {}
        return {action: sum(vcpu.kicks[action] for vcpu in self.vcpus) for action in actions}


class Meter:
    """Makes rates of one VM's snapshots."""

    def __init__(self) -> None:
        self._before: VmSnapshot | None = None
        self._history = History()
        self._histories: list[History] = []

    def look(self, found: Found, now: VmSnapshot) -> VmRates:
        """The rates since the last look; nothing at the first one."""
        before = self._before or now
        elapsed_ns = now.time_ns - before.time_ns
        while len(self._histories) < len(now.vcpus):
            self._histories.append(History())
        vcpus = tuple(
            _rates(old, new, elapsed_ns, history)
            for old, new, history in zip(before.vcpus, now.vcpus, self._histories, strict=True)
        )
        rates = VmRates(found, now.state, vcpus, self._history)
        if elapsed_ns > 0:
            rates.history.add(rates.cores, rates.exits)
            for vcpu in vcpus:
                vcpu.history.add(vcpu.cores, vcpu.exits)
        self._before = now
        return rates


def _rates(old: VcpuSnapshot, new: VcpuSnapshot, elapsed_ns: int, history: History) -> VcpuRates:
    def rate(before: int, after: int) -> float:
        return (after - before) * NS_PER_S / elapsed_ns if elapsed_ns > 0 else 0.0

    by_reason = {reason: rate(old.exits_by_reason.get(reason, 0), count) for reason, count in new.exits_by_reason.items()}
    return VcpuRates(
        new.index,
        doing(new),
        rate(old.guest_ns, new.guest_ns) / NS_PER_S,
        sum(by_reason.values()),
        by_reason,
        {action: rate(old.kicks.get(action, 0), count) for action, count in new.kicks.items()},
        rate(old.wakeups, new.wakeups),
        history,
    )
