// SPDX-License-Identifier: MIT
//
// bench_pmu: what counting costs.
//
// The walk of walk.h, of whose instructions two a round are memory accesses and two branches, while the performance monitors
// (Arm DDI 0487, "The Performance Monitors Extension") count what the boot arguments say: nothing;
// `cycles`, the cycle counter; `memory`, also MEM_ACCESS and BR_RETIRED; `once`, both at first and then nothing.
// Boot arguments: cycles, memory, once, rounds=N.
#include "bench.h"
#include "guest.h"
#include "walk.h"

enum : uint64_t { ROUNDS = 100000000 };
enum : uint64_t { PMCR_E = 1 << 0, PMCR_LC = 1 << 6, CYCLE_COUNTER = 1ul << 31, MEM_ACCESS = 0x13, BR_RETIRED = 0x21 };

static void count(bool cycles, bool memory) {
    if (memory) {
        write_sysreg(pmevtyper0_el0, MEM_ACCESS);
        write_sysreg(pmevtyper1_el0, BR_RETIRED);
    }
    if (cycles || memory) {
        write_sysreg(pmcntenset_el0, CYCLE_COUNTER | (memory ? 3 : 0));
        write_sysreg(pmcr_el0, PMCR_E | PMCR_LC);
        isb();
    }
}

void main(void) {
    uint64_t rounds = bootarg_number("rounds", ROUNDS);
    count(bootarg("cycles"), bootarg("memory") || bootarg("once"));
    if (bootarg("once")) {
        walk(ROUNDS / 100);
        write_sysreg(pmcr_el0, PMCR_LC);
        isb();
        walk(ROUNDS / 10);
    }
    uint64_t start = counter();
    walk(rounds);
    bench_report("bench_pmu", rounds * WALK_INSTRUCTIONS, "instructions", counter() - start);
}
