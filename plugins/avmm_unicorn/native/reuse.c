/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A vCPU that comes to code for the first time takes over a translation of it that another vCPU of the VM has, or that was kept from
 * an earlier run, if it would make the same: of the same instructions, at the same address, with the same flags and the same system
 * registers. Each vCPU has its own copy, in its own buffer, and goes on as if it had made it itself.
 */
#include "native.h"

/* What the translation of a system instruction depends on, in the definition of its register. */
static uint32_t digest_register(const RegInfo *info)
{
    const uint64_t fields[] = {(uint64_t)info->type, (uint64_t)info->access, (uint64_t)info->fieldoffset, info->resetvalue,
                               (info->accessfn != NULL) | (info->readfn != NULL) << 1 | (info->writefn != NULL) << 2};
    uint64_t sum = 1;
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        sum = (sum ^ fields[i]) * DIGEST_STEP;
        sum ^= sum >> 32;
    }
    return (uint32_t)sum;
}

/* The code of a system instruction has a pointer to the definition of its register, which each vCPU has for itself. */
bool avmm_find_anchors(const Vcpu *vcpu, const uint32_t *words, size_t count, Anchors *anchors, uint32_t *digests)
{
    *anchors = (Anchors){
        .count = ANCHOR_REGISTERS,
        .address = {FIELD(uintptr_t, vcpu->tcg, TCG_EPILOGUE), images.library.address, images.shim.address},
        .size = {EPILOGUE_SIZE, images.library.size, images.shim.size},
    };
    for (size_t i = 0; i < count; i++) {
        uint32_t word = words[i];
        if (!SYSTEM_REGISTER(word)) {
            continue;
        }
        uint32_t key = CP_KEY(word >> 19 & 3, word >> 16 & 7, word >> 12 & 15, word >> 8 & 15, word >> 5 & 7);
        const RegInfo *info = lib.get_reginfo(FIELD(void *, vcpu->cpu, ARM_CP_REGS), key);
        if (anchors->count == MAX_ANCHORS) {
            return false;
        }
        digests[anchors->count - ANCHOR_REGISTERS] = info == NULL ? 0 : digest_register(info);
        anchors->address[anchors->count] = (uintptr_t)info;
        anchors->size[anchors->count++] = info != NULL;
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

/* Give the library back what it has packed: for each instruction, the difference to the one before. */
static void unpack_restore_data(void *tcg, const void *tb, const BlockCode *from)
{
    const uint8_t *place = from->restore;
    uint64_t before[INSN_DATA] = {FIELD(uint64_t, tb, TB_PC)}, *data = &FIELD(uint64_t, tcg, TCG_INSN_DATA);
    uint16_t end = 0, *ends = &FIELD(uint16_t, tcg, TCG_INSN_ENDS);
    for (size_t i = 0; i < from->icount; i++) {
        for (int j = 0; j < INSN_DATA; j++) {
            data[i * INSN_DATA + j] = before[j] += (uint64_t)read_leb128(&place);
        }
        ends[i] = end = (uint16_t)(end + read_leb128(&place));
    }
}

/* How much room the packed data of `from` takes. */
size_t avmm_restore_size(const BlockCode *from)
{
    const uint8_t *place = from->restore;
    for (size_t i = 0; i < (size_t)from->icount * (INSN_DATA + 1); i++) {
        read_leb128(&place);
    }
    return (size_t)(place - from->restore);
}

/* Describe what `owner` has translated, with a copy of the code at `code`; false if it cannot be used elsewhere. Under its lock. */
bool avmm_describe(const Vcpu *owner, const Translation *other, const Anchors *anchors, uint8_t *code, ReferenceList *list, BlockCode *block)
{
    const void *tb = other->tb;
    uintptr_t address = FIELD(uintptr_t, tb, TB_CODE);
    *block = (BlockCode){
        .code = code,
        .restore = (const uint8_t *)address + FIELD(size_t, tb, TB_CODE_SIZE),
        .words = owner->translations.words + other->words,
        .references = list->references,
        .code_size = other->size,
        .block_distance = address - (uintptr_t)tb,
        .size = FIELD(uint16_t, tb, TB_SIZE),
        .icount = FIELD(uint16_t, tb, TB_ICOUNT),
    };
    memcpy(code, (const void *)address, other->size);
    for (int i = 0; i < 2; i++) {
        block->jump_ends[i] = (&FIELD(uint16_t, tb, TB_JUMP_ENDS))[i];
        block->jump_places[i] = (&FIELD(uintptr_t, tb, TB_JUMP_PLACES))[i];
        if (block->jump_ends[i] != NO_JUMP) {
            memset(code + block->jump_places[i], 0, sizeof(int32_t)); /* to where the block ends, not to another of the owner's */
        }
    }
    CodePlace place = {code, address, other->size, block->block_distance, *anchors};
    bool understood = avmm_find_references(&place, list);
    block->reference_count = list->count;
    return understood;
}

static bool has_room(const Vcpu *vcpu, const void *tb, size_t size, size_t block_distance)
{
    const uint8_t *code = FIELD(const uint8_t *, tb, TB_CODE);
    return code + size <= FIELD(const uint8_t *, vcpu->tcg, TCG_CODE_END) && (size_t)(code - (const uint8_t *)tb) == block_distance;
}

/* Make `tb`, where the code of `from` is in place but for its references, that block. */
static bool put_block(Vcpu *vcpu, void *tb, const BlockCode *from, const Anchors *anchors)
{
    NewBlock *block = &vcpu->block;
    if (!avmm_set_references(FIELD(uint8_t *, tb, TB_CODE), from->references, from->reference_count, anchors)) {
        return false;
    }
    for (int i = 0; i < 2; i++) {
        block->jump_ends[i] = from->jump_ends[i];
        block->jump_places[i] = from->jump_places[i];
    }
    unpack_restore_data(vcpu->tcg, tb, from);
    memcpy(block->words, from->words, from->icount * sizeof *from->words);
    FIELD(uint16_t, tb, TB_SIZE) = from->size;
    FIELD(uint16_t, tb, TB_ICOUNT) = from->icount;
    block->code_size = from->code_size;
    return true;
}

static bool same_digests(const Anchors *anchors, const uint32_t *one, const uint32_t *other)
{
    return memcmp(one, other, (size_t)(anchors->count - ANCHOR_REGISTERS) * sizeof *one) == 0;
}

/* Make `tb` what `other` is; false, with its code in disorder, if that cannot be. */
static bool copy_block(Vcpu *vcpu, void *tb, const Vcpu *owner, const Translation *other, const uint32_t *words)
{
    size_t count = FIELD(uint16_t, other->tb, TB_ICOUNT);
    uint32_t ours[MAX_REGISTERS], theirs[MAX_REGISTERS];
    Anchors to, from;
    ReferenceList list;
    BlockCode block;
    return has_room(vcpu, tb, other->size, FIELD(uintptr_t, other->tb, TB_CODE) - (uintptr_t)other->tb)
        && avmm_find_anchors(vcpu, words, count, &to, ours) && avmm_find_anchors(owner, words, count, &from, theirs)
        && same_digests(&to, ours, theirs) && avmm_describe(owner, other, &from, FIELD(uint8_t *, tb, TB_CODE), &list, &block)
        && put_block(vcpu, tb, &block, &to);
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

/* From the cache of an earlier run: everything in it was checked when it was found. */
static bool take_from_cache(Vcpu *vcpu, void *tb)
{
    const uint32_t *digests;
    uint32_t ours[MAX_REGISTERS];
    Anchors anchors;
    BlockCode block;
    if (!avmm_find_cached(&vcpu->machine->cache, tb, &vcpu->block, &block, &digests)
        || !has_room(vcpu, tb, block.code_size, block.block_distance)
        || !avmm_find_anchors(vcpu, block.words, block.icount, &anchors, ours) || !same_digests(&anchors, ours, digests)) {
        return false;
    }
    memcpy(FIELD(uint8_t *, tb, TB_CODE), block.code, block.code_size);
    return put_block(vcpu, tb, &block, &anchors);
}

/* Instead of translating the block: whether another translation of it is in its place. */
bool avmm_take_over(Vcpu *vcpu, void *tb)
{
    const Machine *machine = vcpu->machine;
    bool guarded = (FIELD(uint64_t, vcpu->env, ENV_ID_AA64PFR1) & 0xf) != 0; /* translation depends on the page's GP bit, too */
    if (!vcpu->block.noted || guarded || (FIELD(uint32_t, tb, TB_CFLAGS) & ~CF_CLUSTER) != 0) {
        return false;
    }
    if (take_from_cache(vcpu, tb)) {
        vcpu->taken_from_cache++;
        return true;
    }
    for (int i = 0; i < machine->vcpu_count; i++) {
        if (machine->vcpus[i] != vcpu && take_from(vcpu, tb, machine->vcpus[i])) {
            vcpu->taken_from_vcpus++;
            return true;
        }
    }
    return false;
}
