"""Bring a guest from its distributor's archive into a cache: a kernel, and a small initramfs that comes up to a shell.

Checked by the archive's own hashes, and by its signature where gpgv and Debian's keyring are installed. What is in the cache is
taken from there, without a look at the network.
"""

from __future__ import annotations

import argparse
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from avmm.cli.exit_codes import ExitCode
from avmm.errors import FetchError
from avmm.fetch.places import FLAVOURS, SUITES
from avmm.user_cache import user_cache

if TYPE_CHECKING:
    from tqdm import tqdm

_NEEDED = ("debian", "elftools", "tqdm")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `avmm fetch`."""
    parser.add_argument(
        "guest", choices=("debian-arm64",), help="debian-arm64: Debian's kernel for virtual machines, and busybox"
    )
    parser.add_argument("--suite", choices=SUITES, default=SUITES[0], help=f"Debian's release (default: {SUITES[0]})")
    parser.add_argument(
        "--flavour", choices=FLAVOURS, default=FLAVOURS[0], help="the kernel for virtual machines, or Debian's usual one, larger"
    )
    parser.add_argument("--cache", type=Path, metavar="DIR", help="the cache (default: $XDG_CACHE_HOME/avmm, or ~/.cache/avmm)")
    parser.add_argument("--mirror", metavar="URL", help="the archive (default: the one apt uses here, or deb.debian.org)")
    parser.add_argument("--refresh", action="store_true", help="ask the archive for newer packages")
    parser.add_argument("--print", choices=("kernel", "initrd", "release"), help="print this alone, for scripts")


def command(arguments: argparse.Namespace) -> int:
    """Carry out `avmm fetch`."""
    if missing := [name for name in _NEEDED if find_spec(name) is None]:
        raise FetchError(f"{', '.join(missing)} not installed: pip install 'avmm[fetch]'")
    # Here, because nothing else needs what these need.
    from avmm.fetch.archive import configured_mirror
    from avmm.fetch.guest import fetch

    cache = arguments.cache or user_cache()
    mirror = arguments.mirror or configured_mirror()
    flavour, refresh = arguments.flavour, arguments.refresh
    guest = fetch(cache.absolute(), arguments.suite, mirror, TerminalProgress(), flavour=flavour, refresh=refresh)
    match arguments.print:
        case None:
            print(f"kernel   {guest.kernel}\ninitrd   {guest.initrd}\nrelease  {guest.release}", flush=True)
        case what:
            print(getattr(guest, what), flush=True)
    return ExitCode.OK


class TerminalProgress:
    """Progress on standard error: a line a step, and a bar for a download where that is a terminal."""

    def __init__(self) -> None:
        self._bar: tqdm[NoReturn] | None = None

    def step(self, text: str) -> None:
        print(f"avmm: {text}", file=sys.stderr, flush=True)

    def begin(self, name: str, size: int | None) -> None:
        from tqdm import tqdm

        if not sys.stderr.isatty():
            self.step(f"fetching {name}" + (f" ({size / 1e6:.1f} MB)" if size else ""))
        self._bar = tqdm(total=size, desc=name[:40], unit="B", unit_scale=True, disable=None, file=sys.stderr)

    def advance(self, size: int) -> None:
        if self._bar is not None:
            self._bar.update(size)

    def end(self) -> None:
        if self._bar is not None:
            self._bar.close()
