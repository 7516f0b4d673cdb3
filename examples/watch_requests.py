"""Watch a vCPU's requests: where its run loop is when a request comes, and what the kick comes to."""

import asyncio

from avmm import Request
from avmm.plugin import Halted, Tracepoint, Vcpu
from avmm.testing import ReadSystemRegister, ScriptedVm, Spin, Step

# A guest without instructions: it waits for an interrupt, takes it, then loops for ever.
GUEST: list[Step] = [Halted(), ReadSystemRegister("irq_ack"), Spin()]


def watch(vcpu: Vcpu) -> None:
    """Print each step of the run loop."""

    def step(point: Tracepoint, value: int) -> None:
        pending = [vcpu.names[number] for number in range(64) if vcpu.requests >> number & 1]
        print(f"  {point.value:20} {vcpu.mode.name:20} {' '.join(pending)}")

    vcpu.trace = step


async def main() -> None:
    async with ScriptedVm(GUEST, slot="thread") as vm:
        vcpu = vm.vcpus[0]
        await vm.start()
        await vm.until(lambda: vcpu.asleep)

        print("asleep; TLB_FLUSH has NO_WAKEUP and leaves it so:")
        await vcpu.make_request_and_kick(Request.TLB_FLUSH)
        print(f"  asleep: {vcpu.asleep}, pending: {vcpu.test_request(Request.TLB_FLUSH)}")

        print("an interrupt wakes it, and the flush is handled before it enters the guest:")
        watch(vcpu)
        vm.toy.raise_irq(0)
        await vm.until(lambda: vm.guest(0).spinning)

        print("in the guest now; TLB_FLUSH has WAIT, so that it is out when this returns:")
        await vcpu.make_request_and_kick(Request.TLB_FLUSH)
        await vm.until(lambda: not vcpu.request_pending() and vm.guest(0).spinning)
        vcpu.trace = None
        print(f"kicks: nothing, wake-up, IPI = {vcpu.stats.kicks}")


if __name__ == "__main__":
    asyncio.run(main())
