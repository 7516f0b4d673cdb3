"""Requests with associated state, and kicks by the hundred thousand, on real threads."""

from __future__ import annotations

import asyncio
import threading

from avmm import KickAction
from avmm.testing import Spin, ToyRequest, in_thread

WORK = ToyRequest.WORK
ROUNDS = 100_000


async def test_r37_r38_r39_the_state_read_is_never_older_than_the_request(scripted_vm, eager_threads):
    vm = await scripted_vm([], start=False)
    vcpu = vm.vcpus[0]
    state = made = 0
    seen: list[int] = []

    def requester() -> None:
        nonlocal state, made
        for number in range(1, ROUNDS + 1):
            state = number
            vcpu.make_request(WORK)
            made = number

    def receiver() -> None:  # the vCPU's own thread, here: the one that checks
        while not seen or seen[-1] < ROUNDS:
            made_before = made
            if vcpu.check_request(WORK):
                seen.append(state)
                assert seen[-1] >= made_before

    thread = threading.Thread(target=requester)
    thread.start()
    await asyncio.to_thread(receiver)
    thread.join()
    assert seen == sorted(seen)
    assert seen[-1] == ROUNDS
    assert not vcpu.request_pending()


async def test_r37_state_written_before_the_request_is_there_for_the_handler(scripted_vm, slot):
    vm = await scripted_vm([Spin()], slot=slot)
    state, seen = [0], []
    vm.part().on_work = lambda vcpu: seen.append(state[0])
    await vm.until(lambda: vm.guest().entries)

    def requester(number: int) -> None:
        state[0] = number
        vm.vcpus[0].make_request_and_kick(WORK)

    for number in range(1, 51):
        if number % 2:
            in_thread(lambda number=number: requester(number))
        else:
            requester(number)
        await vm.until(lambda number=number: seen and seen[-1] == number)
    assert seen == list(range(1, 51))


async def test_no_kick_of_a_hundred_thousand_is_lost(scripted_vm):
    """Each kick is waited for, so that a lost one hangs the guest for good; the next comes as the vCPU is on its way back in."""
    vm = await scripted_vm([Spin()], slot="thread", start=False)
    vm.tracing = False
    vcpu, guest = vm.vcpus[0], vm.guest()
    vcpu.trace = guest.on_spin = None
    handled = threading.Semaphore(0)
    vm.part().on_work = lambda vcpu: handled.release()
    await vm.start()

    def requester() -> int:
        for number in range(ROUNDS):
            vcpu.make_request_and_kick(WORK)
            assert handled.acquire(timeout=60), f"kick {number} was lost: {vcpu!r}, kick latched: {guest.kicked}"
        return vm.part().work_done

    assert await asyncio.to_thread(requester) == ROUNDS
    assert vcpu.stats.requests_made[WORK] == ROUNDS
    assert sum(vcpu.stats.kicks) == ROUNDS + 1  # one of vm.start()'s power-off


async def test_two_requesters_who_do_not_wait_lose_nothing_either(scripted_vm, eager_threads):
    vm = await scripted_vm([Spin()], slot="thread", start=False)
    vm.tracing = False
    vcpu = vm.vcpus[0]
    vcpu.trace = vm.guest().on_spin = None
    rounds, last = 5_000, threading.Event()
    asked, answered = [0, 0], [0, 0]

    def answer(vcpu: object) -> None:
        answered[:] = asked
        if answered == [rounds, rounds]:
            last.set()

    vm.part().on_work = answer
    await vm.start()

    def requester(which: int) -> None:
        for number in range(1, rounds + 1):
            asked[which] = number
            vcpu.make_request_and_kick(WORK)

    await asyncio.gather(asyncio.to_thread(requester, 0), asyncio.to_thread(requester, 1))
    assert await asyncio.to_thread(last.wait, 60), f"the last kick was lost: {vcpu!r}"
    assert vcpu.stats.kicks[KickAction.IPI] <= 2 * rounds
