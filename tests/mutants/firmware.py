"""Mutants of memory that is a device: ROM, flash, fw_cfg."""

from __future__ import annotations

from tests.mutants.mutant import Mutant
from tests.mutants.places import CORE

ROM = CORE + "test_rom.py"
FLASHED = "tests/unit/firmware/test_flash.py"
FW_CFGS = "tests/unit/firmware/test_fw_cfg.py"
FLASH = "plugins/avmm_firmware/flash.py"
FW_CFG = "plugins/avmm_firmware/fw_cfg"


MUTANTS = [
    Mutant(
        "the other vCPUs do not hear that reads trap now",
        "avmm/builder.py",
        "[vcpu for vcpu in vcpus if not vcpu.in_guest_thread()], Request.TLB_FLUSH",
        "[], Request.TLB_FLUSH",
        (ROM,),
    ),
    Mutant("a change of a ROM's reads that is none is told", "avmm/rom.py", "if on is not self._direct:", "if True:", (ROM,)),
    Mutant("a device is never closed", "avmm/builder.py", "    undo.callback(device.close)\n", "", (ROM,)),
    Mutant("programming sets bits", FLASH, "bytes(old & byte for old, byte", "bytes(byte for _, byte", (FLASHED,)),
    Mutant(
        "flash has what its file has not",
        FLASH,
        "            self._status |= error\n            return False\n",
        "            self._status |= error\n",
        (FLASHED,),
    ),
    Mutant("a buffer leaves its window", FLASH, "        if offset // _WINDOW != window or ", "        if ", (FLASHED,)),
    Mutant(
        "an unknown command hides the array",
        FLASH,
        "self.rejected += 1\n                self._show(Reads.ARRAY)",
        "self.rejected += 1\n                self._show(Reads.STATUS)",
        (FLASHED,),
    ),
    Mutant(
        "fw_cfg writes to read-only memory",
        FW_CFG + "_device.py",
        "if slot is None or slot.read_only:",
        "if slot is None:",
        (FW_CFGS,),
    ),
    Mutant(
        "fw_cfg writes zeros for ever",
        FW_CFG + ".py",
        "            if length > len(self._item) - self._position + MOST_ZEROS:\n                return False\n",
        "",
        (FW_CFGS,),
    ),
]
