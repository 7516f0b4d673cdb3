"""Debian's Chromium, driven by Playwright: one browser for all tests, a fresh profile for each."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.browser.machine import DEADLINE_S, Machine

CHROMIUM = shutil.which("chromium")
expect.set_options(timeout=DEADLINE_S * 1000 / 2)

Open = Callable[..., Page]


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """The browser; skips where there is none. Gone behind this package: its event loop would be in the way of other tests'."""
    if CHROMIUM is None:
        pytest.skip("chromium is not installed (Debian: apt-get install chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture
def opened(browser: Browser) -> Iterator[Open]:
    """`opened(machine, **context)`: its page, loaded and connected. What the browser complains of fails the test at its end."""
    contexts, complaints, expected = [], [], set(EXPECTED)

    def open_page(
        machine: Machine, *, url: str | None = None, connected: bool = True, refused: bool = False, **settings: object
    ) -> Page:
        if refused:
            expected.update(REFUSED)
        settings.setdefault("viewport", {"width": 1280, "height": 900})
        context = browser.new_context(**settings)  # type: ignore[arg-type]
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(DEADLINE_S * 1000 / 2)
        page.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: complaints.append(f"error: {error}"))
        page.on("request", lambda request: complaints.append(request.url) if not ours(request.url, machine) else None)
        page.goto(url or machine.ui.url)
        if connected:
            expect(page.locator("#link")).to_have_text("connected")
        return page

    yield open_page
    for context in contexts:
        context.close()
    unexpected = [one for one in complaints if not one.startswith(tuple(expected))]
    assert unexpected == []


EXPECTED = ("warning: Canvas2D: Multiple readback operations",)
"""What comes of the tests' own looks at the picture."""


REFUSED = ("error: Failed to load resource", "error: WebSocket connection to")
"""What Chromium writes on its console, whatever a page does, when nobody answers it or somebody refuses."""


def ours(url: str, machine: Machine) -> bool:
    """True for what the machine's own server serves."""
    return url.startswith((machine.ui.url.partition("/#")[0], machine.ui.url.partition("/#")[0].replace("http", "ws", 1)))
