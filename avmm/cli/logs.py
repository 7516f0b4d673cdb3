"""Life-cycle events on standard error: key=value, in colour for people."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Mapping

from avmm.log import LOGGER, Event

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


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


class _Handler(logging.Handler):
    """Writes events to `Diagnostics`, a line each."""

    def __init__(self, stream: Diagnostics) -> None:
        super().__init__()
        self._stream, self._line = stream, coloured if stream.isatty() else logfmt

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line."""
        self._stream.write(f"{self._line(record)}\n")
        self._stream.flush()


def logfmt(record: logging.LogRecord) -> str:
    """An event as `key=value`, for programs."""
    event, fields = _parts(record)
    told = {"timestamp": _timestamp(record), "level": record.levelname.lower(), "event": event, **fields}
    return " ".join(f"{key}={_quoted(value)}" for key, value in told.items())


def _quoted(value: object) -> str:
    if value is None:
        return ""
    text = str(value).lower() if isinstance(value, bool) else str(value)
    quote = '"' if any(character in text for character in ' ="') else ""
    if quote:
        text = text.replace("\\", r"\\")
    return quote + text.replace('"', r"\"").replace("\n", r"\n") + quote


_RESET, _BOLD, _DIM, _CYAN, _MAGENTA = "\x1b[0m", "\x1b[1m", "\x1b[2m", "\x1b[36m", "\x1b[35m"
_COLOURS = {logging.WARNING: "\x1b[33m", logging.ERROR: "\x1b[31m"}
_GREEN = "\x1b[32m"


def coloured(record: logging.LogRecord) -> str:
    """An event in colours, for people."""
    event, fields = _parts(record)
    level = f"[{_COLOURS.get(record.levelno, _GREEN)}{_BOLD}{record.levelname.lower():<9}{_RESET}]"
    told = (f"{_CYAN}{key}{_RESET}={_MAGENTA}{_plain(fields[key])}{_RESET}" for key in sorted(fields))
    return " ".join((f"{_DIM}{_timestamp(record)}{_RESET}", level, f"{_BOLD}{event:<16}{_RESET}", *told))


def _plain(value: object) -> str:
    """A value as it is where that cannot be misread."""
    return value if isinstance(value, str) and value.isprintable() and not set(value) & set(" =\"'") else repr(value)


def _parts(record: logging.LogRecord) -> tuple[str, Mapping[str, object]]:
    message: object = record.msg
    return (message.event, message.fields) if isinstance(message, Event) else (record.getMessage(), {})


def _timestamp(record: logging.LogRecord) -> str:
    return f"{time.strftime('%H:%M:%S', time.localtime(record.created))}.{int(record.created % 1 * 1e6):06}"


_TOLD = {"guest crashed", "vm failed"}
"""Events that the command ends with, and then tells of in a line of its own."""


def _without_told(record: logging.LogRecord) -> bool:
    return _parts(record)[0] not in _TOLD


def configure(level: str) -> None:
    """Show events of `level` (a key of `LEVELS`) and above."""
    logger, handler = logging.getLogger(LOGGER), _Handler(Diagnostics())
    if LEVELS[level] >= logging.WARNING:
        handler.addFilter(_without_told)
    logger.handlers, logger.propagate = [handler], False
    logger.setLevel(LEVELS[level])
