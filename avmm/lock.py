"""The device lock: one a VM, held around every access to a device, so that a device's methods never run at the same time.

Re-entrant. Held for the length of one register access or one call into a device; never across an await, and never while
waiting for another vCPU, which may itself be waiting for this lock.
"""

from threading import RLock as DeviceLock

__all__ = ["DeviceLock"]
