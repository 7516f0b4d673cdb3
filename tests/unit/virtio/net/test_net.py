"""The network device (virtio 1.2, 5.1), with a backend and a driver that are both ours."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avmm.plugin import Device, DeviceOptions, Width
from avmm.testing.contract import DeviceContract
from avmm_virtio import Netdev, VirtioMmio, VirtioNet
from avmm_virtio.net import (
    CONTROL,
    F_CTRL_VQ,
    F_GUEST_ANNOUNCE,
    F_MAC,
    F_MRG_RXBUF,
    F_MTU,
    F_STATUS,
    RECEIVE,
    S_ANNOUNCE,
    S_LINK_UP,
    TRANSMIT,
)
from avmm_virtio.netdev import MAX_FRAME
from avmm_virtio.registers import F_VERSION_1, Register
from tests.unit.virtio.background import in_background, settle
from tests.unit.virtio.modern import ModernBench
from tests.unit.virtio.ring import BUFFERS, NEXT, RAM, RAM_SIZE, WRITE

MAC = bytes.fromhex("020000000001")
FRAME = bytes(range(64))
HEADER = bytes(12)
CONFIG = 0x100
CONFIG_CHANGE = 2


class Backend(Netdev):
    """Takes what it has room for."""

    def __init__(self) -> None:
        super().__init__()
        self.room = 1 << 30
        self.sent: list[bytes] = []
        self.waiting: list[bytes] = []

    async def run(self) -> None:
        self._receiver.carrier(up=True)
        await asyncio.get_running_loop().create_future()

    def carrier(self, *, up: bool) -> None:
        self._receiver.carrier(up=up)

    def send(self, frames: Sequence[bytes]) -> int:
        taken = min(self.room, len(frames))
        self.sent += frames[:taken]
        self.room -= taken
        return taken

    def give_room(self, room: int) -> None:
        self.room = room
        self._receiver.writable()

    def give(self, *frames: bytes) -> int:
        """Frames for the guest, as a stream that keeps what is refused."""
        self.waiting += frames
        taken = self._receiver.receive(self.waiting)
        del self.waiting[:taken]
        return taken

    def resume(self) -> None:
        self.give()


class NetBench(ModernBench):
    """A card with one queue at a time."""

    def __init__(
        self,
        queue: int,
        features: int = F_VERSION_1,
        *,
        mtu: int | None = None,
        link: bool = True,
        size: int = 8,
        backend: Backend | None = None,
    ) -> None:
        self.backend = backend or Backend()
        self.card = VirtioNet(self.backend, MAC, mtu=mtu, link=link)
        super().__init__(self.card, size)
        self.queue = queue
        self.set_up(queue, features)

    @property
    def status(self) -> int:
        return self.read(CONFIG + 6, Width.W16)

    def transmit(self, *frames: bytes) -> None:
        for frame in frames:
            self.driver.text(self.driver.available % 8, HEADER + frame)
            self.driver.offer(self.driver.available % 8)
        self.notify(TRANSMIT)

    def buffers(self, *sizes: int) -> None:
        """Offer receive buffers, 4096 bytes apart."""
        for size in sizes:
            index = self.driver.available % 8
            self.driver.describe(index, BUFFERS + 0x1000 * index, size, WRITE)
            self.driver.offer(index)
        self.notify(RECEIVE)

    def received(self) -> list[bytes]:
        """What is in the buffers that came back, headers included."""
        return [self.memory.read(BUFFERS + 0x1000 * head, length) for head, length in self.driver.used()]


@asynccontextmanager
async def running(bench: NetBench) -> AsyncIterator[None]:
    async with in_background(bench.device.run()):
        await settle()
        yield


def header(buffers: int) -> bytes:
    return struct.pack("<BBHHHHH", 0, 0, 0, 0, 0, 0, buffers)


def test_it_offers_no_offload_and_its_configuration_says_who_it_is() -> None:
    bench = NetBench(RECEIVE, mtu=1400)
    offered = bench.offered & (1 << 28) - 1
    assert offered == F_MTU | F_MAC | F_MRG_RXBUF | F_STATUS | F_CTRL_VQ | F_GUEST_ANNOUNCE
    assert bytes(bench.read(CONFIG + at, Width.W8) for at in range(6)) == MAC
    assert (bench.status, bench.read(CONFIG + 8, Width.W16), bench.read(CONFIG + 10, Width.W16)) == (0, 1, 1400)
    assert not NetBench(RECEIVE).offered & F_MTU


class TestTransmit:
    async def test_frames_go_out_in_order_without_their_header(self) -> None:
        bench = NetBench(TRANSMIT)
        async with running(bench):
            bench.transmit(FRAME, b"x" * 14)
            await settle()
            assert bench.backend.sent == [FRAME, b"x" * 14]
            assert bench.driver.used() == [(0, 0), (1, 0)]
            assert (bench.card.frames_out, bench.card.bytes_out, bench.irq) == (2, 78, True)

    async def test_a_frame_may_come_in_pieces(self) -> None:
        bench = NetBench(TRANSMIT)
        async with running(bench):
            bench.driver.text(0, HEADER[:5], NEXT, 1)
            bench.driver.text(1, HEADER[5:] + b"a", NEXT, 2)
            bench.driver.text(2, FRAME)
            bench.driver.offer(0)
            bench.notify(TRANSMIT)
            await settle()
            assert bench.backend.sent == [b"a" + FRAME]

    async def test_a_backend_without_room_leaves_frames_with_the_guest(self) -> None:
        bench = NetBench(TRANSMIT)
        bench.backend.room = 1
        async with running(bench):
            bench.transmit(b"1" * 14, b"2" * 14)
            await settle()
            bench.transmit(b"3" * 14, b"4" * 14)
            await settle()
            assert (len(bench.backend.sent), len(bench.driver.used())) == (1, 2)
            bench.backend.give_room(1)
            await settle()
            assert (len(bench.backend.sent), len(bench.driver.used())) == (2, 4), "the second batch was not begun"
            bench.backend.give_room(5)
            await settle()
            assert [frame[:1] for frame in bench.backend.sent] == [b"1", b"2", b"3", b"4"]
            assert bench.card.frames_out == 4

    @pytest.mark.parametrize("frame", [b"", b"x" * 13])
    async def test_what_is_no_frame_is_given_back_and_counted(self, frame: bytes) -> None:
        bench = NetBench(TRANSMIT)
        async with running(bench):
            bench.transmit(frame, FRAME)
            await settle()
            assert (bench.backend.sent, bench.card.invalid, len(bench.driver.used())) == ([FRAME], 1, 2)

    async def test_the_largest_frame_goes_and_a_larger_one_does_not(self) -> None:
        bench = NetBench(TRANSMIT)
        async with running(bench):
            # Four times the same memory, and some more: 65549 bytes and the header.
            for extra in (0, 1):
                for index in range(4):
                    bench.driver.describe(index, RAM, 0x4000, NEXT, index + 1)
                bench.driver.describe(4, RAM, len(HEADER) + MAX_FRAME + extra - 0x10000)
                bench.driver.offer(0)
                bench.notify(TRANSMIT)
                await settle()
            assert (list(map(len, bench.backend.sent)), bench.card.invalid) == ([MAX_FRAME], 1)

    async def test_a_pulled_cable_loses_frames(self) -> None:
        bench = NetBench(TRANSMIT, link=False)
        async with running(bench):
            bench.transmit(FRAME)
            await settle()
            assert (bench.backend.sent, len(bench.driver.used())) == ([], 1)

    async def test_nothing_goes_while_the_machine_is_paused(self) -> None:
        bench = NetBench(TRANSMIT)
        async with running(bench):
            await bench.device.quiesce()
            bench.transmit(FRAME)
            await settle()
            assert (bench.backend.sent, bench.driver.used()) == ([], [])
            await bench.device.resume()
            await settle()
            assert bench.backend.sent == [FRAME]


class Quick(Backend):
    """Takes frames where the driver notifies, too, as long as `now` lasts."""

    sends_at_once = True
    now = 1 << 30

    def send_at_once(self, frames: Sequence[bytes]) -> int:
        taken = min(self.now, len(frames))
        self.sent += frames[:taken]
        self.now -= taken
        return taken


class TestTransmitAtOnce:
    """A backend that need not wait for the event loop's turn."""

    async def test_frames_have_gone_when_the_notification_is_over(self) -> None:
        bench = NetBench(TRANSMIT, backend=Quick())
        async with running(bench):
            bench.transmit(FRAME, b"x" * 14)
            assert bench.backend.sent == [FRAME, b"x" * 14]
            assert bench.driver.used() == [(0, 0), (1, 0)]
            assert (bench.card.frames_out, bench.card.bytes_out, bench.irq) == (2, 78, True)

    async def test_what_is_refused_keeps_its_place_before_what_comes_later(self) -> None:
        backend = Quick()
        backend.now = 1
        bench = NetBench(TRANSMIT, backend=backend)
        async with running(bench):
            bench.transmit(b"1" * 14, b"2" * 14)
            backend.now = 9
            bench.transmit(b"3" * 14)
            assert [frame[:1] for frame in backend.sent] == [b"1"], "a frame overtook another"
            await settle()
            assert [frame[:1] for frame in backend.sent] == [b"1", b"2", b"3"]
            bench.transmit(b"4" * 14)
            assert ([frame[:1] for frame in backend.sent][3:], bench.card.frames_out) == ([b"4"], 4)

    async def test_a_pulled_cable_loses_frames(self) -> None:
        bench = NetBench(TRANSMIT, link=False, backend=Quick())
        async with running(bench):
            bench.transmit(FRAME)
            assert (bench.backend.sent, len(bench.driver.used())) == ([], 1)

    async def test_nothing_goes_while_the_machine_is_paused(self) -> None:
        bench = NetBench(TRANSMIT, backend=Quick())
        async with running(bench):
            await bench.device.quiesce()
            bench.transmit(FRAME)
            assert (bench.backend.sent, bench.driver.used()) == ([], [])
            await bench.device.resume()
            await settle()
            assert bench.backend.sent == [FRAME]


class TestReceive:
    async def test_a_frame_comes_with_a_header(self) -> None:
        bench = NetBench(RECEIVE)
        async with running(bench):
            bench.buffers(2000)
            assert bench.backend.give(FRAME) == 1
            assert bench.received() == [header(1) + FRAME]
            assert (bench.card.frames_in, bench.card.bytes_in, bench.irq) == (1, 64, True)

    async def test_without_a_buffer_it_waits_with_the_backend_and_comes_when_there_is_one(self) -> None:
        bench = NetBench(RECEIVE)
        async with running(bench):
            bench.buffers(2000)
            assert bench.backend.give(b"1" * 20, b"2" * 20, b"3" * 20) == 1
            assert bench.card.waits == 1
            bench.buffers(2000)
            await settle()
            bench.buffers(2000)
            await settle()
            assert [data[12:13] for data in bench.received()] == [b"1", b"2", b"3"]

    async def test_a_frame_is_spread_over_buffers_where_that_was_negotiated(self) -> None:
        bench = NetBench(RECEIVE, F_VERSION_1 | F_MRG_RXBUF)
        async with running(bench):
            bench.buffers(32, 32)
            assert bench.backend.give(FRAME) == 0
            assert bench.driver.used() == [], "half a frame is none"
            bench.buffers(32, 32)
            await settle()
            parts = bench.received()
            assert list(map(len, parts)) == [32, 32, 12]
            assert b"".join(parts) == header(3) + FRAME
            bench.backend.give(b"y" * 20)
            assert bench.received()[3] == header(1) + b"y" * 20

    async def test_a_buffer_too_small_is_kept_for_a_smaller_frame(self) -> None:
        bench = NetBench(RECEIVE)
        async with running(bench):
            bench.buffers(40)
            assert bench.backend.give(FRAME, b"z" * 28) == 2
            assert (bench.received(), bench.card.too_big) == ([header(1) + b"z" * 28], 1)

    async def test_buffers_of_nothing_hold_nothing(self) -> None:
        """A driver that offers empty buffers does not keep the device looking for ever."""
        bench = NetBench(RECEIVE, F_VERSION_1 | F_MRG_RXBUF)
        async with running(bench):
            bench.buffers(*[0] * 8)
            assert bench.backend.give(FRAME) == 1
            assert (bench.card.too_big, bench.driver.used()) == (1, [])

    async def test_before_the_driver_and_after_it_frames_are_dropped(self) -> None:
        bench = NetBench(RECEIVE)
        async with running(bench):
            bench.buffers(2000)
            bench.backend.give(FRAME, FRAME)
            assert bench.card.no_driver == 0
            bench.write(Register.STATUS, 0)
            await settle()
            assert (bench.backend.waiting, bench.card.no_driver) == ([], 1)
            assert bench.backend.give(FRAME) == 1
            assert bench.card.no_driver == 2

    async def test_a_reset_takes_the_buffers(self) -> None:
        bench = NetBench(RECEIVE, F_VERSION_1 | F_MRG_RXBUF)
        async with running(bench):
            bench.buffers(32)
            bench.backend.give(FRAME)
            bench.write(Register.STATUS, 0)
            bench.driver.available = 0
            bench.memory.write(RAM, bytes(RAM_SIZE))
            bench.set_up(RECEIVE, F_VERSION_1 | F_MRG_RXBUF)
            bench.buffers(2000)
            bench.backend.give(FRAME)
            assert bench.received() == [header(1) + FRAME]

    async def test_what_is_no_frame_is_dropped_and_counted(self) -> None:
        bench = NetBench(RECEIVE)
        async with running(bench):
            bench.buffers(2000)
            assert bench.backend.give(b"", b"x" * 13, b"x" * (MAX_FRAME + 1)) == 3
            assert (bench.card.invalid, bench.driver.used()) == (3, [])

    async def test_nothing_comes_while_the_machine_is_paused(self) -> None:
        bench = NetBench(RECEIVE)
        async with running(bench):
            bench.buffers(2000)
            await bench.device.quiesce()
            assert bench.backend.give(FRAME) == 0
            assert bench.driver.used() == []
            await bench.device.resume()
            await settle()
            assert bench.received() == [header(1) + FRAME]


class TestLink:
    async def test_it_follows_the_carrier_and_the_cable(self) -> None:
        bench = NetBench(RECEIVE)
        assert bench.status == 0
        before = bench.read(Register.CONFIG_GENERATION)
        async with running(bench):
            assert (bench.status, bench.card.link_up) == (S_LINK_UP, True)
            assert bench.acknowledge() == CONFIG_CHANGE
            assert bench.read(Register.CONFIG_GENERATION) != before
            bench.card.set_link(up=False)
            assert (bench.status, bench.acknowledge()) == (0, CONFIG_CHANGE)
            bench.backend.carrier(up=False)
            assert bench.acknowledge() == 0, "nothing changed"
            bench.card.set_link(up=True)
            assert (bench.status, bench.acknowledge()) == (0, 0)

    async def test_after_an_outage_the_driver_is_asked_to_announce_itself_once(self) -> None:
        bench = NetBench(CONTROL, F_VERSION_1 | F_CTRL_VQ | F_STATUS | F_GUEST_ANNOUNCE)
        async with running(bench):
            assert bench.status == S_LINK_UP | S_ANNOUNCE
            assert self.control(bench, bytes((3, 0))) == 0
            assert bench.status == S_LINK_UP
            assert self.control(bench, bytes((3, 0))) == 0
            bench.card.set_link(up=False)
            bench.card.set_link(up=True)
            assert bench.status == S_LINK_UP | S_ANNOUNCE
            bench.write(Register.STATUS, 0)
            assert bench.status == S_LINK_UP

    @pytest.mark.parametrize("command", [b"", b"\3", b"\3\1", b"\0\0\1", b"\1\1" + bytes(6), b"\xff" * 60])
    async def test_other_commands_are_refused(self, command: bytes) -> None:
        bench = NetBench(CONTROL, F_VERSION_1 | F_CTRL_VQ)
        async with running(bench):
            assert self.control(bench, command) == 1

    @staticmethod
    def control(bench: NetBench, command: bytes) -> int:
        """The answer to a command."""
        count = len(bench.driver.used())
        bench.driver.text(0, command, NEXT, 1)
        bench.driver.text(1, b"\xee", WRITE)
        bench.driver.offer(0)
        bench.notify(CONTROL)
        assert bench.driver.used()[count:] == [(0, 1)]
        return bench.memory.read(BUFFERS + 0x100, 1)[0]


_STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("describe"), st.integers(0, 7), st.integers(0, RAM_SIZE + 16), st.integers(0, 70_000), st.integers(0, 7)
        ),
        st.tuples(st.just("offer"), st.integers(0, 8)),
        st.tuples(st.just("notify"), st.integers(0, 3)),
        st.tuples(st.just("give"), st.lists(st.binary(max_size=100), max_size=4)),
        st.tuples(st.just("room"), st.integers(0, 3)),
        st.tuples(st.just("write"), st.sampled_from(sorted(Register)), st.integers(0, 15)),
        st.tuples(st.just("carrier"), st.booleans()),
        st.tuples(st.just("pause"), st.booleans()),
    ),
    max_size=30,
)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from([RECEIVE, TRANSMIT, CONTROL]), st.booleans(), _STEPS)
def test_whatever_driver_and_backend_do_it_goes_on(queue: int, merge: bool, steps: list[tuple[str, int]]) -> None:
    async def scenario() -> None:
        bench = NetBench(queue, F_VERSION_1 | (F_MRG_RXBUF if merge else 0))
        async with running(bench):
            for step in steps:
                match step:
                    case ("describe", index, address, length, following):
                        bench.driver.describe(index, RAM + address, length, length & 3, following)
                    case ("offer", head):
                        bench.driver.offer(head)
                    case ("notify", number):
                        bench.notify(number)
                    case ("give", frames):
                        bench.backend.give(*frames)
                    case ("room", room):
                        bench.backend.give_room(room)
                    case ("write", register, value):
                        bench.write(register, value)
                    case ("carrier", up):
                        bench.backend.carrier(up=up)
                    case ("pause", paused):
                        await (bench.device.quiesce() if paused else bench.device.resume())
                await settle()
            await bench.device.resume()
            bench.backend.room = 1 << 30
            bench.write(Register.STATUS, 0)
            await settle()
            bench.memory.write(RAM, bytes(RAM_SIZE))
            bench.driver.available = 0
            bench.set_up(TRANSMIT)
            bench.backend.sent.clear()
            bench.transmit(FRAME)
            await settle()
            assert FRAME in bench.backend.sent

    asyncio.run(scenario())


class TestContract(DeviceContract):
    def make_device(self, options: DeviceOptions) -> Device:
        return VirtioMmio(VirtioNet(Backend(), MAC), options)
