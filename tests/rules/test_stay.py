"""A vCPU that stays on its slot's thread between entries: the same races, without its task, through every interleaving."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import pytest

from avmm import REQUEST_MASK, Request, VcpuMode
from avmm.exits import HALTED, Exit
from avmm.testing import ToyRequest
from avmm.vcpu.vcpu import Vcpu
from tests.rules.interleave import Side, Stepper, Violation, explore
from tests.rules.stepped import REAL, Modules, mutated, stepped_vcpu

WORK, IRQ_PENDING = ToyRequest.WORK, ToyRequest.IRQ_PENDING
SLEEP, VM_DEAD = Request.SLEEP & REQUEST_MASK, Request.VM_DEAD & REQUEST_MASK


class Entered(Exception):
    """The vCPU is about to execute the guest once more."""


def entering(stepper: Stepper, modules: Modules) -> Vcpu:
    """A vCPU that its task has handed over to its slot's thread just now."""
    vcpu = stepped_vcpu(stepper, modules)
    vcpu.engine.mode = lambda: VcpuMode.IN_GUEST_MODE  # a slot kicks whatever the mode is
    assert vcpu._commit()
    return vcpu


def requested(modules: Modules = REAL, *, request: int = WORK):
    """A vCPU whose guest spins, against a requester."""

    def scenario(stepper: Stepper):
        vcpu = entering(stepper, modules)

        def check(stuck: Sequence[str]) -> None:
            if request & REQUEST_MASK in (SLEEP, VM_DEAD):
                assert not stuck, "still there, with a request that is its task's"
            else:
                assert not vcpu._requests, "neither handled nor left to the task"

        requester = Side("requester", lambda: modules.kicker.make_vcpus_request((vcpu,), request))
        return [Side("vcpu", vcpu.stay), requester], check

    return scenario


def wanted(modules: Modules = REAL, *, why: str = "recalled", busy: bool = False):
    """A vCPU whose guest spins, or that is `busy` with a request, against its slot, which wants it or its place back."""

    def scenario(stepper: Stepper):
        vcpu = entering(stepper, modules)
        if busy:
            modules.kicker.make_vcpus_request((vcpu,), WORK)

        def slot() -> None:
            if why == "recalled":
                vcpu.recalled = True
            else:
                stepper.step("wait for the slot")
                vcpu.slot.waiting = 1
            vcpu.engine.kick()
            vcpu.wake_up()

        def check(stuck: Sequence[str]) -> None:
            assert not stuck, "still there, though it is wanted elsewhere"

        return [Side("vcpu", vcpu.stay), Side("slot", slot)], check

    return scenario


def halting(modules: Modules = REAL, way: str = "irq"):
    """A vCPU that goes to sleep on its slot's thread, against somebody who ends that."""

    def scenario(stepper: Stepper):
        vcpu = entering(stepper, modules)
        exits = [HALTED]

        def enter(budget: int = 0) -> Exit:
            if not exits:
                raise Entered
            return exits.pop()

        def stay() -> None:
            with suppress(Entered):
                vcpu.stay()

        vcpu.engine.enter = enter

        def waker() -> None:
            match way:
                case "irq":
                    vcpu.arch.raise_irq()
                    vcpu.wake_up()
                case "recalled":
                    vcpu.recalled = True
                    vcpu.engine.kick()
                    vcpu.wake_up()
                case "dead":
                    modules.kicker.make_vcpus_request((vcpu,), Request.VM_DEAD)

        def check(stuck: Sequence[str]) -> None:
            assert not stuck, "asleep, though there is something to wake for"

        return [Side("vcpu", stay), Side("waker", waker)], check

    return scenario


def reaching(modules: Modules = REAL):
    """An interrupt pin that reaches the running guest, against a vCPU that is on its way there."""

    def scenario(stepper: Stepper):
        vcpu = stepped_vcpu(stepper, modules)

        def drive_pin() -> None:
            assert vcpu.mode is VcpuMode.IN_GUEST_MODE, "driven beside a flush"
            vcpu.arch.flushed_irq = True

        def device() -> None:
            vcpu.arch.raise_irq()
            if not vcpu.reach_guest(drive_pin):
                modules.kicker.make_vcpus_request((vcpu,), IRQ_PENDING)

        def check(stuck: Sequence[str]) -> None:
            if vcpu.mode is not VcpuMode.OUTSIDE_GUEST_MODE:
                assert vcpu.arch.flushed_irq or vcpu.engine.kicked, "in the guest without its interrupt"

        return [Side("vcpu", vcpu._commit), Side("device", device)], check

    return scenario


@pytest.mark.parametrize("request_", [WORK, IRQ_PENDING, Request.SLEEP, Request.VM_DEAD])
def test_r45_a_request_is_handled_here_or_left_to_the_task(request_):
    assert explore(requested(request=request_)) > 10


@pytest.mark.parametrize("why", ["recalled", "waiting"])
@pytest.mark.parametrize("busy", [False, True])
def test_whoever_wants_the_vcpu_or_its_slot_gets_it(why, busy):
    assert explore(wanted(why=why, busy=busy)) > 5


@pytest.mark.parametrize("way", ["irq", "recalled", "dead"])
def test_r60_no_interleaving_loses_a_wake_up_on_the_thread(way):
    assert explore(halting(way=way)) > 20


def test_a_pin_that_reaches_the_guest_is_not_lost_between_two_entries():
    assert explore(reaching()) > 50


@pytest.mark.parametrize(
    ("name", "scenario"),
    [
        ("a stay does not look again behind the kicks it forgets", lambda modules: wanted(modules, busy=True)),
        ("a sleeper on the thread is not told that it is recalled", lambda modules: halting(modules, "recalled")),
        ("a pin is driven whatever the mode", lambda modules: reaching(modules)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_step_out_of_order_is_found(name, scenario):
    with pytest.raises(Violation):
        explore(scenario(mutated(name)))
