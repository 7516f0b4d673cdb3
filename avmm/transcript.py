"""Transcripts: operations on a VM and their answers, recorded elsewhere, to be carried out and compared here.

A file holds a JSON list of cases, `{"id", "steps": [...]}`; a step is `{"op", ..., "expect": {...}}`: an operation, its
arguments, and the answer that was recorded. Each case starts from nothing.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Protocol, cast

from avmm.engine import EngineFactory
from avmm.errors import ConfigError, NotApplicable

Answer = dict[str, object]
_ABOUT_A_STEP = ("op", "expect", "probe")
"""What in a step is no argument; `probe` marks the step that a case is about."""


class Machine(Protocol):
    """What carries a transcript out: one VM of an architecture that offers `create_transcript_machine(engine)`."""

    async def perform(self, operation: str, arguments: Mapping[str, object]) -> Answer:
        """Carry out one operation and answer; NotApplicable for an operation or an argument that does not exist here."""

    async def close(self) -> None:
        """The case is over."""


MachineFactory = Callable[[EngineFactory], Machine]


@dataclass(frozen=True, slots=True)
class Step:
    """One operation and the answer that was recorded."""

    operation: str
    arguments: Mapping[str, object]
    expected: Answer


@dataclass(frozen=True, slots=True)
class Case:
    """One transcript."""

    id: str
    steps: tuple[Step, ...]


class Verdict(Enum):
    """What became of a case."""

    AGREES = "agrees"
    DIFFERS = "differs"
    NOT_APPLICABLE = "not applicable"


@dataclass(frozen=True, slots=True)
class Disagreement:
    """An answer that differs: in which step (1-based), what was recorded, and what was answered here."""

    step: int
    operation: str
    expected: Answer
    got: Answer


@dataclass(slots=True)
class Outcome:
    """What became of a case, and why."""

    case: str
    verdict: Verdict = Verdict.AGREES
    disagreements: list[Disagreement] = field(default_factory=list)
    reason: str = ""
    """Why it is not applicable; or, where it agrees though it is on the list of departures, that."""


def load(path: Path) -> list[Case]:
    """The cases of a file; ConfigError, with the case's and the step's number, when they are not in the format."""
    try:
        cases = json.loads(path.read_bytes(), object_pairs_hook=_object, parse_constant=_no_number)
    except ValueError as error:
        raise ConfigError(f"is not JSON: {error}", place=str(path)) from error
    except RecursionError:
        raise ConfigError("is nested too deeply", place=str(path)) from None
    if not isinstance(cases, list):
        raise ConfigError("is not a list of cases", place=str(path))
    if not cases:
        raise ConfigError("has no cases", place=str(path))
    loaded = [_case(case, f"{path}: case {number}") for number, case in enumerate(cases, 1)]
    seen: set[str] = set()
    for case in loaded:
        if case.id in seen:
            raise ConfigError(f"two cases have the id {case.id}", place=str(path))
        seen.add(case.id)
    return loaded


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """A JSON object; ValueError when one of its names comes twice, for the last would hide the others."""
    made: dict[str, object] = {}
    for name, value in pairs:
        if name in made:
            raise ValueError(f"an object has {name!r} twice")
        made[name] = value
    return made


def _no_number(text: str) -> object:
    raise ValueError(f"{text} is no number")


def _case(case: object, place: str) -> Case:
    if not isinstance(case, dict) or not isinstance(case.get("id"), str) or not isinstance(case.get("steps"), list):
        raise ConfigError('is not an object with a string "id" and a list "steps"', place=place)
    if not case["id"].strip() or not case["id"].isprintable():
        raise ConfigError(f"its id {case['id']!r} cannot be printed", place=place)
    if not case["steps"]:
        raise ConfigError("has no steps", place=place)
    steps = []
    for number, step in enumerate(case["steps"], 1):
        if not isinstance(step, dict) or not isinstance(step.get("op"), str) or not isinstance(step.get("expect"), dict):
            raise ConfigError('is not an object with a string "op" and an object "expect"', place=f"{place}: step {number}")
        arguments = {key: value for key, value in step.items() if key not in _ABOUT_A_STEP}
        steps.append(Step(step["op"], arguments, step["expect"]))
    return Case(case["id"], tuple(steps))


def load_departures(path: Path) -> dict[str, str]:
    """The reasons of departures by case, from a TOML file of `"case" = "reason"`; ConfigError for anything else."""
    try:
        departures = tomllib.loads(path.read_text())
    except ValueError as error:
        raise ConfigError(f"is not TOML: {error}", place=str(path)) from error
    for case, reason in departures.items():
        if not isinstance(reason, str) or not reason.strip():
            raise ConfigError("a departure needs a reason", place=str(path), key=case)
    return cast(dict[str, str], departures)


def _raised(error: Exception) -> Answer:
    return {"error": f"{type(error).__name__}: {error}"}


def _same(got: Answer, expected: Answer) -> bool:
    """The same as JSON is: 1 is neither true nor 1.0."""
    return json.dumps(got, sort_keys=True) == json.dumps(expected, sort_keys=True)


async def replay(case: Case, create: MachineFactory, engine: EngineFactory, departure: str | None = None) -> Outcome:
    """Carry a case out and compare every answer. `departure` is the reason why it may differ, if it may."""
    outcome = Outcome(case.id)
    machine = create(engine)
    try:
        for number, step in enumerate(case.steps, 1):
            try:
                got = await machine.perform(step.operation, step.arguments)
            except NotApplicable as error:
                outcome.verdict, outcome.reason = Verdict.NOT_APPLICABLE, f"step {number}: {error}"
                break
            except Exception as error:  # noqa: BLE001 - the plugin boundary: what a step raises is what it answers
                outcome.disagreements.append(Disagreement(number, step.operation, step.expected, _raised(error)))
                break
            if not _same(got, step.expected):
                outcome.disagreements.append(Disagreement(number, step.operation, step.expected, got))
    finally:
        try:
            await machine.close()
        except Exception as error:  # noqa: BLE001 - the plugin boundary
            outcome.disagreements.append(Disagreement(len(case.steps), "close", {}, _raised(error)))
    if departure is not None:
        stale = not outcome.disagreements and outcome.verdict is Verdict.AGREES
        outcome.verdict = Verdict.AGREES if stale else Verdict.NOT_APPLICABLE
        outcome.reason = f"agrees, though it is on the list of departures: {departure}" if stale else f"departs: {departure}"
    elif outcome.disagreements:
        outcome.verdict = Verdict.DIFFERS
    return outcome
