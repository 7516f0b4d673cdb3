"""Streams: events, and the console. Server-sent events (the HTML standard, section 9.2), resumable by their ids."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request
from starlette.exceptions import HTTPException
from starlette.responses import StreamingResponse

from avmm_control.events import EventLog, Kind
from avmm_control.routes.common import Named, binary
from avmm_control.sse import COMMENT, MEDIA_TYPE, encode
from avmm_control.transcript import ConsoleLog

router = APIRouter(prefix="/v1/vms/{vm}", tags=["Streams"])
BATCH = 1000
"""Events of one kind sent at once."""
CONSOLE_BATCH = 1 << 14
LOOK_S = 0.05
"""How often to look for traced events, in seconds."""
PING_S = 15.0
"""How long a stream may be silent."""
_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
_STREAM: dict[int | str, dict[str, object]] = {200: {"content": {MEDIA_TYPE: {"schema": {"type": "string"}}}}}
_LastId = Annotated[
    str | None,
    Header(alias="Last-Event-ID", description="Go on behind this one.", pattern=r"^[0-9]{1,18}(\.[0-9]{1,18}){0,4}$"),
]
_Kinds = Annotated[
    str, Query(description="What to hear of: `state`, `exit`, `kick`, `request`, `handled`, with commas between.", max_length=64)
]


@router.get("/events", response_class=StreamingResponse, responses=_STREAM)
async def events(served: Named, kinds: _Kinds = "state", last: _LastId = None) -> StreamingResponse:
    """What happens in the VM. A client that is too slow for all of it is told how many events it lost (`lost`).

    A stream with the id of an earlier one's event goes on behind that, as far as events are kept. It ends with the VM.
    """
    chosen = _kinds(kinds)
    if last is None:
        places = [0 if kind is Kind.STATE else served.events.rings[kind].last() for kind in chosen]
    else:
        places = [int(part) for part in last.split(".")]
        if len(places) != len(chosen):
            raise ValueError("Last-Event-ID is of a stream of other kinds")
        # Numbers that are yet to come are of a VM that was here before: begin with what there is of this one.
        places = [place if place <= served.events.rings[kind].last() else 0 for kind, place in zip(chosen, places, strict=True)]
    return StreamingResponse(_events(served.events, chosen, places), media_type=MEDIA_TYPE, headers=_HEADERS)


def _kinds(text: str) -> list[Kind]:
    try:
        return sorted({Kind(word) for word in text.split(",")}, key=list(Kind).index)
    except ValueError:
        raise ValueError(f"kinds are {', '.join(kind.value for kind in Kind)}") from None


async def _events(log: EventLog, kinds: list[Kind], places: list[int]) -> AsyncIterator[bytes]:
    patience_s = PING_S if kinds == [Kind.STATE] else LOOK_S
    silent_s = 0.0
    with log.listening(kinds) as more:
        yield COMMENT
        while True:
            more.clear()
            closed = log.closed  # looked at first: nothing comes behind it
            text, full = _look(log, kinds, places)
            if text:
                silent_s = 0.0
                yield text.encode()
            if full:
                continue
            if closed:
                return
            try:
                await asyncio.wait_for(more.wait(), patience_s)
            except TimeoutError:
                silent_s += patience_s
            if silent_s >= PING_S:
                silent_s = 0.0
                yield COMMENT


def _look(log: EventLog, kinds: list[Kind], places: list[int]) -> tuple[str, bool]:
    """What there is behind `places`, which are moved on; whether there is more."""
    found, texts, full = [], [], False
    for position, kind in enumerate(kinds):
        new, lost = log.rings[kind].since(places[position], BATCH)
        if lost:
            texts.append(encode("lost", {"kind": kind.value, "count": lost}))
        full |= len(new) == BATCH
        found += [(event[1], event[0], position, event) for event in new]
    for _, number, position, event in sorted(found):
        places[position] = number
        texts.append(encode(kinds[position].value, log.data(kinds[position], event), ".".join(map(str, places))))
    return "".join(texts), full


@router.get("/console", response_class=StreamingResponse, responses=_STREAM)
async def console_output(served: Named, last: _LastId = None) -> StreamingResponse:
    """What the guest's console writes, from the last 64 KiB on: events `output` with base64. Ids are places in the output."""
    place = int((last or "0").partition(".")[0])
    return StreamingResponse(_output(served.console, place), media_type=MEDIA_TYPE, headers=_HEADERS)


async def _output(log: ConsoleLog, place: int) -> AsyncIterator[bytes]:
    with log.listening() as more:
        yield COMMENT
        while True:
            more.clear()
            closed = log.closed  # looked at first: nothing comes behind it
            data, end = log.since(place, CONSOLE_BATCH)
            if (lost := end - len(data) - place) > 0:
                yield encode("lost", {"kind": "output", "count": lost}).encode()
            place = end
            if data:
                yield encode("output", {"data": base64.b64encode(data).decode()}, str(place)).encode()
            elif closed:
                return
            else:
                try:
                    await asyncio.wait_for(more.wait(), PING_S)
                except TimeoutError:
                    yield COMMENT


@router.post("/console", status_code=204, openapi_extra=binary("The keys, as bytes."))
async def console_input(served: Named, request: Request) -> None:
    """Type on the guest's console, up to 64 KiB at once: all of it, or nothing (429) while the guest does not read."""
    keys, console = await request.body(), served.vm.console
    if len(keys) > console.LIMIT:
        raise HTTPException(413, f"the console takes {console.LIMIT} bytes at once, not {len(keys)}")
    if len(keys) > console.room:
        text = f"the guest does not read: its console has room for {console.room} bytes, not {len(keys)}"
        raise HTTPException(429, text, {"Retry-After": "1"})
    console.input(keys)
