"""`python -m tests.mutants [NAME]`: put each mistake into a copy of the tree, and show that a test notices it.

One line a mutant. Exit status 1 if any survives, or none has NAME in its name.
"""

from __future__ import annotations

import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.mutants.mutant import ROOT, Mutant
from tests.mutants.mutants import MUTANTS

COPIED = ("avmm", "arch", "plugins", "tests", "pyproject.toml")
BUILT = ("setup.py", "README.md", "LICENSE")
"""What it takes besides to build the native shim, for mutants of it."""
TIMEOUT_S = 60
"""A mutant may hang the tests in a way that none of their own watchdogs sees: that is noticed too."""
MEMORY_BYTES = 6 << 30
"""Of address space: two translation buffers of 2 GiB, and what a test may use beside them."""


def _build(tree: Path) -> None:
    for name in BUILT:
        shutil.copy(ROOT / name, tree / name)
    subprocess.run([sys.executable, "setup.py", "-q", "build_ext", "--inplace"], cwd=tree, capture_output=True, check=True)


def kill(mutant: Mutant) -> str | None:
    """The test that fails for `mutant`, or None when none does."""
    with tempfile.TemporaryDirectory(prefix="mutant-") as directory:
        tree = Path(directory)
        for name in COPIED:
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
            else:
                shutil.copy(ROOT / name, tree / name)
        (tree / mutant.file).write_text(mutant.mutated(tree))
        if mutant.file.endswith((".c", ".h")):
            _build(tree)
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *mutant.tests]
        # The tests that put mutants in place themselves find their text changed already.
        command += ["-k", "not out_of_order_is_found"]
        environment = os.environ | {"AVMM_TEST_WATCHDOG_S": "2", "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
        try:
            run = subprocess.run(
                command,
                cwd=tree,
                env=environment,
                capture_output=True,
                text=True,
                timeout=TIMEOUT_S,
                check=False,
                preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES)),
            )
        except subprocess.TimeoutExpired:
            return f"hangs in {' '.join(mutant.tests)}"
        if run.returncode == 0:
            return None
        if run.returncode < 0:  # out of bounds, of memory for one: no test that passes does that
            return f"{' '.join(mutant.tests)}, which dies of {signal.Signals(-run.returncode).name}"
        if run.returncode != 1:
            raise RuntimeError(f"{mutant}: the tests could not be run:\n{run.stdout[-2000:]}{run.stderr[-2000:]}")
        failed = re.search(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", run.stdout, re.MULTILINE)
        return failed[1].removeprefix("tests/") if failed else "a test"


def main(name: str = "") -> int:
    """Run the mutants with `name` in their names; the exit status."""
    chosen = [mutant for mutant in MUTANTS if name in mutant.name]
    if not chosen:
        print(f"no mutant has {name!r} in its name; there are {len(MUTANTS)}", file=sys.stderr)
        return 1
    started = time.monotonic()
    survivors = 0
    with ThreadPoolExecutor(max_workers=max(1, (os.cpu_count() or 2) - 1)) as pool:
        for mutant, killer in zip(chosen, pool.map(kill, chosen), strict=True):
            survivors += killer is None
            print(f"{'SURVIVED' if killer is None else 'killed'}: {mutant}" + (f": {killer}" if killer else ""), flush=True)
    print(f"{len(chosen) - survivors} of {len(chosen)} mutants killed in {time.monotonic() - started:.0f} s")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:2]))
