"""A mirror, and a cache."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.fetch.mirror import Mirror, Told


@pytest.fixture
def mirror(tmp_path: Path) -> Mirror:
    made = Mirror(tmp_path / "mirror")
    made.publish()
    return made


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def keyring(tmp_path: Path) -> Path:
    """A keyring that is not there: signatures are not checked."""
    return tmp_path / "keyring.gpg"
