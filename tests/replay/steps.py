"""A transcript carried out by a test, step by step, and the answers to expect."""

from __future__ import annotations

from avmm_arm64 import create_transcript_machine
from avmm_arm64.kvm_transcript import KvmTranscript
from avmm_arm64.layout import RAM_BASE
from avmm_unicorn import create_engine

MAILBOX = 0x0A00_0000
Answer = dict[str, object]


class Do:
    """Carries out operations."""

    def __init__(self) -> None:
        self.transcript: KvmTranscript = create_transcript_machine(create_engine)
        self.machine = self.transcript.machine

    async def __call__(self, operation: str, **arguments: object) -> Answer:
        return await self.transcript.perform(operation, arguments)


async def make(do: Do, program: str, *features: str, vcpus: int = 1, gic: bool = False) -> None:
    """vCPUs at the start of `program`, with a GIC or without."""
    for vcpu in range(vcpus):
        await do("create_vcpu", vcpu=vcpu)
    await do("load_guest")
    for vcpu in range(vcpus):
        assert await do("vcpu_init", vcpu=vcpu, features=["psci_0_2", *features]) == {"ret": 0}
        await do("set_pc", vcpu=vcpu, program=program)
    if gic:
        await add_gic(do)


async def make_code(do: Do, code: str, *features: str) -> None:
    """One vCPU at the start of `code`, in hexadecimal."""
    await make(do, "mmio", *features)
    do.machine.load(bytes.fromhex(code))
    do.machine.handles[0].set_pc(RAM_BASE)


async def add_gic(do: Do) -> None:
    await do("create_vgic_v3")
    await do("vgic_set_addr", which="dist", addr=0x0800_0000)
    await do("vgic_set_addr", which="redist", addr=0x080A_0000)
    assert await do("vgic_init") == {"ret": 0}


def stored(offset: int, value: int, *, level: int = 0) -> Answer:
    """A run that left for the guest's store of `value`."""
    mmio = {"addr": MAILBOX + offset, "len": 4, "is_write": 1, "data": value}
    return {"ret": 0, "exit_reason": "MMIO", "mmio": mmio, "device_irq_level": level}


def refused(errno: str) -> Answer:
    return {"ret": -1, "errno": errno}


def failed(errno: str, reason: str = "UNKNOWN", *, level: int = 0) -> Answer:
    return {"ret": -1, "errno": errno, "exit_reason": reason, "device_irq_level": level}


ASLEEP = {"blocked": True, "thread_state": "S"}
