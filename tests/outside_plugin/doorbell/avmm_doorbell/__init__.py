"""A doorbell: a device by somebody who knows nothing of avmm but `avmm.plugin`."""

from avmm.plugin import ConfigError, Device, DeviceOptions, DeviceTable, IrqLine, Width


class Doorbell(Device):
    """A doorbell: writing n rings it n times; reading gives the rings so far."""

    size = 0x1000

    def __init__(self, irq: IrqLine, rings: int = 0) -> None:
        self._irq, self._rings = irq, rings

    def read(self, offset: int, width: Width) -> int:
        return self._rings if offset == 0 else 0

    def write(self, offset: int, width: Width, value: int) -> None:
        self._rings += value
        self._irq.pulse()


def create_device(options: DeviceOptions) -> Doorbell:
    """A doorbell; its one option `rings` says how often it has been rung before."""
    table = DeviceTable(options, "doorbell", ("rings",))
    rings = table.integer("rings", 0, (1 << 32) - 1)
    if options.irq is None:
        raise ConfigError("a doorbell nobody hears: give it an irq", key=f"devices.{table.name}")
    return Doorbell(options.irq, rings or 0)
