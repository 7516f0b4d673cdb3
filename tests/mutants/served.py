"""Mutants of registers that are served without a trap."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

UNICORN = "plugins/avmm_unicorn/native/"
CORE, ENGINE, UART = "tests/unit/core/test_served.py", "tests/unit/unicorn/test_served.py", "tests/unit/test_pl011_served.py"
PAUSED = "tests/boot/test_served.py::test_a_paused_vm_has_carried_out_in_order_what_its_guest_has_written"
SERVED_READ = "if (!avmm_serve_read(vcpu, address, width, value)) {"
TRAP_PC = "    vcpu->trap_pc = FIELD(uintptr_t, vcpu->cpu, CPU_MEM_IO_PC);\n"

MUTANTS = [
    Mutant(
        "coalesced writes are taken without the device lock",
        "avmm/bus.py",
        "        with self._lock:\n            for address, register in self._served.items():\n                if (reads",
        "        if True:\n            for address, register in self._served.items():\n                if (reads",
        (CORE,),
    ),
    Mutant(
        "a device that raised is served on",
        "avmm/bus.py",
        "            if region.address <= address < region.end:\n                register.withdraw()\n",
        "            pass\n",
        (CORE,),
    ),
    Mutant(
        "a bus that is traced is served on",
        "avmm/bus.py",
        "            for register in self._served.values():\n                register.withdraw()\n",
        "",
        (CORE,),
    ),
    Mutant(
        "a register that was withdrawn comes back",
        "avmm/served.py",
        "        if not self._withdrawn:\n",
        "        if True:\n",
        (CORE,),
    ),
    Mutant(
        "served reads are counted again and again",
        "avmm/bus.py",
        "                    register.reads_counted = reads\n",
        "",
        (CORE,),
    ),
    Mutant(
        "a character waits that may interrupt",
        "plugins/avmm_uart/pl011.py",
        "        return self._sends and not self._registers[_IMSC] & INT_TX\n",
        "        return self._sends\n",
        (UART,),
    ),
    Mutant(
        "input does not show in the flags",
        "plugins/avmm_uart/device.py",
        "            self.model.receive(taken)\n            self._tell()\n",
        "            self.model.receive(taken)\n",
        (UART,),
    ),
    Mutant(
        "a trap passes what is queued",
        UNICORN + "native.h",
        "    vcpu->trapped = true;\n    avmm_settle_served(vcpu);\n",
        "    vcpu->trapped = true;\n",
        (ENGINE,),
    ),
    Mutant(
        "a vCPU leaves the guest with what it has queued",
        UNICORN + "entry.c",
        "    avmm_settle_served(vcpu);\n",
        "",
        (ENGINE,),
    ),
    Mutant(
        "a pause leaves in the queue what the guest has written",
        UNICORN + "entry.c",
        "    avmm_settle_served(vcpu);\n",
        "",
        (PAUSED,),
    ),
    Mutant(
        "a pause does not wait for what is queued",
        "avmm/pausing.py",
        "        await self.halt_guest()\n",
        "        self.halt_guest()\n",
        (PAUSED,),
    ),
    Mutant(
        "the last write in the queue comes first",
        "avmm/bus.py",
        "region.device.write_coalesced(address - region.address, _WIDTHS[width], values)",
        "region.device.write_coalesced(address - region.address, _WIDTHS[width], values[::-1])",
        (PAUSED,),
    ),
    Mutant(
        "a vCPU settles its own accesses alone",
        UNICORN + "served.c",
        "    if (reads == 0 && writes == 0 && atomic_load_explicit(&served->write_count, memory_order_acquire) == 0) {\n",
        "    if (reads == 0 && writes == 0) {\n",
        (ENGINE,),
    ),
    Mutant(
        "a read that was served leaves the place of a trap behind",
        UNICORN + "traps.c",
        f"    {SERVED_READ}\n    {TRAP_PC}",
        f"    {TRAP_PC}\n    {SERVED_READ}\n",
        (ENGINE,),
    ),
    Mutant(
        "a wide access is served",
        UNICORN + "served.c",
        "            return width <= 4 && (*told & what) ? i : -1;\n",
        "            return *told & what ? i : -1;\n",
        (ENGINE,),
    ),
    Mutant(
        "the timer tells of writes that were taken",
        UNICORN + "served.c",
        "        set_timer(served, 0); /* which also takes back what it has told */\n",
        "",
        (ENGINE,),
    ),
]
