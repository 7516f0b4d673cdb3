"""What the tests of the socket device share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.virtio.vsock.bench import VsockBench


@pytest.fixture
def bench(tmp_path: Path) -> VsockBench:
    return VsockBench(tmp_path)
