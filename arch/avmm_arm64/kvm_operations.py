"""What the operations of transcripts are made of: their arguments, their answers, and the one register of them all."""

from __future__ import annotations

import json
import reprlib
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from errno import EBADF
from functools import cache
from pathlib import Path
from typing import TypeVar

from avmm.plugin import EngineFactory, NotApplicable, OperationRefused, UserspaceVm
from avmm_arm64.kvm_handle import Handle
from avmm_arm64.kvm_machine import KvmMachine

Answer = dict[str, object]
_NS_PER_MS, _LONGEST_MS = 1_000_000, 60_000
DEFAULT_TIMEOUT_MS = 4000
"""How long a step waits for a run to end, in virtual time."""


class Arguments:
    """A step's arguments; NotApplicable for one that nobody knows and for a value of another type."""

    def __init__(self, operation: str, given: Mapping[str, object], known: tuple[str, ...]) -> None:
        self._operation, self._given = operation, given
        for name in given:
            if name not in known:
                raise NotApplicable(f"{operation} has no argument {name!r}")

    def __contains__(self, name: str) -> bool:
        return name in self._given

    @property
    def names_a_vcpu(self) -> bool:
        """False for an operation on the VM itself (`fd`)."""
        return "fd" not in self

    def integer(self, name: str, default: int | None = None) -> int:
        """A number; `default` where it is not given."""
        value = self._given.get(name, default)
        if not isinstance(value, int) or isinstance(value, bool):
            raise self._unknown(name, value)
        return value

    def text(self, name: str) -> str:
        """A string."""
        value = self._given.get(name)
        if not isinstance(value, str):
            raise self._unknown(name, value)
        return value

    def flag(self, name: str) -> bool:
        """True or false; false where it is not given."""
        value = self._given.get(name, False)
        if not isinstance(value, bool):
            raise self._unknown(name, value)
        return value

    def number_or_name(self, name: str) -> int | str:
        """What the interface numbers and transcripts may name."""
        return self.text(name) if isinstance(self._given.get(name), str) else self.integer(name)

    def items(self, name: str) -> list[object]:
        """A list."""
        value = self._given.get(name)
        if not isinstance(value, list):
            raise self._unknown(name, value)
        return value

    def milliseconds(self, name: str, default: int | None = None) -> int:
        """A time to wait, in nanoseconds: no more than a minute, which a guest that spins fills with instructions."""
        value = self.integer(name, default)
        if not 0 <= value <= _LONGEST_MS:
            raise self._unknown(name, value)
        return value * _NS_PER_MS

    def _unknown(self, name: str, value: object) -> NotApplicable:
        if name not in self._given:
            return NotApplicable(f"{self._operation} needs an argument {name!r}")
        return NotApplicable(f"{self._operation}: {name} cannot be {reprlib.repr(value)}")


@dataclass(frozen=True, slots=True)
class Signature:
    """What an operation takes, whether it fails on a VM that is dead, and whether it waits for the end of its vCPU's run."""

    method: str
    arguments: tuple[str, ...]
    ioctl: bool
    waits: bool


OPERATIONS: dict[str, Signature] = {}
Method = TypeVar("Method", bound=Callable[..., Coroutine[object, object, Answer]])


def operation(*arguments: str, ioctl: bool = True, waits: bool = False) -> Callable[[Method], Method]:
    """A method `op_name` is the operation `name`, with these arguments; an `ioctl` fails with EIO on a VM that is dead.

    One that `waits` needs its vCPU to itself: it is blocked while the vCPU is in a run, or with `async` goes on after it.
    """

    def register(method: Method) -> Method:
        known = (*arguments, "async") if waits else arguments
        OPERATIONS[method.__name__.removeprefix("op_")] = Signature(method.__name__, known, ioctl, waits)
        return method

    return register


class Operations:
    """What all operations of one transcript share."""

    def __init__(self, engine: EngineFactory) -> None:
        self.vm = UserspaceVm("transcript")
        self.machine = KvmMachine(self.vm, engine)
        self.handles: dict[int, Handle] = {}

    def handle(self, arguments: Arguments) -> Handle:
        number = arguments.integer("vcpu", 0)
        if number not in self.handles:
            raise NotApplicable(f"there is no vcpu {number}")
        handle = self.handles[number]
        if handle.closed:
            raise OperationRefused(EBADF, f"vcpu {number} was closed")
        return handle


@cache
def guest() -> tuple[dict[str, int], bytes]:
    """The guest that transcripts run: where its programs start, as offsets from the start of memory, and its image."""
    guest = json.loads(Path(__file__).with_name("kvm_guest.json").read_text())
    return guest["programs"], bytes.fromhex(guest["image"])
