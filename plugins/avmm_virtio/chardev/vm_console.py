"""The VM's console as the host's end of a port: what its user types, and what the user sees."""

from __future__ import annotations

from avmm.plugin import Console
from avmm_virtio.chardev.base import Chardev, PortReceiver


class ConsoleChardev(Chardev):
    """The VM's console, where input waits for the guest. Owner: the device lock."""

    immediate = always_open = True

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console

    def connect(self, receiver: PortReceiver) -> None:
        super().connect(receiver)
        self._console.on_input(receiver.receive)

    async def run(self) -> None:
        self._console.on_resize(self._receiver.resized)

    def write(self, data: bytes) -> int:
        self._console.write(data)
        return len(data)

    def resume(self) -> None:
        self._console.deliver()
