"""A machine's description: what it accepts, and every mistake as one exact line."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avmm.config import DeviceConfig, MachineConfig
from avmm.config_checks import parse_endpoint, parse_size
from avmm.config_errors import ConfigErrors
from avmm.errors import ConfigError


@pytest.fixture
def toml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return Path("guest.toml")


def test_defaults() -> None:
    config = MachineConfig()
    assert (config.name, config.arch, config.engine, config.cpu, config.vcpus) == ("vm0", "arm64", "unicorn", "cortex-a57", 1)
    assert config.memory_bytes == 256 << 20
    assert config.kernel is None
    assert config.default_devices


def test_the_embedding_example() -> None:
    config = MachineConfig(arch="arm64", engine="unicorn", vcpus=4, memory="256M", kernel="guest.elf")
    assert config.kernel == Path("guest.elf")


def test_a_whole_machine_in_toml(toml: Path) -> None:
    toml.write_text(
        """
name = "web-1"
arch = "arm64"
cpu = "cortex-a72"
irqchip = "gicv3"
vcpus = 2
memory = "1G"
kernel = "images/Image"
initrd = "/boot/initrd"
append = "console=ttyAMA0"
clock = "virtual"
slot = "inline"
metrics = "[::1]:9100"

[engine]
name = "unicorn"
parallel = true

[devices.doorbell]
kind = "doorbell"
base = 0x0a000000
irq = 5
colour = "red"
"""
    )
    config = MachineConfig.from_toml(toml)
    assert config.kernel == Path("images/Image")
    assert config.initrd == Path("/boot/initrd")
    assert (config.engine, config.engine_options) == ("unicorn", {"parallel": True})
    assert config.devices == {"doorbell": DeviceConfig(kind="doorbell", base=0x0A00_0000, irq=5, options={"colour": "red"})}
    assert config.memory_bytes == 1 << 30


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    for key in ("kernel", "initrd", "firmware", "nvram"):
        (tmp_path / "guest.toml").write_text(f'{key} = "file"')
        assert getattr(MachineConfig.from_toml(tmp_path / "guest.toml"), key) == tmp_path / "file"


@pytest.mark.parametrize(("file", "placed"), [("d.img", "{}/d.img"), ("/d.img", "/d.img"), ("nbd://host/x", "nbd://host/x")])
def test_a_devices_file_is_relative_to_the_file_too(tmp_path: Path, file: str, placed: str) -> None:
    (tmp_path / "guest.toml").write_text(f'[devices.disk0]\nkind = "virtio-blk"\nfile = "{file}"\n')
    devices = MachineConfig.from_toml(tmp_path / "guest.toml").devices
    assert devices["disk0"].options == {"file": placed.format(tmp_path)}


@pytest.mark.parametrize(("written", "folder"), [("kept", "{}/kept"), ("/kept", "/kept"), ("none", None)])
def test_the_folder_for_translations_too(tmp_path: Path, written: str, folder: str | None) -> None:
    (tmp_path / "guest.toml").write_text(f'translation_cache = "{written}"')
    expected = None if folder is None else Path(folder.format(tmp_path))
    assert MachineConfig.from_toml(tmp_path / "guest.toml").translation_folder == expected


def test_translations_in_the_users_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert MachineConfig(translation_cache="auto").translation_folder == tmp_path / "avmm" / "translations"
    assert MachineConfig().translation_folder is None


def test_a_user_without_a_home_keeps_no_translations(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", nowhere)
    assert MachineConfig(translation_cache="auto").translation_folder is None


def test_a_plugin_table_without_a_name_keeps_the_default(toml: Path) -> None:
    toml.write_text("[arch]\nsve = false")
    config = MachineConfig.from_toml(toml)
    assert (config.arch, config.arch_options) == ("arm64", {"sve": False})


def test_a_plugin_table_in_python() -> None:
    config = MachineConfig(engine={"name": "scripted", "script": []}, engine_options={"seed": 1})
    assert (config.engine, config.engine_options) == ("scripted", {"seed": 1, "script": []})


def test_what_was_written_down_is_known() -> None:
    config = MachineConfig(affinity="free", engine={"quick": True}).with_overrides({"vcpus": 2})
    assert [key for key in ("affinity", "engine", "engine_options", "vcpus", "memory") if config.is_given(key)] == [
        "affinity",
        "engine_options",
        "vcpus",
    ]


def test_names_are_text() -> None:
    with pytest.raises(ConfigError, match=r"^cpu: 'max\\x00' holds a NUL character$"):
        MachineConfig(cpu="max\0")
    with pytest.raises(ConfigError, match=r"^append: '\\udcff' is not UTF-8 text$"):
        MachineConfig(append="\udcff")


def test_a_table_where_none_belongs_is_told_by_its_own_key() -> None:
    with pytest.raises(ConfigError, match=r"^vcpus: {} is not a whole number from 1 to 512$"):
        MachineConfig(vcpus={})  # type: ignore[arg-type]


def test_a_machine_is_immutable() -> None:
    with pytest.raises(FrozenInstanceError):
        MachineConfig().vcpus = 2


def test_a_base_may_be_a_string() -> None:
    assert DeviceConfig(kind="pl011", base="0x9000000").base == 0x900_0000
    assert DeviceConfig(kind="pl011", base=(1 << 64) - 1).base == (1 << 64) - 1
    with pytest.raises(ConfigError, match="is not an address"):
        DeviceConfig(kind="pl011", base=1 << 64)


NAME_RULE = "is not a name: 1 to 32 of a-z, 0-9, _ and -, starting with a letter or digit"
SIZE_RULE = "is not a size: a whole number of bytes, or a string like '256M' (K, M, G)"
SIZE_RANGE = "is not a multiple of 4096 bytes between 4096 and 1024G"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("vcpus = 0", "guest.toml:1: vcpus: 0 is not a whole number from 1 to 512"),
        ("\n\nvcpus = 513", "guest.toml:3: vcpus: 513 is not a whole number from 1 to 512"),
        ('vcpus = "4"', "guest.toml:1: vcpus: '4' is not a whole number from 1 to 512"),
        ("vcpus = true", "guest.toml:1: vcpus: true is not a whole number from 1 to 512"),
        ("vcpus = 1.0", "guest.toml:1: vcpus: 1.0 is not a whole number from 1 to 512"),
        ("vcpu = 4", "guest.toml:1: vcpu: no such setting; did you mean vcpus?"),
        ("zzz = 4", "guest.toml:1: zzz: no such setting"),
        ("self = 4", "guest.toml:1: self: no such setting"),
        ("[machine]\nvcpus = 4", "guest.toml:1: machine: no such setting"),
        ('name = "VM 0"', f"guest.toml:1: name: 'VM 0' {NAME_RULE}"),
        ('arch = "../arm"', f"guest.toml:1: arch: '../arm' {NAME_RULE}"),
        ('memory = "256Q"', f"guest.toml:1: memory: '256Q' {SIZE_RULE}"),
        ("memory = 1.5", f"guest.toml:1: memory: 1.5 {SIZE_RULE}"),
        ("memory = 1000", f"guest.toml:1: memory: 1000 {SIZE_RANGE}"),
        ('memory = "0"', f"guest.toml:1: memory: '0' {SIZE_RANGE}"),
        ('memory = "2000G"', f"guest.toml:1: memory: '2000G' {SIZE_RANGE}"),
        ("kernel = 3", "guest.toml:1: kernel: 3 is not the path of a file"),
        ('kernel = ""', "guest.toml:1: kernel: '' is not the path of a file"),
        ("append = 3", "guest.toml:1: append: 3 is not a string"),
        ('append = "a\\u0000b"', "guest.toml:1: append: 'a\\x00b' holds a NUL character"),
        ('clock = "sun"', "guest.toml:1: clock: 'sun' is not one of 'host', 'virtual'"),
        ('slot = "fast"', "guest.toml:1: slot: 'fast' is not one of 'thread', 'inline'"),
        ('metrics = "9100"', "guest.toml:1: metrics: '9100' is not HOST:PORT or :PORT with a port from 0 to 65535"),
        ("default_devices = 1", "guest.toml:1: default_devices: 1 is not true or false"),
        ("[engine]\nname = 3", "guest.toml:2: engine.name: 3 is not a string"),
        ("engine = 3", "guest.toml:1: engine: 3 is not a string"),
        ("engine_options = 3\n[engine]", "guest.toml:1: engine_options: 3 is not a table"),
        ("devices = 3", "guest.toml:1: devices: 3 is not a table"),
        ("devices.a = 3", "guest.toml:1: devices.a: 3 is not a table"),
        ("[devices.a]\nbase = 1", "guest.toml:1: devices.a.kind: missing"),
        (
            '[devices.a]\nkind = "b"\nbase = "c"',
            "guest.toml:3: devices.a.base: 'c' is not an address: a whole number, like 0x9000000",
        ),
        (
            '[devices.a]\nkind = "b"\nbase = -1',
            "guest.toml:3: devices.a.base: -1 is not an address: a whole number from 0 to 2**64 - 1, like 0x9000000",
        ),
        ('[devices.a]\nkind = "b"\nirq = 1020', "guest.toml:3: devices.a.irq: 1020 is not a whole number from 0 to 1019"),
        ('[devices.a]\nkind = "b"\noptions = 3\nx = 1', "guest.toml:3: devices.a.options: 3 is not a table"),
        ('[devices."A"]\nkind = "b"', f"guest.toml:1: devices.A: 'A' {NAME_RULE}"),
        (f"vcpus = {'9' * 80}", f"guest.toml:1: vcpus: {'9' * 57}... is not a whole number from 1 to 512"),
        ("a = 1\nvcpus =", "guest.toml:2: not TOML: Invalid value"),
        ("a = 1\na = 2\n", "guest.toml:2: not TOML: Cannot overwrite a value"),
        ('a = """\n\n', "guest.toml:2: not TOML: Unterminated string"),
    ],
)
def test_a_mistake_in_toml_is_one_line(toml: Path, text: str, line: str) -> None:
    toml.write_text(text)
    with pytest.raises(ConfigError) as caught:
        MachineConfig.from_toml(toml)
    assert str(caught.value) == line
    assert not isinstance(caught.value, ConfigErrors)


def test_all_mistakes_are_told_in_the_order_of_the_file(toml: Path) -> None:
    toml.write_text('slot = "x"\nname = "é"\n[devices.a]\nirq = -1\n')
    with pytest.raises(ConfigErrors) as caught:
        MachineConfig.from_toml(toml)
    assert str(caught.value).splitlines() == [
        "guest.toml:1: slot: 'x' is not one of 'thread', 'inline'",
        f"guest.toml:2: name: 'é' {NAME_RULE}",
        "guest.toml:3: devices.a.kind: missing",
        "guest.toml:4: devices.a.irq: -1 is not a whole number from 0 to 1019",
    ]
    assert [(error.place, error.key) for error in caught.value.errors][-1] == ("guest.toml:4", "devices.a.irq")


def test_files_that_cannot_be_read(toml: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        MachineConfig.from_toml(toml)
    assert str(caught.value) == "guest.toml: No such file or directory"
    with pytest.raises(ConfigError) as caught:
        MachineConfig.from_toml(".")
    assert str(caught.value) == ".: Is a directory"
    toml.write_bytes(b"a = '\xff'")
    with pytest.raises(ConfigError) as caught:
        MachineConfig.from_toml(toml)
    assert str(caught.value) == "guest.toml: byte 5 is not UTF-8 text"
    toml.write_text("a = " + "[" * 100_000)
    with pytest.raises(ConfigError) as caught:
        MachineConfig.from_toml(toml)
    assert str(caught.value) == "guest.toml: not TOML that avmm reads: nested too deeply"


def test_a_mistake_in_python_has_no_place() -> None:
    with pytest.raises(ConfigError) as caught:
        MachineConfig(vcpus=0)
    assert str(caught.value) == "vcpus: 0 is not a whole number from 1 to 512"
    assert (caught.value.place, caught.value.key, caught.value.message) == ("", "vcpus", "0 is not a whole number from 1 to 512")


def test_a_device_in_python_is_checked_with_its_machine() -> None:
    with pytest.raises(ConfigError) as caught:
        MachineConfig(devices={"uart0": {"kind": "pl011", "irq": "5"}})
    assert str(caught.value) == "devices.uart0.irq: '5' is not a whole number from 0 to 1019"


def test_overrides_win_and_are_checked(toml: Path) -> None:
    toml.write_text('vcpus = 2\nmemory = "64M"\n[engine]\nname = "unicorn"\nparallel = true\n')
    config = MachineConfig.from_toml(toml)
    changed = config.with_overrides({"vcpus": 3}, {"vcpus": "--smp"})
    assert (changed.vcpus, changed.memory, changed.engine_options) == (3, "64M", {"parallel": True})
    assert config.with_overrides({"engine": "scripted"}).engine_options == {}
    with pytest.raises(ConfigErrors) as caught:
        config.with_overrides({"vcpus": 0, "memory": "x"}, {"vcpus": "--smp", "memory": "--memory"})
    assert str(caught.value).splitlines() == [
        "--smp: vcpus: 0 is not a whole number from 1 to 512",
        f"--memory: memory: 'x' {SIZE_RULE}",
    ]


def test_an_error_found_later_gets_its_place(toml: Path) -> None:
    toml.write_text('vcpus = 2\n[devices.uart0]\nkind = "pl011"\nbase = 0x9000000\n')
    config = MachineConfig.from_toml(toml).with_overrides({"vcpus": 1}, {"vcpus": "--smp"})
    overlap = ConfigError("0x9000000 overlaps devices.rtc (0x9000000-0x9000fff)", key="devices.uart0.base")
    assert (
        str(config.located(overlap)) == "guest.toml:4: devices.uart0.base: 0x9000000 overlaps devices.rtc (0x9000000-0x9000fff)"
    )
    assert str(config.located(ConfigError("no room", key="devices.uart0.irq"))) == "guest.toml:2: devices.uart0.irq: no room"
    assert str(config.located(ConfigError("too many", key="vcpus"))) == "--smp: vcpus: too many"
    assert str(config.located(ConfigError("unknown", key="cpu"))) == "guest.toml: cpu: unknown"
    assert str(config.located(ConfigError("kept", place="--x", key="vcpus"))) == "--x: vcpus: kept"
    assert str(MachineConfig().located(ConfigError("unknown", key="cpu"))) == "cpu: unknown"


def test_an_override_leaves_the_other_entries_of_a_table_in_their_places(toml: Path) -> None:
    toml.write_text('[devices.uart0]\nkind = "pl011"\n[devices.rtc]\nkind = "pl031"\n')
    config = MachineConfig.from_toml(toml)
    devices = {**config.devices, "rtc": DeviceConfig(kind="other"), "bell": DeviceConfig(kind="doorbell")}
    changed = config.with_overrides({"devices": devices}, {"devices": "--bell"})
    places = {name: changed.located(ConfigError("no room", key=f"devices.{name}.base")).place for name in devices}
    assert places == {"uart0": "guest.toml:1", "rtc": "--bell", "bell": "--bell"}


@pytest.mark.parametrize(("value", "size"), [("4K", 4096), ("1m", 1 << 20), ("2G", 2 << 30), ("8192", 8192), (4096, 4096)])
def test_sizes(value: object, size: int) -> None:
    assert parse_size(value) == size


@pytest.mark.parametrize(
    ("value", "endpoint"),
    [
        (":9100", ("", 9100)),
        ("localhost:0", ("localhost", 0)),
        ("[::1]:80", ("::1", 80)),
        ("10.0.0.1:65535", ("10.0.0.1", 65535)),
    ],
)
def test_endpoints(value: str, endpoint: tuple[str, int]) -> None:
    assert parse_endpoint(value) == endpoint


@pytest.mark.parametrize("value", ["", "9100", "a:", "a:b", "a:65536", "::1:80", "a:-1", "a:٣"])
def test_no_endpoints(value: str) -> None:
    with pytest.raises(ValueError, match="is not HOST:PORT"):
        parse_endpoint(value)


_SETTINGS = st.sampled_from([*(setting.name for setting in fields(MachineConfig)), "other"])
_ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text("aé0\n.", max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab.é", max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(_SETTINGS, _ANYTHING, max_size=4))
def test_whatever_is_written_is_a_machine_or_a_config_error(values: dict[str, object]) -> None:
    try:
        MachineConfig(**values)  # type: ignore[arg-type]
    except ConfigErrors as caught:
        errors, text = caught.errors, str(caught)
    except ConfigError as caught:
        errors, text = (caught,), str(caught)
    else:
        return
    assert all(error.key for error in errors)
    assert len(text.splitlines()) == len(errors)
