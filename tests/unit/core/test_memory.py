"""Guest memory that is filled from the host's side."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from errno import EINVAL
from io import BytesIO
from pathlib import Path

import pytest

from avmm.errors import LoadError
from avmm.loader.placement import place
from avmm.memory import GuestMemory, MemorySlot

RAM, SIZE, LARGE = 0x4000_0000, 5 << 20, 2 << 20


class Mapping(mmap.mmap):
    """A host's mapping that keeps what it is asked for."""

    asked: list[tuple[int, ...]]
    refuses = False

    def madvise(self, *advice: int) -> None:
        self.asked.append(advice)
        if self.refuses:
            raise OSError(EINVAL, "a host without large pages")


@pytest.fixture
def mapping() -> Mapping:
    mapping = Mapping(-1, SIZE)
    mapping.asked = []
    return mapping


@pytest.fixture
def memory(mapping: Mapping) -> Iterator[GuestMemory]:
    memory = GuestMemory()
    slot = MemorySlot(RAM, SIZE)
    slot.buffer.close()
    slot.buffer = mapping
    memory.add(slot)
    yield memory
    memory.close()


@pytest.mark.parametrize("refuses", [False, True])
def test_what_is_filled_is_what_the_guest_reads(memory: GuestMemory, mapping: Mapping, refuses: bool) -> None:
    mapping.refuses = refuses
    with memory.to_fill(RAM + 1, LARGE) as room:
        room[:] = b"\x5a" * LARGE
    assert memory.read(RAM, LARGE + 2) == b"\0" + b"\x5a" * LARGE + b"\0"


@pytest.mark.parametrize(
    ("offset", "size", "asked"),
    [
        (0, LARGE, [(0, LARGE)]),
        (LARGE - 1, LARGE, [(0, 2 * LARGE)]),
        (LARGE, SIZE - LARGE, [(LARGE, SIZE - LARGE)]),
        (0, LARGE - 1, []),
    ],
)
def test_large_pages_are_asked_for_where_a_large_page_would_be_filled(
    memory: GuestMemory, mapping: Mapping, offset: int, size: int, asked: list[tuple[int, int]]
) -> None:
    memory.to_fill(RAM + offset, size).release()
    assert mapping.asked == [(mmap.MADV_HUGEPAGE, *span) for span in asked]


@pytest.mark.parametrize(("offset", "size"), [(-1, 1), (SIZE - 1, 2), (0, SIZE + 1)])
def test_nothing_else_can_be_filled(memory: GuestMemory, offset: int, size: int) -> None:
    with pytest.raises(ValueError, match="guest memory has no"):
        memory.to_fill(RAM + offset, size)


def test_a_file_that_shrinks_while_it_is_read(memory: GuestMemory, tmp_path: Path) -> None:
    with pytest.raises(LoadError, match=r"^changed while it was read$"):
        place(memory, RAM, BytesIO(b"half"), 0, 8, "an image")
    memory.close()  # and nothing of it is held
