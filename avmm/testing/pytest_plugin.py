"""The pytest plugin: fixtures for tests of plugins and of embedding code."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import pytest
import pytest_asyncio

from avmm.testing.vm import ScriptedVm

ScriptedVmFactory = Callable[..., Awaitable[ScriptedVm]]


@pytest_asyncio.fixture
async def scripted_vm() -> AsyncIterator[ScriptedVmFactory]:
    """`await scripted_vm(*programs, **settings)`: a started `ScriptedVm`, stopped at the end of the test."""
    async with AsyncExitStack() as stack:

        async def make(*programs: object, start: bool = True, **settings: object) -> ScriptedVm:
            vm = await stack.enter_async_context(ScriptedVm(*programs, **settings))  # type: ignore[arg-type]
            if start:
                await vm.start()
            return vm

        yield make


@pytest.fixture(params=["inline", "thread"])
def slot(request: pytest.FixtureRequest) -> str:
    """Both kinds of slot, one after the other."""
    return str(request.param)
