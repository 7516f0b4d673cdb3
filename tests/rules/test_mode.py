"""The vCPU's mode (section "VCPU Mode")."""

from __future__ import annotations

import asyncio
import threading
from inspect import getattr_static

import pytest

from avmm import KickAction, Request, VcpuMode
from avmm.plugin import Tracepoint
from avmm.testing import Compute, ScriptedVm, Spin, ToyRequest, in_thread
from avmm.vcpu.vcpu import Vcpu
from tests.sleepers import sleeps

WORK = ToyRequest.WORK
OUTSIDE, IN, EXITING, READING = (
    VcpuMode.OUTSIDE_GUEST_MODE,
    VcpuMode.IN_GUEST_MODE,
    VcpuMode.EXITING_GUEST_MODE,
    VcpuMode.READING_SHADOW_PAGE_TABLES,
)

writes: list[tuple[bool, VcpuMode, VcpuMode]] = []
"""(by the vCPU itself, old, new) of every write of a watched vCPU's mode."""
_mode = getattr_static(Vcpu, "mode")


class WatchedVcpu(Vcpu):
    """A vCPU that records every write of its mode."""

    __slots__ = ()

    def _write(self, new: VcpuMode) -> None:
        entering = threading.current_thread().name.startswith("test-slot") or self.in_own_thread()
        writes.append((entering, _mode.__get__(self), new))
        _mode.__set__(self, new)

    mode = property(lambda self: _mode.__get__(self), _write)


async def test_r16_nobody_but_a_kicker_writes_another_vcpus_mode(scripted_vm, slot):
    writes.clear()
    vm = await scripted_vm([Compute(3), Spin()], vcpus=2, slot=slot, start=False)
    vm.tracing = False
    for vcpu in vm.vcpus:
        vcpu.__class__ = WatchedVcpu
        vm.at(vcpu.index, Tracepoint.AFTER_LAST_CHECK, lambda vcpu=vcpu: _kick_twice(vcpu), once=False)
        vm.at(vcpu.index, Tracepoint.LOOP_TOP, lambda vcpu=vcpu: _walk(vcpu), once=False)
    await vm.start()
    await vm.until(lambda: all(vm.part(index).work_done > 20 for index in range(2)))
    await vm.stop()
    transitions = {(own, old, new) for own, old, new in writes if old is not new}
    assert {(old, new) for own, old, new in transitions if not own} == {(IN, EXITING)}
    assert {(old, new) for own, old, new in transitions if own} <= {
        (OUTSIDE, IN), (IN, OUTSIDE), (EXITING, OUTSIDE), (OUTSIDE, READING), (READING, OUTSIDE),
    }  # fmt: skip


def _kick_twice(vcpu: Vcpu) -> None:
    for _ in range(2):
        in_thread(lambda: vcpu.make_request_and_kick(WORK))


def _walk(vcpu: Vcpu) -> None:
    with vcpu.reading_shadow_page_tables():
        in_thread(lambda: vcpu.make_request_and_kick(Request.TLB_FLUSH))


async def test_r17_the_mode_spares_needless_ipis(scripted_vm, slot):
    vm = await scripted_vm([Spin()], slot=slot, start=False)
    vm.at(0, Tracepoint.LOOP_TOP, lambda: _kick_twice(vm.vcpus[0]))
    vm.at(0, Tracepoint.IRQS_OFF, lambda: _kick_twice(vm.vcpus[0]))
    await vm.start()
    await vm.until(lambda: vm.guest().entries)
    assert vm.vcpus[0].stats.kicks[KickAction.IPI] == 0
    assert vm.part().work_done == 2


def test_r18_outside_is_zero_and_the_order_is_the_kernels():
    assert [int(mode) for mode in (OUTSIDE, IN, EXITING, READING)] == [0, 1, 2, 3]


async def test_r18_a_new_vcpu_is_outside(scripted_vm):
    vm = await scripted_vm([], start=False)
    assert vm.vcpus[0].mode is OUTSIDE


@pytest.mark.parametrize("kick_at", [None, Tracepoint.MODE_IN, Tracepoint.AFTER_LAST_CHECK])
async def test_r18_r19_r20_the_mode_at_every_point_of_a_pass(scripted_vm, slot, kick_at):
    vm: ScriptedVm = await scripted_vm([Compute(1)], slot=slot, start=False)
    vcpu, modes = vm.vcpus[0], {}
    for point in Tracepoint:
        vm.at(0, point, lambda point=point: modes.setdefault(point, []).append(vcpu.mode), once=False)
    if kick_at is not None:

        def kicked_here() -> None:
            modes.setdefault(kick_at, []).append(vcpu.mode)
            if len(modes[kick_at]) == 1:
                in_thread(lambda: vcpu.make_request_and_kick(WORK))
                modes["after the kick"] = [vcpu.mode]

        vm.at(0, kick_at, kicked_here, once=False)
    await vm.start()
    await vm.until(lambda: sleeps(vcpu) and Tracepoint.ASLEEP in modes)
    for point in (Tracepoint.LOOP_TOP, Tracepoint.AFTER_REQUESTS, Tracepoint.IRQS_OFF, Tracepoint.EXIT, Tracepoint.ASLEEP):
        assert set(modes[point]) == {OUTSIDE}
    assert set(modes[Tracepoint.MODE_IN]) == set(modes[Tracepoint.AFTER_LAST_CHECK]) == {IN}
    if kick_at is Tracepoint.MODE_IN:
        assert modes["after the kick"] == [EXITING]
        assert modes[Tracepoint.ENTRY_ABORTED] == [OUTSIDE]
    if kick_at is Tracepoint.AFTER_LAST_CHECK:
        assert modes["after the kick"] == [EXITING]
        assert modes[Tracepoint.ENTRY][0] is EXITING


@pytest.mark.parametrize("request_", [Request.TLB_FLUSH, Request.MMU_RELOAD, Request.OUTSIDE_GUEST_MODE])
async def test_r21_r53_requests_with_wait_wait_for_a_reader(scripted_vm, slot, request_):
    """Whichever request it is: the flag decides, not the number."""
    vm = await scripted_vm([Spin()], slot=slot, start=False)
    vcpu, acks, during = vm.vcpus[0], [], []

    def read() -> None:
        with vcpu.reading_shadow_page_tables():
            acks.append(in_thread(lambda: vm.make_all_cpus_request(request_)))
            acks.append(in_thread(lambda: vm.make_all_cpus_request(WORK)))
            during.extend([acks[0].complete, acks[1].complete, acks[0].ipis, acks[1].ipis, vm.guest().kicked])
        during.append(acks[0].complete)

    vm.at(0, Tracepoint.LOOP_TOP, read)
    await vm.start()
    await vm.until(lambda: vm.guest().entries)
    assert during == [False, True, 1, 0, False, True]


async def test_r21_a_task_that_asks_while_the_reader_is_suspended_waits(scripted_vm):
    """A reader is known by its task, not by its thread: on the event loop's they are all the same."""
    vm = await scripted_vm([], start=False)
    vcpu = vm.vcpus[0]
    reading = vcpu.reading_shadow_page_tables()
    reading.__enter__()
    asked = asyncio.ensure_future(_flush(vm))
    await vm.passes()
    assert not asked.done()
    reading.__exit__(None, None, None)
    await asked
    assert vcpu.mode is OUTSIDE


async def _flush(vm: ScriptedVm) -> None:
    await vm.make_all_cpus_request(Request.TLB_FLUSH)


async def test_r21_page_tables_are_read_outside_guest_mode(scripted_vm):
    vm = await scripted_vm([], start=False)
    failed = []

    def read() -> None:
        with pytest.raises(AssertionError), vm.vcpus[0].reading_shadow_page_tables():
            pass
        failed.append(vm.vcpus[0].mode)

    vm.at(0, Tracepoint.MODE_IN, read)
    await vm.start()
    await vm.until(lambda: failed)
    assert failed == [IN]
