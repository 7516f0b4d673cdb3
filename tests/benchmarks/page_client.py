"""`python -m tests.benchmarks.page_client URL`: takes a live stream as a page does; says so once the first frame is there."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import suppress

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed


async def watch(url: str) -> None:
    """Acknowledge every message, until the end."""
    base, _, token = url.partition("/#token=")
    live = f"{base.replace('http', 'ws', 1)}/v1/vms/vm0/live"
    async with connect(live, additional_headers={"Authorization": f"Bearer {token}"}, compression=None) as socket:
        shown = 0
        async for message in socket:
            shown += 1
            if shown == 2:
                print("watching", flush=True)
            if isinstance(message, str):
                json.loads(message)
            await socket.send(f'{{"shown":{shown}}}')


if __name__ == "__main__":
    with suppress(ConnectionClosed):  # a machine that ends takes its page down, whatever is under way
        asyncio.run(watch(sys.argv[1]))
