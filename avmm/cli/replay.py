"""Replay transcripts: carry out recorded operations on a machine of ours, and compare the answers.

One line a disagreement, one a case that does not apply or departs on purpose, and a closing line that counts them all. A case
that departs is one on the list given with --departures, a TOML file of "case" = "reason". Of several files, each line says which.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from importlib import import_module
from pathlib import Path

from avmm import registry
from avmm.cli.exit_codes import ExitCode
from avmm.config import MachineConfig
from avmm.errors import PluginError
from avmm.transcript import Case, MachineFactory, Outcome, Verdict, load, load_departures, replay

_FACTORY = "create_transcript_machine"
"""What the module of an architecture's factory offers when it can carry out transcripts."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `avmm replay`."""
    parser.add_argument("file", nargs="+", type=Path, metavar="FILE.json", help="the transcripts: a JSON list of cases")
    parser.add_argument("--departures", type=Path, metavar="FILE.toml", help='cases that may differ: "case" = "reason"')
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")
    for setting in ("arch", "engine"):
        default = getattr(MachineConfig(), setting)
        parser.add_argument(f"--{setting}", metavar="NAME", default=default, help=f"the {setting} plugin (default: {default})")


def command(arguments: argparse.Namespace) -> int:
    """Carry out `avmm replay`: an error when any case differs."""
    files = [(path, load(path)) for path in arguments.file]
    cases = [case for _, loaded in files for case in loaded]
    departures = load_departures(arguments.departures) if arguments.departures is not None else {}
    create, engine = _machine_factory(arguments.arch), registry.load(registry.ENGINES, arguments.engine)

    async def one(case: Case) -> Outcome:
        return await replay(case, create, engine, departures.get(case.id))

    outcomes = []
    with asyncio.Runner() as runner:
        for path, loaded in files:
            for case in loaded:
                outcome = runner.run(one(case))
                if len(files) > 1:
                    outcome.case = f"{path}: {outcome.case}"
                outcomes.append(outcome)
                if not arguments.json:
                    for line in lines(outcome):
                        print(line, flush=True)
    unused = sorted(departures.keys() - {case.id for case in cases})
    if arguments.json:
        print(json.dumps({**report(outcomes), "unused_departures": unused}, indent=2), flush=True)
    else:
        for name in unused:
            print(f"{name}: on the list of departures, but no case here")
        print(summary(outcomes), flush=True)
    return ExitCode.ERROR if any(outcome.verdict is Verdict.DIFFERS for outcome in outcomes) else ExitCode.OK


def _machine_factory(arch: str) -> MachineFactory:
    """What makes machines for transcripts; PluginError when the architecture offers none."""
    module = import_module(registry.load(registry.ARCH, arch).__module__)
    factory: MachineFactory | None = getattr(module, _FACTORY, None)
    if factory is None:
        raise PluginError(f"arch {arch}", f"cannot replay transcripts: {module.__name__} has no {_FACTORY}")
    return factory


def lines(outcome: Outcome) -> list[str]:
    """What there is to say of a case: nothing when it agrees."""
    said = []
    if outcome.verdict is Verdict.DIFFERS:
        said = [
            f"{outcome.case}: step {one.step} {one.operation}: expected {json.dumps(one.expected)}, got {json.dumps(one.got)}"
            for one in outcome.disagreements
        ]
    if outcome.verdict is Verdict.NOT_APPLICABLE:
        said.append(f"{outcome.case}: {outcome.verdict.value}: {outcome.reason}")
    elif outcome.reason:
        said.append(f"{outcome.case}: {outcome.reason}")
    return said


def summary(outcomes: list[Outcome]) -> str:
    """The closing line."""
    agree, differ, other = (_count(outcomes, verdict) for verdict in Verdict)
    return f"{len(outcomes)} cases: {agree} agree, {differ} differ, {other} not applicable"


def report(outcomes: list[Outcome]) -> dict[str, object]:
    """All of it, for programs: the counts, and every case that does not simply agree."""
    return {
        "cases": len(outcomes),
        **{verdict.name.lower(): _count(outcomes, verdict) for verdict in Verdict},
        "outcomes": [
            {
                "case": outcome.case,
                "verdict": outcome.verdict.value,
                "reason": outcome.reason,
                "disagreements": [
                    {"step": one.step, "operation": one.operation, "expected": one.expected, "got": one.got}
                    for one in outcome.disagreements
                ],
            }
            for outcome in outcomes
            if outcome.verdict is not Verdict.AGREES or outcome.reason
        ],
    }


def _count(outcomes: list[Outcome], verdict: Verdict) -> int:
    return sum(outcome.verdict is verdict for outcome in outcomes)
