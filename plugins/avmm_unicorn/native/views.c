/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The VM's memory slots as a vCPU's instance of the library has them mapped: one view each, all of the same bytes. */
#include "native.h"

/* What the library asks about an address before it hands an I/O access to us: anything goes, we answer for it. */
static _Alignas(16) char any_region[REGION_SIZE] = {[REGION_RAM] = true, [REGION_PERMS] = UC_PROT_ALL};

void *avmm_memory_mapping(void *uc, uint64_t address)
{
    (void)uc;
    (void)address;
    return any_region;
}

SlotView *avmm_view_of_ram(const Vcpu *vcpu, uint64_t ram_address)
{
    for (int i = 0; i < vcpu->view_count; i++) {
        if (ram_address - vcpu->views[i].ram_offset < vcpu->views[i].size) {
            return (SlotView *)&vcpu->views[i];
        }
    }
    return NULL;
}

/* Where nothing is in the library's own address space of all memory. What it would choose itself may overlap another slot, if one
 * that is smaller was mapped earlier. */
static uint64_t free_ram_offset(const Vcpu *vcpu)
{
    uint64_t free = 0;
    for (int i = 0; i < vcpu->view_count; i++) {
        uint64_t end = vcpu->views[i].ram_offset + vcpu->views[i].size;
        free = end > free ? end : free;
    }
    return free;
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
        view->ram_offset = FIELD(uint64_t, block, RAM_BLOCK_OFFSET) = free_ram_offset(vcpu);
        view->address = slot->address;
        view->size = slot->size;
        view->host = slot->buffer.buf;
        view->read_only = slot->read_only;
        view->reads_trapped = slot->reads_trapped;
        vcpu->read_only_views += slot->read_only;
        view->pages = PyMem_RawCalloc(slot->size >> PAGE_BITS, sizeof *view->pages);
        vcpu->view_count++;
    }
    FIELD(void *, vcpu->uc, UC_MEMORY_MAPPING) = mapping;
    lib.tlb_flush(vcpu->cpu);
    return error;
}

/* `slot` is known already; reads of it may be trapped now, or not any more. */
void avmm_set_view(Vcpu *vcpu, const Slot *slot)
{
    for (int i = 0; i < vcpu->view_count; i++) {
        if (vcpu->views[i].address == slot->address) {
            atomic_store(&vcpu->views[i].reads_trapped, slot->reads_trapped);
        }
    }
    if (vcpu == avmm_executing) {
        lib.tlb_flush(vcpu->cpu);
    }
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
            PyMem_RawFree(vcpu->views[i].pages);
            vcpu->read_only_views -= vcpu->views[i].read_only;
            vcpu->views[i] = vcpu->views[--vcpu->view_count];
            return;
        }
    }
}
