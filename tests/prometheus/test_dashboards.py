"""The dashboards: up to date, whole, and about metrics that exist."""

from __future__ import annotations

import json
import re
from itertools import combinations
from pathlib import Path

import pytest

import avmm
from avmm.figure import FigureKind
from avmm_prometheus.exposition import sample_name
from avmm_prometheus.grafana.__main__ import dashboards
from avmm_prometheus.vcpu_metrics import VCPU_METRICS
from avmm_prometheus.vm_metrics import VM_METRICS
from tests.prometheus.shipped import DASHBOARDS, RULES, expressions, panels

METRIC = re.compile(r"(?<![:\w])(avmm_\w+)(?![:\w])")
PARTS = ("_bucket", "_sum", "_count")
by_name = pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)


def test_they_are_what_the_code_makes() -> None:
    assert {path.name: path.read_text() for path in DASHBOARDS} == dict(dashboards()), (
        "write them anew: python -m avmm_prometheus.grafana"
    )


async def exported() -> set[str]:
    """The names of all samples that a machine may show."""
    found = {"avmm_build_info", "avmm_scrape_failures_total"}
    figures = [(metric.name, metric.kind) for metric in (*VM_METRICS, *VCPU_METRICS)]
    devices = {"console": {"kind": "virtio-console", "testdev": True}}
    async with avmm.Vm(avmm.MachineConfig(memory="64M", devices=devices)) as vm:
        vcpu = vm.vcpus[0]
        figures += [(f"avmm_vcpu_{figure.name}", figure.kind) for figure, _ in (*vcpu.arch.figures(), *vcpu.engine.figures())]
        for region in vm.bus:
            figures += [(f"avmm_device_{figure.name}", figure.kind) for figure, _ in region.device.figures()]
    for name, kind in figures:
        if kind is FigureKind.HISTOGRAM:
            found |= {name + part for part in PARTS}
        else:
            found.add(sample_name(name, kind))
    return found


@pytest.mark.parametrize("path", [*DASHBOARDS, *RULES], ids=lambda path: path.stem)
async def test_every_metric_in_a_query_is_one_of_ours(path: Path) -> None:
    if path in RULES:
        queries = [re.sub(r"^ +- alert: .*$|^ +(?:summary|description): .*$|^ +- name: .*$", "", path.read_text(), flags=re.M)]
    else:
        queries = [expression for _, expression in expressions(path)]
    used = {name for query in queries for name in METRIC.findall(query)}
    assert len(used) > 5
    assert used - await exported() == set()


@by_name
def test_panels_are_told_apart_and_do_not_overlap(path: Path) -> None:
    ids = [panel["id"] for panel in panels(path)]
    assert len(set(ids)) == len(ids)
    assert 0 not in ids
    for one, other in combinations([panel["gridPos"] for panel in panels(path)], 2):
        assert (
            one["x"] + one["w"] <= other["x"]
            or other["x"] + other["w"] <= one["x"]
            or one["y"] + one["h"] <= other["y"]
            or other["y"] + other["h"] <= one["y"]
        )
        assert one["x"] + one["w"] <= 24


@by_name
def test_every_variable_in_a_query_can_be_chosen(path: Path) -> None:
    board = json.loads(path.read_text())
    chosen = {variable["name"] for variable in board["templating"]["list"]}
    used = {name for _, expression in expressions(path) for name in re.findall(r"\$(\w+)", expression)}
    assert used - {"__rate_interval"} <= chosen
    assert "source" in chosen
    assert all(target["datasource"]["uid"] == "${source}" for panel in panels(path) for target in panel.get("targets", []))


def test_the_three_have_names_of_their_own() -> None:
    boards = [json.loads(path.read_text()) for path in DASHBOARDS]
    assert {board["uid"] for board in boards} == {"avmm-fleet", "avmm-vm", "avmm-vcpu"}
    assert len({board["title"] for board in boards}) == 3
