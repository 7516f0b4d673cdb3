"""What the guest's console has written of late."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from avmm.plugin import State, SteeredVm

KEPT = 1 << 16
"""Bytes kept at least."""


class ConsoleLog:
    """The last output of one VM's console, by its place in all of it. Written with the device lock held, on any thread."""

    def __init__(self, vm: SteeredVm) -> None:
        self._lock, self._loop = vm.device_lock, asyncio.get_running_loop()
        self._kept, self._end = bytearray(), 0
        self._waiters: tuple[asyncio.Event, ...] = ()
        self._woken = False
        self.closed = False
        """True once the VM is over, or no longer served: nothing more will come."""
        self._undo = ExitStack()
        self._undo.callback(vm.console.watch(self._wrote))
        self._undo.callback(vm.lifecycle.watch(self._moved))

    def close(self) -> None:
        """Record no more; whoever listens learns that it is over."""
        self.closed = True
        self._undo.close()
        self._wake()

    def _moved(self, to: State) -> None:
        if to is State.HALTED:
            self.close()

    @contextmanager
    def listening(self) -> Iterator[asyncio.Event]:
        """An event that is set when there is more, for the length of a `with`."""
        waiter = asyncio.Event()
        self._waiters = (*self._waiters, waiter)
        try:
            yield waiter
        finally:
            self._waiters = tuple(one for one in self._waiters if one is not waiter)

    def since(self, place: int, most: int) -> tuple[bytes, int]:
        """Output from `place` on, no more than `most` bytes, and where it ends; what is no longer kept is left out."""
        with self._lock:
            start = self._end - len(self._kept)
            first = min(max(place, start), self._end)
            data = bytes(self._kept[first - start : first - start + most])
        return data, first + len(data)

    def _wrote(self, data: bytes) -> None:
        self._kept += data
        self._end += len(data)
        if len(self._kept) > 2 * KEPT:
            del self._kept[:-KEPT]
        if self._waiters and not self._woken and not self._loop.is_closed():
            self._woken = True
            self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        self._woken = False
        for waiter in self._waiters:
            waiter.set()
