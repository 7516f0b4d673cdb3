"""`python -m tests.browser.picture`: take the picture of the page that its document shows."""

from __future__ import annotations

import shutil
from pathlib import Path

from playwright.sync_api import expect, sync_playwright

from tests.browser.machine import Machine, ticking

PICTURE = Path(__file__).parents[2] / "docs/how-to/page.png"


def main() -> None:
    """A guest with four vCPUs, after some seconds."""
    with sync_playwright() as playwright, Machine(lambda ui: ticking(4, ui, append="")) as machine:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1060, "height": 600})
        page.goto(machine.ui.url)
        page.locator("#window").select_option("0.5")
        expect(page.locator("#terminal .xterm-rows")).to_contain_text("[10.", timeout=60_000)
        page.screenshot(path=PICTURE)
        browser.close()


if __name__ == "__main__":
    main()
