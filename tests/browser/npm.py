"""Packages of the npm registry, for tests alone."""

from __future__ import annotations

import base64
import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest


def unpacked(package: str, folder: Path, integrity: str = "") -> Path:
    """The files of `package` (NAME@VERSION), below `folder`; skips where they cannot be had. AssertionError for another hash."""
    if shutil.which("npm") is None:
        pytest.skip(f"npm is not installed, so {package} is not looked at")
    packed = subprocess.run(
        ["npm", "pack", "--silent", package], cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )
    if packed.returncode:
        pytest.skip(f"{package} does not come from the npm registry: {packed.stderr.strip()[-200:]}")
    archive = folder / packed.stdout.strip()
    if integrity:
        digest = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
        assert f"sha512-{digest}" == integrity
    subprocess.run(["tar", "xzf", archive], cwd=folder, check=True)
    return folder / "package"
