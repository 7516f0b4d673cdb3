"""What the Unicorn engine counts of a vCPU, by the names under which it is shown."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from avmm.plugin import HALTED, ExternalAbort
from avmm_unicorn import translation_cache
from tests.unit.unicorn import parallel_programs, programs
from tests.unit.unicorn.guest import CODE, DATA, DEADLINE, DEVICE, FUNCTION, Guest

TRANSLATED, FROM_VCPU, FROM_CACHE = (f"code_blocks {source}" for source in ("translation", "vcpu", "cache"))
EVENTS = ("tlb_broadcasts", "code_broadcasts", "external_aborts", "untranslatable_instructions", "alone_instructions")

LOAD_STRUCTURES = 0x4C400020  # ld4 {v0.16b-v3.16b}, [x1]


def figures(guest: Guest, vcpu: int = 0) -> dict[str, object]:
    return {" ".join([figure.name, *figure.labels.values()]): value for figure, value in guest.vcpus[vcpu].figures()}


def blocks(guest: Guest, vcpu: int = 0) -> tuple[object, ...]:
    """Those translated, taken over from another vCPU, and from the cache."""
    now = figures(guest, vcpu)
    return now[TRANSLATED], now[FROM_VCPU], now[FROM_CACHE]


def run(guest: Guest, vcpu: int = 0, **registers: int) -> None:
    guest.go(CODE, vcpu=vcpu, **registers)
    assert guest.vcpus[vcpu].enter(DEADLINE) is HALTED


def test_before_anything_happens() -> None:
    with Guest() as guest:
        assert figures(guest) == dict.fromkeys((TRANSLATED, FROM_VCPU, FROM_CACHE, *EVENTS), 0)


@pytest.mark.parametrize("parallel", [False, True])
def test_blocks_by_where_they_came_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, parallel: bool) -> None:
    monkeypatch.setattr(translation_cache, "LEAST_BLOCKS", 1)

    def both(guest: Guest) -> list[tuple[object, ...]]:
        """Both vCPUs carry out the same; what that took."""
        guest.load(CODE, programs.WFI)
        for vcpu in range(2):
            guest.go(CODE, vcpu=vcpu)
            assert guest.vcpus[vcpu].enter() is HALTED
        return [blocks(guest, vcpu) for vcpu in range(2)]

    with Guest(vcpus=2, parallel=parallel, translation_cache=tmp_path) as guest:
        assert both(guest) == [(1, 0, 0), (0, 1, 0)]
        assert both(guest) == [(1, 0, 0), (0, 1, 0)], "what is there already came from nowhere"
    with Guest(vcpus=2, parallel=parallel, translation_cache=tmp_path) as guest:
        assert both(guest) == [(0, 0, 1), (0, 0, 1)]


def test_a_block_that_took_several_attempts_is_one() -> None:
    """The library makes shorter blocks of one whose code comes out too long."""
    with Guest(vcpus=2) as guest:
        guest.vcpu.write_register("cpacr_el1", 3 << 20)
        guest.vcpus[1].write_register("cpacr_el1", 3 << 20)
        guest.load(CODE, [*[LOAD_STRUCTURES] * 100, *programs.WFI])
        for vcpu in range(2):
            guest.go(CODE, vcpu=vcpu, x1=DATA)
            assert guest.vcpus[vcpu].enter() is HALTED
        made, _, _ = blocks(guest)
        assert blocks(guest, 1) == (0, made, 0), "one vCPU has as many as the other"


def invalidate_tlbs(guest: Guest) -> None:
    guest.load(CODE, parallel_programs.TLBI_LOOP)
    run(guest, x0=3)


def invalidate_line(guest: Guest) -> None:
    guest.load(CODE, programs.INVALIDATE_LINE)
    for _ in range(2):
        run(guest, x1=FUNCTION)


def refuse(guest: Guest) -> None:
    def read(address: int, width: int) -> int:
        raise ExternalAbort

    guest.trap.on_read = read
    guest.load(CODE, programs.LOAD)
    run(guest, x1=DEVICE)


def execute_nothing(guest: Guest) -> None:
    """What is no memory cannot be executed."""
    guest.load(CODE, programs.CALL)
    run(guest, x1=DEVICE)


def untranslatable(guest: Guest) -> None:
    guest.vcpu.write_register("cpacr_el1", 3 << 20)
    guest.vectors(programs.SKIP_VECTOR)
    guest.load(CODE, programs.UNTRANSLATABLE)
    run(guest)


def alone(guest: Guest) -> None:
    guest.load(CODE, programs.ATOMIC)
    run(guest, x1=DEVICE)


@pytest.mark.parametrize(
    ("happens", "counted"),
    [
        (invalidate_tlbs, {"tlb_broadcasts": 3}),
        (invalidate_line, {"code_broadcasts": 2}),
        (refuse, {"external_aborts": 1}),
        (execute_nothing, {"external_aborts": 1}),
        (untranslatable, {"untranslatable_instructions": 1}),
        (alone, {"alone_instructions": 1}),
    ],
)
def test_events_count_for_the_vcpu_they_happen_to(happens: Callable[[Guest], None], counted: dict[str, int]) -> None:
    with Guest(vcpus=2, cpu="max", parallel=True) as guest:
        happens(guest)
        assert {name: value for name, value in figures(guest).items() if name in EVENTS and value} == counted
        assert set(figures(guest, 1).values()) == {0}
