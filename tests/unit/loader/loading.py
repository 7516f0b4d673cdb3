"""Loading a file into an arm64 machine, and what comes of one that cannot be loaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from avmm.errors import LoadError
from avmm.loader import LoadedKernel, load_kernel
from avmm.memory import GuestMemory
from tests.unit.loader.ram import AARCH64, RAM


def load(file: Path, memory: GuestMemory, *, machine: int = AARCH64, base: int = RAM) -> LoadedKernel:
    return load_kernel(str(file), memory, elf_machine=machine, image_base=base)


def refusal(file: Path, memory: GuestMemory, *, machine: int = AARCH64) -> str:
    """What is said of a file that must not be loaded."""
    with pytest.raises(LoadError) as caught:
        load(file, memory, machine=machine)
    return str(caught.value)


def outcome(file: Path, memory: GuestMemory) -> str:
    """What kind of file was loaded, or what is said of it."""
    try:
        return load(file, memory).kind
    except LoadError as error:
        return str(error)
