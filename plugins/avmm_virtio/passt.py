"""User-mode networking without privileges: passt (https://passt.top), started and stopped with the machine."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Callable, Sequence
from contextlib import suppress

from avmm.plugin import EventLogger, allowed_cores
from avmm_virtio.one_peer import Sleep
from avmm_virtio.peer import Peer
from avmm_virtio.stream import StreamNetdev

_MTU = 65520
"""passt's own default, and what it offers by DHCP: bigger frames, fewer of them."""
_BUFFER = 4 << 20
"""Room for frames to the guest, in bytes, as far as the host allows it (net.core.wmem_max). passt drops what finds none, and
sends it again only two seconds later; a TCP window of a Linux guest fits."""
_STDERR_LIMIT = 4096


class Passt:
    """Runs passt at the other end of a socket pair, and again when it ends before the machine does."""

    def __init__(self, program: str, arguments: Sequence[str], *, restart_s: float, patience_s: float, sleep: Sleep) -> None:
        self._command = (program, "--foreground", "--quiet", *arguments)
        self._restart_s, self._patience_s, self._sleep = restart_s, patience_s, sleep
        self._allowed = allowed_cores()

    async def run(self, factory: Callable[[], Peer], log: EventLogger) -> None:
        while True:
            why = await self._run_once(factory)
            log.warning("passt ended", error=why, restart_s=self._restart_s)
            await self._sleep(self._restart_s)

    async def _run_once(self, factory: Callable[[], Peer]) -> str:
        """One passt, from start to end; why it ended."""
        ours, theirs = socket.socketpair()
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
        with ours:
            try:
                with theirs:
                    # A session of its own: a Ctrl-C for us must not end it while the machine still sends.
                    process = await asyncio.create_subprocess_exec(
                        *self._command, "--fd", str(theirs.fileno()), pass_fds=[theirs.fileno()],
                        stdin=DEVNULL, stdout=DEVNULL, stderr=PIPE, start_new_session=True,
                    )  # fmt: skip
            except OSError as error:
                return error.strerror or str(error)
            with suppress(OSError):  # it has ended already, or the host does not let us
                # It has inherited the place of the event loop's thread, which may be one core shared with the guest.
                os.sched_setaffinity(process.pid, self._allowed)
            try:
                assert process.stderr is not None
                _, peer = await asyncio.get_running_loop().create_unix_connection(factory, sock=ours)
                try:
                    words = await _last_words(process.stderr)
                    return f"status {await process.wait()}: {words}"
                finally:
                    peer.close("passt ended")
            finally:
                await self._end(process)

    async def _end(self, process: Process) -> None:
        """Have `process` ended and waited for, cancelled or not."""
        with suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(self._patience_s):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


class PasstNetdev(StreamNetdev):
    """A network behind passt."""

    mtu = _MTU

    def __init__(
        self,
        name: str,
        program: str,
        arguments: Sequence[str] = (),
        *,
        restart_s: float = 1.0,
        patience_s: float = 5.0,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        """`program` is passt's path; `arguments` come behind ours.

        When it ends it is started again after `restart_s` seconds. When told to end it may take `patience_s` seconds.
        """
        super().__init__(name, Passt(program, arguments, restart_s=restart_s, patience_s=patience_s, sleep=sleep))


def find_passt() -> str | None:
    """The installed passt, or None."""
    return shutil.which("passt")


async def _last_words(stream: asyncio.StreamReader) -> str:
    """What a process says until its end: the last of it, in one line."""
    said = b""
    while data := await stream.read(_STDERR_LIMIT):
        said = (said + data)[-_STDERR_LIMIT:]
    lines = [line for line in said.decode(errors="replace").splitlines() if line.strip()]
    return lines[-1].strip() if lines else "it said nothing"
