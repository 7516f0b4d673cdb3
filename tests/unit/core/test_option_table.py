"""The options of a plugin."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from avmm.clock import VirtualClock
from avmm.config_errors import shown
from avmm.plugin import ConfigError, Console, DeviceLock, DeviceOptions, DeviceTable, OptionTable

Read = Callable[[OptionTable], object]


def table(value: object) -> OptionTable:
    return OptionTable({"key": value}, "engine", "the engine", ("key", "other"))


def integer(one: OptionTable) -> object:
    return one.integer("key", 1, 8)


def seconds(one: OptionTable) -> object:
    return one.seconds("key", 1.5)


def flag(one: OptionTable) -> object:
    return one.flag("key", default=True)


def path(one: OptionTable) -> object:
    return one.path("key")


def text(one: OptionTable) -> object:
    return one.text("key")


def texts(one: OptionTable) -> object:
    return one.texts("key")


@pytest.mark.parametrize(
    ("read", "value", "expected"),
    [
        (integer, 1, 1),
        (integer, 8, 8),
        (seconds, 0, 0.0),
        (seconds, 86_400, 86_400.0),
        (seconds, 0.25, 0.25),
        (flag, False, False),
        (path, "a/b", Path("a/b")),
        (path, Path("a"), Path("a")),
        (text, "", ""),
        (text, "console=ttyAMA0", "console=ttyAMA0"),
        (texts, "one", ["one"]),
        (texts, ["one", "two"], ["one", "two"]),
    ],
)
def test_what_can_be(read: Read, value: object, expected: object) -> None:
    assert read(table(value)) == expected


@pytest.mark.parametrize(
    ("read", "default"), [(integer, None), (seconds, 1.5), (flag, True), (path, None), (text, ""), (texts, [])]
)
def test_what_is_left_out(read: Read, default: object) -> None:
    assert read(OptionTable({}, "engine", "the engine", ("key",))) == default


@pytest.mark.parametrize(
    ("read", "values", "what"),
    [
        (integer, (0, 9, True, "1", 1.0), "a whole number from 1 to 8"),
        (seconds, (-1, 86_401, True, "1", float("nan")), "a number of seconds from 0 to 86400"),
        (flag, (0, 1, "yes"), "true or false"),
        (path, (1, "", "a\0b"), "the path of a file"),
        (text, (1,), "a string"),
        (texts, (1, "", ["a", 1], ["a", ""]), "a string or a list of strings"),
    ],
)
def test_what_cannot_be(read: Read, values: tuple[object, ...], what: str) -> None:
    for value in values:
        with pytest.raises(ConfigError) as error:
            read(table(value))
        assert str(error.value) == f"engine.key: {shown(value)} is not {what}"


@pytest.mark.parametrize("read", [text, texts])
@pytest.mark.parametrize(("value", "what"), [("a\0b", "holds a NUL character"), ("\udcff", "is not UTF-8 text")])
def test_text_that_cannot_be_told(read: Read, value: str, what: str) -> None:
    with pytest.raises(ConfigError) as error:
        read(table(value))
    assert str(error.value) == f"engine.key: {value!r} {what}"


def test_a_value_of_another_kind() -> None:
    error = table({"loud": "x" * 80}).is_not("key.loud", "x" * 80, "a colour")
    assert str(error) == f"engine.key.loud: '{'x' * 56}... is not a colour"


def test_a_key_that_does_not_exist() -> None:
    with pytest.raises(ConfigError) as error:
        OptionTable({"colour": 1}, "engine", "the engine", ("key", "other"))
    assert str(error.value) == "engine.colour: no such setting of the engine; there are key, other"


def test_the_table_of_a_device() -> None:
    lock = DeviceLock()
    options = DeviceOptions("bell", VirtualClock(), lock, Console(lock), options={"volume": 3})
    assert DeviceTable(options, "doorbell", ("volume",)).name == "bell"
    with pytest.raises(ConfigError) as error:
        DeviceTable(options, "doorbell", ("loudness",))
    assert str(error.value) == "devices.bell.volume: no such setting of a doorbell; there is loudness"
