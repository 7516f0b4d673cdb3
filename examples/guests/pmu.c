// SPDX-License-Identifier: MIT
//
// pmu: the performance monitors count what they should, at the exception level they should, and interrupt.
//
// Arm DDI 0487, "The Performance Monitors Extension". Numbers of instructions are differences between a
// longer and a shorter run of the same loop, so that the instructions around it do not matter. Events that
// PMCEID0_EL0 does not have are left out, and each part says so. With the boot argument `exact` the machine
// must also have the overflow interrupt taken at the very instruction: always after the same number of them.
// Boot arguments: exact, rounds=N (overflows, default 50).
#include "guest.h"

enum {
    EVENT_SW_INCR = 0x00,
    EVENT_INST_RETIRED = 0x08,
    EVENT_CPU_CYCLES = 0x11,
    EVENT_CHAIN = 0x1e,
};

enum { PMU_PPI = 23, SHORT = 1000, LONG = 3000 };

#define PAGE_SIZE 4096ul
#define PMCR_E (1ul << 0)
#define PMCR_P (1ul << 1)
#define PMCR_C (1ul << 2)
#define PMCR_LC (1ul << 6)
#define NOT_AT_EL1 (1ul << 31) // PMEVTYPER<n>_EL0.P
#define NOT_AT_EL0 (1ul << 30) // PMEVTYPER<n>_EL0.U
#define USERENR_EN (1ul << 0)
#define USERENR_CR (1ul << 2)
#define CYCLE_COUNTER (1ul << 31)
#define ALL 0xfffffffful
#define BEFORE_OVERFLOW(n) (0x100000000ul - (n))

static bool good = true;

static void check(const char *name, bool right) {
    print("pmu: %-44s %s\n", name, right ? "ok" : "WRONG");
    good &= right;
}

static bool has(unsigned event) { return read_sysreg(pmceid0_el0) >> event & 1; }

static void leave_out(const char *name) { print("pmu: %-44s not on this machine\n", name); }

// Everything off, zero and clear.
static void reset(void) {
    write_sysreg(pmcr_el0, PMCR_LC | PMCR_P | PMCR_C);
    write_sysreg(pmcntenclr_el0, ALL);
    write_sysreg(pmintenclr_el1, ALL);
    write_sysreg(pmovsclr_el0, ALL);
    write_sysreg(pmccfiltr_el0, 0);
    isb();
}

static void start(void) {
    write_sysreg(pmcr_el0, PMCR_LC | PMCR_E);
    isb();
}

static void stop(void) {
    write_sysreg(pmcr_el0, PMCR_LC);
    isb();
}

// Two instructions a round.
static void loop(uint64_t rounds) {
    __asm__ volatile("1: subs %0, %0, #1\n\tb.ne 1b" : "+r"(rounds)::"cc");
}

// ---------------------------------------------------------------------------------------------------
// An excursion to EL0, with vectors of its own: any exception there comes back here. It gives ESR_EL1.
// Of the vectors only one is ever used; the code stands where the others would be. EL0 executes it where
// its page is mapped a second time.

__asm__(".pushsection .text.el0, \"ax\"\n"
        ".balign 2048\n"
        "el0_vectors:\n"
        "el0_loop:\n"
        "    subs x0, x0, #1\n"
        "    b.ne el0_loop\n"
        "    svc #0\n"
        "el0_cycles:\n"
        "    mrs x0, pmccntr_el0\n"
        "    svc #0\n"
        "el0_control:\n"
        "    mrs x0, pmcr_el0\n"
        "    svc #0\n"
        "run_at_el0:\n" // x0: an argument, x1: where
        "    mrs x2, vbar_el1\n"
        "    adr x3, el0_vectors\n"
        "    msr vbar_el1, x3\n"
        "    mov x3, #0x3c0\n" // EL0, DAIF masked
        "    msr spsr_el1, x3\n"
        "    msr elr_el1, x1\n"
        "    isb\n"
        "    eret\n"
        ".org el0_vectors + 0x400\n" // from a lower exception level, synchronous
        "    mrs x0, esr_el1\n"
        "    msr vbar_el1, x2\n"
        "    isb\n"
        "    ret\n"
        ".popsection\n");

extern char el0_loop[], el0_cycles[], el0_control[];
uint64_t run_at_el0(uint64_t argument, uintptr_t where);

static void map_el0_page(void) {
    const uint64_t read_only_for_both = 3 << 6; // AP[2:1]
    *mmu_window_pte() = mmu_page_descriptor((uintptr_t)el0_loop & -PAGE_SIZE) | read_only_for_both;
    dsb_ishst();
    isb();
}

static uint64_t at_el0(const char *code, uint64_t argument) {
    return run_at_el0(argument, MMU_WINDOW + (uintptr_t)code % PAGE_SIZE);
}

static bool is_svc(uint64_t esr) { return esr >> 26 == EC_SVC; }

// ---------------------------------------------------------------------------------------------------

static void cycles(void) {
    bool growing = true;
    reset();
    write_sysreg(pmcntenset_el0, CYCLE_COUNTER);
    start();
    uint64_t before = read_sysreg(pmccntr_el0);
    for (unsigned i = 0; i < 10; i++) {
        uint64_t now = read_sysreg(pmccntr_el0);
        growing &= now > before;
        before = now;
    }
    stop();
    check("the cycle counter grows", growing);
    before = read_sysreg(pmccntr_el0);
    loop(SHORT);
    check("it stands still when it is stopped", read_sysreg(pmccntr_el0) == before);
    write_sysreg(pmcr_el0, PMCR_LC | PMCR_C);
    isb();
    check("it is reset", read_sysreg(pmccntr_el0) == 0);
}

// What counters 0 and 1 count in a run of `rounds` at EL1, or at EL0.
struct counts {
    uint64_t first, second;
};

static struct counts run(uint64_t rounds, bool el0) {
    write_sysreg(pmevcntr0_el0, 0);
    write_sysreg(pmevcntr1_el0, 0);
    start();
    if (el0)
        at_el0(el0_loop, rounds);
    else
        loop(rounds);
    stop();
    return (struct counts){read_sysreg(pmevcntr0_el0), read_sysreg(pmevcntr1_el0)};
}

static void instructions(void) {
    if (!has(EVENT_INST_RETIRED)) {
        leave_out("instructions");
        return;
    }
    reset();
    write_sysreg(pmevtyper0_el0, EVENT_INST_RETIRED | NOT_AT_EL1);
    write_sysreg(pmevtyper1_el0, EVENT_INST_RETIRED | NOT_AT_EL0);
    write_sysreg(pmcntenset_el0, 3);
    struct counts few = run(SHORT, false), many = run(LONG, false);
    check("a loop at EL1 has as many instructions as it has", many.second - few.second == 2 * (LONG - SHORT));
    check("none of them is at EL0", few.first == 0 && many.first == 0);
    few = run(SHORT, true);
    many = run(LONG, true);
    check("a loop at EL0 has as many", many.first - few.first == 2 * (LONG - SHORT));
    check("none of them is at EL1", many.second == few.second && few.second > 0);
}

static void access_from_el0(void) {
    reset();
    write_sysreg(pmuserenr_el0, 0);
    isb();
    check("EL0 may not read the cycle counter", !is_svc(at_el0(el0_cycles, 0)));
    write_sysreg(pmuserenr_el0, USERENR_CR);
    isb();
    check("it may with PMUSERENR_EL0.CR", is_svc(at_el0(el0_cycles, 0)));
    check("but nothing else", !is_svc(at_el0(el0_control, 0)));
    write_sysreg(pmuserenr_el0, USERENR_EN);
    isb();
    check("with PMUSERENR_EL0.EN it may", is_svc(at_el0(el0_control, 0)));
    write_sysreg(pmuserenr_el0, 0);
    isb();
}

static void software_increment(void) {
    reset();
    write_sysreg(pmevtyper0_el0, EVENT_SW_INCR);
    write_sysreg(pmevcntr0_el0, BEFORE_OVERFLOW(10));
    write_sysreg(pmcntenset_el0, 1);
    bool chained = has(EVENT_CHAIN);
    if (chained) {
        write_sysreg(pmevtyper1_el0, EVENT_CHAIN);
        write_sysreg(pmevcntr1_el0, 0);
        write_sysreg(pmcntenset_el0, 2);
    }
    start();
    for (unsigned i = 0; i < 10; i++) {
        good &= read_sysreg(pmovsclr_el0) == 0;
        write_sysreg(pmswinc_el0, 1);
        isb();
    }
    stop();
    check("software increments overflow", read_sysreg(pmovsclr_el0) == 1);
    if (chained)
        check("and are carried into a chained counter", read_sysreg(pmevcntr1_el0) == 1);
    else
        leave_out("chained counters");
}

// ---------------------------------------------------------------------------------------------------

static struct {
    uint64_t taken, flags, least, most;
} overflow;

static void on_overflow(void) {
    uint64_t since = read_sysreg(pmevcntr0_el0) & ALL;
    overflow.taken++;
    overflow.flags |= read_sysreg(pmovsclr_el0);
    write_sysreg(pmovsclr_el0, ALL);
    write_sysreg(pmintenclr_el1, 1); // QEMU 7.2 lowers the line only when these are written
    write_sysreg(pmintenset_el1, 1);
    isb();
    overflow.least = since < overflow.least ? since : overflow.least;
    overflow.most = since > overflow.most ? since : overflow.most;
}

// Counter 0 overflows once while the loop runs. What it counts until its interrupt is handled is the way there.
static void overflow_once(uint64_t distance) {
    uint64_t before = overflow.taken;
    write_sysreg(pmevcntr0_el0, BEFORE_OVERFLOW(distance));
    start();
    irq_unmask();
    loop(20000);
    // A machine may be late, and may notice only when it is asked. One interrupt too many would show in the sum.
    for (unsigned patience = 0; overflow.taken == before && patience < 1000; patience++) {
        loop(1000);
        read_sysreg(pmevcntr0_el0);
    }
    irq_mask();
    stop();
}

static void interrupt(void) {
    uint64_t rounds = bootarg_number("rounds", 50);
    bool precise = has(EVENT_INST_RETIRED);
    irq_on(PMU_PPI, on_overflow);
    mmio_write32(GICR_BASE + 0x10100, 1 << PMU_PPI); // GICR_ISENABLER0 of the boot vCPU
    overflow.least = ~0ul;
    reset();
    write_sysreg(pmevtyper0_el0, precise ? EVENT_INST_RETIRED : EVENT_CPU_CYCLES);
    write_sysreg(pmcntenset_el0, 1);
    overflow_once(1000);
    check("without PMINTENSET_EL1 no interrupt comes", overflow.taken == 0 && read_sysreg(pmovsclr_el0) == 1);
    write_sysreg(pmovsclr_el0, ALL);
    write_sysreg(pmintenset_el1, 1);
    isb();
    for (uint64_t i = 0; i < rounds; i++)
        overflow_once(1000 + 7 * i);
    print("pmu: %lu overflows, %lu interrupts, handled %lu to %lu %s later\n", rounds, overflow.taken, overflow.least,
          overflow.most, precise ? "instructions" : "cycles");
    check("one interrupt for one overflow", overflow.taken == rounds && overflow.flags == 1);
    if (bootarg("exact"))
        check("at the very instruction, every time", precise && overflow.most == overflow.least);
}

void main(void) {
    uint64_t version = read_sysreg(id_aa64dfr0_el1) >> 8 & 15, counters = read_sysreg(pmcr_el0) >> 11 & 31;
    if (version == 0 || version == 15 || counters < 2) {
        print("pmu: FAIL: PMUVer %lu, %lu counters\n", version, counters);
        return;
    }
    print("pmu: PMUVer %lu, %lu event counters\n", version, counters);
    gic_init();
    gic_cpu_init();
    map_el0_page();
    cycles();
    instructions();
    access_from_el0();
    software_increment();
    interrupt();
    print("pmu: %s\n", good ? "PASS" : "FAIL");
}
