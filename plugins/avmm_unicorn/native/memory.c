/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The TLB and self-modifying code. The library sends every store to memory that may be executed through a slow path, for good.
 * Here a store is slow only while its page holds translated code: one bit a page, set when the first block of a page is
 * translated and cleared when the last one goes.
 */
#include "native.h"

/* What the library asks about an address before it hands an I/O access to us: anything goes, we answer for it. */
static _Alignas(16) char any_region[REGION_SIZE] = {[REGION_RAM] = true, [REGION_PERMS] = UC_PROT_ALL};

void *avmm_memory_mapping(void *uc, uint64_t address)
{
    (void)uc;
    (void)address;
    return any_region;
}

static SlotView *view_of_ram(Vcpu *vcpu, uint64_t ram_address)
{
    for (int i = 0; i < vcpu->view_count; i++) {
        if (ram_address - vcpu->views[i].ram_offset < vcpu->views[i].size) {
            return &vcpu->views[i];
        }
    }
    return NULL;
}

static bool has_code(const SlotView *view, uint64_t ram_address)
{
    uint64_t page = (ram_address - view->ram_offset) >> PAGE_BITS;
    return view->code[page / 8] >> (page % 8) & 1;
}

static void set_code(SlotView *view, uint64_t ram_address, bool on)
{
    uint64_t page = (ram_address - view->ram_offset) >> PAGE_BITS;
    if (on) {
        view->code[page / 8] |= (uint8_t)(1 << page % 8);
    } else {
        view->code[page / 8] &= (uint8_t)~(1 << page % 8);
    }
}

static void mark_entry(TlbEntry *entry, uintptr_t host_page, bool not_dirty)
{
    uint64_t write = entry->addr_write;
    if (write == UINT64_MAX || (write & (TLB_INVALID | TLB_MMIO | TLB_DISCARD_WRITE)) || (write & PAGE_MASK) + entry->addend != host_page) {
        return;
    }
    entry->addr_write = not_dirty ? write | TLB_NOTDIRTY : write & ~(uint64_t)TLB_NOTDIRTY;
}

/* Make stores to one page slow or fast in every entry that leads to it. */
static void mark_page(Vcpu *vcpu, const SlotView *view, uint64_t ram_address, bool not_dirty)
{
    uintptr_t host_page = (uintptr_t)view->host + ((ram_address & PAGE_MASK) - view->ram_offset);
    char *tlb = (char *)vcpu->cpu + CPU_TLB;
    uint16_t used = FIELD(uint16_t, tlb, TLB_DIRTY);
    for (int mode = 0; mode < TLB_MODES; mode++) {
        if (!(used >> mode & 1)) {
            continue;
        }
        char *fast = tlb + TLB_FAST + mode * TLB_FAST_SIZE;
        size_t entries = (FIELD(uintptr_t, fast, 0) >> TLB_ENTRY_BITS) + 1;
        TlbEntry *table = FIELD(TlbEntry *, fast, 8);
        for (size_t i = 0; i < entries; i++) {
            mark_entry(&table[i], host_page, not_dirty);
        }
        TlbEntry *victims = (TlbEntry *)(tlb + TLB_DESC + mode * TLB_DESC_SIZE + TLB_DESC_VTABLE);
        for (size_t i = 0; i < TLB_VICTIMS; i++) {
            mark_entry(&victims[i], host_page, not_dirty);
        }
    }
}

/* The first block of a page was translated. */
void avmm_tlb_protect_code(void *uc, uint64_t ram_address)
{
    Vcpu *vcpu = vcpu_of_uc(uc);
    SlotView *view = view_of_ram(vcpu, ram_address);
    if (view != NULL) {
        set_code(view, ram_address, true);
        mark_page(vcpu, view, ram_address, true);
    }
}

/* The last block of a page is gone. The next store to it makes its entries fast again. */
void avmm_tlb_unprotect_code(void *uc, uint64_t ram_address)
{
    SlotView *view = view_of_ram(vcpu_of_uc(uc), ram_address);
    if (view != NULL) {
        set_code(view, ram_address, false);
    }
}

/* A slow store. */
void avmm_tb_invalidate_fast(void *uc, void *pages, uint64_t start, int length, uintptr_t host_pc)
{
    Vcpu *vcpu = vcpu_of_uc(uc);
    SlotView *view = view_of_ram(vcpu, start);
    if (view != NULL && !has_code(view, start)) {
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
    uint64_t page = address & PAGE_MASK;
    char *tlb = (char *)cpu + CPU_TLB;
    char *fast = tlb + TLB_FAST + mode * TLB_FAST_SIZE;
    size_t index = (page >> PAGE_BITS) & (FIELD(uintptr_t, fast, 0) >> TLB_ENTRY_BITS);
    TlbEntry *entry = FIELD(TlbEntry *, fast, 8) + index;
    IoTlbEntry *io = FIELD(IoTlbEntry *, tlb + TLB_DESC + mode * TLB_DESC_SIZE, TLB_DESC_IOTLB) + index;

    if (entry->addr_write == (page | TLB_NOTDIRTY)) {
        uint64_t ram_address = (io->addr & PAGE_MASK) + page;
        SlotView *view = view_of_ram(vcpu, ram_address);
        if (view != NULL && view->read_only) {
            entry->addr_write = page | TLB_DISCARD_WRITE;
        } else if (view != NULL && !has_code(view, ram_address)) {
            entry->addr_write = page;
        }
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

/* Map `slot` into the vCPU's instance; 0, or the library's error. */
int avmm_map_view(Vcpu *vcpu, const Slot *slot)
{
    SlotView *view = &vcpu->views[vcpu->view_count];
    void *(*mapping)(void *, uint64_t) = FIELD(void *, vcpu->uc, UC_MEMORY_MAPPING);
    FIELD(void *, vcpu->uc, UC_MEMORY_MAPPING) = vcpu->library_mapping;
    int error = lib.uc_mem_map_ptr(vcpu->uc, slot->address, slot->size, UC_PROT_ALL, slot->buffer.buf);
    if (error == 0) {
        void *region = FIELD(void *(*)(void *, uint64_t), vcpu->uc, UC_MEMORY_MAPPING)(vcpu->uc, slot->address);
        void *block = FIELD(void *, region, REGION_RAM_BLOCK);
        view->ram_offset = FIELD(uint64_t, block, RAM_BLOCK_OFFSET);
        view->address = slot->address;
        view->size = slot->size;
        view->host = slot->buffer.buf;
        view->read_only = slot->read_only;
        view->code = PyMem_RawCalloc(1, (slot->size >> PAGE_BITS) / 8 + 1);
        vcpu->view_count++;
    }
    FIELD(void *, vcpu->uc, UC_MEMORY_MAPPING) = mapping;
    lib.tlb_flush(vcpu->cpu);
    return error;
}

void avmm_unmap_view(Vcpu *vcpu, const Slot *slot)
{
    for (int i = 0; i < vcpu->view_count; i++) {
        if (vcpu->views[i].address == slot->address) {
            avmm_forget_code(vcpu);
            void *mapping = FIELD(void *, vcpu->uc, UC_MEMORY_MAPPING);
            FIELD(void *, vcpu->uc, UC_MEMORY_MAPPING) = vcpu->library_mapping;
            lib.uc_mem_unmap(vcpu->uc, slot->address, slot->size);
            FIELD(void *, vcpu->uc, UC_MEMORY_MAPPING) = mapping;
            lib.tlb_flush(vcpu->cpu);
            PyMem_RawFree(vcpu->views[i].code);
            vcpu->views[i] = vcpu->views[--vcpu->view_count];
            return;
        }
    }
}

/* Drop every translation of this vCPU. */
void avmm_forget_code(Vcpu *vcpu)
{
    lib.tb_flush(vcpu->cpu);
    for (int i = 0; i < vcpu->view_count; i++) {
        memset(vcpu->views[i].code, 0, (vcpu->views[i].size >> PAGE_BITS) / 8 + 1);
    }
    /* A block that is gone must not be chained to the next one. */
    FIELD(uint32_t, vcpu->cpu, CPU_INTERRUPT_REQUEST) |= INTERRUPT_EXITTB;
}
