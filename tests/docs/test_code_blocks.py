"""Every Python example of README.md and docs/ runs as it stands."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = (*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md")), ROOT / "examples/guests/README.md")
FENCE = re.compile(r"^```python *(?P<tag>[^\n]*)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)
NOT_RUN = "no-run"
"""Behind ```python: an example that is compiled and not run, because it needs what a test has not got."""


@dataclass(frozen=True)
class Block:
    """One example."""

    page: Path
    line: int
    tag: str
    code: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks() -> list[Block]:
    """All examples, in the order of the pages."""
    found = []
    for page in PAGES:
        text = page.read_text()
        for match in FENCE.finditer(text):
            found.append(Block(page, text.count("\n", 0, match.start()) + 2, match["tag"].strip(), match["code"]))
    return found


BLOCKS = blocks()


def test_there_are_examples() -> None:
    assert {block.page.name for block in BLOCKS} >= {"README.md", "tutorial.md", "write-a-device.md", "write-an-arch-request.md"}


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_it_compiles(block: Block) -> None:
    assert block.tag in ("", NOT_RUN), f"a code block's tag is nothing or {NOT_RUN}"
    compile("\n" * (block.line - 1) + block.code, str(block.page), "exec")


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.tag != NOT_RUN], ids=str)
def test_it_runs(block: Block, tmp_path: Path) -> None:
    script = tmp_path / "example.py"
    script.write_text("\n" * (block.line - 1) + block.code)  # so that a traceback tells the page's own line
    path = os.pathsep.join(str(ROOT / folder) for folder in (".", "arch", "plugins"))
    done = subprocess.run(
        [sys.executable, "-W", "error", str(script)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, f"{block}: {done.stderr}"


def test_links_lead_somewhere() -> None:
    broken = []
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text()):
            if "://" not in target and not (page.parent / target).exists():
                broken.append(f"{page.relative_to(ROOT)}: {target}")
    assert not broken


def headings(page: Path) -> set[str]:
    """The anchors of a page: its headings in lower case, with hyphens for spaces and nothing else that is no letter or digit."""
    texts = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for text in texts}


def test_links_lead_to_headings() -> None:
    broken = []
    for page in PAGES:
        for target, heading in re.findall(r"\]\(([^)#\s]*\.md|)#([^)\s]+)\)", page.read_text()):
            if heading not in headings(page.parent / target if target else page):
                broken.append(f"{page.relative_to(ROOT)}: {target}#{heading}")
    assert not broken
