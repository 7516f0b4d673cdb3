"""TAP, with a packet socket in its place, and a real interface where that is permitted."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from avmm_virtio.tap import TapNetdev, open_tap
from tests.unit.virtio.background import settle
from tests.unit.virtio.net.receiver import Recorder
from tests.unit.virtio.net.test_stream import running

FRAME = bytes(range(60))


@pytest.fixture
def pair() -> Iterator[tuple[TapNetdev, socket.socket]]:
    """A backend whose interface is a socket that keeps packets apart, and its other end."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.settimeout(0)
    theirs.settimeout(0)
    with theirs:
        yield TapNetdev("net0", open(ours.detach(), "r+b", buffering=0)), theirs  # noqa: SIM115 - the backend closes it


async def test_frames_go_both_ways(pair: tuple[TapNetdev, socket.socket]) -> None:
    tap, host = pair
    async with running(tap) as recorder:
        for text in (b"one", b"two"):
            host.send(text)
        await recorder.until(lambda: len(recorder.frames) == 2)
        assert (recorder.frames, recorder.carriers) == ([b"one", b"two"], [True])
        assert tap.send([FRAME, b"x"]) == 2
        assert (host.recv(100), host.recv(100)) == (FRAME, b"x")
    assert recorder.carriers == [True, False]


async def test_what_there_is_no_room_for_waits_in_order(pair: tuple[TapNetdev, socket.socket]) -> None:
    tap, host = pair
    async with running(tap) as recorder:
        recorder.room = 1
        for number in range(5):
            host.send(bytes([number]))
        await recorder.until(lambda: recorder.frames)
        await settle()
        offered = recorder.offered
        await settle()
        assert (recorder.frames, recorder.offered) == ([b"\0"], offered), "it goes on reading"
        recorder.room = 2
        tap.resume()
        assert recorder.frames == [b"\0", b"\1", b"\2"]
        recorder.room = 100
        tap.resume()
        host.send(b"last")
        await recorder.until(lambda: recorder.frames[-1] == b"last")
        assert recorder.frames == [b"\0", b"\1", b"\2", b"\3", b"\4", b"last"]


async def test_what_the_interface_does_not_take_is_lost_and_counted(pair: tuple[TapNetdev, socket.socket]) -> None:
    tap, host = pair
    async with running(tap):
        await settle()
        for _ in range(10_000):
            tap.send([FRAME])
            if tap.undelivered:
                break
        assert tap.undelivered == 1
        host.recv(100)
        assert tap.send([FRAME]) == 1
        assert tap.undelivered == 1


async def test_an_interface_that_goes_takes_the_carrier(pair: tuple[TapNetdev, socket.socket]) -> None:
    tap, host = pair
    recorder = Recorder()
    tap.connect(recorder)
    host.send(b"last")
    host.close()
    await asyncio.wait_for(tap.run(), 60)
    assert (recorder.frames, recorder.carriers) == ([b"last"], [True, False])


def test_what_is_no_tun_device_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError):
        open_tap("tap0", str(tmp_path / "none"))
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError):
        open_tap("tap0", str(tmp_path / "file"))


@asynccontextmanager
async def interface(name: str) -> AsyncIterator[tuple[TapNetdev, Recorder]]:
    try:
        tap = TapNetdev(name, open_tap(name))
    except OSError as error:
        pytest.skip(f"no TAP interface may be made here: {error}")
    async with running(tap) as recorder:
        await settle()
        yield tap, recorder


async def test_a_real_interface_answers_to_its_name_and_is_gone_afterwards() -> None:
    name = f"avmm{os.getpid()}"
    async with interface(name) as (tap, _):
        assert name in [one for _, one in socket.if_nameindex()]
        assert tap.send([FRAME]) == 1
        assert tap.undelivered == 1, "an interface that is down takes nothing"
        with pytest.raises(OSError, match="busy"):
            open_tap(name)
    assert name not in [one for _, one in socket.if_nameindex()]
