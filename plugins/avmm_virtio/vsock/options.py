"""A socket device as a table of a machine's description: `[devices.NAME]` with `kind = "virtio-vsock"`."""

from __future__ import annotations

from typing import Final

from avmm.plugin import Device, DeviceOptions, DeviceTable
from avmm_virtio.mmio import VirtioMmio
from avmm_virtio.sockets import UnixAddress, check_path, listen
from avmm_virtio.vsock.device import VirtioVsock
from avmm_virtio.vsock.host import UnixHost

_KEYS = ("socket", "cid", "connections")
_CID_FIRST, _CID_LAST = 3, 0xFFFF_FFFE
"""What is not reserved (5.10.4)."""
_LONGEST_PORT: Final = "_4294967295"
_MOST: Final = 1024


def create_vsock(options: DeviceOptions) -> Device:
    """The factory behind the name `virtio-vsock`; ConfigError names the key that is wrong.

    `socket`: the path of the Unix socket where the host asks for ports of the guest's; port N of the host's is at the path with
    `_N` behind it. `cid` (3): the guest's address, 3 to 2**32 - 2. `connections` (1024): how many there may be, 1 to 65536.
    """
    table = DeviceTable(options, "virtio-vsock", _KEYS)
    path = table.values.get("socket")
    if path is None:
        raise table.error("socket", "missing: the path of a Unix socket")
    try:
        if not isinstance(path, str) or not path:
            raise ValueError
        check_path(path + _LONGEST_PORT)
    except ValueError:
        raise table.is_not("socket", path, "a path of 1 to 96 bytes: a port goes behind it") from None
    cid = table.integer("cid", _CID_FIRST, _CID_LAST) or _CID_FIRST
    most = table.integer("connections", 1, 65536) or _MOST
    try:
        listening = listen(UnixAddress(path))
    except OSError as error:
        raise table.error("socket", f"cannot listen at {path}: {error.strerror or error}") from None
    return VirtioMmio(VirtioVsock(cid, UnixHost(path, listening), options.clock, most=most), options)
