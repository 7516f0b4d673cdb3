"""Virtio devices over memory-mapped registers (OASIS virtio 1.2, 4.2)."""

from avmm_virtio.balloon import VirtioBalloon
from avmm_virtio.block.blockdev import Blockdev, BlockReceiver, BlockRequest, Operation
from avmm_virtio.block.device import VirtioBlk
from avmm_virtio.block.file import FileBlockdev
from avmm_virtio.block.options import create_blk
from avmm_virtio.chain import Chain
from avmm_virtio.chardev.base import Chardev, PortReceiver
from avmm_virtio.console.device import VirtioConsole
from avmm_virtio.console.options import create_console
from avmm_virtio.console.port import Port
from avmm_virtio.device import create_balloon, create_rng
from avmm_virtio.entropy import VirtioEntropy
from avmm_virtio.legacy import LegacyVirtioMmio
from avmm_virtio.mmio import VirtioMmio
from avmm_virtio.model import VirtioModel
from avmm_virtio.net import VirtioNet
from avmm_virtio.net_options import create_net
from avmm_virtio.netdev import Netdev, Receiver
from avmm_virtio.queue import QueueError, SplitQueue
from avmm_virtio.switch import Switch, SwitchPort
from avmm_virtio.transport import VirtioTransport
from avmm_virtio.virtqueue import QueueStats, Virtqueue
from avmm_virtio.vsock.device import VirtioVsock
from avmm_virtio.vsock.options import create_vsock
from avmm_virtio.wakeup import Wakeup

__all__ = [
    "BlockReceiver",
    "BlockRequest",
    "Blockdev",
    "Chain",
    "Chardev",
    "FileBlockdev",
    "LegacyVirtioMmio",
    "Netdev",
    "Operation",
    "Port",
    "PortReceiver",
    "QueueError",
    "QueueStats",
    "Receiver",
    "SplitQueue",
    "Switch",
    "SwitchPort",
    "VirtioBalloon",
    "VirtioBlk",
    "VirtioConsole",
    "VirtioEntropy",
    "VirtioMmio",
    "VirtioModel",
    "VirtioNet",
    "VirtioTransport",
    "VirtioVsock",
    "Virtqueue",
    "Wakeup",
    "create_balloon",
    "create_blk",
    "create_console",
    "create_net",
    "create_rng",
    "create_vsock",
]
