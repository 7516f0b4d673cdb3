// SPDX-License-Identifier: MIT
#include "exception.h"

#include "arch.h"
#include "cpu.h"
#include "gicv3.h"
#include "limits.h"
#include "print.h"
#include "psci.h"

_Static_assert(sizeof(struct exception_frame) == FRAME_SIZE, "start.S lays out the same frame");

// Entries of the vector table: current EL with SP_ELx.
enum { VECTOR_SYNC = 4, VECTOR_IRQ = 5 };

static irq_handler irq_handlers[32];
static sync_handler on_sync;

void irq_on(unsigned intid, irq_handler handler) { irq_handlers[intid] = handler; }

void sync_on(sync_handler handler) { on_sync = handler; }

static _Noreturn void die(const struct exception_frame *frame, unsigned vector) {
    print("FAIL: exception on vCPU %u: vector %u esr 0x%lx elr 0x%lx far 0x%lx\n", cpu_id(), vector,
          read_sysreg(esr_el1), frame->elr, read_sysreg(far_el1));
    psci_system_off();
}

static void take_irq(const struct exception_frame *frame) {
    unsigned intid = gic_acknowledge();
    if (intid == INTID_SPURIOUS)
        return;
    if (intid >= 32 || !irq_handlers[intid])
        die(frame, VECTOR_IRQ);
    irq_handlers[intid]();
    gic_end(intid);
}

// Called by start.S. A guest that takes FIQs too brings its own.
__attribute__((weak)) void exception_main(struct exception_frame *frame, unsigned vector) {
    if (vector == VECTOR_IRQ)
        take_irq(frame);
    else if (vector != VECTOR_SYNC || !on_sync || !on_sync(frame, read_sysreg(esr_el1), read_sysreg(far_el1)))
        die(frame, vector);
}
