"""What goes wrong: the machine's end, a connection that breaks, a wrong token, a guest that writes more than text."""

from __future__ import annotations

import re
import socket

from playwright.sync_api import expect

from avmm.testing import Spin
from avmm_control.ui.page import FRAMES_AHEAD
from tests.browser.conftest import Open
from tests.browser.machine import Machine, scripted

ROWS = "#terminal .xterm-rows"


def test_the_end_of_the_machine_is_told_and_its_console_stays(opened: Open) -> None:
    with Machine(scripted([Spin()])) as machine:
        page = opened(machine)
        machine.prints("last words")
        expect(page.locator(ROWS)).to_contain_text("last words")
        machine.do(machine.vm.stop("enough is enough"))
        expect(page.locator("#notice")).to_have_text("The machine is over: stopped (enough is enough).")
        expect(page.locator("#state")).to_have_text("halted")
        expect(page.locator("#link")).to_have_text("the machine is over")
        expect(page.locator("#pause")).to_be_disabled()
    expect(page.locator(ROWS)).to_contain_text("last words")
    page.locator("#freeze").click()
    expect(page.locator("#freeze")).to_have_attribute("aria-pressed", "true")


def test_a_broken_connection_is_made_anew_and_nothing_is_shown_twice(opened: Open) -> None:
    with Machine(scripted([Spin()])) as machine:
        page = opened(machine)
        machine.prints("before\r\n")
        expect(page.locator(ROWS)).to_contain_text("before")
        page.evaluate("""() => {
          window.links = [];
          const link = document.getElementById('link');
          new MutationObserver(() => window.links.push(link.dataset.link)).observe(link, { attributes: true });
        }""")
        machine.cut()
        machine.prints("meanwhile\r\n")
        page.wait_for_function("() => window.links.includes('down') && window.links.at(-1) === 'up'")
        machine.prints("after\r\n")
        expect(page.locator(ROWS)).to_contain_text("after")
        text = page.locator(ROWS).inner_text()
        assert [text.count(word) for word in ("before", "meanwhile", "after")] == [1, 1, 1]
        expect(page.locator("#state")).to_have_text("running")


def test_another_run_at_the_same_address_is_taken_up(opened: Open) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        setting = f"127.0.0.1:{free.getsockname()[1]}"
    with Machine(scripted([Spin()]), setting) as machine:
        page = opened(machine, refused=True)
        machine.prints("first run\r\n")
        expect(page.locator(ROWS)).to_contain_text("first run")
        machine.do(machine.vm.stop())
        expect(page.locator("#link")).to_have_text("the machine is over")
    with Machine(scripted([Spin()]), setting) as machine:
        page.evaluate("() => window.dispatchEvent(new Event('online'))")  # as the user's network comes back
        expect(page.locator("#login-dialog")).to_be_visible()
        page.locator("#token").fill(machine.ui.url.partition("#token=")[2])
        page.keyboard.press("Enter")
        expect(page.locator("#state")).to_have_text("running")
        machine.prints("second run\r\n")
        expect(page.locator(ROWS)).to_contain_text(re.compile("first run.*another run.*second run", re.S))


def test_a_wrong_token_is_refused_and_the_right_one_asked_for(opened: Open) -> None:
    with Machine(scripted([Spin()])) as machine:
        base, _, token = machine.ui.url.partition("#token=")
        page = opened(machine, url=f"{base}#token=wrong", connected=False, refused=True)
        dialog = page.locator("#login-dialog")
        expect(dialog).to_be_visible()
        page.locator("#token").fill("still-wrong")
        page.keyboard.press("Enter")
        expect(page.locator("#login-error")).to_have_text("That is not the token.")
        page.locator("#token").fill(token)
        page.keyboard.press("Enter")
        expect(dialog).to_be_hidden()
        expect(page.locator("#link")).to_have_text("connected")


HOSTILE = (
    b"<img src=x onerror=window.pwned=1><script>window.pwned=1</script>\r\n"
    b"\x1b]0;pwned\x07\x1b]2;pwned\x07"  # titles
    b"\x1b]8;;javascript:window.pwned=1\x07click\x1b]8;;\x07\r\n"  # a link
    b"\x1b]52;c;cHduZWQ=\x07"  # the clipboard
    b"\x1b]11;#ff0000\x07\x1b]4;0;#ff0000\x07"  # colours of the page
    b"\x1b[c\x1b[6n\x1b[>c\x1b[?6n\x1bP$qm\x1b\\\x05"  # questions, whose answers would be typed
    b"\x1b[38;2;1;2;3mtrue colour\x1b[0m\x1b[4:3mcurly\x1b[0m \xff\xfe\x80 \x1b[99999;99999H\x1b[2147483647X\x1bc"
    b"\x1b[?1049h\x1b[?1000h\x1b[?1049l\x1b[?1000l"
    b"\x1bPunended"
)


def test_a_hostile_guest_gets_no_further_than_its_terminal(opened: Open) -> None:
    typed: list[bytes] = []
    with Machine(scripted([Spin()])) as machine:
        machine.vm.console.on_input(typed.append)
        machine.prints(HOSTILE)
        page = opened(machine)
        machine.prints(HOSTILE + b"\x1b\\" + b"still here")
        expect(page.locator(ROWS)).to_contain_text("still here")
        assert page.evaluate("() => window.pwned") is None
        assert page.title() == "test · avmm"
        assert page.locator("#terminal a, #terminal img, #terminal script").count() == 0
        expect(page.locator("#state")).to_have_text("running")
        machine.call(lambda: None)
        assert typed == [], "nothing is answered by a page without the focus"


def test_a_flood_of_output_is_cut_and_the_end_of_it_is_shown(opened: Open) -> None:
    with Machine(scripted([Spin()])) as machine:
        page = opened(machine)
        machine.prints(b"y\r\n" * 1_000_000 + b"the end of it")
        expect(page.locator(ROWS)).to_contain_text("the end of it")
        page.locator("#pause").click()
        expect(page.locator("#state")).to_have_text("paused")


HIDE = """hidden => {
  Object.defineProperty(document, 'hidden', { get: () => hidden, configurable: true });
  document.dispatchEvent(new Event('visibilitychange'));
}"""


def test_a_page_that_nobody_sees_costs_nothing_and_comes_back(opened: Open) -> None:
    with Machine(scripted([Spin()])) as machine:
        page = opened(machine)
        page.evaluate(HIDE, arg=True)
        [connected] = machine.live._pages
        machine.until(lambda: connected._sent - connected._shown >= FRAMES_AHEAD)
        looks = machine.live._looks
        for _ in range(5):
            machine.call(machine.live.look)
        assert machine.live._looks == looks
        machine.prints("meanwhile")
        page.evaluate(HIDE, arg=False)
        expect(page.locator(ROWS)).to_contain_text("meanwhile")
        machine.until(lambda: machine.live._looks > looks)
