"""Standard input that a guest does not read, or slowly: whoever writes there waits, and nothing is lost."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Iterator

import pytest

from avmm.cli.input import ConsoleInput
from avmm.console import Console
from avmm.lock import DeviceLock
from tests.unit.core.test_console import Guest

TEXT = random.Random(2).randbytes(1 << 20)
PATIENCE = 10_000
"""Rounds of the event loop that all of it may take."""
Pipe = tuple[int, int]


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    """A pipe, to read and to write without waiting."""
    ends = os.pipe()
    for end in ends:
        os.set_blocking(end, False)
    yield ends
    for end in ends:
        os.close(end)


async def pasted(end: int, data: bytes) -> int:
    """Write until the pipe takes no more though the event loop has had every chance to read it; how much it took."""
    taken = refused = 0
    while taken < len(data) and refused < 3:
        try:
            taken += os.write(end, data[taken : taken + 4096])
            refused = 0
        except BlockingIOError:
            refused += 1
            for _ in range(100):
                await asyncio.sleep(0)
    return taken


async def test_a_mebibyte_waits_for_a_guest_that_reads_slowly(pipe: Pipe) -> None:
    console = Console(DeviceLock())
    guest = Guest(console)
    typed = ConsoleInput(pipe[0], console, lambda data: data)
    typed.start()
    written = 0
    for _ in range(PATIENCE):
        if len(guest.got) == len(TEXT):
            break
        written += await pasted(pipe[1], TEXT[written:])
        guest.read(20_000)
        await asyncio.sleep(0)
    assert guest.got == TEXT
    typed.stop()


async def test_a_guest_that_never_reads_costs_the_bound_and_stops_nobody(pipe: Pipe) -> None:
    console = Console(DeviceLock())
    typed = ConsoleInput(pipe[0], console, lambda data: data)
    typed.start()
    assert await pasted(pipe[1], TEXT) < len(TEXT)
    assert console.room == 0
    with pytest.raises(BlockingIOError):
        os.write(pipe[1], b"x" * 4096)
    for _ in range(100):
        await asyncio.sleep(0)  # the loop goes round, and input is not looked at
    with pytest.raises(BlockingIOError):
        os.write(pipe[1], b"x" * 4096)
    typed.stop()
    guest = Guest(console)
    guest.read(len(TEXT))
    await asyncio.sleep(0)
    assert guest.got == TEXT[: Console.LIMIT], "what waited outside the console is forgotten with its source"


async def test_what_is_no_input_is_seen_ahead_of_a_guest_that_never_reads(pipe: Pipe) -> None:
    console = Console(DeviceLock())
    commands: list[bytes] = []

    def plain(data: bytes) -> bytes:
        commands.extend(data[at : at + 1] for at in range(len(data)) if data[at : at + 1] == b"!")
        return data.replace(b"!", b"")

    typed = ConsoleInput(pipe[0], console, plain, ahead=100_000)
    typed.start()
    data = b"x" * (Console.LIMIT + 90_000)
    assert await pasted(pipe[1], data) == len(data)
    assert await pasted(pipe[1], b"!") == 1
    for _ in range(PATIENCE):
        if commands:
            break
        await asyncio.sleep(0)
    assert commands == [b"!"]
    typed.stop()


async def test_the_end_of_a_file_waits_for_the_guest_too(tmp_path: object) -> None:
    path = f"{tmp_path}/typed"
    with open(path, "wb") as file:
        file.write(TEXT)
    console = Console(DeviceLock())
    guest = Guest(console)
    with open(path, "rb") as file:
        typed = ConsoleInput(file.fileno(), console, lambda data: data)
        typed.start()
        for _ in range(PATIENCE):
            if len(guest.got) == len(TEXT):
                break
            guest.read(30_000)
            await asyncio.sleep(0)
        typed.stop()
    assert guest.got == TEXT
