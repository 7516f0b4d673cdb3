"""Mutants of disks: block devices, image files, NBD."""

from __future__ import annotations

from tests.mutants.mutant import Mutant
from tests.mutants.places import VIRTIO

BLK = "tests/unit/virtio/block/"
DISK = "plugins/avmm_virtio/block/"


MUTANTS = [
    Mutant(
        "a flush is completed before it is done",
        DISK + "file.py",
        "                    os.fdatasync(self._fd)\n",
        "                    pass\n",
        (BLK + "test_file.py",),
    ),
    Mutant("a write without cache is cached", DISK + "file.py", "flags = os.RWF_DSYNC", "flags = 0", (BLK + "test_file.py",)),
    Mutant(
        "a reset leaves a transfer under way",
        DISK + "workers.py",
        "            self._left.wait_for(lambda: not any(request.queue is queue for request in self._touching))\n",
        "",
        (BLK + "test_file.py",),
    ),
    Mutant(
        "a request may end beyond the disk",
        DISK + "request.py",
        " or request.offset + size > disk.capacity",
        "",
        (BLK + "test_device.py",),
    ),
    Mutant(
        "a range may end beyond the disk",
        DISK + "request.py",
        " or (sector + sectors) * SECTOR > disk.capacity",
        "",
        (BLK + "test_device.py",),
    ),
    Mutant(
        "a disk that is only read is written",
        DISK + "request.py",
        "    if disk.read_only:",
        "    if False:",
        (BLK + "test_device.py",),
    ),
    Mutant(
        "a pause does not wait for requests",
        DISK + "device.py",
        "        while under_way:",
        "        while False:",
        (BLK + "test_device.py",),
    ),
    Mutant(
        "a driver that cannot flush has a cache",
        DISK + "device.py",
        "            self._cached = False  # a driver",
        "            pass  # a driver",
        (BLK + "test_device.py",),
    ),
    Mutant(
        "a flush speaks for writes that a server took with it",
        VIRTIO + "nbd/blockdev.py",
        "            request.error = errno.EIO\n",
        "            pass\n",
        ("tests/unit/virtio/nbd/test_servers.py",),
    ),
    Mutant(
        "a part of a read may lie anywhere",
        VIRTIO + "nbd/connection.py",
        "        if at < 0 or at + size > order.size or order.came + size > order.size:",
        "        if False:",
        ("tests/unit/virtio/nbd/test_misbehaving.py",),
    ),
    Mutant(
        "a server that hangs is waited for",
        VIRTIO + "nbd/blockdev.py",
        "            if owed and connection.answers == answers:",
        "            if False:",
        ("tests/unit/virtio/nbd/test_misbehaving.py",),
    ),
    Mutant(
        "a server that is slow is one that hangs",
        VIRTIO + "nbd/connection.py",
        "        self.answers += 1\n",
        "        pass\n",
        ("tests/unit/virtio/nbd/test_misbehaving.py",),
    ),
    Mutant(
        "the event loop writes to a disk",
        DISK + "file.py",
        "            and threading.get_ident() != self._loop_thread\n",
        "",
        (BLK + "test_here.py",),
    ),
    Mutant(
        "a vCPU writes to a disk that is slow",
        DISK + "workers.py",
        "            and self._now_ns() >= self._away_until_ns\n",
        "",
        (BLK + "test_here.py",),
    ),
    Mutant(
        "a disk is written with the device lock held",
        "avmm/bus.py",
        "        try:\n            after()\n",
        "        try:\n            with self._lock:\n                after()\n",
        (BLK + "test_here.py",),
    ),
    Mutant(
        "a write runs into what is under way",
        DISK + "workers.py",
        "            and len(self._idle) == len(self._threads)\n",
        "",
        (BLK + "test_here.py",),
    ),
    Mutant(
        "a reset does not drop what a vCPU has left to write",
        DISK + "workers.py",
        "(*self._waiting, *self._left_here) if",
        "(*self._waiting,) if",
        (BLK + "test_here.py",),
    ),
    Mutant(
        "images are not locked",
        DISK + "lock.py",
        "                raise ImageInUse",
        "                pass",
        (BLK + "test_image.py",),
    ),
    Mutant(
        "a disk's threads know only the core that the event loop's thread was on",
        DISK + "workers.py",
        "allowed_cores()\n",
        "os.sched_getaffinity(0)\n",
        (BLK + "test_file.py",),
    ),
    Mutant(
        "a disk's threads stay on the core of who begins them",
        DISK + "workers.py",
        "        os.sched_setaffinity(0, self._allowed)  # and",
        "        pass  # and",
        (BLK + "test_file.py",),
    ),
]
