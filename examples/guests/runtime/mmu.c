// SPDX-License-Identifier: MIT
#include "mmu.h"

#include "arch.h"

// "VMSAv8-64 descriptors": bits [1:0] = 01 block, 11 table or page.
enum : uint64_t {
    BLOCK = 1,
    TABLE = 3,
    PAGE = 3,
    ATTRIBUTE_DEVICE = 0 << 2, // AttrIndx: an index into MAIR_EL1
    ATTRIBUTE_NORMAL = 1 << 2,
    INNER_SHAREABLE = 3 << 8,
    ACCESS_FLAG = 1 << 10,
    EXECUTE_NEVER = 3ul << 53, // UXN and PXN
};

#define DEVICE (ATTRIBUTE_DEVICE | ACCESS_FLAG | EXECUTE_NEVER)
#define NORMAL (ATTRIBUTE_NORMAL | ACCESS_FLAG | INNER_SHAREABLE)

// Attr0 = Device-nGnRnE, Attr1 = Normal, inner and outer write-back, read and write allocate.
#define MAIR 0xff00ul

// T0SZ = 25: 39 bits, the walk starts at level 1. Walks are inner shareable, write-back, 4 KiB.
// TTBR1_EL1 is not used: EPD1.
#define TCR (25ul | 1ul << 8 | 1ul << 10 | 3ul << 12 | 1ul << 23)
#define TCR_IPS_SHIFT 32

#define SCTLR_RES1 0x30d00800ul
#define SCTLR_M (1ul << 0)
#define SCTLR_C (1ul << 2)
#define SCTLR_I (1ul << 12)

#define ENTRIES 512
#define GIB (1ul << 30)

static uint64_t level1[ENTRIES] __attribute__((aligned(4096)));
static uint64_t level2[ENTRIES] __attribute__((aligned(4096)));
static uint64_t level3[ENTRIES] __attribute__((aligned(4096)));

void mmu_init(void) {
    level1[0] = 0 * GIB | DEVICE | BLOCK;
    level1[1] = 1 * GIB | NORMAL | BLOCK;
    level1[MMU_WINDOW / GIB] = (uintptr_t)level2 | TABLE;
    level2[0] = (uintptr_t)level3 | TABLE;
    dsb_ish();
}

void mmu_enable(void) {
    uint64_t pa_range = read_sysreg(id_aa64mmfr0_el1) & 7;
    write_sysreg(mair_el1, MAIR);
    write_sysreg(tcr_el1, TCR | pa_range << TCR_IPS_SHIFT);
    write_sysreg(ttbr0_el1, level1);
    __asm__ volatile("tlbi vmalle1\n\tdsb nsh" ::: "memory");
    isb();
    write_sysreg(sctlr_el1, SCTLR_RES1 | SCTLR_M | SCTLR_C | SCTLR_I);
    isb();
}

void mmu_map_everything(void) {
    for (uint64_t gib = 2; gib < ENTRIES; gib++)
        level1[gib] = gib * GIB | DEVICE | BLOCK;
    dsb_ish();
    __asm__ volatile("tlbi vmalle1is\n\tdsb ish" ::: "memory");
    isb();
}

volatile uint64_t *mmu_window_pte(void) { return &level3[0]; }

uint64_t mmu_page_descriptor(uintptr_t page) { return page | NORMAL | PAGE; }
