"""The `avmm` command as tests run it: in a folder of its own, with the toy machine's plugins."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[3]
ENTRY_POINTS = """\
[avmm.arch]
toy = toy:ToyArch
[avmm.engines]
toy = toy:ToyEngine
[avmm.devices]
toy-uart = toy:ToyUart
"""
_SLOW = re.compile(r"^Executing <.*> took [0-9.]+ seconds\n", re.MULTILINE)
"""What asyncio says in Python's development mode of a machine that has much else to do."""
PATIENCE_S = 60
"""After this a command is taken to hang. Nothing waits for it to pass."""


def of_its_own(errors: str) -> str:
    """What the command itself said on standard error."""
    return _SLOW.sub("", errors)


@dataclass
class Avmm:
    """Runs `avmm` in a folder, with the toy plugins and nothing else of the host's."""

    folder: Path
    environment: dict[str, str]

    def install(self, distribution: str, entry_points: str) -> None:
        """Put a distribution's entry points where `avmm` finds them."""
        info = self.folder / "site" / f"{distribution}-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(entry_points)

    def argv(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "avmm.cli", *arguments]

    def __call__(self, *arguments: str, typed: str = "") -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            self.argv(*arguments),
            input=typed,
            capture_output=True,
            text=True,
            cwd=self.folder,
            env=self.environment,
            timeout=PATIENCE_S,
            check=False,
        )
        done.stderr = of_its_own(done.stderr)
        return done

    def start(self, *arguments: str, **pipes: int | None) -> subprocess.Popen[bytes]:
        return subprocess.Popen(self.argv(*arguments), cwd=self.folder, env=self.environment, **pipes)  # type: ignore[call-overload,no-any-return]

    def guest(self, commands: Sequence[str], settings: str = "") -> str:
        """Write a toy kernel and a machine that runs it; the name of the machine's description."""
        (self.folder / "guest").write_text("\n".join(commands) + "\n")
        (self.folder / "toy.toml").write_text(f'arch = "toy"\nengine = "toy"\nkernel = "guest"\nmemory = "1M"\n{settings}')
        return "toy.toml"


def in_folder(folder: Path) -> Avmm:
    """`avmm` in `folder`, the toy machine's plugins installed."""
    path = os.pathsep.join(map(str, (folder / "site", ROOT, ROOT / "arch", ROOT / "plugins", Path(__file__).parent)))
    avmm = Avmm(folder, {**os.environ, "PYTHONPATH": path, "PYTHONWARNINGS": "error", "PYTHONDEVMODE": "1"})
    # The toy machine stands in for avmm's own plugins, installed here or not: the first distribution of a name counts.
    avmm.install("avmm", ENTRY_POINTS)
    return avmm
