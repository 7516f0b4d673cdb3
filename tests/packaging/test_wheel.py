"""A wheel built here runs where there is no compiler and no checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from what git would give a newcomer."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.split(b"\0")
    for name in filter(None, map(os.fsdecode, listed)):
        if (ROOT / name).is_file():
            copy = source / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes((ROOT / name).read_bytes())
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = out.glob("*.whl")
    return built


def test_it_holds_the_packages_their_types_and_their_licences(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names if "dist-info" not in name}
    assert tops == {
        "avmm",
        *(path.parent.name for folder in ("arch", "plugins") for path in ROOT.glob(f"{folder}/*/__init__.py")),
    }
    assert {f"{top}/py.typed" for top in tops} <= set(names)
    assert "avmm_arm64/kvm_guest.json" in names
    files = ROOT / "plugins/avmm_prometheus/files"
    assert {f"avmm_prometheus/files/{path.relative_to(files)}" for path in files.rglob("*.*")} <= set(names)
    assert {name.split("licenses/")[-1] for name in names if "licenses/" in name} == {"LICENSE", "plugins/avmm_unicorn/LICENSE"}
    assert any(name.startswith("avmm_unicorn/_native.") and name.endswith(".so") for name in names)
    assert not [name for name in names if name.endswith((".c", ".h"))]


def test_a_guest_runs_from_it_without_a_compiler(wheel: Path, tmp_path: Path) -> None:
    install = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        "--target",
        str(tmp_path),
        str(wheel),
    ]
    subprocess.run(install, check=True)
    bare = {"PATH": "/nonexistent", "PYTHONPATH": str(tmp_path), "HOME": str(tmp_path)}
    hello = ROOT / "examples" / "guests" / "images" / "hello.img"
    command = [sys.executable, "-m", "avmm.cli", "run", "--kernel", str(hello)]
    done = subprocess.run(
        command, env=bare, cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Hello from AArch64 EL1" in done.stdout
    where = subprocess.run(
        [sys.executable, "-c", "import avmm, avmm_unicorn; print(avmm.__file__, avmm_unicorn.__file__)"],
        env=bare, cwd=tmp_path, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert all(path.startswith(str(tmp_path)) for path in where.split())
