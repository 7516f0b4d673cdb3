# SPDX-License-Identifier: GPL-2.0-or-later
"""The Unicorn engine: AArch64 system emulation for avmm on the unicorn 2.1.4 wheel, with a small native shim."""

from __future__ import annotations

from avmm.plugin import Engine, EngineOptions

__all__ = ["create_engine"]


def create_engine(options: EngineOptions) -> Engine:
    """The engine of one VM (entry point `avmm.engines`).

    `EngineError` when this host, or the unicorn installed on it, cannot be used; `ConfigError` for an unknown CPU or option.
    """
    from avmm_unicorn.engine import UnicornEngine

    return UnicornEngine(options)
