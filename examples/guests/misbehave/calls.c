// SPDX-License-Identifier: MIT
//
// Calls of PSCI and SGIs that make no sense.
#include "misbehave.h"

// Parts of PSCI that would end or stop this vCPU are left out.
static bool final(uint32_t function) {
    switch (function & ~(1u << 30)) {
    case 0x84000001:              // CPU_SUSPEND
    case 0x84000002:              // CPU_OFF
    case 0x84000003:              // CPU_ON: below
    case 0x84000008:              // SYSTEM_OFF
    case 0x84000009:              // SYSTEM_RESET
    case 0x8400000c:              // CPU_FREEZE
    case 0x8400000d:              // CPU_DEFAULT_SUSPEND
    case 0x8400000e:              // SYSTEM_SUSPEND
    case 0x84000012:              // SYSTEM_RESET2
        return true;
    default:
        return false;
    }
}

void psci_nonsense(void) {
    for (uint32_t function = 0; function < 64; function++) {
        for (uint32_t convention = 0; convention < 2; convention++) {
            uint32_t id = 0x84000000 | convention << 30 | function;
            if (!final(id)) {
                hvc(id, random(), random(), random());
                hvc(id, 0, ~0ul, 1);
                tried += 2;
            }
        }
    }
    for (unsigned i = 0; i < 4096; i++, tried++) { // other owners, fast and yielding, reserved bits
        uint64_t id = random();
        if (!final((uint32_t)id))
            hvc(id, random(), random(), random());
    }
    for (unsigned i = 0; i < 1024; i++, tried++) // vCPUs that do not exist
        psci(PSCI_CPU_ON, random() | 1ul << 24, random(), random());
    for (unsigned i = 0; i < 64; i++, tried++) // this one, which is on, to anywhere
        psci(PSCI_CPU_ON, cpu_mpidr(0), random(), random());
    for (unsigned i = 0; i < 1024; i++, tried++)
        psci(PSCI_AFFINITY_INFO, random(), random(), 0);
    interrupts_on(); // one wakes us
    for (unsigned i = 0; i < 4; i++, tried++) {
        timer_set(counter() + milliseconds(1));
        psci(PSCI_CPU_SUSPEND, i ? random() : ~0ul, random(), random());
        timer_stop();
    }
}

void sgi(void) {
    for (unsigned i = 0; i < 65536; i++, tried++)
        write_sysreg(icc_sgi1r_el1, random() | 0xffull << 48); // Aff3 = 255: nobody
    for (unsigned i = 0; i < 4096; i++, tried += 3) {
        write_sysreg(icc_sgi1r_el1, random()); // somebody, perhaps; those are off
        write_sysreg(icc_sgi0r_el1, random());
        write_sysreg(icc_asgi1r_el1, random());
    }
    for (unsigned i = 0; i < 4096; i++, tried += 2) { // ends what never began
        write_sysreg(icc_eoir1_el1, random() & 0xffffff);
        write_sysreg(icc_dir_el1, random() & 0xffffff);
    }
}
