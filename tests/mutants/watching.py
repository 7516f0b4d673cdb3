"""Mutants of what is shown of a VM: metrics, and the timeline of its vCPUs."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

SHOWN, METRICS = "plugins/avmm_prometheus/", "tests/unit/prometheus/"
TRACE, TRACED = "plugins/avmm_trace/", "tests/unit/trace/"

MUTANTS = [
    # Metrics.
    Mutant(
        "a bound is one too high",
        SHOWN + "histogram.py",
        "running[self.finest : BUCKETS - 1",
        "running[self.finest + 1 : BUCKETS",
        (METRICS + "test_histogram.py",),
    ),
    Mutant(
        "a sum is in nanoseconds",
        SHOWN + "histogram.py",
        "histogram.sum_ns / _NS_PER_S",
        "histogram.sum_ns",
        (METRICS + "test_histogram.py",),
    ),
    Mutant(
        "the lines of one VM are another's",
        SHOWN + "collector.py",
        "self._templates[vm.name], vm.vcpus",
        'self._templates.setdefault("", {}), vm.vcpus',
        (METRICS + "test_collector.py",),
    ),
    Mutant(
        "vCPUs behind the first few are left out",
        SHOWN + "collector.py",
        "range(0, len(vcpus), CHUNK)",
        "range(0, min(CHUNK, len(vcpus)), CHUNK)",
        (METRICS + "test_collector.py",),
    ),
    Mutant(
        "an engine's figures are not shown",
        SHOWN + "figures.py",
        "vcpu.engine.figures, labels",
        "tuple, labels",
        (METRICS + "test_collector.py",),
    ),
    Mutant(
        "an engine's figure may have an architecture's name",
        SHOWN + "figures.py",
        "shape = owner.kind, figure.kind,",
        'shape = "", figure.kind,',
        (METRICS + "test_collector.py",),
    ),
    # The timeline.
    Mutant(
        "lost events are not counted",
        TRACE + "recorder.py",
        "next(self._numbers) - len(events)",
        "0",
        (TRACED + "test_recorder.py",),
    ),
    Mutant(
        "a watcher goes on after the end", TRACE + "recorder.py", "self._undo.close()", "pass", (TRACED + "test_recorder.py",)
    ),
]
