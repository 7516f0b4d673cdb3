"""Mutants of virtio devices but disks: consoles, network, vsock, balloon, entropy."""

from __future__ import annotations

from tests.mutants.mutant import Mutant
from tests.mutants.places import VIRTIO

CLAUSES_OF_VIRTIO = "tests/unit/virtio/test_clauses.py"
PORTS = "tests/unit/virtio/console/test_console.py"
CONSOLE = VIRTIO + "console/"
STREAMS = "tests/unit/virtio/vsock/test_vsock.py"
VSOCK = VIRTIO + "vsock/"
CREDIT = "tests/unit/virtio/vsock/test_credit.py"
LENT = "tests/unit/virtio/test_balloon.py"
RANDOM = "tests/unit/virtio/test_entropy.py"
MMIO, SWITCH = "tests/unit/virtio/test_mmio.py", "tests/unit/virtio/net/test_switch.py"


MUTANTS = [
    # Other virtio devices.
    Mutant(
        "buffers are used before DRIVER_OK",
        VIRTIO + "virtqueue.py",
        "        if not self._host.may_serve:\n",
        "        if False:\n",
        (CLAUSES_OF_VIRTIO,),
    ),
    Mutant(
        "a used ring's flags are what the driver left there",
        VIRTIO + "queue.py",
        "        _U16.pack_into(self._used, self._used_at, 0)  #",
        "        pass  #",
        (CLAUSES_OF_VIRTIO,),
    ),
    Mutant(
        "a console that drops nothing makes its guest spin",
        CONSOLE + "port.py",
        "        if self._unsent and self.hvc:\n",
        "        if False:\n",
        (PORTS,),
    ),
    Mutant(
        "a plain port drops what a slow host does not take",
        CONSOLE + "port.py",
        "        if self._unsent and self.hvc:\n",
        "        if self._unsent:\n",
        (PORTS,),
    ),
    Mutant(
        "a port that the guest has closed is written to",
        CONSOLE + "device.py",
        " and (port.guest_open or not self.several)",
        "",
        (PORTS,),
    ),
    Mutant(
        "messages for a driver that takes none pile up",
        CONSOLE + "device.py",
        "        self._messages = deque(other for other in self._messages if not same_kind(other, what))\n",
        "",
        (PORTS,),
    ),
    Mutant(
        "a driver is told of the end of a port it never heard of",
        CONSOLE + "device.py",
        "        if not unheard:\n",
        "        if True:\n",
        (PORTS,),
    ),
    Mutant(
        "a chain in pieces outlives its queue's reset",
        CONSOLE + "port.py",
        """        \"\"\"The driver has gone, and knows of no port any more.\"\"\"
        self._chain = None
""",
        """        \"\"\"The driver has gone, and knows of no port any more.\"\"\"
""",
        (PORTS,),
    ),
    Mutant(
        "data goes beyond the guest's credit",
        VSOCK + "connection.py",
        "size = min(room, len(self._data), self._free)",
        "size = min(room, len(self._data))",
        (CREDIT,),
    ),
    Mutant(
        "credit is asked for again and again",
        VSOCK + "connection.py",
        "        if self._free:\n            self._credit_asked = False\n",
        "        self._credit_asked = False\n",
        (CREDIT,),
    ),
    Mutant(
        "a guest may send beyond its credit",
        VSOCK + "connection.py",
        "        if self._rx_cnt + len(data) - self._fwd_cnt > BUF_ALLOC:\n",
        "        if False:\n",
        (CREDIT,),
    ),
    Mutant(
        "a guest is not told of credit",
        VSOCK + "connection.py",
        "            self._credit_owed = True\n            self._device.serve(self)\n",
        "            pass\n",
        (CREDIT,),
    ),
    Mutant(
        "a host that is ahead is read on",
        VSOCK + "connection.py",
        "wanted=len(self._data) < HELD",
        "wanted=True",
        (CREDIT,),
    ),
    Mutant(
        "RST is answered with RST", VSOCK + "device.py", "        if header.op != Op.RST:\n", "        if True:\n", (STREAMS,)
    ),
    Mutant(
        "answers to a guest that takes none pile up",
        VSOCK + "device.py",
        "min(_BATCH_PACKETS, _RESETS - len(self._resets))",
        "_BATCH_PACKETS",
        (STREAMS,),
    ),
    Mutant(
        "a guest may speak in another's name",
        VSOCK + "device.py",
        " or header.src_cid != self.cid",
        "",
        (STREAMS,),
    ),
    Mutant(
        "firmware is given back to the host",
        "avmm/memory.py",
        "        if slot.read_only:\n            raise ValueError",
        "        if False:\n            raise ValueError",
        (LENT,),
    ),
    Mutant(
        "half a page is given back to the host",
        "avmm/memory.py",
        "        start = -(-start // mmap.PAGESIZE) * mmap.PAGESIZE\n",
        "        start = start // mmap.PAGESIZE * mmap.PAGESIZE\n",
        (LENT,),
    ),
    Mutant(
        "a balloon's driver is not asked for a second time",
        VIRTIO + "balloon.py",
        "        for chain in queue.chains():\n            if self._asked",
        "        if (chain := queue.pop()) is not None:\n            if self._asked",
        (LENT,),
    ),
    Mutant(
        "random bytes are not limited",
        VIRTIO + "entropy.py",
        "            if missing_ns > 0:\n",
        "            if False:\n",
        (RANDOM,),
    ),
    Mutant("the host's random bytes are waited for", VIRTIO + "entropy.py", "os.GRND_NONBLOCK", "0", (RANDOM,)),
    # Network.
    Mutant(
        "passt stays on the core that the event loop's thread was on",
        VIRTIO + "passt.py",
        "                os.sched_setaffinity(process.pid, self._allowed)\n",
        "                pass\n",
        ("tests/unit/virtio/net/test_passt.py",),
    ),
    Mutant(
        "passt knows only the core that the event loop's thread was on",
        VIRTIO + "passt.py",
        "allowed_cores()\n",
        "os.sched_getaffinity(0)\n",
        ("tests/unit/virtio/net/test_passt.py",),
    ),
    Mutant(
        "a frame overtakes those that wait",
        VIRTIO + "net.py",
        "self._netdev.sends_at_once and not self._unsent and",
        "self._netdev.sends_at_once and",
        ("tests/unit/virtio/net/test_net.py",),
    ),
    Mutant(
        "a frame is sent into the middle of another",
        VIRTIO + "frame_sender.py",
        "self._fd < 0 or self._tail or",
        "self._fd < 0 or",
        ("tests/unit/virtio/net/test_stream.py",),
    ),
    Mutant(
        "a frame overtakes what the transport holds",
        VIRTIO + "frame_sender.py",
        " or self._transport.get_write_buffer_size():",
        ":",
        ("tests/unit/virtio/net/test_stream.py",),
    ),
    # The transport.
    Mutant(
        "DRIVER_OK needs no FEATURES_OK",
        VIRTIO + "mmio.py",
        "if new & Status.DRIVER_OK and not after",
        "if False and not after",
        (MMIO,),
    ),
    Mutant("features that are not offered may be taken", VIRTIO + "mmio.py", "not features & ~self._offered and ", "", (MMIO,)),
    Mutant(
        "features change after FEATURES_OK",
        VIRTIO + "transport.py",
        "if select < 2 and not self._status & Status.FEATURES_OK:",
        "if select < 2:",
        (MMIO,),
    ),
    Mutant(
        "bits of Status can be taken back",
        VIRTIO + "mmio.py",
        "after = before | value & ~Status.NEEDS_RESET",
        "after = value & ~Status.NEEDS_RESET",
        (MMIO,),
    ),
    Mutant(
        "where a queue lies changes while it is in use", VIRTIO + "mmio.py", "case _ if split.ready:", "case _ if False:", (MMIO,)
    ),
    Mutant(
        "an interrupt that is acknowledged takes the others with it",
        VIRTIO + "transport.py",
        "self._interrupt &= ~value",
        "self._interrupt = 0",
        (MMIO,),
    ),
    Mutant(
        "a device that is broken goes on", VIRTIO + "transport.py", "self._status |= int(Status.NEEDS_RESET)", "pass", (MMIO,)
    ),
    Mutant(
        "the configuration changes in one generation",
        VIRTIO + "transport.py",
        "self.generation = self.generation + 1 & _MASK",
        "pass",
        (MMIO,),
    ),
    # The switch.
    Mutant("a switch learns from group addresses", VIRTIO + "switch.py", "if not sender[0] & 1:", "if True:", (SWITCH,)),
    Mutant(
        "a switch remembers everybody", VIRTIO + "switch.py", "if len(self._learned) > LEARNED_ADDRESSES:", "if False:", (SWITCH,)
    ),
    Mutant(
        "frames pile up for a port that is slow",
        VIRTIO + "switch.py",
        "self._waiting.extend(frames[:room])",
        "self._waiting.extend(frames)",
        (SWITCH,),
    ),
    Mutant(
        "frames overtake those that wait for a port",
        VIRTIO + "switch.py",
        "        if not self._waiting:\n",
        "        if True:\n",
        (SWITCH,),
    ),
    Mutant(
        "a port's own frames come back to it",
        VIRTIO + "switch.py",
        "if port is not source and port.up:",
        "if port.up:",
        (SWITCH,),
    ),
    Mutant("addresses outlive their port", VIRTIO + "switch.py", "            self._switch.forget(self)\n", "", (SWITCH,)),
]
