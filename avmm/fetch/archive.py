"""A Debian archive: its release file, its package index, and the packages they lead to."""

from __future__ import annotations

import lzma
import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path

from debian.deb822 import Deb822, PkgRelation, Release

from avmm.errors import FetchError
from avmm.fetch.download import download, download_checked
from avmm.fetch.progress import Progress
from avmm.fetch.signature import signed_text

MIRROR = "https://deb.debian.org/debian"
_MAX_RELEASE = 4 << 20
_MAX_INDEX = 256 << 20
"""An unpacked package index has some 50 MB."""
_RELEASES = {"bullseye", "bookworm", "trixie", "forky", "oldoldstable", "oldstable", "stable", "testing", "unstable", "sid"}


@dataclass(frozen=True, slots=True)
class Package:
    """A package as the index has it."""

    name: str
    version: str
    filename: str
    """Below the mirror."""
    size: int
    sha256: str
    depends: str = ""

    def as_json(self) -> dict[str, str | int]:
        """For the cache."""
        return asdict(self)


class Archive:
    """The packages of one suite and architecture, component main."""

    def __init__(self, mirror: str, suite: str, architecture: str, keyring: Path, progress: Progress) -> None:
        """Fetches the index; FetchError when it cannot be had, or is not what the release file says it is."""
        self.mirror = mirror.rstrip("/")
        base = f"{self.mirror}/dists/{suite}"
        url = f"{base}/InRelease"
        text = signed_text(download(url, progress, limit=_MAX_RELEASE), url, keyring, progress)
        release = Release(text)
        _check_date(release, url)
        wanted = f"main/binary-{architecture}/Packages.xz"
        for entry in release.get("SHA256", ()):
            if entry["name"] == wanted:
                break
        else:
            raise FetchError(f"{url}: lists no {wanted}")
        # By hash, so that an archive which is being changed still gives what this release file speaks of.
        path = f"main/binary-{architecture}/by-hash/SHA256/{entry['sha256']}"
        where = path if release.get("Acquire-By-Hash", "") == "yes" else wanted
        size, sha256 = int(entry["size"]), entry["sha256"]
        packed = download_checked(f"{base}/{where}", progress, size=size, sha256=sha256, name="Packages.xz")
        self._index = b"\n" + _unpack(packed, f"{base}/{where}")

    def package(self, name: str) -> Package:
        """The package `name`; FetchError when there is none."""
        start = self._index.find(b"\nPackage: " + name.encode() + b"\n")
        if start < 0:
            raise FetchError(f"{self.mirror}: has no package {name}")
        end = self._index.find(b"\n\n", start)
        fields = Deb822(self._index[start + 1 : end if end >= 0 else None])
        try:
            return Package(
                name, fields["Version"], fields["Filename"], int(fields["Size"]), fields["SHA256"], fields.get("Depends", "")
            )
        except (KeyError, ValueError) as error:
            raise FetchError(f"{self.mirror}: the index's entry of {name} is not sound ({error})") from None

    def dependency(self, package: Package, pattern: str) -> Package:
        """The one package that `package` depends on whose name matches `pattern`; FetchError when there is none."""
        for alternatives in PkgRelation.parse_relations(package.depends):
            for relation in alternatives:
                if re.fullmatch(pattern, relation["name"]):
                    return self.package(relation["name"])
        raise FetchError(f"{self.mirror}: {package.name} {package.version} depends on no package like {pattern}")


def configured_mirror(apt: Path = Path("/etc/apt")) -> str:
    """The Debian mirror this host uses, by apt's lists of sources; Debian's own where there is none."""
    for uri, suites in _sources(apt):
        if uri.startswith(("http://", "https://")) and _RELEASES.intersection(suites):
            return uri.rstrip("/")
    return MIRROR


def _sources(apt: Path) -> Iterator[tuple[str, list[str]]]:
    """URI and suites of every source of binary packages."""
    for path in (apt / "sources.list", *sorted((apt / "sources.list.d").glob("*"))):
        try:
            text = path.read_text()
        except (OSError, UnicodeDecodeError):
            continue
        if path.suffix == ".sources":
            yield from _deb822_sources(text)
        elif path.suffix == ".list":
            for uri, suite in re.findall(r"^\s*deb\s+(?:\[[^]\n]*\]\s*)?(\S+)\s+(\S+)\s+\S", text, re.MULTILINE):
                yield uri, [suite]


def _deb822_sources(text: str) -> Iterator[tuple[str, list[str]]]:
    paragraphs: Iterable[Deb822] = Deb822.iter_paragraphs(text)
    for fields in paragraphs:
        if "deb" in fields.get("Types", "").split() and fields.get("Enabled", "yes").lower() not in ("no", "false", "0"):
            for uri in fields.get("URIs", "").split():
                yield uri, fields.get("Suites", "").split()


def _check_date(release: Release, url: str) -> None:
    """FetchError when the release file says of itself that it is too old to be believed."""
    until = release.get("Valid-Until")
    if until is not None and parsedate_to_datetime(until).replace(tzinfo=UTC) < datetime.now(UTC):
        raise FetchError(f"{url}: was valid until {until}: the mirror is out of date, or this host's clock is wrong")


def _unpack(packed: bytes, url: str) -> bytes:
    unpacker = lzma.LZMADecompressor()
    try:
        index = unpacker.decompress(packed, _MAX_INDEX)
    except lzma.LZMAError as error:
        raise FetchError(f"{url}: is not sound ({error})") from None
    if not unpacker.eof:
        raise FetchError(f"{url}: is truncated, or unpacks to more than {_MAX_INDEX} bytes")
    return index
