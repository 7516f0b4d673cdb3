"""Firmware calls as a guest makes them (Arm DEN 0022, DEN 0028), and their numbers."""

from __future__ import annotations

from tests.unit.arm64.fakes import FakeMachine

VERSION, CPU_SUSPEND, CPU_OFF, CPU_ON, AFFINITY_INFO = (0x8400_0000 + n for n in range(5))
MIGRATE_INFO_TYPE, SYSTEM_OFF, SYSTEM_RESET, FEATURES = 0x8400_0006, 0x8400_0008, 0x8400_0009, 0x8400_000A
SYSTEM_RESET2 = 0x8400_0012
SMC64 = 1 << 30
U64 = (1 << 64) - 1
SUCCESS, NOT_SUPPORTED, INVALID_PARAMETERS, ALREADY_ON, INTERNAL_FAILURE = 0, -1, -2, -4, -6
ENTRY, CONTEXT = 0x4008_0000, 0xABCD


class Call:
    """The registers of a hypercall."""

    def __init__(self, *arguments: int, immediate: int = 0, secure: bool = False) -> None:
        self.registers = [*arguments, *[0x55] * (18 - len(arguments))]
        self.immediate, self.secure = immediate, secure

    def argument(self, index: int) -> int:
        return self.registers[index]

    def result(self, index: int, value: int) -> None:
        self.registers[index] = value & U64


def call(machine: FakeMachine, *arguments: int, vcpu: int = 0, immediate: int = 0, secure: bool = False) -> int:
    """x0, signed, after the call."""
    registers = Call(*arguments, immediate=immediate, secure=secure)
    machine.parts[vcpu].hypercall(registers)
    assert registers.registers[4:] == [*arguments, *[0x55] * 18][4:18], "x4 and beyond are preserved"
    return registers.registers[0] - (1 << 64) * (registers.registers[0] >> 63)
