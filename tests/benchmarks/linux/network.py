"""A TCP connection between the guest and a server on the host, through passt."""

from __future__ import annotations

import socket
import struct
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from avmm_virtio.passt import find_passt
from tests.benchmarks.linux.guest import Guest
from tests.benchmarks.linux.machines import QUIET, on_avmm, on_qemu
from tests.benchmarks.linux.pairs import Pair, at_least
from tests.benchmarks.linux.process import Observed, observe
from tests.benchmarks.table import Row

BYTES, QUESTIONS, QUESTION = 50_000_000, 3_000, 64
GREETING = struct.Struct("<QQ")
CHUNK = 1 << 20
BUFFER = 4 << 20


def run(guest: Guest, rounds: int) -> list[Row]:
    """All figures of this file."""
    if find_passt() is None:
        return [Row("virtio-net", "not measured: passt is missing (Debian: apt-get install passt)")]
    with server() as port:
        append = f'{QUIET} run="network" port={port}'
        turns = [(observe(on_avmm(guest, 1, append, "--net", "passt")), _theirs(guest, append)) for _ in range(rounds)]
    rows = []
    for load, what, amount, unit in (
        ("receive", "stream to the guest", BYTES / 1e6, "MB/s"),
        ("send", "stream from the guest", BYTES / 1e6, "MB/s"),
        ("ask", f"requests and answers of {QUESTION} bytes", QUESTIONS, "/s"),
    ):
        pairs: list[Pair] = [(amount / ours.loads[load], amount / theirs.loads[load]) for ours, theirs in turns]
        rows.append(at_least(f"virtio-net, {what}", pairs, 0.8, unit, "QEMU"))
    return rows


def _theirs(guest: Guest, append: str) -> Observed:
    """QEMU with the same card, and a passt of its own, as avmm's has."""
    ours, theirs = socket.socketpair()
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)  # as much as avmm's has
    with ours:
        with theirs:
            passt = subprocess.Popen(
                ["passt", "--foreground", "--quiet", "--fd", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        try:
            card = f"stream,id=net0,server=off,addr.type=fd,addr.str={ours.fileno()}"
            device = "virtio-net-device,netdev=net0,host_mtu=65520"
            return observe(on_qemu(guest, 1, append, "-netdev", card, "-device", device), files=(ours.fileno(),))
        finally:
            passt.terminate()
            passt.wait()


@contextmanager
def server() -> Iterator[int]:
    """Does what a connection's greeting says, each on a thread of its own; the port."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=_accept, args=(listening,), daemon=True).start()
        try:
            yield int(listening.getsockname()[1])
        finally:
            listening.shutdown(socket.SHUT_RDWR)


def _accept(listening: socket.socket) -> None:
    while True:
        try:
            connection, _ = listening.accept()
        except OSError:
            return
        threading.Thread(target=_serve, args=(connection,), daemon=True).start()


def _serve(connection: socket.socket) -> None:
    with connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        what, amount = GREETING.unpack(connection.recv(GREETING.size, socket.MSG_WAITALL))
        match chr(what):
            case "r":
                page = bytes(CHUNK)
                for _ in range(amount // CHUNK):
                    connection.sendall(page)
                connection.sendall(page[: amount % CHUNK])
            case "s":
                buffer = bytearray(CHUNK)
                while amount:
                    amount -= connection.recv_into(buffer, min(amount, CHUNK))
                connection.sendall(b"!")
            case _:
                for _ in range(amount):
                    connection.sendall(connection.recv(QUESTION, socket.MSG_WAITALL))
