"""Fixtures of the arm64 tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.unit.arm64.fakes import FakeMachine


@pytest.fixture
def machine() -> Iterator[FakeMachine]:
    """Two vCPUs, all of whose interrupts are Group 0 and disabled, as after power-on."""
    machine = FakeMachine()
    yield machine
    machine.vm.memory.close()
