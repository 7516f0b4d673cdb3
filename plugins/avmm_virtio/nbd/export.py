"""An export: what a server said of it, and whether a disk can be made of it."""

from __future__ import annotations

from dataclasses import dataclass

from avmm_virtio.block.blockdev import SECTOR
from avmm_virtio.nbd.protocol import NbdError, Transmission
from avmm_virtio.nbd.uri import NbdUri


@dataclass(slots=True)
class Export:
    """What the server said of an export."""

    size: int = -1
    """Bytes; -1 before it was said."""
    flags: int = 0
    """Of Transmission."""
    structured: bool = False
    """Reads are answered in chunks."""
    minimum_block: int = 1
    maximum_payload: int = 32 << 20

    def check(self, uri: NbdUri, *, read_only: bool) -> None:
        """NbdError unless it can be a disk."""
        if self.size < SECTOR or self.size >= 1 << 63:
            raise NbdError(f"{uri}: has {self.size} bytes; a disk has {SECTOR} or more")
        if self.flags & Transmission.READ_ONLY and not read_only:
            raise NbdError(f"{uri}: the server lets nobody write it; readonly is what it can be")
        minimum = self.minimum_block
        if minimum & minimum - 1 or not 0 < minimum <= 4096 or self.maximum_payload < 4096:
            raise NbdError(f"{uri}: its blocks of {minimum} to {self.maximum_payload} bytes are not those of a disk")

    def check_same(self, before: Export, uri: NbdUri, *, read_only: bool, block_size: int) -> None:
        """NbdError unless a driver can go on with it that knows it as `before`, with blocks of `block_size` bytes."""
        self.check(uri, read_only=read_only)
        lost = before.flags & ~self.flags & ~(Transmission.CAN_MULTI_CONN | Transmission.READ_ONLY)
        if lost or self.minimum_block > block_size:
            raise NbdError(f"{uri}: is another disk now: it can do less")
