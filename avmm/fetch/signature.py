"""The archive's signature, checked by gpgv with the distributor's keyring, where both are installed."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from avmm.errors import FetchError
from avmm.fetch.progress import Progress

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
"""Debian's package debian-archive-keyring."""

_ARMOUR = re.compile(
    rb"\A-----BEGIN PGP SIGNED MESSAGE-----\r?\n(?:[^\r\n]+\r?\n)*\r?\n(.*?)\r?\n-----BEGIN PGP SIGNATURE-----", re.DOTALL
)


def signed_text(message: bytes, url: str, keyring: Path, progress: Progress) -> bytes:
    """The text of a clear-signed message; FetchError when its signature is wrong. Says so when it cannot be checked."""
    gpgv = shutil.which("gpgv")
    if gpgv is None or not keyring.exists():
        missing = "gpgv" if gpgv is None else str(keyring)
        progress.step(f"the archive's signature is not checked: {missing} is not installed; its hashes are")
        return _text(message, url)
    # What is used is what gpgv says was signed, and not what we would take for it.
    command = [gpgv, "--quiet", "--keyring", str(keyring.absolute()), "--output", "-", "-"]
    done = subprocess.run(command, input=message, capture_output=True, check=False, timeout=60)
    if done.returncode != 0:
        *_, why = done.stderr.decode(errors="replace").strip().splitlines() or ["gpgv says no more"]
        raise FetchError(f"{url}: its signature is not good by {keyring} ({why.removeprefix('gpgv: ')})")
    progress.step(f"the archive's signature is good, by {keyring}")
    return done.stdout


def _text(message: bytes, url: str) -> bytes:
    found = _ARMOUR.search(message)
    if found is None:
        raise FetchError(f"{url}: is not a signed list of an archive")
    return found[1]
