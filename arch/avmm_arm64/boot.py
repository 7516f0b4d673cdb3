"""What goes into memory beside the kernel: initrd and device tree (Linux, Documentation/arch/arm64/booting.rst)."""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path

from avmm.plugin import BootImage, GuestMemory, LoadError
from avmm_arm64.layout import FLASH_BASE

_PAGE = 4096
_MAX_FDT = 2 << 20
"""The device tree is 8-byte aligned and no larger than 2 MiB."""

_ELF = b"\x7fELF"
_FIRMWARE_FDT = 1 << 20
"""What firmware leaves alone at the start of memory for the device tree, on QEMU's `virt` too."""

TreeBuilder = Callable[[tuple[int, int] | None], bytes]
"""The device tree for an initrd between these addresses, the second one free; None: without one."""


def place_at_top(memory: GuestMemory, ram: tuple[int, int], image: BootImage, build_tree: TreeBuilder) -> int:
    """Put the device tree at the top of `ram` and the initrd below it, behind `image`; the device tree's address.

    LoadError when one of them does not fit. `ram` is the first and the first free guest physical address of one memory slot.
    """
    ram_end = ram[1]
    initrd_size = 0 if image.initrd is None else _size(image.initrd)
    # The tree's size is known once it is built with any initrd address of the right width.
    size = len(build_tree(ram if initrd_size else None))
    if size > _MAX_FDT:
        raise LoadError(
            f"the device tree has {size} bytes, the guest's command line being {len(image.command_line)} of them;"
            f" no more than {_MAX_FDT} are allowed"
        )
    fdt_address = (ram_end - size) & -_PAGE
    if fdt_address < image.end:
        raise LoadError(
            f"guest memory is too small: the image ends at {image.end:#x}, and the device tree ({size} bytes)"
            f" must fit below {ram_end:#x}"
        )
    initrd = None
    if image.initrd is not None and initrd_size:
        address = (fdt_address - initrd_size) & -_PAGE
        if address < image.end:
            raise LoadError(
                f"{image.initrd}: {initrd_size:#x} bytes do not fit into guest memory between the image's end at {image.end:#x}"
                f" and the device tree at {fdt_address:#x}"
            )
        _read(image.initrd, memory, address, initrd_size)
        initrd = address, address + initrd_size
    memory.write(fdt_address, build_tree(initrd))
    return fdt_address


def place_for_firmware(memory: GuestMemory, ram_base: int, tree: bytes) -> None:
    """Put the device tree where firmware looks for it: at the start of memory.

    LoadError when it is too large, or when what lies in flash cannot be started.
    """
    if memory.find(FLASH_BASE, len(_ELF)) is None:
        raise LoadError(f"no flash at {FLASH_BASE:#x}, where firmware starts: give it one, or leave it the usual devices")
    if memory.read(FLASH_BASE, len(_ELF)) == _ELF:
        raise LoadError("the firmware is an ELF file, not the flat image that flash has to hold")
    if len(tree) > _FIRMWARE_FDT:
        raise LoadError(f"the device tree has {len(tree)} bytes; firmware has room for {_FIRMWARE_FDT}")
    if memory.find(ram_base, len(tree)) is None:
        raise LoadError(f"guest memory is too small for the device tree ({len(tree)} bytes)")
    memory.write(ram_base, tree)


def _size(path: Path) -> int:
    """Looked at before the file is opened: opening a pipe would wait for its writer."""
    try:
        status = path.stat()
    except OSError as error:
        raise LoadError(f"{path}: {error.strerror}") from None
    if not stat.S_ISREG(status.st_mode):
        raise LoadError(f"{path}: is not a regular file")
    if not status.st_size:
        raise LoadError(f"{path}: is empty")
    return status.st_size


def _read(path: Path, memory: GuestMemory, address: int, size: int) -> None:
    try:
        with path.open("rb") as file, memory.to_fill(address, size) as room:
            whole = file.readinto(room) == size
    except OSError as error:
        raise LoadError(f"{path}: {error.strerror}") from None
    if not whole:
        raise LoadError(f"{path}: changed while it was read")
