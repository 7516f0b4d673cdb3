"""What the tests of transcripts share."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.replay.steps import Do


@pytest.fixture
async def do() -> AsyncIterator[Do]:
    do = Do()
    yield do
    await do.transcript.close()
