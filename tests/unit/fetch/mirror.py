"""A Debian archive of our own, small enough to be made for every test."""

from __future__ import annotations

import gzip
import hashlib
import io
import lzma
import struct
import subprocess
import tarfile
from pathlib import Path

from avmm.fetch.progress import Progress


class Told(Progress):
    """Progress, remembered."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.downloads: list[str] = []
        self.bytes = 0
        self.open = 0

    def step(self, text: str) -> None:
        self.steps.append(text)

    def begin(self, name: str, size: int | None) -> None:
        self.downloads.append(name)
        self.open += 1

    def advance(self, size: int) -> None:
        self.bytes += size

    def end(self) -> None:
        self.open -= 1


def deb(files: dict[str, bytes]) -> bytes:
    """A package with these files."""
    members = {"debian-binary": b"2.0\n", "control.tar.xz": _tar({"./control": b"Package: x\n"}), "data.tar.xz": _tar(files)}
    archive = b"!<arch>\n"
    for name, content in members.items():
        header = f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(content):<10}`\n"
        archive += header.encode() + content + b"\n" * (len(content) % 2)
    return archive


def _tar(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:xz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return out.getvalue()


def module(*, depends: str = "", aliases: tuple[str, ...] = ()) -> bytes:
    """A kernel module: an ELF file of nothing but its section .modinfo."""
    info = b"".join(f"{entry}\0".encode() for entry in ("license=GPL", f"depends={depends}", *(f"alias={a}" for a in aliases)))
    names = b"\0.modinfo\0.shstrtab\0"
    sections = [(0, 0, b""), (1, 1, info), (10, 3, names)]
    offset, body, table = 64, b"", b""
    for name, kind, content in sections:
        table += struct.pack("<IIQQQQIIQQ", name, kind, 0, 0, offset + len(body), len(content), 0, 0, 1, 0)
        body += content
    header = struct.pack("<16sHHIQQQIHHHHHH", b"\x7fELF\2\1\1", 1, 183, 1, 0, 0, 64 + len(body), 0, 64, 0, 0, 64, 3, 2)
    return header + body + table


class Mirror:
    """The archive, in a folder; what is changed is there after `publish()`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = folder.as_uri()
        self.fields = {"Suite": "bookworm"}
        self.packages: dict[str, tuple[str, str, bytes]] = {}
        self.add_kernel("6.1.0-1", {"virtio_mmio": module(depends="virtio,virtio_ring", aliases=("of:N*T*Cvirtio,mmio",))})
        self.add("busybox-static", "1.35", deb({"./bin/busybox": b"busybox", "./usr/share/doc/x": b"text"}))

    def add(self, name: str, version: str, content: bytes, depends: str = "") -> None:
        self.packages[name] = version, depends, content

    def add_kernel(self, version: str, modules: dict[str, bytes], *, pack: bool = False, flavour: str = "cloud-arm64") -> None:
        release = f"{version}-{flavour}"
        suffix = ".ko.xz" if pack else ".ko"
        drivers = {
            f"./lib/modules/{release}/kernel/drivers/{name}{suffix}": lzma.compress(content) if pack else content
            for name, content in (modules | {"virtio": module(), "virtio_ring": module(depends="virtio")}).items()
        }
        kernel = {f"./boot/vmlinuz-{release}": f"kernel {version}".encode(), "./boot/config": b"config"}
        self.add(f"linux-image-{release}", version, deb(kernel | drivers))
        self.add(f"linux-image-{flavour}", version, deb({}), f"linux-image-{release} (= {version}), other | another")

    def publish(self) -> None:
        """Write it all. Not signed: that is for `sign()`."""
        index = ""
        for name, (version, depends, content) in self.packages.items():
            path = f"pool/{name}_{version}_arm64.deb"
            self.write(path, content)
            fields = {"Package": name, "Version": version, "Filename": path, "Size": len(content)}
            fields |= {"SHA256": hashlib.sha256(content).hexdigest(), "Depends": depends, "Description": "x\n more"}
            index += "".join(f"{key}: {value}\n" for key, value in fields.items()) + "\n"
        self.publish_index(lzma.compress(index.encode()))

    def publish_index(self, packed: bytes) -> None:
        digest = hashlib.sha256(packed).hexdigest()
        path = "main/binary-arm64/"
        self.write(f"dists/bookworm/{path}by-hash/SHA256/{digest}", packed)
        self.write(f"dists/bookworm/{path}Packages.xz", packed)
        text = "".join(f"{key}: {value}\n" for key, value in self.fields.items())
        text += f"SHA256:\n {'0' * 64} 12 main/binary-amd64/Packages.xz\n {digest} {len(packed)} {path}Packages.xz\n"
        self.release = text
        self.write("dists/bookworm/InRelease", clear_signed(text, "iQ=="))

    def sign(self, home: Path) -> None:
        """Sign the release file with the key in `home`."""
        command = ["gpg", "--homedir", str(home), "--batch", "--pinentry-mode", "loopback", "--passphrase", "", "--clear-sign"]
        done = subprocess.run(command, input=self.release.encode(), capture_output=True, check=True, timeout=60)
        self.write("dists/bookworm/InRelease", done.stdout)

    def write(self, path: str, content: bytes) -> None:
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)


def clear_signed(text: str, signature: str) -> bytes:
    """A message as gpg writes it, with any signature."""
    return (
        f"-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n{text}"
        f"-----BEGIN PGP SIGNATURE-----\n\n{signature}\n-----END PGP SIGNATURE-----\n"
    ).encode()


def contents(initrd: bytes) -> dict[str, tuple[int, bytes]]:
    """What is in a packed initramfs: mode and content by path."""
    data, found, at = gzip.decompress(initrd), {}, 0
    while True:
        assert data[at : at + 6] == b"070701"
        mode, size, name_size = (int(data[at + 6 + 8 * n : at + 14 + 8 * n], 16) for n in (1, 6, 11))
        name = data[at + 110 : at + 110 + name_size - 1].decode()
        at += -(-(110 + name_size) // 4) * 4
        if name == "TRAILER!!!":
            assert at == len(data)
            return found
        assert name not in found
        found[name] = mode, data[at : at + size]
        at += -(-size // 4) * 4
