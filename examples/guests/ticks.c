// SPDX-License-Identifier: MIT
//
// ticks: both timers of every vCPU at once, and never early.
//
// The virtual timer (PPI 27) fires every millisecond, the physical one (PPI 30) every 1.5 ms, ROUNDS
// times each. A timer's condition is met when the counter has reached the comparator (Arm DDI 0487, "The
// Generic Timer in AArch64 state"), so the counter read in the handler may be late, but never early.
#include "guest.h"

enum { ROUNDS = 200 };

struct timer {
    uint64_t period, fired, early, worst_lateness;
};

struct vcpu {
    struct timer virtual, physical;
    bool done;
} __attribute__((aligned(64)));

static struct vcpu vcpus[MAX_CPUS];

// Books one interrupt of a timer that was due at `due` when the counter is `now`.
static bool book(struct timer *timer, uint64_t due, uint64_t now) {
    int64_t lateness = (int64_t)(now - due);
    timer->fired++;
    if (lateness < 0)
        timer->early++;
    else if ((uint64_t)lateness > timer->worst_lateness)
        timer->worst_lateness = (uint64_t)lateness;
    return timer->fired < ROUNDS;
}

static void on_virtual(void) {
    struct timer *timer = &vcpus[cpu_id()].virtual;
    uint64_t due = read_sysreg(cntv_cval_el0);
    if (book(timer, due, counter()))
        timer_set(due + timer->period);
    else
        timer_stop();
}

static void on_physical(void) {
    struct timer *timer = &vcpus[cpu_id()].physical;
    uint64_t due = read_sysreg(cntp_cval_el0);
    if (book(timer, due, physical_counter()))
        physical_timer_set(due + timer->period);
    else
        physical_timer_stop();
}

static void work(void) {
    struct vcpu *mine = &vcpus[cpu_id()];
    gic_cpu_init();
    mine->virtual.period = milliseconds(2) / 2;
    mine->physical.period = milliseconds(3) / 2;
    timer_set(counter() + mine->virtual.period);
    physical_timer_set(physical_counter() + mine->physical.period);
    while (mine->virtual.fired < ROUNDS || mine->physical.fired < ROUNDS) {
        wfi();
        irq_take_pending();
    }
    store_release(&mine->done, true);
}

static bool report(unsigned cpu, const char *name, const struct timer *timer) {
    print("ticks: vCPU %u %-8s %lu interrupts, %lu early, at most %lu us late\n", cpu, name, timer->fired,
          timer->early, to_microseconds(timer->worst_lateness));
    return timer->fired == ROUNDS && timer->early == 0;
}

void main(void) {
    bool good = true;
    irq_on(TIMER_PPI_VIRTUAL, on_virtual);
    irq_on(TIMER_PPI_PHYSICAL, on_physical);
    gic_init();
    cpu_start_others(work);
    work();
    for (unsigned cpu = 0; cpu < cpu_count(); cpu++) {
        while (!load_acquire(&vcpus[cpu].done)) {
        }
        good &= report(cpu, "virtual", &vcpus[cpu].virtual);
        good &= report(cpu, "physical", &vcpus[cpu].physical);
    }
    cpu_wait_for_others_off();
    print("ticks: %s\n", good ? "PASS" : "FAIL");
}
