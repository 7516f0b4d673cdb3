"""A network device for backends to talk to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from avmm_virtio.netdev import Frame


class Recorder:
    """Takes what it has room for, and remembers everything it was told."""

    def __init__(self, room: int = 1 << 30) -> None:
        self.room = room
        self.frames: list[bytes] = []
        self.carriers: list[bool] = []
        self.offered = self.writables = 0
        self._changed = asyncio.Event()

    def receive(self, frames: Sequence[Frame]) -> int:
        taken = min(self.room, len(frames))
        self.frames += [bytes(frame) for frame in list(frames)[:taken]]
        self.room -= taken
        self.offered += len(frames)
        self._changed.set()
        return taken

    def writable(self) -> None:
        self.writables += 1
        self._changed.set()

    def carrier(self, *, up: bool) -> None:
        self.carriers.append(up)
        self._changed.set()

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait for something that comes with one of the calls."""
        while not condition():
            self._changed.clear()
            await asyncio.wait_for(self._changed.wait(), 60)
