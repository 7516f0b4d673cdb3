# SPDX-License-Identifier: GPL-2.0-or-later
"""The Unicorn engine: AArch64 system emulation for avmm on the unicorn 2.1.4 wheel, with a small native shim."""

from __future__ import annotations

from avmm.plugin import Engine, EngineOptions

__all__ = ["create_engine", "self_check"]


def create_engine(options: EngineOptions) -> Engine:
    """The engine of one VM (entry point `avmm.engines`).

    `EngineError` when this host, or the unicorn installed on it, cannot be used; `ConfigError` for an unknown CPU or option.
    """
    from avmm_unicorn.engine import UnicornEngine

    return UnicornEngine(options)


def self_check() -> str:
    """Try the engine, for `avmm doctor`: what works. `EngineError` when it cannot be used."""
    from avmm_unicorn import selfcheck

    selfcheck.check()
    return "works, vCPUs in parallel" if selfcheck.parallel_works() else "works, vCPUs in turns only"
