"""The VM's console as the host's end of a port: what its user types, and what the user sees."""

from __future__ import annotations

from typing import Final

from avmm.plugin import Console
from avmm_virtio.chardev.base import Chardev, PortReceiver

BACKLOG: Final = 1 << 16
"""How many bytes of input wait for the guest at most; nobody types faster, and what is pasted beyond that is dropped."""


class ConsoleChardev(Chardev):
    """The VM's console. Owner: the device lock."""

    immediate = always_open = True

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console
        self._backlog = bytearray()

    def connect(self, receiver: PortReceiver) -> None:
        super().connect(receiver)
        self._console.on_input(self._typed)

    async def run(self) -> None:
        self._console.on_resize(self._receiver.resized)

    def write(self, data: bytes) -> int:
        self._console.write(data)
        return len(data)

    def resume(self) -> None:
        if self._backlog:
            del self._backlog[: self._receiver.receive(bytes(self._backlog))]

    def _typed(self, data: bytes) -> None:
        taken = data[: BACKLOG - len(self._backlog)]
        self.lost += len(data) - len(taken)
        self._backlog += taken
        self.resume()
