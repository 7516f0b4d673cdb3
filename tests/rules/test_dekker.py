"""The Dekker pair of mode and requests, and its relatives, through every interleaving of the real code's steps."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from avmm import NO_WAKEUP, WAIT, Request
from avmm.testing import ToyRequest
from avmm.vcpu.vcpu import Vcpu
from tests.rules.interleave import Side, Stepper, Violation, explore
from tests.rules.stepped import REAL, Modules, drive, mutated, stepped_vcpu, stepped_word

WORK = ToyRequest.WORK
FLAGS = [0, NO_WAKEUP, WAIT, NO_WAKEUP | WAIT]


def entering(modules: Modules = REAL, *requests: int):
    """One entry into the guest, against a requester."""

    def scenario(stepper: Stepper):
        vcpu = stepped_vcpu(stepper, modules)

        def requester() -> None:
            for request in requests or (WORK,):
                acks = modules.kicker.make_vcpus_request((vcpu,), request)
                if request & WAIT:
                    stepper.step("wait", lambda acks=acks: acks.complete)
                    assert not vcpu.engine.in_guest, "acknowledged, and still in the guest"

        def check(stuck: Sequence[str]) -> None:
            lost = vcpu.engine.in_guest and vcpu._requests != 0
            assert not lost, "in the guest with a request pending, and no kick on its way"
            assert "requester" not in stuck, "the requester waits for an acknowledgement that does not come"

        return [Side("vcpu", lambda: drive(vcpu._enter(), stepper)), Side("requester", requester)], check

    return scenario


@pytest.mark.parametrize("flags", FLAGS)
def test_r45_r46_no_interleaving_loses_a_request(flags):
    assert explore(entering(REAL, WORK | flags)) > 50


def test_r45_two_requests_in_a_row():
    assert explore(entering(REAL, WORK, ToyRequest.IRQ_PENDING)) > 200


def test_r45_two_requesters():
    """Only one of them sends the IPI, and that is enough for both."""

    def scenario(stepper: Stepper):
        vcpu = stepped_vcpu(stepper)
        vcpu.mode = vcpu.mode.IN_GUEST_MODE
        vcpu.engine.in_guest = True
        ipis: list[int] = []

        def requester(request: int) -> None:
            ipis.append(REAL.kicker.make_vcpus_request((vcpu,), request).ipis)

        def guest() -> None:
            stepper.step("engine.exit", lambda: vcpu.engine.kicked)
            vcpu._now_outside()

        def check(stuck: Sequence[str]) -> None:
            assert not stuck
            assert sorted(ipis) == [0, 1]

        sides = [Side("guest", guest), Side("a", lambda: requester(WORK)), Side("b", lambda: requester(ToyRequest.IRQ_PENDING))]
        return sides, check

    assert explore(scenario) > 100


@pytest.mark.parametrize(
    ("name", "scenario"),
    [
        ("the vCPU looks at the requests before it sets the mode", lambda modules: entering(modules)),
        ("the requester looks at the mode before it sets the bit", lambda modules: entering(modules)),
        ("no last look at the requests", lambda modules: entering(modules)),
        ("kicks are dropped after the last look", lambda modules: entering(modules)),
        ("the mode is never set", lambda modules: entering(modules)),
        ("the IPI is counted and not sent", lambda modules: entering(modules)),
        ("the acknowledgement comes before the guest is out", lambda modules: entering(modules, WORK | WAIT)),
        ("WAIT is coalesced like the rest", lambda modules: entering(modules, WORK, WORK | WAIT)),
        ("nobody acknowledges", lambda modules: entering(modules, WORK | WAIT)),
        ("the last look forgets the posted word", lambda modules: posting(modules)),
        ("the last look is at the posted word there was before the flush", lambda modules: posting(modules, "now")),
        ("the posted word is set after the kick", lambda modules: posting(modules)),
        ("the sleeper looks before it is on the queue, and not again", lambda modules: halting(modules)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_r45_a_step_out_of_order_is_found(name, scenario):
    """What the explorer says of the real code it can only say because it finds these."""
    with pytest.raises(Violation):
        explore(scenario(mutated(name)))


def test_r08_the_request_is_made_before_the_kick_looks():
    looked: list[int] = []

    def scenario(stepper: Stepper):
        vcpu = stepped_vcpu(stepper)
        vcpu.mode = vcpu.mode.IN_GUEST_MODE
        queue, kick = type(vcpu.sleep.queue), vcpu.engine.kick
        vcpu.sleep.queue.__class__ = type("Looks", (queue,), {"waiter": property(lambda self: looked.append(vcpu.requests))})
        vcpu.engine.kick = lambda: (looked.append(vcpu.requests), kick())
        return [Side("requester", lambda: REAL.kicker.make_vcpus_request((vcpu,), WORK))], lambda stuck: None

    explore(scenario)
    assert looked == [1 << WORK] * 2  # at the wait queue, and at the IPI


def test_r48_the_mode_is_read_anew_under_the_lock_each_time():
    """Two kicks, the vCPU leaving and entering between them: each acts on the mode it finds."""
    actions = []

    def scenario(stepper: Stepper):
        vcpu = stepped_vcpu(stepper)
        for mode in (vcpu.mode.IN_GUEST_MODE, vcpu.mode.OUTSIDE_GUEST_MODE, vcpu.mode.IN_GUEST_MODE):
            vcpu.mode = mode
            actions.append(REAL.kicker.kick(vcpu).name)
            vcpu.engine.kicked = False

        def check(stuck: Sequence[str]) -> None:
            pass

        return [], check

    explore(scenario)
    assert actions == ["IPI", "NOTHING", "IPI"]


def halting(modules: Modules = REAL, way: str = "irq"):
    """A vCPU that goes to sleep, against somebody who gives it something to run for."""

    def scenario(stepper: Stepper):
        vcpu = stepped_vcpu(stepper, modules)

        def waker() -> None:
            match way:
                case "irq":
                    vcpu.arch.raise_irq()
                    modules.kicker.make_vcpus_request((vcpu,), ToyRequest.IRQ_PENDING)
                case "dead":
                    modules.kicker.make_vcpus_request((vcpu,), Request.VM_DEAD)
                case "unblock":
                    modules.kicker.make_vcpus_request((vcpu,), Request.UNBLOCK)
                case "nothing":  # it is woken and has nothing to run for
                    modules.kicker.make_vcpus_request((vcpu,), WORK)

        def check(stuck: Sequence[str]) -> None:
            assert stuck == (["sleeper"] if way == "nothing" else []), "asleep with something to run for, or awake with nothing"

        return [Side("sleeper", lambda: drive(vcpu.sleep.block(), stepper)), Side("waker", waker)], check

    return scenario


def test_r45_one_that_does_not_wait_then_one_that_does():
    """The second finds EXITING, and is not coalesced."""
    assert explore(entering(REAL, WORK, WORK | WAIT)) > 200


@pytest.mark.parametrize("way", ["irq", "dead", "unblock", "nothing"])
def test_r60_no_interleaving_loses_a_wake_up(way):
    assert explore(halting(way=way)) > 100


def test_power_on_is_not_lost_either():
    def scenario(stepper: Stepper):
        vcpu = stepped_vcpu(stepper)
        vcpu.powered_off = True

        def check(stuck: Sequence[str]) -> None:
            assert not stuck, "asleep, and powered on"

        return [Side("sleeper", lambda: drive(vcpu.sleep.while_off(), stepper)), Side("psci", vcpu.power_on)], check

    assert explore(scenario) > 20


def test_an_interrupt_between_the_requests_and_the_flush_is_not_lost():
    """IRQ_PENDING is cleared before the flush: one that comes later is seen by the last look, or by the flush."""

    def scenario(stepper: Stepper):
        vcpu: Vcpu = stepped_vcpu(stepper)

        def one_pass() -> None:
            if vcpu.check_request(ToyRequest.IRQ_PENDING):
                pass
            drive(vcpu._enter(), stepper)

        def interrupt() -> None:
            vcpu.arch.raise_irq()
            REAL.kicker.make_vcpus_request((vcpu,), ToyRequest.IRQ_PENDING)

        def check(stuck: Sequence[str]) -> None:
            if vcpu.engine.in_guest:
                assert vcpu.arch.flushed_irq, "in the guest without its interrupt"

        return [Side("vcpu", one_pass), Side("device", interrupt)], check

    assert explore(scenario) > 100


def posting(modules: Modules = REAL, made: str = "before"):
    """One entry against a sender of posted bits, which the vCPU takes before it enters; the word may be `made` only now."""

    def scenario(stepper: Stepper):
        vcpu = stepped_vcpu(stepper, modules)
        word = stepped_word(vcpu, stepper, modules)

        def use() -> None:
            vcpu.arch.posted = word
            vcpu.posted = word

        if made == "before":
            use()

        def sender() -> None:
            if made == "now":
                use()
            word.post(1)

        def check(stuck: Sequence[str]) -> None:
            lost = vcpu.engine.in_guest and word.outstanding
            assert not lost, "in the guest with posted bits outstanding, and no kick on its way"

        return [Side("vcpu", lambda: drive(vcpu._enter(), stepper)), Side("sender", sender)], check

    return scenario


@pytest.mark.parametrize("made", ["before", "now"])
def test_r57_r58_no_interleaving_loses_a_posted_word(made):
    assert explore(posting(made=made)) > 50


def test_every_shared_access_is_a_step():
    """Were one of them missed, the checks below would check less than they say."""
    steps: set[str] = set()
    for make in (entering(REAL, WORK | WAIT), halting(), posting()):

        def scenario(stepper: Stepper, make=make):
            sides, check = make(stepper)
            return sides, lambda stuck: (check(stuck), steps.update(stepper.trail))

        explore(scenario)
    assert steps >= {
        "vcpu: engine.clear_kick",
        "vcpu: lock",
        "vcpu: read _requests",
        "vcpu: engine.enter",
        "vcpu: engine.exit",
        "vcpu: read outstanding",
        "requester: lock",
        "requester: read waiter",
        "requester: engine.kick",
        "requester: wait",
        "sender: lock",
        "sender: engine.kick",
        "sleeper: write waiter",
        "sleeper: look at irq",
        "sleeper: sleep",
        "waker: raise irq",
        "waker: read waiter",
        "waker: lock",
    }
