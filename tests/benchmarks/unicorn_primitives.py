"""`python -m tests.benchmarks.unicorn_primitives`: what the Unicorn engine's single steps cost, without the rest of avmm."""

from __future__ import annotations

import threading
import time
from statistics import quantiles

from avmm.plugin import Counter, Hypercall, SystemRegister
from tests.benchmarks.table import Row, render
from tests.unit.unicorn import programs
from tests.unit.unicorn.guest import CNTVCT_EL0, DEVICE, FUNCTION, REGISTER, Guest, HostTime, Traps

ROUNDS = 300_000
KICKS = 2_000
ENTRY_LIMIT_NS = 1_000
WARM_UP = 1_000


class IdleTraps(Traps):
    """Traps that do as little as a handler can."""

    def mmio_read(self, address: int, width: int) -> int:
        return 0

    def mmio_write(self, address: int, width: int, value: int) -> None:
        pass

    def hypercall(self, call: Hypercall) -> None:
        pass


def new_guest() -> Guest:
    """A guest on the host's clock with one trapping register."""
    register = SystemRegister("S3_3_C15_C2_0", REGISTER, lambda: 0, lambda value: None)
    counter = Counter("CNTVCT_EL0", CNTVCT_EL0, 62_500_000)
    guest = Guest(registers=[register], counters=[counter], clock=HostTime(), make_traps=IdleTraps)
    guest.vectors(programs.ERET)
    guest.load(FUNCTION, programs.SET_ONE[1:])
    return guest


def round_ns(program: tuple[int, ...], x1: int = DEVICE) -> float:
    """Nanoseconds a round of a loop in the guest."""
    with new_guest() as guest:
        guest.start(program, x0=WARM_UP, x1=x1)
        guest.vcpu.enter()
        guest.start(program, x0=ROUNDS, x1=x1)
        started_ns = time.perf_counter_ns()
        guest.vcpu.enter()
        return (time.perf_counter_ns() - started_ns) / ROUNDS


def entry_ns() -> float:
    """Nanoseconds of an entry that ends with a WFI, called from Python."""
    with new_guest() as guest:
        guest.start(programs.WFI_LOOP)
        enter = guest.vcpu.enter
        for _ in range(WARM_UP):
            enter()
        started_ns = time.perf_counter_ns()
        for _ in range(ROUNDS):
            enter()
        return (time.perf_counter_ns() - started_ns) / ROUNDS


def kicks_ns() -> list[int]:
    """Nanoseconds from a kick in one thread until enter() has returned in the other."""
    taken: list[int] = []
    with new_guest() as guest:
        guest.start(programs.SPIN)
        wanted, left = threading.Semaphore(0), threading.Semaphore(0)
        left_ns = 0

        def run() -> None:
            nonlocal left_ns
            for _ in range(KICKS):
                wanted.acquire()
                guest.vcpu.enter()
                left_ns = time.perf_counter_ns()
                left.release()

        thread = threading.Thread(target=run)
        thread.start()
        for _ in range(KICKS):
            wanted.release()
            time.sleep(0.0002)  # the guest is at it; not measured
            kicked_ns = time.perf_counter_ns()
            guest.vcpu.kick()
            left.acquire()
            taken.append(left_ns - kicked_ns)
        thread.join()
    return taken


LOOPS = (
    ("read of a device register, handler in Python", programs.READ_LOOP),
    ("write of a device register", programs.WRITE_LOOP),
    ("read of a system register, handler in Python", programs.REGISTER_READ_LOOP),
    ("write of a system register", programs.REGISTER_WRITE_LOOP),
    ("hypercall, handler in Python", programs.HVC_LOOP),
    ("read of the counter, native", programs.COUNTER_LOOP),
    ("exception to EL1 and back, native", programs.SVC_LOOP),
)


def run() -> list[Row]:
    """All figures of this file."""
    entry = entry_ns()
    goal = f"at most {ENTRY_LIMIT_NS} ns"
    rows = [Row("engine: entry and WFI exit", f"{entry:.0f} ns", goal=goal, met=entry <= ENTRY_LIMIT_NS)]
    rows += [Row(f"engine: {what}", f"{round_ns(program):.0f} ns") for what, program in LOOPS]
    rows.append(Row("engine: indirect call and return", f"{round_ns(programs.CALL_LOOP, FUNCTION):.0f} ns"))
    cuts = quantiles(kicks_ns(), n=100)
    rows.append(Row("engine: kick until enter() returned", f"p50 {cuts[49] / 1e3:.1f} us, p99 {cuts[98] / 1e3:.1f} us"))
    return rows


if __name__ == "__main__":
    print(render(run()))
