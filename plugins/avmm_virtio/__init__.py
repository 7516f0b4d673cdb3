"""Virtio devices over memory-mapped registers (OASIS virtio 1.2, 4.2)."""

from avmm_virtio.chain import Chain
from avmm_virtio.chardev.base import Chardev, PortReceiver
from avmm_virtio.console.device import VirtioConsole
from avmm_virtio.console.options import create_console
from avmm_virtio.console.port import Port
from avmm_virtio.device import create_rng
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
    "Chain",
    "Chardev",
    "LegacyVirtioMmio",
    "Netdev",
    "Port",
    "PortReceiver",
    "QueueError",
    "QueueStats",
    "Receiver",
    "SplitQueue",
    "Switch",
    "SwitchPort",
    "VirtioConsole",
    "VirtioEntropy",
    "VirtioMmio",
    "VirtioModel",
    "VirtioNet",
    "VirtioTransport",
    "VirtioVsock",
    "Virtqueue",
    "Wakeup",
    "create_console",
    "create_net",
    "create_rng",
    "create_vsock",
]
