"""Typing faster than the guest reads: everything arrives in order, and a guest that never reads costs no more than the bound."""

from __future__ import annotations

import asyncio
import random

import pytest

from avmm.console import Console
from avmm.console_writer import ConsoleWriter
from avmm.lock import DeviceLock
from avmm.testing import in_thread
from tests.unit.core.test_console import Guest

TEXT = random.Random(1).randbytes(1 << 20)


async def test_a_mebibyte_arrives_in_order_at_a_guest_that_reads_slowly():
    console = Console(DeviceLock())
    guest = Guest(console)
    rooms: list[int] = []
    writer = ConsoleWriter(console, lambda: rooms.append(writer.waiting))
    writer.write(TEXT[:1000])
    writer.write(TEXT[1000:])
    assert writer.waiting == len(TEXT) - Console.LIMIT
    while len(guest.got) < len(TEXT):
        in_thread(lambda: guest.read(5000))
        await asyncio.sleep(0)
    assert guest.got == TEXT
    assert writer.waiting == 0
    assert rooms == sorted(rooms, reverse=True), "told of room, fewer wait"


async def test_what_is_written_while_others_wait_comes_behind_them():
    console = Console(DeviceLock())
    guest = Guest(console)
    writer = ConsoleWriter(console)
    writer.write(TEXT[: Console.LIMIT + 10])
    guest.read(100)  # there is room, of which the writer has not heard
    writer.write(b"behind")
    while writer.waiting or console.room < Console.LIMIT:
        guest.read(1 << 15)
        await asyncio.sleep(0)
    assert guest.got == TEXT[: Console.LIMIT + 10] + b"behind"


async def test_two_who_type_both_get_through():
    console = Console(DeviceLock())
    guest = Guest(console)
    one, two = ConsoleWriter(console), ConsoleWriter(console)
    one.write(b"1" * 3 * Console.LIMIT)
    two.write(b"2" * 3 * Console.LIMIT)
    while one.waiting or two.waiting or console.room < Console.LIMIT:
        guest.read(1 << 15)
        await asyncio.sleep(0)
    assert (guest.got.count(b"1"), guest.got.count(b"2")) == (3 * Console.LIMIT, 3 * Console.LIMIT)


@pytest.mark.parametrize("told_already", [False, True])
async def test_nothing_comes_of_one_who_has_left(told_already: bool):
    console = Console(DeviceLock())
    guest = Guest(console)
    told: list[bool] = []
    writer = ConsoleWriter(console, lambda: told.append(True))
    writer.write(b"x" * (Console.LIMIT + 1))
    if told_already:
        guest.read(Console.LIMIT // 2)
    writer.close()
    assert writer.waiting == 0
    guest.read(2 * Console.LIMIT)
    await asyncio.sleep(0)
    assert guest.got == b"x" * Console.LIMIT
    assert told == []
