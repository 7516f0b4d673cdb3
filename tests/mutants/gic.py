"""Mutants of the arm64 machine's interrupt controllers."""

from __future__ import annotations

from tests.mutants.mutant import Mutant
from tests.mutants.places import ARM, ARM64, ENTRY, FUZZ, SLEEP

MUTANTS = [
    # What tells a vCPU.
    Mutant(
        "an SGI tells nobody",
        ARM64 + "gic/gicv3.py",
        "        bank.latch |= bit\n        redistributor.interface.update()\n",
        "        bank.latch |= bit\n",
        (FUZZ,),
    ),
    Mutant(
        "a fast interrupt kicks nobody",
        ARM64 + "vcpu.py",
        "        elif irq or fiq:\n",
        "        elif irq:\n",
        (ARM + "test_arch.py",),
    ),
    Mutant(
        "a fast interrupt is not taken back",
        ARM64 + "vcpu.py",
        "        if told is None or fiq is not told[1]:\n",
        "        if fiq:\n",
        (ARM + "test_arch.py",),
    ),
    Mutant("a halt in a trap is no halt", ENTRY, "                exit_ = HALTED\n", "                pass\n", (SLEEP,)),
    # GICv3 and GICv2.
    Mutant(
        "a shared interrupt is routed by what IROUTER does not have",
        ARM64 + "gic/distributor.py",
        "_AFFINITY_MASK = 0xFF_FFFF\n",
        "_AFFINITY_MASK = 0x80FF_FFFF\n",
        (ARM + "test_gic_distributor.py",),
    ),
    Mutant(
        "a shared interrupt stays where it was routed",
        ARM64 + "gic/distributor.py",
        "            self._interfaces[old].routed &= ~bit\n",
        "            pass\n",
        (ARM + "test_gic_distributor.py",),
    ),
    Mutant(
        "an edge that lasts is many",
        ARM64 + "gic/irq_state.py",
        "            if bit & self.edge and not bit & self.level:\n",
        "            if bit & self.edge:\n",
        (ARM + "test_gic_distributor.py",),
    ),
    Mutant(
        "clearing what is pending lowers the wire",
        ARM64 + "gic/irq_state.py",
        "                self.latch &= ~bits\n",
        "                self.latch &= ~bits\n                self.level &= ~bits\n",
        (ARM + "test_gicv3_clauses.py",),
    ),
    Mutant(
        "setting active takes what is pending",
        ARM64 + "gic/irq_state.py",
        "                self.active |= bits\n",
        "                self.active |= bits\n                self.latch &= ~bits\n                self.level &= ~bits\n",
        (ARM + "test_gicv3_clauses.py",),
    ),
    Mutant(
        "all eight bits of a priority are kept",
        ARM64 + "gic/irq_state.py",
        "            self.priority[index] = value & PRIORITY_MASK\n",
        "            self.priority[index] = value & 0xFF\n",
        (ARM + "test_gicv3_clauses.py",),
    ),
    Mutant(
        "Group 1 is grouped as Group 0 is",
        ARM64 + "gic/cpu_interface.py",
        "group0 if self._ctlr & _CTLR_CBPR else 0xFF << self._bpr1 & 0xFF)",
        "group0 if self._ctlr & _CTLR_CBPR else 0xFF << self._bpr1 + 1 & 0xFF)",
        (ARM + "test_gicv3_clauses.py",),
    ),
    Mutant(
        "CBPR is for nobody",
        ARM64 + "gic/cpu_interface.py",
        "group0 if self._ctlr & _CTLR_CBPR else 0xFF << self._bpr1 & 0xFF)",
        "0xFF << self._bpr1 & 0xFF)",
        (ARM + "test_gicv3_clauses.py",),
    ),
    Mutant(
        "DIR needs no EOImode",
        ARM64 + "gic/cpu_interface.py",
        "        if self._ctlr & _CTLR_EOIMODE and intid < _FIRST_SPECIAL:\n",
        "        if intid < _FIRST_SPECIAL:\n",
        (ARM + "test_gic_cpu_interface.py", ARM + "test_gicv2_clauses.py"),
    ),
    Mutant(
        "a shared interrupt that ends elsewhere is forgotten",
        ARM64 + "gic/cpu_interface.py",
        "                if not self.routed >> index & 1:\n",
        "                if False:\n",
        (ARM + "test_gic_cpu_interface.py",),
    ),
    Mutant(
        "SGI0R reaches Group 1",
        ARM64 + "gic/gicv3.py",
        "    if group1 or not bank.group1 & bit:\n",
        "    if True:\n",
        (ARM + "test_gic_redistributor.py",),
    ),
    Mutant(
        "GICC_IAR takes Group 1 unasked",
        ARM64 + "gic/cpu_interface_v2.py",
        "        return not self._gicc_ctlr & _ACK_CTL\n",
        "        return False\n",
        (ARM + "test_gicv2_clauses.py",),
    ),
    Mutant(
        "FIQEn is for nobody",
        ARM64 + "gic/cpu_interface_v2.py",
        "        self._group0_is_fiq = bool(value & _FIQ_EN)\n",
        "",
        (ARM + "test_gicv2_clauses.py",),
    ),
    Mutant(
        "one SGI taken takes those of all senders",
        ARM64 + "gic/cpu_interface_v2.py",
        "            self.sources[intid] &= self.sources[intid] - 1\n",
        "            self.sources[intid] = 0\n",
        (ARM + "test_gicv2.py",),
    ),
    Mutant(
        "a shared interrupt is taken by every target",
        ARM64 + "gic/cpu_interface_v2.py",
        "            self._gicd.update_target(intid - FIRST_SPI)  # nobody else may take it too (1-N model, 1.4.3)\n",
        "            pass\n",
        (ARM + "test_gicv2.py",),
    ),
    Mutant(
        "EOIR ends Group 0 whatever runs",
        ARM64 + "gic/cpu_interface_v2.py",
        "        return int(not group0 or (group1 & -group1) < (group0 & -group0))\n",
        "        return int(not group0)\n",
        (ARM + "test_gicv2_clauses.py",),
    ),
    Mutant(
        "the pending registers reach SGIs",
        ARM64 + "gic/distributor_v2.py",
        "                value &= ~SGI_MASK & WORD  # SGIs are made pending by their senders (4.3.7)\n",
        "                pass\n",
        (ARM + "test_gicv2.py",),
    ),
]
