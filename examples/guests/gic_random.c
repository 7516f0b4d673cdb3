// SPDX-License-Identifier: MIT
//
// gic_random: a random walk through the states of the interrupt controller, GICv3 (Arm IHI 0069) or GICv2 (IHI 0048), one line a
// step. Interrupts stay masked: everything is acknowledged and ended by hand, in and out of order.
//
// The walk stays where the specifications leave one answer, so that another implementation writes the same lines. It keeps away
// from: the lowest three bits of priorities, binary points other than the least (whether the running priority is grouped again
// for the comparison), CPU interfaces with one group off, ICC_SGI1R_EL1 for an SGI of Group 0, and on a GICv2 from groups changed
// in a handler, GICD_CTLR, GICC_HPPIR when masked, GICC_DIR of shared interrupts.
#include "guest.h"

#define GICC_BASE 0x08010000ul

enum { IGROUPR = 0x080, ISENABLER = 0x100, ICENABLER = 0x180, ISPENDR = 0x200, ICPENDR = 0x280, ISACTIVER = 0x300 };
enum { ICACTIVER = 0x380, IPRIORITYR = 0x400, GICD_SGIR = 0xf00, CPENDSGIR = 0xf10, SPENDSGIR = 0xf20 };
enum { GICC_CTLR = 0x00, GICC_PMR = 0x04, GICC_IAR = 0x0c, GICC_EOIR = 0x10, GICC_RPR = 0x14, GICC_DIR = 0x1000 };
enum { SGI_BASE = 0x10000, SGIR_SELF = 2 << 24, FIRST_SPI = 32, SPI = 40, FIRST_PPI = 16, EACH = 4, TAKEN = 16 };
enum { BOTH_GROUPS = 3, ACK_CTL = 1 << 2, FIQ_EN = 1 << 3, GICC_EOI_MODE = 1 << 9, ICC_EOI_MODE = 1 << 1 };
enum { LOWEST = 0xf8, IDLE = 0xff };

static bool gicv2;
static uint64_t state;
static unsigned taken[TAKEN], depth; // what was acknowledged, the last on top

static unsigned below(unsigned limit) {
    state = state * 6364136223846793005ul + 1442695040888963407ul;
    return (unsigned)(state >> 33) % limit;
}

// SGIs 0 to 3, PPIs 16 to 19.
static unsigned private_interrupt(void) { return below(3) ? FIRST_PPI + below(EACH) : below(EACH); }

static unsigned interrupt(void) { return below(3) ? private_interrupt() : SPI + below(EACH); }

static uintptr_t frame(unsigned intid) { return intid < FIRST_SPI && !gicv2 ? GICR_BASE + SGI_BASE : GICD_BASE; }

static uintptr_t word(unsigned offset, unsigned intid) { return frame(intid) + offset + intid / 32 * 4; }

static void set_bit(unsigned offset, unsigned intid) { mmio_write32(word(offset, intid), 1u << intid % 32); }

static void make_pending(unsigned intid) {
    if (gicv2 && intid < FIRST_PPI)
        mmio_write32(GICD_BASE + GICD_SGIR, SGIR_SELF | intid);
    else
        set_bit(ISPENDR, intid);
}

static void clear_pending(unsigned intid) {
    if (gicv2 && intid < FIRST_PPI)
        mmio_write8(GICD_BASE + CPENDSGIR + intid, 1);
    else
        set_bit(ICPENDR, intid);
}

static void change_group(unsigned intid) {
    if (!gicv2 || mmio_read32(GICC_BASE + GICC_RPR) == IDLE)
        mmio_write32(word(IGROUPR, intid), mmio_read32(word(IGROUPR, intid)) ^ 1u << intid % 32);
}

static void set_mask(unsigned priority) {
    if (gicv2)
        mmio_write32(GICC_BASE + GICC_PMR, priority);
    else
        write_sysreg(icc_pmr_el1, priority);
}

static void set_control(unsigned eoi_mode, unsigned fiq_en) {
    if (gicv2)
        mmio_write32(GICC_BASE + GICC_CTLR, BOTH_GROUPS | ACK_CTL | eoi_mode * GICC_EOI_MODE | fiq_en * FIQ_EN);
    else
        write_sysreg(icc_ctlr_el1, eoi_mode * ICC_EOI_MODE);
}

static void take(unsigned group) {
    unsigned value = gicv2        ? mmio_read32(GICC_BASE + GICC_IAR)
                     : group == 0 ? (unsigned)read_sysreg(icc_iar0_el1)
                                  : (unsigned)read_sysreg(icc_iar1_el1);
    print("take %u ", value);
    if (value < 1020)
        taken[depth++ % TAKEN] = value;
}

// Usually what was taken last; of a GICv3 anything at all.
static void end(unsigned group, unsigned other) {
    unsigned value = depth != 0 && (gicv2 || below(4)) ? taken[--depth % TAKEN] : other;
    print("end %u ", value);
    if (gicv2)
        mmio_write32(GICC_BASE + GICC_EOIR, value);
    else if (group == 0)
        write_sysreg(icc_eoir0_el1, value);
    else
        write_sysreg(icc_eoir1_el1, value);
}

static void deactivate(void) {
    unsigned intid = gicv2 ? private_interrupt() : interrupt();
    print("deactivate %u ", intid);
    if (!gicv2)
        write_sysreg(icc_dir_el1, intid);
    else if (mmio_read32(GICC_BASE + GICC_CTLR) & GICC_EOI_MODE)
        mmio_write32(GICC_BASE + GICC_DIR, intid);
}

static void send_to_self(unsigned intid) {
    bool group1 = mmio_read32(word(IGROUPR, intid)) >> intid & 1;
    print("send %u ", intid);
    if (gicv2)
        make_pending(intid);
    else if (group1)
        write_sysreg(icc_sgi1r_el1, (uint64_t)intid << 24 | 1);
    else
        write_sysreg(icc_sgi0r_el1, (uint64_t)intid << 24 | 1);
}

static void step(void) {
    unsigned choice = below(22), intid = interrupt(), priority = below(32) * 8;
    if (choice < 4) {
        print("pend %u ", intid);
        make_pending(intid);
    } else if (choice < 5) {
        print("clear %u ", intid);
        clear_pending(intid);
    } else if (choice < 6) {
        print("priority %u %x ", intid, priority);
        mmio_write8(frame(intid) + IPRIORITYR + intid, (uint8_t)priority);
    } else if (choice < 7) {
        print("group %u ", intid);
        change_group(intid);
    } else if (choice < 8) {
        bool on = intid < FIRST_PPI || below(3);
        print("%s %u ", on ? "enable" : "disable", intid);
        set_bit(on ? ISENABLER : ICENABLER, intid);
    } else if (choice < 9) {
        priority = below(3) ? LOWEST : priority;
        print("mask %x ", priority);
        set_mask(priority);
    } else if (choice < 10) {
        unsigned eoi_mode = below(2), fiq_en = below(2);
        print("control %u %u ", eoi_mode, fiq_en);
        set_control(eoi_mode, fiq_en);
    } else if (choice < 14) {
        take(below(2));
    } else if (choice < 19) {
        if (!gicv2 || depth != 0)
            end(below(2), intid);
    } else if (choice < 20) {
        deactivate();
    } else if (choice < 21) {
        bool active = !below(4);
        print("%s %u ", active ? "activate" : "inactivate", intid);
        set_bit(active ? ISACTIVER : ICACTIVER, intid);
    } else {
        send_to_self(below(EACH));
    }
}

static void tell(void) {
    isb();
    if (gicv2)
        print("running %x sgis %x", mmio_read32(GICC_BASE + GICC_RPR), mmio_read32(GICD_BASE + SPENDSGIR));
    else
        print("running %x highest %u %u active %x %x", (unsigned)read_sysreg(icc_rpr_el1), (unsigned)read_sysreg(icc_hppir0_el1),
              (unsigned)read_sysreg(icc_hppir1_el1), (unsigned)read_sysreg(icc_ap0r0_el1), (unsigned)read_sysreg(icc_ap1r0_el1));
    print(" isr %x", (unsigned)read_sysreg(isr_el1));
    for (unsigned intid = 0; intid <= SPI; intid += SPI)
        print(" pending %x active %x", mmio_read32(word(ISPENDR, intid)), mmio_read32(word(ISACTIVER, intid)));
    print("\n");
}

static void set_up(void) {
    gicv2 = !(read_sysreg(id_aa64pfr0_el1) >> 24 & 0xf);
    if (!gicv2) {
        gic_init();
        gic_cpu_init();
        write_sysreg(icc_igrpen0_el1, 1);
    }
    mmio_write32(GICD_BASE, mmio_read32(GICD_BASE) | BOTH_GROUPS);
    mmio_write32(word(ISENABLER, 0), 0xffff);
    set_control(0, 0);
    set_mask(LOWEST);
}

void main(void) {
    state = bootarg_number("seed", 1);
    set_up();
    for (uint64_t left = bootarg_number("steps", 1000); left > 0; left--) {
        step();
        tell();
    }
}
