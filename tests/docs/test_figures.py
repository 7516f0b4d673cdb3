"""docs/figures.md lists what the plugins that come with avmm count of their own, as a whole machine shows it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import avmm
from avmm.figure import Figure, FigureKind, FigureValue

PAGE = Path(__file__).parents[2] / "docs/figures.md"

_DEVICES = {
    "testdev": {"kind": "virtio-console", "testdev": True},
    "net0": {"kind": "virtio-net", "net": "none"},
    "balloon0": {"kind": "virtio-balloon"},
    "rng0": {"kind": "virtio-rng"},
    "flash0": {"kind": "cfi-flash"},
    "fw_cfg": {"kind": "fw-cfg"},
}


def rows(prefix: str, figures: Iterable[tuple[Figure, FigureValue]]) -> list[str]:
    """The lines of the page's tables, one a name."""
    named: dict[str, list[Figure]] = {}
    for figure, _ in figures:
        named.setdefault(figure.name, []).append(figure)
    lines = []
    for name, same in named.items():
        first = same[0]
        suffix = "_total" if first.kind is FigureKind.COUNTER else ""
        labels = "; ".join(f"`{label}`: {', '.join(figure.labels[label] for figure in same)}" for label in first.labels)
        lines.append(f"| `{prefix}{name}{suffix}` | {first.kind.value} | {labels} | {first.help} |")
    return lines


async def test_the_page_is_up_to_date(tmp_path: Path) -> None:
    disk = tmp_path / "disk.img"
    disk.write_bytes(bytes(4096))
    devices = {
        **_DEVICES,
        "vsock0": {"kind": "virtio-vsock", "socket": f"{tmp_path}/s"},
        "disk0": {"kind": "virtio-blk", "file": disk},
    }
    async with avmm.Vm(avmm.MachineConfig(memory="64M", devices=devices)) as vm:
        there = rows("avmm_vcpu_", vm.vcpus[0].arch.figures()) + rows("avmm_vcpu_", vm.vcpus[0].engine.figures())
        told = set[str]()
        for region in vm.bus:
            figures = list(region.device.figures())
            # What all virtio devices count stands with the first of them.
            there += rows("avmm_device_", [(figure, value) for figure, value in figures if figure.name not in told])
            told |= {figure.name for figure, _ in figures}
    assert [line for line in PAGE.read_text().splitlines() if line.startswith("| `")] == there, "\n".join(there)
