"""The self-check: a library that is another one is refused, in one line that names the version."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from avmm.plugin import EngineError, EngineOptions
from avmm_unicorn import create_engine, library, self_check, selfcheck
from tests.unit.unicorn.guest import HostTime


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    selfcheck.check.cache_clear()
    selfcheck.check_parallel.cache_clear()
    yield
    selfcheck.check.cache_clear()
    selfcheck.check_parallel.cache_clear()


def refusal() -> str:
    with pytest.raises(EngineError) as refused:
        create_engine(EngineOptions("arm64", "max", HostTime()))  # type: ignore[arg-type]
    message = str(refused.value)
    assert "\n" not in message
    assert message.startswith("unicorn engine: ")
    return message


def test_the_installed_library_holds() -> None:
    selfcheck.check()


def test_vcpus_may_run_in_parallel() -> None:
    options = EngineOptions("arm64", "max", HostTime(), parallel=True)  # type: ignore[arg-type]
    selfcheck.check_parallel()
    assert self_check() == "works, vCPUs in parallel"
    engine = create_engine(options)
    assert engine.max_in_guest > 1
    engine.close()


def test_atomics_that_are_none_leave_it_at_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    nops = bytes.fromhex("1f2003d5") * 3
    monkeypatch.setattr(selfcheck, "ATOMICS_PROGRAM", nops)
    with pytest.raises(EngineError, match=r"cannot use 2\.1\.4: after atomics on a device alone is 0x0, not 0x2"):
        selfcheck.check_parallel()
    assert self_check() == "works, vCPUs in turns only"
    engine = create_engine(EngineOptions("arm64", "max", HostTime(), parallel=True))  # type: ignore[arg-type]
    assert engine.max_in_guest == 1
    engine.close()


def test_another_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "VERSION", "2.2.0")
    monkeypatch.setattr(library, "VERSION_NUMBER", 0x020200FF)
    assert refusal() == "unicorn engine: needs unicorn 2.2.0, cannot use 2.1.4: the library says it is version 2.1.4"


def test_no_unicorn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    monkeypatch.setattr(importlib.metadata, "version", missing)
    assert refusal() == "unicorn engine: unicorn is not installed: pip install unicorn==2.1.4"


def missing(name: str) -> str:
    raise importlib.metadata.PackageNotFoundError(name)


def test_a_wheel_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "LIBRARY", "lib/libunicorn.so.3")
    assert refusal() == "unicorn engine: no lib/libunicorn.so.3 in the unicorn 2.1.4 installed here"


@pytest.mark.parametrize(("system", "machine"), [("darwin", "x86_64"), ("linux", "aarch64"), ("win32", "AMD64")])
def test_another_host(monkeypatch: pytest.MonkeyPatch, system: str, machine: str) -> None:
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(os, "uname", lambda: SimpleNamespace(machine=machine))
    assert refusal() == f"unicorn engine: needs CPython on x86-64 Linux, this is cpython on {system} {machine}"


@pytest.mark.parametrize("libc", [None, "", "musl 1.2"])
def test_another_libc(monkeypatch: pytest.MonkeyPatch, libc: str | None) -> None:
    monkeypatch.setattr(os, "confstr", lambda _: libc)
    assert refusal() == "unicorn engine: needs a Linux with glibc"


def test_an_outcome_that_is_not_the_expected_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selfcheck, "SVC_PROGRAM", bytes.fromhex("210000d4"))  # svc #1
    expected = "needs unicorn 2.1.4, cannot use 2.1.4: after SVC esr_el1 is 0x56000001, not 0x560005a5"
    assert refusal() == f"unicorn engine: {expected}"


def test_an_instruction_that_should_not_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selfcheck, "SVE_PROGRAM", bytes.fromhex("2000679e"))  # fmov d0, x1: trapped, and not undefined
    assert "after an SVE instruction esr_el1 is 0x1fe00000, not 0x2000000" in refusal()


LOAD = """
import sys
from avmm.plugin import EngineError
from avmm_unicorn import library
from pathlib import Path
from types import SimpleNamespace
library.library_path = lambda: Path(sys.argv[1])
try:
    library.load()
except EngineError as error:
    print(error)
"""


def load_elsewhere(path: Path) -> str:
    """What loading the file at `path` says, in a process that has loaded no library yet."""
    search = repr(sys.path)
    run = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {search}{LOAD}", str(path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return run.stdout.strip()


def test_a_file_that_is_no_library(tmp_path: Path) -> None:
    wrong = tmp_path / "libunicorn.so.2"
    wrong.write_bytes(b"this is no shared library")
    assert "cannot use 2.1.4" in load_elsewhere(wrong)
    assert "No such file" in load_elsewhere(tmp_path / "nothing")


def test_a_library_that_is_another_one() -> None:
    other = next(Path(path) for path in ("/lib/x86_64-linux-gnu/libm.so.6", "/lib64/libm.so.6") if Path(path).exists())
    assert "cannot use 2.1.4: no such function in the library: uc_version" in load_elsewhere(other)


def test_a_library_whose_structures_are_laid_out_differently(tmp_path: Path) -> None:
    # The same library, but for where it writes the program counter to the CPU state: 320 becomes 328.
    data = library.library_path().read_bytes()
    write_pc = bytes.fromhex("48898540010000")  # mov [rbp+0x140], rax
    assert write_pc in data
    moved = tmp_path / "libunicorn.so.2"
    moved.write_bytes(data.replace(write_pc, bytes.fromhex("48898548010000")))
    assert load_elsewhere(moved) == "unicorn engine: needs unicorn 2.1.4, cannot use 2.1.4: the registers are elsewhere"
