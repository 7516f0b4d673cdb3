"""What the tests of the Unicorn engine share. They need the native shim built: `python setup.py build_ext --inplace`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.unit.unicorn.guest import Guest


@pytest.fixture
def guest() -> Iterator[Guest]:
    with Guest() as guest:
        yield guest
