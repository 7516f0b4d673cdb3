"""`avmm run` as a process: what it prints, what it exits with, and how it ends."""

from __future__ import annotations

import argparse
import os
import re
import signal
import subprocess
from itertools import islice
from pathlib import Path
from typing import ClassVar

import pytest

from avmm.cli import run
from avmm.loader.kernel import is_flat
from tests.unit.cli.command import PATIENCE_S, Avmm, of_its_own


@pytest.mark.parametrize(
    ("command", "code", "error"),
    [
        ("off", 0, ""),
        ("fault", 3, "avmm: vm0 ended: crash (vcpu 0: the toy broke)"),
        ("raise", 1, "avmm: vm0: RuntimeError: the engine broke"),
    ],
)
def test_the_guests_end_is_the_exit_status(avmm: Avmm, command: str, code: int, error: str) -> None:
    done = avmm("run", avmm.guest(["print hello", command]))
    assert (done.returncode, done.stdout) == (code, "hello\n")
    assert done.stderr.splitlines() == ([error] if error else [])


def test_a_clean_run_says_nothing_of_its_own(avmm: Avmm) -> None:
    assert avmm("run", avmm.guest(["off"])).stderr == ""


def test_a_reset_may_end_it(avmm: Avmm) -> None:
    assert avmm("run", avmm.guest(["reset"], 'on_reset = "exit"')).returncode == 4


@pytest.mark.parametrize("loop", ["auto", "asyncio", "uvloop"])
@pytest.mark.parametrize("slot", ["thread", "inline"])
def test_every_loop_and_slot(avmm: Avmm, loop: str, slot: str) -> None:
    done = avmm("run", avmm.guest(["print hello", "off"]), "--loop", loop, "--slot", slot)
    assert (done.returncode, done.stdout, done.stderr) == (0, "hello\n", "")


def test_options_alone_describe_a_machine(avmm: Avmm) -> None:
    avmm.guest(["print hello", "off"])
    arguments = ("--arch", "toy", "--engine", "toy", "--kernel", "guest", "--memory", "2M", "--smp", "2", "--name", "web-1")
    done = avmm("run", *arguments, "--log-level", "info")
    assert (done.returncode, done.stdout) == (0, "hello\n")
    events = [line.partition(" ")[2] for line in done.stderr.splitlines()]
    assert events == [
        'level=info event="vm started" vm=web-1 vcpus=2 memory=2M',
        'level=info event="vm halted" vm=web-1 reason=shutdown detail="the guest said off"',
    ]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("nope.toml",), "avmm: nope.toml: No such file or directory"),
        (("--kernel", "nope", "--arch", "toy", "--engine", "toy"), "avmm: nope: No such file or directory"),
        (("toy.toml", "--kernel", "."), "avmm: .: is a directory"),
        (("toy.toml", "--memory", "12Q"), None),
        (("toy.toml", "--smp", "0"), "avmm: --smp: vcpus: 0 is not a whole number from 1 to 512"),
        (("toy.toml", "--slot", "fast"), "avmm: --slot: slot: 'fast' is not one of 'thread', 'inline'"),
        (("toy.toml", "--clock", "virtual"), "avmm: toy.toml: slot: virtual time needs slot = 'inline'"),
        (("toy.toml", "--engine", "tyo"), "avmm: engine tyo: no such engine; there is toy"),
        (("toy.toml", "--arch", "tyo"), "avmm: arch tyo: no such arch; there is toy"),
        (("toy.toml", "--nvram", "file"), "avmm: --nvram: nvram: there is no firmware whose variables it could keep"),
        (("bad.toml",), "avmm: bad.toml:4: vcpus: 'two' is not a whole number from 1 to 512"),
        (("option.toml",), "avmm: option.toml:7: engine.colour: no such setting"),
        (("overlap.toml",), "avmm: overlap.toml:7: devices.second.base: 0x9000008 overlaps devices.uart0 (0x9000000-0x9000fff)"),
        (("device.toml",), "avmm: device bell: no such device; there is toy-uart"),
        ((), "avmm: kernel: missing: name the guest with --kernel or --firmware, or in the machine's description"),
        (
            ("empty.toml",),
            "avmm: empty.toml: kernel: missing: name the guest with --kernel or --firmware, or in the machine's description",
        ),
    ],
)
def test_a_mistake_is_one_line_and_exit_status_1(avmm: Avmm, arguments: tuple[str, ...], line: str | None) -> None:
    avmm.guest(["off"])
    toy = 'arch = "toy"\nmemory = "1M"\nkernel = "guest"\n'
    files = {
        "bad.toml": toy + 'vcpus = "two"\n',
        "option.toml": toy + '\n[engine]\nname = "toy"\ncolour = "red"\n',
        "overlap.toml": toy + 'engine = "toy"\n[devices.second]\nkind = "toy-uart"\nbase = 0x9000008\nirq = 2\n',
        "device.toml": toy + 'engine = "toy"\n[devices.bell]\nkind = "bell"\n',
        "empty.toml": "",
    }
    for name, text in files.items():
        (avmm.folder / name).write_text(text)
    done = avmm("run", *arguments)
    assert (done.returncode, done.stdout) == (1, "")
    assert len(done.stderr.splitlines()) == 1
    if line is not None:
        assert done.stderr == f"{line}\n"


def test_several_mistakes_are_a_line_each(avmm: Avmm) -> None:
    (avmm.folder / "bad.toml").write_text('vcpus = 0\nkernle = "x"\n')
    done = avmm("run", "bad.toml")
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "avmm: bad.toml:1: vcpus: 0 is not a whole number from 1 to 512",
        "avmm: bad.toml:2: kernle: no such setting; did you mean kernel?",
    ]


@pytest.mark.parametrize("arguments", [("run", "--smp", "two"), ("run", "--colour"), ("walk",), ()])
def test_a_wrong_command_line_is_exit_status_2(avmm: Avmm, arguments: tuple[str, ...]) -> None:
    done = avmm(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("usage: avmm")


def test_typed_text_reaches_the_guest_from_a_pipe(avmm: Avmm) -> None:
    done = avmm("run", avmm.guest(["echo", "off"]), typed="a\x01q")
    assert (done.returncode, done.stdout) == (0, "<61><01><71>")


def test_typed_text_reaches_the_guest_from_a_file(avmm: Avmm) -> None:
    (avmm.folder / "typed").write_text("abq")
    with (avmm.folder / "typed").open("rb") as stdin:
        process = avmm.start("run", avmm.guest(["echo", "off"]), stdin=stdin.fileno(), stdout=subprocess.PIPE)
    assert process.communicate(timeout=PATIENCE_S)[0] == b"<61><62><71>"
    assert process.returncode == 0


@pytest.mark.parametrize("stdin", [subprocess.DEVNULL, None])
def test_the_end_of_input_is_no_reason_to_stop(avmm: Avmm, stdin: int | None) -> None:
    process = avmm.start(
        "run", avmm.guest(["print ready", "spin"]), stdin=subprocess.PIPE if stdin is None else stdin, stdout=subprocess.PIPE
    )
    if process.stdin is not None:
        process.stdin.close()
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE_S) == 143
    process.stdout.close()


def test_closed_standard_descriptors_are_no_reason_to_stop(avmm: Avmm) -> None:
    command = avmm.argv("run", avmm.guest(["print hello", "off"]))
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *command],
        cwd=avmm.folder,
        env=avmm.environment,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0


@pytest.mark.parametrize(
    ("number", "code", "guest", "slot"),
    [
        *((signal.SIGINT, 130, guest, slot) for guest in ("spin", "wait", "flood") for slot in ("thread", "inline")),
        (signal.SIGTERM, 143, "spin", "thread"),
        (signal.SIGHUP, 129, "spin", "thread"),
    ],
)
def test_a_signal_ends_it_cleanly(avmm: Avmm, number: signal.Signals, code: int, guest: str, slot: str) -> None:
    process = avmm.start(
        "run",
        avmm.guest(["print ready", guest]),
        "--slot",
        slot,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(number)
    _, errors = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, of_its_own(errors.decode())) == (code, "")


def test_a_reader_that_leaves_ends_it(avmm: Avmm) -> None:
    process = avmm.start("run", avmm.guest(["flood"]), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline() == b"flood\n"
    process.stdout.close()
    assert process.wait(PATIENCE_S) == 141
    assert of_its_own(process.stderr.read().decode()) == ""
    process.stderr.close()


def test_statistics_end_with_a_table_behind_the_guests_last_word(avmm: Avmm) -> None:
    machine = avmm.guest(["print hello", "off"])
    process = avmm.start("run", machine, "--stats", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    lines = of_its_own(process.communicate(timeout=PATIENCE_S)[0].decode()).splitlines()
    assert process.returncode == 0
    assert lines[0] == "hello"
    assert re.match(r"-- vm0 ended: shutdown \(the guest said off\) after \d+\.\d", lines[1])
    assert lines[2].split()[:4] == ["vcpu", "guest", "asleep", "exits"]
    assert any(line.split() == ["VM_DEAD", "1", "1"] for line in lines)
    assert max(map(len, lines)) <= 100


def test_statistics_are_live(avmm: Avmm) -> None:
    process = avmm.start("run", avmm.guest(["spin"]), "--stats", stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr is not None
    said = (of_its_own(line.decode()) for line in process.stderr)
    lines = list(islice(filter(None, said), 3))
    process.send_signal(signal.SIGINT)
    closing = of_its_own(process.communicate(timeout=PATIENCE_S)[1].decode())
    assert process.returncode == 130
    assert re.match(r"-- vm0 running, \d+\.\d s: counts per second -+$", lines[0])
    assert float(lines[2].split()[1].rstrip("%")) > 0
    assert re.match(r"-- vm0 ended: stopped \(interrupted\) after \d+\.", closing)


def test_the_version(avmm: Avmm) -> None:
    import avmm as package

    assert avmm("--version").stdout == f"avmm {package.__version__}\n"


def test_nothing_is_left_behind(avmm: Avmm) -> None:
    before = set(os.listdir(avmm.folder))
    machine = avmm.guest(["off"])
    avmm("run", machine)
    assert {Path(name).name for name in os.listdir(avmm.folder)} - before == {"guest", "toy.toml"}


def test_a_test_device_is_added_by_an_option(avmm: Avmm) -> None:
    done = avmm("run", avmm.guest(["off"]), "--testdev")
    assert (done.returncode, done.stderr) == (1, "avmm: device virtio-console: no such device; there is toy-uart\n")


class TestTestDevice:
    """Which machines have a test device that is not asked for."""

    @staticmethod
    def devices(path: Path, image: bytes, *options: str) -> dict[str, tuple[str, dict[str, object]]]:
        (path / "kernel").write_bytes(image)
        parser = argparse.ArgumentParser()
        run.add_arguments(parser)
        made = run.machine(parser.parse_args(["--kernel", str(path / "kernel"), *options])).devices
        return {name: (device.kind, dict(device.options)) for name, device in made.items()}

    DEVICE: ClassVar = {"testdev": ("virtio-console", {"testdev": True})}

    def test_a_flat_image_does(self, tmp_path: Path) -> None:
        assert self.devices(tmp_path, b"\x00\x00\x00\x14") == self.DEVICE

    def test_unless_it_is_refused(self, tmp_path: Path) -> None:
        assert self.devices(tmp_path, b"\x00\x00\x00\x14", "--no-testdev") == {}

    @pytest.mark.parametrize("image", [b"\x7fELF", b"\x1f\x8b\x08", b"MZ", b"\0" * 0x38 + b"ARM\x64", b""])
    def test_another_kernel_only_when_it_is_asked_for(self, tmp_path: Path, image: bytes) -> None:
        assert self.devices(tmp_path, image) == {}
        assert self.devices(tmp_path, image, "--testdev") == self.DEVICE

    def test_a_console_of_ones_own_stands_alone(self, tmp_path: Path) -> None:
        devices = self.devices(tmp_path, b"\x00\x00\x00\x14", "--device", "virtio-console,hvc=console")
        assert devices == {"console0": ("virtio-console", {"hvc": "console"})}

    @pytest.mark.parametrize("options", [["--firmware", "kernel"], ["machine.toml"]])
    def test_nor_is_one_added_to_what_is_described_otherwise(self, tmp_path: Path, options: list[str]) -> None:
        (tmp_path / "machine.toml").write_text('kernel = "kernel"\n')
        given = [str(tmp_path / option) if "." in option or option == "kernel" else option for option in options]
        assert self.devices(tmp_path, b"\x00\x00\x00\x14", *given) == {}

    def test_what_cannot_be_read_is_not_flat(self, tmp_path: Path) -> None:
        assert not is_flat(tmp_path)
        assert not is_flat(tmp_path / "nothing")
