"""Translations that are kept from one run for another."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avmm.plugin import ExternalAbort, SystemRegister
from avmm_unicorn import _native, translation_cache
from avmm_unicorn.translation_cache import SUFFIX
from tests.unit.unicorn import programs
from tests.unit.unicorn.guest import CODE, DEVICE, FUNCTION, Guest
from tests.unit.unicorn.test_code import native
from tests.unit.unicorn.test_reuse import CALL_AND_LOOP, ROUNDS, VECTOR_CONSTANTS, register, run

CALLED = CODE + 0x2000


@pytest.fixture(autouse=True)
def small_runs_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(translation_cache, "LEAST_BLOCKS", 1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "a" / "b"


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the log was told, and why."""
    lines: list[str] = []

    class Log:
        def warning(self, event: str, *, error: str) -> None:
            lines.append(f"{event}: {error}")

    monkeypatch.setattr(translation_cache, "get_logger", lambda **fields: Log())
    return lines


def call_and_loop(guest: Guest, vcpu: int = 0) -> tuple[int, int]:
    """Carry out a program with calls and a loop; the blocks it took to translate, and those taken from the cache."""
    guest.load(CALLED, programs.SET_ONE)
    guest.load(CODE, CALL_AND_LOOP)
    one = native(guest.vcpus[vcpu])
    before = one.translated, one.taken_from_cache
    run(guest, vcpu=vcpu, x1=ROUNDS)
    assert guest.registers("x0", "x1", vcpu=vcpu) == (1, 0)
    return one.translated - before[0], one.taken_from_cache - before[1]


def first_run(folder: Path, **options: bool) -> int:
    """How many blocks were translated, and so kept."""
    with Guest(translation_cache=folder, **options) as guest:  # type: ignore[arg-type]
        translated, taken = call_and_loop(guest)
    assert translated > 0
    assert taken == 0
    return translated


def the_file(folder: Path) -> Path:
    (path,) = folder.glob("*" + SUFFIX)
    return path


@pytest.mark.parametrize("parallel", [False, True])
def test_the_next_run_translates_nothing(folder: Path, *, parallel: bool) -> None:
    blocks = first_run(folder, parallel=parallel)
    with Guest(vcpus=2, parallel=parallel, translation_cache=folder) as guest:
        assert [call_and_loop(guest, vcpu) for vcpu in range(2)] == [(0, blocks)] * 2
        assert call_and_loop(guest) == (0, 0)


def in_another_process(function: str, folder: Path) -> str:
    """What `function` of this file comes to, where library, buffer and definitions are all somewhere else."""
    script = "import sys; from pathlib import Path; from tests.unit.unicorn import test_translation_cache as test; "
    script += f"test.translation_cache.LEAST_BLOCKS = 1; print(test.{function}(Path(sys.argv[1])))"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", script, str(folder)]
    return subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout


def second_run(folder: Path) -> tuple[int, int]:
    """The blocks it took to translate, and those taken from the cache."""
    with Guest(translation_cache=folder) as guest:
        return call_and_loop(guest)


def test_nor_does_a_run_in_another_process(folder: Path) -> None:
    blocks = first_run(folder)
    assert in_another_process("second_run", folder) == f"{(0, blocks)}\n"


def test_what_is_kept_does_not_depend_on_where_anything_was(folder: Path, tmp_path: Path) -> None:
    first_run(folder)
    for name in ("one", "other"):
        in_another_process("first_run", tmp_path / name)
        assert the_file(tmp_path / name).read_bytes() == the_file(folder).read_bytes()


def far_run(folder: Path) -> int:
    """As `first_run`, on a vCPU whose buffer is so far from the library that no branch reaches it."""
    with Guest(vcpus=2, translation_cache=folder, options={"translation_buffer_mb": 2047}) as guest:
        return call_and_loop(guest, 1)[0]


def test_what_was_too_far_from_the_library_is_not_kept_with_its_addresses(folder: Path) -> None:
    blocks = far_run(folder)
    translated, taken = map(int, in_another_process("second_run", folder).strip("()\n").split(","))
    assert (translated + taken, translated > 0) == (blocks, True)


def test_code_that_is_not_what_it_was_is_translated(folder: Path) -> None:
    first_run(folder)
    with Guest(translation_cache=folder) as guest:
        guest.load(FUNCTION, programs.SET_TWO)
        guest.load(CODE, programs.CALL)
        run(guest, x1=FUNCTION, vcpu=0)
        assert guest.registers("x0") == (2,)
        guest.load(CODE, CALL_AND_LOOP)
        guest.load(CALLED, programs.SET_TWO)
        run(guest, vcpu=0, x1=ROUNDS)
        assert guest.registers("x0") == (2,)


def test_code_that_changes_in_the_run_is_translated(folder: Path) -> None:
    first_run(folder)
    with Guest(translation_cache=folder) as guest:
        assert call_and_loop(guest)[0] == 0
        guest.vcpu.reset()
        guest.load(CALLED, programs.SET_TWO)
        run(guest, vcpu=0, x1=ROUNDS)
        assert guest.registers("x0") == (2,)
        assert native(guest.vcpu).translated == 1


def test_a_number_that_could_be_an_address_of_ours_is_not_adjusted(folder: Path) -> None:
    lines = Path("/proc/self/maps").read_text().splitlines()
    number = next(int(line.split("-")[0], 16) for line in lines if line.endswith(Path(_native.__file__).name)) + 0x1234
    load = [0xD2800000 | step << 21 | (number >> 16 * step & 0xFFFF) << 5 | (step > 0) << 29 for step in range(4)]
    for _ in range(2):
        with Guest(translation_cache=folder) as guest:
            guest.load(CODE, (*load, *programs.WFI))  # movz x0, then movk
            run(guest, vcpu=0)
            assert guest.registers("x0") == (number,)
            assert native(guest.vcpu).taken_from_cache == 0, "it is in no file"


@pytest.mark.parametrize(
    ("first", "then", "translated"),
    [
        (register(read=lambda: 11), register(read=lambda: 22), 0),
        (register(read=lambda: 11), register(constant=22), 1),
        (register(constant=11), register(constant=22), 1),
    ],
    ids=["another function", "a constant", "another constant"],
)
def test_a_register_is_the_one_of_this_run(folder: Path, first: SystemRegister, then: SystemRegister, translated: int) -> None:
    for definition, expected in ((first, 11), (then, 22)):
        with Guest(translation_cache=folder, registers=[definition]) as guest:
            guest.load(CODE, programs.READ_REGISTER)
            run(guest, vcpu=0)
            assert guest.registers("x2") == (expected,)
            made = native(guest.vcpu).translated
    assert made == translated


def test_an_exception_within_a_block_is_at_its_instruction(folder: Path) -> None:
    def refuse(address: int, width: int) -> int:
        if width == 8:
            raise ExternalAbort
        return 0

    for _ in range(2):
        with Guest(translation_cache=folder) as guest:
            guest.trap.on_read = refuse
            guest.load(CODE, programs.LOAD)
            run(guest, vcpu=0, x1=DEVICE)
            assert guest.registers("elr_el1", "far_el1") == (CODE + 12, DEVICE + 8)
            made = native(guest.vcpu).translated
    assert made == 0


def test_other_machines_have_files_of_their_own(folder: Path) -> None:
    first_run(folder)
    first_run(folder, parallel=True)
    with Guest(cpu="cortex-a72", translation_cache=folder) as guest:
        assert call_and_loop(guest)[1] == 0
    assert len(list(folder.iterdir())) == 3


def test_the_cpu_max_keeps_nothing(folder: Path) -> None:
    # There, translation depends on more than the instructions.
    with Guest(cpu="max", translation_cache=folder) as guest:
        call_and_loop(guest)
    assert not folder.exists()


def vector_constants(guest: Guest) -> int:
    """Carry out another program; the blocks it took to translate."""
    before = native(guest.vcpu).translated
    guest.load(FUNCTION, VECTOR_CONSTANTS)
    run(guest, FUNCTION, vcpu=0)
    assert guest.registers("x0") == (0x0D0D_0D0D_0D0D_0D0D,)
    return native(guest.vcpu).translated - before


def test_vector_constants_come_back(folder: Path) -> None:
    for translated in (True, False):
        with Guest(translation_cache=folder) as guest:
            assert (vector_constants(guest) > 0) is translated


def test_what_was_kept_stays_beside_what_is_new(folder: Path) -> None:
    blocks = first_run(folder)
    with Guest(translation_cache=folder) as guest:
        assert vector_constants(guest) > 0
    with Guest(translation_cache=folder) as guest:
        assert call_and_loop(guest) == (0, blocks)
        assert vector_constants(guest) == 0


def test_what_this_run_used_comes_first_where_not_all_has_room(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = first_run(folder)
    monkeypatch.setattr(translation_cache, "MOST_BYTES", index_of(the_file(folder).read_bytes()))
    with Guest(translation_cache=folder) as guest:
        vector_constants(guest)
    with Guest(translation_cache=folder) as guest:
        assert call_and_loop(guest)[1] < blocks
        assert vector_constants(guest) == 0


def index_of(contents: bytes) -> int:
    """Where the index of a file begins, behind the blocks."""
    return int.from_bytes(contents[136:144], "little")


def test_a_run_with_nothing_new_writes_nothing(folder: Path) -> None:
    first_run(folder)
    before = the_file(folder).stat()
    with Guest(translation_cache=folder) as guest:
        call_and_loop(guest)
    assert the_file(folder).stat().st_ino == before.st_ino


def test_a_small_run_writes_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(translation_cache, "LEAST_BLOCKS", 100)
    first_run(folder)
    assert not folder.exists()


def test_the_files_are_for_this_user_alone(folder: Path) -> None:
    first_run(folder)
    assert stat.S_IMODE(the_file(folder).stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_file_in_use_is_replaced_not_changed(folder: Path) -> None:
    blocks = first_run(folder)
    with Guest(translation_cache=folder) as guest:
        shutil.rmtree(folder)
        assert first_run(folder) == blocks
        assert call_and_loop(guest) == (0, blocks)
    assert [path.name for path in folder.iterdir()] == [the_file(folder).name]


def others_can_write(path: Path) -> None:
    path.chmod(0o620)


def symbolic_link(path: Path) -> None:
    path.rename(path.with_suffix(".real"))
    path.symlink_to(path.with_suffix(".real"))


def fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def another_key(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:8] + b"x" + path.read_bytes()[9:])
    path.chmod(0o600)


def truncated(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


NOBODY_ELSE = "translation cache not used: must be a file that nobody but its user can write, and this user's"


@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        (others_can_write, NOBODY_ELSE),
        (symbolic_link, "translation cache not used: Too many levels of symbolic links"),
        (fifo, NOBODY_ELSE),
        (directory, NOBODY_ELSE),
        (another_key, "translation cache not used: not translations with this key"),
        (truncated, "translation cache not used: not translations with this key"),
    ],
)
def test_what_cannot_be_trusted_is_not_used(folder: Path, told: list[str], spoil: Callable[[Path], None], text: str) -> None:
    blocks = first_run(folder)
    spoil(the_file(folder))
    with Guest(translation_cache=folder) as guest:
        assert told == [text]
        assert call_and_loop(guest) == (blocks, 0)


def test_the_file_of_another_user_is_not_used(folder: Path, told: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = first_run(folder)
    user = os.geteuid()
    with monkeypatch.context() as patch:
        patch.setattr(os, "geteuid", lambda: user + 1)
        guest = Guest(translation_cache=folder)
    with guest:
        assert told == [NOBODY_ELSE]
        assert call_and_loop(guest) == (blocks, 0)


def test_an_empty_file_is_as_good_as_none(folder: Path, told: list[str]) -> None:
    first_run(folder)
    os.truncate(the_file(folder), 0)
    first_run(folder)
    assert told == []


def test_a_folder_that_cannot_be_is_told_of(tmp_path: Path, told: list[str]) -> None:
    (tmp_path / "file").write_bytes(b"")
    first_run(tmp_path / "file" / "folder")
    assert told == ["translation cache not used: Not a directory", "translation cache not written: Not a directory"]


def test_no_memory_for_what_would_be_kept_is_told_of(folder: Path, told: list[str]) -> None:
    class Full:
        def keep_translations(self, key: bytes, least: int, most: int) -> bytes:
            raise MemoryError

    translation_cache.TranslationCache(folder, cast("_native.Machine", Full()), 0, parallel=False).keep()
    assert told == ["translation cache not written: out of memory"]


def test_what_could_not_be_written_leaves_nothing_behind(folder: Path, told: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(source: str, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", refuse)
    first_run(folder)
    assert told == ["translation cache not written: No space left on device"]
    assert list(folder.iterdir()) == []


def test_what_nobody_used_for_long_is_removed(folder: Path) -> None:
    folder.mkdir(parents=True)
    names = ("0" + SUFFIX, "new-1" + SUFFIX, "notes")
    for name in (*names, "2" + SUFFIX):
        (folder / name).write_bytes(b"")
    for name in names:
        os.utime(folder / name, (0, 0))
    first_run(folder)
    left = {path.name for path in folder.iterdir()} - {the_name(folder)}
    assert left == {"notes", "2" + SUFFIX}


def the_name(folder: Path) -> str:
    (name,) = [path.name for path in folder.glob("*" + SUFFIX) if path.stat().st_size > 0]
    return name


def test_a_file_that_is_used_is_not_one_that_nobody_uses(folder: Path) -> None:
    first_run(folder)
    os.utime(the_file(folder), (0, 0))
    with Guest(translation_cache=folder):
        assert the_file(folder).stat().st_mtime > 0


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kept")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(translation_cache, "LEAST_BLOCKS", 1)
        first_run(folder)
    return folder


@given(st.data())
def test_damage_is_noticed(kept: Path, data: st.DataObject) -> None:
    contents = bytearray(the_file(kept).read_bytes())
    index = index_of(contents)
    # Every place in the header, the blocks and the entries; chains that nothing hangs on are most of the file, and the same.
    places = st.one_of(st.integers(0, index - 1), st.integers(index, len(contents) - 1))
    for place in data.draw(st.lists(places, min_size=1, max_size=3)):
        contents[place] ^= data.draw(st.integers(1, 255))
    path = kept / "damaged"
    path.mkdir(exist_ok=True)
    (path / the_file(kept).name).write_bytes(contents)
    (path / the_file(kept).name).chmod(0o600)
    with Guest(translation_cache=path) as guest:
        call_and_loop(guest)


@pytest.mark.parametrize("what", ["its code", "its length", "its place"])
def test_every_block_is_checked_before_it_is_used(kept: Path, tmp_path: Path, what: str) -> None:
    contents = bytearray(the_file(kept).read_bytes())
    index, last = index_of(contents), int.from_bytes(contents[-4:], "little") * 8
    place = {"its code": index - 24, "its length": last + 37, "its place": len(contents) - 1}[what]
    contents[place] ^= 0x7F
    path = tmp_path / the_file(kept).name
    path.write_bytes(contents)
    path.chmod(0o600)
    with Guest(translation_cache=tmp_path) as guest:
        assert call_and_loop(guest)[0] == 1
