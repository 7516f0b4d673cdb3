"""Linux's virtio-console driver: hvc0 as the machine's console, and named ports."""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
import pty
import random
import re
import signal
import struct
import sys
import termios
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.linux.conftest import Linux
from tests.linux.console import PATIENCE_S, PROMPT, TROUBLE

TEXT = random.Random(5).randbytes(1_000_000)
DIGEST = hashlib.sha256(TEXT).hexdigest()
MACHINE = """
[devices.con]
kind = "virtio-console"
hvc = "listen:unix:{0}/hvc"

[devices.con.ports]
"org.example.agent" = "listen:unix:{0}/agent"
log = "file:{0}/log"
second = {{ to = "listen:unix:{0}/second", hvc = true }}
"""


async def test_ports_by_name_both_ways(linux: Linux, tmp_path: Path) -> None:
    (tmp_path / "machine.toml").write_text(MACHINE.format(tmp_path))
    async with linux.boot(str(tmp_path / "machine.toml")) as guest:
        await guest.shell()
        # A port's name comes in a message of its own, behind the port.
        names = "cat /sys/class/virtio-ports/*/name"
        await guest.output(f"until [ $({names} | wc -l) = 3 ]; do usleep 1000; done")
        assert (await guest.output(names)).split() == ["org.example.agent", "log", "second"]
        agent = (await guest.output("grep -l agent /sys/class/virtio-ports/*/name")).split("/")[4]

        # The host speaks first, before anybody reads: all of it arrives.
        reader, writer = await asyncio.open_unix_connection(f"{tmp_path}/agent")
        writer.write(TEXT)
        got = await guest.output(f"head -c {len(TEXT)} /dev/{agent} | sha256sum")
        assert got.split()[0] == DIGEST
        # The guest writes more than anybody has room for, before the host reads: it waits.
        guest.type(f"yes 0123456789abcde | head -c {len(TEXT)} >/dev/{agent}; echo written")
        sent = await asyncio.wait_for(reader.readexactly(len(TEXT)), PATIENCE_S)
        assert hashlib.sha256(sent).digest() == hashlib.sha256(b"0123456789abcde\n" * (len(TEXT) // 16)).digest()
        await guest.expect("^written\n")

        # The host goes: the guest reads the end. It comes back: the port is there as before.
        guest.type(f"cat /dev/{agent} >/tmp/rest; echo end")
        writer.write(b"the rest")
        writer.close()
        await guest.expect("^end\n")
        reader, writer = await asyncio.open_unix_connection(f"{tmp_path}/agent")
        writer.write(b"again\n")
        assert await guest.output(f"cat /tmp/rest; head -n 1 /dev/{agent}") == "the restagain\n"
        writer.close()

        await guest.output("echo for the file >/dev/vport0p2")
        for name, hvc in (("hvc", "hvc0"), ("second", "hvc1")):
            guest.type(f"setsid sh -i </dev/{hvc} >/dev/{hvc} 2>&1 &")
            reader, writer = await asyncio.open_unix_connection(f"{tmp_path}/{name}")
            writer.write(b"echo $((6 * 7)) here; exit\n")
            await asyncio.wait_for(reader.readuntil(b"42 here"), PATIENCE_S)
            writer.close()
        assert await guest.power_off() == 0
    assert (tmp_path / "log").read_bytes() == b"for the file\n"


async def test_a_mebibyte_pasted_at_once_arrives_whole(linux: Linux) -> None:
    # No control characters: the console's driver acts on one of them.
    pasted = bytes(random.Random(6).choices(range(32, 127), k=1 << 20))
    async with linux.boot("--hvc", "console", append="console=hvc0") as guest:
        await guest.expect(PROMPT)
        guest.type(f"stty raw -echo; echo rea''dy; head -c {len(pasted)} | sha256sum; stty sane")
        await guest.expect("ready")
        assert guest.process.stdin is not None
        guest.process.stdin.write(pasted)
        assert (await guest.expect(r"[0-9a-f]{64}"))[0] == hashlib.sha256(pasted).hexdigest()
        guest.type("poweroff -f")
        assert await guest.ended() == 0


class Terminal:
    """A terminal with `avmm run` on it."""

    def __init__(self, keys: int) -> None:
        self._keys = keys
        self.text = ""

    def type(self, text: str) -> None:
        os.write(self._keys, text.encode())

    def size(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self._keys, termios.TIOCSWINSZ, struct.pack("<HHHH", rows, columns, 0, 0))

    async def until(self, pattern: str) -> None:
        """Wait for something on the screen that matches."""
        loop = asyncio.get_running_loop()
        readable = asyncio.Event()
        loop.add_reader(self._keys, readable.set)
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not re.search(pattern, self.text):
                    await readable.wait()
                    readable.clear()
                    self.text += os.read(self._keys, 1 << 16).decode(errors="replace")
        finally:
            loop.remove_reader(self._keys)


@asynccontextmanager
async def on_a_terminal(*arguments: str) -> AsyncIterator[tuple[Terminal, asyncio.subprocess.Process]]:
    keys, screen = pty.openpty()
    terminal = Terminal(keys)
    terminal.size(100, 30)
    command = [sys.executable, "-m", "avmm.cli", "run", *arguments]
    process = await asyncio.create_subprocess_exec(*command, stdin=screen, stdout=screen, stderr=screen, start_new_session=True)
    try:
        yield terminal, process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        os.close(keys)
        os.close(screen)
        print(terminal.text)  # beside a failure


async def test_hvc0_is_the_console_and_follows_the_terminals_size(linux: Linux) -> None:
    files = ("--kernel", str(linux.kernel), "--initrd", str(linux.initrd), "--memory", "512M")
    async with on_a_terminal(*files, "--hvc", "console", "--append", "console=hvc0") as (terminal, process):
        await terminal.until(PROMPT)
        terminal.type("tty; stty size; cat /proc/consoles\r")
        await terminal.until(r"/dev/hvc0\s+30 100\s+hvc0 .*\s+debian:")
        terminal.size(132, 43)
        process.send_signal(signal.SIGWINCH)
        terminal.type("until [ \"$(stty size)\" = '43 132' ]; do usleep 10000; done; echo sec''ond\r")
        await terminal.until("second")
        terminal.type("poweroff\r")
        assert await asyncio.wait_for(process.wait(), PATIENCE_S) == 0
        assert not TROUBLE.search(terminal.text)
