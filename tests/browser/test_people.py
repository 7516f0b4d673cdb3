"""Whoever uses the page: by keyboard, on a phone, in the dark, with a screen reader."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from avmm.lifecycle import State
from avmm.testing import Spin
from tests.browser.conftest import Open
from tests.browser.machine import Machine, scripted, ticking
from tests.browser.npm import unpacked

AXE = "axe-core@4.14.1"
PHONE = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True, "device_scale_factor": 2}


def test_everything_by_keyboard(opened: Open) -> None:
    typed: list[bytes] = []
    with Machine(scripted([Spin()], [Spin()])) as machine:
        machine.vm.console.on_input(typed.append)
        page = opened(machine)
        expect(page.locator("#state")).to_have_text("running")
        page.keyboard.press("?")
        expect(page.locator("#help-dialog")).to_be_visible()
        page.keyboard.press("p")  # not while a dialog is open
        page.keyboard.press("Escape")
        expect(page.locator("#help-dialog")).to_be_hidden()
        assert machine.vm.lifecycle.state is State.RUNNING
        page.keyboard.press("p")
        expect(page.locator("#state")).to_have_text("paused")
        page.keyboard.press("j")
        expect(page.locator("#inspector-title")).to_have_text("vCPU 1")
        page.keyboard.press("s")
        expect(page.locator(".registers")).to_be_visible()
        page.keyboard.press("p")
        expect(page.locator("#state")).to_have_text("running")
        page.keyboard.press("c")
        page.keyboard.type("ps")
        page.keyboard.press("F6")
        assert page.evaluate("() => document.activeElement.id") == "canvas"
        page.keyboard.press("f")
        expect(page.locator("#freeze")).to_have_attribute("aria-pressed", "true")
        page.keyboard.press("f")
        page.keyboard.press("o")
        expect(page.locator("#confirm-dialog")).to_be_visible()
        page.keyboard.press("Escape")
        expect(page.locator("#state")).to_have_text("running")
        assert b"".join(typed) == b"ps"


def test_each_control_is_reached_by_tab_and_seen_when_it_is(opened: Open) -> None:
    with Machine(scripted([Spin()])) as machine:
        page = opened(machine)
        expect(page.locator("#pause")).to_be_enabled()
        reached = []
        for _ in range(13):
            page.keyboard.press("Tab")
            focus = "() => { const one = document.activeElement; return [one.id, getComputedStyle(one).outlineStyle]; }"
            name, outline = page.evaluate(focus)
            reached.append(name)
            assert outline != "none", name
        for name in ("pause", "reset", "shutdown", "power", "theme", "help", "freeze", "window", "canvas"):
            assert name in reached


def test_from_kick_to_kick_with_the_arrows(opened: Open) -> None:
    with Machine(lambda ui: ticking(2, ui)) as machine:
        page = opened(machine)
        expect(page.locator("#kick-rows tr").first).to_be_visible()
        page.locator("#canvas").focus()
        page.keyboard.press("ArrowLeft")
        tip = page.locator("#tip")
        expect(tip).to_contain_text(re.compile(r"vCPU [01]"))
        expect(page.locator("#freeze")).to_have_attribute("aria-pressed", "true")
        first = tip.inner_text()
        page.keyboard.press("ArrowLeft")
        expect(tip).not_to_have_text(first)


def test_on_a_phone(opened: Open) -> None:
    with Machine(lambda ui: ticking(4, ui)) as machine:
        page = opened(machine, **PHONE)
        expect(page.locator("#exits")).to_have_text(re.compile("[1-9]"))
        page.wait_for_function("() => document.querySelectorAll('#kick-rows tr').length > 3")
        assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")
        for control in page.locator(".controls button").all():
            box = control.bounding_box()
            assert box is not None
            assert box["height"] >= 40
        typed: list[bytes] = []
        with machine.vm.device_lock:
            machine.vm.console.on_input(typed.append)
        page.locator("#keys >> text=Ctrl-C").tap()
        page.locator("#pause").tap()
        expect(page.locator("#state")).to_have_text("paused")
        assert typed == [b"\x03"]


def background(page: Page) -> int:
    colour = page.evaluate("() => getComputedStyle(document.body).backgroundColor")
    return sum(int(part) for part in re.findall(r"\d+", colour)[:3])


def test_light_dark_and_chosen(opened: Open) -> None:
    with Machine(scripted([Spin()])) as machine:
        dark, light = opened(machine, color_scheme="dark"), opened(machine, color_scheme="light")
        assert background(dark) < 150 < 600 < background(light)
        light.emulate_media(color_scheme="dark")
        light.wait_for_function("() => document.documentElement.dataset.theme === 'dark'")
        dark.locator("#theme").click()  # from the system's to light
        assert background(dark) > 600
        dark.reload()
        expect(dark.locator("#link")).to_have_text("connected")
        assert background(dark) > 600, "it is remembered"


def test_still_pictures_for_those_who_want_them(opened: Open) -> None:
    with Machine(scripted([Spin()])) as machine:
        page = opened(machine, reduced_motion="reduce")
        expect(page.locator("#busy")).to_have_text(re.compile("[1-9]"))
        page.evaluate("""() => {
          window.draws = 0;
          const context = document.getElementById('canvas').getContext('2d');
          const clear = context.clearRect;
          context.clearRect = function (...box) { window.draws += 1; return clear.apply(this, box); };
        }""")
        before = machine.live._looks
        page.wait_for_function("() => window.draws > 4")
        assert page.evaluate("() => window.draws") <= machine.live._looks - before + 2, "one a frame"


@pytest.fixture(scope="session")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The source of axe-core, from the npm registry."""
    return (unpacked(AXE, tmp_path_factory.mktemp("axe")) / "axe.min.js").read_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("settings", [{}, PHONE], ids=["desk", "phone"])
def test_accessibility_by_axe(opened: Open, axe: str, scheme: str, settings: dict[str, object]) -> None:
    with Machine(lambda ui: ticking(4, ui)) as machine:
        page = opened(machine, color_scheme=scheme, **settings)
        page.locator("#pause").click()
        expect(page.locator("#state")).to_have_text("paused")
        expect(page.locator(".registers div").first).to_be_visible()
        page.evaluate(axe)
        options = "{ runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'] }"
        found = page.evaluate(f"async () => (await axe.run(document, {options})).violations")
        told = [
            f"{one['id']}: {one['help']}: {node['html'][:120]}: {node['failureSummary']}"
            for one in found
            for node in one["nodes"]
        ]
        assert told == []
