"""Kicks (section "VCPU Kicks"), IPI reduction, and how requests are sure to be seen."""

from __future__ import annotations

import pytest

from avmm import ExitReason, KickAction, Request, UnhandledRequest, VcpuMode, VmFailed
from avmm.plugin import Tracepoint
from avmm.testing import Compute, Script, ScriptedVcpu, Spin, ToyRequest, in_thread
from avmm.vcpu.kicker import kick
from tests.sleepers import sleeps

WORK = ToyRequest.WORK
POINTS_OF_A_RUN = [
    Tracepoint.LOOP_TOP,
    Tracepoint.AFTER_REQUESTS,
    Tracepoint.IRQS_OFF,
    Tracepoint.MODE_IN,
    Tracepoint.AFTER_LAST_CHECK,
    Tracepoint.ENTRY,
]


def _no_instruction(cpu: ScriptedVcpu) -> Script:
    """A guest that says so when it executes anything."""
    cpu.write_register("x0", 1)
    yield Spin()


async def test_r10_a_kick_returns_before_the_exit_has_happened(scripted_vm, slot):
    vm = await scripted_vm([Spin()], slot=slot, start=False)
    vcpu = vm.vcpus[0]
    after_the_kick: list[VcpuMode] = []

    def kicked_here() -> None:
        in_thread(lambda: vcpu.make_request_and_kick(WORK))  # the requester is done while the vCPU stands still
        after_the_kick.append(vcpu.mode)

    vm.at(0, Tracepoint.AFTER_LAST_CHECK, kicked_here)
    await vm.start()
    await vm.until(lambda: vm.part().work_done)
    assert after_the_kick == [VcpuMode.EXITING_GUEST_MODE]
    assert Tracepoint.EXIT in vm.points()


@pytest.mark.parametrize(
    ("point", "action"),
    [
        (Tracepoint.LOOP_TOP, KickAction.NOTHING),
        (Tracepoint.AFTER_REQUESTS, KickAction.NOTHING),
        (Tracepoint.IRQS_OFF, KickAction.NOTHING),
        (Tracepoint.MODE_IN, KickAction.IPI),
        (Tracepoint.AFTER_LAST_CHECK, KickAction.IPI),
        (Tracepoint.ENTRY, KickAction.IPI),
        (Tracepoint.EXIT, KickAction.NOTHING),
        (Tracepoint.READING, KickAction.NOTHING),
    ],
)
async def test_r11_an_ipi_goes_only_to_guest_mode(scripted_vm, slot, point, action):
    vm = await scripted_vm([Compute(10), Spin()], slot=slot, start=False)
    vcpu, actions = vm.vcpus[0], []
    vm.at(0, point, lambda: (vcpu.make_request(WORK), actions.append(in_thread(lambda: kick(vcpu)))))
    if point is Tracepoint.READING:

        def read() -> None:
            with vcpu.reading_shadow_page_tables():
                pass

        vm.at(0, Tracepoint.LOOP_TOP, read)
    if point is Tracepoint.EXIT:
        vm.at(0, Tracepoint.ENTRY, vm.guest().kick)
    await vm.start()
    await vm.until(lambda: vm.part().work_done)
    assert actions == [action]


async def test_r12_a_woken_sleeper_looks_at_its_own_condition_and_sleeps_again(scripted_vm, slot):
    vm = await scripted_vm([], slot=slot)
    vcpu = vm.vcpus[0]
    await vm.until(lambda: sleeps(vcpu))
    entries = vm.guest().entries
    in_thread(lambda: vcpu.make_request_and_kick(ToyRequest.IRQ_PENDING))  # but no interrupt is pending
    await vm.until(lambda: vcpu.stats.spurious_wakeups)
    await vm.until(lambda: sleeps(vcpu))
    assert (vcpu.stats.wakeups, vcpu.stats.spurious_wakeups, vm.guest().entries) == (1, 1, entries)
    assert vcpu.stats.kicks[KickAction.WAKEUP] == 1


async def test_r12_waking_nobody_is_false_and_counts_nothing(scripted_vm, slot):
    vm = await scripted_vm([Spin()], slot=slot)
    await vm.until(lambda: vm.guest().entries)
    assert not vm.vcpus[0].wake_up()
    assert vm.vcpus[0].stats.wakeups == 0


async def test_r13_a_kick_by_itself_wakes_in_spite_of_no_wakeup(scripted_vm, slot):
    vm = await scripted_vm([], slot=slot)
    vcpu = vm.vcpus[0]
    await vm.until(lambda: sleeps(vcpu))
    vcpu.make_request(Request.TLB_FLUSH)  # carries NO_WAKEUP
    assert kick(vcpu) is KickAction.WAKEUP
    await vm.until(lambda: sleeps(vcpu))
    assert not vcpu.make_request_and_kick(Request.TLB_FLUSH)
    assert not vm.make_all_cpus_request(Request.TLB_FLUSH)
    assert vcpu.asleep
    assert vcpu.stats.wakeups == 1


async def test_r14_awake_and_outside_a_kick_does_nothing_and_the_request_is_seen(scripted_vm, slot):
    vm = await scripted_vm([Spin()], slot=slot, start=False)
    vcpu, seen = vm.vcpus[0], []

    def request() -> None:
        in_thread(lambda: vcpu.make_request_and_kick(WORK))
        seen.append((vcpu.mode, vm.guest().kicked, vcpu.stats.kicks[KickAction.NOTHING]))

    vm.at(0, Tracepoint.LOOP_TOP, request)
    vm.at(0, Tracepoint.ENTRY, lambda: seen.append(vm.part().work_done))
    nothing = vcpu.stats.kicks[KickAction.NOTHING]
    await vm.start()
    await vm.until(lambda: len(seen) == 2)
    assert seen[0][:2] == (VcpuMode.OUTSIDE_GUEST_MODE, False)
    assert seen[0][2] > nothing
    assert seen[1] == 1  # done before the first entry


async def test_r15_a_kick_comes_to_exactly_one_thing(scripted_vm, slot):
    vm = await scripted_vm([Compute(1), Spin()], [], slot=slot, start=False)
    sums: list[tuple[int, int]] = []

    def kicked_here(index: int) -> None:
        vcpu = vm.vcpus[index]
        before = sum(vcpu.stats.kicks)
        in_thread(lambda: vcpu.make_request_and_kick(WORK))
        sums.append((before + 1, sum(vcpu.stats.kicks)))
        assert vcpu.stats.kicks[KickAction.WAKEUP] <= vcpu.stats.wakeups

    for point in POINTS_OF_A_RUN:
        vm.at(0, point, lambda: kicked_here(0))
    for point in (Tracepoint.BEFORE_SLEEP_CHECK, Tracepoint.ASLEEP):
        vm.at(1, point, lambda: kicked_here(1))
    await vm.start()
    await vm.until(lambda: len(sums) == len(POINTS_OF_A_RUN) + 2)
    assert all(expected == got for expected, got in sums)


async def test_r15b_a_vcpu_sends_itself_no_ipi_but_leaves_the_guest(scripted_vm, slot):
    def guest(cpu: ScriptedVcpu) -> Script:
        vcpu = vm.vcpus[0]
        acks = vcpu.make_request_and_kick(WORK | (1 << 9))  # with WAIT, which must not wait for itself
        seen.extend([bool(acks), acks.complete, vcpu.stats.kicks[KickAction.IPI]])
        yield Spin()

    seen: list[object] = []
    vm = await scripted_vm(guest, slot=slot, start=False)
    await vm.start()
    await vm.until(lambda: vm.part().work_done)
    assert seen == [False, True, 0]
    assert vm.vcpus[0].stats.exits_by_reason[ExitReason.KICKED] == 1


async def test_r15b_a_reader_of_page_tables_does_not_wait_for_itself(scripted_vm, slot):
    vm = await scripted_vm([], slot=slot, start=False)
    vcpu, seen = vm.vcpus[0], []

    def read() -> None:
        with vcpu.reading_shadow_page_tables():
            seen.append(vcpu.make_request_and_kick(Request.TLB_FLUSH).complete)

    vm.at(0, Tracepoint.LOOP_TOP, read)
    await vm.start()
    await vm.until(lambda: seen)
    assert seen == [True]


@pytest.mark.parametrize("point", POINTS_OF_A_RUN)
async def test_r40_wherever_a_kick_lands_the_guest_does_not_run_on(scripted_vm, slot, point):
    vm = await scripted_vm(_no_instruction, slot=slot, start=False)
    vcpu, ran = vm.vcpus[0], []
    vm.at(0, point, lambda: in_thread(lambda: vcpu.make_request_and_kick(WORK)))
    vm.part().on_work = lambda vcpu: ran.append(vm.guest().read_register("x0"))
    await vm.start()
    await vm.until(lambda: ran)
    assert ran == [0]  # handled before the guest executed anything
    assert vm.part().work_done == 1


async def test_r40_r41_a_kick_ends_a_running_guest(scripted_vm):
    vm = await scripted_vm([Spin()], slot="thread")
    await vm.until(lambda: vm.guest().spinning)
    in_thread(lambda: vm.vcpus[0].make_request_and_kick(WORK))
    await vm.until(lambda: vm.part().work_done)
    assert vm.vcpus[0].stats.exits_by_reason[ExitReason.KICKED] == 1


@pytest.mark.parametrize("point", [Tracepoint.LOOP_TOP, Tracepoint.IRQS_OFF, Tracepoint.MODE_IN])
async def test_r41_the_look_before_entry_is_enough_without_a_kick(scripted_vm, slot, point):
    vm = await scripted_vm(_no_instruction, slot=slot, start=False)
    ran: list[int] = []
    vm.at(0, point, lambda: in_thread(lambda: vm.vcpus[0].make_request(WORK)))
    vm.part().on_work = lambda vcpu: ran.append(vm.guest().entries)
    await vm.start()
    await vm.until(lambda: ran)
    assert ran == [0]


async def test_r41b_a_request_nobody_handles_is_named(scripted_vm, slot):
    vm = await scripted_vm([Spin()], [], slot=slot, start=False)
    vm.vcpus[0].make_request(40)
    await vm.start()
    with pytest.raises(VmFailed) as failed:
        await vm.halted()
    cause = failed.value.__cause__
    assert isinstance(cause, UnhandledRequest)
    assert (cause.vcpu, cause.request) == (0, "40")
    assert "request 40" in str(failed.value)
    assert vm.guest(0).entries == 0
    assert all(vcpu.mode is VcpuMode.OUTSIDE_GUEST_MODE for vcpu in vm.vcpus)


async def test_r41b_a_leftover_unhalt_is_named_too(scripted_vm, slot):
    vm = await scripted_vm([Spin()], slot=slot)
    await vm.until(lambda: vm.guest().entries)
    vm.vcpus[0].make_request_and_kick(Request.UNHALT)
    with pytest.raises(VmFailed, match="UNHALT"):
        await vm.halted()


async def test_r41b_an_entry_given_up_again_and_again_lets_the_loop_go_on(scripted_vm, slot):
    vm = await scripted_vm([Spin()], slot=slot, start=False)
    vm.part().on_work = lambda vcpu: vcpu.make_request(WORK)  # a request that is made again by its own handler
    vm.vcpus[0].make_request(WORK)
    await vm.start()
    await vm.until(lambda: vm.part().work_done > 100)
    await vm.passes(100)
    assert vm.guest().entries == 0
    assert vm.vcpus[0].stats.aborted_entries > 100


async def test_r42_r49_a_kick_after_the_last_look_ends_the_entry_before_the_first_instruction(scripted_vm, slot):
    vm = await scripted_vm(_no_instruction, slot=slot, start=False)
    vcpu, seen = vm.vcpus[0], []
    vm.at(0, Tracepoint.AFTER_LAST_CHECK, lambda: in_thread(lambda: vcpu.make_request_and_kick(WORK)))
    vm.at(0, Tracepoint.EXIT, lambda: seen.append((vcpu.mode, vm.guest().read_register("x0"))))
    await vm.start()
    await vm.until(lambda: vm.part().work_done)
    assert seen == [(VcpuMode.OUTSIDE_GUEST_MODE, 0)]
    assert vcpu.stats.exits_by_reason[ExitReason.KICKED] == 1
    at = vm.points().index
    assert at(Tracepoint.AFTER_LAST_CHECK) < at(Tracepoint.ENTRY) < at(Tracepoint.EXIT)


async def test_r43_the_order_of_one_pass(scripted_vm, slot):
    vm = await scripted_vm([], slot=slot, start=False)
    vcpu, modes = vm.vcpus[0], {}
    for point in POINTS_OF_A_RUN:
        vm.at(0, point, lambda point=point: modes.setdefault(point, vcpu.mode))
    await vm.start()
    await vm.until(lambda: sleeps(vcpu))
    assert vm.points()[:7] == [*POINTS_OF_A_RUN, Tracepoint.EXIT]
    assert modes[Tracepoint.IRQS_OFF] is VcpuMode.OUTSIDE_GUEST_MODE
    assert modes[Tracepoint.MODE_IN] is VcpuMode.IN_GUEST_MODE


async def test_r44_the_requester_does_not_spin_until_the_vcpu_is_out(scripted_vm, slot):
    """s390's way. Here, a requester without WAIT is done although the vCPU cannot have moved."""
    vm = await scripted_vm([Spin()], slot=slot, start=False)
    done: list[bool] = []
    vm.at(0, Tracepoint.ENTRY, lambda: done.append(in_thread(lambda: vm.vcpus[0].make_request_and_kick(WORK)).ipis == 1))
    await vm.start()
    await vm.until(lambda: vm.part().work_done)
    assert done == [True]


async def test_r47_kicks_are_latched_before_the_mode_is_set(scripted_vm, slot):
    """Were they not, a kick between the mode and the latch would be forgotten: sent, and without effect."""
    vm = await scripted_vm(_no_instruction, slot=slot, start=False)
    vcpu, seen = vm.vcpus[0], []
    vm.at(0, Tracepoint.IRQS_OFF, lambda: (vm.guest().kick(), seen.append(vm.guest().kicked)))
    vm.at(0, Tracepoint.EXIT, lambda: seen.append(vm.guest().read_register("x0")))
    vm.at(0, Tracepoint.MODE_IN, lambda: seen.append(vm.guest().kicked))
    await vm.start()
    await vm.until(lambda: vcpu.stats.exits_by_reason[ExitReason.KICKED] == 1)
    assert seen[:3] == [True, True, 0]


async def test_r47_kicks_left_from_before_are_forgotten(scripted_vm, slot):
    vm = await scripted_vm(_no_instruction, slot=slot, start=False)
    vm.at(0, Tracepoint.AFTER_REQUESTS, vm.guest().kick)
    await vm.start()
    await vm.until(lambda: vm.guest().read_register("x0"))
    assert vm.vcpus[0].stats.exits_by_reason[ExitReason.KICKED] == 0


@pytest.mark.parametrize("kicks", [2, 5])
async def test_r50_r51_kicks_of_a_running_vcpu_come_to_one_ipi(scripted_vm, slot, kicks):
    vm = await scripted_vm([Spin()], slot=slot, start=False)
    vcpu, seen = vm.vcpus[0], []

    def kick_often() -> None:
        before = list(vcpu.stats.kicks)
        requests = [WORK, ToyRequest.IRQ_PENDING, Request.PENDING_TIMER, WORK, WORK]
        for request in requests[:kicks]:
            in_thread(lambda request=request: vcpu.make_request_and_kick(request))
        seen.append([after - earlier for earlier, after in zip(before, vcpu.stats.kicks, strict=True)])
        seen.append(vcpu.mode)

    for _ in range(2):  # once more after it has entered again
        vm.at(0, Tracepoint.AFTER_LAST_CHECK, kick_often)
        if vm.state() == "init":
            await vm.start()
        else:
            vcpu.make_request_and_kick(WORK)
        await vm.until(lambda: len(seen) == 2 and vcpu.requests == 0)
        assert seen == [[kicks - 1, 0, 1], VcpuMode.EXITING_GUEST_MODE]
        seen.clear()
    assert vm.part().irq_flushes >= 2  # one IPI made it look at all of them
