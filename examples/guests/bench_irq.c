// SPDX-License-Identifier: MIT
//
// bench_irq: what interrupts cost. Boot arguments, one of
//   acknowledge  ICC_IAR1_EL1 and ICC_EOIR1_EL1 of an SGI to oneself; the time between the two ends only;
//   tick         how late the handler of the virtual timer runs, while the guest spins; with `sleep`, while it is in WFI;
//   ipi          from before an SGI is sent until its receiver, which spins, has been in its handler; two vCPUs.
// and rounds=N.
#include "bench.h"
#include "guest.h"

enum { SGI_SELF = 1, SGI_OTHER = 2, TICK_US = 200 };
enum : uint64_t { ROUNDS = 20000, TICK_ROUNDS = 2000 };

static uint64_t taken; // counter ticks, all rounds together
static uint64_t served;
static bool sleeps, over;

static void acknowledge(uint64_t rounds) {
    for (uint64_t round = 0; round < rounds; round++) {
        gic_send_sgi(cpu_mpidr(0), SGI_SELF);
        while (!(read_sysreg(isr_el1) & 1 << 7)) { // ISR_EL1.I: the pin is up
        }
        uint64_t start = counter();
        unsigned intid = gic_acknowledge();
        gic_end(intid);
        taken += counter() - start;
    }
    bench_report("bench_irq: acknowledge and end", rounds, "interrupts", taken);
}

static void on_tick(void) {
    taken += counter() - read_sysreg(cntv_cval_el0);
    timer_stop();
    served++;
}

static void tick(uint64_t rounds) {
    for (uint64_t round = 1; round <= rounds; round++) {
        timer_set(counter() + milliseconds(TICK_US) / 1000);
        while (served < round) {
            if (sleeps)
                wfi();
            irq_take_pending();
        }
    }
    bench_report(sleeps ? "bench_irq: tick, asleep" : "bench_irq: tick, spinning", rounds, "ticks", taken);
}

static void on_ipi(void) { store_release(&served, served + 1); }

static void receive(void) {
    gic_cpu_init();
    irq_unmask();
    store_release(&sleeps, true); // ready
    while (!load_acquire(&over))
        __asm__ volatile("yield");
    irq_mask();
}

static void ipi(uint64_t rounds) {
    cpu_start(1, receive);
    while (!load_acquire(&sleeps)) {
    }
    uint64_t start = counter();
    for (uint64_t round = 1; round <= rounds; round++) {
        gic_send_sgi(cpu_mpidr(1), SGI_OTHER);
        while (load_acquire(&served) < round)
            __asm__ volatile("yield");
    }
    taken = counter() - start;
    store_release(&over, true);
    cpu_wait_for_others_off();
    bench_report("bench_irq: from an SGI to its handler and back", rounds, "interrupts", taken);
}

void main(void) {
    irq_on(TIMER_PPI_VIRTUAL, on_tick);
    irq_on(SGI_OTHER, on_ipi);
    gic_init();
    gic_cpu_init();
    if (bootarg("acknowledge"))
        acknowledge(bootarg_number("rounds", ROUNDS));
    sleeps = bootarg("sleep");
    if (bootarg("tick"))
        tick(bootarg_number("rounds", TICK_ROUNDS));
    if (bootarg("ipi"))
        ipi(bootarg_number("rounds", ROUNDS));
}
