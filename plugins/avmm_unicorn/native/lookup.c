/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Finding a block's translation, at every indirect branch and every direct one to another page.
 *
 * The library's first cache, by virtual address, has pointers to blocks, which lie all over the translation buffer: to see whether
 * it is the right one costs a cache miss. `jumps` keeps what there is to see beside each of its entries.
 *
 * Where the TLB was flushed, or another block has the place, the library asks a hash table of all blocks there are. `found` is a
 * cache before that, by physical address, which outlives TLB flushes.
 */
#include "native.h"

int avmm_begin_lookup(Vcpu *vcpu)
{
    vcpu->jumps = PyMem_RawCalloc(JUMPS, sizeof *vcpu->jumps);
    vcpu->found = PyMem_RawCalloc(FOUND_BLOCKS, sizeof *vcpu->found);
    return vcpu->found == NULL || vcpu->jumps == NULL ? -1 : 0;
}

void avmm_end_lookup(Vcpu *vcpu)
{
    PyMem_RawFree(vcpu->jumps);
    PyMem_RawFree(vcpu->found);
    vcpu->jumps = NULL;
    vcpu->found = NULL;
}

/* Where the library's first cache keeps the block at `pc`: the blocks of a page are next to each other. */
static size_t jump_index(uint64_t pc)
{
    uint64_t mixed = pc ^ pc >> JUMP_PAGE_BITS;
    return (mixed >> JUMP_PAGE_BITS & (JUMPS - 1) & ~JUMP_PAGE_MASK) | (mixed & JUMP_PAGE_MASK);
}

/* Apart from what most look-ups need, which so has no registers to save. */
static __attribute__((noinline)) void *look_up(void *env, Jump *jump, void **place)
{
    uint64_t pc = FIELD(uint64_t, env, ENV_PC);
    uint32_t flags = FIELD(uint32_t, env, ENV_HFLAGS);
    void *code = lib.lookup_tb_ptr(env);
    if (*place != NULL && FIELD(void *, *place, TB_CODE) == code) {
        *jump = (Jump){*place, pc, code, flags};
    }
    return code;
}

/* helper_lookup_tb_ptr(): the code to go on with at the program counter. */
void *avmm_lookup_block(void *env)
{
    void *cpu = (char *)env - ARM_ENV;
    Vcpu *vcpu = vcpu_of(cpu);
    uint32_t flags = FIELD(uint32_t, env, ENV_HFLAGS);
    uint64_t pc = FIELD(uint64_t, env, ENV_PC);
    size_t index = jump_index(pc);
    Jump *jump = &vcpu->jumps[index];
    void **place = &FIELD(void *, cpu, CPU_JUMP_CACHE) + index;
    if ((flags & (HFLAG_AARCH64 | HFLAG_SINGLE_STEP)) != HFLAG_AARCH64 || (FIELD(uint64_t, env, ENV_ID_AA64PFR1) & 0xf) != 0) {
        return lib.lookup_tb_ptr(env); /* the flags depend on more than this */
    }
    /* The library takes out of its cache what is not to be reached any more; while the block is there, what we know of it is right. */
    if (*place == jump->tb && jump->pc == pc && jump->flags == flags && jump->tb != NULL) {
        return jump->code;
    }
    return look_up(env, jump, place);
}

static bool is_block(const void *tb, uint64_t pc, uint64_t cs_base, uint32_t flags, uint32_t cflags)
{
    return FIELD(uint64_t, tb, TB_PC) == pc && FIELD(uint64_t, tb, TB_CS_BASE) == cs_base && FIELD(uint32_t, tb, TB_FLAGS) == flags
        && (FIELD(uint32_t, tb, TB_CFLAGS) & CF_COMPARED) == cflags;
}

/* tb_htable_lookup(). A guest's exception does not return. */
void *avmm_find_block(void *cpu, uint64_t pc, uint64_t cs_base, uint32_t flags, uint32_t cflags)
{
    Vcpu *vcpu = vcpu_of(cpu);
    if (vcpu == NULL || vcpu->found == NULL) {
        return lib.tb_lookup(cpu, pc, cs_base, flags, cflags);
    }
    uint64_t ram_address = lib.code_ram_address(vcpu->env, pc);
    if (ram_address == UINT64_MAX) {
        return NULL;
    }
    FoundBlock *found = &vcpu->found[(ram_address >> 2 ^ ram_address >> 14) % FOUND_BLOCKS];
    if (found->tb != NULL && found->ram_address == ram_address && is_block(found->tb, pc, cs_base, flags, cflags)) {
        return found->tb;
    }
    void *tb = lib.tb_lookup(cpu, pc, cs_base, flags, cflags);
    if (tb != NULL && FIELD(uint64_t, tb, TB_SECOND_PAGE) == UINT64_MAX) {
        *found = (FoundBlock){tb, ram_address};
    }
    return tb;
}

/* tb_flush(): what these lead to is no block any more, and others come in the same places. */
void avmm_tb_flush(void *cpu)
{
    Vcpu *vcpu = vcpu_of(cpu);
    if (vcpu != NULL && vcpu->found != NULL) {
        avmm_clear_translations(vcpu);
        vcpu->code_order.count = 0;
        memset(vcpu->jumps, 0, JUMPS * sizeof *vcpu->jumps);
        memset(vcpu->found, 0, FOUND_BLOCKS * sizeof *vcpu->found);
    }
    lib.tb_flush(cpu);
}
