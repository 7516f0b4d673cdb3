/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A vCPU that comes to code for the first time takes over the translation that another vCPU of the VM has of it, if it would make the
 * same: of the same instructions, at the same addresses, with the same flags and the same system registers. Each has its own
 * copy, in its own buffer, and goes on as if it had made it itself.
 */
#include "native.h"

#define SYSTEM_REGISTER(word) (((word) & 0xffc00000) == 0xd5000000 && ((word) >> 19 & 3) != 0)

static bool same_register(const RegInfo *one, const RegInfo *other)
{
    return one->type == other->type && one->access == other->access && one->fieldoffset == other->fieldoffset
        && one->resetvalue == other->resetvalue && !one->accessfn == !other->accessfn && !one->readfn == !other->readfn
        && !one->writefn == !other->writefn;
}

/* The code of a system instruction has a pointer to the definition of its register, which each vCPU has for itself. */
static bool match_registers(const Vcpu *from, const Vcpu *to, const uint32_t *words, size_t count, CodeMove *move)
{
    for (size_t i = 0; i < count; i++) {
        uint32_t word = words[i];
        if (!SYSTEM_REGISTER(word)) {
            continue;
        }
        uint32_t key = CP_KEY(word >> 19 & 3, word >> 16 & 7, word >> 12 & 15, word >> 8 & 15, word >> 5 & 7);
        const RegInfo *old = lib.get_reginfo(FIELD(void *, from->cpu, ARM_CP_REGS), key);
        const RegInfo *new = lib.get_reginfo(FIELD(void *, to->cpu, ARM_CP_REGS), key);
        if (old == NULL && new == NULL) {
            continue;
        }
        if (old == NULL || new == NULL || move->pointer_count == MAX_POINTERS || !same_register(old, new)) {
            return false;
        }
        move->old_pointers[move->pointer_count] = (uintptr_t)old;
        move->new_pointers[move->pointer_count++] = (uintptr_t)new;
    }
    return true;
}

static int64_t read_leb128(const uint8_t **place)
{
    uint64_t value = 0;
    unsigned shift = 0;
    uint8_t byte;
    do {
        byte = *(*place)++;
        value |= (uint64_t)(byte & 0x7f) << shift;
        shift += 7;
    } while (byte & 0x80);
    return (int64_t)(shift < 64 && (byte & 0x40) ? value | ~(uint64_t)0 << shift : value);
}

/* What there is to restore at each instruction: behind the code, each the difference to the one before. */
static void copy_restore_data(void *tcg, const void *tb)
{
    const uint8_t *place = FIELD(uint8_t *, tb, TB_CODE) + FIELD(size_t, tb, TB_CODE_SIZE);
    uint64_t before[INSN_DATA] = {FIELD(uint64_t, tb, TB_PC)}, *data = &FIELD(uint64_t, tcg, TCG_INSN_DATA);
    uint16_t end = 0, *ends = &FIELD(uint16_t, tcg, TCG_INSN_ENDS);
    for (size_t i = 0; i < FIELD(uint16_t, tb, TB_ICOUNT); i++) {
        for (int j = 0; j < INSN_DATA; j++) {
            data[i * INSN_DATA + j] = before[j] += (uint64_t)read_leb128(&place);
        }
        ends[i] = end = (uint16_t)(end + read_leb128(&place));
    }
}

/* Make `tb` what `other` is; false, with its code in disorder, if that cannot be. */
static bool copy_block(Vcpu *vcpu, void *tb, const Vcpu *owner, const Translation *other, const uint32_t *words)
{
    NewBlock *block = &vcpu->block;
    size_t count = FIELD(uint16_t, other->tb, TB_ICOUNT);
    uint8_t *code = FIELD(uint8_t *, tb, TB_CODE);
    uintptr_t old_code = FIELD(uintptr_t, other->tb, TB_CODE), epilogue = FIELD(uintptr_t, owner->tcg, TCG_EPILOGUE);
    CodeMove move = {
        .old_code = old_code,
        .new_code = (uintptr_t)code,
        .size = other->size,
        .block_distance = old_code - (uintptr_t)other->tb,
        .old_epilogue = epilogue,
        .new_epilogue = FIELD(uintptr_t, vcpu->tcg, TCG_EPILOGUE),
        .old_buffer = epilogue,
        .old_buffer_size = FIELD(uintptr_t, owner->tcg, TCG_CODE_END) - epilogue,
    };
    if (code + other->size > FIELD(uint8_t *, vcpu->tcg, TCG_CODE_END) || (uintptr_t)code - (uintptr_t)tb != move.block_distance
        || !match_registers(owner, vcpu, words, count, &move)) {
        return false;
    }
    memcpy(code, (void *)old_code, other->size);
    for (int i = 0; i < 2; i++) {
        block->jump_ends[i] = (&FIELD(uint16_t, other->tb, TB_JUMP_ENDS))[i];
        block->jump_places[i] = (&FIELD(uintptr_t, other->tb, TB_JUMP_PLACES))[i];
        if (block->jump_ends[i] != NO_JUMP) {
            memset(code + block->jump_places[i], 0, sizeof(int32_t)); /* to where the block ends, not to another of the owner's */
        }
    }
    if (!avmm_move_code(&move, code)) {
        return false;
    }
    copy_restore_data(vcpu->tcg, other->tb);
    memcpy(block->words, words, count * sizeof *words);
    FIELD(uint16_t, tb, TB_SIZE) = FIELD(uint16_t, other->tb, TB_SIZE);
    FIELD(uint16_t, tb, TB_ICOUNT) = (uint16_t)count;
    block->code_size = other->size;
    return true;
}

static bool same_block(const void *tb, const Translation *other, const NewBlock *block, const uint32_t *words)
{
    return other->ram_address == block->ram_address && FIELD(uint64_t, other->tb, TB_PC) == FIELD(uint64_t, tb, TB_PC)
        && FIELD(uint64_t, other->tb, TB_CS_BASE) == FIELD(uint64_t, tb, TB_CS_BASE)
        && FIELD(uint32_t, other->tb, TB_FLAGS) == FIELD(uint32_t, tb, TB_FLAGS)
        && (FIELD(uint32_t, other->tb, TB_CFLAGS) & ~CF_INVALID) == FIELD(uint32_t, tb, TB_CFLAGS)
        && memcmp(words, block->source, FIELD(uint16_t, other->tb, TB_ICOUNT) * sizeof *words) == 0;
}

static bool take_from(Vcpu *vcpu, void *tb, Vcpu *owner)
{
    Translations *translations = &owner->translations;
    bool taken = false;
    pthread_mutex_lock(&translations->lock);
    size_t settled = translations->block_count - translations->pending;
    for (uint32_t i = *avmm_chain_of(translations, vcpu->block.ram_address); i != 0 && !taken; i = translations->blocks[i - 1].next) {
        const Translation *other = &translations->blocks[i - 1];
        const uint32_t *words = translations->words + other->words;
        taken = i <= settled && same_block(tb, other, &vcpu->block, words) && copy_block(vcpu, tb, owner, other, words);
    }
    pthread_mutex_unlock(&translations->lock);
    return taken;
}

/* Instead of translating the block: whether another vCPU's translation of it is in its place. */
bool avmm_take_over(Vcpu *vcpu, void *tb)
{
    const Machine *machine = vcpu->machine;
    bool guarded = (FIELD(uint64_t, vcpu->env, ENV_ID_AA64PFR1) & 0xf) != 0; /* translation depends on the page's GP bit, too */
    if (!vcpu->block.noted || guarded || (FIELD(uint32_t, tb, TB_CFLAGS) & ~CF_CLUSTER) != 0) {
        return false;
    }
    for (int i = 0; i < machine->vcpu_count; i++) {
        if (machine->vcpus[i] != vcpu && take_from(vcpu, tb, machine->vcpus[i])) {
            return true;
        }
    }
    return false;
}
