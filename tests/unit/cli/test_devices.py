"""Options that add devices."""

from __future__ import annotations

import argparse

import pytest

from avmm.cli.devices import DEVICE_OPTIONS, add_device_arguments, devices, settings
from avmm.errors import ConfigError
from tests.unit.cli.command import Avmm

DISK = next(option for option in DEVICE_OPTIONS if option.flag == "--disk")
NET = next(option for option in DEVICE_OPTIONS if option.flag == "--net")


@pytest.mark.parametrize(
    ("text", "table"),
    [
        ("passt", {"net": "passt"}),
        ("stream:tcp:host:1,mtu=9000", {"net": "stream:tcp:host:1", "mtu": 9000}),
        ("passt,tcp=8080:80,tcp=2222:22,tcp=53", {"net": "passt", "tcp": ["8080:80", "2222:22", 53]}),
        (
            "none,link=false,reconnect=0.5,mac=02:00:00:00:00:01",
            {"net": "none", "link": False, "reconnect": 0.5, "mac": "02:00:00:00:00:01"},
        ),
        ("passt,passt_arguments=--a=b", {"net": "passt", "passt_arguments": "--a=b"}),
    ],
)
def test_a_word_is_a_table(text: str, table: dict[str, object]) -> None:
    assert settings(NET, text) == table


def test_a_flag_stands_alone() -> None:
    table = {"file": "disk.img", "read_only": True, "serial": 12}
    assert settings(DISK, "disk.img,readonly,serial=12") == table
    with pytest.raises(ConfigError, match="'readonly' is not KEY=VALUE"):
        settings(NET, "none,readonly")
    assert list(devices(parsed("--disk", "a", "--disk", "b"), [])[0]) == ["disk0", "disk1"]


@pytest.mark.parametrize("text", ["passt,", "passt,x", "passt,=1"])
def test_what_is_none_is_one_line(text: str) -> None:
    with pytest.raises(ConfigError, match="is not KEY=VALUE") as caught:
        settings(NET, text)
    assert caught.value.place == "--net"


def parsed(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_device_arguments(parser)
    return parser.parse_args(arguments)


def test_each_gets_a_name_that_is_free() -> None:
    added, places = devices(parsed("--net", "none", "--net", "passt"), ["net0"])
    assert added == {"net1": {"kind": "virtio-net", "net": "none"}, "net2": {"kind": "virtio-net", "net": "passt"}}
    assert places == {"devices.net1": "--net", "devices.net2": "--net"}


def test_any_device_is_named_after_its_plugin() -> None:
    added, places = devices(parsed("--device", "virtio-rng,rate=5", "--device", "pl011", "--device", "virtio-rng"), ["pl0110"])
    assert added == {
        "rng0": {"kind": "virtio-rng", "rate": 5},
        "pl0111": {"kind": "pl011"},
        "rng1": {"kind": "virtio-rng"},
    }
    assert set(places.values()) == {"--device"}


def test_a_mistake_names_the_option(avmm: Avmm) -> None:
    avmm.guest(["off"])
    done = avmm("run", "toy.toml", "--net", "passt,oops")
    assert (done.returncode, done.stderr) == (1, "avmm: --net: 'oops' is not KEY=VALUE\n")


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("nothing", "device nothing: no such device; there "),
        ("toy-uart,base=x", "--device: devices.toy-uart0.base: 'x' is not an address"),
    ],
)
def test_a_device_that_cannot_be_is_one_line(avmm: Avmm, text: str, error: str) -> None:
    avmm.guest(["off"])
    done = avmm("run", "toy.toml", "--device", text)
    assert done.returncode == 1
    assert error in done.stderr
    assert len(done.stderr.splitlines()) == 1
