"""What KVM answers beyond the recorded transcripts, operation by operation, from its documents."""

from __future__ import annotations

import pytest

from avmm_arm64.layout import RAM_BASE
from tests.replay.steps import ASLEEP, Do, failed, make, make_code, refused, stored

# mov x19, #0x0a000000; adr x1, vectors; msr vbar_el1, x1; mov w1, #1; msr daifclr, #2; str w1, [x19]; mov w1, #2; str w1, [x19];
# b .; and for an IRQ: mov w2, #3; str w2, [x19, #4]; mov x3, #0x3c5; msr spsr_el1, x3; eret
STORES_WITH_VECTORS = (
    bytes.fromhex("1340a1d2 e13f0010 01c018d5 21008052 ff4203d5 610200b9 41008052 610200b9 00000014").ljust(0x800 + 0x280, b"\0")
    + bytes.fromhex("62008052 620600b9 a37880d2 034018d5 e0039fd6")
)  # fmt: skip
# mov x19, #0x0a000000; mov w1, #1; mov w2, #2; mov w3, #3; stp w1, w2, [x19]; str w3, [x19, #8]
STORE_PAIR = bytes.fromhex("1340a1d2 21008052 42008052 63008052 610a0029 630a00b9")
# mov x19, #0x0a000000; w0 = PV_TIME_FEATURES; w1 = PV_TIME_ST; hvc #0; str w0, [x19]; w0 = PV_TIME_ST; hvc #0; str w0, [x19]
ASK_FOR_STOLEN_TIME = bytes.fromhex(
    "1340a1d2 00048052 00a0b872 21048052 01a0b872 020000d4 600200b9 20048052 00a0b872 020000d4 600200b9"
)


# mov x19, #0x0a000000; w0 = PSCI_FEATURES; w1 = SYSTEM_SUSPEND by its 64-bit number; hvc #0; str w0, [x19]
ASK_FOR_SYSTEM_SUSPEND = "1340a1d2 40018052 0080b072 c1018052 0180b872 020000d4 600200b9"
# mov x19, #0x0a000000; a timer of a millisecond: movz x1, #1, lsl 16; msr cntv_tval_el0, x1; mov x1, #1; msr cntv_ctl_el0, x1;
# isb; and for ever: wfi; mrs x1, cntv_ctl_el0; str w1, [x19, #0x90]
WAIT_FOR_TIMER = "1340a1d2 2100a0d2 01e31bd5 210080d2 21e31bd5 df3f03d5 7f2003d5 21e33bd5 619200b9 fdffff17"


# x19 = 0x0a000000; x1 = 1; msr cntv_ctl_el0, x1; msr cntp_ctl_el0, x1; msr pmintenset_el1, x1; msr pmovsset_el0, x1;
# msr pmcr_el0, x1; isb; str w1, [x19]
RAISE_ALL_LINES = "1340a1d2 210080d2 21e31bd5 21e21bd5 219e18d5 619e1bd5 019c1bd5 df3f03d5 610200b9"


class TestMmio:
    async def test_an_exit_at_once_completes_the_access(self, do: Do) -> None:
        await make(do, "mmio")
        assert await do("run", vcpu=0) == stored(0, 1)
        assert await do("get_pc", vcpu=0) == {"ret": 0, "pc_at": "mmio+8"}
        assert await do("run", vcpu=0, immediate_exit=1) == failed("EINTR", "MMIO")
        assert await do("get_pc", vcpu=0) == {"ret": 0, "pc_at": "mmio+12"}
        assert await do("run", vcpu=0, immediate_exit=0) == stored(0, 2)

    async def test_completing_skips_an_instruction_where_the_user_moved_the_program_counter(self, do: Do) -> None:
        await make(do, "mmio")
        await do("run", vcpu=0)
        await do("set_pc", vcpu=0, program="spin")  # of one instruction; behind it waits another program
        assert await do("run", vcpu=0) == ASLEEP
        assert await do("stat", vcpu=0, name="wfi_exit_stat") == {"ret": 0, "value": 1}

    async def test_moved_after_that_it_skips_nothing(self, do: Do) -> None:
        await make(do, "mmio")
        await do("run", vcpu=0)
        await do("run", vcpu=0, immediate_exit=1)
        await do("set_pc", vcpu=0, program="mmio")
        assert await do("run", vcpu=0, immediate_exit=0) == stored(0, 1)

    async def test_an_interrupt_comes_after_the_instruction_that_is_completed(self, do: Do) -> None:
        await make(do, "mmio")
        await do("vcpu_init", vcpu=0, features=["psci_0_2"])
        do.machine.load(STORES_WITH_VECTORS)
        do.machine.handles[0].set_pc(RAM_BASE)
        assert await do("run", vcpu=0) == stored(0, 1)
        await do("irq_line", type="cpu", vcpu=0, num=0, level=1)
        assert [await do("run", vcpu=0) for _ in range(2)] == [stored(4, 3), stored(0, 2)]

    async def test_an_instruction_of_two_accesses_leaves_twice(self, do: Do) -> None:
        await make(do, "mmio")
        do.machine.load(STORE_PAIR)
        do.machine.handles[0].set_pc(RAM_BASE)
        assert [await do("run", vcpu=0) for _ in range(3)] == [stored(0, 1), stored(4, 2), stored(8, 3)]

    async def test_an_access_stays_to_be_completed_until_it_is(self, do: Do) -> None:
        await make(do, "mmio")
        assert await do("run", vcpu=0) == stored(0, 1)
        assert await do("run", vcpu=0, preset_exit_reason=0, immediate_exit=1) == failed("EINTR")
        assert await do("get_pc", vcpu=0) == {"ret": 0, "pc_at": "mmio+8"}
        assert await do("run", vcpu=0, preset_exit_reason=6, immediate_exit=0) == stored(0, 2)

    async def test_one_that_is_made_again_is_completed_once(self, do: Do) -> None:
        await make(do, "mmio")
        assert [await do("run", vcpu=0, preset_exit_reason=0) for _ in range(3)] == [stored(0, 1)] * 3
        assert [await do("run", vcpu=0) for _ in range(2)] == [stored(0, 2), stored(0, 3)]

    async def test_a_load_finds_what_the_last_access_left(self, do: Do) -> None:
        await make(do, "mmio")
        assert [await do("run", vcpu=0) for _ in range(2)] == [stored(0, 1), stored(0, 2)]
        await do("set_pc", vcpu=0, program="mmio_read")
        load = {"addr": 0x0A00_0000, "len": 4, "is_write": 0}
        assert await do("run", vcpu=0) == {"ret": 0, "exit_reason": "MMIO", "mmio": load, "device_irq_level": 0}
        assert await do("run", vcpu=0) == stored(4, 2)

    async def test_wfe_never_sleeps(self, do: Do) -> None:
        await make(do, "wfe")
        assert await do("run", vcpu=0) == stored(0, 1)
        assert await do("run", vcpu=0) == stored(0, 2)


class TestInitialisationAgain:
    async def test_it_silences_timers_and_pmu_and_keeps_the_counter(self, do: Do) -> None:
        await make_code(do, RAISE_ALL_LINES, "pmu_v3")
        assert await do("set_attr", vcpu=0, group="PMU_V3_CTRL", attr="INIT") == {"ret": 0}
        while (answer := await do("run", vcpu=0))["exit_reason"] == "INTR":
            pass
        assert answer == stored(0, 1, level=0b111)
        parts = do.machine.handles[0].parts
        assert parts is not None
        offset, before = parts.counters[1].offset, parts.timers.virtual.read_tval()
        await do("vcpu_init", vcpu=0, features=["psci_0_2", "pmu_v3"])
        timers, pmu = parts.timers, parts.pmu
        assert pmu is not None
        assert [timer.read_ctl() & 3 for timer in (timers.virtual, timers.physical)] == [0, 0]
        assert (timers.virtual.line, timers.physical.line, pmu.line) == (False, False, False)
        assert (pmu.read_overflowed(), pmu.read_interrupting(), pmu.read_enabled()) == (0, 0, 0)
        assert parts.counters[1].offset == offset
        assert (before - timers.virtual.read_tval()) % (1 << 32) < 1 << 31, "it counts on"


class TestPsci:
    async def test_cpu_on_tells_who_is_on(self, do: Do) -> None:
        await make(do, "cpu_on", "power_off", vcpus=2)
        await do("set_mp_state", vcpu=0, value=0)
        assert [await do("run", vcpu=0) for _ in range(5)] == [
            stored(0, 0),
            stored(4, 0xFFFF_FFFC),  # ALREADY_ON
            stored(8, 0xFFFF_FFFC),
            stored(0xC, 0xFFFF_FFFE),  # INVALID_PARAMETERS
            stored(0x10, 0),  # AFFINITY_INFO: on
        ]

    async def test_without_its_feature_no_call_is_supported(self, do: Do) -> None:
        await do("create_vcpu", vcpu=0)
        await do("load_guest")
        await do("vcpu_init", vcpu=0, features=[])
        await do("set_pc", vcpu=0, program="cpu_on")  # by its 64-bit number
        assert await do("run", vcpu=0) == stored(0, 0xFFFF_FFFF)

    async def test_cpu_on_is_forgotten_by_an_initialisation(self, do: Do) -> None:
        await make(do, "cpu_off", vcpus=2)
        await do("run", vcpu=1, timeout_ms=100)
        await do("signal", vcpu=1)
        await do("join", vcpu=1)
        await do("set_pc", vcpu=0, program="cpu_on")
        assert await do("run", vcpu=0) == stored(0, 0)
        await do("vcpu_init", vcpu=1, features=["psci_0_2"])
        await do("set_pc", vcpu=1, program="mmio")
        assert await do("run", vcpu=1) == stored(0, 1)

    async def test_system_suspend_is_there_from_when_it_is_asked_for(self, do: Do) -> None:
        await make(do, "system_suspend")
        assert await do("run", vcpu=0) == stored(0, 0xFFFF_FFFF)
        await do("enable_cap", cap="ARM_SYSTEM_SUSPEND")
        assert await do("run", vcpu=0, immediate_exit=1) == failed("EINTR", "MMIO")
        await do("set_pc", vcpu=0, program="system_suspend")
        assert (await do("run", vcpu=0, immediate_exit=0))["system_event"] == {"type": 5, "flags": 0}

    @pytest.mark.parametrize("enabled", [True, False])
    async def test_firmware_tells_of_it(self, do: Do, enabled: bool) -> None:
        await make_code(do, ASK_FOR_SYSTEM_SUSPEND)
        if enabled:
            await do("enable_cap", cap="ARM_SYSTEM_SUSPEND")
        assert await do("run", vcpu=0) == stored(0, 0 if enabled else 0xFFFF_FFFF)

    async def test_a_reset_stops_every_vcpu(self, do: Do) -> None:
        await make(do, "reset", vcpus=2)
        answer = await do("run", vcpu=1)
        assert answer["system_event"] == {"type": 2, "flags": 0}
        assert [await do("get_mp_state", vcpu=vcpu) for vcpu in (0, 1)] == [{"ret": 0, "value": 5}] * 2
        assert await do("run", vcpu=0) == ASLEEP

    async def test_a_stopped_vcpu_stays_so_from_run_to_run(self, do: Do) -> None:
        await make(do, "mmio", "power_off")
        for _ in range(3):
            assert await do("run", vcpu=0, timeout_ms=100) == ASLEEP
            await do("signal", vcpu=0)
            assert await do("join", vcpu=0) == failed("EINTR", "INTR")

    async def test_a_suspended_vcpu_wakes_for_an_interrupt_and_leaves(self, do: Do) -> None:
        await make(do, "mmio")
        await do("set_mp_state", vcpu=0, value=10)
        assert await do("run", vcpu=0) == ASLEEP
        await do("irq_line", type="cpu", vcpu=0, num=0, level=1)
        answer = await do("join", vcpu=0)
        assert (answer["exit_reason"], answer["system_event"]) == ("SYSTEM_EVENT", {"type": 4, "flags": 0})
        assert await do("get_pc", vcpu=0) == {"ret": 0, "pc_at": "mmio+0"}
        await do("set_mp_state", vcpu=0, value=0)
        assert await do("run", vcpu=0) == stored(0, 1)

    async def test_the_other_vcpu_runs_on_while_one_spins(self, do: Do) -> None:
        await make(do, "spin", vcpus=2)
        await do("run_async", vcpu=0)
        await do("set_pc", vcpu=1, program="mmio")
        assert await do("run", vcpu=1) == stored(0, 1)
        assert await do("thread_state", vcpu=0) == {"ret": 0, "thread_state": "R"}


class TestLines:
    @pytest.mark.parametrize(("program", "level"), [("vtimer_nogic", 1), ("ptimer_nogic", 2)])
    async def test_without_gic_the_user_is_told_of_a_timer(self, do: Do, program: str, level: int) -> None:
        await make(do, program)
        assert await do("run", vcpu=0) == failed("EINTR", "INTR", level=level)
        assert [await do("run", vcpu=0) for _ in range(2)] == [stored(0x90, 5, level=level)] * 2, "told once"

    async def test_and_a_wait_ends_for_it(self, do: Do) -> None:
        await make_code(do, WAIT_FOR_TIMER)
        assert await do("run", vcpu=0) == failed("EINTR", "INTR", level=1)
        assert await do("run", vcpu=0) == stored(0x90, 5, level=1), "behind the wait"
        assert await do("run", vcpu=0, timeout_ms=100) == ASLEEP, "told once, it is for the user to drive the pin"
        await do("irq_line", type="cpu", vcpu=0, num=0, level=1)
        assert await do("join", vcpu=0) == stored(0x90, 5, level=1)

    async def test_a_pulse_on_a_private_interrupt_is_lost(self, do: Do) -> None:
        await make(do, "gic_ready_wait", gic=True)
        assert await do("run", vcpu=0) == stored(0, 0x600D)
        await do("irq_line", type="ppi", vcpu=0, num=20, level=1)
        await do("irq_line", type="ppi", vcpu=0, num=20, level=0)
        assert await do("run", vcpu=0, timeout_ms=100) == ASLEEP

    async def test_without_gic_there_are_no_gic_registers(self, do: Do) -> None:
        await make(do, "sgi1")
        assert await do("run", vcpu=0, timeout_ms=100) == {"blocked": True, "thread_state": "R"}, "its vectors are nowhere"

    async def test_lines_go_by_the_id_of_a_vcpu(self, do: Do) -> None:
        await do("create_vcpu", vcpu=0, id=7)
        assert await do("irq_line", type="cpu", vcpu=7, num=0, level=1) == {"ret": 0}
        assert await do("irq_line", type="cpu", vcpu=0, num=0, level=1) == refused("EINVAL")

    async def test_an_initialisation_lets_the_pins_go(self, do: Do) -> None:
        await make(do, "wfi")
        await do("irq_line", type="cpu", vcpu=0, num=0, level=1)
        assert await do("run", vcpu=0) == stored(0, 1)
        await do("vcpu_init", vcpu=0, features=["psci_0_2"])
        await do("set_pc", vcpu=0, program="wfi")
        assert await do("run", vcpu=0, immediate_exit=1) == failed("EINTR", "MMIO"), "past the store that was not completed"
        await do("set_pc", vcpu=0, program="wfi")
        assert await do("run", vcpu=0, immediate_exit=0, timeout_ms=100) == ASLEEP
        await do("irq_line", type="cpu", vcpu=0, num=0, level=1)
        assert await do("join", vcpu=0) == stored(0, 1), "a change again"

    @pytest.mark.parametrize(("kind", "answer"), [(0, "EINVAL"), (1, "ENXIO"), (2, "ENXIO"), (3, "EINVAL"), (-1, "EINVAL")])
    async def test_types_have_numbers(self, do: Do, kind: int, answer: str) -> None:
        await make(do, "mmio")
        assert await do("irq_line", type=kind, vcpu=0, num=40, level=1) == refused(answer)

    async def test_the_level_a_pin_has_is_nothing(self, do: Do) -> None:
        await make(do, "wfi")
        assert await do("run", vcpu=0, timeout_ms=100) == ASLEEP
        await do("irq_line", type="cpu", vcpu=0, num=0, level=0)
        await do("sleep", ms=10)
        assert await do("stat", vcpu=0, name="halt_wakeup") == {"ret": 0, "value": 0}


class TestStolenTime:
    async def test_the_address_is_chosen_once_in_memory(self, do: Do) -> None:
        await make(do, "mmio")
        where = {"vcpu": 0, "group": "PVTIME_CTRL", "attr": "IPA", "size": 8}
        assert await do("set_attr", value=0x4000_1001, **where) == refused("EINVAL")
        assert await do("set_attr", value=0x7000_0000, **where) == refused("EINVAL")
        assert await do("set_attr", value=0x4000_1000, **where) == {"ret": 0}
        assert await do("set_attr", value=0x4000_1000, **where) == refused("EEXIST")
        assert await do("get_attr", **where) == {"ret": 0, "value": 0x4000_1000}

    async def test_the_guest_finds_it_by_a_call(self, do: Do) -> None:
        await make(do, "mmio")
        do.machine.load(ASK_FOR_STOLEN_TIME)
        do.machine.handles[0].set_pc(RAM_BASE)
        assert [await do("run", vcpu=0) for _ in range(2)] == [stored(0, 0xFFFF_FFFF)] * 2
        await do("set_attr", vcpu=0, group="PVTIME_CTRL", attr="IPA", value=0x4000_1000, size=8)
        do.machine.vm.memory.write(0x4000_1000, b"\xff" * 32)
        await do("vcpu_init", vcpu=0, features=["psci_0_2"])
        do.machine.handles[0].set_pc(RAM_BASE - 4)  # where the store that is not completed yet will be skipped
        assert [await do("run", vcpu=0) for _ in range(2)] == [stored(0, 0), stored(0, 0x4000_1000)]
        assert do.machine.vm.memory.read(0x4000_1000, 32) == bytes(16) + b"\xff" * 16


class TestPmu:
    @pytest.mark.parametrize(("action", "counted"), [(0, {0x11}), (1, {0x00, 0x08, 0x1B, 0x1E})])
    async def test_a_filter_decides_what_the_guest_can_count(self, do: Do, action: int, counted: set[int]) -> None:
        await make(do, "mmio", "pmu_v3")
        assert await do("set_attr", vcpu=0, group="PMU_V3_CTRL", attr="FILTER", filter=[0x11, 1, action]) == {"ret": 0}
        await do("set_attr", vcpu=0, group="PMU_V3_CTRL", attr="INIT")
        assert await do("run", vcpu=0) == stored(0, 1)
        parts = do.machine.handles[0].parts
        assert parts is not None
        assert parts.pmu is not None
        assert {event for event in (0x00, 0x08, 0x11, 0x1B, 0x1E) if parts.pmu.read_pmceid(0) >> event & 1} == counted

    async def test_without_the_feature_there_are_no_registers(self, do: Do) -> None:
        await make(do, "pmu_nogic")
        assert await do("run", vcpu=0, timeout_ms=100) == {"blocked": True, "thread_state": "R"}, "its vectors are nowhere"

    @pytest.mark.parametrize("pointer", ["null", "bad", "kernel", "edge", "ro"])
    async def test_a_value_must_have_somewhere_to_go(self, do: Do, pointer: str) -> None:
        await make(do, "mmio")
        timer = {"vcpu": 0, "group": "TIMER_CTRL", "attr": "TIMER_IRQ_VTIMER"}
        assert await do("get_attr", addr=pointer, **timer) == refused("EFAULT")
