"""What every engine and every device promises, as test classes for their authors to derive from.

    class TestUart(DeviceContract):
        def make_device(self, options):
            return create_device(options)

The tests need pytest; those of devices pytest-asyncio too.
"""

from avmm.testing.contract_guest import MMIO_ADDRESS, Guest
from avmm.testing.device_contract import DeviceContract, RecordedIrqs
from avmm.testing.engine_contract import EngineContract
from avmm.testing.recorded_traps import RecordedTraps

__all__ = ["MMIO_ADDRESS", "DeviceContract", "EngineContract", "Guest", "RecordedIrqs", "RecordedTraps"]
