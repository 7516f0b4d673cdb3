"""Guest memory to load into, and a folder to load from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from avmm.memory import GuestMemory, MemorySlot
from tests.unit.loader.ram import RAM, SIZE


@pytest.fixture
def memory() -> Iterator[GuestMemory]:
    """All of it zeros."""
    memory = GuestMemory()
    memory.add(MemorySlot(RAM, SIZE))
    yield memory
    memory.close()


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Relative paths lead to an empty folder."""
    monkeypatch.chdir(tmp_path)
