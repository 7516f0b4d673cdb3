"""The learning switch: IEEE 802.1D 7.7 to 7.9."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avmm_virtio.switch import LEARNED_ADDRESSES, PORT_FRAMES, Switch, SwitchPort
from tests.unit.virtio.net.receiver import Recorder
from tests.unit.virtio.net.test_stream import running

A, B, C = (bytes([2, 0, 0, 0, 0, number]) for number in (1, 2, 3))
EVERYBODY = b"\xff" * 6


def frame(source: bytes, destination: bytes, text: bytes = b"") -> bytes:
    return destination + source + b"\x08\x00" + text


class Lan:
    """A switch with three machines."""

    def __init__(self) -> None:
        self.switch = Switch()
        self.ports: list[SwitchPort] = []
        self.heard: list[Recorder] = []

    def frames(self) -> list[int]:
        """How many frames each has heard."""
        return [len(recorder.frames) for recorder in self.heard]


@pytest.fixture
async def lan() -> AsyncIterator[Lan]:
    lan = Lan()
    async with AsyncExitStack() as stack:
        for name in "abc":
            port = lan.switch.port(name)
            lan.ports.append(port)
            lan.heard.append(await stack.enter_async_context(running(port)))
            await lan.heard[-1].until(lambda: lan.heard[-1].carriers)
        yield lan


async def test_an_unknown_address_is_everywhere_and_a_known_one_is_where_it_was_heard(lan: Lan) -> None:
    lan.ports[0].send([frame(A, B)])
    assert lan.frames() == [0, 1, 1]
    lan.ports[1].send([frame(B, A)])
    assert lan.frames() == [1, 1, 1]
    lan.ports[2].send([frame(C, B)])
    assert lan.frames() == [1, 2, 1]
    assert lan.switch.addresses == {A.hex(":"): "a", B.hex(":"): "b", C.hex(":"): "c"}
    assert (lan.switch.flooded, lan.switch.forwarded) == (1, 2)


async def test_groups_are_for_all_others(lan: Lan) -> None:
    for destination in (EVERYBODY, b"\x01\0\x5e\0\0\1"):
        lan.ports[1].send([frame(B, destination)])
    assert lan.frames() == [2, 0, 2]


async def test_an_address_moves(lan: Lan) -> None:
    lan.ports[0].send([frame(A, EVERYBODY)])
    lan.ports[2].send([frame(A, EVERYBODY)])
    lan.ports[1].send([frame(B, A)])
    assert lan.frames() == [1, 2, 2]


async def test_nothing_comes_back_where_it_came_from(lan: Lan) -> None:
    lan.ports[0].send([frame(A, EVERYBODY), frame(B, A)])
    assert lan.frames() == [0, 1, 1]


async def test_a_group_is_nobodys_address(lan: Lan) -> None:
    lan.ports[0].send([frame(EVERYBODY, B)])
    assert lan.switch.addresses == {}


async def test_runts_go_nowhere(lan: Lan) -> None:
    lan.ports[0].send([b"", b"\xff" * 13])
    assert lan.frames() == [0, 0, 0]


async def test_order_is_kept_whatever_the_way(lan: Lan) -> None:
    lan.ports[1].send([frame(B, EVERYBODY)])
    lan.ports[0].send([frame(A, to, bytes([n])) for n, to in enumerate([B, B, EVERYBODY, B, C, C, B])])
    assert [part[14:] for part in lan.heard[1].frames] == [b"\0", b"\1", b"\2", b"\3", b"\4", b"\5", b"\6"]


async def test_a_slow_port_keeps_a_bounded_queue_drops_the_rest_and_delays_nobody(lan: Lan) -> None:
    lan.heard[1].room = 2
    lan.ports[0].send([frame(A, EVERYBODY, n.to_bytes(2, "big")) for n in range(PORT_FRAMES + 10)])
    assert lan.frames() == [0, 2, PORT_FRAMES + 10]
    assert (lan.ports[1].depth, lan.ports[1].dropped) == (PORT_FRAMES, 8)
    lan.ports[0].send([frame(A, EVERYBODY)])
    assert (lan.ports[1].depth, lan.ports[1].dropped) == (PORT_FRAMES, 9)
    lan.heard[1].room = 5
    lan.ports[1].resume()
    assert lan.ports[1].depth == PORT_FRAMES - 5
    lan.heard[1].room = 1 << 30
    lan.ports[1].resume()
    assert [part[14:] for part in lan.heard[1].frames] == [n.to_bytes(2, "big") for n in range(PORT_FRAMES + 2)]
    lan.ports[0].send([frame(A, EVERYBODY, b"new")])
    assert lan.heard[1].frames[-1].endswith(b"new")


async def test_a_frame_waits_behind_those_before_it(lan: Lan) -> None:
    lan.heard[1].room = 0
    lan.ports[0].send([frame(A, EVERYBODY, b"first")])
    lan.heard[1].room = 1  # and the port has not been told
    lan.ports[0].send([frame(A, EVERYBODY, b"second")])
    lan.ports[1].resume()
    assert [part[14:] for part in lan.heard[1].frames] == [b"first"]


async def test_a_machine_that_ends_is_forgotten() -> None:
    switch = Switch()
    here, there = switch.port("here"), switch.port("there")
    async with running(here) as heard:
        await heard.until(lambda: heard.carriers)
        async with running(there) as other:
            await other.until(lambda: other.carriers)
            there.send([frame(B, EVERYBODY)])
            assert switch.addresses == {B.hex(":"): "there"}
        assert (other.carriers, switch.addresses) == ([True, False], {})
        here.send([frame(A, B)])
        assert other.frames == []
        switch.remove(there)
        assert list(switch.ports) == [here]


def test_it_remembers_so_many_addresses_and_no_more() -> None:
    switch = Switch()
    port = switch.port("a")
    port.send([frame(bytes([2, 0, 0, 0]) + n.to_bytes(2, "big"), EVERYBODY) for n in range(LEARNED_ADDRESSES)])
    port.send([frame(bytes([2, 0, 0, 0, 0, 0]), EVERYBODY), frame(C[:1] + b"\1" + C[2:], EVERYBODY)])
    assert len(switch.addresses) == LEARNED_ADDRESSES
    assert "02:00:00:00:00:00" in switch.addresses
    assert "02:00:00:00:00:01" not in switch.addresses


@given(st.lists(st.tuples(st.integers(0, 2), st.lists(st.binary(max_size=20), max_size=4), st.integers(0, 3)), max_size=20))
def test_any_bytes_stay_within_bounds(steps: list[tuple[int, list[bytes], int]]) -> None:
    async def scenario() -> None:
        switch = Switch()
        ports = [switch.port(str(number)) for number in range(3)]
        async with AsyncExitStack() as stack:
            heard = [await stack.enter_async_context(running(port)) for port in ports]
            await asyncio.sleep(0)
            for number, frames, room in steps:
                heard[number].room = room
                assert ports[number].send(frames) == len(frames)
                ports[number].resume()
                assert all(port.depth <= PORT_FRAMES for port in ports)

    asyncio.run(scenario())
