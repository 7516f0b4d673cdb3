"""The `avmm` command, ready to run."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.cli.command import Avmm, in_folder


@pytest.fixture
def avmm(tmp_path: Path) -> Avmm:
    return in_folder(tmp_path)
