"""Device attributes: what can be set and read of a vCPU by group and attribute (Linux, Documentation/virt/kvm/devices).

Groups and attributes are numbers, as the kernel's interface has them, or their names. An operation that is not allowed raises
`OperationRefused`, which carries the errno and the reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from errno import ENXIO

from avmm.errors import OperationRefused
from avmm.record import Record


class AttributeGroup(Record):
    """One group of attributes: its number, and its attributes' numbers by name."""

    number: int
    attributes: Mapping[str, int] = field(default_factory=dict)


AttributeGroups = Mapping[str, AttributeGroup]


class EventFilter(Record):
    """A range of PMU events and what to do with them (KVM_ARM_VCPU_PMU_V3_FILTER).

    `first` and `count` are 16 bits wide; `action` is 0 to count them, 1 not to.
    """

    first: int
    count: int
    action: int


AttributeValue = int | EventFilter | None
"""What an attribute is set to. None is a value that cannot be read: EFAULT where the attribute takes one."""


def resolve(groups: AttributeGroups, group: int | str, attribute: int | str) -> tuple[int, int]:
    """Both as numbers (32 bits the group, 64 the attribute); OperationRefused (ENXIO) for a name that does not exist."""
    if isinstance(group, str):
        if group not in groups:
            raise OperationRefused(ENXIO, f"no attribute group {group}; there is {', '.join(groups) or 'none'}")
        names, group = groups[group].attributes, groups[group].number
    else:
        names = next((known.attributes for known in groups.values() if known.number == group), {})
    if isinstance(attribute, str):
        if attribute not in names:
            raise OperationRefused(ENXIO, f"no attribute {attribute} in group {group}; there is {', '.join(names) or 'none'}")
        attribute = names[attribute]
    return group, attribute


def no_such_attribute(group: int, attribute: int) -> OperationRefused:
    """The refusal of an attribute that does not exist (ENXIO), to be raised."""
    return OperationRefused(ENXIO, f"no attribute {attribute} in group {group}")
