"""The memory balloon (virtio 1.2, 5.5): memory that the guest lends to the host, and free pages that it tells of."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Iterable, Iterator
from typing import Final

from avmm.plugin import Clock, Figure, FigureKind, FigureValue, TimerHandle
from avmm_virtio.chain import Chain
from avmm_virtio.model import VirtioModel
from avmm_virtio.virtqueue import Virtqueue
from avmm_virtio.wakeup import Wakeup

F_STATS_VQ: Final = 1 << 1
F_DEFLATE_ON_OOM: Final = 1 << 2
F_PAGE_REPORTING: Final = 1 << 5
INFLATE, DEFLATE, STATISTICS = 0, 1, 2
REPORTING = (3, 4)
"""The standard's number is 4. Linux counts the queues that there are, and there is no free_page_vq in front of it."""
PAGE: Final = 4096
"""What the balloon counts in, whatever the guest's pages are (5.5.6)."""
_CONFIG = struct.Struct("<IIII")
"""struct virtio_balloon_config: num_pages, actual, free_page_hint_cmd_id, poison_val."""
_ACTUAL: Final = 4
_STATISTIC = struct.Struct("<HQ")
"""struct virtio_balloon_stat: tag, val."""
_NAMES = (
    "swap_in",
    "swap_out",
    "major_faults",
    "minor_faults",
    "free",
    "total",
    "available",
    "caches",
    "huge_pages",
    "huge_failures",
)
"""By tag (5.5.6.4)."""
_PIECE_PAGES, _PIECE_BYTES = 256, 4 << 20
"""What is given back to the host in one turn of the event loop: pages that are listed, bytes that are reported."""

Piece = list[tuple[int, int]]
"""Addresses and sizes."""
_NS_PER_S = 1_000_000_000

_SIZE = Figure("balloon_size_bytes", FigureKind.GAUGE, "Memory in a guest's balloon, as its driver says.")
_TARGET = Figure("balloon_target_bytes", FigureKind.GAUGE, "Memory that is to be in a guest's balloon.")
_DISCARDED = Figure(
    "balloon_discarded_bytes", FigureKind.COUNTER, "Guest memory given back to the host, from the balloon or reported free."
)
_INVALID = Figure("balloon_invalid_ranges", FigureKind.COUNTER, "Ranges that a balloon's driver gave where no memory is.")
_HELP = "What a balloon's driver last told of its guest, in bytes or times; 0 before it did."
_STATISTICS = [Figure("balloon_guest_statistic", FigureKind.GAUGE, _HELP, {"name": name}) for name in _NAMES]


class VirtioBalloon(VirtioModel):
    """A balloon. Owner: the device lock. Memory is given back on the event loop, a piece a turn."""

    device_id = 5
    queue_sizes = (128, 128, 8, 32, 32)

    def __init__(
        self, clock: Clock, *, size: int = 0, statistics_s: float = 0, deflate_on_oom: bool = True, reporting: bool = True
    ) -> None:
        """`size`: what is to be in the balloon at first, in bytes. `statistics_s`: how often the driver is asked, 0 for never.

        `deflate_on_oom`: the guest may take memory back by itself before it kills a process. `reporting`: it tells of free pages.
        """
        self.features = F_STATS_VQ | (F_DEFLATE_ON_OOM if deflate_on_oom else 0) | (F_PAGE_REPORTING if reporting else 0)
        self._clock, self._interval_ns = clock, int(statistics_s * _NS_PER_S)
        self._pages, self._actual = size // PAGE, bytearray(4)
        self._wakeup = Wakeup()
        self._paused = False
        self._work: tuple[Virtqueue, Chain, Iterator[Piece]] | None = None
        """A chain that is worked on, and what is left of it."""
        self._asked: Chain | None = None
        """The buffer by which the driver is asked for statistics."""
        self._timer: TimerHandle | None = None
        self.statistics: dict[str, int] = {}
        """What the driver told of its guest last, by name; bytes, or times."""
        self.discarded = self.invalid = 0
        self._set_config()

    @property
    def target(self) -> int:
        """How many bytes are to be in the balloon."""
        return self._pages * PAGE

    @property
    def size(self) -> int:
        """How many bytes are in it, as the driver says."""
        return int.from_bytes(self._actual, "little") * PAGE

    def set_target(self, size: int) -> None:
        """Have the balloon grow or shrink to `size` bytes. Any thread.

        ValueError unless that is a multiple of 4096, and not more than the guest's memory. How far the driver gets, and when, is
        its own affair: look at `size`.
        """
        most = sum(slot.size for slot in self.device.memory if not slot.read_only)
        if size % PAGE or not 0 <= size <= most:
            raise ValueError(f"{size} is not a multiple of {PAGE} bytes from 0 to {most}")
        with self.device.lock:
            self._pages = size // PAGE
            self._set_config()
            self.device.config_changed()

    def ask(self) -> bool:
        """Ask the driver for statistics; False when it has not answered the last time, or is not there. Any thread."""
        with self.device.lock:
            chain, self._asked = self._asked, None
            queue = self.device.queues[STATISTICS]
            if chain is not None:
                queue.push(chain)
                queue.signal()
        return chain is not None

    # What the driver does, with the device lock held.

    def activate(self) -> None:
        self._ask_in_time()

    def notify(self, queue: Virtqueue) -> None:
        if queue.index == STATISTICS:
            self._hear(queue)
        else:
            self._wakeup.set()

    def write_config(self, offset: int, data: bytes) -> None:
        """Only `actual` is the driver's to write."""
        for at, byte in enumerate(data, offset - _ACTUAL):
            if 0 <= at < len(self._actual):
                self._actual[at] = byte
        self._set_config()

    def queue_reset(self, queue: Virtqueue) -> None:
        if queue.index == STATISTICS:
            self._asked = None
        elif self._work is not None and self._work[0] is queue:
            self._work = None

    def reset(self) -> None:
        self._work = self._asked = None
        self._actual[:] = bytes(4)
        self._set_config()
        if self._timer is not None:
            self._timer.cancel()

    def _set_config(self) -> None:
        self.config = _CONFIG.pack(self._pages, int.from_bytes(self._actual, "little"), 0, 0)

    def _hear(self, queue: Virtqueue) -> None:
        """Statistics (5.5.6.4): the driver makes one buffer available at a time, and has it back to be asked again."""
        for chain in queue.chains():
            if self._asked is not None:
                queue.push(self._asked)
            self._asked = chain
            data = chain.read(0, 64 * _STATISTIC.size)
            for tag, value in _STATISTIC.iter_unpack(data[: len(data) // _STATISTIC.size * _STATISTIC.size]):
                if tag < len(_NAMES):
                    self.statistics[_NAMES[tag]] = value

    def _ask_in_time(self) -> None:
        if self._interval_ns:
            self._timer = self._clock.call_at(self._clock.now_ns() + self._interval_ns, self._due)

    def _due(self) -> None:
        """A timer's call, on the event loop."""
        with self.device.lock:
            if self.device.active:
                if not self._paused:
                    self.ask()
                self._ask_in_time()

    # The event loop's side.

    async def run(self) -> None:
        while True:
            await self._wakeup.wait()
            while not self._paused and self._serve_piece():
                await asyncio.sleep(0)

    async def quiesce(self) -> None:
        self._paused = True

    async def resume(self) -> None:
        self._paused = False
        self._wakeup.set()

    def _serve_piece(self) -> bool:
        """A turn's worth of work; False when there is none left."""
        with self.device.lock:
            if self._work is None:
                self._work = self._next_work()
            if self._work is None:
                return False
            queue, chain, pieces = self._work
            piece = next(pieces, None)
            if piece is None:
                self._work = None
                queue.push(chain, read=chain.readable_bytes)
                queue.signal()
                return True
            for address, size in piece:
                self._discard(address, size)
            return True

    def _next_work(self) -> tuple[Virtqueue, Chain, Iterator[Piece]] | None:
        for index in (INFLATE, DEFLATE, *REPORTING):
            queue = self.device.queues[index]
            chain = queue.pop()
            if chain is None:
                continue
            match index:
                case 0:
                    return queue, chain, _page_runs(chain)
                case 1:
                    return queue, chain, iter(())  # pages come by themselves when the guest uses them
                case _:
                    return queue, chain, self._reported(chain)
        return None

    def _reported(self, chain: Chain) -> Iterator[Piece]:
        """The free pages that a chain of the reporting queue is made of (5.5.6.7)."""
        if self.device.features & F_PAGE_REPORTING:
            slots = {id(slot.buffer): slot.address for slot in self.device.memory}
            for mapping, offset, size in chain.writable:
                address = slots.get(id(mapping), 0) + offset
                for start in range(0, size, _PIECE_BYTES):
                    yield [(address + start, min(_PIECE_BYTES, size - start))]

    def _discard(self, address: int, size: int) -> None:
        try:
            self.discarded += self.device.memory.discard(address, size)
        except ValueError:
            self.invalid += 1

    def figures(self) -> Iterable[tuple[Figure, FigureValue]]:
        told = self.statistics
        return (
            (_SIZE, self.size),
            (_TARGET, self.target),
            (_DISCARDED, self.discarded),
            (_INVALID, self.invalid),
            *((figure, told.get(name, 0)) for name, figure in zip(_NAMES, _STATISTICS, strict=True)),
        )


def _page_runs(chain: Chain) -> Iterator[Piece]:
    """The pages whose numbers stand in a chain, neighbours together."""
    offset = 0
    while data := chain.read(offset, 4 * _PIECE_PAGES):
        offset += len(data)
        runs: Piece = []
        start = end = 0
        for page in sorted({page for (page,) in struct.iter_unpack("<I", data[: len(data) // 4 * 4])}):
            if page != end:
                if end:
                    runs.append((start * PAGE, (end - start) * PAGE))
                start = page
            end = page + 1
        if end:
            runs.append((start * PAGE, (end - start) * PAGE))
        yield runs
