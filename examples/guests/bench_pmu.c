// SPDX-License-Identifier: MIT
//
// bench_pmu: what counting costs.
//
// The loop of bench_mem, ten instructions a round, of which two are memory accesses and two branches, while the performance
// monitors (Arm DDI 0487, "The Performance Monitors Extension") count what the boot arguments say: nothing;
// `cycles`, the cycle counter; `memory`, also MEM_ACCESS and BR_RETIRED; `once`, both at first and then nothing.
// Boot arguments: cycles, memory, once, rounds=N.
#include "bench.h"
#include "guest.h"

enum : uint64_t { ROUNDS = 100000000, INSTRUCTIONS = 10, WORDS = 32768 };
enum : uint64_t { PMCR_E = 1 << 0, PMCR_LC = 1 << 6, CYCLE_COUNTER = 1ul << 31, MEM_ACCESS = 0x13, BR_RETIRED = 0x21 };

static uint64_t words[WORDS];

static void loop(uint64_t rounds) {
    uint64_t index = 0, value, sum = 0;
    __asm__ volatile(
        "1: ldr  %[value], [%[words], %[index], lsl #3]\n"
        "   add  %[value], %[value], %[index]\n"
        "   str  %[value], [%[words], %[index], lsl #3]\n"
        "   add  %[index], %[index], #17\n"
        "   and  %[index], %[index], #0x7fff\n"
        "   tbz  %[value], #3, 2f\n"
        "   eor  %[sum], %[sum], %[value]\n"
        "   b    3f\n"
        "2: add  %[sum], %[sum], %[value]\n"
        "   nop\n"
        "3: subs %[rounds], %[rounds], #1\n"
        "   b.ne 1b\n"
        : [index] "+r"(index), [value] "=&r"(value), [sum] "+r"(sum), [rounds] "+r"(rounds)
        : [words] "r"(words)
        : "cc", "memory");
}

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
        loop(ROUNDS / 100);
        write_sysreg(pmcr_el0, PMCR_LC);
        isb();
        loop(ROUNDS / 10);
    }
    uint64_t start = counter();
    loop(rounds);
    bench_report("bench_pmu", rounds * INSTRUCTIONS, "instructions", counter() - start);
}
