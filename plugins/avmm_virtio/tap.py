"""TAP: a network interface of the host whose other end is the guest's (the kernel's Documentation/networking/tuntap)."""

from __future__ import annotations

import asyncio
import fcntl
import os
import struct
from collections.abc import Sequence
from typing import BinaryIO

from avmm.plugin import get_logger
from avmm_virtio.netdev import MAX_FRAME, Netdev

_TUNSETIFF = 0x4004_54CA
_IFF_TAP, _IFF_NO_PI = 0x0002, 0x1000
_IFREQ = struct.Struct("16sH22x")
_BATCH = 64
"""Frames read before the loop gets on with something else."""


def open_tap(name: str, device: str = "/dev/net/tun") -> BinaryIO:
    """The TAP interface `name`, made when it is not there and that is permitted. OSError when it cannot be had."""
    tap = open(device, "r+b", buffering=0)  # noqa: SIM115 - it outlives this function
    try:
        fcntl.ioctl(tap, _TUNSETIFF, _IFREQ.pack(name.encode(), _IFF_TAP | _IFF_NO_PI))
        os.set_blocking(tap.fileno(), False)
    except OSError:
        tap.close()
        raise
    return tap


class TapNetdev(Netdev):
    """A TAP interface: one frame a read, one a write. The kernel queues what is not read, and drops what does not fit."""

    def __init__(self, name: str, tap: BinaryIO) -> None:
        """`name` is what the log calls it; `tap` gives and takes whole frames without blocking, and is the backend's own now."""
        super().__init__()
        self._log = get_logger(netdev=name)
        self._tap = tap
        self._fd = tap.fileno()
        self._reading = False
        self._gone = asyncio.Event()
        self._held: list[bytes] = []
        """Frames that the receiver had no room for; nothing is read until it has."""
        self.undelivered = 0
        """Frames from the guest that the interface did not take: it is down, or its queue is full."""

    async def run(self) -> None:
        self._read(wanted=True)
        self._receiver.carrier(up=True)
        try:
            await self._gone.wait()
            self._log.warning("network interface lost")
        finally:
            self._read(wanted=False)
            self._receiver.carrier(up=False)
            self._tap.close()

    def send(self, frames: Sequence[bytes]) -> int:
        for frame in frames:
            try:
                os.write(self._fd, frame)
            except OSError:
                # Down (EIO), full (EAGAIN), or too short for it (EINVAL): a cable loses a frame and says nothing.
                self.undelivered += 1
        return len(frames)

    def resume(self) -> None:
        if self._held:
            self._hand_on(self._held)

    def _hand_on(self, frames: list[bytes]) -> None:
        self._held = frames[self._receiver.receive(frames) :]
        self._read(wanted=not self._held and not self._gone.is_set())

    def _read(self, *, wanted: bool) -> None:
        if wanted != self._reading:
            self._reading = wanted
            loop = asyncio.get_running_loop()
            if wanted:
                loop.add_reader(self._fd, self._readable)
            else:
                loop.remove_reader(self._fd)

    def _readable(self) -> None:
        frames: list[bytes] = []
        try:
            while len(frames) < _BATCH:
                frame = os.read(self._fd, MAX_FRAME)
                if not frame:
                    self._gone.set()
                    break
                frames.append(frame)
        except BlockingIOError:
            pass
        except OSError:
            # Somebody deleted the interface: it would be readable for ever, with nothing to read.
            self._gone.set()
        self._hand_on(frames)
