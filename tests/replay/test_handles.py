"""What KVM answers whoever holds a vCPU: signals, turns, ids, statistics; beyond the recorded transcripts, from its documents."""

from __future__ import annotations

import pytest

from avmm.errors import NotApplicable
from avmm_arm64.layout import RAM_BASE
from tests.replay.steps import ASLEEP, Answer, Do, failed, make, stored


class TestSignals:
    @pytest.mark.parametrize(("mask", "ended"), [("0x0", True), ("0x200", False)])
    async def test_a_mask_decides_for_the_run_whatever_the_thread_blocks(self, do: Do, mask: str, ended: bool) -> None:
        await make(do, "spin")
        await do("set_signal_mask", vcpu=0, mask=mask)
        await do("run_async", vcpu=0)
        await do("signal", vcpu=0)
        expected = failed("EINTR", "INTR") if ended else {"blocked": True, "thread_state": "R"}
        assert await do("join", vcpu=0, timeout_ms=10) == expected

    async def test_one_that_was_blocked_is_handled_when_it_no_longer_is(self, do: Do) -> None:
        await make(do, "spin")
        await do("set_signal_mask", vcpu=0, mask="0x0")
        await do("run_async", vcpu=0, block_signal=True)
        await do("signal", vcpu=0)
        assert await do("join", vcpu=0) == failed("EINTR", "INTR")
        assert await do("run", vcpu=0, block_signal=True) == failed("EINTR", "INTR"), "still pending"
        assert await do("run", vcpu=0, timeout_ms=100) == {"blocked": True, "thread_state": "R"}, "handled before the run"


class TestStatistics:
    async def test_what_ends_runs_is_counted(self, do: Do) -> None:
        await make(do, "mmio")
        for _ in range(3):
            await do("run", vcpu=0)
        await do("set_pc", vcpu=0, program="wfi")
        await do("run", vcpu=0, timeout_ms=3)
        await do("signal", vcpu=0)
        await do("join", vcpu=0)
        counted = [await do("stat", vcpu=0, name=name) for name in ("mmio_exit_user", "signal_exits", "wfi_exit_stat")]
        assert counted == [{"ret": 0, "value": value} for value in (3, 1, 1)]

    async def test_a_wait_of_firmware_is_a_hypercall_and_no_wfi(self, do: Do) -> None:
        await make(do, "cpu_suspend")
        assert await do("run", vcpu=0, timeout_ms=3) == ASLEEP
        await do("irq_line", type="cpu", vcpu=0, num=0, level=1)
        assert await do("join", vcpu=0) == stored(0, 0)
        counted = [await do("stat", vcpu=0, name=name) for name in ("hvc_exit_stat", "wfi_exit_stat", "halt_wakeup")]
        assert counted == [{"ret": 0, "value": value} for value in (1, 0, 1)]

    async def test_a_suspended_vcpu_waits_without_wfi(self, do: Do) -> None:
        await make(do, "mmio")
        await do("set_mp_state", vcpu=0, value=10)
        assert await do("run", vcpu=0, timeout_ms=3) == ASLEEP
        assert await do("stat", vcpu=0, name="wfi_exit_stat") == {"ret": 0, "value": 0}


class TestTurns:
    """Only one may use a vCPU at a time."""

    @pytest.mark.parametrize(
        ("operation", "arguments"),
        [
            ("has_attr", {"group": 1, "attr": 0}),
            ("get_attr", {"group": 1, "attr": 0}),
            ("set_attr", {"group": 1, "attr": 0, "value": 20}),
            ("vcpu_init", {"features": []}),
            ("set_pc", {"program": "mmio"}),
            ("get_pc", {}),
            ("get_mp_state", {}),
            ("set_mp_state", {"value": 5}),
            ("set_signal_mask", {"mask": "0x0"}),
        ],
    )
    async def test_whoever_wants_one_in_a_run_is_blocked(self, do: Do, operation: str, arguments: Answer) -> None:
        await make(do, "spin")
        await do("run_async", vcpu=0)
        assert await do(operation, vcpu=0, **arguments) == {"blocked": True}
        await do("signal", vcpu=0)
        assert await do("join", vcpu=0) == failed("EINTR", "INTR")
        assert await do("get_pc", vcpu=0) == {"ret": 0, "pc_at": "spin+0"}, "nothing was done"

    async def test_what_waits_goes_on_behind_the_run(self, do: Do) -> None:
        await make(do, "spin", gic=True)
        await do("run_async", vcpu=0)
        where = {"vcpu": 0, "group": "TIMER_CTRL", "attr": "TIMER_IRQ_VTIMER"}
        assert await do("get_attr", **where, **{"async": True}) == {"blocked": True}
        assert await do("join_attr", timeout_ms=3) == {"blocked": True}
        with pytest.raises(NotApplicable, match="waits for a vCPU already"):
            await do("has_attr", **where, **{"async": True})
        await do("signal", vcpu=0)
        await do("join", vcpu=0)
        assert await do("join_attr") == {"ret": 0, "value": 27}

    async def test_a_run_that_is_over_holds_nobody_up(self, do: Do) -> None:
        await make(do, "mmio")
        await do("run_async", vcpu=0)
        await do("sleep", ms=1)
        assert await do("thread_state", vcpu=0) == {"ret": 0, "thread_state": "S"}
        assert await do("get_pc", vcpu=0) == {"ret": 0, "pc_at": "mmio+8"}
        await do("set_pc", vcpu=0, program="mmio")
        assert await do("join", vcpu=0) == stored(0, 1)
        assert await do("run", vcpu=0, immediate_exit=1) == failed("EINTR", "MMIO")
        assert await do("get_pc", vcpu=0) == {"ret": 0, "pc_at": "mmio+4"}, "behind the one it was moved to"
        with pytest.raises(NotApplicable, match="none waits to be joined"):
            await do("join", vcpu=0)

    async def test_another_run_can_begin_before_it_is_joined(self, do: Do) -> None:
        await make(do, "mmio")
        await do("run_async", vcpu=0)
        await do("sleep", ms=1)
        assert await do("run", vcpu=0) == stored(0, 2)

    async def test_attributes_of_the_vm_need_no_vcpu(self, do: Do) -> None:
        await make(do, "spin")
        await do("run_async", vcpu=0)
        assert await do("has_attr", vcpu=0, group=0, attr=0, fd="vm") == {"ret": 0}


class TestIds:
    """A vCPU's affinity goes by the id that its user chose."""

    async def test_the_guest_reads_it(self, do: Do) -> None:
        await do("create_vcpu", vcpu=0, id=0x15)
        await do("load_guest")
        await do("vcpu_init", vcpu=0, features=["psci_0_2"])
        do.machine.load(bytes.fromhex("1340a1d2 a10038d5 610200b9"))  # mov x19, #0x0a000000; mrs x1, mpidr_el1; str w1, [x19]
        do.machine.handles[0].set_pc(RAM_BASE)
        assert await do("run", vcpu=0) == stored(0, 0x8000_0105)

    async def test_firmware_and_interrupts_find_it_by_that(self, do: Do) -> None:
        await do("create_vcpu", vcpu=0, id=3)
        await do("create_vcpu", vcpu=1, id=1)
        await do("load_guest")
        await do("vcpu_init", vcpu=0, features=["psci_0_2"])
        await do("vcpu_init", vcpu=1, features=["psci_0_2", "power_off"])
        await do("set_pc", vcpu=0, program="cpu_on")
        assert [await do("run", vcpu=0) for _ in range(3)] == [stored(0, 0), stored(4, 0xFFFF_FFFC), stored(8, 0xFFFF_FFFE)]
        assert [await do("run", vcpu=1) for _ in range(2)] == [stored(0x40, 0xABCD), stored(0x44, 0x8000_0001)]


@pytest.mark.parametrize(
    ("operation", "arguments"),
    [
        ("teleport", {}),
        ("create_vcpu", {"vcpu": 1, "colour": "red"}),
        ("create_vcpu", {"vcpu": "first"}),
        ("run", {"vcpu": 3}),
        ("check_extension", {"cap": "TELEPORT"}),
        ("enable_cap", {"cap": "TELEPORT"}),
        ("vgic_set_addr", {"which": "its", "addr": 0}),
        ("join_attr", {}),
        ("irq_line", {"type": "lpi", "vcpu": 0, "num": 40, "level": 1}),
        ("set_signal_mask", {"vcpu": 0, "mask": "none"}),
        ("get_attr", {"vcpu": 0, "group": "TIMER", "attr": 0}),
        ("get_attr", {"vcpu": 0, "group": "TIMER_CTRL", "attr": "VTIMER"}),
        ("check_extension", {"cap": "NR_VCPUS", "num": 9}),
    ],
)
async def test_what_does_not_exist_is_said_to(do: Do, operation: str, arguments: Answer) -> None:
    await do("create_vgic_v3")
    await do("create_vcpu", vcpu=0)
    with pytest.raises(NotApplicable):
        await do(operation, **arguments)
