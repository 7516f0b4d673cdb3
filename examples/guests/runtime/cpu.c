// SPDX-License-Identifier: MIT
#include "cpu.h"

#include "fdt.h"
#include "guest.h"
#include "mmu.h"
#include "print.h"
#include "psci.h"
#include "uart.h"

extern char secondary_entry[];

static void (*entries[MAX_CPUS])(void);

unsigned cpu_count(void) { return machine.cpus; }

uint64_t cpu_mpidr(unsigned cpu) { return machine.mpidr[cpu]; }

int cpu_start(unsigned cpu, void (*entry)(void)) {
    entries[cpu] = entry;
    dsb_sy();
    return psci(PSCI_CPU_ON, cpu_mpidr(cpu), (uint64_t)secondary_entry, cpu);
}

void cpu_start_others(void (*entry)(void)) {
    for (unsigned cpu = 1; cpu < cpu_count(); cpu++) {
        int result = cpu_start(cpu, entry);
        if (result != PSCI_SUCCESS) {
            print("FAIL: CPU_ON of vCPU %u returned %d\n", cpu, result);
            psci_system_off();
        }
    }
}

void cpu_wait_for_others_off(void) {
    for (unsigned cpu = 1; cpu < cpu_count(); cpu++) {
        while (psci(PSCI_AFFINITY_INFO, cpu_mpidr(cpu), 0, 0) != PSCI_STATE_OFF) {
        }
    }
}

// Called by start.S on the boot vCPU.
_Noreturn void primary_main(uintptr_t fdt) {
    fdt_init(fdt);
    mmu_init();
    mmu_enable();
    uart_init();
    main();
    psci_system_off();
}

// Called by start.S on every other.
_Noreturn void secondary_main(unsigned cpu) {
    mmu_enable();
    entries[cpu]();
    psci_cpu_off();
}
