"""Virtio devices over memory-mapped registers (OASIS virtio 1.1, 4.2)."""

from avmm_virtio.console import VirtioConsole
from avmm_virtio.device import create_console
from avmm_virtio.mmio import VirtioBackend, VirtioMmio
from avmm_virtio.queue import Chain, QueueError, SplitQueue

__all__ = ["Chain", "QueueError", "SplitQueue", "VirtioBackend", "VirtioConsole", "VirtioMmio", "create_console"]
