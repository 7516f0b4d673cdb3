"""Calls that may block, made elsewhere than on the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Result = TypeVar("Result")


async def elsewhere(call: Callable[[], Result]) -> Result:
    """Make a call that may block on a thread of its own, which is gone afterwards, also when this is cancelled."""
    with ThreadPoolExecutor(1, thread_name_prefix="metrics") as thread:
        return await asyncio.get_running_loop().run_in_executor(thread, call)
