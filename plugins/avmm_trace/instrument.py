"""The instrument: records a VM from its start, and writes its timeline at its end, whatever ends it."""

from __future__ import annotations

import os
from asyncio import get_running_loop
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from avmm.plugin import ConfigError, ObservedVm, get_logger
from avmm_trace.perfetto_file import encode
from avmm_trace.recorder import Recorder
from avmm_trace.timeline import Timeline
from avmm_trace.weave import Weaver

EVENTS = 1 << 17
"""Events kept unless a setting says otherwise: some 20 MB."""
MAX_EVENTS = 1 << 24

log = get_logger()


class TraceInstrument:
    """Writes a Perfetto trace of one VM to a file."""

    def __init__(self, path: Path, events: int = EVENTS) -> None:
        """Keep the last `events` (1 to 2**24). ConfigError when the file cannot be written."""
        if not 1 <= events <= MAX_EVENTS:
            raise ConfigError(f"{events} events: a ring holds from 1 to {MAX_EVENTS}", key="trace")
        self.path, self._events = path, events
        self._recorder: Recorder | None = None
        self.timeline: Timeline | None = None
        """What was written; None before the VM's end."""

    async def start(self, vm: ObservedVm) -> None:
        """Record `vm` from now on; ConfigError when the file cannot be written, or another VM is recorded to it."""
        if self._recorder is not None:
            raise ConfigError("an instrument records one VM", key="trace")
        try:
            self._fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise ConfigError(f"{self.path}: {error.strerror}", key="trace") from None
        self._recorder = Recorder(vm, self._events)
        self._recorder.start()

    async def stop(self, vm: ObservedVm) -> None:
        """Write what was recorded; ConfigError when that fails. The event loop goes on meanwhile."""
        assert self._recorder is not None
        self._recorder.stop()
        with ThreadPoolExecutor(1, thread_name_prefix="trace") as thread:
            timeline = await get_running_loop().run_in_executor(thread, self._write, vm, self._recorder)
        self.timeline = timeline
        if timeline.lost:
            log.warning("trace incomplete", vm=vm.name, file=str(self.path), events=timeline.recorded, lost=timeline.lost)
        else:
            log.info("trace written", vm=vm.name, file=str(self.path), events=timeline.recorded)

    def _write(self, vm: ObservedVm, recorder: Recorder) -> Timeline:
        events, lost = recorder.events()
        timeline = Timeline(vm.name, len(events), lost)
        devices = [(region.address, region.end, region.name) for region in vm.bus]
        Weaver(timeline, vm.request_names, devices, recorder.loop_thread).weave(events)
        try:
            with os.fdopen(self._fd, "wb") as file:
                file.write(encode(timeline))
        except OSError as error:
            raise ConfigError(f"{self.path}: {error.strerror}", key="trace") from None
        return timeline


def create_instrument(setting: str) -> TraceInstrument:
    """The instrument for `trace = "FILE"` or `"FILE,events=N"`."""
    path, comma, option = setting.rpartition(",")
    if not comma:
        return TraceInstrument(Path(setting))
    name, _, number = option.partition("=")
    if name != "events" or not number.isascii() or not number.isdigit():
        raise ConfigError(f"{option!r} is not events=N", key="trace")
    return TraceInstrument(Path(path), int(number))
