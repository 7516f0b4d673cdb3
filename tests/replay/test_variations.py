"""Recorded transcripts with something added that cannot change their answers: they still agree."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from avmm.transcript import Case, Step, Verdict, load, load_departures, replay
from avmm_arm64 import create_transcript_machine
from avmm_unicorn import create_engine

HERE = Path(__file__).parent
CASES = [case for case in load(HERE / "kvm_arm64.json") if case.id not in load_departures(HERE / "departures.toml")]
QUESTIONS = (
    Step("has_attr", {"vcpu": 0, "group": 1, "attr": 0}, {"ret": 0}),
    Step("has_attr", {"vcpu": 0, "group": 99, "attr": 0}, {"ret": -1, "errno": "ENXIO"}),
    Step("get_attr", {"vcpu": 0, "group": "TIMER_CTRL", "attr": 9}, {"ret": -1, "errno": "ENXIO"}),
    Step("check_extension", {"cap": "MP_STATE", "num": 14}, {"ret": 1}),
    Step("irq_line", {"type": 3, "num": 40, "vcpu": 0, "level": 1}, {"ret": -1, "errno": "EINVAL"}),
    Step("sleep", {"ms": 1}, {"ret": 0}),
)
BYSTANDER = 9


def asked(case: Case) -> Iterator[Step]:
    """Questions behind every step at which vCPU 0 is there, is in no run, and the VM can answer."""
    there = over = False
    for step in case.steps:
        yield step
        there = there or (step.operation == "create_vcpu" and step.arguments["vcpu"] == 0 and step.expected["ret"] == 0)
        dies = step.operation == "run" and step.expected.get("errno") in ("ENXIO", "EBUSY")
        over = over or dies or step.operation in ("run_async", "close_vcpu") or "blocked" in step.expected
        if there and not over:
            yield from QUESTIONS


def accompanied(case: Case) -> Iterator[Step]:
    """One vCPU more, the last one, which never runs."""
    made = [number for number, step in enumerate(case.steps) if step.operation == "create_vcpu"]
    for number, step in enumerate(case.steps):
        yield step
        if made and number == made[-1] and step.expected["ret"] == 0:
            yield Step("create_vcpu", {"vcpu": BYSTANDER}, {"ret": 0})
            yield Step("get_mp_state", {"vcpu": BYSTANDER}, {"ret": 0, "value": 0})


@pytest.mark.parametrize("vary", [asked, accompanied])
async def test_the_answers_stay_the_same(vary: Callable[[Case], Iterator[Step]]) -> None:
    added = 0
    for case in CASES:
        varied = Case(case.id, tuple(vary(case)))
        added += len(varied.steps) - len(case.steps)
        outcome = await replay(varied, create_transcript_machine, create_engine)
        assert outcome.verdict is Verdict.AGREES, outcome
    assert added >= len(CASES)
