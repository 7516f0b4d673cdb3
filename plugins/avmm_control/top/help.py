"""The help of `avmm top`."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

from avmm_control.top.columns import VCPUS, VMS

KEYS = (
    ("Up, Down", "choose a VM, or a vCPU"),
    ("Tab", "go to the other table"),
    ("s", "sort by the next column; a click on a head sorts by it"),
    ("r", "sort the other way round"),
    ("Space", "hold the figures, and let them go on"),
    ("h, ?", "this help"),
    ("q", "quit"),
)


class HelpScreen(ModalScreen[None]):
    """Keys, and what the columns mean."""

    BINDINGS: ClassVar[list[BindingType]] = [("escape,q,h,question_mark", "dismiss", "Back")]
    CSS = """
    HelpScreen { align: center middle; }
    HelpScreen > VerticalScroll { width: 76; max-width: 100%; height: 22; max-height: 100%; padding: 0 1; border: round $accent;
        background: $surface; }
    """

    def compose(self) -> ComposeResult:
        """One text, which scrolls where there is little room."""
        lines = ["[b]Keys[/b]", *(f"  {key:<10} {what}" for key, what in KEYS)]
        lines += ["", "[b]VMs[/b]", *(f"  {column.head:<10} {column.help}" for column in VMS)]
        lines += ["", "[b]vCPUs[/b]", *(f"  {column.head:<10} {column.help}" for column in VCPUS)]
        lines += ["", "Rates are of a second of the VM's clock, since the last look. Escape goes back."]
        with VerticalScroll():
            yield Static("\n".join(lines))
