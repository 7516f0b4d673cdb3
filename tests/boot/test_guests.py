"""Our own guests come up on avmm, judge themselves, and power off; the machine's own figures agree with what they say."""

from __future__ import annotations

import re

import pytest

import avmm
from avmm import ExitReason, HaltReason, KickAction

from .conftest import Booting

IRQ_PENDING = 9
UNHALT = 3
MODES = ("parallel", "turns")


@pytest.mark.parametrize("image", ["hello.img", "hello.elf"])
async def test_hello(boot: Booting, image: str) -> None:
    async with boot(image) as guest:
        halt = await guest.run()
    assert halt == avmm.Halt(HaltReason.SHUTDOWN, "SYSTEM_OFF")
    assert "Hello from AArch64 EL1" in guest.console


_TEST_DEVICE = {"testdev": {"kind": "virtio-console", "testdev": True}}


@pytest.mark.parametrize(("code", "status"), [(0, 1), (21, 43), (127, 255)])
async def test_a_guest_says_what_to_exit_with(boot: Booting, code: int, status: int) -> None:
    async with boot("testdev", append=f"code={code}", devices=_TEST_DEVICE) as guest:
        halt = await guest.run()
    assert halt == avmm.Halt(HaltReason.SHUTDOWN, f"test device: status {status}", status)
    assert guest.console == ""


@pytest.mark.parametrize("vcpus", [1, 2, 8])
async def test_sgis_reach_every_vcpu_of_a_gicv2(boot: Booting, vcpus: int) -> None:
    async with boot("gicv2", vcpus, irqchip="gicv2") as guest:
        halt = await guest.run()
    assert halt.reason is HaltReason.SHUTDOWN
    assert guest.console.startswith(f"PASS: {vcpus} of {vcpus} vCPUs")


@pytest.mark.parametrize("irqchip", ["gicv3", "gicv2"])
async def test_group_0_is_taken_as_fiq_and_each_group_preempts_the_other(boot: Booting, irqchip: str) -> None:
    async with boot("fiq", irqchip=irqchip) as guest:
        await guest.run()
        acknowledged = [figure for figure in guest.vm.vcpus[0].arch.figures() if figure[0].name == "interrupts_acknowledged"]
    assert "fiq: PASS" in guest.console
    assert [value for _, value in acknowledged] == [12, 2, 0], "SGIs, PPIs, SPIs"


async def test_a_broken_virtqueue_stops_the_device_and_not_the_machine(boot: Booting) -> None:
    async with boot("testdev", append="rogue", devices=_TEST_DEVICE) as guest:
        halt = await guest.run()
    assert halt == avmm.Halt(HaltReason.SHUTDOWN, "SYSTEM_OFF")
    assert guest.console == "PASS: the machine goes on\r\n"


@pytest.mark.parametrize(("vcpus", "mode"), [(1, "auto"), *((vcpus, mode) for vcpus in (2, 4, 8) for mode in MODES)])
async def test_every_vcpu_comes_up_ticks_and_gets_its_sgis(boot: Booting, vcpus: int, mode: str) -> None:
    async with boot("smp", vcpus, smp_mode=mode) as guest:
        assert len(guest.vm.slots) == (1 if mode == "turns" else vcpus)
        halt = await guest.run()
        stats = [vcpu.stats for vcpu in guest.vm.vcpus]
    assert halt.reason is HaltReason.SHUTDOWN
    assert f"PASS: {vcpus} vCPU" in guest.console
    rows = re.findall(r"^ +(\d+) +(\d+) +(\d+) +(\d+) +(\d+) ", guest.console, re.MULTILINE)
    assert [int(row[0]) for row in rows] == list(range(vcpus))
    for row, figures in zip(rows, stats, strict=True):
        # A WFI that finds an interrupt pending does not halt, as all may on a busy host; the others end with one to run for.
        assert figures.requests_made[UNHALT] <= figures.halts
        assert int(row[4]) > 0
        assert figures.exits_by_reason[ExitReason.HALTED] == figures.halts
        assert figures.exits == sum(figures.exits_by_reason[: ExitReason.MMIO_READ])
        assert sum(figures.kicks) > 0
        assert figures.kick_to_exit.sum_ns >= 0


@pytest.mark.parametrize("vcpus", [1, 4])
async def test_where_time_is_virtual_every_tick_ends_a_halt(boot: Booting, vcpus: int) -> None:
    async with boot("smp", vcpus, clock="virtual", slot="inline") as guest:
        await guest.run()
        stats = [vcpu.stats for vcpu in guest.vm.vcpus]
    assert f"PASS: {vcpus} vCPU" in guest.console
    assert all(figures.requests_made[UNHALT] == figures.halts >= 300 for figures in stats)


async def test_timer_ticks_are_never_early(boot: Booting) -> None:
    async with boot("ticks", 4) as guest:
        await guest.run()
    assert "PASS" in guest.console
    assert re.findall(r"(\d+) early", guest.console) == ["0"] * 8


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("arguments", ["rounds=500", "rounds=500 spin"])
async def test_sgi_ping_pong(boot: Booting, arguments: str, mode: str) -> None:
    async with boot("pingpong", 2, append=arguments, smp_mode=mode) as guest:
        await guest.run()
        vcpus = guest.vm.vcpus
        # Each by a request and a kick, or to the running guest.
        made = sum(vcpu.stats.requests_made[IRQ_PENDING] for vcpu in vcpus)
        posted = sum(vcpu.arch.interrupts_posted for vcpu in vcpus)
    assert "PASS" in guest.console
    assert made + posted >= 2 * 500
    assert made >= 2 * 500 or mode == "parallel"


async def test_wfi_wakes_for_what_it_should(boot: Booting) -> None:
    async with boot("wfi", 2) as guest:
        await guest.run()
        wakeups = guest.vm.vcpus[0].stats.wakeups
    assert "PASS" in guest.console
    assert wakeups > 0


@pytest.mark.parametrize("mode", MODES)
async def test_tlb_invalidation_reaches_the_others_before_it_is_acknowledged(boot: Booting, mode: str) -> None:
    async with boot("tlbi", 3, append="rounds=60", smp_mode=mode) as guest:
        await guest.run()
        flushes = [vcpu.stats.requests_handled[avmm.Request.TLB_FLUSH & avmm.REQUEST_MASK] for vcpu in guest.vm.vcpus]
    assert "PASS" in guest.console
    assert "0 stale" in guest.console
    assert min(flushes[1:]) > 0, "invalidations of other vCPUs are TLB_FLUSH requests"


async def test_without_the_invalidation_the_same_guest_reads_stale_values(boot: Booting) -> None:
    """The control: the check in the guest can fail."""
    async with boot("tlbi", 2, append="rounds=60 control") as guest:
        await guest.run()
    stale = re.search(r"(\d+) stale", guest.console)
    assert stale is not None
    assert int(stale[1]) > 0


async def test_the_host_survives_all_a_guest_can_do(boot: Booting) -> None:
    async with boot("misbehave", 3) as guest:
        halt = await guest.run()
        faults = dict(guest.vm.guest_faults)
    assert halt.reason is HaltReason.SHUTDOWN
    assert "misbehave: PASS" in guest.console
    assert faults["mmio"] > 1000
    assert set(faults) <= {"mmio", "sysreg", "hypercall"}


async def test_a_guest_that_masks_interrupts_and_loops_can_be_stopped(boot: Booting) -> None:
    async with boot("misbehave", 2, append="spin") as guest:
        await guest.vm.start()
        await guest.until("spin")
        await guest.vm.stop("enough")
        halt = await guest.vm.halted()
        assert all(vcpu.mode is avmm.VcpuMode.OUTSIDE_GUEST_MODE for vcpu in guest.vm.vcpus)
    assert halt == avmm.Halt(HaltReason.STOPPED, "enough")


async def test_pausing_stops_the_guest_and_its_sleepers_and_goes_on(boot: Booting) -> None:
    async with boot("smp", 2) as guest:
        await guest.vm.start()
        await guest.until("is up")
        async with guest.vm.paused():
            assert guest.vm.state() == "paused"
            assert all(vcpu.mode is avmm.VcpuMode.OUTSIDE_GUEST_MODE for vcpu in guest.vm.vcpus)
            exits = [vcpu.stats.exits for vcpu in guest.vm.vcpus]
            await guest.vm.make_all_cpus_request(avmm.Request.TLB_FLUSH)
            assert [vcpu.stats.exits for vcpu in guest.vm.vcpus] == exits
        halt = await guest.vm.halted()
    assert halt.reason is HaltReason.SHUTDOWN
    assert sum(vcpu.stats.kicks[KickAction.IPI] + vcpu.stats.kicks[KickAction.NOTHING] for vcpu in guest.vm.vcpus) > 0


async def test_two_vms_run_side_by_side(boot: Booting) -> None:
    async with boot("ticks", 2) as one, boot("wfi", 2) as other:
        await one.vm.start()
        await other.vm.start()
        await one.vm.halted()
        await other.vm.halted()
    assert "PASS" in one.console
    assert "PASS" in other.console


async def test_leaving_early_takes_the_running_guest_down(boot: Booting) -> None:
    async with boot("smp", 4) as guest:
        await guest.vm.start()
        await guest.until("is up")
    assert guest.vm.state() == "halted"


@pytest.mark.parametrize("smp_mode", ["parallel", "turns"])
async def test_a_machine_executes_as_many_instructions_as_it_may(boot: Booting, smp_mode: str) -> None:
    async with boot("bench_alu", 2, instructions=1_234_567, smp_mode=smp_mode) as it:
        halt = await it.run()
        assert (halt.reason, halt.detail[7:]) == (HaltReason.STOPPED, "executed 1234567 instructions")
        executed = [vcpu.engine.instructions for vcpu in it.vm.vcpus]
        assert max(executed) == 1_234_567
