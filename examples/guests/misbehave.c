// SPDX-License-Identifier: MIT
//
// misbehave: everything a guest should not do.
//
// Whatever it does, the host must stay well, and the guest must find the machine in order afterwards: the
// last part sets everything up again and counts timer ticks and SGIs. Each part says when it begins and,
// when it is over, how many things it tried and how many of them the machine refused by an exception.
//
// Boot arguments name the parts to run: wild unaligned undefined jump gicd gicr uart sysreg psci sgi lost.
// Without any, all of them run, in this order. `spin` is run only when named: the boot vCPU loops for ever
// with all interrupts masked, and only the host can end it. `lost` does the same to the last vCPU, and sends
// the one before it to an address where there is nothing.
#include "misbehave/misbehave.h"

uint64_t tried;
static volatile uint64_t refused;

// Always the same sequence, so that a run can be repeated: xorshift64.
static uint64_t random_state;

uint64_t random(void) {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

// Every fault is counted and stepped over. A call to nowhere goes back to its caller.
static bool on_sync(struct exception_frame *frame, uint64_t esr, uint64_t far) {
    (void)far;
    refused++;
    switch (esr >> 26) {
    case EC_INSTRUCTION_ABORT:
    case EC_PC_ALIGNMENT:
        frame->elr = frame->x[30];
        break;
    case EC_SVC: // the preferred return address is already that of the next instruction
    case EC_HVC:
        break;
    default:
        frame->elr += 4;
    }
    return true;
}

// ---------------------------------------------------------------------------------------------------
// Is the machine still one? Sets up the interrupt controller afresh, and counts.

enum { SGI_SELF = 5 };

static unsigned ticks, sgis;

static void on_tick(void) {
    timer_stop();
    ticks++;
}

static void on_sgi(void) { sgis++; }

void interrupts_on(void) {
    irq_on(TIMER_PPI_VIRTUAL, on_tick);
    irq_on(SGI_SELF, on_sgi);
    timer_stop();
    physical_timer_stop();
    write_sysreg(icc_ap0r0_el1, 0); // group 0, which the runtime does not use: nothing is active
    write_sysreg(icc_igrpen0_el1, 0);
    gic_init();
    gic_cpu_init();
}

enum { CHECKS = 50 };

static bool in_order(void) {
    interrupts_on();
    for (unsigned i = 1; i <= CHECKS; i++) {
        timer_set(counter() + milliseconds(1));
        while (ticks < i) {
            wfi();
            irq_take_pending();
        }
        gic_send_sgi(cpu_mpidr(0), SGI_SELF);
        while (sgis < i) {
            wfi();
            irq_take_pending();
        }
    }
    print("misbehave: %u ticks and %u SGIs of %u\n", ticks, sgis, CHECKS);
    return ticks == CHECKS && sgis == CHECKS;
}

// ---------------------------------------------------------------------------------------------------

static void run(const char *name, void (*part)(void)) {
    print("misbehave: %s begins\n", name);
    random_state = 0x9e3779b97f4a7c15;
    tried = refused = 0;
    part();
    print("misbehave: %s ends: %lu tried, %lu refused\n", name, tried, refused);
}

void main(void) {
    static const struct {
        const char *name;
        void (*run)(void);
    } parts[] = {
        {"wild", wild}, {"unaligned", unaligned}, {"undefined", undefined}, {"jump", jump},
        {"gicd", gicd}, {"gicr", gicr}, {"uart", uart}, {"sysreg", sysreg},
        {"psci", psci_nonsense}, {"sgi", sgi}, {"lost", lost},
    };
    enum { COUNT = sizeof parts / sizeof parts[0] };
    bool all = !bootarg("spin");
    for (unsigned i = 0; i < COUNT; i++)
        all &= !bootarg(parts[i].name);

    sync_on(on_sync);
    mmu_map_everything();
    gic_init();
    gic_cpu_init();
    for (unsigned i = 0; i < COUNT; i++) {
        if (all || bootarg(parts[i].name))
            run(parts[i].name, parts[i].run);
    }
    if (bootarg("spin")) {
        print("misbehave: spin begins\n");
        spin_masked();
    }
    print("misbehave: %s\n", in_order() ? "PASS" : "FAIL");
}
