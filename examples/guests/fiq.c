// SPDX-License-Identifier: MIT
//
// fiq: fast interrupts (Group 0) beside ordinary ones (Group 1), each of which may interrupt the other by its priority. On a
// machine with a GICv3 (Arm IHI 0069) or a GICv2 (Arm IHI 0048).
#include "guest.h"

#define GICC_BASE 0x08010000ul

enum { VECTOR_IRQ = 5, VECTOR_FIQ = 6 };
enum { SGI_FIQ = 1, SGI_IRQ = 2, HIGH = 0x40, LOW = 0x80 };
enum { GICD_CTLR = 0x000, GICD_SGIR = 0xf00, IGROUPR0 = 0x080, ISENABLER0 = 0x100, IPRIORITYR = 0x400 };
enum { SGI_BASE = 0x10000, SGIR_SELF = 2 << 24 };
enum { GICC_CTLR = 0x00, GICC_PMR = 0x04, GICC_IAR = 0x0c, GICC_EOIR = 0x10, GICC_AIAR = 0x20, GICC_AEOIR = 0x24 };
enum { CTLR_BOTH_GROUPS = 3, CTLR_FIQ_EN = 1 << 3, ISR_F = 1 << 6, ISR_I = 1 << 7 };

// One letter for each handler's beginning (F, I) and end (f, i).
static char trace[32];
static unsigned length;
static unsigned from_handler; // the SGI that the next handler sends from its middle, or 0
static bool gicv2, good = true;

static uintptr_t private_base(void) { return gicv2 ? GICD_BASE : GICR_BASE + SGI_BASE; }

static void note(char letter) {
    if (length < sizeof trace - 1)
        trace[length++] = letter;
}

static void send_to_self(unsigned intid) {
    if (gicv2)
        mmio_write32(GICD_BASE + GICD_SGIR, SGIR_SELF | intid);
    else if (intid == SGI_FIQ)
        write_sysreg(icc_sgi0r_el1, (uint64_t)intid << 24 | 1);
    else
        write_sysreg(icc_sgi1r_el1, (uint64_t)intid << 24 | 1);
    isb();
}

static unsigned acknowledge(bool fiq) {
    if (gicv2)
        return mmio_read32(GICC_BASE + (fiq ? GICC_IAR : GICC_AIAR));
    return (unsigned)(fiq ? read_sysreg(icc_iar0_el1) : read_sysreg(icc_iar1_el1));
}

static void end(bool fiq, unsigned intid) {
    if (gicv2)
        mmio_write32(GICC_BASE + (fiq ? GICC_EOIR : GICC_AEOIR), intid);
    else if (fiq)
        write_sysreg(icc_eoir0_el1, intid);
    else
        write_sysreg(icc_eoir1_el1, intid);
    isb();
}

// Instead of the runtime's: called by start.S, with everything masked.
void exception_main(struct exception_frame *frame, unsigned vector) {
    bool fiq = vector == VECTOR_FIQ;
    if (!fiq && vector != VECTOR_IRQ) {
        print("FAIL: exception: vector %u esr 0x%lx elr 0x%lx\n", vector, read_sysreg(esr_el1), frame->elr);
        psci_system_off();
    }
    note(fiq ? 'F' : 'I');
    unsigned intid = acknowledge(fiq);
    if (intid == INTID_SPURIOUS)
        note('?');
    if (intid == TIMER_PPI_VIRTUAL)
        timer_stop();
    if (from_handler) {
        send_to_self(from_handler);
        from_handler = 0;
    }
    interrupts_take_pending();
    end(fiq, intid);
    note(fiq ? 'f' : 'i');
}

static void set_priorities(unsigned fiq, unsigned irq) {
    mmio_write8(private_base() + IPRIORITYR + SGI_FIQ, (uint8_t)fiq);
    mmio_write8(private_base() + IPRIORITYR + SGI_IRQ, (uint8_t)irq);
}

static void expect(const char *what, const char *wanted) {
    bool same = true;
    trace[length] = 0;
    for (unsigned i = 0; i == 0 || wanted[i - 1]; i++)
        same &= trace[i] == wanted[i];
    print("fiq: %-40s %s\n", what, trace);
    good &= same;
    length = 0;
}

static void send_both(void) {
    send_to_self(SGI_IRQ);
    send_to_self(SGI_FIQ);
}

// `first` is taken, and from its handler the other is sent.
static void nest(unsigned first, unsigned other) {
    from_handler = other;
    send_to_self(first);
    interrupts_take_pending();
}

static void masks(void) {
    send_both();
    good &= (read_sysreg(isr_el1) & (ISR_F | ISR_I)) == ISR_F; // the one of higher priority is signalled
    irq_take_pending();
    expect("PSTATE.F masks it", "");
    wfi(); // and it ends a wait all the same
    interrupts_take_pending();
    expect("then both, the fast one first", "FfIi");
}

static void by_timer(void) {
    timer_set(counter() + milliseconds(1));
    while (length == 0) {
        wfi();
        interrupts_take_pending();
    }
    expect("the timer, in Group 0, ends a wait", "Ff");
    timer_set(counter() + milliseconds(1));
    while (load_acquire(&length) == 0)
        interrupts_take_pending();
    expect("and comes while there is none", "Ff");
}

static void set_up(void) {
    gicv2 = !(read_sysreg(id_aa64pfr0_el1) >> 24 & 0xf);
    if (gicv2) {
        mmio_write32(GICD_BASE + GICD_CTLR, CTLR_BOTH_GROUPS);
        mmio_write32(GICC_BASE + GICC_PMR, 0xf0);
        mmio_write32(GICC_BASE + GICC_CTLR, CTLR_BOTH_GROUPS | CTLR_FIQ_EN);
    } else {
        gic_init();
        gic_cpu_init();
        mmio_write32(GICD_BASE + GICD_CTLR, mmio_read32(GICD_BASE + GICD_CTLR) | CTLR_BOTH_GROUPS);
        write_sysreg(icc_igrpen0_el1, 1);
        isb();
    }
    mmio_write32(private_base() + IGROUPR0, 1 << SGI_IRQ);
    mmio_write8(private_base() + IPRIORITYR + TIMER_PPI_VIRTUAL, HIGH);
    mmio_write32(private_base() + ISENABLER0, 1 << SGI_IRQ | 1 << SGI_FIQ | 1 << TIMER_PPI_VIRTUAL);
}

void main(void) {
    set_up();
    set_priorities(HIGH, LOW);
    masks();
    nest(SGI_IRQ, SGI_FIQ);
    expect("a fast one interrupts an ordinary one", "IFfi");
    nest(SGI_FIQ, SGI_IRQ);
    expect("not the other way about", "FfIi");
    set_priorities(LOW, HIGH);
    send_both();
    interrupts_take_pending();
    expect("an ordinary one of higher priority first", "IiFf");
    nest(SGI_FIQ, SGI_IRQ);
    expect("it interrupts a fast one", "FIif");
    nest(SGI_IRQ, SGI_FIQ);
    expect("not the other way about", "IiFf");
    by_timer();
    print("fiq: %s\n", good ? "PASS" : "FAIL");
}
