/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What concerns all vCPUs of a VM: TLBI ..IS and the instruction cache operations. The vCPU that executes one carries it out on
 * itself and leaves a note for the others, who carry it out before their next block. Where vCPUs are in the guest at once, a TLBI
 * is complete only when they have: the DSB that follows waits for that (translate.c, parallel.c). Nobody waits for instruction
 * cache operations: a note is there before anything that its sender stores later, and no block begins without a look at it.
 */
#include "native.h"

#define OTHERS(vcpu, other)                                                                                              \
    for (int other##_i = 0; other##_i < (vcpu)->machine->vcpu_count; other##_i++)                                        \
        for (Vcpu *other = (vcpu)->machine->vcpus[other##_i]; other != NULL && other != (vcpu); other = NULL)

static void leave_note(Vcpu *vcpu)
{
    /* Note first, exit flag second: pairs with the fence in avmm_exec_interrupt(). In front of who reads `in_guest`: pairs with
       avmm_come_in(). */
    atomic_store(&vcpu->pending, 1);
    request_exit(vcpu);
}

static void note_tlb_flush(Vcpu *vcpu, uint64_t address, uint16_t modes)
{
    Notes *notes = &vcpu->notes;
    if (address != EVERY_PAGE && notes->page_count < MAX_PAGES) {
        notes->pages[notes->page_count++] = (PageFlush){address, modes};
    } else {
        notes->all_pages = true;
    }
    leave_note(vcpu);
}

static void broadcast_tlb_flush(Vcpu *vcpu, uint64_t address, uint16_t modes)
{
    Machine *machine = vcpu->machine;
    if (machine->vcpu_count == 1) {
        return;
    }
    bool news = false;
    vcpu->tlb_broadcasts++;
    pthread_mutex_lock(&machine->lock);
    vcpu->owed = ++machine->news;
    vcpu->owes = machine->parallel;
    OTHERS(vcpu, other)
    {
        bool noted = other->notes.all_pages || other->notes.page_count != 0;
        news |= !noted;
        note_tlb_flush(other, address, modes);
        if (machine->parallel && !noted) {
            /* As the kicker counts a request with WAIT and NO_WAKEUP. */
            other->flushes_requested++;
            other->flush_ipis += atomic_load(&other->in_guest);
        }
    }
    pthread_mutex_unlock(&machine->lock);
    /* Linux invalidates page by page. While all others still have a note that they have not carried out, none of them has
       executed anything since the VM was told of it. */
    if (news && !machine->parallel && avmm_call_traps(vcpu, vcpu->tlb_flush_all, NULL, 0, NULL) == TRAP_ERROR) {
        avmm_leave_with_error(vcpu, 0);
    }
}

void avmm_tlb_flush_modes_is(void *cpu, uint16_t modes)
{
    lib.tlb_flush_modes(cpu, modes);
    broadcast_tlb_flush(vcpu_of(cpu), EVERY_PAGE, modes);
}

void avmm_tlb_flush_page_is(void *cpu, uint64_t address, uint16_t modes)
{
    lib.tlb_flush_page(cpu, address, modes);
    broadcast_tlb_flush(vcpu_of(cpu), address, modes);
}

static SlotView *view_of(const Vcpu *vcpu, uint64_t address)
{
    for (int i = 0; i < vcpu->view_count; i++) {
        if (address - vcpu->views[i].address < vcpu->views[i].size) {
            return (SlotView *)&vcpu->views[i];
        }
    }
    return NULL;
}

/* Invalidate this vCPU's translations of the cache line at guest physical `address`. */
static void invalidate_line(Vcpu *vcpu, uint64_t address)
{
    SlotView *view = view_of(vcpu, address);
    uint64_t offset = view == NULL ? 0 : address - view->address;
    if (view != NULL && (view->pages[offset >> PAGE_BITS] & PAGE_CODE)) {
        lib.tb_invalidate_range(vcpu->uc, view->ram_offset + offset, view->ram_offset + offset + CACHE_LINE);
        FIELD(uint32_t, vcpu->cpu, CPU_INTERRUPT_REQUEST) |= INTERRUPT_EXITTB;
    }
}

/* Whether `vcpu` may have, or is just making, a translation of what is at guest physical `address`. */
static bool may_have_code(const Vcpu *vcpu, uint64_t address)
{
    /* The code was written before we look. It says that it translates before it reads, and marks the page before it says that
       it does no more: look in the other order. */
    if (atomic_load(&vcpu->translating_code)) {
        return true;
    }
    const SlotView *view = view_of(vcpu, address);
    return view != NULL && (__atomic_load_n(&view->pages[(address - view->address) >> PAGE_BITS], __ATOMIC_ACQUIRE) & PAGE_CODE);
}

static void flush_pages(Vcpu *vcpu, const Notes *notes)
{
    if (notes->all_pages) {
        lib.tlb_flush(vcpu->cpu);
    }
    for (int i = 0; i < notes->page_count && !notes->all_pages; i++) {
        lib.tlb_flush_page(vcpu->cpu, notes->pages[i].address, notes->pages[i].modes);
    }
    vcpu->flushes_handled += notes->all_pages || notes->page_count != 0;
}

/* Carry out the notes: all of them between two blocks, those about the TLB in the middle of one. */
void avmm_drain(Vcpu *vcpu, bool between_blocks)
{
    if (!atomic_load_explicit(&vcpu->pending, memory_order_relaxed)) {
        return;
    }
    Notes notes, *left = &vcpu->notes;
    pthread_mutex_lock(&vcpu->machine->lock);
    notes.all_pages = left->all_pages;
    notes.page_count = left->page_count;
    memcpy(notes.pages, left->pages, (size_t)left->page_count * sizeof *notes.pages);
    left->all_pages = false;
    left->page_count = 0;
    notes.all_code = between_blocks && left->all_code;
    notes.line_count = between_blocks ? left->line_count : 0;
    memcpy(notes.lines, left->lines, (size_t)notes.line_count * sizeof *notes.lines);
    left->all_code &= !between_blocks;
    left->line_count -= notes.line_count;
    bool more = left->all_code || left->line_count != 0;
    uint64_t news = vcpu->machine->news;
    atomic_store(&vcpu->pending, more);
    pthread_mutex_unlock(&vcpu->machine->lock);
    if (more) {
        request_exit(vcpu); /* at the end of the block */
    }
    flush_pages(vcpu, &notes);
    atomic_store(&vcpu->heard, news); /* and carried out: pairs with others_heard() */
    if (vcpu->machine->parallel) {
        avmm_tell_waiters(vcpu->machine);
    }
    if (notes.all_code) {
        avmm_forget_changed_code(vcpu);
    } else {
        for (int i = 0; i < notes.line_count; i++) {
            invalidate_line(vcpu, notes.lines[i]);
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
        vcpu->machine->vcpus[i]->notes.all_code = true;
        leave_note(vcpu->machine->vcpus[i]); /* itself too: not while the block with this instruction runs */
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
    atomic_thread_fence(memory_order_seq_cst);
    OTHERS(vcpu, other)
    {
        if (!may_have_code(other, line) || (vcpu->machine->without & LEAVE_CODE)) {
            continue;
        }
        pthread_mutex_lock(&vcpu->machine->lock);
        if (other->notes.line_count < MAX_LINES) {
            other->notes.lines[other->notes.line_count++] = line;
        } else {
            other->notes.all_code = true;
        }
        leave_note(other);
        pthread_mutex_unlock(&vcpu->machine->lock);
    }
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
