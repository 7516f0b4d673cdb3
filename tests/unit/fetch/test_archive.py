"""The archive's index: hashes, signature, date; and which mirror it is."""

from __future__ import annotations

import lzma
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from avmm.errors import FetchError
from avmm.fetch.archive import MIRROR, Archive, configured_mirror
from tests.unit.fetch.mirror import Mirror, Told


def opened(mirror: Mirror, keyring: Path, told: Told) -> Archive:
    return Archive(mirror.url + "/", "bookworm", "arm64", keyring, told)


def refused(mirror: Mirror, keyring: Path) -> str:
    told = Told()
    with pytest.raises(FetchError) as caught:
        opened(mirror, keyring, told)
    assert told.open == 0, "every download that began has ended"
    (line,) = str(caught.value).splitlines()
    return line.removeprefix(f"{mirror.url}/dists/bookworm/")


def test_a_package_is_found_by_its_whole_name(mirror: Mirror, keyring: Path, told: Told) -> None:
    mirror.add("busybox", "9", b"other")
    mirror.publish()
    package = opened(mirror, keyring, told).package("busybox-static")
    assert (package.name, package.version, package.filename) == ("busybox-static", "1.35", "pool/busybox-static_1.35_arm64.deb")
    assert told.downloads == ["InRelease", "Packages.xz"]
    assert told.bytes > 0


def test_a_package_that_is_not_there(mirror: Mirror, keyring: Path, told: Told) -> None:
    archive = opened(mirror, keyring, told)
    with pytest.raises(FetchError, match=r"has no package busybox-stat$"):
        archive.package("busybox-stat")
    with pytest.raises(FetchError, match=r"linux-image-cloud-arm64 6.1.0-1 depends on no package like z.*"):
        archive.dependency(archive.package("linux-image-cloud-arm64"), "z.*")


def test_a_dependency_is_found_among_alternatives(mirror: Mirror, keyring: Path, told: Told) -> None:
    mirror.add("another", "2", b"")
    mirror.publish()
    archive = opened(mirror, keyring, told)
    assert archive.dependency(archive.package("linux-image-cloud-arm64"), "anoth.*").version == "2"


def test_an_index_by_hash_is_the_one_that_the_release_file_means(mirror: Mirror, keyring: Path, told: Told) -> None:
    mirror.fields["Acquire-By-Hash"] = "yes"
    mirror.publish()
    mirror.write("dists/bookworm/main/binary-arm64/Packages.xz", b"the next one already")
    assert opened(mirror, keyring, told).package("busybox-static").version == "1.35"


def test_an_index_that_was_tampered_with(mirror: Mirror, keyring: Path) -> None:
    index = mirror.folder / "dists/bookworm/main/binary-arm64/Packages.xz"
    whole = index.read_bytes()
    index.write_bytes(whole[:-1] + b"x")
    assert "Packages.xz: is not what the archive says it is (SHA256 " in refused(mirror, keyring)
    index.write_bytes(whole[:-1])
    assert refused(mirror, keyring).startswith(f"main/binary-arm64/Packages.xz: has {len(whole) - 1} bytes, not {len(whole)}: ")
    index.write_bytes(whole + b"x")
    assert refused(mirror, keyring) == f"main/binary-arm64/Packages.xz: has more than the {len(whole)} bytes it should have"


@pytest.mark.parametrize(
    ("packed", "line"),
    [(b"not xz", "is not sound"), (lzma.compress(b"x" * 1000)[:-20], "is truncated, or unpacks to more than")],
)
def test_an_index_that_cannot_be_unpacked(mirror: Mirror, keyring: Path, packed: bytes, line: str) -> None:
    mirror.publish_index(packed)
    assert line in refused(mirror, keyring)


def test_an_index_that_unpacks_to_more_than_any_has(mirror: Mirror, keyring: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("avmm.fetch.archive._MAX_INDEX", 999)
    mirror.publish_index(lzma.compress(bytes(1000)))
    assert "or unpacks to more than 999 bytes" in refused(mirror, keyring)


def test_an_entry_that_is_not_sound(mirror: Mirror, keyring: Path, told: Told) -> None:
    mirror.publish_index(lzma.compress(b"Package: half\nVersion: 1\n"))
    with pytest.raises(FetchError, match="the index's entry of half is not sound"):
        opened(mirror, keyring, told).package("half")


def test_an_architecture_that_the_archive_does_not_have(mirror: Mirror, keyring: Path, told: Told) -> None:
    with pytest.raises(FetchError, match=r"InRelease: lists no main/binary-s390x/Packages.xz$"):
        Archive(mirror.url, "bookworm", "s390x", keyring, told)


@pytest.mark.parametrize(("until", "good"), [("Mon, 01 Jan 2024 00:00:00 UTC", False), ("Fri, 01 Jan 2100 00:00:00 UTC", True)])
def test_a_release_file_that_is_too_old_by_its_own_word(mirror: Mirror, keyring: Path, until: str, good: bool) -> None:
    mirror.fields["Valid-Until"] = until
    mirror.publish()
    if good:
        opened(mirror, keyring, Told())
    else:
        assert refused(mirror, keyring).startswith(f"InRelease: was valid until {until}")


class TestSignature:
    @pytest.fixture
    def home(self, tmp_path: Path) -> Iterator[Path]:
        """A key, and its public half as a keyring in `pub.gpg`."""
        if shutil.which("gpg") is None or shutil.which("gpgv") is None:
            pytest.skip("gpg and gpgv are not installed")
        home = tmp_path / "gnupg"
        home.mkdir(mode=0o700)
        make = ["gpg", "--homedir", str(home), "--batch", "--passphrase", "", "--quick-gen-key", "Archive", "ed25519", "sign"]
        subprocess.run(make, check=True, capture_output=True, timeout=60)
        export = subprocess.run(["gpg", "--homedir", str(home), "--export"], check=True, capture_output=True, timeout=60)
        (home / "pub.gpg").write_bytes(export.stdout)
        yield home
        subprocess.run(["gpgconf", "--homedir", str(home), "--kill", "all"], check=False, capture_output=True, timeout=60)

    def test_a_good_one(self, mirror: Mirror, home: Path, told: Told) -> None:
        mirror.sign(home)
        assert opened(mirror, home / "pub.gpg", told).package("busybox-static").version == "1.35"
        assert told.steps == [f"the archive's signature is good, by {home / 'pub.gpg'}"]

    def test_a_text_that_was_changed_after_it(self, mirror: Mirror, home: Path) -> None:
        mirror.sign(home)
        release = mirror.folder / "dists/bookworm/InRelease"
        release.write_bytes(release.read_bytes().replace(b"Suite: bookworm", b"Suite: bookwyrm"))
        line = refused(mirror, home / "pub.gpg")
        assert line.startswith(f"InRelease: its signature is not good by {home / 'pub.gpg'} (")

    def test_none_at_all(self, mirror: Mirror, home: Path) -> None:
        mirror.write("dists/bookworm/InRelease", mirror.release.encode())
        assert "its signature is not good" in refused(mirror, home / "pub.gpg")

    def test_without_a_keyring_that_is_said(self, mirror: Mirror, keyring: Path, told: Told) -> None:
        opened(mirror, keyring, told)
        missing = keyring if shutil.which("gpgv") else "gpgv"
        assert told.steps == [f"the archive's signature is not checked: {missing} is not installed; its hashes are"]

    def test_without_a_keyring_it_must_look_signed_still(self, mirror: Mirror, keyring: Path) -> None:
        mirror.write("dists/bookworm/InRelease", b"<html>Please log in</html>")
        assert refused(mirror, keyring) == "InRelease: is not a signed list of an archive"


class TestMirror:
    def test_none_is_configured(self, tmp_path: Path) -> None:
        assert configured_mirror(tmp_path / "nothing") == MIRROR

    def test_in_one_line_style(self, tmp_path: Path) -> None:
        (tmp_path / "sources.list").write_text("# deb http://a/debian bookworm main\n")
        (tmp_path / "sources.list.d").mkdir()
        (tmp_path / "sources.list.d" / "x.list").write_text(
            "deb cdrom:[Debian] bookworm main\ndeb-src http://b/debian bookworm main\n"
            "deb http://c/debian-security bookworm-security main\ndeb [arch=amd64 trusted=yes] http://d/debian/ bookworm main\n"
        )
        assert configured_mirror(tmp_path) == "http://d/debian"

    def test_in_deb822_style(self, tmp_path: Path) -> None:
        (tmp_path / "sources.list.d").mkdir()
        (tmp_path / "sources.list.d" / "debian.sources").write_text(
            "Types: deb\nEnabled: no\nURIs: http://a/debian\nSuites: bookworm\n\n"
            "Types: deb-src\nURIs: http://b/debian\nSuites: bookworm\n\n"
            "Types: deb deb-src\nURIs: http://c/debian http://d/debian\nSuites: trixie trixie-updates\nComponents: main\n"
        )
        assert configured_mirror(tmp_path) == "http://c/debian"
