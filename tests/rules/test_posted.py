"""Kicks without a request (section "Request-less VCPU Kicks")."""

from __future__ import annotations

import pytest

from avmm import KickAction, VmFailed
from avmm.plugin import PostedWord, Tracepoint
from avmm.testing import Script, ScriptedVcpu, ScriptedVm, Spin, ToyRequest, in_thread
from avmm.vcpu.kicker import kick
from tests.sleepers import sleeps


def _says_so(cpu: ScriptedVcpu) -> Script:
    cpu.write_register("x0", 1)
    yield Spin()


async def test_r55_r56_a_bare_kick_before_the_mode_is_set_does_nothing(scripted_vm, slot):
    """What it was meant to bring about is not done: the vCPU enters."""
    vm = await scripted_vm(_says_so, slot=slot, start=False)
    actions: list[KickAction] = []
    vm.at(0, Tracepoint.IRQS_OFF, lambda: actions.append(in_thread(lambda: kick(vm.vcpus[0]))))
    await vm.start()
    await vm.until(lambda: vm.guest().read_register("x0"))
    assert actions == [KickAction.NOTHING]
    assert (vm.vcpus[0].stats.aborted_entries, vm.guest().entries) == (0, 1)


async def test_r56_with_a_request_the_same_kick_makes_the_loop_go_round_once(scripted_vm, slot):
    vm = await scripted_vm(_says_so, slot=slot, start=False)
    vm.at(0, Tracepoint.IRQS_OFF, lambda: in_thread(lambda: vm.vcpus[0].make_request_and_kick(ToyRequest.IRQ_PENDING)))
    await vm.start()
    await vm.until(lambda: vm.guest().read_register("x0"))
    assert vm.vcpus[0].stats.aborted_entries == 1
    assert vm.part().irq_flushes == 1


def _take_at_flush(vm: ScriptedVm) -> tuple[PostedWord, list[int]]:
    """Have vCPU 0 take its posted bits where an architecture does: in flush_hwstate."""
    word, taken = vm.vcpus[0].post_with(), []
    part = vm.part()
    flush = part.flush_hwstate

    def flush_hwstate() -> None:
        if bits := word.take():
            taken.append(bits)
        flush()

    part.flush_hwstate = flush_hwstate
    return word, taken


@pytest.mark.parametrize(
    "point", [Tracepoint.LOOP_TOP, Tracepoint.IRQS_OFF, Tracepoint.MODE_IN, Tracepoint.AFTER_LAST_CHECK, Tracepoint.ENTRY]
)
async def test_r57_r58_a_posted_word_is_seen_wherever_it_lands(scripted_vm, slot, point):
    vm = await scripted_vm(_says_so, slot=slot, start=False)
    word, taken = _take_at_flush(vm)
    vm.at(0, point, lambda: in_thread(lambda: word.post(0b101)))
    ran: list[int] = []
    vm.at(0, Tracepoint.EXIT, lambda: ran.append(vm.guest().read_register("x0")))
    await vm.start()
    await vm.until(lambda: taken and vm.guest().read_register("x0"))
    assert taken == [0b101]
    assert not word.outstanding
    if point in (Tracepoint.AFTER_LAST_CHECK, Tracepoint.ENTRY):
        assert ran[0] == 0  # the entry it landed in executed nothing
    else:
        assert vm.vcpus[0].stats.kicks[KickAction.IPI] == (point is Tracepoint.MODE_IN)


async def test_r58_one_notification_serves_all_posts_until_taken(scripted_vm, slot):
    vm = await scripted_vm([Spin()], slot=slot, start=False)
    word, taken = _take_at_flush(vm)
    actions: list[KickAction] = []
    vm.at(0, Tracepoint.AFTER_LAST_CHECK, lambda: actions.extend(in_thread(lambda bit=bit: word.post(bit)) for bit in (1, 2, 4)))
    await vm.start()
    await vm.until(lambda: taken)
    assert actions == [KickAction.IPI, KickAction.NOTHING, KickAction.NOTHING]
    assert taken == [7]
    assert word.post(8) in (KickAction.NOTHING, KickAction.IPI)
    await vm.until(lambda: len(taken) == 2)
    assert taken == [7, 8]


async def test_r57_a_post_wakes_a_sleeper(scripted_vm, slot):
    vm = await scripted_vm([], slot=slot)
    vcpu = vm.vcpus[0]
    word, _ = _take_at_flush(vm)
    await vm.until(lambda: sleeps(vcpu))
    assert word.post(1) is KickAction.WAKEUP
    await vm.until(lambda: vcpu.stats.spurious_wakeups)


async def test_r41b_a_posted_word_that_nobody_takes_is_named(scripted_vm, slot):
    vm = await scripted_vm([Spin()], slot=slot)
    await vm.until(lambda: vm.guest().entries)
    vm.vcpus[0].post_with().post(1)
    with pytest.raises(VmFailed, match="posted word"):
        await vm.halted()


async def test_there_is_no_public_kick_without_a_request(scripted_vm):
    import avmm
    import avmm.plugin

    vm = await scripted_vm([], start=False)
    for door in (avmm, avmm.plugin):
        assert not [name for name in door.__all__ if "kick" in name.lower() and name not in ("KickAction", "Kicked", "KICKED")]
    assert not [name for name in dir(vm.vcpus[0]) if name.startswith("kick") and name != "kicked_ns"]
    assert vm.vcpus[0].post_with() is vm.vcpus[0].post_with()
