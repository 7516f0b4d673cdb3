"""The console device (virtio 1.2, 5.3): its ports, its control queues, what it keeps back and what it drops."""

from __future__ import annotations

import asyncio
import struct
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avmm.plugin import Device, DeviceOptions, Width
from avmm.testing.contract import DeviceContract
from avmm_virtio import Chardev, Port, VirtioConsole, create_console
from avmm_virtio.chardev.base import OutputChardev
from avmm_virtio.console.control import Event, message, resize
from avmm_virtio.console.device import F_EMERG_WRITE, F_MULTIPORT, F_SIZE
from avmm_virtio.console.port import BATCH, CHUNK
from avmm_virtio.registers import CONFIG, F_VERSION_1, Register
from tests.unit.virtio.background import settle
from tests.unit.virtio.fuzz import Step, drive, start_again, step, steps
from tests.unit.virtio.many import ManyBench
from tests.unit.virtio.modern import ModernBench
from tests.unit.virtio.ring import NEXT, RAM

SEVERAL = F_VERSION_1 | F_MULTIPORT | F_SIZE
EMERG_WR = CONFIG + 8


class Host(Chardev):
    """An end that comes and goes, and takes what it has room for."""

    def __init__(self, *, here: bool = True) -> None:
        super().__init__()
        self.always_open = here
        self.room = 1 << 30
        self.heard = b""
        self.waiting = b""
        self.cancelled = False

    async def run(self) -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            self.cancelled = True

    def write(self, data: bytes) -> int:
        taken = data[: self.room]
        self.heard += taken
        self.room -= len(taken)
        return len(taken)

    def say(self, data: bytes) -> None:
        self.waiting += data
        self.resume()

    def resume(self) -> None:
        self.waiting = self.waiting[self._receiver.receive(self.waiting) :]

    def come(self, *, up: bool) -> None:
        self._receiver.opened(up=up)

    def give_room(self, room: int) -> None:
        self.room = room
        self._receiver.writable()

    def resize(self, columns: int, rows: int) -> None:
        self._receiver.resized(columns, rows)


class ConsoleBench(ManyBench):
    """A console at port 0 and a plain port 1, and a driver that knows of both."""

    def __init__(self, features: int = SEVERAL, *, here: bool = True, max_ports: int = 3) -> None:
        self.hvc, self.host = Host(), Host(here=here)
        self.ports = {0: Port(self.hvc, hvc=True), 1: Port(self.host, name="agent")}
        self.console = VirtioConsole(self.ports, max_ports=max_ports)
        super().__init__(self.console, range(2 * max_ports + 2), features)

    def tell(self, port: int, event: Event, value: int = 1) -> None:
        self.send(3, message(port, event, value))

    def told(self) -> list[bytes]:
        """Every message so far, with new buffers for the next."""
        found: list[bytes] = []
        while more := self.got(2):
            found += more
            self.give(2, *[64] * len(more))
        return found

    def greet(self) -> None:
        """Up to both ports open in the guest."""
        self.give(2, *[64] * 8)
        self.tell(0, Event.DEVICE_READY)
        for port in (0, 1):
            self.tell(port, Event.PORT_READY)
            self.tell(port, Event.PORT_OPEN)
        self.told()


class TestContract(DeviceContract):
    def make_device(self, options: DeviceOptions) -> Device:
        return create_console(replace(options, options={"hvc": "console", "ports": {"one": "none"}}))


class TestOnePort:
    """For a driver that knows of no more."""

    async def test_bytes_go_both_ways(self) -> None:
        host = Host()
        bench = ManyBench(VirtioConsole({0: Port(host, hvc=True)}), (0, 1))
        assert bench.offered & (1 << 28) - 1 == F_SIZE | F_EMERG_WRITE
        async with bench.running():
            bench.send(1, b"Hello, ", b"world")
            await settle()
            assert (host.heard, bench.used(1), bench.irq) == (b"Hello, world", 2, True)
            bench.give(0, 4, 4)
            host.say(b"back")
            host.say(b" again")
            assert (bench.got(0), host.waiting) == ([b"back", b" aga"], b"in")
            bench.give(0, 100)
            await settle()
            assert (bench.got(0), host.waiting) == ([b"in"], b"")

    async def test_port_0_is_all_there_is_for_it_on_a_device_with_more(self) -> None:
        bench = ConsoleBench(F_VERSION_1)
        async with bench.running():
            bench.send(1, b"zero")
            bench.send(5, b"one")
            bench.tell(0, Event.DEVICE_READY)
            bench.give(0, 10)
            bench.hvc.say(b"in")
            await settle()
            assert (bench.hvc.heard, bench.host.heard, bench.got(0)) == (b"zero", b"", [b"in"])
            assert (bench.used(5), bench.used(3)) == (0, 0)

    def test_what_is_immediate_is_done_when_the_driver_is_told(self) -> None:
        output: list[bytes] = []
        bench = ManyBench(VirtioConsole({0: Port(OutputChardev(output.append))}), (0, 1))
        bench.send(1, b"panic")
        assert (output, bench.used(1)) == ([b"panic"], 1)


class TestControl:
    """The messages of 5.3.6.2."""

    def test_ports_are_announced_when_the_driver_is_ready(self) -> None:
        bench = ConsoleBench()
        bench.give(2, *[64] * 8)
        assert bench.told() == []
        bench.tell(0, Event.DEVICE_READY)
        assert bench.told() == [message(0, Event.PORT_ADD), message(1, Event.PORT_ADD)]
        bench.tell(1, Event.PORT_READY)
        assert bench.told() == [message(1, Event.PORT_NAME, 1, b"agent"), message(1, Event.PORT_OPEN, 1)]
        bench.hvc.resize(100, 30)
        bench.tell(0, Event.PORT_READY)
        assert bench.told() == [message(0, Event.CONSOLE_PORT, 1), resize(0, 100, 30), message(0, Event.PORT_OPEN, 1)]

    def test_a_driver_or_a_port_that_failed_hears_nothing(self) -> None:
        bench = ConsoleBench()
        bench.give(2, *[64] * 8)
        bench.tell(0, Event.DEVICE_READY, 0)
        assert bench.told() == []
        bench.tell(0, Event.DEVICE_READY)
        bench.told()
        bench.tell(1, Event.PORT_READY, 0)
        bench.host.come(up=False)
        assert bench.told() == []

    def test_the_layout_of_a_message(self) -> None:
        assert message(7, Event.PORT_OPEN, 1) == struct.pack("<IHH", 7, 6, 1)
        assert resize(1, 80, 25) == struct.pack("<IHHHH", 1, 5, 0, 80, 25)

    @pytest.mark.parametrize(
        "text",
        [b"", b"1234567", message(0, Event.PORT_ADD), message(9, Event.PORT_READY, 1), message(2, Event.PORT_OPEN), b"\xff" * 40],
    )
    def test_what_makes_no_sense_is_counted(self, text: bytes) -> None:
        bench = ConsoleBench()
        bench.greet()
        bench.send(3, text)
        assert (bench.console.invalid, bench.told()) == (1, [])

    def test_a_port_before_its_time_makes_no_sense(self) -> None:
        bench = ConsoleBench()
        bench.tell(1, Event.PORT_READY)
        bench.tell(1, Event.PORT_OPEN)
        assert bench.console.invalid == 2

    def test_messages_wait_for_buffers_and_only_the_newest_of_a_kind(self) -> None:
        bench = ConsoleBench()
        bench.greet()
        while bench.used(2) != bench.drivers[2].available:  # no buffer is left
            bench.host.come(up=True)
        bench.got(2)
        for number in range(1000):
            bench.hvc.resize(number, 1)
            bench.host.come(up=bool(number % 2))
        bench.give(2, *[64] * 8)
        assert bench.told() == [resize(0, 999, 1), message(1, Event.PORT_OPEN, 1)]

    def test_a_reset_forgets_what_the_driver_knew(self) -> None:
        bench = ConsoleBench()
        bench.greet()
        bench.restart(SEVERAL)
        bench.give(2, *[64] * 8)
        bench.host.come(up=False)
        assert bench.told() == []
        bench.tell(0, Event.DEVICE_READY)
        assert bench.told() == [message(0, Event.PORT_ADD), message(1, Event.PORT_ADD)]


class TestSize:
    def test_it_stands_in_the_configuration_and_changes_are_told(self) -> None:
        bench = ConsoleBench()
        assert (bench.read(CONFIG, Width.W16), bench.read(CONFIG + 2, Width.W16), bench.read(CONFIG + 4)) == (0, 0, 3)
        before = bench.read(Register.CONFIG_GENERATION)
        bench.hvc.resize(132, 43)
        assert (bench.read(CONFIG, Width.W16), bench.read(CONFIG + 2, Width.W16)) == (132, 43)
        assert bench.read(Register.CONFIG_GENERATION) != before
        assert bench.acknowledge() == 2

    def test_a_port_that_is_no_console_has_none(self) -> None:
        bench = ConsoleBench()
        bench.greet()
        bench.host.resize(10, 10)
        assert (bench.told(), bench.read(CONFIG, Width.W16)) == ([], 0)

    def test_a_size_from_before_the_driver_is_told_as_a_change(self) -> None:
        bench = ConsoleBench()
        bench.hvc.resize(80, 25)
        bench.restart(SEVERAL)
        assert bench.acknowledge() == 2


class TestEmergencyWrite:
    """5.3.4: without queues, and before any driver."""

    async def test_the_lower_byte_goes_to_port_0(self) -> None:
        bench = ConsoleBench()
        async with bench.running():
            bench.write(Register.STATUS, 0)
            bench.write(EMERG_WR, 0x4142_4341)
            bench.write(EMERG_WR, 0x42, Width.W8)
            bench.write(CONFIG + 4, 0x43 << 32, Width.W64)
            bench.write(CONFIG, 0x44)
            await settle()
            assert bench.hvc.heard == b"ABC"
            assert bench.read(EMERG_WR) == 0

    def test_without_a_port_0_it_goes_nowhere(self) -> None:
        bench = ManyBench(VirtioConsole({1: Port(Host())}, max_ports=2), (0, 1))
        bench.write(EMERG_WR, 0x41)

    def test_a_host_that_does_not_look_costs_no_memory(self) -> None:
        bench = ConsoleBench()
        for _ in range(CHUNK + 10):
            bench.console.write_config(8, b"x")
        assert len(bench.ports[0]._emergency) == CHUNK


class TestBackPressure:
    async def test_a_slow_host_leaves_bytes_with_the_guest(self) -> None:
        bench = ConsoleBench()
        bench.greet()
        async with bench.running():
            bench.host.room = 3
            bench.send(5, b"123456", b"789")
            await settle()
            bench.send(5, b"abc")
            await settle()
            assert (bench.host.heard, bench.used(5)) == (b"123", 1)
            bench.host.give_room(4)
            await settle()
            assert (bench.host.heard, bench.used(5)) == (b"1234567", 2)
            bench.host.give_room(100)
            await settle()
            assert (bench.host.heard, bench.used(5)) == (b"123456789abc", 3)

    async def test_a_console_drops_instead_because_its_driver_spins(self) -> None:
        bench = ConsoleBench()
        bench.greet()
        async with bench.running():
            bench.hvc.room = 3
            bench.send(1, b"123456", b"789")
            await settle()
            assert (bench.hvc.heard, bench.used(1), bench.ports[0].slow) == (b"123", 2, 6)

    async def test_with_nobody_there_bytes_are_dropped(self) -> None:
        bench = ConsoleBench(here=False)
        bench.greet()
        async with bench.running():
            bench.send(5, b"123")
            await settle()
            assert (bench.host.heard, bench.used(5), bench.ports[1].undelivered) == (b"", 1, 3)
            bench.host.come(up=True)
            bench.send(5, b"456")
            await settle()
            assert bench.host.heard == b"456"

    async def test_a_host_that_goes_takes_what_it_had_no_room_for_along(self) -> None:
        bench = ConsoleBench()
        bench.greet()
        async with bench.running():
            bench.host.room = 0
            bench.send(5, b"123")
            await settle()
            bench.host.come(up=False)
            bench.host.room = 100
            bench.host.come(up=True)
            await settle()
            bench.send(5, b"456")
            await settle()
            assert (bench.host.heard, bench.ports[1].undelivered) == (b"123456", 0), "gone and back between two looks"
            bench.host.room = 0
            bench.send(5, b"789")
            await settle()
            bench.host.come(up=False)
            await settle()
            assert bench.ports[1].undelivered == 3

    async def test_input_waits_until_the_guest_has_opened_the_port(self) -> None:
        bench = ConsoleBench()
        async with bench.running():
            bench.give(4, 100)
            bench.host.say(b"early")
            assert bench.got(4) == []
            bench.greet()
            await settle()
            assert (bench.got(4), bench.host.waiting) == ([b"early"], b"")
            bench.give(4, 100)
            bench.tell(1, Event.PORT_OPEN, 0)
            bench.host.say(b"late")
            assert bench.got(4) == []
            bench.tell(1, Event.PORT_OPEN, 1)
            await settle()
            assert bench.got(4) == [b"late"]

    async def test_buffers_of_nothing_hold_nothing(self) -> None:
        bench = ConsoleBench()
        bench.greet()
        async with bench.running():
            bench.give(4, *[0] * 7)
            bench.host.say(b"x")
            await settle()
            bench.give(4, 10)
            await settle()
            assert b"".join(bench.got(4)) == b"x"

    async def test_a_chain_of_any_length_goes_in_pieces(self) -> None:
        """What one turn is too long for is for the next; nothing is dropped."""
        bench = ConsoleBench()
        bench.greet()
        driver = bench.drivers[5]
        async with bench.running():
            for index in range(7):
                driver.describe(index, RAM, 5 * CHUNK, NEXT, index + 1)
            driver.describe(7, RAM, 1)
            driver.offer(0)
            bench.notify(5)
            await settle()
            assert (len(bench.host.heard), bench.used(5)) == (35 * CHUNK + 1, 1)
        assert BATCH * CHUNK < 35 * CHUNK

    async def test_nothing_moves_while_the_machine_is_paused(self) -> None:
        bench = ConsoleBench()
        bench.greet()
        async with bench.running():
            await bench.device.quiesce()
            bench.send(5, b"out")
            bench.give(4, 10)
            bench.host.say(b"in")
            bench.hvc.resize(5, 5)
            await settle()
            assert (bench.host.heard, bench.got(4), bench.got(2)) == (b"", [], [])
            await bench.device.resume()
            await settle()
            assert (bench.host.heard, bench.got(4), bench.got(2)) == (b"out", [b"in"], [resize(0, 5, 5)])

    async def test_a_reset_in_the_middle_of_a_chain(self) -> None:
        bench = ConsoleBench()
        bench.greet()
        async with bench.running():
            bench.host.room = 10
            driver = bench.drivers[5]
            driver.describe(0, RAM, 2 * CHUNK)
            driver.offer(0)
            bench.notify(5)
            await settle()
            bench.restart(SEVERAL)
            bench.greet()
            bench.host.give_room(1 << 30)
            bench.send(5, b"new")
            await settle()
            assert (bench.used(5), bench.host.heard[-3:], len(bench.host.heard)) == (1, b"new", CHUNK + 3)


class TestPlugging:
    async def test_a_port_comes_and_goes(self) -> None:
        bench = ConsoleBench()
        bench.greet()
        late = Host()
        port = Port(late, name="late")
        async with bench.running():
            bench.console.plug(port)
            assert bench.told() == [message(2, Event.PORT_ADD)]
            bench.tell(2, Event.PORT_READY)
            bench.tell(2, Event.PORT_OPEN)
            bench.send(7, b"hello")
            await settle()
            assert late.heard == b"hello"
            with pytest.raises(RuntimeError, match="all 3 ports are there"):
                bench.console.plug(Port(Host()))
            bench.told()
            bench.console.unplug(port)
            await settle()
            assert (bench.told(), late.cancelled) == ([message(2, Event.PORT_REMOVE)], True)
            bench.send(7, b"gone")
            await settle()
            assert late.heard == b"hello"
            bench.console.plug(Port(Host(), name="later"))
            assert bench.told() == [message(2, Event.PORT_ADD)]

    def test_before_the_driver_nothing_is_told(self) -> None:
        bench = ConsoleBench()
        port = Port(Host())
        bench.console.plug(port)
        bench.console.unplug(port)
        bench.give(2, *[64] * 8)
        bench.tell(0, Event.DEVICE_READY)
        assert bench.told() == [message(0, Event.PORT_ADD), message(1, Event.PORT_ADD)]

    def test_a_driver_that_never_heard_of_a_port_is_not_told_of_its_end(self) -> None:
        """A port in DEVICE_REMOVE was created with a previous DEVICE_ADD (5.3.6.2.1)."""
        bench = ConsoleBench()
        bench.tell(0, Event.DEVICE_READY)
        for _ in range(100):
            port = Port(Host())
            bench.console.plug(port)
            bench.console.unplug(port)
        bench.give(2, *[64] * 8)
        assert bench.told() == [message(0, Event.PORT_ADD), message(1, Event.PORT_ADD)]


_HOST_STEPS = (step("say", 100), step("room", 100), step("come", 1), step("resize", 0xFFFF), step("pause", 1), step("plug", 1))


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.sampled_from(range(8)), st.booleans(), steps(8, *_HOST_STEPS))
def test_whatever_driver_and_host_do_it_goes_on(queue: int, several: bool, done: list[Step]) -> None:
    asyncio.run(_go_on(queue, several, done))


async def _go_on(queue: int, several: bool, done: list[Step]) -> None:
    hvc, host, late = Host(), Host(), Port(Host(), name="late")
    console = VirtioConsole({0: Port(hvc, hvc=True), 1: Port(host, name="agent")}, max_ports=3)
    bench = ModernBench(console)
    bench.set_up(queue, SEVERAL if several else F_VERSION_1)
    life = asyncio.create_task(bench.device.run())
    await asyncio.sleep(0)
    for name, numbers in done:
        match name, numbers:
            case "say", (size,):
                host.say(b"x" * size)
                hvc.say(b"y" * size)
            case "room", (room,):
                host.give_room(room)
            case "come", (up,):
                host.come(up=bool(up))
            case "resize", (columns,):
                hvc.resize(columns, 25)
            case "pause", (pause,):
                await (bench.device.quiesce() if pause else bench.device.resume())
            case "plug", (plug,):
                if plug and late.id not in console.ports:
                    console.plug(late)
                elif not plug and late.id in console.ports:
                    console.unplug(late)
            case _:
                drive(bench, name, numbers)
        await asyncio.sleep(0)
        assert len(console._messages) <= 3 * len(Event)
        assert not life.done()
    await bench.device.resume()
    hvc.give_room(100)
    start_again(bench, 1)
    before = hvc.heard
    bench.driver.text(0, b"alive")
    bench.driver.offer(0)
    bench.notify(1)
    await settle()
    assert hvc.heard.endswith(b"alive"), before
    life.cancel()
    await asyncio.wait([life])
