// SPDX-License-Identifier: MIT
//
// tlbi: a remapped page is never read through an old translation.
//
// vCPU 0 maps one virtual page to one physical page after another, by break-before-make (Arm DDI 0487,
// "TLB maintenance requirements"): invalid descriptor, DSB ISHST, TLBI to the inner shareable domain,
// DSB ISH, new descriptor, DSB ISHST. In round n the page holds the number n; when it is mapped, vCPU 0
// publishes n. The others read what is published, then the page: once n is published, no number below n may
// be read. A read that finds the descriptor invalid takes a translation fault and is tried again.
//
// Even rounds use VAE1IS (this address), odd ones VMALLE1IS (everything). With the boot argument `control`
// the TLBI is left out, and stale reads are what the guest asks for: it shows that the check can fail.
// Boot arguments: control, rounds=N (default 500).
#include "guest.h"

enum { PAGES = 16, PAGE_SIZE = 4096 };

static uint64_t pages[PAGES][PAGE_SIZE / 8] __attribute__((aligned(PAGE_SIZE)));
static uint64_t published;
static bool over;

struct reader {
    uint64_t reads, faults, stale;
    bool ready;
} __attribute__((aligned(64)));

static struct reader readers[MAX_CPUS];

// Translation faults at any level, ESR_EL1.DFSC = 0b0001xx: go back and try again.
static bool on_sync(struct exception_frame *frame, uint64_t esr, uint64_t far) {
    (void)frame;
    if (esr >> 26 != EC_DATA_ABORT || (esr & 0x3c) != 0x04 || far / PAGE_SIZE != MMU_WINDOW / PAGE_SIZE)
        return false;
    readers[cpu_id()].faults++;
    return true;
}

static void read(void) {
    struct reader *mine = &readers[cpu_id()];
    store_release(&mine->ready, true);
    while (!load_acquire(&over)) {
        uint64_t at_least = load_acquire(&published);
        uint64_t found = mmio_read64(MMU_WINDOW);
        mine->reads++;
        mine->stale += found < at_least;
    }
}

static void invalidate(uint64_t round) {
    if (round % 2)
        __asm__ volatile("tlbi vmalle1is" ::: "memory");
    else
        __asm__ volatile("tlbi vae1is, %0" ::"r"(MMU_WINDOW >> 12) : "memory");
    dsb_ish();
    isb();
}

static void map(uint64_t round, bool control) {
    uint64_t *page = pages[round % PAGES];
    *page = round;
    *mmu_window_pte() = 0;
    dsb_ishst();
    if (!control)
        invalidate(round);
    *mmu_window_pte() = mmu_page_descriptor((uintptr_t)page);
    dsb_ishst();
    isb();
    store_release(&published, round);
}

// All readers have read once more since the last round, so that every round is seen by every reader.
static void wait_for_readers(void) {
    for (unsigned cpu = 1; cpu < cpu_count(); cpu++) {
        uint64_t reads = load_acquire(&readers[cpu].reads);
        while (load_acquire(&readers[cpu].reads) == reads) {
        }
    }
}

void main(void) {
    uint64_t rounds = bootarg_number("rounds", 500), reads = 0, faults = 0, stale = 0;
    bool control = bootarg("control");
    if (cpu_count() < 2) {
        print("tlbi: FAIL: needs two vCPUs or more\n");
        return;
    }
    sync_on(on_sync);
    map(1, false);
    cpu_start_others(read);
    for (unsigned cpu = 1; cpu < cpu_count(); cpu++) {
        while (!load_acquire(&readers[cpu].ready)) {
        }
    }
    for (uint64_t round = 2; round <= rounds; round++) {
        map(round, control);
        wait_for_readers();
    }
    store_release(&over, true);
    cpu_wait_for_others_off();
    for (unsigned cpu = 1; cpu < cpu_count(); cpu++) {
        reads += readers[cpu].reads;
        faults += readers[cpu].faults;
        stale += readers[cpu].stale;
    }
    print("tlbi: %lu remappings%s, %u readers: %lu reads, %lu translation faults, %lu stale\n", rounds,
          control ? " without TLBI" : "", cpu_count() - 1, reads, faults, stale);
    print("tlbi: %s\n", (stale > 0) == control ? "PASS" : "FAIL");
}
