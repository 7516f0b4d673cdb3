// SPDX-License-Identifier: MIT
#include "gicv3.h"

#include "arch.h"
#include "timer.h"

// IHI 0069, "The GIC Distributor register map".
enum {
    GICD_CTLR = 0x0000,
    GICD_TYPER = 0x0004,
    GICD_IGROUPR = 0x0080,
    GICD_ICENABLER = 0x0180,
    GICD_ICPENDR = 0x0280,
    GICD_ICACTIVER = 0x0380,
};

enum {
    CTLR_ENABLE_GRP1_NS = 1 << 0, // two security states, seen from the non-secure side
    CTLR_ENABLE_GRP1 = 1 << 1,    // one security state (EnableGrp1A in the other case)
    CTLR_ARE = 1 << 4,
    CTLR_RWP = 1u << 31,
    TYPER_IT_LINES_NUMBER = 0x1f,
};

// IHI 0069, "The GIC Redistributor register map": RD_base, then SGI_base at + 64 KiB.
enum {
    GICR_CTLR = 0x0000,
    GICR_TYPER = 0x0008,
    GICR_WAKER = 0x0014,
    GICR_IGROUPR0 = 0x10080,
    GICR_ISENABLER0 = 0x10100,
    GICR_ICENABLER0 = 0x10180,
    GICR_ICPENDR0 = 0x10280,
    GICR_ICACTIVER0 = 0x10380,
    GICR_IPRIORITYR = 0x10400,
    GICR_ICFGR1 = 0x10c04,
};

enum {
    TYPER_LAST = 1 << 4,
    WAKER_PROCESSOR_SLEEP = 1 << 1,
    WAKER_CHILDREN_ASLEEP = 1 << 2,
    GICR_CTLR_RWP = 1 << 3,
    PRIORITY = 0xa0,
    PRIORITY_MASK_NONE = 0xff,
};

static void distributor_wait(void) {
    while (mmio_read32(GICD_BASE + GICD_CTLR) & CTLR_RWP) {
    }
}

void gic_init(void) {
    mmio_write32(GICD_BASE + GICD_CTLR, 0);
    distributor_wait();
    uint32_t lines = mmio_read32(GICD_BASE + GICD_TYPER) & TYPER_IT_LINES_NUMBER;
    for (uintptr_t word = 4; word <= 4 * lines; word += 4) { // word 0 is banked in the redistributors
        mmio_write32(GICD_BASE + GICD_ICENABLER + word, ~0u);
        mmio_write32(GICD_BASE + GICD_ICPENDR + word, ~0u);
        mmio_write32(GICD_BASE + GICD_ICACTIVER + word, ~0u);
        mmio_write32(GICD_BASE + GICD_IGROUPR + word, ~0u);
    }
    mmio_write32(GICD_BASE + GICD_CTLR, CTLR_ARE); // first alone: the enables mean other bits without
    distributor_wait();
    mmio_write32(GICD_BASE + GICD_CTLR, CTLR_ARE | CTLR_ENABLE_GRP1 | CTLR_ENABLE_GRP1_NS);
    distributor_wait();
}

// GICR_TYPER[63:32] holds the affinity in the order Aff3.Aff2.Aff1.Aff0, a byte each.
static uintptr_t find_redistributor(void) {
    uint64_t mpidr = read_sysreg(mpidr_el1);
    uint64_t affinity = (mpidr >> 32 & 0xff) << 24 | (mpidr & 0xffffff);
    uintptr_t base = GICR_BASE;
    for (;; base += GICR_STRIDE) {
        uint64_t typer = mmio_read64(base + GICR_TYPER);
        if (typer >> 32 == affinity || typer & TYPER_LAST)
            return base;
    }
}

static void redistributor_init(uintptr_t base) {
    uint32_t waker = mmio_read32(base + GICR_WAKER);
    mmio_write32(base + GICR_WAKER, waker & ~(uint32_t)WAKER_PROCESSOR_SLEEP);
    while (mmio_read32(base + GICR_WAKER) & WAKER_CHILDREN_ASLEEP) {
    }
    mmio_write32(base + GICR_ICENABLER0, ~0u);
    while (mmio_read32(base + GICR_CTLR) & GICR_CTLR_RWP) {
    }
    mmio_write32(base + GICR_ICPENDR0, ~0u);
    mmio_write32(base + GICR_ICACTIVER0, ~0u);
    mmio_write32(base + GICR_IGROUPR0, ~0u);
    mmio_write32(base + GICR_ICFGR1, 0); // every PPI level-sensitive
    for (uintptr_t intid = 0; intid < 32; intid += 4)
        mmio_write32(base + GICR_IPRIORITYR + intid, PRIORITY * 0x01010101u);
    mmio_write32(base + GICR_ISENABLER0, 0xffff | 1 << TIMER_PPI_VIRTUAL | 1 << TIMER_PPI_PHYSICAL);
}

// IHI 0069, "AArch64 System register descriptions".
static void cpu_interface_init(void) {
    write_sysreg(icc_sre_el1, read_sysreg(icc_sre_el1) | 1);
    isb(); // the other ICC registers exist from here on
    write_sysreg(icc_igrpen1_el1, 0);
    write_sysreg(icc_ap1r0_el1, 0);
    write_sysreg(icc_pmr_el1, PRIORITY_MASK_NONE);
    write_sysreg(icc_bpr1_el1, 0);
    write_sysreg(icc_ctlr_el1, 0); // EOImode 0: one write drops the priority and deactivates
    write_sysreg(icc_igrpen1_el1, 1);
    isb();
}

void gic_cpu_init(void) {
    redistributor_init(find_redistributor());
    cpu_interface_init();
}

void gic_send_sgi(uint64_t mpidr, unsigned intid) {
    uint64_t aff3 = mpidr >> 32 & 0xff, aff2 = mpidr >> 16 & 0xff, aff1 = mpidr >> 8 & 0xff;
    uint64_t range = mpidr >> 4 & 0xf, target = 1ul << (mpidr & 0xf);
    dsb_ishst();
    write_sysreg(icc_sgi1r_el1,
                 aff3 << 48 | range << 44 | aff2 << 32 | (uint64_t)intid << 24 | aff1 << 16 | target);
    isb();
}

unsigned gic_acknowledge(void) {
    unsigned intid = (unsigned)read_sysreg(icc_iar1_el1);
    dsb_sy(); // the acknowledge is complete before the handler touches the device
    return intid;
}

void gic_end(unsigned intid) {
    write_sysreg(icc_eoir1_el1, intid);
    isb();
}
