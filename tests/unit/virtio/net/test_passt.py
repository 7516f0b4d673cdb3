"""passt as a process: started, restarted, ended. A script stands in for it, except where it is installed."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest
import structlog
from structlog.testing import LogCapture

from avmm.affinity import share_core
from avmm_virtio.passt import PasstNetdev, find_passt
from tests.unit.virtio.net.test_stream import running

FRAME = b"\xff" * 6 + b"\2\0\0\0\0\1" + b"\x08\x06" + bytes(46)


def recorded(netdev: PasstNetdev) -> LogCapture:
    """What `netdev` logs from now on."""
    capture = LogCapture()
    netdev.log = structlog.wrap_logger(structlog.PrintLogger(), processors=[capture], wrapper_class=structlog.BoundLogger)
    return capture


def script(tmp_path: Path, body: str) -> str:
    """A stand-in for passt: `fd` is its socket."""
    path = tmp_path / "passt"
    path.write_text(f"#!{sys.executable}\nimport os, socket, sys, time\nfd = int(sys.argv[sys.argv.index('--fd') + 1])\n{body}")
    path.chmod(0o755)
    return str(path)


async def test_it_speaks_frames_with_what_it_starts_and_ends_it(tmp_path: Path) -> None:
    echo = "os.write(fd, f'{os.getpid():08}'.encode().join([bytes([0, 0, 0, 8]), b'']))\nos.read(fd, 1)\nos.read(fd, 1)"
    netdev = PasstNetdev("net0", script(tmp_path, echo))
    async with running(netdev) as recorder:
        await recorder.until(lambda: recorder.frames)
        process = int(recorder.frames[0])
        assert Path(f"/proc/{process}").exists()
        assert recorder.carriers == [True]
    assert recorder.carriers == [True, False]
    assert not Path(f"/proc/{process}").exists()


async def test_it_has_as_much_room_for_frames_as_the_host_allows(tmp_path: Path) -> None:
    tell = """
with socket.socket(fileno=fd) as ours:
    said = b"%14d" % ours.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
    ours.sendall(bytes([0, 0, 0, 14]) + said)
    ours.recv(1)
"""
    async with running(PasstNetdev("net0", script(tmp_path, tell))) as recorder:
        await recorder.until(lambda: recorder.frames)
    allowed = min(int(Path("/proc/sys/net/core/wmem_max").read_text()), 4 << 20)
    assert int(recorder.frames[0]) == 2 * allowed, "what SO_SNDBUF reads as: the kernel's own records count"


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="takes two cores to be confined to one")
async def test_it_may_run_on_any_core_whatever_the_event_loop_is_confined_to(tmp_path: Path) -> None:
    tell = "os.write(fd, bytes([0, 0, 0, 14]) + b'%14d' % os.getpid())\nos.read(fd, 1)"
    allowed = os.sched_getaffinity(0)
    leave = share_core(lambda: ())  # as another VM on this loop may do by now
    netdev = PasstNetdev("net0", script(tmp_path, tell))
    leave()
    os.sched_setaffinity(0, {min(allowed)})
    try:
        async with running(netdev) as recorder:
            await recorder.until(lambda: recorder.frames)
            assert os.sched_getaffinity(int(recorder.frames[0])) == allowed
    finally:
        os.sched_setaffinity(0, allowed)


async def test_one_that_ends_is_started_again_and_its_last_words_are_told(tmp_path: Path) -> None:
    slept = asyncio.Event()

    async def sleep(seconds: float) -> None:
        assert seconds == 1
        slept.set()

    netdev = PasstNetdev(
        "net0", script(tmp_path, "print('first\\n no such option\\n', file=sys.stderr)\nsys.exit(3)"), sleep=sleep
    )
    log = recorded(netdev)
    async with running(netdev) as recorder:
        await recorder.until(lambda: recorder.carriers.count(True) >= 2)
        assert slept.is_set()
    assert log.entries[0]["event"] == "passt ended"
    assert log.entries[0]["error"] == "status 3: no such option"


async def test_one_that_does_not_listen_is_killed(tmp_path: Path) -> None:
    body = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nos.write(fd, b'\\0\\0\\0\\1x')\ntime.sleep(1000)"
    netdev = PasstNetdev("net0", script(tmp_path, body), patience_s=0.05)
    async with running(netdev) as recorder:
        await recorder.until(lambda: recorder.frames)
    assert recorder.carriers == [True, False]


async def test_a_program_that_cannot_be_started_is_told(tmp_path: Path) -> None:
    async def sleep(_: float) -> None:
        raise asyncio.CancelledError

    netdev = PasstNetdev("net0", str(tmp_path / "none"), sleep=sleep)
    log = recorded(netdev)
    with pytest.raises(asyncio.CancelledError):
        await netdev.run()
    assert [(entry["event"], entry["error"]) for entry in log.entries] == [("passt ended", "No such file or directory")]


async def test_the_real_one_answers_a_question_for_its_address() -> None:
    """DHCP needs a whole client; ARP is one frame each way: passt answers for any address but the guest's."""
    program = find_passt()
    if program is None:
        pytest.skip("passt is not installed")
    netdev = PasstNetdev("net0", program, ("--address", "10.9.8.7", "--netmask", "24", "--gateway", "10.9.8.1"))
    mine = b"\2\0\0\0\0\1"
    question = b"\0\1\x08\0\6\4\0\1" + mine + bytes([10, 9, 8, 7]) + bytes(6) + bytes([10, 9, 8, 1])
    async with running(netdev) as recorder:
        await recorder.until(lambda: recorder.carriers)
        netdev.send([b"\xff" * 6 + mine + b"\x08\x06" + question])
        await recorder.until(lambda: any(frame[12:14] == b"\x08\x06" for frame in recorder.frames))
    answer = next(frame for frame in recorder.frames if frame[12:14] == b"\x08\x06")
    assert (answer[:6], answer[20:22], answer[28:32]) == (mine, b"\0\2", bytes([10, 9, 8, 1]))
