/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What concerns all vCPUs of a VM: TLBI ..IS and the instruction cache operations. The vCPU that executes one carries it out on
 * itself and leaves a note for the others, who carry it out before their next block.
 */
#include "native.h"

#define OTHERS(vcpu, other)                                                                                              \
    for (int other##_i = 0; other##_i < (vcpu)->machine->vcpu_count; other##_i++)                                        \
        for (Vcpu *other = (vcpu)->machine->vcpus[other##_i]; other != NULL && other != (vcpu); other = NULL)

static void note(Vcpu *vcpu)
{
    /* Note first, exit flag second: pairs with the fence in avmm_exec_interrupt(). */
    atomic_store(&vcpu->pending, 1);
    request_exit(vcpu);
}

static void broadcast_tlb_flush(Vcpu *vcpu)
{
    if (vcpu->machine->vcpu_count == 1) {
        return;
    }
    bool news = false;
    vcpu->tlb_broadcasts++;
    pthread_mutex_lock(&vcpu->machine->lock);
    OTHERS(vcpu, other)
    {
        news |= !other->tlb_pending;
        other->tlb_pending = true;
        note(other);
    }
    pthread_mutex_unlock(&vcpu->machine->lock);
    /* Linux invalidates page by page. While all others still have a note that they have not carried out, none of them has
       executed anything since the VM was told of it. */
    if (news && avmm_call_traps(vcpu, vcpu->tlb_flush_all, NULL, 0, NULL) == TRAP_ERROR) {
        avmm_leave_with_error(vcpu, 0);
    }
}

void avmm_tlb_flush_modes_is(void *cpu, uint16_t modes)
{
    lib.tlb_flush_modes(cpu, modes);
    broadcast_tlb_flush(vcpu_of(cpu));
}

void avmm_tlb_flush_page_is(void *cpu, uint64_t address, uint16_t modes)
{
    lib.tlb_flush_page(cpu, address, modes);
    broadcast_tlb_flush(vcpu_of(cpu));
}

/* Invalidate this vCPU's translations of the cache line at guest physical `address`. */
static void invalidate_line(Vcpu *vcpu, uint64_t address)
{
    for (int i = 0; i < vcpu->view_count; i++) {
        SlotView *view = &vcpu->views[i];
        uint64_t offset = address - view->address;
        if (offset < view->size) {
            if (view->pages[offset >> PAGE_BITS] & PAGE_CODE) {
                lib.tb_invalidate_range(vcpu->uc, view->ram_offset + offset, view->ram_offset + offset + CACHE_LINE);
                FIELD(uint32_t, vcpu->cpu, CPU_INTERRUPT_REQUEST) |= INTERRUPT_EXITTB;
            }
            return;
        }
    }
}

void avmm_drain(Vcpu *vcpu)
{
    if (!atomic_load_explicit(&vcpu->pending, memory_order_relaxed)) {
        return;
    }
    pthread_mutex_lock(&vcpu->machine->lock);
    atomic_store(&vcpu->pending, 0);
    bool tlb = vcpu->tlb_pending, code = vcpu->code_pending;
    int lines = vcpu->line_count;
    uint64_t line[MAX_LINES];
    memcpy(line, vcpu->lines, (size_t)lines * sizeof *line);
    vcpu->tlb_pending = vcpu->code_pending = false;
    vcpu->line_count = 0;
    pthread_mutex_unlock(&vcpu->machine->lock);
    if (tlb) {
        lib.tlb_flush(vcpu->cpu);
    }
    if (code) {
        avmm_forget_code(vcpu);
    } else {
        for (int i = 0; i < lines; i++) {
            invalidate_line(vcpu, line[i]);
        }
    }
}

/* IC IALLU, IC IALLUIS. KVM's guests run with HCR_EL2.FB, which makes the first as wide as the second; so does this. */
static void ic_iallu(void *env, const RegInfo *info, uint64_t value)
{
    Vcpu *vcpu = info->opaque;
    (void)env;
    (void)value;
    vcpu->code_broadcasts++;
    pthread_mutex_lock(&vcpu->machine->lock);
    for (int i = 0; i < vcpu->machine->vcpu_count; i++) {
        vcpu->machine->vcpus[i]->code_pending = true;
        note(vcpu->machine->vcpus[i]); /* itself too: not while the block with this instruction runs */
    }
    pthread_mutex_unlock(&vcpu->machine->lock);
}

static void ic_ivau(void *env, const RegInfo *info, uint64_t value)
{
    Vcpu *vcpu = info->opaque;
    uint32_t attrs = 0;
    uint64_t (*translate)(void *, uint64_t, uint32_t *) =
        FIELD(void *, FIELD(void *, vcpu->cpu, CPU_CLASS), CLASS_GET_PHYS_PAGE);
    uint64_t page = translate(vcpu->cpu, value & PAGE_MASK, &attrs);
    (void)env;
    if (page == UINT64_MAX) {
        return;
    }
    uint64_t line = (page & PAGE_MASK) | (value & ~PAGE_MASK & ~(uint64_t)(CACHE_LINE - 1));
    invalidate_line(vcpu, line);
    if (vcpu->machine->vcpu_count == 1) {
        return;
    }
    vcpu->code_broadcasts++;
    pthread_mutex_lock(&vcpu->machine->lock);
    OTHERS(vcpu, other)
    {
        if (other->line_count < MAX_LINES) {
            other->lines[other->line_count++] = line;
        } else {
            other->code_pending = true;
        }
        note(other);
    }
    pthread_mutex_unlock(&vcpu->machine->lock);
}

static void redefine(Vcpu *vcpu, uint32_t key, void (*write)(void *, const RegInfo *, uint64_t))
{
    /* The library's own definition knows who may execute the operation; only what it does is new. */
    RegInfo info = *lib.get_reginfo(FIELD(void *, vcpu->cpu, ARM_CP_REGS), key);
    info.type = CP_NO_RAW | CP_OVERRIDE | CP_RAISES_EXC;
    info.name = "IC";
    info.state = CP_STATE_AA64;
    info.writefn = write;
    lib.define_reginfo(vcpu->cpu, &info, vcpu);
}

void avmm_define_cache_operations(Vcpu *vcpu)
{
    redefine(vcpu, CP_KEY(1u, 0u, 7u, 1u, 0u), ic_iallu);
    redefine(vcpu, CP_KEY(1u, 0u, 7u, 5u, 0u), ic_iallu);
    redefine(vcpu, CP_KEY(1u, 3u, 7u, 5u, 1u), ic_ivau);
}
