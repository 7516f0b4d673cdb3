"""What a driver in its wildest moments does: steps for hypothesis, common to all devices."""

from __future__ import annotations

from hypothesis import strategies as st

from avmm.plugin import Width
from avmm_virtio.registers import CONFIG, Register
from tests.unit.virtio.modern import ModernBench
from tests.unit.virtio.ring import RAM, RAM_SIZE

Step = tuple[str, tuple[int, ...]]


def steps(queues: int, *more: st.SearchStrategy[Step]) -> st.SearchStrategy[list[Step]]:
    """Up to 40 steps of the driver of a device with so many queues, and `more` that the device's own test knows of."""
    return st.lists(
        st.one_of(
            _step("describe", st.integers(0, 7), st.integers(0, RAM_SIZE + 16), st.integers(0, 70_000), st.integers(0, 7)),
            _step("text", st.integers(0, 7), st.integers(0, 2**128 - 1), st.integers(0, 2**32 - 1)),
            _step("offer", st.integers(0, 8)),
            _step("notify", st.integers(0, queues)),
            _step("register", st.sampled_from([int(register) for register in Register]), st.integers(0, 15)),
            _step("config", st.integers(0, 15), st.sampled_from([int(width) for width in Width]), st.integers(0, 2**64 - 1)),
            *more,
        ),
        max_size=40,
    )


def _step(name: str, *numbers: st.SearchStrategy[int]) -> st.SearchStrategy[Step]:
    return st.tuples(st.just(name), st.tuples(*numbers))


def step(name: str, most: int) -> st.SearchStrategy[Step]:
    """A step of a device's own test, with a number from 0 to `most`."""
    return _step(name, st.integers(0, most))


def drive(bench: ModernBench, name: str, numbers: tuple[int, ...]) -> None:
    """Carry out a step of the driver's."""
    match name, numbers:
        case "describe", (index, offset, size, flags):
            bench.driver.describe(index, RAM + offset, size, flags, index + 1)
        case "text", (index, low, high):
            bench.driver.text(index, low.to_bytes(16, "little") + high.to_bytes(4, "little"))
        case "offer", (head,):
            bench.driver.offer(head)
        case "notify", (queue,):
            bench.notify(queue)
        case "register", (register, value):
            bench.write(register, value)
        case "config", (offset, width, value):
            bench.write(CONFIG + offset, value & (1 << 8 * width) - 1, Width(width))
            bench.read(CONFIG + offset, Width(width))
        case _:
            raise AssertionError(f"no such step: {name}")


def start_again(bench: ModernBench, queue: int = 0) -> None:
    """Reset the device and set one queue up in memory wiped clean."""
    bench.write(Register.STATUS, 0)
    bench.memory.write(RAM, bytes(RAM_SIZE))
    bench.driver.available = 0
    bench.set_up(queue)
