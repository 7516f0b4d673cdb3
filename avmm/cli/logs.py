"""Life-cycle events on standard error: key=value, in colour for people."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING

from avmm.log import LEVELS, LOGGER, configure_when_needed

if TYPE_CHECKING:
    from structlog.typing import EventDict, Processor


class Diagnostics:
    """Standard error, closed or broken or not: a log line must never end what it tells of. Any thread."""

    def write(self, text: str) -> None:
        """Write `text`, or nothing when nobody can read it."""
        if sys.stderr is not None:
            try:
                sys.stderr.write(text)
            except (OSError, ValueError):
                pass

    def flush(self) -> None:
        """Make what was written visible."""
        if sys.stderr is not None:
            try:
                sys.stderr.flush()
            except (OSError, ValueError):
                pass

    def isatty(self) -> bool:
        """True when a person reads along."""
        return sys.stderr is not None and sys.stderr.isatty()


class _Logger:
    """What structlog hands finished lines to, by the level's name."""

    def __init__(self, stream: Diagnostics) -> None:
        self._stream = stream

    def msg(self, line: str) -> None:
        """Write one line."""
        self._stream.write(f"{line}\n")
        self._stream.flush()

    debug = info = warning = error = critical = exception = msg


_TOLD = {"guest crashed", "vm failed"}
"""Events that the command ends with, and then tells of in a line of its own."""


def _without_told(_logger: object, _level: str, event: EventDict) -> EventDict:
    if event["event"] in _TOLD:
        from structlog import DropEvent

        raise DropEvent
    return event


def configure(level: str) -> None:
    """Show events of `level` (a key of `LEVELS`) and above."""
    logging.getLogger(LOGGER).setLevel(LEVELS[level])
    if LEVELS[level] < logging.WARNING:
        _configure(level)  # there will be events: better now than in the middle of a guest's life
    else:
        configure_when_needed(lambda: _configure(level))


def _configure(level: str) -> None:
    import structlog

    stream = Diagnostics()
    renderer: Processor = structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "event"], bool_as_flag=False)
    if stream.isatty():
        renderer = structlog.dev.ConsoleRenderer(pad_event_to=16, repr_native_str=True)  # a guest must not colour the terminal
    structlog.configure(
        processors=[
            *([_without_told] if LEVELS[level] >= logging.WARNING else []),
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="%H:%M:%S.%f", utc=False),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=lambda *_: _Logger(stream),
        cache_logger_on_first_use=False,
    )
