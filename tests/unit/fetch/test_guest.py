"""From an archive to a guest in the cache; and what the cache is good for afterwards."""

from __future__ import annotations

import json
import shutil
import stat
from pathlib import Path

import pytest

from avmm.errors import FetchError
from avmm.fetch import initramfs
from avmm.fetch.guest import Guest, fetch
from avmm.fetch.modules import select
from tests.unit.fetch.mirror import Mirror, Told, contents, deb, module

RELEASE = "6.1.0-1-cloud-arm64"


class Fetching:
    def __init__(self, mirror: Mirror, cache: Path, keyring: Path) -> None:
        self.mirror, self.cache, self.keyring = mirror, cache, keyring

    def __call__(self, *, flavour: str = "cloud", refresh: bool = False) -> tuple[Guest, list[str]]:
        """The guest, and what was downloaded for it."""
        told = Told()
        mirror, keyring = self.mirror.url, self.keyring
        guest = fetch(self.cache, "bookworm", mirror, told, flavour=flavour, refresh=refresh, keyring=keyring)
        return guest, told.downloads


@pytest.fixture
def fetching(mirror: Mirror, tmp_path: Path, keyring: Path) -> Fetching:
    return Fetching(mirror, tmp_path / "cache", keyring)


def test_kernel_and_initramfs_come_into_the_cache(fetching: Fetching) -> None:
    guest, downloads = fetching()
    folder = fetching.cache / "debian-arm64" / "bookworm"
    assert guest == Guest(folder / f"vmlinuz-{RELEASE}", folder / f"initrd-{RELEASE}.gz", RELEASE)
    assert guest.kernel.read_bytes() == b"kernel 6.1.0-1"
    kernel, busybox = f"linux-image-{RELEASE}_6.1.0-1_arm64.deb", "busybox-static_1.35_arm64.deb"
    assert downloads == ["InRelease", "Packages.xz", kernel, busybox]
    files = contents(guest.initrd.read_bytes())
    assert files["bin/busybox"] == (stat.S_IFREG | 0o755, b"busybox")
    assert files["init"] == (stat.S_IFREG | 0o755, initramfs.script("init.sh"))
    assert stat.S_ISCHR(files["dev/console"][0])
    assert files["etc/mtab"] == (stat.S_IFLNK | 0o777, b"/proc/mounts")
    for path in files:
        folder_name = path.rpartition("/")[0]
        assert not folder_name or stat.S_ISDIR(files[folder_name][0]), "folders come with what is in them"


def test_the_initramfs_has_the_drivers_and_says_what_they_are_for(fetching: Fetching) -> None:
    files = contents(fetching()[0].initrd.read_bytes())
    top = f"lib/modules/{RELEASE}"
    assert files[f"{top}/kernel/drivers/virtio_mmio.ko"][1].startswith(b"\x7fELF")
    assert files[f"{top}/modules.dep"][1].decode().splitlines() == [
        "kernel/drivers/virtio.ko:",
        "kernel/drivers/virtio_mmio.ko: kernel/drivers/virtio_ring.ko kernel/drivers/virtio.ko",
        "kernel/drivers/virtio_ring.ko: kernel/drivers/virtio.ko",
    ]
    assert files[f"{top}/modules.alias"][1] == b"alias of:N*T*Cvirtio,mmio virtio_mmio\n"


def test_packed_modules_are_unpacked(fetching: Fetching) -> None:
    fetching.mirror.add_kernel("6.1.0-1", {"virtio_blk": module(depends="virtio")}, pack=True)
    fetching.mirror.publish()
    files = contents(fetching()[0].initrd.read_bytes())
    assert files[f"lib/modules/{RELEASE}/kernel/drivers/virtio_blk.ko"][1] == module(depends="virtio")


def test_debians_usual_kernel_hears_of_the_power_button(fetching: Fetching) -> None:
    drivers = {"gpio_keys": module(), "evdev": module()}
    fetching.mirror.add_kernel("6.1.0-1", drivers, flavour="arm64")
    fetching.mirror.add_kernel("6.1.0-1", drivers)
    fetching.mirror.publish()
    cloud, generic = fetching()[0], fetching(flavour="generic")[0]
    folder = fetching.cache / "debian-arm64"
    assert (cloud.kernel.parent, generic.kernel.parent) == (folder / "bookworm", folder / "bookworm-generic")
    assert (cloud.release, generic.release) == (RELEASE, "6.1.0-1-arm64")
    modules = {f"lib/modules/{{}}/kernel/drivers/{name}.ko" for name in drivers}
    for guest, there in ((cloud, False), (generic, True)):
        files = contents(guest.initrd.read_bytes())
        assert [path.format(guest.release) in files for path in modules] == [there, there]
        assert files["etc/acpi/PWRF/00000080"] == (stat.S_IFREG | 0o755, initramfs.script("power_button.sh"))


def test_the_cache_is_enough_without_an_archive(fetching: Fetching) -> None:
    guest, _ = fetching()
    shutil.rmtree(fetching.mirror.folder)
    assert fetching() == (guest, [])


def test_equal_packages_give_equal_bytes(fetching: Fetching, tmp_path: Path) -> None:
    first = fetching()[0].initrd.read_bytes()
    fetching.cache = tmp_path / "another"
    assert fetching()[0].initrd.read_bytes() == first


def test_a_refresh_finds_a_newer_kernel_and_keeps_the_old_one(fetching: Fetching) -> None:
    old, _ = fetching()
    fetching.mirror.add_kernel("6.1.0-2", {})
    fetching.mirror.publish()
    assert fetching() == (old, [])
    new, downloads = fetching(refresh=True)
    assert new.release == "6.1.0-2-cloud-arm64"
    assert "busybox-static_1.35_arm64.deb" not in downloads, "it is there already"
    assert old.kernel.exists(), "a machine may still use it"
    assert fetching()[0] == new


def test_a_refresh_that_fails_leaves_the_guest_as_it_was(fetching: Fetching) -> None:
    guest, _ = fetching()
    shutil.rmtree(fetching.mirror.folder)
    with pytest.raises(FetchError):
        fetching(refresh=True)
    assert fetching() == (guest, [])


@pytest.mark.parametrize("damage", ["truncated kernel", "no initrd", "no stamp", "nonsense", "another recipe"])
def test_a_damaged_guest_is_made_anew_from_the_packages(fetching: Fetching, damage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    guest, _ = fetching()
    before = guest.kernel.read_bytes()
    stamp = guest.kernel.parent / "guest.json"
    match damage:
        case "truncated kernel":
            guest.kernel.write_bytes(b"kern")
        case "no initrd":
            guest.initrd.unlink()
        case "no stamp":
            stamp.write_text(json.dumps(json.loads(stamp.read_text()) | {"stamp": ""}))
        case "nonsense":
            stamp.write_text("[1, 2]")
        case _:
            monkeypatch.setattr(initramfs, "MOTD", "another")
    shutil.rmtree(fetching.mirror.folder)
    again, downloads = fetching()
    assert (again, downloads) == (guest, [])
    assert guest.kernel.read_bytes() == before
    if damage == "another recipe":
        assert contents(guest.initrd.read_bytes())["etc/motd"][1] == b"another"


def test_a_damaged_package_is_fetched_again(fetching: Fetching) -> None:
    guest, _ = fetching()
    (fetching.cache / "packages" / f"linux-image-{RELEASE}_6.1.0-1_arm64.deb").write_bytes(b"damaged")
    guest.kernel.unlink()
    assert fetching() == (guest, [f"linux-image-{RELEASE}_6.1.0-1_arm64.deb"])


def test_a_damaged_selection_is_made_anew(fetching: Fetching) -> None:
    guest, _ = fetching()
    (guest.kernel.parent / "packages.json").write_text('[{"name": "x"}, {}]')
    assert fetching() == (guest, ["InRelease", "Packages.xz"])


def test_a_package_that_is_not_what_the_index_says(fetching: Fetching) -> None:
    path = fetching.mirror.folder / "pool/busybox-static_1.35_arm64.deb"
    path.write_bytes(bytes(path.stat().st_size))
    with pytest.raises(FetchError, match=r"busybox-static_1.35_arm64.deb: is not what the archive says it is"):
        fetching()
    assert not (fetching.cache / "packages" / path.name).exists()


@pytest.mark.parametrize(
    ("content", "line"),
    [(b"no archive", "is not a sound package"), (deb({"./bin/other": b""}), r"has no file like \(\?:usr/\)\?bin/busybox$")],
)
def test_a_package_that_is_none(fetching: Fetching, content: bytes, line: str) -> None:
    fetching.mirror.add("busybox-static", "1.35", content)
    fetching.mirror.publish()
    with pytest.raises(FetchError, match=line):
        fetching()


def test_modules_that_are_no_modules() -> None:
    with pytest.raises(FetchError, match=r"x/virtio.ko: is not a kernel module"):
        select(["virtio"], {"x/virtio.ko": b"text"})
    assert select(["virtio", "ext4"], {}) == {}, "built in"
