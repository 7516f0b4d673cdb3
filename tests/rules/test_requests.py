"""The request API (section "Overview" of the kernel's document)."""

from __future__ import annotations

import threading

import pytest

from avmm import NO_ACTION, NO_WAKEUP, REQUEST_MASK, WAIT, ExitReason, KickAction, Request, RequestError, VcpuMode
from avmm.plugin import Tracepoint, arch_request
from avmm.testing import Script, ScriptedVcpu, Spin, ToyRequest, in_thread
from avmm.vcpu.vcpu import Vcpu
from tests.sleepers import sleeps

WORK = ToyRequest.WORK
FLAGS = [0, NO_WAKEUP, WAIT, NO_WAKEUP | WAIT]


@pytest.fixture
async def vcpu(scripted_vm) -> Vcpu:
    """A vCPU whose task does not run."""
    vm = await scripted_vm([Spin()], start=False)
    return vm.vcpus[0]


async def test_r01_work_is_done_on_the_vcpus_own_thread(scripted_vm, slot):
    vm = await scripted_vm([Spin()], slot=slot)
    seen: list[tuple[bool, str]] = []
    vm.part().on_work = lambda vcpu: seen.append((vcpu.in_own_thread(), threading.current_thread().name))
    await vm.until(lambda: vm.guest().entries)
    in_thread(lambda: vm.vcpus[0].make_request_and_kick(WORK))
    await vm.until(lambda: len(seen) == 1)
    vm.vcpus[0].make_request_and_kick(WORK)
    await vm.until(lambda: len(seen) == 2)
    assert seen == [(True, "test-slot0" if slot == "thread" else threading.current_thread().name)] * 2
    assert not vm.vcpus[0].in_own_thread()


@pytest.mark.parametrize("number", range(64))
async def test_r02_request_pending_is_true_for_every_bit(vcpu, number):
    assert not vcpu.request_pending()
    vcpu.make_request(number)
    assert vcpu.request_pending()
    assert vcpu.request_pending()
    assert vcpu.requests == 1 << number
    vcpu.clear_request(number)
    assert not vcpu.request_pending()


async def test_r03_test_request_leaves_the_bit(vcpu):
    assert not vcpu.test_request(WORK)
    vcpu.make_request(WORK)
    assert vcpu.test_request(WORK)
    assert vcpu.test_request(WORK)
    assert not vcpu.test_request(ToyRequest.IRQ_PENDING)


async def test_r04_clear_request_clears_one_bit_only(vcpu):
    for request in (WORK, Request.TLB_FLUSH, ToyRequest.IRQ_PENDING):
        vcpu.make_request(request)
    assert vcpu.clear_request(WORK) is None
    assert vcpu.requests == 1 << (Request.TLB_FLUSH & REQUEST_MASK) | 1 << ToyRequest.IRQ_PENDING


async def test_r05_check_request_is_test_then_clear(vcpu):
    assert not vcpu.check_request(WORK)
    vcpu.make_request(WORK)
    vcpu.make_request(Request.MMU_RELOAD)
    assert vcpu.check_request(WORK)
    assert not vcpu.check_request(WORK)
    assert vcpu.requests == 1 << (Request.MMU_RELOAD & REQUEST_MASK)


async def test_r05_a_request_made_again_after_the_clear_survives(scripted_vm, slot):
    vm = await scripted_vm([Spin()], slot=slot)
    part = vm.part()

    def again(vcpu: Vcpu) -> None:  # check_request() has cleared the bit, and the handler runs
        assert not vcpu.test_request(WORK)
        if part.work_done == 1:
            in_thread(lambda: vcpu.make_request(WORK))

    part.on_work = again
    vm.vcpus[0].make_request_and_kick(WORK)
    await vm.until(lambda: part.work_done == 2)


async def test_r06_make_request_does_not_wake(scripted_vm, slot):
    vm = await scripted_vm([], slot=slot)
    vcpu = vm.vcpus[0]
    await vm.until(lambda: sleeps(vcpu))
    before = list(vcpu.stats.kicks)
    for _ in range(2):
        vcpu.make_request(WORK)
        in_thread(lambda: vcpu.make_request(WORK))
    await vm.passes()
    assert vcpu.asleep
    assert vcpu.test_request(WORK)
    assert (vcpu.stats.wakeups, vcpu.stats.kicks) == (0, before)


async def test_r06_make_request_does_not_kick(scripted_vm, slot):
    vm = await scripted_vm([Spin()], slot=slot, start=False)
    vcpu = vm.vcpus[0]
    seen: list[object] = []

    def request() -> None:
        before = list(vcpu.stats.kicks)
        in_thread(lambda: vcpu.make_request(WORK))
        seen.extend([vcpu.mode, vm.guest().kicked, vcpu.stats.kicks == before])

    vm.at(0, Tracepoint.AFTER_LAST_CHECK, request)
    await vm.start()
    await vm.until(lambda: vm.guest().entries)
    assert seen == [VcpuMode.IN_GUEST_MODE, False, True]
    if slot == "thread":  # there it stays until something else makes it leave
        await vm.until(lambda: vm.guest().spinning)
        assert vcpu.mode is VcpuMode.IN_GUEST_MODE
        assert vcpu.test_request(WORK)
    vcpu.make_request_and_kick(ToyRequest.IRQ_PENDING)
    await vm.until(lambda: vm.part().work_done)


async def test_r06_a_request_without_action_cannot_be_made_pending(vcpu):
    with pytest.raises(RequestError, match="NO_ACTION"):
        vcpu.make_request(Request.OUTSIDE_GUEST_MODE)
    with pytest.raises(RequestError):
        vcpu.make_request(WORK | NO_ACTION)
    assert vcpu.requests == 0


async def test_r07_all_vcpus_outside_is_false(scripted_vm, slot):
    vm = await scripted_vm([], vcpus=3, slot=slot)
    await vm.until(lambda: all(sleeps(vcpu) for vcpu in vm.vcpus))
    assert not vm.make_all_cpus_request(WORK | NO_WAKEUP)
    assert all(vcpu.test_request(WORK) for vcpu in vm.vcpus)


async def test_r07_one_vcpu_in_the_guest_is_true(scripted_vm):
    vm = await scripted_vm([], [Spin()], [], slot="thread")
    await vm.until(lambda: vm.guest(1).spinning and sleeps(vm.vcpus[0]) and sleeps(vm.vcpus[2]))
    assert vm.make_all_cpus_request(WORK | NO_WAKEUP)
    assert [vcpu.stats.requests_made[WORK] for vcpu in vm.vcpus] == [1, 1, 1]
    assert vm.vcpus[0].test_request(WORK)
    assert vm.vcpus[2].test_request(WORK)
    await vm.until(lambda: vm.part(1).work_done)


async def test_r07_the_callers_own_vcpu_is_reached_too(scripted_vm, slot):
    results: list[bool] = []

    def guest(cpu: ScriptedVcpu) -> Script:
        results.append(bool(vm.make_all_cpus_request(WORK)))
        yield Spin()

    vm = await scripted_vm(guest, [], slot=slot, start=False, max_in_guest=1)
    await vm.start()
    await vm.until(lambda: vm.part(0).work_done)
    assert results == [False]
    assert vm.vcpus[1].stats.requests_made[WORK] == 1
    assert vm.vcpus[0].stats.exits_by_reason[ExitReason.KICKED] >= 1  # its own entry ended, without an IPI


async def test_r07_a_chosen_set_of_vcpus(scripted_vm, slot):
    vm = await scripted_vm([], vcpus=4, slot=slot)
    await vm.until(lambda: all(sleeps(vcpu) for vcpu in vm.vcpus))
    vm.make_vcpus_request([1, 3], WORK)
    assert [vcpu.test_request(WORK) for vcpu in vm.vcpus] == [False, True, False, True]
    await vm.until(lambda: all(sleeps(vcpu) for vcpu in vm.vcpus))
    assert [vcpu.stats.wakeups for vcpu in vm.vcpus] == [0, 1, 0, 1]


async def test_r09_all_cpus_sends_exactly_one_ipi_to_each_vcpu_in_the_guest(scripted_vm):
    vm = await scripted_vm([Spin()], vcpus=3, slot="thread")
    await vm.until(lambda: all(vm.guest(index).spinning for index in range(3)))
    acks = vm.make_all_cpus_request(WORK)
    assert acks.ipis == 3
    await vm.until(lambda: all(vm.part(index).work_done for index in range(3)))
    assert [vcpu.stats.kicks[KickAction.IPI] for vcpu in vm.vcpus] == [1, 1, 1]


async def test_r22_a_request_is_a_bit_index(vcpu):
    numbers = {request: request & REQUEST_MASK for request in Request if request is not Request.OUTSIDE_GUEST_MODE}
    assert [numbers[request] for request in (Request.TLB_FLUSH, Request.MMU_RELOAD, Request.PENDING_TIMER, Request.UNHALT)] == [
        0, 1, 2, 3,
    ]  # fmt: skip
    assert len(set(numbers.values())) == len(numbers)
    for request, number in numbers.items():
        vcpu.make_request(request)
        assert vcpu.requests == 1 << number
        vcpu.clear_request(request)


def test_r23_no_other_module_touches_the_word():
    """What the vCPU is made of may look at it; only the word itself changes it."""
    import re
    from pathlib import Path

    import avmm

    sources = {source.name: source.read_text() for source in Path(avmm.__file__).parent.rglob("*.py")}
    assert {name for name, text in sources.items() if "._requests" in text} == {"word.py", "guest_entry.py", "vcpu.py"}
    assert [name for name, text in sources.items() if re.search(r"\._requests\b[^=\n]{0,3}=(?!=)", text)] == ["word.py"]


def test_r24_the_architecture_has_56_requests_from_bit_8():
    assert [arch_request(number) for number in (0, 1, 55)] == [8, 9, 63]
    for number in (-1, 56, 255):
        with pytest.raises(RequestError):
            arch_request(number)
    with pytest.raises(RequestError):
        arch_request(0, 1 << 11)


async def test_r24_bit_64_does_not_exist(vcpu):
    for operation in (vcpu.make_request, vcpu.test_request, vcpu.clear_request, vcpu.check_request, vcpu.make_request_and_kick):
        with pytest.raises(RequestError):
            operation(64)
    assert vcpu.requests == 0


@pytest.mark.parametrize("flags", FLAGS)
async def test_r30_flags_do_not_reach_the_bit_operations(vcpu, flags):
    vcpu.make_request(WORK | flags)
    assert vcpu.requests == 1 << WORK
    assert vcpu.test_request(WORK)
    assert vcpu.test_request(WORK | flags)
    assert vcpu.check_request(WORK | flags)
    vcpu.make_request(WORK)
    vcpu.clear_request(WORK | flags)
    assert vcpu.requests == 0


def test_r31_the_number_is_the_low_8_bits_and_flags_are_above():
    assert (REQUEST_MASK, NO_WAKEUP, WAIT, NO_ACTION) == (0xFF, 1 << 8, 1 << 9, 1 << 10)
    assert Request.TLB_FLUSH & ~REQUEST_MASK == WAIT | NO_WAKEUP
    assert Request.MMU_RELOAD & ~REQUEST_MASK == WAIT | NO_WAKEUP
    assert Request.PENDING_TIMER & ~REQUEST_MASK == 0
    assert Request.UNHALT & ~REQUEST_MASK == 0
    assert Request.SLEEP & ~REQUEST_MASK == WAIT | NO_WAKEUP
    assert arch_request(7, WAIT) == 15 | WAIT


async def test_r61_only_the_receiving_vcpu_clears_a_request(scripted_vm, slot):
    vm = await scripted_vm([], slot=slot)
    vcpu = vm.vcpus[0]
    await vm.until(lambda: sleeps(vcpu))
    in_thread(lambda: vcpu.make_request(WORK))
    in_thread(lambda: vcpu.make_request_and_kick(Request.TLB_FLUSH))
    vm.make_all_cpus_request(ToyRequest.IRQ_PENDING | NO_WAKEUP)
    await vm.passes()
    assert vcpu.asleep  # so nothing it alone may clear is cleared
    assert all(vcpu.test_request(request) for request in (WORK, Request.TLB_FLUSH, ToyRequest.IRQ_PENDING))


async def test_r62_a_requester_that_is_serialised_with_the_vcpu_may_clear(scripted_vm, slot):
    results: list[bool] = []

    def guest(cpu: ScriptedVcpu) -> Script:  # runs on the vCPU's own thread: requester and receiver are one
        vm.vcpus[0].make_request(WORK)
        vm.vcpus[0].clear_request(WORK)
        results.append(vm.vcpus[0].request_pending())
        yield Spin()

    vm = await scripted_vm(guest, slot=slot, start=False)
    await vm.start()
    await vm.until(lambda: results)
    assert results == [False]
    assert vm.part().work_done == 0
