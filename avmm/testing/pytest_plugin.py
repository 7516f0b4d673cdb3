"""The pytest plugin: the fixture `scripted_vm`, where pytest-asyncio is installed too.

pytest loads this in every environment that has avmm: it imports nothing of avmm's before a test asks for it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from avmm.testing.vm import ScriptedVm

if find_spec("pytest_asyncio") is not None:
    import pytest_asyncio

    @pytest_asyncio.fixture
    async def scripted_vm() -> AsyncIterator[Callable[..., Awaitable[ScriptedVm]]]:
        """`await scripted_vm(*programs, **settings)`: a started `ScriptedVm`, stopped at the end of the test.

        `start=False` leaves the starting to the test; all other settings are those of `ScriptedVm`.
        """
        from avmm.testing.vm import ScriptedVm

        async with AsyncExitStack() as stack:

            async def make(*programs: object, start: bool = True, **settings: object) -> ScriptedVm:
                vm = await stack.enter_async_context(ScriptedVm(*programs, **settings))  # type: ignore[arg-type]
                if start:
                    await vm.start()
                return vm

            yield make
