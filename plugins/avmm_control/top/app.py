"""The terminal view."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import ClassVar

from textual.app import App, ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical
from textual.widgets import DataTable, Footer, Sparkline, Static

from avmm_control.top.columns import VCPUS, VMS, rate
from avmm_control.top.help import HelpScreen
from avmm_control.top.rates import VcpuRates, VmRates
from avmm_control.top.table import RatesTable
from avmm_control.top.watch import Watch

SHOWN = 38
"""Looks that are drawn: as wide as half of a small terminal."""
NOBODY = "No VM runs with --control. One that is started now shows up here."


class Top(App[None]):
    """VMs above, the vCPUs of the chosen one below, and its history."""

    TITLE = "avmm top"
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        ("q", "quit", "Quit"),
        ("s", "sort", "Sort"),
        ("r", "reverse", "Reverse"),
        ("space", "hold", "Hold"),
        ("h,question_mark", "help", "Help"),
    ]
    CSS = """
    #title { background: $primary; color: $text; height: 1; padding: 0 1; }
    #vms { height: auto; max-height: 40%; min-height: 2; }
    #chosen { background: $panel; height: 1; padding: 0 1; }
    #vcpus { height: 1fr; min-height: 3; }
    #history { height: 3; }
    #history Vertical { width: 1fr; padding: 0 1; }
    #history Static { height: 1; color: $text-muted; }
    #history Sparkline { height: 2; }
    """

    def __init__(self, watch: Watch, interval_s: float | None = 1.0) -> None:
        """Look every `interval_s` seconds; None looks only when `look()` is called."""
        super().__init__()
        self._watch, self._interval_s = watch, interval_s
        self._vms: list[VmRates] = []
        self._held = False

    def compose(self) -> ComposeResult:
        """Everything there is to see."""
        yield Static(id="title")
        yield RatesTable[VmRates](VMS, lambda row: row.key, id="vms")
        yield Static(id="chosen")
        yield RatesTable[VcpuRates](VCPUS, lambda row: str(row.index), id="vcpus")
        with Horizontal(id="history"):
            with Vertical():
                yield Static(id="cores-now")
                yield Sparkline(id="cores")
            with Vertical():
                yield Static(id="exits-now")
                yield Sparkline(id="exits")
        yield Footer()

    def on_mount(self) -> None:
        """Begin to look."""
        self._show()
        if self._interval_s is not None:
            self.run_worker(self._look_again(self._interval_s), exit_on_error=True)

    async def _look_again(self, interval_s: float) -> None:
        while True:
            await self.look()
            await asyncio.sleep(interval_s)

    async def look(self) -> None:
        """Look at the VMs, and show them."""
        self._vms = await self._watch.look()
        if not self._held:
            self._show()

    # What is shown.

    @property
    def _vm_table(self) -> RatesTable[VmRates]:
        return self.query_one("#vms", RatesTable)

    @property
    def _vcpu_table(self) -> RatesTable[VcpuRates]:
        return self.query_one("#vcpus", RatesTable)

    def _show(self) -> None:
        self._vm_table.show(self._vms)
        held = "held, " if self._held else ""
        cores = sum(vm.cores for vm in self._vms)
        sorting = f"VMs by {self._vm_table.describe_sorting()}, vCPUs by {self._vcpu_table.describe_sorting()}"
        self._say("title", f"avmm top: {held}{len(self._vms)} VMs, {cores:.2f} cores; {sorting}")
        self._show_chosen()

    def _show_chosen(self) -> None:
        """The VM under the cursor, its vCPUs and its history."""
        vm = self._vm_table.chosen
        if vm is None:
            self._say("chosen", NOBODY)
            self._vcpu_table.show(())
            return
        kicks = ", ".join(f"{action} {rate(value)}" for action, value in vm.kicks.items())
        self._say("chosen", f"{vm.found.vm.name}: {vm.state}; kicks a second by outcome: {kicks}")
        self._vcpu_table.show(vm.vcpus)
        self._say("cores-now", f"guest time: {vm.cores:.2f} cores")
        self._say("exits-now", f"exits: {rate(vm.exits)} a second")
        self.query_one("#cores", Sparkline).data = _padded(vm.history.cores)
        self.query_one("#exits", Sparkline).data = _padded(vm.history.exits)

    def _say(self, where: str, text: str) -> None:
        self.query_one(f"#{where}", Static).update(text)

    # What the user does.

    def on_data_table_row_highlighted(self, event: DataTable.RowHighlighted) -> None:
        """Another VM is chosen."""
        if event.data_table.id == "vms":
            self._show_chosen()

    def on_data_table_header_selected(self, event: DataTable.HeaderSelected) -> None:
        """A click on a head."""
        if isinstance(event.data_table, RatesTable):
            event.data_table.sort_by(event.column_index)
            self._show()

    def _table_in_use(self) -> RatesTable[VmRates] | RatesTable[VcpuRates]:
        return self._vcpu_table if self._vcpu_table.has_focus else self._vm_table

    def action_sort(self) -> None:
        """By the next column."""
        self._table_in_use().sort_by_next()
        self._show()

    def action_reverse(self) -> None:
        """The other way round."""
        table = self._table_in_use()
        table.sort_by(table.sorted_by)
        self._show()

    def action_hold(self) -> None:
        """Hold what is shown, or go on."""
        self._held = not self._held
        self._show()

    def action_help(self) -> None:
        """Keys and columns."""
        self.push_screen(HelpScreen())


def _padded(history: Sequence[float]) -> list[float]:
    """A history from its beginning at the left, so that what is drawn moves and does not shrink."""
    last = list(history)[-SHOWN:]
    return [0.0] * (SHOWN - len(last)) + last
