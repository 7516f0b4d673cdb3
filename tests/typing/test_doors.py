"""The three public doors: what they offer is pinned, and all of it is documented."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path

import pytest

DOORS = ("avmm", "avmm.plugin", "avmm.testing", "avmm_control.client")
PINNED = Path(__file__).parent / "doors"


@pytest.mark.parametrize("door", DOORS)
def test_what_a_door_offers_is_pinned(door: str) -> None:
    """To change a door on purpose, change the pinned list in the same commit."""
    offered = sorted(importlib.import_module(door).__all__)
    assert offered == (PINNED / f"{door}.txt").read_text().split()


def _contract() -> set[str]:
    """Names of methods that the contracts document: what implements them need not say it again."""
    classes = [vars(importlib.import_module("avmm.plugin"))[name] for name in importlib.import_module("avmm.plugin").__all__]
    return {name for cls in classes if inspect.isclass(cls) for name, value in vars(cls).items() if inspect.getdoc(value)}


@pytest.mark.parametrize("door", DOORS)
def test_everything_at_a_door_is_documented(door: str) -> None:
    module = importlib.import_module(door)
    assert module.__doc__
    contract = _contract()
    bare = []
    for name in module.__all__:
        thing = getattr(module, name)
        if not (inspect.isclass(thing) or inspect.isfunction(thing)):
            continue  # constants and type aliases are documented where they are defined
        if not inspect.getdoc(thing) or (inspect.isclass(thing) and (thing.__doc__ or "").startswith(f"{name}(")):
            bare.append(name)
        if inspect.isclass(thing) and thing.__module__.startswith("avmm"):
            bare += [
                f"{name}.{method}"
                for method, function in vars(thing).items()
                if inspect.isfunction(function)
                and not method.startswith("_")
                and method not in contract
                and not inspect.getdoc(function)
            ]
    assert not bare
