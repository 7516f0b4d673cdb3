"""A guest on `avmm run`, as somebody at its console has it: typing, and waiting for what it says."""

from __future__ import annotations

import asyncio
import re
import sys
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

PATIENCE_S = 120
"""After this a guest is taken to hang. Nothing waits for it to pass."""
PROMPT = r"debian:\S+# "
TROUBLE = re.compile(
    r"rcu: .*(stall|self-detected)|soft lockup|hard LOCKUP|unexpected|BUG:|WARNING:|Oops|Call trace"
    r"|Unable to handle|Internal error",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command wrote, and its exit status."""

    status: int
    text: str


class Console:
    """The console of one running guest."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.text = ""
        """All it ever wrote."""
        self._seen = 0
        self._commands = 0
        self._more = asyncio.Event()
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self.process.stdout is not None
        while data := await self.process.stdout.read(1 << 16):
            self.text += data.decode(errors="replace").replace("\r", "")
            self._more.set()
        self._more.set()

    def type(self, line: str) -> None:
        """Type a line."""
        assert self.process.stdin is not None
        self.process.stdin.write(line.encode() + b"\n")

    async def expect(self, pattern: str) -> re.Match[str]:
        """Wait for something new that matches; the next `expect` looks behind it."""
        compiled = re.compile(pattern, re.MULTILINE)
        try:
            async with asyncio.timeout(PATIENCE_S):
                while (found := compiled.search(self.text, self._seen)) is None:
                    assert not self._reader.done(), f"the guest is gone, and never said {pattern!r}:\n{self.text[self._seen :]}"
                    self._more.clear()
                    await self._more.wait()
        except TimeoutError:
            raise AssertionError(f"the guest never said {pattern!r}:\n{self.text[self._seen :]}") from None
        self._seen = found.end()
        return found

    async def shell(self) -> None:
        """Wait for the shell, and have it behave as for a program: no echo, no prompt, and no editing."""
        await self.expect(PROMPT)
        self.type("stty -echo; dmesg -n 1; echo $((6 * 7)) up; sh 2>&1 | cat")
        await self.expect(r"^42 up\n")

    async def run(self, command: str) -> Answer:
        """Carry out a command in the guest's shell."""
        self._commands += 1
        start = self._seen
        self.type(f"{command}\necho :{self._commands}:$?:")
        found = await self.expect(rf":{self._commands}:(\d+):\n")
        return Answer(int(found[1]), self.text[start : found.start()])

    async def output(self, command: str) -> str:
        """What a command wrote; it must succeed."""
        answer = await self.run(command)
        assert answer.status == 0, f"{command}: {answer}"
        return answer.text

    async def power_off(self) -> int:
        """Power the guest off; what `avmm` exits with. Fails if the kernel complained of anything in its life."""
        log = await self.output("dmesg")
        self.type("poweroff -f")
        status = await self.ended()
        trouble = [line for line in (log + self.text).splitlines() if TROUBLE.search(line)]
        assert not trouble, trouble
        return status

    async def ended(self) -> int:
        """Wait for the end; what `avmm` exits with."""
        async with asyncio.timeout(PATIENCE_S):
            await self._reader
            return await self.process.wait()


async def start(*arguments: str) -> Console:
    """`avmm run` with these arguments."""
    command = [sys.executable, "-m", "avmm.cli", "run", *arguments]
    return Console(await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, stderr=STDOUT))


@asynccontextmanager
async def running(*arguments: str) -> AsyncIterator[Console]:
    """`avmm run` with these arguments; killed at the end if it still runs."""
    console = await start(*arguments)
    try:
        yield console
    finally:
        if console.process.returncode is None:
            console.process.kill()
        await console.ended()
        print(console.text)  # all of it, beside a failure
