"""`make watch`: a guest, its metrics and Prometheus, with one command."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from tests.prometheus.server import DEADLINE_S, PROMETHEUS, Prometheus

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(PROMETHEUS is None, reason="prometheus is not installed (Debian: apt-get install prometheus)")


def free_address() -> str:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return f"127.0.0.1:{free.getsockname()[1]}"


@asynccontextmanager
async def watch(directory: Path, metrics: str, prometheus: str) -> AsyncIterator[Process]:
    """The command, in a process group of its own, with what is installed here."""
    command = ["make", "-o", ".venv/.run", "watch", f"BIN={Path(sys.executable).parent}"]
    process = await asyncio.create_subprocess_exec(
        *command,
        f"WATCH_DIR={directory}",
        f"WATCH_METRICS={metrics}",
        f"WATCH_PROMETHEUS={prometheus}",
        cwd=ROOT,
        stdin=DEVNULL,
        stdout=DEVNULL,
        stderr=PIPE,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGTERM)
        try:
            async with asyncio.timeout(DEADLINE_S):
                await process.communicate()
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


async def test_the_guest_is_in_prometheus(tmp_path: Path) -> None:
    address = free_address()
    async with watch(tmp_path, free_address(), address) as process, asyncio.timeout(DEADLINE_S):
        server = Prometheus(f"http://{address}")
        while True:
            assert process.returncode is None
            try:
                if any(await server.values("avmm_vcpu_exits_total")):
                    break
            except OSError:
                pass  # it is not up yet
            await asyncio.sleep(0.1)
        assert await server.values('avmm_vm_vcpus{job="avmm"}') == [4]
    with pytest.raises(OSError, match="refused"):  # and nothing is left
        await server.values("up")


async def test_ended_at_once_it_starts_no_guest(tmp_path: Path) -> None:
    async with watch(tmp_path, free_address(), free_address()) as process:
        os.killpg(process.pid, signal.SIGTERM)  # while it waits for Prometheus, most likely
        _, said = await asyncio.wait_for(process.communicate(), DEADLINE_S)
    assert b"Traceback" not in said


async def test_a_port_that_is_taken_is_told(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        async with watch(tmp_path, free_address(), address) as process, asyncio.timeout(DEADLINE_S):
            _, said = await process.communicate()
            assert process.returncode != 0
    assert f"listen tcp {address}: bind: address already in use" in said.decode()
