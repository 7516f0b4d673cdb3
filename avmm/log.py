"""Events: life-cycle, plugin faults, guest faults. Never one per exit."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from dataclasses import dataclass

LOGGER = "avmm"


@dataclass(frozen=True, slots=True)
class Event:
    """The message of a record of `logging`: its `str()` is one line."""

    event: str
    fields: Mapping[str, object]

    def __str__(self) -> str:
        return " ".join(f"{key}={value!r}" for key, value in {"event": self.event, **self.fields}.items())


class EventLogger:
    """Tells events and what is known of them, by structlog where the application has configured it, else by `logging`, as "avmm".

    Any thread.
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
        fields = {**self._fields, **fields}
        # An application that has configured structlog has imported it. For others it is not worth what importing it takes,
        # which the first event would take from the event loop in the middle of a guest's life.
        structlog = sys.modules.get("structlog")
        if structlog is not None and structlog.is_configured():
            getattr(structlog.get_logger(LOGGER), level)(event, **fields)
        else:
            getattr(logging.getLogger(LOGGER), level)(Event(event, fields))


def get_logger(**fields: object) -> EventLogger:
    """What tells of the machine's and its plugins' life. `fields` are told with every event."""
    return EventLogger(fields)
