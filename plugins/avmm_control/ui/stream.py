"""The live stream's WebSocket: frames and the console's output one way, acknowledgements and what is typed the other."""

from __future__ import annotations

import asyncio
import json

from starlette.websockets import WebSocket, WebSocketDisconnect

from avmm.plugin import ConsoleWriter, SteeredVm
from avmm_control.ui.live import Live
from avmm_control.ui.page import Page

MAX_MESSAGE = 4096
"""Bytes of a message from a page."""
MAX_TYPED = 1 << 20
"""Bytes that a page may type ahead of a guest that does not read."""
GOING_AWAY, UNSUPPORTED, TOO_BIG = 1001, 1003, 1009
"""Close codes (RFC 6455, section 7.4.1)."""
_WORDS = {"shown", "first", "selected", "columns", "rows"}
_MAX_SIZE = 0xFFFF


async def serve(socket: WebSocket, live: Live) -> None:
    """One page, from its connection to its end or the VM's."""
    known = socket.query_params.get("session") == live.session
    place = socket.query_params.get("place", "")
    await socket.accept()
    page = live.join(int(place) if known and place.isascii() and place.isdigit() and len(place) < 19 else 0)
    typed = ConsoleWriter(live.vm.console)
    tasks = (asyncio.create_task(_receive(socket, live, page, typed)), asyncio.create_task(_send(socket, page)))
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        live.leave(page)
        typed.close()
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def _send(socket: WebSocket, page: Page) -> None:
    try:
        while (message := await page.next()) is not None:
            if isinstance(message, str):
                await socket.send_text(message)
            else:
                await socket.send_bytes(message)
        await socket.close(GOING_AWAY, "the VM is over")
    except (WebSocketDisconnect, RuntimeError, OSError):
        pass  # it is gone


async def _receive(socket: WebSocket, live: Live, page: Page, typed: ConsoleWriter) -> None:
    try:
        while True:
            message = await socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            text, data = message.get("text"), message.get("bytes")
            if len(text or data or "") > MAX_MESSAGE:
                await socket.close(TOO_BIG, f"a message has at most {MAX_MESSAGE} bytes")
                return
            if data:
                typed.write(data)
                if typed.waiting > MAX_TYPED:
                    await socket.close(TOO_BIG, f"the guest has not read the last {MAX_TYPED} bytes typed")
                    return
            elif text and not obey(text, page, live.vm):
                await socket.close(UNSUPPORTED, "not a message of this stream")
                return
    except (WebSocketDisconnect, RuntimeError, OSError):
        pass  # it is gone


def obey(text: str, page: Page, vm: SteeredVm) -> bool:
    """Carry out a message of a page; False when it is none.

    `{"shown": N}`: it has shown N messages in all. `{"first": I}`, `{"selected": I}`: the vCPUs that it shows. `{"columns": C,
    "rows": R}`: the size of its terminal, for a console that can take it.
    """
    try:
        message = json.loads(text)
    except (ValueError, RecursionError):
        return False
    if not isinstance(message, dict) or not message or not message.keys() <= _WORDS:
        return False
    if not all(type(value) is int for value in message.values()):
        return False
    first, selected = message.get("first", page.first), message.get("selected", page.selected)
    columns, rows = message.get("columns", 0), message.get("rows", 0)
    if not (
        0 <= first < len(vm.vcpus) and 0 <= selected < len(vm.vcpus) and 0 <= columns <= _MAX_SIZE and 0 <= rows <= _MAX_SIZE
    ):
        return False
    if columns and rows:
        vm.console.resize(columns, rows)
    page.first, page.selected = first, selected
    return "shown" not in message or page.shown(message["shown"])
