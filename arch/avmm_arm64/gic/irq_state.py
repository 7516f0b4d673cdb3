"""The state of a bank of interrupts, as bitmaps, with the register layout that distributor and redistributors share."""

from __future__ import annotations

from avmm_arm64.gic.access import WORD

PRIORITY_MASK = 0xF8
"""Five priority bits are implemented (ICC_CTLR_EL1.PRIbits = 4); the other three read as zero."""

# Below 0x400 one bit an interrupt, 0x80 bytes a register: offset >> 7 is 1 for IGROUPR, then ISENABLER, ICENABLER, ISPENDR,
# ICPENDR, ISACTIVER, ICACTIVER (IHI 0069 12.8). Then a byte (IPRIORITYR) and two bits (ICFGR).
_IPRIORITYR_START, _IPRIORITYR_END = 0x400, 0x800
_ICFGR_START, _ICFGR_END = 0xC00, 0xD00


class IrqBank:
    """`count` interrupts from INTID `first`; bit n of every bitmap is INTID `first + n`. Owner: the device lock.

    `latch` holds what an edge, an SGI or a write to ISPENDR made pending; `level` is the input wire. An interrupt is pending
    when latched, or when it is level-sensitive and its wire is high (IHI 0069 4.1, 12.9 ISPENDR).
    """

    __slots__ = (
        "_always_edge",
        "_configurable",
        "active",
        "count",
        "edge",
        "enabled",
        "first",
        "group1",
        "latch",
        "level",
        "priority",
    )

    def __init__(self, first: int, count: int, *, always_edge: int = 0, configurable: int = 0) -> None:
        self.first, self.count = first, count
        self._always_edge, self._configurable = always_edge, configurable
        self.level = 0
        self.reset()

    def reset(self) -> None:
        """Power-on state. The wires are not the bank's to reset."""
        self.group1 = self.enabled = self.latch = self.active = 0
        self.edge = self._always_edge
        self.priority = [0] * self.count

    def pending(self) -> int:
        """The pending interrupts, enabled or not, active or not."""
        return self.latch | self.level & ~self.edge

    def set_level(self, index: int, level: bool) -> None:
        """Drive the wire of interrupt `index` (0-based in the bank); a rising edge latches an edge-triggered one."""
        bit = 1 << index
        if level:
            if bit & self.edge and not bit & self.level:
                self.latch |= bit
            self.level |= bit
        else:
            self.level &= ~bit

    def read(self, offset: int) -> int:
        """The 32-bit register at word-aligned `offset`, 0x080 to 0xcff; zero where there is none and outside the bank."""
        if offset < _IPRIORITYR_START:
            shift = (offset & 0x7F) * 8 - self.first
            return self._bitmap(offset >> 7) >> shift & WORD if 0 <= shift < self.count else 0
        if offset < _IPRIORITYR_END:
            index = offset - _IPRIORITYR_START - self.first
            return int.from_bytes(bytes(self.priority[index : index + 4]), "little") if 0 <= index < self.count else 0
        if _ICFGR_START <= offset < _ICFGR_END:
            shift = (offset & 0xFF) * 4 - self.first
            return _spread(self.edge >> shift) if 0 <= shift < self.count else 0
        return 0

    def write(self, offset: int, value: int) -> None:
        """Write the 32-bit register at word-aligned `offset`, 0x080 to 0xcff; ignored where there is none."""
        if offset < _IPRIORITYR_START:
            shift = (offset & 0x7F) * 8 - self.first
            if 0 <= shift < self.count:
                self._write_bitmap(offset >> 7, shift, value & WORD)
        elif offset < _IPRIORITYR_END:
            for byte in range(4):
                self.write_priority(offset + byte, value >> 8 * byte)
        elif _ICFGR_START <= offset < _ICFGR_END:
            shift = (offset & 0xFF) * 4 - self.first
            if 0 <= shift < self.count:
                mask = 0xFFFF << shift & self._configurable
                self.edge = self.edge & ~mask | _gather(value) << shift & mask

    def write_priority(self, offset: int, value: int) -> None:
        """Write the one priority byte at `offset` (0x400 to 0x7ff)."""
        index = offset - _IPRIORITYR_START - self.first
        if 0 <= index < self.count:
            self.priority[index] = value & PRIORITY_MASK

    def _bitmap(self, register: int) -> int:
        match register:
            case 1:
                return self.group1
            case 2 | 3:
                return self.enabled
            case 4 | 5:
                return self.pending()
            case 6 | 7:
                return self.active
            case _:
                return 0

    def _write_bitmap(self, register: int, shift: int, value: int) -> None:
        bits = value << shift
        match register:
            case 1:
                self.group1 = self.group1 & ~(WORD << shift) | bits
            case 2:
                self.enabled |= bits
            case 3:
                self.enabled &= ~bits
            case 4:
                self.latch |= bits
            case 5:
                self.latch &= ~bits
            case 6:
                self.active |= bits
            case 7:
                self.active &= ~bits
            case _:
                pass


def is_priority(offset: int) -> bool:
    """True for the offsets of IPRIORITYR, which may be accessed byte by byte."""
    return _IPRIORITYR_START <= offset < _IPRIORITYR_END


def _spread(edge: int) -> int:
    """ICFGR: bit n of `edge` (16 bits) becomes bit 2n + 1."""
    return sum(1 << 2 * n + 1 for n in range(16) if edge >> n & 1)


def _gather(value: int) -> int:
    """The inverse of `_spread`."""
    return sum(1 << n for n in range(16) if value >> 2 * n + 1 & 1)
