"""What every engine promises."""

from __future__ import annotations

import threading
from array import array
from collections.abc import Iterator

import pytest

from avmm.engine import CountedEvent, EventLimit, VcpuEngine, event_bit
from avmm.exits import BudgetExhausted, Halted, Kicked
from avmm.figure import Figure, FigureKind, FigureValue
from avmm.served import SERVES_READS, SERVES_WRITES, ServedMmio
from avmm.testing.contract_guest import MMIO_ADDRESS, Guest
from avmm.testing.recorded_traps import RecordedTraps
from avmm.testing.vm import WATCHDOG_S


class EngineContract:
    """Derive from it, call the class `Test...`, and define `make_vcpu`."""

    exact_budgets = True
    """The engine's own `exact_budgets`."""
    register = "x5"
    """A general register that can be read and written."""
    kicks = 500
    """How many kicks race with entries."""

    def make_vcpu(self, guest: Guest, traps: RecordedTraps) -> VcpuEngine:
        """A vCPU that is ready to run `guest`, made anew."""
        raise NotImplementedError

    def served_mmio(self) -> ServedMmio | None:
        """The `Engine.served_mmio` of the vCPU made last, for an engine that has it."""
        return None

    @pytest.fixture
    def traps(self) -> RecordedTraps:
        return RecordedTraps()

    @pytest.fixture
    def vcpus(self, traps: RecordedTraps) -> Iterator[_Vcpus]:
        vcpus = _Vcpus(self, traps)
        yield vcpus
        for vcpu in vcpus.made:
            vcpu.close()

    def test_a_kick_before_the_entry_ends_it_before_the_first_instruction(self, vcpus: _Vcpus, traps: RecordedTraps) -> None:
        vcpu = vcpus(Guest.MMIO)
        vcpu.kick()
        assert isinstance(vcpu.enter(), Kicked)
        assert traps.accesses == []

    def test_a_kick_ends_one_entry(self, vcpus: _Vcpus) -> None:
        vcpu = vcpus(Guest.HALT)
        for _ in range(3):
            vcpu.kick()  # the same kick, again and again
        assert isinstance(vcpu.enter(), Kicked)
        assert isinstance(vcpu.enter(), Halted)

    def test_clear_kick_drops_a_latched_kick(self, vcpus: _Vcpus) -> None:
        vcpu = vcpus(Guest.HALT)
        vcpu.kick()
        vcpu.clear_kick()
        assert isinstance(vcpu.enter(), Halted)
        vcpu.clear_kick()
        vcpu.kick()
        assert isinstance(vcpu.enter(), Kicked)

    def test_a_halt_lets_the_guest_go_on_behind_it(self, vcpus: _Vcpus) -> None:
        vcpu = vcpus(Guest.HALT)
        for _ in range(5):
            assert vcpu.enter() == Halted()

    def test_no_kick_is_lost_however_it_races_with_the_entry(self, vcpus: _Vcpus) -> None:
        """A lost one would leave the guest running for ever."""
        vcpu = vcpus(Guest.SPIN)
        ready, watchdog = threading.Semaphore(0), threading.Timer(WATCHDOG_S, vcpu.kick)
        watchdog.daemon = True
        watchdog.start()

        def kicker() -> None:
            for _ in range(self.kicks):
                ready.acquire()
                vcpu.kick()

        thread = threading.Thread(target=kicker)
        thread.start()
        for _ in range(self.kicks):
            ready.release()
            assert isinstance(vcpu.enter(), Kicked)
        thread.join()
        assert watchdog.is_alive(), "a kick was lost"
        watchdog.cancel()
        vcpu.clear_kick()

    def test_a_kick_from_a_trap_ends_the_entry_or_the_next(self, vcpus: _Vcpus, traps: RecordedTraps) -> None:
        vcpu = vcpus(Guest.MMIO)
        traps.on_access.append(vcpu.kick)
        assert isinstance(vcpu.enter(), Kicked)
        assert 1 <= len(traps.accesses) <= 2
        vcpu.kick()
        assert isinstance(vcpu.enter(), Kicked)

    def test_traps_come_in_place_with_address_width_and_value(self, vcpus: _Vcpus, traps: RecordedTraps) -> None:
        vcpu = vcpus(Guest.MMIO)
        traps.on_access = [None, vcpu.kick]
        assert isinstance(vcpu.enter(), Kicked)
        assert traps.accesses[:2] == [("read", MMIO_ADDRESS, 4, 41), ("write", MMIO_ADDRESS + 4, 4, 42)]
        assert traps.threads == {threading.get_ident()}

    def test_what_a_trap_raises_comes_out_and_the_vcpu_can_be_entered_again(self, vcpus: _Vcpus, traps: RecordedTraps) -> None:
        vcpu = vcpus(Guest.MMIO)
        traps.on_access.append(ZeroDivisionError("in the trap"))
        with pytest.raises(ZeroDivisionError, match="in the trap"):
            vcpu.enter()
        vcpu.kick()
        assert isinstance(vcpu.enter(), Kicked)

    def test_hypercalls_reach_their_handler(self, vcpus: _Vcpus, traps: RecordedTraps) -> None:
        vcpu = vcpus(Guest.HYPERCALL)
        traps.on_access = [None, None, vcpu.kick]
        assert isinstance(vcpu.enter(), Kicked)
        assert traps.calls >= 3

    @pytest.mark.parametrize("budget", [1, 100, 12_345])
    def test_a_budget_ends_the_entry(self, vcpus: _Vcpus, budget: int) -> None:
        vcpu = vcpus(Guest.SPIN)
        vcpu.count_instructions(True)  # noqa: FBT003 - the contract's own signature
        for entry in range(1, 4):
            assert isinstance(vcpu.enter(budget), BudgetExhausted)
            if self.exact_budgets:
                assert vcpu.instructions == entry * budget
            else:
                assert vcpu.instructions >= entry * budget

    @pytest.mark.parametrize("limit", [1, 7, 1000])
    def test_events_are_counted_up_to_their_limits(self, vcpus: _Vcpus, limit: int) -> None:
        vcpu = vcpus(Guest.SPIN)
        if CountedEvent.INSTRUCTIONS not in vcpu.counted_events:
            pytest.skip("the engine counts no instructions: it says so in counted_events")
        seen: list[int] = []

        def count() -> int:
            return sum(vcpu.event_counts()[:2])

        def reached() -> None:
            seen.append(count())

        vcpu.count_events(event_bit(CountedEvent.INSTRUCTIONS, 0) | event_bit(CountedEvent.INSTRUCTIONS, 1))
        vcpu.limit_events([EventLimit(CountedEvent.INSTRUCTIONS, 3, limit)], reached)
        assert isinstance(vcpu.enter(1000), BudgetExhausted)
        assert isinstance(vcpu.enter(1000), BudgetExhausted)
        assert len(seen) == 1, "a limit is reached once"
        if self.exact_budgets:
            assert (seen[0], count()) == (limit, 2000)
        else:
            assert seen[0] >= limit
            assert count() >= 2000
        vcpu.count_events(0)
        vcpu.limit_events([], reached)
        assert isinstance(vcpu.enter(1000), BudgetExhausted)
        assert len(seen) == 1

    def test_a_kick_comes_before_a_budget(self, vcpus: _Vcpus) -> None:
        vcpu = vcpus(Guest.SPIN)
        vcpu.kick()
        assert isinstance(vcpu.enter(1000), Kicked)
        assert isinstance(vcpu.enter(1000), BudgetExhausted)

    def test_instructions_are_counted_only_when_asked_for(self, vcpus: _Vcpus) -> None:
        vcpu = vcpus(Guest.HALT)
        vcpu.enter()
        assert vcpu.instructions == 0
        vcpu.count_instructions(True)  # noqa: FBT003
        vcpu.enter()
        counted = vcpu.instructions
        assert counted > 0
        vcpu.count_instructions(False)  # noqa: FBT003
        vcpu.enter()
        assert vcpu.instructions == counted

    def test_registers(self, vcpus: _Vcpus) -> None:
        vcpu = vcpus(Guest.HALT)
        vcpu.write_register(self.register, 0x1234_5678_9ABC_DEF0)
        assert vcpu.read_register(self.register) == 0x1234_5678_9ABC_DEF0
        vcpu.enter()
        assert vcpu.read_register(self.register) == 0x1234_5678_9ABC_DEF0
        for name in ("no_such_register", self.register.upper()):
            with pytest.raises(KeyError):
                vcpu.read_register(name)
            with pytest.raises(KeyError):
                vcpu.write_register(name, 0)

    def test_served_accesses_do_not_trap_while_the_queue_has_room(self, vcpus: _Vcpus, traps: RecordedTraps) -> None:
        vcpu = vcpus(Guest.MMIO)
        if (served := self.served_mmio()) is None:
            return
        settled, told, words = _settle(served), array("Q", (SERVES_READS | 7, 0)), array("Q", (SERVES_WRITES, 0))
        served.serve(MMIO_ADDRESS, told)
        served.serve(MMIO_ADDRESS + 4, words)
        traps.on_access = [vcpu.kick]
        assert isinstance(vcpu.enter(), Kicked)
        # The queue was full: the access that trapped came behind all that was in it.
        (settled_before, reads, writes, queued), *rest = settled
        assert traps.accesses == [("write", MMIO_ADDRESS + 4, 4, 8)]
        assert (settled_before, reads, writes) == (0, writes + 1, writes)
        assert writes > 0
        assert queued == [(MMIO_ADDRESS + 4, 4, [8] * writes)]
        assert told[1] == reads + sum(entry[1] for entry in rest), "reads are counted"

    def test_the_end_of_an_entry_settles_what_was_served(self, vcpus: _Vcpus, traps: RecordedTraps) -> None:
        vcpu = vcpus(Guest.MMIO)
        if (served := self.served_mmio()) is None:
            return
        settled, told = _settle(served), array("Q", (SERVES_WRITES, 0))
        served.serve(MMIO_ADDRESS + 4, told)
        traps.on_access = [lambda: None, vcpu.kick]
        assert isinstance(vcpu.enter(), Kicked)
        assert traps.accesses == [("read", MMIO_ADDRESS, 4, 41)] * 2
        # One write was made between the two reads, and is there before the second; one may have been before the kick was seen.
        assert [entry[1:] for entry in settled[:1]] == [(0, 1, [(MMIO_ADDRESS + 4, 4, [42])])]
        assert sum(entry[2] for entry in settled) <= 2
        assert served.take() == []

    def test_a_register_that_is_not_served_any_more_traps_at_the_next_access(self, vcpus: _Vcpus, traps: RecordedTraps) -> None:
        vcpu = vcpus(Guest.MMIO)
        if (served := self.served_mmio()) is None:
            return
        _settle(served)
        told = array("Q", (SERVES_READS | 7, 0))
        served.serve(MMIO_ADDRESS, told)

        def tell() -> None:
            told[0] = 0

        traps.on_access = [tell, lambda: None, vcpu.kick]
        assert isinstance(vcpu.enter(), Kicked)
        write = ("write", MMIO_ADDRESS + 4, 4, 8)
        assert traps.accesses[:2] == [write, ("read", MMIO_ADDRESS, 4, 41)]

    def test_a_reset_keeps_latched_kicks(self, vcpus: _Vcpus) -> None:
        vcpu = vcpus(Guest.HALT)
        vcpu.kick()
        vcpu.reset()
        assert isinstance(vcpu.enter(), Kicked)

    def test_what_may_be_called_outside_the_guest(self, vcpus: _Vcpus, traps: RecordedTraps) -> None:
        vcpu = vcpus(Guest.MMIO)
        for level in (True, True, False):
            vcpu.set_irq_line(level)
            vcpu.set_fiq_line(level)
        vcpu.flush_tlb()
        traps.on_access = [lambda: vcpu.set_irq_line(False), vcpu.kick]
        assert isinstance(vcpu.enter(), Kicked)

    def test_figures_are_read_on_any_thread_while_the_guest_runs(self, vcpus: _Vcpus, traps: RecordedTraps) -> None:
        vcpu = vcpus(Guest.MMIO)
        seen: list[list[tuple[Figure, FigureValue]]] = []

        def look() -> None:
            reader = threading.Thread(target=lambda: seen.append(list(vcpu.figures())), daemon=True)
            reader.start()
            reader.join(WATCHDOG_S)

        traps.on_access = [look, vcpu.kick]
        assert isinstance(vcpu.enter(), Kicked)
        assert len(seen) == 1, "figures wait for the guest, or raise"
        look()
        before, after = seen
        assert [figure for figure, _ in before] == [figure for figure, _ in after]
        names = [(figure.name, *figure.labels.values()) for figure, _ in after]
        assert len(names) == len(set(names)), "two figures are told apart by nothing"
        for (figure, first), (_, then) in zip(before, after, strict=True):
            if figure.kind is FigureKind.COUNTER and isinstance(first, int | float) and isinstance(then, int | float):
                assert 0 <= first <= then, f"{figure.name} only grows"


def _settle(served: ServedMmio) -> list[tuple[int, int, int, list[tuple[int, int, list[int]]]]]:
    """Settle with a list of (vCPU, reads, writes, what was in the queue)."""
    settled: list[tuple[int, int, int, list[tuple[int, int, list[int]]]]] = []
    served.settle_with(lambda vcpu, reads, writes: settled.append((vcpu, reads, writes, list(served.take()))))
    return settled


class _Vcpus:
    """Makes the vCPUs of one test."""

    def __init__(self, contract: EngineContract, traps: RecordedTraps) -> None:
        self._contract, self._traps = contract, traps
        self.made: list[VcpuEngine] = []

    def __call__(self, guest: Guest) -> VcpuEngine:
        vcpu = self._contract.make_vcpu(guest, self._traps)
        self.made.append(vcpu)
        return vcpu
