"""Sharing a core: as long as it is enough, and nobody else wants it."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator, Sequence

import pytest

from avmm import MachineConfig, Vm, affinity
from avmm.affinity import FREE_NS, LOOK_AT_SEVERAL_NS, LOOK_NS, SharedCore, times_ns
from avmm.clock import VirtualClock
from avmm.plugin import allowed_cores
from avmm.testing import Spin
from avmm.testing.vm import ToyPlugins

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
        self.shared = SharedCore(self.clock, times=lambda thread: self.times.get(thread, (0, 0)), place=self._place)
        self.shared.join(self.threads)

    def threads(self) -> Sequence[int]:
        return self.slots

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
    assert host.shared.leave(host.threads)
    assert host.cores == dict.fromkeys((threading.get_native_id(), *SLOTS), os.sched_getaffinity(0))
    host.clock.advance(10 * LOOK_NS)
    assert len(host.cores[SLOTS[0]]) > 1


def other_vm() -> Sequence[int]:
    return (201,)


def test_several_vms_on_a_loop_share_what_is_enough_for_all_of_them() -> None:
    host = Host(SLOTS[:1])
    host.shared.join(other_vm)
    assert host.look(0.6)
    assert host.cores[201] == host.cores[threading.get_native_id()] == host.cores[SLOTS[0]]
    host.times[201] = (0, int(0.4 * LOOK_NS))
    assert not host.look(0.6), "one waits for the other"
    assert host.shared.moves == 1
    assert len(host.cores[201]) > 1
    assert len(host.cores[threading.get_native_id()]) > 1


def test_a_vm_that_goes_leaves_the_others_and_the_loop_where_they_are() -> None:
    host = Host(SLOTS[:1])
    host.shared.join(other_vm)
    host.look(0.6)
    confined = host.cores[201]
    assert not host.shared.leave(host.threads)
    assert len(host.cores[SLOTS[0]]) > 1
    assert host.cores[201] == host.cores[threading.get_native_id()] == confined
    host.times[SLOTS[0]] = (0, LOOK_NS)
    host.clock.advance(10 * LOOK_NS)
    assert host.shared.moves == 0, "what it does is nobody's business now"
    assert len(host.cores[SLOTS[0]]) > 1
    assert host.shared.leave(other_vm)
    assert len(host.cores[threading.get_native_id()]) > 1


@pytest.fixture
def one_look(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Real threads are confined when they begin to share, and how busy this host is does not let them go."""
    for name in ("LOOK_NS", "LOOK_AT_SEVERAL_NS"):
        monkeypatch.setattr(affinity, name, 3_600_000_000_000)
    allowed = os.sched_getaffinity(0)
    yield
    os.sched_setaffinity(0, allowed)


def machine() -> Vm:
    engine = {"name": "scripted", "programs": [[Spin()]]}
    config = MachineConfig(arch="toy", engine=engine, memory="64K", slot="thread", affinity="shared")
    return Vm(config, plugins=ToyPlugins({}))


def cores_of(vm: Vm) -> list[set[int]]:
    return [os.sched_getaffinity(slot.thread) for slot in vm.slots if slot.thread is not None]


@pytest.mark.usefixtures("one_look")
async def test_two_vms_on_a_loop_of_which_the_first_goes_first() -> None:
    allowed = os.sched_getaffinity(0)
    first, second = machine(), machine()
    await first.__aenter__()
    confined = os.sched_getaffinity(0)
    assert len(confined) == 1
    assert allowed_cores() == allowed, "whoever is made now may run where avmm could before"
    await second.__aenter__()
    await second.start()
    while not cores_of(second):  # its slot has no thread yet
        await asyncio.sleep(0)
    assert allowed_cores() == allowed
    await first.__aexit__(None, None, None)
    assert os.sched_getaffinity(0) == confined, "the loop is the second's now"
    assert cores_of(second) == [confined]
    await second.__aexit__(None, None, None)
    assert os.sched_getaffinity(0) == allowed_cores() == allowed


@pytest.mark.usefixtures("one_look")
async def test_a_vm_after_another_shares_anew() -> None:
    allowed = os.sched_getaffinity(0)
    for _ in range(2):
        async with machine():
            assert len(os.sched_getaffinity(0)) == 1
        assert os.sched_getaffinity(0) == allowed


@pytest.mark.usefixtures("one_look")
async def test_what_another_thread_may_use_is_its_own() -> None:
    seen: list[set[int]] = []

    def confined_by_another() -> None:
        os.sched_setaffinity(0, {max(allowed)})
        seen.append(allowed_cores())

    allowed = os.sched_getaffinity(0)
    async with machine():
        thread = threading.Thread(target=confined_by_another)
        thread.start()
        thread.join()
    assert seen == [{max(allowed)}]


@pytest.mark.skipif(not os.path.exists("/proc/self/schedstat"), reason="this kernel keeps no schedstat")
def test_times_of_a_real_thread() -> None:
    ran, waited = times_ns(threading.get_native_id())
    assert ran > 0
    assert waited >= 0
