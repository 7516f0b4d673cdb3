"""The guests there are, and where they lie in the cache."""

from __future__ import annotations

import fcntl
import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from debian.arfile import ArError
from debian.debfile import DebError, DebFile

from avmm.errors import FetchError
from avmm.fetch import initramfs
from avmm.fetch.archive import Archive, Package
from avmm.fetch.download import download_checked, write_whole
from avmm.fetch.initramfs import MODULES, POWER_BUTTON_MODULES, build_initramfs
from avmm.fetch.progress import Progress
from avmm.fetch.signature import KEYRING

_ARCHITECTURE = "arm64"
_BUSYBOX = "busybox-static"


@dataclass(frozen=True, slots=True)
class _Flavour:
    """One of Debian's kernels for an architecture."""

    package: str
    real_package: str
    """Pattern for the package of the kernel itself, on which the former depends."""
    modules: tuple[str, ...] = MODULES
    """What the initramfs has of its modules."""


_FLAVOURS = {
    "cloud": _Flavour("linux-image-cloud-arm64", r"linux-image-\d.*-cloud-arm64"),
    "generic": _Flavour("linux-image-arm64", r"linux-image-\d.*-arm64", (*MODULES, *POWER_BUTTON_MODULES)),
}


@dataclass(frozen=True, slots=True)
class Guest:
    """A guest in the cache."""

    kernel: Path
    initrd: Path
    release: str
    """The kernel's: 6.1.0-50-cloud-arm64."""


def fetch(
    cache: Path,
    suite: str,
    mirror: str,
    progress: Progress,
    *,
    flavour: str = "cloud",
    refresh: bool = False,
    keyring: Path = KEYRING,
) -> Guest:
    """Debian's arm64 kernel of `suite` and `flavour`, and an initramfs for it: from `cache`, or else brought there from `mirror`.

    With `refresh` the archive is asked for newer packages. FetchError says in one line what went wrong; the cache is whole then.
    """
    wanted = _FLAVOURS[flavour]
    folder = cache / f"debian-{_ARCHITECTURE}" / (suite if flavour == "cloud" else f"{suite}-{flavour}")
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder / "lock"):
        packages = None if refresh else _selection(folder / "packages.json")
        if packages is None:
            progress.step(f"asking {mirror} for Debian {suite}")
            packages = _select(Archive(mirror, suite, _ARCHITECTURE, keyring, progress), wanted)
        stamp = _stamp(packages, wanted)
        guest = _built(folder, stamp)
        if guest is None:
            kernel, busybox = (_package_file(cache / "packages", mirror, package, progress) for package in packages)
            progress.step("unpacking the kernel and making the initramfs")
            guest = _build(folder, stamp, kernel, busybox, wanted.modules)
            write_whole(folder / "packages.json", json.dumps([package.as_json() for package in packages], indent=2).encode())
        return guest


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One fetch at a time; a second one finds what the first has brought."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _select(archive: Archive, wanted: _Flavour) -> tuple[Package, Package]:
    """Kernel and busybox."""
    return archive.dependency(archive.package(wanted.package), wanted.real_package), archive.package(_BUSYBOX)


def _selection(path: Path) -> tuple[Package, Package] | None:
    """What was selected before; None when that cannot be read."""
    try:
        kernel, busybox = (Package(**fields) for fields in json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError):
        return None
    return kernel, busybox


def _stamp(packages: tuple[Package, Package], wanted: _Flavour) -> str:
    """What the built guest depends on: the packages, and this recipe."""
    digest = hashlib.sha256()
    for part in (*(package.sha256 for package in packages), *wanted.modules, initramfs.MOTD, initramfs.PROFILE):
        digest.update(part.encode() + b"\0")
    for name in ("init.sh", "udhcpc.sh", "power_button.sh"):
        digest.update(initramfs.script(name))
    return digest.hexdigest()


def _built(folder: Path, stamp: str) -> Guest | None:
    """The guest in the cache, if it is the one with this stamp and whole."""
    try:
        found = json.loads((folder / "guest.json").read_bytes())
        guest = Guest(folder / found["kernel"], folder / found["initrd"], found["release"])
        whole = found["stamp"] == stamp and all(
            path.stat().st_size == found["sizes"][path.name] for path in (guest.kernel, guest.initrd)
        )
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return guest if whole else None


def _package_file(folder: Path, mirror: str, package: Package, progress: Progress) -> Path:
    """A package's file, from the cache if it is there and what the archive says it is."""
    path = folder / Path(package.filename).name
    if not path.exists() or hashlib.sha256(path.read_bytes()).hexdigest() != package.sha256:
        url = f"{mirror.rstrip('/')}/{package.filename}"
        write_whole(path, download_checked(url, progress, size=package.size, sha256=package.sha256))
    return path


def _build(folder: Path, stamp: str, kernel_deb: Path, busybox_deb: Path, wanted: tuple[str, ...]) -> Guest:
    """Make the guest from its packages."""
    kernel = _members(kernel_deb, r"(?:usr/)?(?:boot/vmlinuz-.*|lib/modules/.*\.ko(?:\.xz)?)")
    (image,) = (path for path in kernel if "boot/vmlinuz-" in path)
    release = image.partition("vmlinuz-")[2]
    modules = {path.partition(f"lib/modules/{release}/")[2]: content for path, content in kernel.items() if path != image}
    (busybox,) = _members(busybox_deb, r"(?:usr/)?bin/busybox").values()
    # Named after the kernel, so that a running machine keeps the files it was started with when a newer one comes.
    guest = Guest(folder / f"vmlinuz-{release}", folder / f"initrd-{release}.gz", release)
    write_whole(guest.kernel, kernel[image])
    write_whole(guest.initrd, build_initramfs(release, busybox, modules, wanted))
    sizes = {path.name: path.stat().st_size for path in (guest.kernel, guest.initrd)}
    found = {"stamp": stamp, "release": release, "kernel": guest.kernel.name, "initrd": guest.initrd.name, "sizes": sizes}
    write_whole(folder / "guest.json", json.dumps(found, indent=2).encode())
    return guest


def _members(deb: Path, pattern: str) -> dict[str, bytes]:
    """The regular files in a package whose path, without leading `./`, matches `pattern`."""
    found = {}
    try:
        with DebFile(str(deb)) as package, package.data.tgz() as archive:
            for member in archive:
                path = member.name.removeprefix("./")
                if member.isfile() and re.fullmatch(pattern, path) and (file := archive.extractfile(member)) is not None:
                    found[path] = file.read()
    except (ArError, DebError, OSError) as error:
        raise FetchError(f"{deb}: is not a sound package ({error})") from None
    if not found:
        raise FetchError(f"{deb}: has no file like {pattern}")
    return found
