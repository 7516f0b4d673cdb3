"""A console device's table in a machine's description."""

from __future__ import annotations

from pathlib import Path

import pytest

from avmm.plugin import ConfigError, GuestMemory
from avmm_virtio import LegacyVirtioMmio, VirtioConsole, VirtioMmio, create_console
from avmm_virtio.chardev.base import OutputChardev
from avmm_virtio.chardev.file import FileChardev
from avmm_virtio.chardev.stream import StreamChardev
from avmm_virtio.chardev.vm_console import ConsoleChardev
from avmm_virtio.console.device import F_MULTIPORT
from avmm_virtio.one_peer import StreamClient, StreamServer
from tests.unit.virtio.host import device_options


def console(table: dict[str, object]) -> VirtioConsole:
    device = create_console(device_options(GuestMemory(), table))
    assert isinstance(device, VirtioMmio)
    assert isinstance(device.model, VirtioConsole)
    return device.model


def test_a_lone_console_needs_no_control_queues() -> None:
    model = console({"hvc": "console"})
    assert (list(model.ports), len(model.queue_sizes), model.features & F_MULTIPORT) == ([0], 2, 0)
    assert isinstance(model.ports[0].chardev, ConsoleChardev)
    assert model.ports[0].hvc


def test_ports_by_name_and_where_they_lead(tmp_path: Path) -> None:
    mine = OutputChardev()
    ports: dict[str, object] = {
        "org.example.agent": f"listen:unix:{tmp_path}/agent",
        "client": "stream:tcp:127.0.0.1:1",
        "log": {"to": f"file:{tmp_path}/log", "hvc": True},
        "null": "none",
        "mine": mine,
    }
    model = console({"ports": ports, "max_ports": 10})
    assert {number: port.name for number, port in model.ports.items()} == dict(enumerate(ports, 1))
    kinds = [type(port.chardev) for port in model.ports.values()]
    assert kinds == [StreamChardev, StreamChardev, FileChardev, OutputChardev, OutputChardev]
    sources = [type(port.chardev.source) for port in model.ports.values() if isinstance(port.chardev, StreamChardev)]
    assert sources == [StreamServer, StreamClient]
    assert model.ports[5].chardev is mine
    assert [port.hvc for port in model.ports.values()] == [False, False, True, False, False]
    assert (len(model.queue_sizes), bool(model.features & F_MULTIPORT)) == (22, True)
    assert (tmp_path / "agent").is_socket()


def test_the_test_device_is_on_the_legacy_transport() -> None:
    assert isinstance(create_console(device_options(GuestMemory(), {"testdev": True})), LegacyVirtioMmio)


@pytest.mark.parametrize(
    ("table", "key", "text"),
    [
        ({}, "hvc", "missing: console, stream:ADDRESS"),
        ({"hvc": 5}, "hvc", "5 is not console, stream:ADDRESS"),
        ({"hvc": "console:x"}, "hvc", "'console:x' is not console"),
        ({"hvc": "stream:nowhere"}, "hvc", "'nowhere' is not unix:PATH or tcp:HOST:PORT"),
        ({"hvc": "listen:unix:/no/such/folder/x"}, "hvc", "cannot listen at unix:/no/such/folder/x: No such file"),
        ({"hvc": "file:/no/such/folder/x"}, "hvc", "cannot write /no/such/folder/x: No such file"),
        ({"hvc": "file:a\0b"}, "hvc", "cannot write a\0b: embedded null byte"),
        ({"hvc": "file:"}, "hvc", "'file:' is not console"),
        ({"ports": "console"}, "ports", "is not a table of up to 31 ports by name"),
        ({"ports": {str(n): "none" for n in range(32)}}, "ports", "is not a table of up to 31 ports by name"),
        ({"ports": {"": "none"}}, "ports", "'' is not a port's name: 1 to 255 bytes"),
        ({"ports": {"a": {"to": "none", "x": 1}}}, "ports.a.x", "no such setting of a port; there are to, hvc"),
        ({"ports": {"a": {"to": "none", "hvc": 1}}}, "ports.a.hvc", "1 is not true or false"),
        ({"ports": {"a": {}}}, "ports.a", "None is not console"),
        ({"ports": {"a": "none", "b": "none"}, "max_ports": 2}, "max_ports", "2 is not a whole number from 3 to 32"),
        ({"hvc": "none", "max_ports": 33}, "max_ports", "33 is not a whole number from 1 to 32"),
        ({"hvc": "stream:unix:/x", "reconnect": -1}, "reconnect", "-1 is not a number of seconds"),
        ({"hvc": "none", "port": 1}, "port", "no such setting of a virtio-console"),
        ({"testdev": 1}, "testdev", "1 is not true or false"),
        ({"testdev": True, "hvc": "none"}, "testdev", "a test device has no other settings"),
    ],
)
def test_a_mistake_is_named(table: dict[str, object], key: str, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        create_console(device_options(GuestMemory(), table))
    assert caught.value.key == f"devices.testdev.{key}"
    assert text in str(caught.value)
