// SPDX-License-Identifier: MIT
//
// smp: every vCPU of the machine at work for three seconds, or as many as the boot argument seconds=N says. With `quiet` it says
// nothing between its beginning and its end.
//
// Each vCPU takes 100 timer ticks a second and at each tick sends an SGI to the next vCPU round the
// ring; between interrupts it sleeps in WFI. An SGI that is already pending would swallow a second one,
// so a vCPU sends only when its last one has been taken: then every SGI sent must be received, and the
// table at the end must agree with itself to the last one.
#include "guest.h"

enum { SGI_RING = 1, SGI_NOTICE = 2 };
enum { HERTZ = 100, SECONDS = 3 };

struct figures {
    uint64_t ticks, sent, received, wakeups, worst_lateness;
    bool up;
} __attribute__((aligned(64))); // a cache line each

static struct figures vcpus[MAX_CPUS];
static uint64_t period, start, all_ticks;

static struct figures *self(void) { return &vcpus[cpu_id()]; }

static const char *plural(void) { return cpu_count() == 1 ? "" : "s"; }

static unsigned next_cpu(void) { return (cpu_id() + 1) % cpu_count(); }

static void on_tick(void) {
    struct figures *mine = self();
    uint64_t due = read_sysreg(cntv_cval_el0), lateness = counter() - due;
    if (lateness > mine->worst_lateness)
        mine->worst_lateness = lateness;
    uint64_t ticks = mine->ticks + 1;
    if (ticks < all_ticks)
        timer_set(due + period); // from when it was due, not from now: no tick is ever lost
    else
        timer_stop();

    if (mine->sent == load_acquire(&vcpus[next_cpu()].received)) {
        mine->sent++;
        gic_send_sgi(cpu_mpidr(next_cpu()), SGI_RING);
    }
    // Last: vCPU 0 takes the count of a vCPU that has had all its ticks to be final.
    store_release(&mine->ticks, ticks);
}

static void on_sgi(void) {
    struct figures *mine = self();
    store_release(&mine->received, mine->received + 1);
}

// For a vCPU that may be asleep: look at the shared words again.
static void on_notice(void) {}

// Sleeps until something has happened, and takes it. Whatever comes after a vCPU's last tick may be what
// vCPU 0 is waiting for.
static void idle(void) {
    wfi();
    self()->wakeups++;
    irq_take_pending();
    if (cpu_id() && self()->ticks == all_ticks)
        gic_send_sgi(cpu_mpidr(0), SGI_NOTICE);
}

static void announce(void) {
    uint64_t now = to_microseconds(counter() - start);
    uint64_t mpidr = cpu_mpidr(cpu_id());
    print("  [%2lu.%03lu] vCPU %-2u is up, affinity %lu.%lu.%lu.%lu, %s\n", now / 1000000, now / 1000 % 1000,
          cpu_id(), mpidr >> 32 & 0xff, mpidr >> 16 & 0xff, mpidr >> 8 & 0xff, mpidr & 0xff,
          cpu_id() ? "by PSCI CPU_ON" : "the one that boots");
}

// What every vCPU does. Ticks start when all are up; a vCPU is done when it has had all its ticks.
static void work(void) {
    gic_cpu_init();
    announce();
    store_release(&self()->up, true);
    for (unsigned cpu = 0; cpu < cpu_count(); cpu++) {
        while (!load_acquire(&vcpus[cpu].up)) {
        }
    }
    timer_set(counter() + period);
}

static bool settled(unsigned cpu) {
    return load_acquire(&vcpus[cpu].ticks) == all_ticks &&
           load_acquire(&vcpus[(cpu + 1) % cpu_count()].received) == vcpus[cpu].sent;
}

static bool all_settled(void) {
    for (unsigned cpu = 0; cpu < cpu_count(); cpu++) {
        if (!settled(cpu))
            return false;
    }
    return true;
}

static bool over;

static void secondary(void) {
    work();
    while (!load_acquire(&over))
        idle();
}

static void summary(void) {
    uint64_t now = to_microseconds(counter() - start);
    print("  [%2lu.%03lu] ticks", now / 1000000, now / 1000 % 1000);
    for (unsigned cpu = 0; cpu < cpu_count(); cpu++)
        print(" %4lu", load_acquire(&vcpus[cpu].ticks));
    print("   SGIs received");
    for (unsigned cpu = 0; cpu < cpu_count(); cpu++)
        print(" %4lu", load_acquire(&vcpus[cpu].received));
    print("\n");
}

static bool table(void) {
    bool good = true;
    print("\n  vCPU   ticks   SGIs sent   SGIs received   WFI wake-ups   latest tick\n");
    for (unsigned cpu = 0; cpu < cpu_count(); cpu++) {
        const struct figures *vcpu = &vcpus[cpu];
        unsigned before = (cpu + cpu_count() - 1) % cpu_count();
        good = good && vcpu->ticks == all_ticks && vcpu->sent && vcpu->received == vcpus[before].sent;
        print("  %4u %7lu %11lu %15lu %14lu %10lu us\n", cpu, vcpu->ticks, vcpu->sent, vcpu->received,
              vcpu->wakeups, to_microseconds(vcpu->worst_lateness));
    }
    return good;
}

void main(void) {
    start = counter();
    all_ticks = HERTZ * bootarg_number("seconds", SECONDS);
    period = counter_frequency() / HERTZ;
    bool quiet = bootarg("quiet");
    irq_on(SGI_RING, on_sgi);
    irq_on(SGI_NOTICE, on_notice);
    irq_on(TIMER_PPI_VIRTUAL, on_tick);

    uint32_t psci_version = (uint32_t)psci(PSCI_VERSION, 0, 0, 0);
    print("\n  smp: %u vCPU%s, %u timer ticks a second on each, an SGI to the next at every tick\n", cpu_count(),
          plural(), HERTZ);
    print("  GICv%u, PSCI %u.%u, counter %lu kHz, device tree at 0x%lx\n\n",
          mmio_read32(GICD_BASE + 0xffe8) >> 4 & 0xf, // GICD_PIDR2.ArchRev
          psci_version >> 16, psci_version & 0xffff, counter_frequency() / 1000, machine.fdt);

    gic_init();
    cpu_start_others(secondary);
    work();
    for (uint64_t next = HERTZ; !all_settled();) {
        idle();
        if (!quiet && self()->ticks >= next) {
            summary();
            next += HERTZ;
        }
    }
    bool good = table();

    store_release(&over, true);
    for (unsigned cpu = 1; cpu < cpu_count(); cpu++)
        gic_send_sgi(cpu_mpidr(cpu), SGI_NOTICE);
    cpu_wait_for_others_off();
    if (good)
        print("\n  PASS: %u vCPU%s, %lu ticks each, every SGI sent was received\n\n", cpu_count(), plural(),
              all_ticks);
    else
        print("\n  FAIL: the figures do not agree\n\n");
}
