"""A vCPU's device attributes, as a program sets and reads them: by number or by name."""

from __future__ import annotations

from avmm.arch import ArchVcpu
from avmm.devattr import AttributeValue, resolve
from avmm.errors import OperationRefused


class DeviceAttributes:
    """What the architecture's part of a vCPU has of them. Event loop's thread."""

    __slots__ = ()

    arch: ArchVcpu

    def has_attr(self, group: int | str, attribute: int | str) -> bool:
        """True when the vCPU has such an attribute (KVM_HAS_DEVICE_ATTR)."""
        try:
            return self.arch.has_attr(*resolve(self.arch.attribute_groups, group, attribute))
        except OperationRefused:
            return False

    def get_attr(self, group: int | str, attribute: int | str) -> int:
        """The value of an attribute; OperationRefused, with errno and reason, when it cannot be read (KVM_GET_DEVICE_ATTR)."""
        return self.arch.get_attr(*resolve(self.arch.attribute_groups, group, attribute))

    def set_attr(self, group: int | str, attribute: int | str, value: AttributeValue = None) -> None:
        """Set an attribute; OperationRefused, with errno and reason, when that cannot be (KVM_SET_DEVICE_ATTR)."""
        self.arch.set_attr(*resolve(self.arch.attribute_groups, group, attribute), value)
