"""Firmware of a few instructions on the real machine: what flash is to a guest that runs from it, and what a hostile one gets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

import avmm

OFF = (
    0xD2B08000,  # mov x0, #0x84000000
    0xF2800100,  # movk x0, #0x8
    0xD4000002,  # hvc #0
    0x14000000,  # b .
)
"""SYSTEM_OFF."""

# The device tree's first word, at the start of memory, to the console.
TELL_MAGIC = (
    0xD2A80000,  # mov x0, #0x40000000
    0xB9400001,  # ldr w1, [x0]
    0xD2A12002,  # mov x2, #0x09000000
    0x52800083,  # mov w3, #4
    0x39000041,  # strb w1, [x2]
    0x53087C21,  # lsr w1, w1, #8
    0x71000463,  # subs w3, w3, #1
    0x54FFFFA1,  # b.ne .-12
    *OFF,
)

# Erase the first sector of the second flash, and program a word of it; what it reads as after either, and at the end.
KEEP = (
    0xD2A08000,  # mov x0, #0x04000000
    0x52800401,  # mov w1, #0x20
    0x52801A02,  # mov w2, #0xd0
    0xB9000001,  # str w1, [x0]
    0xB9000002,  # str w2, [x0]
    0xB9400005,  # ldr w5, [x0]
    0x52800801,  # mov w1, #0x40
    0x52824682,  # mov w2, #0x1234
    0xB9000801,  # str w1, [x0, #8]
    0xB9000802,  # str w2, [x0, #8]
    0xB9400806,  # ldr w6, [x0, #8]
    0x52801FE1,  # mov w1, #0xff
    0xB9000001,  # str w1, [x0]
    0xF9400407,  # ldr x7, [x0, #8]
    *OFF,
)

# Have the flash that this runs from answer a command.
TAKE_THE_GROUND_AWAY = (
    0xD2800000,  # mov x0, #0
    0x52800E01,  # mov w1, #0x70
    0xB9000001,  # str w1, [x0]
    0x14000000,  # b .
)

# Transfers of fw_cfg that are described at 0, in flash, and at the end of the address space.
TRANSFER_NOWHERE = (
    0xD2A12040,  # mov x0, #0x09020000
    0xF900081F,  # str xzr, [x0, #16]
    0x92800001,  # mov x1, #-1
    0xF9000801,  # str x1, [x0, #16]
    *OFF,
)

# vCPU 1 reads the second flash until it reads as its status, to which vCPU 0 has brought it once the reading went on.
READ_WHILE_ANOTHER_COMMANDS = (
    0xD53800A9,  # mrs x9, mpidr_el1
    0x92401D29,  # and x9, x9, #0xff
    0xB5000209,  # cbnz x9, .+64
    0xD2B88000,  # mov x0, #0xc4000000
    0xF2800060,  # movk x0, #0x3
    0xD2800021,  # mov x1, #1
    0x10FFFF42,  # adr x2, .-24
    0xD2800003,  # mov x3, #0
    0xD4000002,  # hvc #0
    0xD2A80004,  # mov x4, #0x40000000
    0x91480084,  # add x4, x4, #0x200000
    0xB9400085,  # ldr w5, [x4]
    0x34FFFFE5,  # cbz w5, .-4
    0xD2A08000,  # mov x0, #0x04000000
    0x52800E01,  # mov w1, #0x70
    0xB9000001,  # str w1, [x0]
    0xD503207F,  # wfi
    0x17FFFFFF,  # b .-4
    0xD2A08000,  # mov x0, #0x04000000
    0xD2A80004,  # mov x4, #0x40000000
    0x91480084,  # add x4, x4, #0x200000
    0x52800025,  # mov w5, #1
    0x52801006,  # mov w6, #0x80
    0x72A01006,  # movk w6, #0x80, lsl #16
    0xB9400001,  # ldr w1, [x0]
    0xB9000085,  # str w5, [x4]
    0xB9400001,  # ldr w1, [x0]
    0x6B06003F,  # cmp w1, w6
    0x54FFFFC1,  # b.ne .-8
    *OFF,
)


class Boot:
    """A machine that starts firmware, and what its console said."""

    def __init__(self, folder: Path, program: Sequence[int], **settings: object) -> None:
        (folder / "code").write_bytes(b"".join(word.to_bytes(4, "little") for word in program))
        self.variables = folder / "vars"
        machine = avmm.MachineConfig(firmware=folder / "code", nvram=self.variables, memory="16M")
        self.said = bytearray()
        self.vm = avmm.Vm(machine.with_overrides(settings), console=self.said.extend)

    def registers(self, *names: str) -> tuple[int, ...]:
        return tuple(self.vm.vcpus[0].engine.read_register(name) for name in names)


@asynccontextmanager
async def booted(folder: Path, program: Sequence[int], **settings: object) -> AsyncIterator[Boot]:
    """A machine that has started it; an end is waited for by whoever wants it."""
    boot = Boot(folder, program, **settings)
    async with boot.vm, asyncio.timeout(60):
        await boot.vm.start()
        yield boot


async def test_it_runs_from_flash_and_finds_the_device_tree(tmp_path: Path) -> None:
    async with booted(tmp_path, TELL_MAGIC) as boot:
        assert (await boot.vm.halted()).reason is avmm.HaltReason.SHUTDOWN
    assert boot.said == b"\xd0\x0d\xfe\xed"


@pytest.mark.parametrize("slot", ["thread", "inline"])
async def test_what_it_programs_is_in_memory_and_in_the_file(tmp_path: Path, slot: str) -> None:
    async with booted(tmp_path, KEEP, slot=slot) as boot:
        assert (await boot.vm.halted()).reason is avmm.HaltReason.SHUTDOWN
        assert boot.registers("x5", "x6") == (0x0080_0080, 0x0080_0080)
        assert boot.registers("x7") == (0xFFFF_FFFF_0000_1234,)
        assert boot.vm.guest_faults == {}
    assert boot.variables.read_bytes()[:20] == b"\xff" * 8 + b"\x34\x12\0\0" + b"\xff" * 8


async def test_the_next_life_finds_flash_as_an_array_again(tmp_path: Path) -> None:
    async with booted(tmp_path, KEEP) as boot:
        await boot.vm.halted()
    async with booted(tmp_path, TELL_MAGIC) as boot:
        await boot.vm.halted()
        assert boot.vm.memory.read(0x0400_0008, 4) == b"\x34\x12\0\0"


async def test_firmware_that_takes_its_own_ground_away_can_be_stopped(tmp_path: Path) -> None:
    async with booted(tmp_path, TAKE_THE_GROUND_AWAY) as boot:
        engine = boot.vm.vcpus[0].engine
        while not engine.external_aborts:  # type: ignore[attr-defined]
            await asyncio.sleep(0)
        async with boot.vm.paused():
            assert boot.registers("elr_el1", "far_el1") == (0x200, 0x200), "nor is there a vector"
        await boot.vm.stop()


async def test_transfers_described_nowhere_are_counted(tmp_path: Path) -> None:
    async with booted(tmp_path, TRANSFER_NOWHERE) as boot:
        assert (await boot.vm.halted()).reason is avmm.HaltReason.SHUTDOWN
        assert boot.vm.guest_faults == {"fw_cfg": 2}


@pytest.mark.parametrize("mode", ["turns", "parallel"])
async def test_a_command_is_seen_by_a_vcpu_that_reads_meanwhile(tmp_path: Path, mode: str) -> None:
    async with booted(tmp_path, READ_WHILE_ANOTHER_COMMANDS, vcpus=2, smp_mode=mode) as boot:
        assert (await boot.vm.halted()).reason is avmm.HaltReason.SHUTDOWN
