"""Records behave as frozen data classes do, without anything being compiled for them."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from dataclasses import FrozenInstanceError, asdict, dataclass, field, fields, replace

import pytest

from avmm.plugin import Record


class Line(Record):
    """A wire."""

    name: str
    number: int = 0
    seen: list[int] = field(default_factory=list)
    kind = "wire"


@dataclass(frozen=True)
class Peer:
    """The same as a data class."""

    name: str
    number: int = 0
    seen: list[int] = field(default_factory=list)
    kind = "wire"


class Narrow(Record):
    """One that looks at what it is given."""

    number: int

    def __init__(self, *, number: object) -> None:
        super().__init__(number=int(str(number)))
        object.__setattr__(self, "given", number)


@pytest.mark.parametrize(
    "make",
    [
        lambda kind: kind("a"),
        lambda kind: kind("a", 3),
        lambda kind: kind("a", 3, [1]),
        lambda kind: kind(number=3, name="a"),
        lambda kind: replace(kind("a", 3), number=4),
        lambda kind: copy.deepcopy(kind("a", 3, [5])),
        lambda kind: pickle.loads(pickle.dumps(kind("a", 3, [5]))),
    ],
)
def test_a_record_is_made_and_changed_as_a_data_class_is(make: Callable[[type], Line | Peer]) -> None:
    ours, peer = make(Line), make(Peer)
    assert asdict(ours) == asdict(peer)  # type: ignore[call-overload]
    assert repr(ours) == repr(peer).replace("Peer", "Line")
    assert [(one.name, one.type) for one in fields(Line)] == [(one.name, one.type) for one in fields(Peer)]
    assert ours == make(Line) != peer


@pytest.mark.parametrize(
    "make",
    [
        lambda kind: kind(),
        lambda kind: kind("a", 1, [], 4),
        lambda kind: kind("a", name="b"),
        lambda kind: kind("a", 1, number=2),
        lambda kind: kind("a", colour="red"),
        lambda kind: kind(number=1),
    ],
)
def test_what_a_data_class_refuses_a_record_does(make: Callable[[type], object]) -> None:
    for kind in (Peer, Line):
        with pytest.raises(TypeError):
            make(kind)


def test_a_default_of_one_is_not_that_of_another() -> None:
    one, other = Line("a"), Line("a")
    one.seen.append(1)
    assert other.seen == []


def test_it_cannot_be_changed() -> None:
    line = Line("a", 3)
    with pytest.raises(FrozenInstanceError, match=r"cannot assign to field 'number'"):
        line.number = 4  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError, match=r"cannot delete field 'number'"):
        del line.number
    assert line.number == 3


def test_equal_ones_are_one_key() -> None:
    assert {Narrow(number=1): "x"}[Narrow(number="1")] == "x"
    assert Narrow(number=1) != Narrow(number=2)
    with pytest.raises(TypeError, match="unhashable"):
        hash(Line("a"))


def test_what_is_no_field_counts_for_nothing() -> None:
    assert repr(Narrow(number="1")) == "Narrow(number=1)"


def test_it_can_be_matched() -> None:
    match Line("a", 3):
        case Line("a", number):
            assert number == 3
        case _:
            pytest.fail("the fields are in order")
