"""The receiver: where it is, who tells it, and how long it is waited for."""

from __future__ import annotations

import logging
from importlib.metadata import PackageNotFoundError, version
from urllib.parse import urlsplit

from opentelemetry.sdk.resources import Resource

from avmm.plugin import ConfigError

LAST_S = 2.0
"""How long the last push may take, in seconds: a receiver that is gone must not keep a VM from its end."""

# Whoever configures logging sees what the SDK says; nobody else has it on standard error, beside our own line.
logging.getLogger("opentelemetry").addHandler(logging.NullHandler())


def receiver_url(setting: str, path: str, *, key: str) -> str:
    """The URL to send to: `setting`, with `path` where it has none. ConfigError about `key` when it is no URL."""
    try:
        parts = urlsplit(setting)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0:
            raise ValueError(setting)
    except ValueError:
        raise ConfigError(f"{setting!r} is not the URL of a receiver, like http://127.0.0.1:4318", key=key) from None
    return setting if parts.path not in ("", "/") else f"{parts.scheme}://{parts.netloc}{path}"


def resource() -> Resource:
    """Who sends: avmm, with what OTEL_RESOURCE_ATTRIBUTES adds."""
    return Resource.create({"service.name": "avmm", "service.version": installed_version()})


def installed_version() -> str:
    """avmm's version."""
    try:
        return version("avmm")
    except PackageNotFoundError:  # run from a source tree
        return "unknown"
