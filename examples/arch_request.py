"""Add a request of one's own to an architecture: whoever makes it, the work runs on the vCPU's own thread."""

import asyncio
from collections.abc import Callable, Mapping
from enum import IntEnum

from avmm.plugin import ArchFactory, ArchOptions, Vcpu, VmServices, arch_request
from avmm.testing import ScriptedVm, Spin, ToyArch, ToyPlugins, ToyRequest


class MyRequest(IntEnum):
    """The toy architecture's requests, and one more."""

    IRQ_PENDING = ToyRequest.IRQ_PENDING
    WORK = ToyRequest.WORK
    RELOAD_PMU = arch_request(5)  # bit 13: 8 + 5


class MyArch(ToyArch):
    """A toy machine with a PMU to reload."""

    requests = MyRequest

    def handlers(self) -> Mapping[int, Callable[[Vcpu], None]]:
        return {**super().handlers(), MyRequest.RELOAD_PMU: self.reload_pmu}

    def reload_pmu(self, vcpu: Vcpu) -> None:
        print(f"vcpu {vcpu.index} reloads its PMU in its own thread: {vcpu.in_own_thread()}, mode {vcpu.mode.name}")


def create_arch(vm: VmServices, options: ArchOptions) -> MyArch:
    """What the entry point in `avmm.arch` names."""
    return MyArch(vm, options)


class MyPlugins(ToyPlugins):
    """The test kit's plugins, with our architecture in place of its own."""

    def arch(self, name: str) -> ArchFactory:
        return create_arch


async def main() -> None:
    async with ScriptedVm([Spin()], vcpus=2, slot="thread", plugins=MyPlugins()) as vm:
        await vm.start()
        await vm.until(lambda: all(vm.guest(index).spinning for index in range(2)))
        interrupted = vm.make_all_cpus_request(MyRequest.RELOAD_PMU)
        print(f"IPIs sent: {interrupted.ipis}")
        await vm.until(lambda: all(vcpu.stats.requests_handled[13] for vcpu in vm.vcpus))


if __name__ == "__main__":
    asyncio.run(main())
