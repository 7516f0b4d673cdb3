"""Events: life-cycle, plugin faults, guest faults. Never one per exit."""

from __future__ import annotations

import logging

import structlog
from structlog.typing import FilteringBoundLogger


def get_logger() -> FilteringBoundLogger:
    """A structlog logger: the application's own configuration if it has made one, else quiet: through `logging`, as "avmm"."""
    logger: FilteringBoundLogger
    if structlog.is_configured():
        logger = structlog.get_logger("avmm")
    else:
        logger = structlog.wrap_logger(
            logging.getLogger("avmm"),
            processors=[structlog.stdlib.filter_by_level, structlog.processors.KeyValueRenderer(key_order=["event", "vm"])],
            wrapper_class=structlog.stdlib.BoundLogger,
        )
    return logger
