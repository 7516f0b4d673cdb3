"""The state table: what a request does to a vCPU, for every mode, asleep or not, with every flag, by both ways in.

Every row is reached for real: the run loop is stopped at a tracepoint (or the guest is really running), and a requester on a
thread of its own acts on it there.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from avmm import NO_WAKEUP, WAIT, Acknowledgements, KickAction, VcpuMode
from avmm.plugin import Tracepoint
from avmm.testing import ScriptedVm, Spin, ToyRequest, in_thread
from avmm.vcpu.kicker import kick
from avmm.vcpu.vcpu import Vcpu
from tests.sleepers import sleeps

OUTSIDE, IN, EXITING, READING = (
    VcpuMode.OUTSIDE_GUEST_MODE,
    VcpuMode.IN_GUEST_MODE,
    VcpuMode.EXITING_GUEST_MODE,
    VcpuMode.READING_SHADOW_PAGE_TABLES,
)
NONE, BOTH = 0, NO_WAKEUP | WAIT
FLAGS = (NONE, NO_WAKEUP, WAIT, BOTH)
FLAG_NAMES = {NONE: "none", NO_WAKEUP: "NO_WAKEUP", WAIT: "WAIT", BOTH: "NO_WAKEUP+WAIT"}
AWAKE, ASLEEP = False, True
KICK, ALL_CPUS = "make_request, then kick", "make_all_cpus_request"


@dataclass(frozen=True)
class Row:
    """A row of the table."""

    number: int
    mode: VcpuMode
    asleep: bool
    flags: int
    way: str
    ipi: bool = False
    woken: bool = False
    waited: bool = False
    new_mode: VcpuMode | None = None
    """None: unchanged."""

    def __str__(self) -> str:
        asleep = "asleep" if self.asleep else "awake"
        return f"S-{self.number}-{self.mode.name.split('_')[0]}-{asleep}-{FLAG_NAMES[self.flags]}-{self.way.split(',')[0]}"


def _rows(first: int, mode: VcpuMode, asleep: bool, way: str, *outcomes: dict[str, object]) -> list[Row]:
    """Four rows, one for each combination of flags, from number `first`."""
    assert len(outcomes) == 4
    return [
        Row(first + offset, mode, asleep, flags, way, **outcome)  # type: ignore[arg-type]
        for offset, (flags, outcome) in enumerate(zip(FLAGS, outcomes, strict=True))
    ]


NOTHING: dict[str, object] = {}
WOKEN: dict[str, object] = {"woken": True}
IPI: dict[str, object] = {"ipi": True, "new_mode": EXITING}
IPI_WAITED: dict[str, object] = {"ipi": True, "waited": True, "new_mode": EXITING}
WAITED: dict[str, object] = {"ipi": True, "waited": True}

#                          flags:         none     NO_WAKEUP WAIT        both
REACHABLE = [
    *_rows(1, OUTSIDE, AWAKE, KICK, NOTHING, NOTHING, NOTHING, NOTHING),
    *_rows(5, OUTSIDE, ASLEEP, KICK, WOKEN, WOKEN, WOKEN, WOKEN),
    *_rows(9, IN, AWAKE, KICK, IPI, IPI, IPI, IPI),
    *_rows(17, EXITING, AWAKE, KICK, NOTHING, NOTHING, NOTHING, NOTHING),
    *_rows(25, READING, AWAKE, KICK, NOTHING, NOTHING, NOTHING, NOTHING),
    *_rows(33, OUTSIDE, AWAKE, ALL_CPUS, NOTHING, NOTHING, NOTHING, NOTHING),
    *_rows(37, OUTSIDE, ASLEEP, ALL_CPUS, WOKEN, NOTHING, WOKEN, NOTHING),
    *_rows(41, IN, AWAKE, ALL_CPUS, IPI, IPI, IPI_WAITED, IPI_WAITED),
    *_rows(49, EXITING, AWAKE, ALL_CPUS, NOTHING, NOTHING, WAITED, WAITED),
    *_rows(57, READING, AWAKE, ALL_CPUS, NOTHING, NOTHING, WAITED, WAITED),
]
UNREACHABLE = sorted(set(range(1, 65)) - {row.number for row in REACHABLE})
"""A sleeper is always OUTSIDE: the rows of sleepers in the other three modes (shown below)."""


@dataclass
class Seen:
    """What became of a request."""

    ipis: int
    wakeups: int
    mode: VcpuMode
    pending: bool
    acks: Acknowledgements | None
    waited: bool
    true: bool


def _make_and_look(vcpu: Vcpu, make: Callable[[Vcpu], Acknowledgements | None]) -> Seen:
    stats = vcpu.stats
    ipis, wakeups, kicks = stats.kicks[KickAction.IPI], stats.wakeups, sum(stats.kicks)
    acks = in_thread(lambda: make(vcpu))
    assert sum(stats.kicks) == kicks + 1  # one kick comes to one thing
    return Seen(
        ipis=stats.kicks[KickAction.IPI] - ipis,
        wakeups=stats.wakeups - wakeups,
        mode=vcpu.mode,
        pending=vcpu.test_request(ToyRequest.WORK),
        acks=acks,
        waited=acks is not None and not acks.complete,
        true=bool(acks),
    )


async def _in_state(vm: ScriptedVm, mode: VcpuMode, asleep: bool, act: Callable[[Vcpu], Seen]) -> Seen:
    """Bring the vCPU of `vm` to `mode` and do `act` there."""
    vcpu, seen = vm.vcpus[0], []

    def here() -> None:
        assert (vcpu.mode, vcpu.asleep) == (mode, asleep)
        seen.append(act(vcpu))

    def exiting() -> None:
        in_thread(lambda: vcpu.make_request_and_kick(ToyRequest.IRQ_PENDING))
        here()

    if asleep:
        await vm.start()
        await vm.until(lambda: sleeps(vcpu))
        here()
    else:
        match mode:
            case VcpuMode.OUTSIDE_GUEST_MODE:
                vm.at(0, Tracepoint.LOOP_TOP, here)
            case VcpuMode.IN_GUEST_MODE:
                vm.at(0, Tracepoint.AFTER_LAST_CHECK, here)
            case VcpuMode.EXITING_GUEST_MODE:
                vm.at(0, Tracepoint.AFTER_LAST_CHECK, exiting)
            case VcpuMode.READING_SHADOW_PAGE_TABLES:
                vm.at(0, Tracepoint.LOOP_TOP, lambda: _walk(vcpu))
                vm.at(0, Tracepoint.READING, here)
        await vm.start()
        await vm.until(lambda: seen)
    return seen[0]


def _walk(vcpu: Vcpu) -> None:
    with vcpu.reading_shadow_page_tables():
        pass


def _check(row: Row, seen: Seen) -> None:
    assert (seen.ipis, seen.wakeups, seen.waited) == (row.ipi, row.woken, row.waited)
    assert seen.mode is (row.mode if row.new_mode is None else row.new_mode)
    if not row.woken:  # a thread of its own may have gone on since
        assert seen.pending
    if seen.acks is not None:
        assert seen.true == row.ipi


@pytest.mark.parametrize("row", REACHABLE, ids=str)
async def test_every_reachable_row(scripted_vm, row, slot):
    vm = await scripted_vm([] if row.asleep else [Spin()], slot=slot, start=False)
    request = ToyRequest.WORK | row.flags

    def make(vcpu: Vcpu) -> Acknowledgements | None:
        if row.way == ALL_CPUS:
            return vm.make_all_cpus_request(request)
        vcpu.make_request(request)
        kick(vcpu)
        return None

    seen = await _in_state(vm, row.mode, row.asleep, lambda vcpu: _make_and_look(vcpu, make))
    _check(row, seen)
    if seen.acks is not None:
        await vm.until(lambda: seen.acks.complete)
        assert await seen.acks == row.ipi
    if not row.asleep:
        await vm.until(lambda: vm.part().work_done)


@pytest.mark.parametrize("row", [row for row in REACHABLE if row.way == ALL_CPUS], ids=str)
async def test_make_request_and_kick_honours_flags_just_so(scripted_vm, row, slot):
    vm = await scripted_vm([] if row.asleep else [Spin()], slot=slot, start=False)
    request = ToyRequest.WORK | row.flags
    seen = await _in_state(
        vm, row.mode, row.asleep, lambda vcpu: _make_and_look(vcpu, lambda vcpu: vcpu.make_request_and_kick(request))
    )
    _check(row, seen)
    await vm.until(lambda: seen.acks.complete)
    assert await seen.acks == row.ipi


@pytest.mark.parametrize("flags", FLAGS, ids=FLAG_NAMES.get)
@pytest.mark.parametrize("way", [KICK, ALL_CPUS])
async def test_a_guest_that_really_runs(scripted_vm, flags, way):
    vm = await scripted_vm([Spin()], slot="thread")
    vcpu, request = vm.vcpus[0], ToyRequest.WORK | flags
    await vm.until(lambda: vm.guest().spinning)
    assert vcpu.mode is IN
    if way == ALL_CPUS:
        acks = vm.make_all_cpus_request(request)
        assert acks.ipis == 1
        await acks
        if flags & WAIT:
            assert vcpu.stats.ipis_acknowledged == 1
    else:
        vcpu.make_request(request)
        assert kick(vcpu) is KickAction.IPI
    await vm.until(lambda: vm.part().work_done and vm.guest().spinning)
    assert (vcpu.stats.kicks[KickAction.IPI], vcpu.stats.exits, vm.guest().entries) == (1, 1, 2)


def test_the_table_is_complete():
    assert len(REACHABLE) == 40
    assert [*range(13, 17), *range(21, 25), *range(29, 33), *range(45, 49), *range(53, 57), *range(61, 65)] == UNREACHABLE
    assert len({(row.mode, row.asleep, row.flags, row.way) for row in REACHABLE}) == 40


async def test_a_sleeper_is_always_outside(scripted_vm, slot):
    """The rows of sleepers that are IN, EXITING or READING cannot come about: nobody gets on the queue in those modes."""
    vm = await scripted_vm([], vcpus=2, slot=slot, start=False, halt_poll_ns=0)
    vm.tracing = False
    modes: set[tuple[bool, VcpuMode]] = set()
    for vcpu, point in itertools.product(vm.vcpus, Tracepoint):
        vm.at(vcpu.index, point, lambda vcpu=vcpu: modes.add((vcpu.asleep, vcpu.mode)), once=False)
    await vm.start()
    for _ in range(50):
        await vm.until(lambda: all(sleeps(vcpu) for vcpu in vm.vcpus))
        vm.toy.raise_irq(0)
        vm.part(0).pending_irqs = 0
        vm.vcpus[1].make_request_and_kick(ToyRequest.WORK)
        vm.toy.raise_irq(1)
        await vm.until(lambda: not vm.vcpus[1].asleep)
        vm.part(1).pending_irqs = 0
        await vm.halt_guest()
        vm.resume_guest()
    assert {mode for asleep, mode in modes if asleep} == {OUTSIDE}
    assert {OUTSIDE, IN} <= {mode for asleep, mode in modes if not asleep}
