"""The entropy device (virtio 1.2, 5.4)."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avmm.clock import VirtualClock
from avmm.plugin import ConfigError, Device, DeviceOptions, GuestMemory
from avmm.testing.contract import DeviceContract
from avmm_virtio import VirtioEntropy, create_rng
from avmm_virtio.entropy import MOST, RETRY_NS, host_random
from avmm_virtio.registers import F_VERSION_1, Register, Status
from tests.unit.virtio.fuzz import Step, drive, start_again, step, steps
from tests.unit.virtio.host import device_options
from tests.unit.virtio.modern import RING_FEATURES, ModernBench
from tests.unit.virtio.ring import BUFFERS, WRITE

SECOND = 1_000_000_000


class RngBench(ModernBench):
    """A device whose random bytes are counted, its clock in our hands."""

    def __init__(self, rate: int | None = None, source: Callable[[int], bytes] | None = None) -> None:
        self.clock = VirtualClock()
        self.given = 0
        super().__init__(VirtioEntropy(self.clock, rate=rate, source=source or self.count))
        self.set_up()

    def count(self, size: int) -> bytes:
        self.given += size
        return b"\xaa" * size

    def ask(self, *sizes: int) -> None:
        for size in sizes:
            index = self.driver.available % 8
            self.driver.describe(index, BUFFERS + 0x1000 * index, size, WRITE)
            self.driver.offer(index)
        self.notify()


class TestContract(DeviceContract):
    def make_device(self, options: DeviceOptions) -> Device:
        return create_rng(replace(options, options={"rate": 1000}))


def test_it_fills_what_it_is_given() -> None:
    bench = RngBench()
    bench.ask(64, 1)
    assert bench.driver.used() == [(0, 64), (1, 1)]
    assert bench.memory.read(BUFFERS, 65) == b"\xaa" * 64 + b"\0"
    assert bench.irq


def test_the_hosts_bytes_are_random() -> None:
    bench = RngBench(source=host_random)
    bench.ask(64, 64)
    first, second = bench.memory.read(BUFFERS, 64), bench.memory.read(BUFFERS + 0x1000, 64)
    assert len({first, second, bytes(64)}) == 3


def test_a_large_buffer_is_filled_in_part() -> None:
    bench = RngBench()
    bench.ask(0x8000)
    assert bench.driver.used() == [(0, MOST)]


def test_a_buffer_without_room_is_a_broken_rule() -> None:
    """5.4.6.2: one or more bytes are placed into the buffer."""
    bench = RngBench()
    bench.driver.text(0, b"readable")
    bench.driver.offer(0)
    bench.notify()
    assert bench.read(Register.STATUS) & Status.NEEDS_RESET
    assert bench.faults == ["virtio: testdev: a request for random bytes with no room for one"]


def test_a_limit_is_kept_to_the_nanosecond() -> None:
    bench = RngBench(rate=100)
    bench.ask(100)
    assert bench.driver.used() == [(0, 100)], "a second's worth at once"
    bench.ask(50, 25)
    bench.acknowledge()
    bench.clock.advance(SECOND // 2 - 1)
    assert (len(bench.driver.used()), bench.irq) == (1, False)
    bench.clock.advance(1)
    assert (bench.driver.used()[1:], bench.irq) == ([(1, 50)], True)
    bench.clock.advance(SECOND // 4)
    assert bench.driver.used()[2:] == [(2, 25)]
    bench.clock.advance(100 * SECOND)
    bench.ask(100, 100)
    assert len(bench.driver.used()) == 4, "nothing is saved up beyond a second"


def test_a_request_larger_than_a_seconds_worth_gets_that() -> None:
    bench = RngBench(rate=8)
    bench.ask(64)
    assert bench.driver.used() == [(0, 8)]


def test_a_host_that_has_nothing_yet_is_asked_again() -> None:
    answers = [b"", b"", b"\x55" * 16]
    bench = RngBench(source=lambda size: answers.pop(0))
    bench.ask(16)
    bench.ask(16)  # waits behind the first; the host is not asked for it
    assert (bench.driver.used(), len(answers)) == ([], 2)
    bench.clock.advance(RETRY_NS)
    answers.append(b"\x66")
    bench.clock.advance(RETRY_NS)
    assert bench.driver.used() == [(0, 16), (1, 1)]


def test_without_entropy_the_host_does_not_block(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing_yet(size: int, flags: int) -> bytes:
        assert flags & os.GRND_NONBLOCK
        raise BlockingIOError

    monkeypatch.setattr(os, "getrandom", nothing_yet)
    assert host_random(16) == b""


def test_a_reset_forgets_what_waits() -> None:
    bench = RngBench(rate=1)
    bench.ask(1, 1)
    bench.write(Register.STATUS, 0)
    bench.clock.advance(10 * SECOND)
    assert len(bench.driver.used()) == 1
    assert bench.device.queues[0].stats.depth == 0


async def test_nothing_is_given_while_the_machine_is_paused() -> None:
    bench = RngBench(rate=1)
    bench.ask(1, 1)
    await bench.device.quiesce()
    bench.clock.advance(10 * SECOND)
    assert len(bench.driver.used()) == 1
    await bench.device.resume()
    assert len(bench.driver.used()) == 2


@pytest.mark.parametrize(("table", "key"), [({"rate": 0}, "rate"), ({"rate": "fast"}, "rate"), ({"speed": 1}, "speed")])
def test_a_mistake_in_its_table_is_named(table: dict[str, object], key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        create_rng(device_options(GuestMemory(), table))
    assert caught.value.key == f"devices.testdev.{key}"


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.sampled_from([None, 1, 5000]), st.sampled_from([F_VERSION_1, RING_FEATURES]), steps(1, step("advance", SECOND)))
def test_whatever_a_driver_does_it_goes_on(rate: int | None, features: int, done: list[Step]) -> None:
    bench = RngBench(rate)
    bench.write(Register.STATUS, 0)
    bench.set_up(features=features)
    for name, numbers in done:
        if name == "advance":
            bench.clock.advance(*numbers)
        else:
            drive(bench, name, numbers)
    start_again(bench)
    bench.ask(16)
    bench.clock.advance(20 * SECOND)
    assert bench.driver.used()[0][0] == 0
