"""Flags and acknowledgements (sections "VCPU Request Flags" and "Waiting for Acknowledgements")."""

from __future__ import annotations

import asyncio
import threading

import pytest

from avmm import NO_ACTION, NO_WAKEUP, WAIT, KickAction, Request, VcpuMode
from avmm.plugin import Tracepoint
from avmm.testing import Spin, ToyRequest, in_thread
from tests.sleepers import sleeps

WORK = ToyRequest.WORK


@pytest.mark.parametrize("flags", [NO_WAKEUP, NO_WAKEUP | WAIT])
async def test_r32_r36_no_wakeup_leaves_sleepers_asleep_and_is_not_waited_for(scripted_vm, slot, flags):
    vm = await scripted_vm([], vcpus=3, slot=slot)
    await vm.until(lambda: all(sleeps(vcpu) for vcpu in vm.vcpus))
    acks = vm.make_all_cpus_request(WORK | flags)
    assert acks.complete
    assert await acks is False
    await vm.passes()
    assert all(vcpu.asleep and vcpu.stats.wakeups == 0 and vcpu.test_request(WORK) for vcpu in vm.vcpus)


async def test_r33_a_sleeper_left_asleep_handles_it_before_it_enters_again(scripted_vm, slot):
    vm = await scripted_vm([], slot=slot)
    vcpu, order = vm.vcpus[0], []
    await vm.until(lambda: sleeps(vcpu))
    vcpu.make_request_and_kick(WORK | NO_WAKEUP)
    vm.part().on_work = lambda vcpu: order.append("work")
    vm.at(0, Tracepoint.ENTRY, lambda: order.append("entry"))
    vm.toy.raise_irq(0)
    await vm.until(lambda: len(order) == 2)
    assert order == ["work", "entry"]


async def test_r34_wait_waits_for_the_exit_but_not_for_the_handler(scripted_vm):
    vm = await scripted_vm([Spin()], vcpus=2, slot="thread")
    await vm.until(lambda: all(vm.guest(index).spinning for index in range(2)))
    inside: list[bool] = []
    pending: list[bool] = []
    hold = threading.Event()
    for index in range(2):
        vm.at(index, Tracepoint.EXIT, lambda: hold.wait(60))  # out, and not yet back in its task

    def requester() -> None:
        acks = vm.make_all_cpus_request(WORK | WAIT)
        assert acks.wait(60)
        inside.extend(vm.guest(index).in_guest for index in range(2))
        pending.extend(vcpu.test_request(WORK) for vcpu in vm.vcpus)
        hold.set()

    await asyncio.to_thread(requester)
    assert inside == [False, False]
    assert pending == [True, True]
    await vm.until(lambda: all(vm.part(index).work_done for index in range(2)))
    assert [vcpu.stats.ipis_acknowledged for vcpu in vm.vcpus] == [1, 1]


async def test_r34_a_coroutine_waits_too(scripted_vm):
    vm = await scripted_vm([Spin()], vcpus=3, slot="thread")
    await vm.until(lambda: all(vm.guest(index).spinning for index in range(3)))
    assert await vm.make_all_cpus_request(WORK | WAIT) is True
    assert all(vcpu.stats.ipis_acknowledged == 1 for vcpu in vm.vcpus)


async def test_r34_many_wait_for_one_vcpu(scripted_vm, slot):
    vm = await scripted_vm([Spin()], slot=slot, start=False)
    acks = []
    vm.at(
        0,
        Tracepoint.AFTER_LAST_CHECK,
        lambda: acks.extend(in_thread(lambda: vm.make_all_cpus_request(WORK | WAIT)) for _ in range(5)),
    )
    await vm.start()
    await vm.until(lambda: acks)
    assert await asyncio.gather(*acks) == [True] * 5
    assert vm.vcpus[0].stats.ipis_acknowledged == 5


async def test_r34_waiting_is_cancelled_without_harm(scripted_vm):
    vm = await scripted_vm([Spin()], slot="inline", start=False)
    vcpu, acks = vm.vcpus[0], []
    reading = vcpu.reading_shadow_page_tables()
    reading.__enter__()

    async def ask() -> None:
        acks.append(vm.make_all_cpus_request(Request.TLB_FLUSH))
        await acks[0]

    asked = asyncio.ensure_future(ask())
    await vm.passes()
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    reading.__exit__(None, None, None)
    assert acks[0].complete
    assert await acks[0] is True


async def test_r34_a_thread_that_waits_too_long_is_told(scripted_vm):
    vm = await scripted_vm([], start=False)
    reading = vm.vcpus[0].reading_shadow_page_tables()
    reading.__enter__()
    acks = vm.make_all_cpus_request(Request.TLB_FLUSH)
    assert in_thread(lambda: acks.wait(0.0)) is False
    with pytest.raises(RuntimeError, match="await"):
        acks.wait()  # on the event loop's thread
    reading.__exit__(None, None, None)
    assert in_thread(acks.wait) is True


async def test_r35_wait_does_not_wait_for_who_gets_no_ipi(scripted_vm, slot):
    vm = await scripted_vm([], vcpus=2, slot=slot)
    await vm.until(lambda: all(sleeps(vcpu) for vcpu in vm.vcpus))
    acks = vm.make_all_cpus_request(WORK | WAIT)  # wakes them
    assert acks.complete
    assert acks.ipis == 0


async def test_r36b_no_action_leaves_nothing_pending(scripted_vm):
    vm = await scripted_vm([Spin()], [], slot="thread")
    await vm.until(lambda: vm.guest(0).spinning and sleeps(vm.vcpus[1]))
    before = dict(vm.vcpus[0].stats.requests_made)
    assert await vm.make_all_cpus_request(Request.OUTSIDE_GUEST_MODE) is True
    assert vm.vcpus[0].stats.ipis_acknowledged == 1
    assert vm.vcpus[1].asleep
    assert [vcpu.requests for vcpu in vm.vcpus] == [0, 0]
    assert before == dict(vm.vcpus[0].stats.requests_made)
    assert Request.OUTSIDE_GUEST_MODE & NO_ACTION
    await vm.until(lambda: vm.guest(0).spinning)  # and in again


@pytest.mark.parametrize("mode", ["IN", "EXITING", "READING", "OUTSIDE"])
async def test_r52_r54_wait_asks_for_an_ipi_whenever_the_mode_is_not_outside(scripted_vm, slot, mode):
    vm = await scripted_vm([Spin()], slot=slot, start=False)
    vcpu, seen = vm.vcpus[0], []

    def here() -> None:
        if mode == "EXITING":
            in_thread(lambda: vcpu.make_request_and_kick(WORK))
        assert vcpu.mode.name.startswith(mode)
        with_wait = in_thread(lambda: vcpu.make_request_and_kick(WORK | WAIT))
        again = in_thread(lambda: vcpu.make_request_and_kick(WORK | WAIT))
        without = in_thread(lambda: vcpu.make_request_and_kick(WORK))
        seen.extend([with_wait.ipis, again.ipis, without.ipis])

    if mode == "READING":

        def read() -> None:
            with vcpu.reading_shadow_page_tables():
                here()

        vm.at(0, Tracepoint.LOOP_TOP, read)
    else:
        vm.at(0, Tracepoint.LOOP_TOP if mode == "OUTSIDE" else Tracepoint.AFTER_LAST_CHECK, here)
    await vm.start()
    await vm.until(lambda: seen)
    assert seen == ([0, 0, 0] if mode == "OUTSIDE" else [1, 1, 0])


async def test_r52_an_aborted_entry_acknowledges(scripted_vm, slot):
    vm = await scripted_vm([Spin()], slot=slot, start=False)
    acks = []
    vm.at(0, Tracepoint.MODE_IN, lambda: acks.append(in_thread(lambda: vm.make_all_cpus_request(WORK | WAIT))))
    await vm.start()
    await vm.until(lambda: acks and acks[0].complete)
    assert vm.vcpus[0].stats.aborted_entries == 1
    assert vm.vcpus[0].stats.ipis_acknowledged == 1


async def test_r25_a_flush_reaches_all_and_is_counted_when_it_took_an_ipi(scripted_vm):
    vm = await scripted_vm([Spin()], [], slot="thread")
    await vm.until(lambda: vm.guest(0).spinning and sleeps(vm.vcpus[1]))
    await vm.flush_remote_tlbs()
    assert (vm.remote_tlb_flush_requests, vm.remote_tlb_flush) == (1, 1)
    await vm.until(lambda: vm.guest(0).tlb_flushes)
    assert vm.vcpus[1].asleep
    assert vm.vcpus[1].test_request(Request.TLB_FLUSH)
    flushes: list[int] = []
    vm.at(1, Tracepoint.ENTRY, lambda: flushes.append(vm.guest(1).tlb_flushes))
    vm.toy.raise_irq(1)
    await vm.until(lambda: flushes)
    assert flushes == [1]


async def test_r25_a_flush_of_sleepers_is_not_counted(scripted_vm, slot):
    vm = await scripted_vm([], vcpus=2, slot=slot)
    await vm.until(lambda: all(sleeps(vcpu) for vcpu in vm.vcpus))
    await vm.flush_remote_tlbs()
    assert (vm.remote_tlb_flush_requests, vm.remote_tlb_flush) == (1, 0)
    assert all(vcpu.asleep and vcpu.stats.wakeups == 0 for vcpu in vm.vcpus)


async def test_r26_removed_memory_is_gone_before_any_vcpu_enters_again(scripted_vm, slot):
    from avmm.plugin import MemorySlot

    vm = await scripted_vm([Spin()], [], slot=slot)
    await vm.until(lambda: vm.guest(0).entries and sleeps(vm.vcpus[1]))
    await vm.pause()
    slot_ = MemorySlot(0x8000_0000, 0x1000, name="hot")
    await vm.add_memory(slot_)
    assert vm.memory.find(0x8000_0000, 4) is slot_
    await vm.remove_memory(slot_)
    assert vm.memory.find(0x8000_0000, 4) is None
    assert all(vcpu.test_request(Request.MMU_RELOAD) for vcpu in vm.vcpus)
    flushes = vm.guest(0).tlb_flushes
    at_entry: list[int] = []
    vm.at(0, Tracepoint.ENTRY, lambda: at_entry.append(vm.guest(0).tlb_flushes))
    await vm.resume()
    await vm.until(lambda: at_entry)
    assert at_entry[0] > flushes
    assert vm.vcpus[0].mode in VcpuMode


async def test_r09_every_kick_of_an_all_cpus_request_is_counted_once(scripted_vm, slot):
    vm = await scripted_vm([Spin()], [], [], slot=slot)
    await vm.until(lambda: vm.guest(0).entries and sleeps(vm.vcpus[1]) and sleeps(vm.vcpus[2]))
    before = [sum(vcpu.stats.kicks) for vcpu in vm.vcpus]
    vm.make_all_cpus_request(WORK)
    assert [sum(vcpu.stats.kicks) - count for vcpu, count in zip(vm.vcpus, before, strict=True)] == [1, 1, 1]
    assert vm.vcpus[1].stats.kicks[KickAction.WAKEUP] == 1
