"""fw_cfg: its items, its registers and its transfers (QEMU, docs/specs/fw_cfg)."""

from __future__ import annotations

import gzip
import os
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avmm.clock import VirtualClock
from avmm.plugin import ConfigError, Console, DeviceLock, DeviceOptions, GuestMemory, LoadError, MemorySlot, Width
from avmm_firmware import FwCfgDevice, create_fw_cfg
from avmm_firmware.fw_cfg import MOST_ZEROS, DmaControl

RAM, ROM = 0x4000_0000, 0x1000
RAM_SIZE = 4 << 20
READ, SKIP, SELECT, WRITE = DmaControl.READ, DmaControl.SKIP, DmaControl.SELECT, DmaControl.WRITE
SIGNATURE, ID, DIRECTORY = 0x00, 0x01, 0x19
KERNEL_SIZE, KERNEL, INITRD_SIZE, INITRD, LINE_SIZE, LINE = 0x08, 0x11, 0x0B, 0x12, 0x14, 0x15


class Bench:
    """An fw_cfg with some memory beside it, and a driver's ways to use it."""

    def __init__(self, **table: object) -> None:
        self.faults: list[tuple[str, str]] = []
        self.memory = GuestMemory()
        self.memory.add(MemorySlot(RAM, RAM_SIZE))
        self.memory.add(MemorySlot(ROM, 0x1000, name="rom", read_only=True))
        lock = DeviceLock()
        options = DeviceOptions(
            "fw_cfg",
            VirtualClock(),
            lock,
            Console(lock),
            options=table,
            memory=self.memory,
            guest_fault=lambda kind, detail: self.faults.append((kind, detail)),
        )
        device = create_fw_cfg(options)
        assert isinstance(device, FwCfgDevice)
        self.device = device

    def select(self, number: int) -> None:
        self.device.write(8, Width.W16, int.from_bytes(number.to_bytes(2, "big"), "little"))

    def read(self, size: int) -> bytes:
        return bytes(self.device.read(0, Width.W8) for _ in range(size))

    def item(self, number: int, size: int) -> bytes:
        self.select(number)
        return self.read(size)

    def transfer(self, control: int, length: int, address: int, *, at: int = RAM) -> int:
        """Carry a transfer out; what became of its control word."""
        self.memory.write(at, struct.pack(">IIQ", control, length, address))
        self.start(at)
        return int.from_bytes(self.memory.read(at, 4), "big")

    def start(self, address: int) -> None:
        self.device.write(0x10, Width.W64, int.from_bytes(address.to_bytes(8, "big"), "little"))


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    (tmp_path / "kernel").write_bytes(b"the kernel")
    (tmp_path / "initrd").write_bytes(bytes(range(200)))
    (tmp_path / "b").write_bytes(b"bb")
    (tmp_path / "a").write_bytes(b"a")
    files = {"opt/b": str(tmp_path / "b"), "opt/a": str(tmp_path / "a")}
    return Bench(kernel=tmp_path / "kernel", initrd=tmp_path / "initrd", append="console=x", vcpus=3, files=files)


def test_signature_and_interfaces(bench: Bench) -> None:
    assert bench.read(6) == b"QEMU\0\0", "selected from the start, zeros behind the end"
    assert bench.item(ID, 4) == (0b11).to_bytes(4, "little")
    assert [bench.item(number, 2) for number in (0x05, 0x0F)] == [b"\3\0"] * 2


def test_what_is_to_be_booted(bench: Bench) -> None:
    assert bench.item(KERNEL_SIZE, 4) == (10).to_bytes(4, "little")
    assert bench.item(KERNEL, 11) == b"the kernel\0"
    assert bench.item(INITRD_SIZE, 4) == (200).to_bytes(4, "little")
    assert bench.item(INITRD, 200) == bytes(range(200))
    assert bench.item(LINE_SIZE, 4) == (10).to_bytes(4, "little")
    assert bench.item(LINE, 10) == b"console=x\0"


def test_nothing_to_be_booted() -> None:
    bench = Bench()
    assert [bench.item(number, 4) for number in (KERNEL_SIZE, KERNEL, INITRD_SIZE, LINE_SIZE, LINE)] == [bytes(4)] * 5
    assert bench.item(DIRECTORY, 8) == bytes(8)


def test_the_directory_of_files(bench: Bench) -> None:
    entries = bench.item(DIRECTORY, 4 + 2 * 64)
    assert struct.unpack_from(">I", entries) == (2,)
    for index, (name, content) in enumerate([(b"opt/a", b"a"), (b"opt/b", b"bb")]):
        size, number, text = struct.unpack_from(">IHxx56s", entries, 4 + 64 * index)
        assert (size, text.rstrip(b"\0")) == (len(content), name)
        assert number >= 0x20
        assert bench.item(number, size) == content


def test_a_packed_kernel_is_unpacked(tmp_path: Path) -> None:
    (tmp_path / "kernel").write_bytes(gzip.compress(b"the kernel"))
    bench = Bench(kernel=str(tmp_path / "kernel"))
    assert bench.item(KERNEL, 10) == b"the kernel"


@pytest.mark.parametrize("width", list(Width))
def test_the_data_register_keeps_the_order_of_bytes(bench: Bench, width: Width) -> None:
    bench.select(INITRD)
    assert bench.device.read(0, width) == int.from_bytes(bytes(range(width)), "little")
    assert bench.device.read(0, Width.W8) == width


def test_an_item_that_does_not_exist(bench: Bench) -> None:
    assert bench.item(0x7777, 4) == bytes(4)


def test_the_transfer_register_tells_that_it_is_there(bench: Bench) -> None:
    assert bench.device.read(0x10, Width.W64).to_bytes(8, "little") == b"QEMU CFG"
    assert bench.device.read(0x14, Width.W32).to_bytes(4, "little") == b" CFG"


def test_a_transfer_reads_an_item(bench: Bench) -> None:
    assert bench.transfer(INITRD << 16 | SELECT | READ, 150, RAM + 0x100) == 0
    assert bench.transfer(READ, 100, RAM + 0x300) == 0
    assert bench.memory.read(RAM + 0x100, 150) == bytes(range(150))
    assert bench.memory.read(RAM + 0x300, 100) == bytes(range(150, 200)) + bytes(50)
    assert [value for _, value in bench.device.figures()] == [0, 250, 2, 0]


def test_a_transfer_in_two_halves(bench: Bench) -> None:
    bench.memory.write(RAM, struct.pack(">IIQ", SELECT | READ, 4, RAM + 0x100))
    bench.device.write(0x10, Width.W32, 0)
    assert bench.memory.read(RAM + 0x100, 4) == bytes(4), "the second half starts it"
    bench.device.write(0x14, Width.W32, int.from_bytes(RAM.to_bytes(4, "big"), "little"))
    assert bench.memory.read(RAM + 0x100, 4) == b"QEMU"


def test_a_transfer_skips(bench: Bench) -> None:
    assert bench.transfer(INITRD << 16 | SELECT | SKIP, 50, 0) == 0
    assert bench.read(2) == bytes([50, 51])
    assert bench.transfer(SKIP, 0xFFFF_FFFF, 0) == 0
    assert bench.read(2) == bytes(2)


def test_a_transfer_may_select_alone_or_do_nothing(bench: Bench) -> None:
    assert bench.transfer(KERNEL << 16 | SELECT, 0, 0) == 0
    assert bench.transfer(READ, 0, 0) == 0
    assert bench.read(3) == b"the"


@pytest.mark.parametrize(
    ("control", "length", "address"),
    [
        (SELECT | WRITE, 4, RAM),
        (SELECT | READ, 4, 0x2000_0000),
        (SELECT | READ, 4, ROM),
        (SELECT | READ, 8, RAM + RAM_SIZE - 4),
        (SELECT | READ, MOST_ZEROS + 5, RAM + 0x100),
        (SELECT | READ, 0xFFFF_FFFF, RAM),
    ],
)
def test_a_transfer_that_cannot_be(bench: Bench, control: int, length: int, address: int) -> None:
    assert bench.transfer(control, length, address) == DmaControl.ERROR
    assert bench.device.model.errors == 1
    assert bench.faults == []


@pytest.mark.parametrize("address", [0, RAM + RAM_SIZE - 8, ROM, (1 << 64) - 8])
def test_a_transfer_described_where_it_cannot_be_answered(bench: Bench, address: int) -> None:
    bench.start(address)
    assert bench.device.model.errors == 1
    assert bench.faults == [("fw_cfg", f"a transfer is described at {address:#x}, where no memory is")]


def test_a_reset_selects_the_signature(bench: Bench) -> None:
    bench.item(INITRD, 3)
    bench.device.write(0x10, Width.W32, 0xFFFF_FFFF)
    bench.device.reset()
    assert bench.read(4) == b"QEMU"
    bench.device.write(0x14, Width.W32, 0)
    assert bench.faults[0][1].startswith("a transfer is described at 0x0,"), "the half that came before is forgotten"


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"kernle": "x"}, "kernle: no such setting of a fw-cfg; there are kernel, initrd, append, vcpus, files"),
        ({"vcpus": 0}, "vcpus: 0 is not a whole number from 1 to 65535"),
        ({"append": "a\0b"}, "append: 'a\\\\x00b' holds a NUL character"),
        ({"initrd": 3}, "initrd: 3 is not the path of a file"),
        ({"files": 3}, "files: must be a table of at most 16352 names and paths"),
        ({"files": {"x" * 56: "a"}}, f"files: '{'x' * 56}' is not a name of 1 to 55 bytes"),
        ({"files": {"": "a"}}, "files: '' is not a name of 1 to 55 bytes"),
        ({"files": {"opt/a": ""}}, "files.opt/a: '' is not the path of a file"),
    ],
)
def test_settings(table: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=f"^devices.fw_cfg.{message}$"):
        Bench(**table)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "big.gz").write_bytes(gzip.compress(bytes(RAM_SIZE + 1)))
    (tmp_path / "half.gz").write_bytes(gzip.compress(b"whole")[:-4])
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(LoadError, match=r"none: No such file or directory$"):
        Bench(kernel=tmp_path / "none")
    with pytest.raises(LoadError, match=r"pipe: is not a regular file$"):
        Bench(initrd=tmp_path / "pipe")
    with pytest.raises(LoadError, match=r"half.gz: is a truncated gzip file$"):
        Bench(kernel=tmp_path / "half.gz")
    with pytest.raises(LoadError, match=r"big.gz: is larger than guest memory \(0x400000 bytes\)$"):
        Bench(kernel=tmp_path / "big.gz")


_ADDRESSES = st.one_of(st.integers(RAM, RAM + 64), st.sampled_from([0, ROM, RAM + RAM_SIZE - 8]), st.integers(0, 2**64 - 1))


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("read"), st.integers(0, 0x17), st.sampled_from(list(Width))),
            st.tuples(st.just("write"), st.integers(0, 0x17), st.sampled_from(list(Width)), st.integers(0, 2**64 - 1)),
            st.tuples(st.just("transfer"), st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1), _ADDRESSES),
            st.tuples(st.just("start"), _ADDRESSES),
        ),
        max_size=30,
    )
)
def test_whatever_the_guest_does(steps: list[tuple[str, ...]]) -> None:
    bench = Bench(append="line")
    for step in steps:
        match step:
            case ("read", int(offset), Width() as width):
                assert 0 <= bench.device.read(offset, width) < 1 << 8 * width
            case ("write", int(offset), Width() as width, int(value)):
                bench.device.write(offset, width, value & (1 << 8 * width) - 1)
            case ("transfer", int(control), int(length), int(address)):
                bench.memory.write(RAM, struct.pack(">IIQ", control, length, address))
                bench.start(RAM)
            case ("start", int(address)):
                bench.start(address)
    assert bench.memory.read(ROM, 0x1000) == bytes(0x1000)
    bench.device.reset()
    assert bench.read(4) == b"QEMU"
    assert bench.transfer(LINE << 16 | SELECT | READ, 5, RAM + 32) == 0
    assert bench.memory.read(RAM + 32, 5) == b"line\0"
    bench.memory.close()
