"""Plugins by entry point: found, missing, broken, and named by what they are."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from avmm.errors import PluginError
from avmm.registry import ARCH, DEVICES, ENGINES, GROUPS, PluginState, load, survey

GOOD = "def create(options):\n    return options\nnothing = None\n"


class Site:
    """A folder on the import path that distributions are put into."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def install(self, distribution: str, entry_points: str, **modules: str) -> None:
        info = self._folder / f"{distribution}-1.2.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.2\n")
        (info / "entry_points.txt").write_text(entry_points)
        for name, source in modules.items():
            (self._folder / f"{name}.py").write_text(source)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """The only place that distributions are found in."""
    before = set(sys.modules)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *(entry for entry in sys.path if "site-packages" not in entry)])
    monkeypatch.setattr("importlib.metadata.MetadataPathFinder.find_distributions", _only(tmp_path))
    yield Site(tmp_path)
    for name in set(sys.modules) - before:
        del sys.modules[name]


def _only(folder: Path) -> object:
    from importlib.metadata import DistributionFinder, MetadataPathFinder

    find = MetadataPathFinder.find_distributions
    return staticmethod(lambda context=None: find(DistributionFinder.Context(path=[str(folder)])))


def failure(site: Site, name: str = "bell") -> str:
    with pytest.raises(PluginError) as caught:
        load(DEVICES, name)
    return str(caught.value)


def test_a_factory_is_loaded_by_group_and_name(site: Site) -> None:
    site.install("bells", "[avmm.devices]\nbell = bells_good:create\n[avmm.engines]\nbell = bells_good:other\n", bells_good=GOOD)
    assert load(DEVICES, "bell").__name__ == "create"


def test_a_missing_plugin_names_what_is_there(site: Site) -> None:
    assert failure(site) == "device bell: no device is installed (pip install avmm)"
    site.install("bells", "[avmm.devices]\nring = bells_good:create\nding = bells_good:create\n", bells_good=GOOD)
    assert failure(site) == "device bell: no such device; there is ding, ring"


def test_a_plugin_that_raises_at_import_is_named(site: Site) -> None:
    site.install("bells", "[avmm.devices]\nbell = bells_bad:create\n", bells_bad="raise ValueError('cracked\\nin two')")
    assert failure(site) == "device bell: cannot be imported from bells_bad:create: ValueError: cracked"


def test_a_plugin_that_leaves_at_import_is_named(site: Site) -> None:
    site.install("bells", "[avmm.devices]\nbell = bells_exit:create\n", bells_exit="raise SystemExit")
    assert failure(site) == "device bell: cannot be imported from bells_exit:create: SystemExit"


def test_a_missing_module_or_attribute_is_named(site: Site) -> None:
    site.install("bells", "[avmm.devices]\nbell = bells_none:create\nring = bells_good:absent\n", bells_good=GOOD)
    assert failure(site) == (
        "device bell: cannot be imported from bells_none:create: ModuleNotFoundError: No module named 'bells_none'"
    )
    assert failure(site, "ring") == (
        "device ring: cannot be imported from bells_good:absent: AttributeError: module 'bells_good' has no attribute 'absent'"
    )


def test_a_factory_must_be_callable(site: Site) -> None:
    site.install("bells", "[avmm.devices]\nbell = bells_good:nothing\n", bells_good=GOOD)
    assert failure(site) == "device bell: bells_good:nothing is not callable"


def test_two_distributions_with_one_name_are_refused(site: Site) -> None:
    site.install("bells", "[avmm.devices]\nbell = bells_good:create\n", bells_good=GOOD)
    site.install("chimes", "[avmm.devices]\nbell = bells_good:create\n")
    assert failure(site) == "device bell: offered by several distributions (bells, chimes); keep one of them"


@pytest.mark.parametrize(
    ("package", "extra"), [("unicorn", "unicorn"), ("unicorn.arm64_const", "unicorn"), ("prometheus_client", "prometheus")]
)
def test_a_missing_extra_says_what_to_install(site: Site, package: str, extra: str) -> None:
    source = f"raise ModuleNotFoundError('no', name={package!r})"
    site.install("bells", "[avmm.engines]\nbell = bells_extra:create\n", bells_extra=source)
    with pytest.raises(PluginError) as caught:
        load(ENGINES, "bell")
    assert str(caught.value) == f"engine bell: needs the package {package}: pip install 'avmm[{extra}]'"
    assert caught.value.plugin == "engine bell"


def test_the_survey_names_the_broken_and_keeps_the_rest(site: Site) -> None:
    site.install("cracked", "[avmm.devices]\nbad = bells_bad:create\n", bells_bad="1 / 0")
    site.install("bells", "[avmm.devices]\nbell = bells_good:create\n[avmm.arch]\nz80 = bells_good:create\n", bells_good=GOOD)
    found = [(info.kind, info.name, info.distribution, info.version, info.state, info.reason) for info in survey()]
    assert found == [
        ("arch", "z80", "bells", "1.2", PluginState.LOADED, ""),
        (
            "device",
            "bad",
            "cracked",
            "1.2",
            PluginState.FAILED,
            "cannot be imported from bells_bad:create: ZeroDivisionError: division by zero",
        ),
        ("device", "bell", "bells", "1.2", PluginState.LOADED, ""),
    ]


def test_the_groups_are_the_documented_ones() -> None:
    assert [group.entry_points for group in GROUPS] == [
        "avmm.arch",
        "avmm.engines",
        "avmm.devices",
        "avmm.instruments",
        "avmm.commands",
    ]
    assert ARCH.kind == "arch"
