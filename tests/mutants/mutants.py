"""All mutants, from a file for each area."""

from __future__ import annotations

from importlib import import_module

from tests.mutants.mutant import Mutant

AREAS = (
    "configuration",
    "console",
    "control",
    "disks",
    "firmware",
    "gic",
    "kvm",
    "loading",
    "page",
    "primecells",
    "requests",
    "served",
    "sleep_and_power",
    "slots",
    "steering",
    "timers_and_pmu",
    "unicorn",
    "virtio",
    "watching",
)
MUTANTS: list[Mutant] = [mutant for area in AREAS for mutant in import_module(f"tests.mutants.{area}").MUTANTS]
