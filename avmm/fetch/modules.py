"""Kernel modules: what they depend on and which devices they are for, as modprobe(8) wants to be told."""

from __future__ import annotations

import lzma
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import PurePosixPath

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile

from avmm.errors import FetchError


@dataclass(frozen=True, slots=True)
class Module:
    """One module of a kernel package, and what its section .modinfo says."""

    path: str
    """From the folder of the kernel's modules on: kernel/drivers/virtio/virtio.ko."""
    content: bytes
    depends: tuple[str, ...]
    aliases: tuple[str, ...]


def name_of(path: str) -> str:
    """A module's name by the name of its file: both - and _ are _."""
    return PurePosixPath(path).name.partition(".ko")[0].replace("-", "_")


def read_module(path: str, content: bytes) -> Module:
    """A module from its file, which may be packed by xz."""
    if path.endswith(".xz"):
        path, content = path.removesuffix(".xz"), lzma.decompress(content)
    try:
        section = ELFFile(BytesIO(content)).get_section_by_name(".modinfo")
    except ELFError as error:
        raise FetchError(f"{path}: is not a kernel module ({error})") from None
    entries = [] if section is None else [entry.decode() for entry in section.data().split(b"\0")]
    depends = [name for entry in entries if entry.startswith("depends=") for name in entry[8:].split(",")]
    aliases = (entry[6:] for entry in entries if entry.startswith("alias="))
    return Module(path, content, tuple(name_of(name) for name in depends if name), tuple(aliases))


def select(wanted: Iterable[str], files: Mapping[str, bytes]) -> dict[str, Module]:
    """The modules `wanted` and all they depend on, by name, from `files` by path. What is built in is not among them."""
    paths = {name_of(path): path for path in files}
    selected: dict[str, Module] = {}
    missing = list(wanted)
    while missing:
        name = missing.pop()
        if name in paths and name not in selected:
            selected[name] = read_module(paths[name], files[paths[name]])
            missing += selected[name].depends
    return selected


def dependency_list(modules: Mapping[str, Module]) -> str:
    """The file modules.dep: every module's path, and the paths of all it needs, the first to be loaded last."""
    lines = []
    for name in sorted(modules):
        needed = _closure(name, modules)
        lines.append(f"{modules[name].path}: {' '.join(modules[other].path for other in needed)}".rstrip())
    return "".join(f"{line}\n" for line in lines)


def alias_list(modules: Mapping[str, Module]) -> str:
    """The file modules.alias: which module is for which device."""
    return "".join(f"alias {alias} {name}\n" for name in sorted(modules) for alias in modules[name].aliases)


def _closure(name: str, modules: Mapping[str, Module]) -> list[str]:
    """All that `name` needs, each behind those that need it."""
    order: list[str] = []

    def visit(one: str) -> None:
        for other in modules[one].depends:
            if other in modules:
                if other in order:
                    order.remove(other)
                order.append(other)
                visit(other)

    visit(name)
    return order
