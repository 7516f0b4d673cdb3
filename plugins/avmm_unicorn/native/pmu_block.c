/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which events an instruction is, and how a block counts them: see pmu.c. */
#include "native.h"

/* Arm DDI 0487, C4.1 "A64 instruction set encoding": what an instruction of "Loads and Stores" does. */
static uint32_t memory_events(uint32_t word)
{
    const uint32_t load = 1 << LOADS | 1 << MEMORY_ACCESSES, store = 1 << STORES | 1 << MEMORY_ACCESSES;
    bool vector = word >> 26 & 1, bit22 = word >> 22 & 1;
    uint32_t opc = word >> 22 & 3;
    switch (word >> 28 & 3) {
    case 0: /* exclusive and ordered accesses, compare and swap; structures of vectors */
        if (!vector && (word >> 21 & 1) && ((word >> 23 & 1) || !(word >> 31))) {
            return load | store;
        }
        return bit22 ? load : store;
    case 1: /* literals; unscaled acquire and release */
        if (word >> 24 & 1) {
            return opc == 0 ? store : load;
        }
        return !vector && word >> 30 == 3 ? 0 : load; /* PRFM */
    case 2: /* pairs */
        return bit22 ? load : store;
    default:
        break;
    }
    if (vector) {
        return bit22 ? load : store;
    }
    if (!(word >> 24 & 1) && (word >> 21 & 1)) {
        if ((word >> 10 & 3) == 0) { /* atomic operations, and LDAPR */
            return (word & 0x3fe0fc00) == 0x38a0c000 ? load : load | store;
        }
        if (word >> 10 & 1) { /* authenticated loads */
            return load;
        }
    }
    if (opc == 2 && word >> 30 == 3) {
        return 0; /* PRFM, PRFUM */
    }
    return opc == 0 ? store : load;
}

/* The same for "Branches, Exception Generating and System instructions". */
static uint32_t branch_events(uint32_t word)
{
    const uint32_t immediate = 1 << BRANCHES | 1 << IMMEDIATE_BRANCHES;
    if ((word & 0x7c000000) == 0x14000000 || (word & 0x7c000000) == 0x34000000 || (word & 0xff000010) == 0x54000000) {
        return immediate;
    }
    if ((word & 0xfe000000) == 0xd6000000) {
        switch (word >> 21 & 15) {
        case 2:
            return 1 << BRANCHES | 1 << RETURNS;
        case 0: case 1: case 8: case 9:
            return 1 << BRANCHES;
        }
    }
    return 0;
}

static bool is_memory(uint32_t word) { return (word & 0x0a000000) == 0x08000000; }

/* The translation of one block. */

void avmm_begin_block(Vcpu *vcpu, BlockEvents *block, void *too_long)
{
    int level = avmm_level_of(vcpu);
    memset(block, 0, sizeof *block);
    for (int event = FIRST_INLINE; event <= LAST_INLINE; event++) {
        if (vcpu->events.mask & EVENT_BIT(event, level)) {
            block->counted |= (uint32_t)1 << event;
            block->length[event] = avmm_put_subtract(vcpu->tcg, &vcpu->events.left[event], too_long);
            *block->length[event] = 1; /* a limit that is reached lets no block begin */
        }
    }
}

static void put_events(Vcpu *vcpu, BlockEvents *block, uint32_t events)
{
    for (int event = FIRST_INLINE; event <= LAST_INLINE; event++) {
        if (events & block->counted & (uint32_t)1 << event) {
            uintptr_t *place = avmm_put_subtract(vcpu->tcg, &vcpu->events.left[event], NULL);
            *place = 1;
            block->branch[event] = place;
            *block->length[event] = ++block->number[event];
        }
    }
}

void avmm_before_instruction(Vcpu *vcpu, BlockEvents *block, uint64_t pc)
{
    if (block->counted == 0) {
        return;
    }
    for (int event = FIRST_INLINE; event <= LAST_INLINE; event++) {
        if (block->number[event] != 0) {
            /* The block goes on behind the last of these events: it must not be the one that reaches a limit. */
            *block->length[event] = block->number[event] + 1;
        }
    }
    block->word = lib.ldl_code(vcpu->env, pc);
    put_events(vcpu, block, branch_events(block->word));
}

void avmm_after_instruction(Vcpu *vcpu, BlockEvents *block, int is_jmp)
{
    if (block->counted == 0) {
        return;
    }
    if (is_jmp == DISAS_NEXT && is_memory(block->word)) {
        put_events(vcpu, block, memory_events(block->word));
    } else if (is_jmp == DISAS_NORETURN && (block->word & 0xfe000000) == 0xd6000000) {
        for (int event = FIRST_INLINE; event <= LAST_INLINE; event++) {
            if (block->branch[event] != NULL && (branch_events(block->word) & (uint32_t)1 << event)) {
                *block->branch[event] = 0; /* an encoding that this CPU does not have */
            }
        }
    }
}
