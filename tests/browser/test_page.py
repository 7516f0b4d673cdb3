"""The page in a real browser: what it shows of a running guest, and that its controls work."""

from __future__ import annotations

import re

from playwright.sync_api import Page, expect

from avmm.lifecycle import State
from avmm.plugin import Device, DeviceOptions, Width
from avmm.testing import MmioRead, Spin
from avmm_gpio import create_device
from avmm_gpio.device import POWER_BUTTON
from tests.browser.conftest import Open
from tests.browser.machine import Machine, scripted, ticking

COLOURS = """() => {
  const canvas = document.getElementById('canvas');
  const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
  const style = getComputedStyle(document.documentElement);
  const found = new Set();
  for (let at = 0; at < data.length; at += 4) found.add((data[at] << 16) | (data[at + 1] << 8) | data[at + 2]);
  return ['guest', 'outside', 'halted', 'paused'].filter((name) =>
    found.has(parseInt(style.getPropertyValue('--' + name).trim().slice(1), 16)));
}"""


def has_colour(page: Page, name: str) -> None:
    """Wait until the picture shows it."""
    page.wait_for_function(f"() => ({COLOURS})().includes('{name}')")


def test_a_running_guest_is_shown(opened: Open) -> None:
    with Machine(lambda ui: ticking(4, ui)) as machine:
        page = opened(machine)
        expect(page.locator("#state")).to_have_text("running")
        expect(page.locator("#name")).to_have_text("ticks")
        expect(page).to_have_title(re.compile("ticks"))
        expect(page.locator("#labels button")).to_have_count(4)
        expect(page.locator("#exits")).to_have_text(re.compile(r"[1-9][0-9.k]*/s"))
        expect(page.locator("#terminal .xterm-rows")).to_contain_text("100 timer ticks a second")
        for state in ("halted", "guest", "outside"):
            has_colour(page, state)
        expect(page.locator("#panels")).to_contain_text("system register")
        expect(page.locator("#panels")).to_contain_text("IRQ_PENDING")
        expect(page.locator("#panels")).to_contain_text("PPI 27")
        expect(page.locator("#panels")).to_contain_text("virtual")
        expect(page.locator("#devices")).to_contain_text("uart0")
        expect(page.locator("#kick-rows tr").first).to_contain_text("vCPU")
        expect(page.locator("#lanes-rows tr")).to_have_count(4)
        expect(page.locator("#traffic")).to_contain_text("updates")
        page.locator("#labels button").nth(2).click()
        expect(page.locator("#inspector-title")).to_have_text("vCPU 2")
        assert "token" not in page.url, "the token is gone from the address"
        [cookie] = page.context.cookies()
        assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
        page.reload()
        expect(page.locator("#link")).to_have_text("connected")


def test_the_controls_work(opened: Open) -> None:
    with Machine(lambda ui: ticking(2, ui)) as machine:
        page = opened(machine)
        expect(page.locator("#step")).to_be_disabled()
        page.locator("#pause").click()
        expect(page.locator("#state")).to_have_text("paused")
        assert machine.vm.lifecycle.state is State.PAUSED
        has_colour(page, "paused")
        registers = page.locator(".registers div")
        expect(registers.first).to_have_text(re.compile("^x00x"))
        before = registers.all_inner_texts()
        page.locator("#step").click()
        page.wait_for_function("before => document.querySelector('.registers').innerText !== before", arg="\n".join(before))
        page.locator("#pause").click()
        expect(page.locator("#state")).to_have_text("running")
        expect(page.locator(".registers")).to_be_hidden()
        boots = machine.vm.vcpus[0].stats.requests_handled.copy()
        page.locator("#reset").click()
        page.locator("#confirm-dialog >> text=Cancel").click()
        page.locator("#reset").click()
        page.locator("#confirm-yes").click()
        expect(page.locator("#terminal .xterm-rows")).to_contain_text(re.compile("the one that boots.*the one that boots", re.S))
        assert machine.vm.vcpus[0].stats.requests_handled != boots
        vm = machine.vm
        button = create_device(DeviceOptions("gpio0", vm.clock, vm.device_lock, vm.console))
        vm.bus.add(0x0B00_0000, button, "gpio0")
        page.locator("#shutdown").click()
        machine.until(lambda: vm.bus.read(0x0B00_0000 + (1 << POWER_BUTTON << 2), 4) != 0)
        page.locator("#power").click()
        page.locator("#confirm-yes").click()
        expect(page.locator("#notice")).to_contain_text("The machine is over: shutdown")
        expect(page.locator("#pause")).to_be_disabled()
        expect(page.locator("#terminal .xterm-rows")).to_contain_text("the one that boots")


def test_what_is_typed_goes_to_the_guest(opened: Open) -> None:
    typed: list[bytes] = []
    with Machine(scripted([Spin()])) as machine:
        machine.vm.console.on_input(typed.append)
        sizes: list[tuple[int, int]] = []
        machine.vm.console.on_resize(lambda columns, rows: sizes.append((columns, rows)))
        page = opened(machine)
        machine.prints("login: ")
        expect(page.locator("#terminal .xterm-rows")).to_contain_text("login:")
        page.locator("#terminal").click()
        page.keyboard.type("root ä€")
        page.keyboard.press("Enter")
        page.keyboard.press("Control+c")
        page.keyboard.press("Tab")
        machine.prints("done")
        expect(page.locator("#terminal .xterm-rows")).to_contain_text("done")
        machine.until(lambda: b"".join(typed).endswith(b"\t"))
        assert b"".join(typed).decode() == "root ä€\r\x03\t"
        assert len(sizes) == 1
        assert sizes[0][0] > 40
        page.set_viewport_size({"width": 700, "height": 900})
        machine.until(lambda: len(sizes) > 1)


class Broken(Device):
    """Raises when it is read."""

    size = 0x1000

    def read(self, offset: int, width: Width) -> int:
        raise RuntimeError("out of order")

    def write(self, offset: int, width: Width, value: int) -> None:
        pass


def test_a_quarantined_device_is_shown(opened: Open) -> None:
    with Machine(scripted([MmioRead(0x1000_0000), Spin()], devices={"broken": lambda _: Broken()})) as machine:
        page = opened(machine)
        expect(page.locator("#devices .health")).to_have_text("quarantined")


def test_many_vcpus_come_in_pages(opened: Open) -> None:
    with Machine(scripted([Spin()], vcpus=20)) as machine:
        page = opened(machine)
        expect(page.locator("#range")).to_have_text("0 to 15 of 20")
        expect(page.locator("#labels button")).to_have_count(16)
        page.locator("#next").click()
        expect(page.locator("#labels button")).to_have_count(4)
        has_colour(page, "guest")
        page.locator("#labels button").last.click()
        expect(page.locator("#inspector-title")).to_have_text("vCPU 19")
        expect(page.locator("#panels")).to_contain_text("SLEEP")


def test_two_pages_at_once(opened: Open) -> None:
    with Machine(scripted([Spin()])) as machine:
        one, other = opened(machine), opened(machine)
        machine.prints("for both")
        for page in (one, other):
            expect(page.locator("#terminal .xterm-rows")).to_contain_text("for both")
        one.locator("#pause").click()
        for page in (one, other):
            expect(page.locator("#state")).to_have_text("paused")
        one.close()
        other.locator("#pause").click()
        expect(other.locator("#state")).to_have_text("running")
