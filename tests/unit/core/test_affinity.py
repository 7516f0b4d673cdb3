"""Sharing a core: as long as it is enough, and nobody else wants it."""

from __future__ import annotations

import os
import threading

import pytest

from avmm.affinity import FREE_NS, LOOK_AT_SEVERAL_NS, LOOK_NS, SharedCore, times_ns
from avmm.clock import VirtualClock

SLOTS = (101, 102)
LOOKS = FREE_NS // LOOK_AT_SEVERAL_NS
"""How many looks long the threads stay free."""
pytestmark = pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="there is only one core to share")


class Host:
    """What the kernel says of threads, and is told about them."""

    def __init__(self, slots: tuple[int, ...] = SLOTS) -> None:
        self.clock = VirtualClock()
        self.slots, self.look_ns = slots, LOOK_AT_SEVERAL_NS if len(slots) > 1 else LOOK_NS
        self.times: dict[int, tuple[int, int]] = {}
        self.cores: dict[int, set[int]] = {}
        self.shared = SharedCore(
            self.clock, lambda: self.slots, times=lambda thread: self.times.get(thread, (0, 0)), place=self._place
        )
        self.shared.start()

    def _place(self, thread: int, cores: set[int]) -> None:
        self.cores[thread] = cores

    def look(self, *shares: float, waited: float = 0.0, times: int = 1) -> bool:
        """Let the slots' threads run, and the first wait, such parts of the time until the next look; whether they share then."""
        for _ in range(times):
            for thread, share in zip(self.slots, shares, strict=True):
                ran, waits = self.times.get(thread, (0, 0))
                more = waited if thread == self.slots[0] else 0
                self.times[thread] = ran + int(share * self.look_ns), waits + int(more * self.look_ns)
            self.clock.advance(self.look_ns)
        return all(len(self.cores[thread]) == 1 for thread in self.slots)


def test_idle_threads_are_looked_at_less_often() -> None:
    host = Host()
    looks: list[int] = []
    times_of = host.shared._times_of
    host.shared._times_of = lambda thread: (looks.append(thread), times_of(thread))[1]
    host.look(0.04, 0.04, times=100)
    assert len(looks) == pytest.approx(100 * LOOK_AT_SEVERAL_NS / LOOK_NS * 3, abs=3)
    looks.clear()
    host.look(0.2, 0.0, times=100)
    assert len(looks) == pytest.approx(100 * 3, abs=15)


def test_one_busy_thread_shares_with_the_loop() -> None:
    host = Host()
    assert host.look(1.0, 0.05, times=3 * LOOKS)
    assert host.shared.moves == 0
    assert set(host.cores) == {threading.get_native_id(), *SLOTS}


def test_two_busy_threads_are_let_go_and_stay_so() -> None:
    host = Host()
    assert not host.look(0.5, 0.5, waited=0.5), "they got half of one core each"
    assert not host.look(1.0, 1.0, times=3 * LOOKS)
    assert host.shared.moves == 1
    assert not host.look(1.0, 0.0, times=LOOKS - 1)
    assert not host.look(1.0, 1.0), "again, before one was enough for long"
    assert not host.look(1.0, 0.0, times=LOOKS - 1)
    assert host.look(1.0, 0.0)


def test_a_core_that_others_want_is_tried_again_later() -> None:
    host = Host(SLOTS[:1])
    looks = FREE_NS // LOOK_NS
    assert not host.look(0.6, waited=0.4)
    assert not host.look(1.0, times=looks - 1)
    assert host.look(1.0)
    assert not host.look(0.6, waited=0.4)
    assert host.shared.moves == 2


def test_in_the_end_the_kernel_places_them() -> None:
    host = Host()
    host.shared.stop()
    assert host.cores == dict.fromkeys((threading.get_native_id(), *SLOTS), os.sched_getaffinity(0))
    host.clock.advance(10 * LOOK_NS)
    assert len(host.cores[SLOTS[0]]) > 1


@pytest.mark.skipif(not os.path.exists("/proc/self/schedstat"), reason="this kernel keeps no schedstat")
def test_times_of_a_real_thread() -> None:
    ran, waited = times_ns(threading.get_native_id())
    assert ran > 0
    assert waited >= 0
