"""Parts of requests: of their place on the disk, and of the guest memory that they read or write."""

from __future__ import annotations

from collections.abc import Iterator, Sequence


def pieces(offset: int, size: int, most: int) -> Iterator[tuple[int, int]]:
    """`size` bytes from `offset` on, in parts of at most `most`: where each begins, and how long it is."""
    for at in range(offset, offset + size, most):
        yield at, min(most, offset + size - at)


def cut(views: Sequence[memoryview], at: int, size: int) -> bytes:
    """A copy of `size` bytes from byte `at` of `views`; empty when there are none any more."""
    parts = []
    for view in views:
        if at < len(view):
            parts.append(view[at : at + size])
            size -= len(parts[-1])
            at = 0
            if not size:
                break
        else:
            at -= len(view)
    return b"".join(parts)


def paste(views: Sequence[memoryview], at: int, data: bytes) -> None:
    """Store `data` from byte `at` of `views` on; what they have no room for is dropped."""
    rest = memoryview(data)
    for view in views:
        if at < len(view):
            part = rest[: len(view) - at]
            view[at : at + len(part)] = part
            rest, at = rest[len(part) :], 0
            if not rest:
                return
        else:
            at -= len(view)
