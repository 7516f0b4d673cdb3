"""Mutants of device attributes, and KVM's answers in transcripts."""

from __future__ import annotations

from tests.mutants.mutant import Mutant
from tests.mutants.places import ARM, ARM64, CORE, FUZZ, PAUSING, RULES

BEHAVIOUR = "tests/replay/test_behaviour.py"
HANDLES = "tests/replay/test_handles.py"
QUEUE = "tests/replay/test_gic_queue.py"
VM_AND_GIC = "tests/replay/test_vm_and_gic.py"
MODEL = "tests/replay/test_model.py"
ATTRIBUTES = RULES + "test_attributes.py"
PMU_ATTRIBUTES = ARM64 + "pmu_attributes.py"
RUN = "avmm/run.py"


MUTANTS = [
    # Device attributes.
    Mutant(
        "a PMU's second interrupt is compared with the others' first",
        PMU_ATTRIBUTES,
        "        if self.vcpus[vcpu].irq is not None:\n            raise OperationRefused(EBUSY",
        "        if False:\n            raise OperationRefused(EBUSY",
        (ATTRIBUTES,),
    ),
    Mutant(
        "a shared interrupt goes with a private one",
        PMU_ATTRIBUTES,
        "else is_spi(other) and new != other",
        "else new != other",
        (ATTRIBUTES,),
    ),
    Mutant(
        "a PMU starts before its interrupt controller",
        PMU_ATTRIBUTES,
        "            if not self._irqchip.initialized:\n",
        "            if False:\n",
        (ATTRIBUTES,),
    ),
    Mutant("a PMU starts twice", PMU_ATTRIBUTES, "        if state.created:\n", "        if False:\n", (ATTRIBUTES,)),
    Mutant(
        "timers are set for one vCPU alone",
        ARM64 + "attributes.py",
        "        for ppis in self.vcpus:\n",
        "        for ppis in self.vcpus[:1]:\n",
        (ATTRIBUTES,),
    ),
    Mutant(
        "timers can be set behind the first run",
        ARM64 + "attributes.py",
        "        self.immutable = True\n",
        "        pass\n",
        (ATTRIBUTES,),
    ),
    Mutant(
        "a timer's interrupt may have two owners",
        ARM64 + "interrupt_claims.py",
        "if self._owners.setdefault(key, who) != who:",
        "if False:",
        (ATTRIBUTES,),
    ),
    Mutant(
        "a vCPU runs with its PMU not started",
        PMU_ATTRIBUTES,
        "        if not state.created:\n            raise OperationRefused(EINVAL",
        "        if False:\n            raise OperationRefused(EINVAL",
        ("tests/replay/test_order_of_errors.py",),
    ),
    Mutant(
        "the PMU is looked at before the timers",
        ARM64 + "kvm_machine.py",
        "        self.attributes.timers.check(index)\n        self.attributes.pmu.check(index)\n",
        "        self.attributes.pmu.check(index)\n        self.attributes.timers.check(index)\n",
        (MODEL,),
    ),
    # KVM's answers.
    Mutant(
        "a vCPU's affinity goes by its place",
        ARM64 + "kvm_handle.py",
        "affinity(self.id)",
        "affinity(self.vcpu.index)",
        (HANDLES,),
    ),
    Mutant(
        "an initialisation keeps the pins", ARM64 + "kvm_machine.py", "handle.release_pins()", "handle.show_pins()", (BEHAVIOUR,)
    ),
    Mutant(
        "a load that userspace completes finds nothing",
        ARM64 + "kvm_vcpu.py",
        "return self.mmio_data & (1 << 8 * width) - 1",
        "return 0",
        (BEHAVIOUR,),
    ),
    Mutant(
        "operations do not wait for a vCPU's run",
        ARM64 + "kvm_transcript.py",
        "if signature.waits and",
        "if False and",
        (HANDLES,),
    ),
    Mutant(
        "CPU_SUSPEND is counted as WFI",
        ARM64 + "kvm_vcpu_operations.py",
        " - handle.waits_of_firmware",
        "",
        (HANDLES,),
    ),
    Mutant(
        "switching the distributor on delivers what was pending",
        ARM64 + "kvm_gic_queue.py",
        "                overlooked.overlook()\n",
        "                pass\n",
        (QUEUE,),
    ),
    Mutant(
        "a wire driven to the level it has is a change",
        ARM64 + "kvm_gic_queue.py",
        "if level and overlooked.level & bit:",
        "if False:",
        (QUEUE,),
    ),
    Mutant(
        "enabling an overlooked interrupt leaves it so",
        ARM64 + "kvm_gic_queue.py",
        "case 0x100 | 0x200 | 0x300:",
        "case 0x200 | 0x300:",
        (QUEUE,),
    ),
    Mutant(
        "a reset of a vCPU resets KVM's CPU interface",
        ARM64 + "kvm_gic_queue.py",
        'alone."""\n\n    def reset(self)',
        'alone."""\n\n    def set_back(self)',
        (QUEUE,),
    ),
    Mutant(
        "an access that userspace gave up is forgotten",
        ARM64 + "kvm_handle.py",
        "or self.parts is None:\n            return True\n        pc,",
        "or self.parts is None:\n            self.pending_pc = None\n            return True\n        pc,",
        (BEHAVIOUR,),
    ),
    Mutant(
        "an overlooked SGI comes twice",
        ARM64 + "kvm_gic_queue.py",
        "            overlooked.latch &= ~overlooked.bank.latch\n",
        "            pass\n",
        (QUEUE,),
    ),
    Mutant(
        "redistributors may end beyond the address space",
        ARM64 + "kvm_gic_places.py",
        "_check_place(address, vcpus * FRAME_SIZE)",
        "_check_place(address, 0)",
        (VM_AND_GIC,),
    ),
    Mutant(
        "CPU_SUSPEND returns at once", ARM64 + "psci.py", "        caller.suspend()\n", "        pass\n", (ARM + "test_psci.py",)
    ),
    Mutant(
        "EL0 needs the same to read as to write",
        ARM64 + "pmu_registers.py",
        "pmu.userenr & (read if is_read else write)",
        "pmu.userenr & (read | write)",
        (ARM + "test_pmu_registers.py",),
    ),
    Mutant(
        "any VM can be resumed",
        PAUSING,
        "        self._vm.lifecycle.require(State.PAUSED)\n",
        "",
        (CORE + "test_lifecycle.py", FUZZ),
    ),
    Mutant("a paused VM can be started", RUN, "        vm.lifecycle.require(State.INIT)\n", "", (CORE + "test_lifecycle.py",)),
]
