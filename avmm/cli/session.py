"""One machine between its start and its end, joined to this process's terminal and signals."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
from contextlib import suppress
from typing import assert_never

from avmm.cli.escape import HELP, Command, EscapeFilter
from avmm.cli.exit_codes import ExitCode
from avmm.cli.input import ConsoleInput
from avmm.cli.logs import Diagnostics
from avmm.cli.output import ConsoleOutput
from avmm.cli.panic import PanicWatch
from avmm.cli.statistics import Snapshot, closing_table, growth_table
from avmm.cli.terminal import RawTerminal
from avmm.config import MachineConfig
from avmm.errors import AvmmError, ConfigError
from avmm.halt import HaltReason
from avmm.vm import Vm

_SIGNALS = {
    signal.SIGINT: ExitCode.INTERRUPTED,
    signal.SIGTERM: ExitCode.TERMINATED,
    signal.SIGHUP: ExitCode.HANGUP,
}
_AHEAD = 1 << 20
"""How many bytes are read of a terminal ahead of a guest that does not read, so that commands behind them are seen."""
_HALTS = {
    HaltReason.SHUTDOWN: ExitCode.OK,
    HaltReason.STOPPED: ExitCode.OK,
    HaltReason.CRASH: ExitCode.CRASHED,
    HaltReason.RESET: ExitCode.RESET,
}


class Session:
    """Runs one machine. Everything is put back whatever ends it: the terminal, the signals, the machine's own parts."""

    def __init__(self, config: MachineConfig, *, stdin: int | None, stdout: int | None, live: bool) -> None:
        """`stdin` and `stdout` are file descriptors, or None when closed. With `live`, print statistics. Needs a running loop."""
        self._config, self._stdin, self._stdout = config, stdin, stdout
        self._live, self._closing_table = live, live
        self._stderr = Diagnostics()
        self._escape = EscapeFilter()
        self._over = asyncio.Event()
        self._asked: ExitCode | None = None
        """The first reason to end that came from outside the guest."""
        loop = asyncio.get_running_loop()
        self._output = ConsoleOutput(stdout, lambda: loop.call_soon_threadsafe(self._end, ExitCode.BROKEN_PIPE))
        self._panic = PanicWatch(lambda reason: loop.call_soon_threadsafe(self._panicked, reason))

    async def run(self) -> int:
        """From start to end; what to exit with: an `ExitCode`, or the status that the guest gave. AvmmError as `Vm` raises it."""
        loop = asyncio.get_running_loop()
        for number, asked in _SIGNALS.items():
            loop.add_signal_handler(number, self._end, asked)
        try:
            with RawTerminal(self._stdin) as terminal:
                loop.add_signal_handler(signal.SIGCONT, terminal.again)
                code, report = await self._run_vm(terminal)
        except ConfigError as error:
            raise self._config.located(error) from None
        finally:
            gc.enable()
            self._output.close()
            for number in (*_SIGNALS, signal.SIGCONT):
                loop.remove_signal_handler(number)
        if self._output.dropped:
            self._say(f"avmm: {self._output.dropped} bytes of console output were dropped: nobody read them in time\n")
        self._say(report)
        return code

    async def _run_vm(self, terminal: RawTerminal) -> tuple[int, str]:
        """What to exit with, and what to say behind the guest's last word."""
        gc.disable()  # what a machine is made of is no garbage
        async with Vm(self._config, console=self._output.write) as vm:
            for notice in vm.notices:
                self._say(f"avmm: {notice}\n")
            gc.freeze()  # what there is now lasts as long as the machine: not to be searched for garbage, nor at the end
            gc.enable()
            started_ns = vm.clock.now_ns()
            vm.console.watch(self._panic)
            await vm.start()
            console = ConsoleInput(
                terminal.fd, vm.console, lambda data: self._plain(vm, data) if terminal.raw else data, ahead=_AHEAD * terminal.raw
            )
            console.start()
            loop = asyncio.get_running_loop()
            loop.add_signal_handler(signal.SIGWINCH, self._resized, vm)
            self._resized(vm)
            ticker = asyncio.create_task(self._tick(vm, started_ns))
            try:
                code, ending = await self._until_over(vm)
            finally:
                console.stop()
                loop.remove_signal_handler(signal.SIGWINCH)
                ticker.cancel()
                with suppress(asyncio.CancelledError):
                    await ticker
            report = f"avmm: {vm.name} {ending}\n" if code is ExitCode.CRASHED else ""
            if self._closing_table:
                report += closing_table(vm, Snapshot.of(vm), started_ns, ending)
        return code, report

    async def _until_over(self, vm: Vm) -> tuple[int, str]:
        """Wait for the guest's end, or bring it about when a signal or the user asks for it; what it was, also in words."""
        halted = asyncio.create_task(vm.halted())
        halted.add_done_callback(lambda _: self._over.set())
        await self._over.wait()
        if not halted.done():
            assert self._asked is not None
            await vm.stop(self._asked.name.lower())
        halt = await halted
        ending = f"ended: {halt}"
        if halt.reason is HaltReason.STOPPED and self._asked is not None:
            return self._asked, ending
        if halt.reason is HaltReason.RESET and self._panic.reason is not None:
            return ExitCode.CRASHED, f"ended: the guest's kernel panicked ({self._panic.reason}) and asked for a reset"
        return halt.status or _HALTS[halt.reason], ending

    def _end(self, code: ExitCode) -> None:
        """The first reason to end is the one that counts."""
        if self._asked is None:
            self._asked = code
        self._over.set()

    def _panicked(self, reason: str) -> None:
        self._say(f"avmm: {self._config.name}: the guest's kernel panicked: {reason}\n")

    def _plain(self, vm: Vm, typed: bytes) -> bytes:
        """What of that which was typed is for the guest; commands are carried out."""
        plain = b""
        for action in self._escape.feed(typed):
            match action:
                case bytes():
                    plain += action
                case Command.HELP:
                    self._say(HELP)
                case Command.QUIT:
                    self._end(ExitCode.OK)
                case Command.POWER_BUTTON:
                    self._press_power_button(vm)
                case Command.STATISTICS:
                    self._live = not self._live
                case _:
                    assert_never(action)
        return plain

    def _press_power_button(self, vm: Vm) -> None:
        try:
            vm.steering.press_power_button()
        except AvmmError as error:
            self._say(f"avmm: {error}\n")

    def _resized(self, vm: Vm) -> None:
        """Tell the guest how large the terminal is, where standard output is one."""
        if self._stdout is not None:
            with suppress(OSError):  # it is none, or not any more
                vm.console.resize(*os.get_terminal_size(self._stdout))

    async def _tick(self, vm: Vm, started_ns: int) -> None:
        """Once a second, what happened in it."""
        before = Snapshot.of(vm)
        while True:
            await asyncio.sleep(1)
            now = Snapshot.of(vm)
            if self._live:
                self._say(growth_table(vm.name, vm.state(), before, now, started_ns))
            before = now

    def _say(self, text: str) -> None:
        """Print on standard error, from the start of a line even when the guest is in the middle of one."""
        self._stderr.write(("\n" if self._output.mid_line and self._stderr.isatty() else "") + text)
        self._stderr.flush()
