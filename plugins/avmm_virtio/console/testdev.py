"""A test device at the end of a console's port: by it a guest ends the machine and says how that went."""

from __future__ import annotations

from collections.abc import Callable

from avmm_virtio.chardev.base import OutputChardev


class TestDevice(OutputChardev):
    """Ends the machine when the guest says so: `<decimal>q` exits with status `<decimal>` * 2 + 1, in eight bits.

    The lowest bit is always set, so that a guest that passes (0) is told from a machine that was merely powered off. Any other
    byte starts the number anew.
    """

    __test__ = False
    """Not a test itself, whatever its name suggests to a collector of tests."""

    def __init__(self, shut_down: Callable[[str, int], None]) -> None:
        super().__init__(self._look)
        self._shut_down = shut_down
        self._code = 0

    def _look(self, data: bytes) -> None:
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
