"""The virtio console (virtio 1.1, 5.3), one port; and the test device that may sit at its other end."""

from __future__ import annotations

from collections.abc import Callable

from avmm_virtio.model import VirtioModel
from avmm_virtio.virtqueue import Virtqueue

_TRANSMIT = 1
_MAX_WRITE = 1 << 20
"""The most that one chain transmits; what comes beyond is dropped."""


class VirtioConsole(VirtioModel):
    """A console that the guest only writes to: `output` gets the bytes. Buffers it gives for input wait for ever."""

    device_id = 3
    queue_sizes = (128, 128)

    def __init__(self, output: Callable[[bytes], object]) -> None:
        self._output = output

    def notify(self, queue: Virtqueue) -> None:
        if queue.index != _TRANSMIT:
            return
        for chain in queue.chains():
            data = chain.read(0, _MAX_WRITE)
            queue.push(chain, read=len(data))
            self._output(data)


class TestDevice:
    """Ends the machine when the guest says so: `<decimal>q` exits with status `<decimal>` * 2 + 1, in eight bits.

    The lowest bit is always set, so that a guest that passes (0) is told from a machine that was merely powered off. Any other
    byte starts the number anew.
    """

    __test__ = False
    """Not a test itself, whatever its name suggests to a collector of tests."""

    def __init__(self, shut_down: Callable[[str, int], None]) -> None:
        self._shut_down = shut_down
        self._code = 0

    def write(self, data: bytes) -> None:
        """The guest wrote `data`."""
        for byte in data:
            if 0x30 <= byte <= 0x39:
                # No more than eight bits ever matter.
                self._code = self._code * 10 + byte - 0x30 & 0xFFFF_FFFF
            elif byte == ord("q"):
                status = (self._code << 1 | 1) & 0xFF
                self._code = 0
                self._shut_down(f"test device: status {status}", status)
            else:
                self._code = 0
