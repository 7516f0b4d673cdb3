# SPDX-License-Identifier: GPL-2.0-or-later
"""Finding the unicorn wheel and loading its library: once a process, or not at all."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

from avmm.plugin import (
    BUDGET_EXHAUSTED,
    HALTED,
    KICKED,
    YIELDED,
    Debug,
    EngineError,
    ExternalAbort,
    Fault,
    Undefined,
)

VERSION = "2.1.4"
VERSION_NUMBER = 0x020104FF
LIBRARY = "lib/libunicorn.so.2"


def installed_version() -> str:
    """The version of the unicorn distribution; EngineError when there is none."""
    import importlib.metadata  # only to say what is wrong

    try:
        return importlib.metadata.version("unicorn")
    except importlib.metadata.PackageNotFoundError:
        raise EngineError(f"unicorn engine: unicorn is not installed: pip install unicorn=={VERSION}") from None


def library_path() -> Path:
    """The wheel's shared library. The Python package `unicorn` itself is not imported."""
    spec = importlib.util.find_spec("unicorn")
    places = list(spec.submodule_search_locations or []) if spec is not None else []
    for place in places:
        path = Path(place, LIBRARY)
        if path.is_file():
            return path
    raise EngineError(f"unicorn engine: no {LIBRARY} in the unicorn {installed_version()} installed here")


def check_host() -> None:
    """EngineError unless this is CPython on x86-64 Linux with glibc, the one layout of the library known here."""
    if sys.platform != "linux" or os.uname().machine != "x86_64" or sys.implementation.name != "cpython":
        import platform  # only to say what is wrong

        here = f"{sys.implementation.name} on {sys.platform} {platform.machine()}"
        raise EngineError(f"unicorn engine: needs CPython on x86-64 Linux, this is {here}")
    if "CS_GNU_LIBC_VERSION" not in os.confstr_names or not (os.confstr("CS_GNU_LIBC_VERSION") or "").startswith("glibc"):
        raise EngineError("unicorn engine: needs a Linux with glibc")


def _native() -> ModuleType:
    try:
        from avmm_unicorn import _native
    except ImportError as error:
        raise EngineError(f"unicorn engine: the native shim was not built for this Python: {error}") from None
    return _native


def load() -> None:
    """Load the library; EngineError with one line that names the version when it cannot be used. Cheap when repeated."""
    check_host()
    path = library_path()
    native = _native()
    native.configure(ExternalAbort, Undefined, EngineError, KICKED, HALTED, YIELDED, BUDGET_EXHAUSTED, Debug, Fault)
    try:
        native.load(str(path), VERSION_NUMBER)
    except RuntimeError as error:
        raise EngineError(f"unicorn engine: needs unicorn {VERSION}, cannot use {installed_version()}: {error}") from None
