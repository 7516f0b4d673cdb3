"""Server-sent events (the HTML standard, section 9.2): as they are written, and as they are read."""

from __future__ import annotations

import json
from collections.abc import AsyncIterable, AsyncIterator
from dataclasses import dataclass
from typing import Any

MEDIA_TYPE = "text/event-stream"
COMMENT = b": still here\n\n"
"""What says that the stream is alive, and nothing else."""


@dataclass(frozen=True, slots=True)
class StreamEvent:
    """An event of a stream."""

    name: str
    """Its kind, or `lost`: then `data` says how many of which `kind` were."""
    data: dict[str, Any]
    id: str
    """Where the stream can be taken up again, behind this event."""


def encode(name: str, data: dict[str, object], identity: str = "") -> str:
    """One event as it is sent. Without an identity, the stream's place stays where it is."""
    head = f"id: {identity}\n" if identity else ""
    return f"{head}event: {name}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n"


async def decode(lines: AsyncIterable[str]) -> AsyncIterator[StreamEvent]:
    """The events in `lines`, whose ends are taken off."""
    name = data = identity = ""
    async for line in lines:
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match field:
            case "event":
                name = value
            case "data":
                data += value
            case "id":
                identity = value
            case "" if not line and data:
                yield StreamEvent(name, json.loads(data), identity)
                name = data = ""
