"""`avmm replay`: what it prints and what it exits with."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from avmm.cli.main import main
from avmm.log import LOGGER
from avmm_arm64.kvm_transcript import KvmTranscript

CREATED = [{"op": "create_vm", "expect": {"ret": 0}}, {"op": "create_vcpu", "vcpu": 0, "expect": {"ret": 0}}]
GET = {"op": "get_attr", "vcpu": 0, "group": "TIMER_CTRL", "attr": "TIMER_IRQ_VTIMER"}
AGREES = {"id": "agrees", "steps": [*CREATED, {**GET, "expect": {"ret": 0, "value": 27}, "probe": True}]}
DIFFERS = {"id": "differs", "steps": [*CREATED, {**GET, "expect": {"ret": 0, "value": 28}}]}
UNKNOWN = {"id": "unknown", "steps": [*CREATED, {"op": "teleport", "expect": {"ret": 0}}]}


class Replay:
    """The command on a file of cases, and what it said."""

    def __init__(self, path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self._path, self._capsys = path, capsys
        self.status = -1
        self.out: list[str] = []
        self.err = ""

    def __call__(self, cases: object, *options: str, departures: str | None = None) -> Replay:
        file = self._path / "cases.json"
        file.write_text(cases if isinstance(cases, str) else json.dumps(cases))
        if departures is not None:
            (self._path / "departures.toml").write_text(departures)
            options = (*options, "--departures", str(self._path / "departures.toml"))
        self.status = main(["replay", str(file), *options])
        said = self._capsys.readouterr()
        self.out, self.err = said.out.splitlines(), said.err
        return self


@pytest.fixture
def replay(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Replay]:
    before = logging.getLogger(LOGGER).level
    yield Replay(tmp_path, capsys)
    logger = logging.getLogger(LOGGER)
    logger.handlers, logger.propagate = [], True
    logger.setLevel(before)


def test_agreement_is_one_line(replay: Replay) -> None:
    replay([AGREES])
    assert replay.out == ["1 cases: 1 agree, 0 differ, 0 not applicable"]
    assert replay.status == 0


def test_every_disagreement_is_a_line(replay: Replay) -> None:
    replay([AGREES, DIFFERS])
    assert replay.out == [
        'differs: step 3 get_attr: expected {"ret": 0, "value": 28}, got {"ret": 0, "value": 27}',
        "2 cases: 1 agree, 1 differ, 0 not applicable",
    ]
    assert replay.status == 1


def test_an_answer_that_says_more_than_was_recorded_differs(replay: Replay) -> None:
    replay([{"id": "less", "steps": [*CREATED, {**GET, "expect": {"ret": 0}}]}])
    assert replay.out[0] == 'less: step 3 get_attr: expected {"ret": 0}, got {"ret": 0, "value": 27}'
    assert replay.status == 1


def test_nothing_is_skipped_in_silence(replay: Replay) -> None:
    replay([UNKNOWN, {"id": "argument", "steps": [{"op": "create_vm", "size": 3, "expect": {"ret": 0}}]}])
    assert replay.out == [
        "unknown: not applicable: step 3: there is no operation 'teleport'",
        "argument: not applicable: step 1: create_vm has no argument 'size'",
        "2 cases: 0 agree, 0 differ, 2 not applicable",
    ]
    assert replay.status == 0


def test_a_case_that_differs_before_it_is_not_applicable_differs(replay: Replay) -> None:
    replay([{"id": "both", "steps": [*DIFFERS["steps"], *UNKNOWN["steps"][2:]]}])
    assert replay.out[-1] == "1 cases: 0 agree, 1 differ, 0 not applicable"
    assert replay.status == 1


def test_departures_have_reasons(replay: Replay) -> None:
    replay([AGREES, DIFFERS], departures='"differs" = "on purpose"\n"agrees" = "not any more"')
    assert replay.out == [
        "agrees: agrees, though it is on the list of departures: not any more",
        "differs: not applicable: departs: on purpose",
        "2 cases: 1 agree, 0 differ, 1 not applicable",
    ]
    assert replay.status == 0


def test_a_list_of_departures_may_serve_several_files(replay: Replay) -> None:
    replay([AGREES], departures='"elsewhere" = "on purpose"')
    assert replay.out == [
        "elsewhere: on the list of departures, but no case here",
        "1 cases: 1 agree, 0 differ, 0 not applicable",
    ]
    assert replay.status == 0
    replay([AGREES], "--json", departures='"elsewhere" = "on purpose"')
    assert json.loads("\n".join(replay.out))["unused_departures"] == ["elsewhere"]


def test_of_several_files_every_line_says_which(replay: Replay, tmp_path: Path) -> None:
    other = tmp_path / "other.json"
    other.write_text(json.dumps([AGREES, DIFFERS, UNKNOWN]))
    replay([DIFFERS], str(other))
    assert replay.out == [
        f'{tmp_path / "cases.json"}: differs: step 3 get_attr: expected {{"ret": 0, "value": 28}}, got {{"ret": 0, "value": 27}}',
        f'{other}: differs: step 3 get_attr: expected {{"ret": 0, "value": 28}}, got {{"ret": 0, "value": 27}}',
        f"{other}: unknown: not applicable: step 3: there is no operation 'teleport'",
        "4 cases: 1 agree, 2 differ, 1 not applicable",
    ]
    replay([AGREES], str(tmp_path / "cases.json"))
    assert replay.out == ["2 cases: 2 agree, 0 differ, 0 not applicable"], "the same one twice is twice"


@pytest.mark.parametrize("value", [True, 27.0, "27"])
def test_a_value_of_another_type_is_another_value(replay: Replay, value: object) -> None:
    said = {"ret": False if value is True else 0, "value": 27 if value is True else value}
    replay([{"id": "typed", "steps": [*CREATED, {**GET, "expect": said}]}])
    assert replay.out[-1] == "1 cases: 0 agree, 1 differ, 0 not applicable"


def test_a_machine_that_fails_is_a_disagreement(replay: Replay, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(self: object, *arguments: object) -> dict[str, object]:
        raise RuntimeError("out of order")

    monkeypatch.setattr(KvmTranscript, "perform", fail)
    monkeypatch.setattr(KvmTranscript, "close", fail)
    replay([AGREES])
    assert replay.out == [
        'agrees: step 1 create_vm: expected {"ret": 0}, got {"error": "RuntimeError: out of order"}',
        'agrees: step 3 close: expected {}, got {"error": "RuntimeError: out of order"}',
        "1 cases: 0 agree, 1 differ, 0 not applicable",
    ]
    assert replay.status == 1


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        ({"op": "create_vcpu"}, "create_vcpu needs an argument 'vcpu'"),
        ({"op": "create_vcpu", "vcpu": 0.5}, "create_vcpu: vcpu cannot be 0.5"),
        ({"op": "sleep", "ms": -1}, "sleep: ms cannot be -1"),
        ({"op": "sleep", "ms": 60_001}, "sleep: ms cannot be 60001"),
        ({"op": "run", "vcpu": 0, "timeout_ms": 10**30}, "run: timeout_ms cannot be 1000000000000000000000000000000"),
        (
            {"op": "vcpu_init", "vcpu": 0, "features": [["x"]]},
            "vcpu_init: a feature is pmu_v3, power_off, psci_0_2, none else here: [['x']]",
        ),
        (
            {"op": "get_attr", "vcpu": 0, "group": "A" * 5000, "attr": 0},
            "there is no attribute group 'AAAAAAAAAAAA...AAAAAAAAAAAAA', only",
        ),
    ],
)
def test_what_cannot_be_carried_out_is_one_line(replay: Replay, step: dict[str, object], reason: str) -> None:
    replay([{"id": "odd", "steps": [*CREATED, {**step, "expect": {"ret": 0}}]}])
    assert len(replay.out) == 2
    assert replay.out[0].startswith(f"odd: not applicable: step 3: {reason}")
    assert replay.err == ""


def test_json(replay: Replay) -> None:
    replay([AGREES, DIFFERS, UNKNOWN], "--json")
    report = json.loads("\n".join(replay.out))
    assert {key: report[key] for key in ("cases", "agrees", "differs", "not_applicable")} == {
        "cases": 3,
        "agrees": 1,
        "differs": 1,
        "not_applicable": 1,
    }
    differing, unknown = report["outcomes"]
    assert differing["disagreements"] == [
        {"step": 3, "operation": "get_attr", "expected": {"ret": 0, "value": 28}, "got": {"ret": 0, "value": 27}}
    ]
    assert (unknown["verdict"], unknown["reason"]) == ("not applicable", "step 3: there is no operation 'teleport'")
    assert replay.status == 1


@pytest.mark.parametrize(
    ("cases", "complaint"),
    [
        ("nonsense", "cases.json: is not JSON"),
        ({"id": "one"}, "cases.json: is not a list of cases"),
        ([3], "cases.json: case 1: is not an object"),
        ([{"steps": []}], "cases.json: case 1: is not an object"),
        ([AGREES, {"id": "x", "steps": [{"op": "create_vm"}]}], "cases.json: case 2: step 1: is not an object"),
        ([AGREES, AGREES], "two cases have the id agrees"),
        ("", "cases.json: is not JSON"),
        ("[" * 200_000, "cases.json: is nested too deeply"),
        ('[{"id": "x", "id": "y", "steps": []}]', "cases.json: is not JSON: an object has 'id' twice"),
        ('[{"id": "x", "steps": [{"op": "create_vm", "expect": {"ret": NaN}}]}]', "cases.json: is not JSON: NaN is no number"),
        ([], "cases.json: has no cases"),
        ([{"id": "x", "steps": []}], "cases.json: case 1: has no steps"),
        ([{"id": " ", "steps": [1]}], "cases.json: case 1: its id ' ' cannot be printed"),
        ([{"id": "a\x1b[0m\n", "steps": [1]}], "cases.json: case 1: its id 'a\\x1b[0m\\n' cannot be printed"),
    ],
)
def test_a_file_that_is_not_in_the_format_is_one_line(replay: Replay, cases: object, complaint: str) -> None:
    replay(cases)
    assert replay.status == 1
    assert replay.out == []
    assert complaint in replay.err
    assert replay.err.count("\n") == 1


@pytest.mark.parametrize(
    ("departures", "complaint"),
    [
        ("nonsense", "departures.toml: is not TOML"),
        ('"agrees" = 3', "departures.toml: agrees: a departure needs a reason"),
        ('"agrees" = " "', "departures.toml: agrees: a departure needs a reason"),
    ],
)
def test_so_is_a_list_of_departures(replay: Replay, departures: str, complaint: str) -> None:
    replay([AGREES], departures=departures)
    assert replay.status == 1
    assert complaint in replay.err
    assert replay.err.count("\n") == 1


def test_a_file_that_is_not_there(replay: Replay, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", str(tmp_path / "none.json")]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_an_architecture_that_replays_nothing(replay: Replay) -> None:
    replay([AGREES], "--arch", "none")
    assert replay.status == 1
    assert replay.err.startswith("avmm: arch none")
