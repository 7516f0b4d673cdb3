// SPDX-License-Identifier: MIT
//
// wfi: one wake-up for one interrupt.
//
// Arm DDI 0487, "Wait for Interrupt": WFI completes when an interrupt is pending, masked by PSTATE or not.
// In each part here exactly one interrupt comes for each WFI, so a WFI that completes more often woke for
// nothing, and one that completes less often slept through an interrupt. The architecture allows the first;
// this guest counts it apart, as `spurious`.
#include "guest.h"

enum { SGI_WAKE = 4, WAKEUPS = 100 };

static uint64_t interrupts;
static bool good = true;

// How many SGIs vCPU 0 has asked vCPU 1 for.
static uint64_t wanted;

static void on_virtual(void) {
    timer_stop();
    interrupts++;
}

static void on_physical(void) {
    physical_timer_stop();
    interrupts++;
}

static void on_sgi(void) { interrupts++; }

// Sleeps until the interrupt has come. Returns how often WFI completed.
static uint64_t sleep_once(void) {
    uint64_t before = interrupts, completed = 0;
    while (interrupts == before) {
        wfi();
        completed++;
        irq_take_pending();
    }
    return completed;
}

static void report(const char *name, uint64_t completed) {
    print("wfi: %-24s %lu wake-ups, %lu interrupts, %lu spurious\n", name, completed, interrupts,
          completed - interrupts);
    good &= interrupts == WAKEUPS;
    interrupts = 0;
}

static void by_virtual_timer(void) {
    uint64_t completed = 0;
    for (unsigned i = 0; i < WAKEUPS; i++) {
        timer_set(counter() + milliseconds(1));
        completed += sleep_once();
    }
    report("by the virtual timer", completed);
}

static void by_physical_timer(void) {
    uint64_t completed = 0;
    for (unsigned i = 0; i < WAKEUPS; i++) {
        physical_timer_set(physical_counter() + milliseconds(1));
        completed += sleep_once();
    }
    report("by the physical timer", completed);
}

// A comparator in the past: the interrupt is pending before WFI, which must not sleep.
static void by_expired_timer(void) {
    uint64_t completed = 0;
    for (unsigned i = 0; i < WAKEUPS; i++) {
        timer_set(counter());
        completed += sleep_once();
    }
    report("by an expired timer", completed);
}

// CNTV_CTL_EL0.IMASK: the virtual timer's condition is met first, but its interrupt is not signalled.
static void not_by_masked_timer(void) {
    uint64_t completed = 0, early = 0;
    for (unsigned i = 0; i < WAKEUPS; i++) {
        uint64_t start = counter(), due = physical_counter() + milliseconds(2);
        write_sysreg(cntv_cval_el0, start + milliseconds(1));
        write_sysreg(cntv_ctl_el0, TIMER_ENABLE | TIMER_IMASK);
        physical_timer_set(due);
        completed += sleep_once();
        early += physical_counter() < due || !(read_sysreg(cntv_ctl_el0) & TIMER_ISTATUS);
        timer_stop();
    }
    good &= early == 0;
    report("not by a masked timer", completed);
}

static void waker(void) {
    for (uint64_t sent = 0; sent < WAKEUPS;) {
        if (load_acquire(&wanted) > sent) {
            sent++;
            gic_send_sgi(cpu_mpidr(0), SGI_WAKE);
        }
    }
}

static void by_other_vcpu(void) {
    uint64_t completed = 0;
    cpu_start(1, waker);
    for (unsigned i = 0; i < WAKEUPS; i++) {
        store_release(&wanted, wanted + 1);
        completed += sleep_once();
    }
    cpu_wait_for_others_off();
    report("by an SGI of vCPU 1", completed);
}

void main(void) {
    irq_on(TIMER_PPI_VIRTUAL, on_virtual);
    irq_on(TIMER_PPI_PHYSICAL, on_physical);
    irq_on(SGI_WAKE, on_sgi);
    gic_init();
    gic_cpu_init();
    by_virtual_timer();
    by_physical_timer();
    by_expired_timer();
    not_by_masked_timer();
    if (cpu_count() > 1)
        by_other_vcpu();
    print("wfi: %s\n", good ? "PASS" : "FAIL");
}
