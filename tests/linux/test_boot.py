"""Debian's unmodified kernel comes up to a shell, with what it should have, and goes down again."""

from __future__ import annotations

import gzip
import hashlib
import re
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests.linux.conftest import Fetcher, Linux
from tests.linux.console import TROUBLE, Console


def interrupts(table: str) -> dict[str, list[int]]:
    """/proc/interrupts: counts by CPU, by the interrupt's device or description."""
    first, *lines = table.splitlines()
    cpus = len(first.split())
    rows = {}
    for line in lines:
        _, *fields = line.split()
        if len(fields) > cpus:
            rows[" ".join(fields[cpus:])] = [int(field) for field in fields[:cpus]]
    return rows


@pytest.mark.parametrize("vcpus", [1, 2, 4])
async def test_to_a_shell_with_timer_and_ipis_on_each_cpu(linux: Linux, vcpus: int) -> None:
    async with linux.boot("--smp", str(vcpus)) as guest:
        await guest.shell()
        assert await guest.output("nproc") == f"{vcpus}\n"
        assert await guest.output("uname -r") == f"{linux.release}\n"
        if vcpus > 1:  # work that moves between them
            await guest.output(" & ".join(["(seq 500 | sort | md5sum >/dev/null)"] * 2 * vcpus) + "; wait")
        rows = interrupts(await guest.output("cat /proc/interrupts"))
        (timer,) = (counts for name, counts in rows.items() if "arch_timer" in name)
        assert len(timer) == vcpus
        assert min(timer) > 0
        if vcpus > 1:
            ipis = [sum(column) for column in zip(rows["Rescheduling interrupts"], rows["Function call interrupts"], strict=True)]
            assert min(ipis) > 0
        assert await guest.power_off() == 0


@pytest.mark.parametrize("vcpus", [1, 2])
async def test_the_second_boot_has_what_the_first_translated(linux: Linux, tmp_path: Path, vcpus: int) -> None:
    written = []
    for _ in range(2):
        async with linux.boot(
            "--smp", str(vcpus), "--translation-cache", str(tmp_path), append='run="seq 500 | md5sum"'
        ) as guest:
            assert await guest.ended() == 0
            assert hashlib.md5(b"".join(b"%d\n" % number for number in range(1, 501))).hexdigest() in guest.text
            assert not TROUBLE.search(guest.text)
        written.append([(path.name, path.stat().st_ino, path.stat().st_size) for path in tmp_path.iterdir()])
    ((_, _, size),) = written[0]
    assert size > 10 << 20
    assert written[1] == written[0], "there was not enough that was new to be worth the writing"


async def test_reboot_starts_it_again(linux: Linux) -> None:
    async with linux.boot() as guest:
        await guest.shell()
        await guest.output("echo before >/tmp/here")
        before_s = time.monotonic()
        guest.type("reboot -f")
        await guest.expect("reboot: Restarting system")
        await guest.expect("Booting Linux on physical CPU")
        await guest.shell()
        assert (await guest.run("cat /tmp/here")).status == 1, "nothing is left of the life before"
        uptime_s = float((await guest.output("cat /proc/uptime")).split()[0])
        assert uptime_s < time.monotonic() - before_s, "nor of its time"
        assert await guest.power_off() == 0


@pytest.mark.parametrize(
    ("cause", "reason"),
    [
        ('run="echo c >/proc/sysrq-trigger"', "sysrq triggered crash"),
        ("rdinit=/nothing root=/dev/nothing", r"VFS: Unable to mount root fs on .*"),
    ],
)
async def test_a_panic_is_told_and_ends_it(linux: Linux, cause: str, reason: str) -> None:
    async with linux.boot("--on-reset", "exit", append=f"panic=-1 {cause}") as guest:
        assert await guest.ended() == 3
    line = rf"^avmm: vm0 ended: the guest's kernel panicked \({reason}\) and asked for a reset$"
    assert re.search(line, guest.text, re.MULTILINE)


async def what_it_did(guest: Console) -> str:
    """What a guest wrote that does what `run=` says; it must end well."""
    assert await guest.ended() == 0
    assert not TROUBLE.search(guest.text)
    return guest.text


@pytest.mark.parametrize(
    ("gic", "cpu", "part"),
    [("2", "cortex-a57", "0xd07"), ("3", "cortex-a57", "0xd07"), ("3", "cortex-a72", "0xd08"), ("3", "max", None)],
)
async def test_every_cpu_and_interrupt_controller(linux: Linux, gic: str, cpu: str, part: str | None) -> None:
    append = 'earlycon quiet run="cat /proc/cpuinfo /proc/interrupts"'
    async with linux.boot("--cpu", cpu, "--gic", gic, append=append) as guest:
        text = await what_it_did(guest)
    assert part is None or re.search(rf"^CPU part\t: {part}$", text, re.MULTILINE)
    assert re.search(rf"{'GICv3' if gic == '3' else 'GIC-0'} +27 Level +arch_timer", text)


@pytest.mark.parametrize("gic", ["2", "3"])
async def test_eight_vcpus(linux: Linux, gic: str) -> None:
    async with linux.boot("--smp", "8", "--gic", gic, append='quiet run="nproc"') as guest:
        assert (await what_it_did(guest)).startswith("8\nrun: exit status 0\n")


async def test_a_packed_image(linux: Linux, tmp_path: Path) -> None:
    """`make Image.gz`; Debian's kernel is an Image as it is."""
    image = linux.kernel.read_bytes()
    assert image[0x38:0x3C] == b"ARM\x64"
    packed = tmp_path / "Image.gz"
    packed.write_bytes(gzip.compress(image, compresslevel=1))
    async with replace(linux, kernel=packed).boot(append='quiet run="uname -r"') as guest:
        assert (await what_it_did(guest)).startswith(f"{linux.release}\nrun: exit status 0\n")


async def test_eight_gibibytes_of_memory(linux: Linux) -> None:
    append = 'earlycon run="free -m; dd if=/dev/zero of=/tmp/big bs=1M count=8; cat /proc/iomem"'
    async with linux.boot("--memory", "8G", append=append) as guest:
        text = await what_it_did(guest)
    assert "earlycon: pl11 at MMIO 0x0000000009000000" in text
    total = re.search(r"^Mem: +(\d+)", text, re.MULTILINE)
    assert total is not None
    assert int(total[1]) > 7700
    assert re.search(r"^40000000-23fffffff : System RAM$", text, re.MULTILINE)


@pytest.mark.parametrize(("suite", "version"), [("bullseye", "5.10"), ("trixie", "6.12")])
async def test_an_older_and_a_newer_kernel(fetched: Fetcher, suite: str, version: str) -> None:
    async with fetched(suite).boot("--smp", "2", append='quiet run="uname -r; nproc"') as guest:
        text = await what_it_did(guest)
    assert re.search(rf"^{re.escape(version)}\.\S+-cloud-arm64\n2$", text, re.MULTILINE)
