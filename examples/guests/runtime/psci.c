// SPDX-License-Identifier: MIT
#include "psci.h"

#include "arch.h"

int64_t hvc(uint64_t function, uint64_t argument1, uint64_t argument2, uint64_t argument3) {
    register uint64_t x0 __asm__("x0") = function;
    register uint64_t x1 __asm__("x1") = argument1;
    register uint64_t x2 __asm__("x2") = argument2;
    register uint64_t x3 __asm__("x3") = argument3;
    // SMCCC 1.0 lets the callee change x4 to x17.
    __asm__ volatile("hvc #0"
                     : "+r"(x0), "+r"(x1), "+r"(x2), "+r"(x3)
                     :
                     : "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11", "x12", "x13", "x14", "x15",
                       "x16", "x17", "memory");
    return (int64_t)x0;
}

int psci(uint64_t function, uint64_t x1, uint64_t x2, uint64_t x3) {
    return (int)hvc(function, x1, x2, x3);
}

_Noreturn void psci_system_off(void) {
    psci(PSCI_SYSTEM_OFF, 0, 0, 0);
    for (;;)
        wfi();
}

_Noreturn void psci_cpu_off(void) {
    irq_mask();
    psci(PSCI_CPU_OFF, 0, 0, 0);
    for (;;)
        wfi();
}
