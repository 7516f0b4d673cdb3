"""Events: life-cycle, plugin faults, guest faults. Never one per exit."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

LOGGER = "avmm"
LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}

_when_needed: list[Callable[[], None]] = []


def configure_when_needed(configure: Callable[[], None]) -> None:
    """Have `configure` called before the first event that is heard, to configure structlog if nobody has by then."""
    _when_needed[:] = [configure]


class EventLogger:
    """Tells events and what is known of them, by structlog as the application has configured it, else by `logging`, as "avmm".

    structlog is imported for the first event that somebody hears: it takes 45 ms, a third of the life of a small guest, and
    most lives pass without one. Any thread.
    """

    def __init__(self, fields: Mapping[str, object]) -> None:
        """`fields` are told with every event."""
        self._fields = fields

    def bind(self, **fields: object) -> EventLogger:
        """A logger that tells `fields` too."""
        return EventLogger({**self._fields, **fields})

    def debug(self, event: str, **fields: object) -> None:
        """What only a developer asks for."""
        self._tell("debug", event, fields)

    def info(self, event: str, **fields: object) -> None:
        """The normal course of life."""
        self._tell("info", event, fields)

    def warning(self, event: str, **fields: object) -> None:
        """Something odd; all goes on."""
        self._tell("warning", event, fields)

    def error(self, event: str, **fields: object) -> None:
        """Something is broken."""
        self._tell("error", event, fields)

    def _tell(self, level: str, event: str, fields: Mapping[str, object]) -> None:
        if _is_heard(level):
            getattr(_structlog(), level)(event, **{**self._fields, **fields})


def get_logger(**fields: object) -> EventLogger:
    """What tells of the machine's and its plugins' life. `fields` are told with every event."""
    return EventLogger(fields)


def _is_heard(level: str) -> bool:
    structlog = sys.modules.get("structlog")
    if structlog is not None and structlog.is_configured():
        return True  # it filters by itself
    return logging.getLogger(LOGGER).isEnabledFor(LEVELS[level])


def _structlog() -> FilteringBoundLogger:
    import structlog

    if not structlog.is_configured():
        for configure in _when_needed:
            configure()
    logger: FilteringBoundLogger
    if structlog.is_configured():
        logger = structlog.get_logger(LOGGER)
    else:
        logger = structlog.wrap_logger(
            logging.getLogger(LOGGER),
            processors=[structlog.stdlib.filter_by_level, structlog.processors.KeyValueRenderer(key_order=["event", "vm"])],
            wrapper_class=structlog.stdlib.BoundLogger,
        )
    return logger
