/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The TLB and self-modifying code. The library sends every store to memory that may be executed through a slow path, for good.
 * Here a store is slow only while its page holds translated code: PAGE_CODE, set when the first block of a page is translated and
 * cleared when the last one goes.
 */
#include "native.h"

static uint64_t *page_of(const SlotView *view, uint64_t ram_address)
{
    return &view->pages[(ram_address - view->ram_offset) >> PAGE_BITS];
}

static void mark_entry(TlbEntry *entry, uintptr_t host_page, bool not_dirty)
{
    uint64_t write = entry->addr_write;
    if (write == UINT64_MAX || (write & (TLB_INVALID | TLB_MMIO)) || (write & PAGE_MASK) + entry->addend != host_page) {
        return;
    }
    entry->addr_write = not_dirty ? write | TLB_NOTDIRTY : write & ~(uint64_t)TLB_NOTDIRTY;
}

static char *tlb_of(Vcpu *vcpu) { return (char *)vcpu->cpu + CPU_TLB; }

static void mark_victims(Vcpu *vcpu, int mode, uintptr_t host_page, bool not_dirty)
{
    TlbEntry *victims = (TlbEntry *)(tlb_of(vcpu) + TLB_DESC + mode * TLB_DESC_SIZE + TLB_DESC_VTABLE);
    for (size_t i = 0; i < TLB_VICTIMS; i++) {
        mark_entry(&victims[i], host_page, not_dirty);
    }
}

static TlbEntry *entry_of(Vcpu *vcpu, int mode, uint64_t address, size_t *index)
{
    char *fast = tlb_of(vcpu) + TLB_FAST + mode * TLB_FAST_SIZE;
    *index = (address >> PAGE_BITS) & (FIELD(uintptr_t, fast, 0) >> TLB_ENTRY_BITS);
    return FIELD(TlbEntry *, fast, 8) + *index;
}

static void mark_everywhere(Vcpu *vcpu, uintptr_t host_page, bool not_dirty)
{
    uint16_t used = FIELD(uint16_t, tlb_of(vcpu), TLB_DIRTY);
    for (int mode = 0; mode < TLB_MODES; mode++) {
        if (!(used >> mode & 1)) {
            continue;
        }
        char *fast = tlb_of(vcpu) + TLB_FAST + mode * TLB_FAST_SIZE;
        size_t entries = (FIELD(uintptr_t, fast, 0) >> TLB_ENTRY_BITS) + 1;
        TlbEntry *table = FIELD(TlbEntry *, fast, 8);
        for (size_t i = 0; i < entries; i++) {
            mark_entry(&table[i], host_page, not_dirty);
        }
        mark_victims(vcpu, mode, host_page, not_dirty);
    }
}

/* Make stores to one page slow or fast in every TLB entry that leads to it. */
static void mark_page(Vcpu *vcpu, const SlotView *view, uint64_t ram_address, bool not_dirty)
{
    uintptr_t host_page = (uintptr_t)view->host + ((ram_address & PAGE_MASK) - view->ram_offset);
    uint64_t page = *page_of(view, ram_address);
    int mode = page >> PAGE_MODE_SHIFT & 0xf;
    size_t index;
    if (page & PAGE_MANY) {
        mark_everywhere(vcpu, host_page, not_dirty);
    } else if (page & PAGE_WRITABLE) {
        mark_entry(entry_of(vcpu, mode, page & PAGE_MASK, &index), host_page, not_dirty);
        mark_victims(vcpu, mode, host_page, not_dirty);
    }
}

/* The TLB got an entry for stores to `page`. */
static void note_writer(uint64_t *page, uint64_t virtual_page, int mode)
{
    uint64_t writer = virtual_page | (uint64_t)mode << PAGE_MODE_SHIFT | PAGE_WRITABLE;
    uint64_t before = *page & ~(uint64_t)(PAGE_CODE | PAGE_MANY);
    uint64_t many = *page & PAGE_MANY || (before != 0 && before != writer) ? PAGE_MANY : 0;
    *page = writer | many | (*page & PAGE_CODE);
}

/* The first block of a page was translated. */
void avmm_tlb_protect_code(void *uc, uint64_t ram_address)
{
    Vcpu *vcpu = vcpu_of_uc(uc);
    SlotView *view = avmm_view_of_ram(vcpu, ram_address);
    if (view != NULL) {
        *page_of(view, ram_address) |= PAGE_CODE;
        mark_page(vcpu, view, ram_address, true);
    }
}

/* The last block of a page is gone. The next store to it makes its entries fast again. */
void avmm_tlb_unprotect_code(void *uc, uint64_t ram_address)
{
    SlotView *view = avmm_view_of_ram(vcpu_of_uc(uc), ram_address);
    if (view != NULL) {
        *page_of(view, ram_address) &= ~(uint64_t)PAGE_CODE;
    }
}

/* A slow store. */
void avmm_tb_invalidate_fast(void *uc, void *pages, uint64_t start, int length, uintptr_t host_pc)
{
    Vcpu *vcpu = vcpu_of_uc(uc);
    SlotView *view = avmm_view_of_ram(vcpu, start);
    if (view != NULL && !(*page_of(view, start) & PAGE_CODE)) {
        mark_page(vcpu, view, start, false);
        return;
    }
    lib.tb_invalidate_fast(uc, pages, start, length, host_pc);
}

/* What the library does with whole TLBs at these two points is done above, a page at a time. */
void avmm_tlb_reset_dirty(void *cpu, uint64_t address, uint64_t length)
{
    (void)cpu;
    (void)address;
    (void)length;
}

void avmm_tlb_set_dirty(void *cpu, uint64_t address)
{
    (void)cpu;
    (void)address;
}

static void fetch_abort(Vcpu *vcpu, uint64_t address, uint64_t physical, int mode, uintptr_t host_pc)
{
    vcpu->external_aborts++;
    lib.transaction_failed(vcpu->cpu, physical, address, 4, MMU_INST_FETCH, mode, 0, MEMTX_DECODE_ERROR, host_pc);
}

static bool is_memory(const TlbEntry *entry)
{
    uint64_t any = entry->addr_read != UINT64_MAX ? entry->addr_read : entry->addr_code;
    return !(any & TLB_MMIO); /* which UINT64_MAX has */
}

/* Nobody writes to a read-only slot, and while its reads are trapped nobody reads it: that is I/O. */
static void lead_to_traps(const SlotView *view, TlbEntry *entry, IoTlbEntry *io, uint64_t page, uint64_t ram_address)
{
    bool reads_trapped = atomic_load(&view->reads_trapped);
    if (entry->addr_write != UINT64_MAX) {
        entry->addr_write = (entry->addr_write & ~(uint64_t)TLB_NOTDIRTY) | TLB_MMIO;
    }
    if (reads_trapped && entry->addr_read != UINT64_MAX) {
        entry->addr_read |= TLB_MMIO;
    }
    if (reads_trapped && entry->addr_code != UINT64_MAX) {
        entry->addr_code |= TLB_MMIO;
    }
    /* An I/O access finds its guest physical address here, and in the low bits its section: no matter which. */
    io->addr = ram_address - view->ram_offset + view->address - page;
}

bool avmm_tlb_fill(void *cpu, uint64_t address, int size, int access, int mode, bool probe, uintptr_t host_pc)
{
    Vcpu *vcpu = vcpu_of(cpu);
    if (access == MMU_INST_FETCH) {
        avmm_check_alignment(vcpu, address);
        /* A fault here belongs to no instruction of the block that ran last: it is complete. */
        FIELD(uint64_t, cpu, CPU_ICOUNT_BUDGET) = 0;
    }
    if (!lib.tlb_fill(cpu, address, size, access, mode, probe, host_pc)) {
        return false;
    }
    size_t index;
    uint64_t page = address & PAGE_MASK;
    TlbEntry *entry = entry_of(vcpu, mode, page, &index);
    if (entry->addr_write == (page | TLB_NOTDIRTY) || (vcpu->read_only_views != 0 && is_memory(entry))) {
        /* To memory: the library says so of all of it that can be written. */
        IoTlbEntry *io = FIELD(IoTlbEntry *, tlb_of(vcpu) + TLB_DESC + mode * TLB_DESC_SIZE, TLB_DESC_IOTLB) + index;
        uint64_t ram_address = (io->addr & PAGE_MASK) + page;
        SlotView *view = avmm_view_of_ram(vcpu, ram_address);
        if (view != NULL && view->read_only) {
            lead_to_traps(view, entry, io, page, ram_address);
        } else if (view != NULL && entry->addr_write != UINT64_MAX) {
            note_writer(page_of(view, ram_address), page, mode);
            if (!(*page_of(view, ram_address) & PAGE_CODE)) {
                entry->addr_write = page;
            }
        }
    }
    if (vcpu->machine->parallel && entry->addr_write != UINT64_MAX && (entry->addr_write & TLB_WATCHPOINT)) {
        /* The library's atomic accesses do not look for watchpoints. To what cannot be both read and written alike they do not
           apply: they are made by a plain load and store then, with all others stopped, and those look. */
        entry->addr_read |= TLB_NOTDIRTY;
    }
    if (entry->addr_code != UINT64_MAX && (entry->addr_code & TLB_MMIO)) {
        /* Nothing but memory can be executed. */
        entry->addr_code = UINT64_MAX;
        if (access == MMU_INST_FETCH) {
            if (probe) {
                return false;
            }
            fetch_abort(vcpu, address, entry->paddr | (address & ~PAGE_MASK), mode, host_pc);
        }
    }
    return true;
}

/* Drop every translation of this vCPU. */
void avmm_forget_code(Vcpu *vcpu)
{
    avmm_tb_flush(vcpu->cpu);
    for (int i = 0; i < vcpu->view_count; i++) {
        for (uint64_t page = 0; page < vcpu->views[i].size >> PAGE_BITS; page++) {
            vcpu->views[i].pages[page] &= ~(uint64_t)PAGE_CODE;
        }
    }
    /* A block that is gone must not be chained to the next one. */
    FIELD(uint32_t, vcpu->cpu, CPU_INTERRUPT_REQUEST) |= INTERRUPT_EXITTB;
}
