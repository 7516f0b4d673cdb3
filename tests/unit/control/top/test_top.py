"""The terminal view, driven by Textual's pilot: what it shows, how it is sorted, and that it fits a small terminal."""

from __future__ import annotations

import asyncio

import pytest
from textual.widgets import Static

from avmm.plugin import VcpuSnapshot, VmSnapshot
from avmm.testing import ScriptedVm, Spin, ToyRequest
from avmm_control.find import Found
from avmm_control.instrument import create_instrument
from avmm_control.models import VmSummary
from avmm_control.top.app import NOBODY, Top
from avmm_control.top.columns import VCPUS, VMS, rate, sparkline
from avmm_control.top.help import HelpScreen
from avmm_control.top.rates import Meter
from avmm_control.top.watch import Watch

S = 1_000_000_000
SIZE = (80, 24)


def found(name: str, pid: int = 1) -> Found:
    summary = VmSummary(
        name=name, pid=pid, state="running", vcpus=2, memory_bytes=1 << 28, arch="arm64", engine="e", cpu="c", kernel=None
    )
    return Found(f"/run/{name}.sock", summary)


def snapshot(name: str, time_s: float, *vcpus: dict[str, int]) -> VmSnapshot:
    """`vcpus` say, of each, guest time in ns, exits by reason, and `ipi` kicks."""
    parts = tuple(
        VcpuSnapshot(
            index=index,
            mode="IN_GUEST_MODE" if counts.get("guest") else "OUTSIDE_GUEST_MODE",
            asleep=bool(counts.get("asleep")),
            powered_off=bool(counts.get("off")),
            guest_ns=counts.get("guest", 0),
            blocked_ns=0,
            exits=0,
            exits_by_reason={"halted": counts.get("halted", 0), "mmio_read": counts.get("mmio", 0)},
            kicks={"nothing": 0, "wakeup": 0, "ipi": counts.get("ipi", 0)},
            wakeups=counts.get("wakeups", 0),
            spurious_wakeups=0,
            requests={},
            pending=[],
            timers=(),
            lines=(),
            counters=(),
        )
        for index, counts in enumerate(vcpus)
    )
    return VmSnapshot(name, "running", round(time_s * S), 0, {}, parts, (), ())


class Scenes(Watch):
    """A watch that shows one scene after the other: snapshots by VM's name; the last again and again."""

    def __init__(self, *scenes: list[VmSnapshot]) -> None:
        super().__init__()
        self._scenes = list(scenes)
        self._meters_by_name: dict[str, Meter] = {}

    async def look(self):
        scene = self._scenes.pop(0) if len(self._scenes) > 1 else self._scenes[0]
        return [self._meters_by_name.setdefault(one.name, Meter()).look(found(one.name), one) for one in scene]


BUSY = {"guest": S // 2, "halted": 10, "mmio": 1000, "ipi": 7, "wakeups": 3}
TWO = (
    [snapshot("web", 0, {}, {}), snapshot("mail", 0, {}, {})],
    [snapshot("web", 1, BUSY, {"off": 1}), snapshot("mail", 1, {"guest": S}, {"asleep": 1, "guest": S // 4})],
)


def shown(app: Top, table: str) -> list[list[str]]:
    """The cells of a table, row by row."""
    widget = app.query_one(f"#{table}")
    return [[str(cell).strip() for cell in widget.get_row_at(row)] for row in range(widget.row_count)]


def said(app: Top, where: str) -> str:
    return str(app.query_one(f"#{where}", Static).content)


async def test_the_figures_of_two_looks():
    app = Top(Scenes(*TWO), interval_s=None)
    async with app.run_test(size=SIZE) as pilot:
        await app.look()
        await app.look()
        await pilot.pause()
        assert shown(app, "vms") == [
            ["mail", "1", "running", "2", "256M", "1.25", "0", "0", "0"],
            ["web", "1", "running", "2", "256M", "0.50", "1010", "7", "3"],
        ]
        assert said(app, "title").startswith("avmm top: 2 VMs, 1.75 cores")
        assert shown(app, "vcpus")[0][:4] == ["0", "in guest", "1.00", "█"]
        assert [row[1] for row in shown(app, "vcpus")] == ["in guest", "asleep"]
        await pilot.press("down")
        assert said(app, "chosen") == "web: running; kicks a second by outcome: nothing 0, wakeup 0, ipi 7"
        assert shown(app, "vcpus") == [
            ["0", "in guest", "0.50", "▅", "1010", "10", "0", "1000", "0", "0", "3"],
            ["1", "off", "0.00", "▁", "0", "0", "0", "0", "0", "0", "0"],
        ]
        assert said(app, "cores-now") == "guest time: 0.50 cores"
        assert said(app, "exits-now") == "exits: 1010 a second"


async def test_each_table_is_sorted_by_any_column_either_way_round():
    app = Top(Scenes(*TWO), interval_s=None)
    async with app.run_test(size=SIZE) as pilot:
        await app.look()
        await app.look()
        for head in [column.head for column in VMS][1:]:
            await pilot.press("s")
            assert f"VMs by {head}" in said(app, "title")
            if head == "EXITS/s":
                assert [row[0] for row in shown(app, "vms")] == ["web", "mail"]
                await pilot.press("r")
                assert "VMs by EXITS/s ▲" in said(app, "title")
                assert [row[0] for row in shown(app, "vms")] == ["mail", "web"]
        await pilot.press("s")
        assert "VMs by NAME ▲" in said(app, "title")
        await pilot.press("tab", "s", "s")
        assert "vCPUs by CORES ▼" in said(app, "title")
        assert [row[0] for row in shown(app, "vcpus")] == ["0", "1"]
        await pilot.press("r")
        assert [row[0] for row in shown(app, "vcpus")] == ["1", "0"]


async def test_a_click_on_a_head_sorts_and_the_cursor_stays_on_its_vm():
    app = Top(Scenes(*TWO), interval_s=None)
    async with app.run_test(size=SIZE) as pilot:
        await app.look()
        await app.look()
        await pilot.press("down")
        assert said(app, "chosen").startswith("web")
        await pilot.click("#vms", offset=(50, 0))
        assert "VMs by CORES ▼" in said(app, "title")
        assert said(app, "chosen").startswith("web")


async def test_vms_come_and_go():
    app = Top(Scenes([], *TWO, [TWO[1][0]], []), interval_s=None)
    async with app.run_test(size=SIZE) as pilot:
        await app.look()
        assert said(app, "chosen") == NOBODY
        for names in (["mail", "web"], ["mail", "web"], ["web"], []):
            await app.look()
            await pilot.pause()
            assert [row[0] for row in shown(app, "vms")] == names
        assert said(app, "chosen") == NOBODY
        assert shown(app, "vcpus") == []


async def test_hold_and_help_and_quit():
    app = Top(Scenes(*TWO), interval_s=None)
    async with app.run_test(size=SIZE) as pilot:
        await app.look()
        await pilot.press("space")
        before = shown(app, "vms")
        await app.look()
        assert shown(app, "vms") == before
        assert "held" in said(app, "title")
        await pilot.press("space")
        assert shown(app, "vms") != before
        await pilot.press("question_mark")
        assert isinstance(app.screen, HelpScreen)
        await pilot.press("escape")
        assert not isinstance(app.screen, HelpScreen)
        await pilot.press("q")
    assert app.return_code == 0


async def test_many_vms_and_vcpus_fit_a_small_terminal():
    counts = [dict(BUSY) for _ in range(64)]
    scenes = [[snapshot(f"vm{number}", at, *counts) for number in range(20)] for at in (0, 1)]
    app = Top(Scenes(*scenes), interval_s=None)
    async with app.run_test(size=SIZE) as pilot:
        await app.look()
        await app.look()
        await pilot.pause()
        for name in ("title", "vms", "chosen", "vcpus", "history"):
            region = app.query_one(f"#{name}").region
            assert region.height >= 1
            assert region.bottom <= 23
            assert region.right <= 80
        assert app.query_one("#vcpus").region.height >= 5
    for columns in (VMS, VCPUS):
        assert sum(column.width + 1 for column in columns) <= 80


async def test_real_vms_over_their_sockets(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    async with ScriptedVm([Spin()], name="real", slot="thread", instruments=[create_instrument("auto")]) as vm:
        await vm.start()
        await vm.until(lambda: vm.guest().spinning)
        async with Watch() as watch, Watch(["real"]) as named:
            app = Top(watch, interval_s=None)
            async with app.run_test(size=SIZE):
                await app.look()
                while vm.vcpus[0].stats.exits < 100:  # so many that it is a rate, whatever lies between the two looks
                    vm.vcpus[0].make_request_and_kick(ToyRequest.IRQ_PENDING)
                    await asyncio.sleep(0)
                await app.look()
                [row] = shown(app, "vms")
                assert row[0] == "real"
                assert float(row[5]) > 0
                assert row[6] != "0"
                assert len(await named.look()) == 1
                await vm.stop()
                assert [one.state for one in await watch.look()] == ["halted"]
    async with Watch() as watch:
        assert await watch.look() == []


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.4, "0"), (9999, "9999"), (10_000, "10k"), (999_999, "1000k"), (1e7, "10M"), (2.5e9, "2500M"), (3e10, "30G")],
)
def test_rates_are_short(value, text):
    assert rate(value) == text
    assert len(text) <= 5


def test_sparklines_show_the_last_at_the_right():
    assert sparkline([0, 0.5, 1.0, 2.0], 3, 1.0) == "▅██"
    assert sparkline([0], 3, 1.0) == "  ▁"
