"""The live stream: what a page is told, that it is never too much, and that a page that stalls delays nobody."""

from __future__ import annotations

import asyncio
import json
import random
from contextlib import suppress
from itertools import pairwise

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from avmm.exits import YIELDED
from avmm.plugin import NO_WAKEUP, Console, Device, Request, State, Width
from avmm.testing import ScriptedVm, Spin
from avmm_control.transcript import ConsoleLog
from avmm_control.ui import frames
from avmm_control.ui.frames import LANES, MAX_BYTES, Frames
from avmm_control.ui.lanes import CHANGES, KICKS, Kick, LaneState, Look, Stretch
from avmm_control.ui.live import Live
from avmm_control.ui.page import FRAMES_AHEAD, OUTPUT_AHEAD, PIECE, Page
from avmm_control.ui.stream import MAX_MESSAGE, MAX_TYPED, obey


async def read(socket, kind):
    """The next message of `kind`; those before it are acknowledged as well."""
    number = getattr(socket, "number", 0)
    while True:
        message = await asyncio.wait_for(socket.recv(), 60)
        number += 1
        socket.number = number
        with suppress(ConnectionClosed):  # the last word needs no answer
            await socket.send(json.dumps({"shown": number}))
        if isinstance(message, bytes):
            if kind == "output":
                return int.from_bytes(message[:8], "big"), message[8:]
        elif json.loads(message)["type"] == kind:
            return json.loads(message)


async def test_a_page_is_told_what_there_is_and_what_happens(serve):
    async with serve([Spin()], [Spin()]) as served, served.live() as socket:
        hello = await read(socket, "hello")
        assert hello["version"] == 1
        assert (hello["vm"]["name"], hello["vm"]["vcpus"]) == ("test", 2)
        assert hello["requests"]["0"] == "TLB_FLUSH"
        frame = await read(socket, "frame")
        assert frame["vm"]["state"] == "running"
        assert frame["vm"]["from"] <= frame["vm"]["to"]
        assert [len(row["counts"]) for row in frame["lanes"]["rows"]] == [6, 6]
        assert frame["vcpu"]["index"] == 0
        assert frame["machine"]["devices"] == []
        await socket.send('{"selected": 1}')
        while "vcpu" not in (frame := await read(socket, "frame")) or frame["vcpu"]["index"] != 1:
            pass


async def test_frames_follow_each_other_without_a_gap(serve):
    async with serve() as served, served.live() as socket:
        found = [await read(socket, "frame") for _ in range(4)]
        assert all(one["vm"]["to"] == next_["vm"]["from"] for one, next_ in pairwise(found))
        assert [frame["number"] for frame in found] == [1, 2, 3, 4]


async def test_what_is_typed_arrives_and_what_is_printed_comes(serve):
    typed = []
    async with serve() as served, served.live() as socket:
        served.vm.console.on_input(typed.append)
        await socket.send(b"ls\r")
        served.vm.console.write(b"hello")
        assert await read(socket, "output") == (0, b"hello")
        assert typed == [b"ls\r"]


async def test_what_is_pasted_waits_for_the_guest(serve):
    async with serve() as served, served.live() as socket:
        console, pasted = served.vm.console, random.Random(3).randbytes(3 * Console.LIMIT)
        for at in range(0, len(pasted), MAX_MESSAGE):
            await socket.send(pasted[at : at + MAX_MESSAGE])
        await served.vm.until(lambda: console.room == 0)
        assert (await read(socket, "frame"))["vm"]["state"] == "running", "the page is told what happens meanwhile"
        typed = []
        console.on_input(typed.append)
        await served.vm.until(lambda: sum(map(len, typed)) == len(pasted))
        assert b"".join(typed) == pasted


async def test_too_much_for_a_guest_that_never_reads_ends_the_connection(serve):
    async with serve() as served, served.live() as socket:
        with suppress(ConnectionClosed):
            while True:
                await socket.send(bytes(MAX_MESSAGE))
        with pytest.raises(ConnectionClosed) as closed:
            await read(socket, "nothing")
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (
            1009,
            f"the guest has not read the last {MAX_TYPED} bytes typed",
        )
        assert served.vm.console.room == 0
        async with served.live() as other:
            assert (await read(other, "frame"))["vm"]["state"] == "running"


async def test_a_console_that_can_take_it_is_told_the_terminals_size(serve):
    sizes = []
    async with serve() as served, served.live() as socket:
        served.vm.console.on_resize(lambda columns, rows: sizes.append((columns, rows)))
        await socket.send('{"columns": 132, "rows": 43}')
        await served.vm.until(lambda: sizes)
        assert sizes == [(132, 43)]
        await socket.send('{"columns": 65536, "rows": 43}')
        with pytest.raises(ConnectionClosed):
            await read(socket, "nothing")
        assert len(sizes) == 1


async def test_a_page_that_comes_back_goes_on_where_it_was(serve):
    async with serve() as served:
        served.vm.console.write(b"before ")
        async with served.live() as socket:
            session = (await read(socket, "hello"))["session"]
            assert await read(socket, "output") == (0, b"before ")
        served.vm.console.write(b"meanwhile")
        async with served.live(f"?session={session}&place=7") as socket:
            assert (await read(socket, "hello"))["session"] == session
            assert await read(socket, "output") == (7, b"meanwhile")
        async with served.live("?session=another&place=7") as socket:
            assert await read(socket, "output") == (0, b"before meanwhile")


async def test_the_end_is_told_behind_the_last_of_the_output(serve):
    async with serve() as served, served.live() as socket:
        await read(socket, "frame")
        last = b"x" * (3 * PIECE) + b"bye"
        served.vm.console.write(last)
        ending = asyncio.create_task(served.vm.stop("enough"))
        output = b""
        while not output.endswith(b"bye"):
            output += (await read(socket, "output"))[1]
        assert output == last
        await ending
        leaving = asyncio.create_task(served.ui.stop(served.vm))
        assert (await read(socket, "end"))["how"] == "stopped (enough)"
        with pytest.raises(ConnectionClosed):
            await read(socket, "nothing")
        await leaving


async def test_two_pages_at_once_see_the_same(serve):
    async with serve() as served, served.live() as one, served.live() as other:
        served.vm.console.write(b"both")
        assert await read(one, "output") == await read(other, "output") == (0, b"both")
        assert (await read(one, "frame"))["type"] == (await read(other, "frame"))["type"]


@pytest.mark.parametrize(
    "message", ["{", "[]", "{}", '"shown"', '{"shown": true}', '{"shown": 99}', '{"selected": 1}', '{"a": 1}']
)
async def test_what_is_not_of_the_stream_ends_it(serve, message):
    async with serve() as served, served.live() as socket:
        await read(socket, "hello")
        await socket.send(message)
        with pytest.raises(ConnectionClosed) as closed:
            await read(socket, "nothing")
        assert closed.value.rcvd.code == 1003


async def test_a_message_that_is_too_large_ends_it(serve):
    async with serve() as served, served.live() as socket:
        await socket.send(b"x" * (MAX_MESSAGE + 1))
        with pytest.raises(ConnectionClosed) as closed:
            await read(socket, "nothing")
        assert closed.value.rcvd.code == 1009


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Authorization": "Bearer wrong"}, 401),
        ({"Authorization": ""}, 401),
        ({"Origin": "http://evil.example"}, 403),
    ],
)
async def test_a_stranger_is_turned_away(serve, headers, status):
    async with serve() as served:
        with pytest.raises(InvalidStatus) as refused:
            async with served.live(**headers):
                pass
        assert refused.value.response.status_code == status


async def test_a_name_of_somebody_elses_is_turned_away(serve):
    async with serve() as served:
        port = int(served.base.rpartition(":")[2])
        with pytest.raises(InvalidStatus) as refused:
            async with connect("ws://evil.example/v1/vms/test/live", host="127.0.0.1", port=port):
                pass
        assert refused.value.response.status_code == 421


async def test_a_vm_that_is_not_there(serve):
    async with serve() as served:
        served.vm.name = "other"
        with pytest.raises(InvalidStatus) as refused:
            async with served.live():
                pass
        served.vm.name = "test"
        assert refused.value.response.status_code == 404


# A page that does not keep up.


async def test_a_page_that_shows_nothing_is_sent_a_few_messages_and_then_only_what_is_newest(serve):
    async with serve([YIELDED] * 10) as served, served.live() as socket:
        live = served.ui._joined["test"]._lives["test"]
        [page] = live._pages
        await served.vm.until(lambda: page._sent == FRAMES_AHEAD)
        sent, looks = FRAMES_AHEAD, live._looks
        for _ in range(20):
            live.look()
        assert (live._looks, page._sent) == (looks, sent), "nobody looks for a page that sees nothing"
        socket.number = 0
        messages = [json.loads(await socket.recv()) for _ in range(sent)]
        await socket.send(json.dumps({"shown": sent}))
        socket.number = sent
        frame = await read(socket, "frame")
        assert frame["vm"]["from"] == messages[-1]["vm"]["to"], "the next tells all that happened meanwhile"


async def test_output_piles_up_for_no_page():
    async with ScriptedVm([Spin()]) as vm:
        log = ConsoleLog(vm)
        page = Page(log)
        sent = 0
        for _ in range(100):
            vm.console.write(b"y\n" * PIECE)
            page.pour()
            if page._piece:
                assert isinstance(await page.next(), bytes)
                sent += 1
        assert sent == OUTPUT_AHEAD
        assert page.shown(sent)
        page.pour()
        piece = await page.next()
        assert isinstance(piece, bytes)
        assert int.from_bytes(piece[:8], "big") > sent * PIECE, "what is no longer kept is left out"
        log.close()


async def test_the_last_word_comes_behind_all_of_the_output():
    async with ScriptedVm([Spin()]) as vm:
        log = ConsoleLog(vm)
        page = Page(log)
        vm.console.write(b"y" * (2 * PIECE + 5))
        page.end("the end")
        messages = []
        while (message := await page.next()) is not None:
            messages.append(message)
        assert [len(message) - 8 for message in messages[:-1]] == [PIECE, PIECE, 5]
        assert messages[-1] == "the end"
        log.close()


async def test_a_frame_that_waits_is_replaced():
    async with ScriptedVm([Spin()]) as vm:
        page = Page(ConsoleLog(vm))
        page.offer("old")
        page.offer("new")
        assert await page.next() == "new"


async def test_acknowledgements_only_grow_and_never_beyond_what_was_sent():
    async with ScriptedVm([Spin()], vcpus=4) as vm:
        page = Page(ConsoleLog(vm))
        for _ in range(5):
            page.offer("frame")
            await page.next()
        assert obey('{"shown": 2}', page, vm)
        assert not obey('{"shown": 1}', page, vm)
        assert not obey('{"shown": 6}', page, vm)
        assert obey('{"shown": 5, "first": 3, "selected": 2}', page, vm)
        assert (page._shown, page.first, page.selected) == (5, 3, 2)
        assert not obey('{"first": 4}', page, vm)
        assert not obey('{"first": -1}', page, vm)


# Size.


class Greedy(Device):
    size = 0x1000

    def read(self, offset: int, width: Width) -> int:
        return 0

    def write(self, offset: int, width: Width, value: int) -> None:
        pass


async def test_no_frame_is_larger_than_the_limit_whatever_the_machine_does():
    devices = {f"device-with-a-long-name-{n:08}": lambda _: Greedy() for n in range(200)}
    async with ScriptedVm([Spin()], vcpus=40, devices=devices) as vm:
        for number in range(1000):
            vm.guest_fault(f"an-odd-thing-with-a-very-long-name-of-its-own-{number:030}", "")
        for vcpu in vm.vcpus:
            vcpu.stats.exits = vcpu.stats.guest_ns = 1 << 62
            vcpu.stats.kicks = [1 << 62] * 3
            for request in range(64):
                vcpu.make_request(request | NO_WAKEUP)
                vcpu.stats.requests_made[request] = vcpu.stats.requests_handled[request] = 1 << 62
        wide = [(at, LaneState(at % 6)) for at in range(10**17, 10**17 + CHANGES * 10**9, 10**9)]
        stretches = tuple(Stretch(n, [(0, LaneState.OFF), *wide], 10**18, 10**18, 10**18, LaneState.GUEST) for n in range(40))
        kicks = tuple(Kick(10**17, 39, 39, 2, 63) for _ in range(KICKS))
        look = Look(0, 2 * 10**18, stretches, kicks, 1 << 62)
        frame = Frames(vm, look, 1 << 62, panels=True, machine=True).frame(10, 20)
        assert len(frame.encode()) < MAX_BYTES < 100_000
        rows = json.loads(frame)
        assert len(rows["lanes"]["rows"]) == LANES
        assert rows["machine"]["faults"]["left_out"] == 1000 - frames.ROWS
        assert len(frames.hello(vm, "s" * 16, 100)) < MAX_BYTES
        for vcpu in vm.vcpus:
            vcpu.discard_requests()


async def test_a_vm_that_ended_before_a_page_came_is_told_at_once():
    async with ScriptedVm([Spin()]) as vm:
        live = Live(vm, ConsoleLog(vm))
        await vm.start()
        await vm.stop("over")
        assert vm.lifecycle.state is State.HALTED
        await live.end()
        page = live.join(0)
        words = [await page.next() for _ in range(3)]
        assert [json.loads(word)["type"] for word in words if word is not None] == ["hello", "end"]
        live.leave(page)
        assert live.pages == 0


async def test_pending_requests_are_shown(serve):
    async with serve(vcpus=2, boot="first") as served, served.live() as socket:
        served.vm.vcpus[1].make_request(Request.TLB_FLUSH & 0xFF)
        while not (pending := (await read(socket, "frame"))["lanes"]["rows"][1]["pending"]):
            pass
        assert pending == [Request.TLB_FLUSH & 0xFF]
