"""The library is a copy of our own, and only as much of it is copied as has to be."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from pathlib import Path

import pytest

from avmm_unicorn import library
from tests.unit.unicorn.test_selfcheck import load_elsewhere

COMPILER = shutil.which("cc")


def mappings() -> list[tuple[str, str]]:
    """What of the library is mapped in this process: permissions, and where it comes from."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    return [(line.split()[1], line.split(maxsplit=5)[5]) for line in lines if "libunicorn" in line]


def test_code_is_the_files_and_what_is_written_is_ours() -> None:
    library.load()
    before = mappings()
    file = str(library.library_path())
    assert [place for permissions, place in before if "x" in permissions] == [file]
    assert {place for permissions, place in before if "w" in permissions} == {"/memfd:libunicorn (deleted)"}


def test_whoever_loads_the_library_too_has_another_one() -> None:
    library.load()
    theirs = ctypes.CDLL(str(library.library_path()))
    assert theirs.uc_version(None, None) == library.VERSION_NUMBER
    assert len([permissions for permissions, _ in mappings() if "x" in permissions]) == 2


def compiled(tmp_path: Path, source: str, *options: str) -> Path:
    if COMPILER is None:
        pytest.skip("NOT TESTED: no C compiler (cc) is installed")
    (tmp_path / "library.c").write_text(source)
    built = tmp_path / "libunicorn.so.2"
    subprocess.run([COMPILER, "-shared", "-fPIC", "-o", built, tmp_path / "library.c", *options], check=True, timeout=60)
    return built


CONSTRUCTED = """
#include <unistd.h>
static const char *const *volatile said;
static const char *const words[] = {"initialised\\n"};
__attribute__((constructor)) static void begin(void) { said = words; (void)!write(1, *said, 12); }
"""


def test_its_initialisers_run_once_all_of_it_is_there(tmp_path: Path) -> None:
    said = load_elsewhere(compiled(tmp_path, CONSTRUCTED)).splitlines()
    assert len(said) == 2
    assert said[0] == "initialised"
    assert said[1].endswith("no such function in the library: uc_version")


RELOCATED_DATA = """
#include <sys/syscall.h>
static const char *volatile said = "initialised\\n";
static long result = 1;
__attribute__((constructor)) static void begin(void)
{
    __asm__ volatile("syscall" : "=a"(result) : "0"(SYS_write), "D"(1), "S"(said), "d"(12) : "rcx", "r11", "memory");
}
"""


def test_data_that_the_loader_changes_is_ours(tmp_path: Path) -> None:
    """Without start files nothing but data is in the segment: all of it stands in the file, as code does."""
    said = load_elsewhere(compiled(tmp_path, RELOCATED_DATA, "-nostartfiles")).splitlines()
    assert said[0] == "initialised"
    assert said[1].endswith("no such function in the library: uc_version")


SYMBOLS = """
#include <unistd.h>
char words[] = "not initialised\\n";
char *volatile said = words + 4;
ssize_t (*volatile say)(int, const void *, size_t) = write;
__attribute__((constructor)) static void begin(void) { say(1, words[3] == ' ' ? said : words, 12); }
"""


def test_pointers_to_its_own_symbols_and_to_others(tmp_path: Path) -> None:
    said = load_elsewhere(compiled(tmp_path, SYMBOLS)).splitlines()
    assert said[0] == "initialised"
    assert said[1].endswith("no such function in the library: uc_version")


RELOCATED_CODE = ("-fno-pic", "-mcmodel=large", "-Wl,-z,notext")


def test_code_that_the_loader_changes_is_ours(tmp_path: Path) -> None:
    said = load_elsewhere(compiled(tmp_path, CONSTRUCTED, *RELOCATED_CODE)).splitlines()
    assert said[0] == "initialised"
    assert said[1].endswith("no such function in the library: uc_version")


INDIRECT = """
static int two(void) { return 2; }
static int (*choose(void))(void) { return two; }
int number(void) __attribute__((ifunc("choose")));
int (*const volatile pointer)(void) = number;
"""


@pytest.mark.parametrize("hidden", ["", "-fvisibility=hidden"])
def test_one_that_the_loader_must_call_is_copied_whole(tmp_path: Path, hidden: str) -> None:
    assert load_elsewhere(compiled(tmp_path, INDIRECT, *hidden.split())).endswith("no such function in the library: uc_version")


@pytest.mark.parametrize("share", [0.001, 0.3, 0.6, 0.9])
def test_a_file_that_is_cut_short_is_refused(tmp_path: Path, share: float) -> None:
    data = library.library_path().read_bytes()
    cut = tmp_path / "libunicorn.so.2"
    cut.write_bytes(data[: int(len(data) * share)])
    assert "cannot use 2.1.4: " in load_elsewhere(cut)
