// SPDX-License-Identifier: MIT
//
// vCPUs that are never heard of again.
#include "misbehave.h"

_Noreturn void spin_masked(void) {
    __asm__ volatile("msr daifset, #0xf" ::: "memory");
    for (;;)
        __asm__ volatile("");
}

static bool spinning;

static void spinner(void) {
    store_release(&spinning, true);
    spin_masked();
}

// The last vCPU spins. The one before it starts where nothing answers: its first fetch aborts, and so does
// that of the vector, for ever.
void lost(void) {
    unsigned last = cpu_count() - 1;
    if (last >= 1) {
        cpu_start(last, spinner);
        while (!load_acquire(&spinning)) {
        }
        tried++;
    }
    if (last >= 2) {
        psci(PSCI_CPU_ON, cpu_mpidr(last - 1), 0x3ffffff000, 0);
        tried++;
    }
}
