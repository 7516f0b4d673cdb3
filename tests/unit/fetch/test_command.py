"""`avmm fetch` on the command line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from avmm.cli import fetch as command
from avmm.cli.main import main
from avmm.user_cache import user_cache
from tests.unit.fetch.mirror import Mirror


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "avmm.cli", "fetch", "debian-arm64", *arguments]
    return subprocess.run(line, capture_output=True, text=True, check=False, timeout=60)


def test_without_a_network_it_says_so_in_one_line(tmp_path: Path) -> None:
    done = run("--cache", str(tmp_path / "cache"), "--mirror", "http://no-such-host.invalid/debian")
    assert done.returncode == 1
    *_, line = done.stderr.splitlines()
    assert line.startswith("avmm: http://no-such-host.invalid/debian/dists/bookworm/InRelease: cannot be reached (")
    assert line.endswith("): is there a network?")
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_a_cache_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = run("--cache", str(tmp_path / "file"))
    assert (done.returncode, done.stderr) == (1, f"avmm: {tmp_path}/file/debian-arm64/bookworm: Not a directory\n")


@pytest.mark.parametrize(("what", "line"), [("kernel", "vmlinuz-{}"), ("initrd", "initrd-{}.gz"), ("release", "{}")])
def test_scripts_get_what_they_ask_for_alone(
    mirror: Mirror, tmp_path: Path, keyring: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    what: str, line: str,
) -> None:  # fmt: skip
    monkeypatch.setattr("avmm.fetch.guest.fetch.__kwdefaults__", {"refresh": False, "keyring": keyring})
    arguments = ["fetch", "debian-arm64", "--cache", str(tmp_path / "cache"), "--mirror", mirror.url, "--print", what]
    assert main(arguments) == 0
    out, err = capsys.readouterr()
    folder = "" if what == "release" else f"{tmp_path}/cache/debian-arm64/bookworm/"
    assert out == folder + line.format("6.1.0-1-cloud-arm64") + "\n"
    assert "avmm: fetching busybox-static_1.35_arm64.deb (0.0 MB)\n" in err


def test_without_its_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(command, "find_spec", lambda name: None)
    assert main(["fetch", "debian-arm64"]) == 1
    assert capsys.readouterr().err == "avmm: debian, elftools, tqdm not installed: pip install 'avmm[fetch]'\n"


@pytest.mark.parametrize(
    ("xdg", "cache"), [("/var/x", "/var/x/avmm"), ("", "/home/me/.cache/avmm"), ("relative", "/home/me/.cache/avmm")]
)
def test_the_cache_is_where_caches_are(monkeypatch: pytest.MonkeyPatch, xdg: str, cache: str) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", xdg)
    monkeypatch.setenv("HOME", "/home/me")
    assert str(user_cache()) == cache
