"""What every engine and every device promises, as test classes for their authors to derive from.

    class TestUart(DeviceContract):
        def make_device(self, options):
            return create_device(options)

The tests need pytest; those of devices pytest-asyncio too.
"""

from avmm.testing.device_contract import DeviceContract, RecordedIrqs
from avmm.testing.engine_contract import MMIO_ADDRESS, EngineContract, Guest, RecordedTraps

__all__ = ["MMIO_ADDRESS", "DeviceContract", "EngineContract", "Guest", "RecordedIrqs", "RecordedTraps"]
