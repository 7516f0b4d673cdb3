"""Entry points as they are written down: the same as `importlib.metadata` finds in these places."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from avmm.entry_points import Written, written

Install = Callable[[str, str | None], None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Puts distributions into folders on the path, `one/` before `two/`, with nothing else there."""
    monkeypatch.setattr(sys, "path", [str(tmp_path / "nothing"), str(tmp_path / "one"), str(tmp_path / "two")])

    def put(folder: str, text: str | None) -> None:
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "METADATA").write_text("Metadata-Version: 2.1\nName: whatever\nVersion: 1\n")
        if text is not None:
            (tmp_path / folder / "entry_points.txt").write_text(text)

    return put


def found(group: str) -> list[tuple[str, str]]:
    """What is found, and by the library too."""
    here = sorted((entry.name, entry.value) for entry in written().get(group, ()))
    assert here == sorted((entry.name, entry.value) for entry in entry_points(group=group))
    return here


def test_all_of_this_installation_are_those_that_the_library_finds() -> None:
    known = {group: {(entry.name, entry.value) for entry in entries} for group, entries in written().items()}
    assert known["avmm.engines"] >= {("unicorn", "avmm_unicorn:create_engine")}
    for group, entries in known.items():
        assert entries <= {(entry.name, entry.value) for entry in entry_points(group=group)}


def test_groups_names_and_what_is_no_entry(install: Install) -> None:
    install(
        "one/bells-1.0.dist-info",
        "[ringing]\n# small = bells:Bell\nbell = bells:Bell\n gong=bells.large : Gong.make\n\n[other]\nx = y:z\n",
    )
    assert found("ringing") == [("bell", "bells:Bell"), ("gong", "bells.large : Gong.make")]
    assert found("other") == [("x", "y:z")]
    assert found("nothing") == []


def test_the_first_of_a_distribution_counts_whatever_its_folder_is_called(install: Install) -> None:
    install("one/Big_Bells-2.0.dist-info", "[ringing]\nbell = new:Bell\n")
    install("two/big.bells.egg-info", "[ringing]\nbell = old:Bell\n")
    install("two/bells-1.0.egg-info", "[ringing]\nsmall = bells:Bell\n")
    assert found("ringing") == [("bell", "new:Bell"), ("small", "bells:Bell")]


def test_one_without_entry_points_hides_another_too(install: Install) -> None:
    install("one/bells-2.0.dist-info", None)
    install("two/bells-1.0.dist-info", "[ringing]\nbell = old:Bell\n")
    assert found("ringing") == []


def test_what_is_not_plain_is_left_to_the_library(install: Install) -> None:
    install("one/bells-1.0.dist-info", "[ringing]\nwhole = bells\nextra = bells:Bell [loud]\n")
    assert not written().get("ringing")
    assert len(entry_points(group="ringing")) == 2


def test_an_object_is_loaded_by_its_path() -> None:
    assert Written("join", "os : path.join").load() is __import__("os").path.join
    with pytest.raises(AttributeError):
        Written("none", "os:path.nothing").load()
    with pytest.raises(ModuleNotFoundError):
        Written("none", "no_such_module_here:x").load()
