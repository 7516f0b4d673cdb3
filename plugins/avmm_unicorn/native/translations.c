/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a vCPU has translated, with the instructions it was translated from. That is good for two things. Another vCPU that comes to
 * the same code can take the translation over: reuse.c. And after IC IALLU, only translations of instructions that are not what they
 * were have to go.
 */
#include "native.h"

int avmm_begin_translations(Vcpu *vcpu)
{
    Translations *translations = &vcpu->translations;
    pthread_mutex_init(&translations->lock, NULL);
    translations->heads = PyMem_RawCalloc(TRANSLATION_CHAINS, sizeof *translations->heads);
    return translations->heads == NULL ? -1 : 0;
}

void avmm_end_translations(Vcpu *vcpu)
{
    Translations *translations = &vcpu->translations;
    if (translations->heads != NULL) {
        pthread_mutex_destroy(&translations->lock);
    }
    PyMem_RawFree(translations->heads);
    PyMem_RawFree(translations->blocks);
    PyMem_RawFree(translations->words);
    *translations = (Translations){.missing = true};
}

/* All are about to be overwritten. */
void avmm_clear_translations(Vcpu *vcpu)
{
    Translations *translations = &vcpu->translations;
    if (translations->heads == NULL) {
        return;
    }
    pthread_mutex_lock(&translations->lock);
    translations->block_count = translations->word_count = 0;
    translations->pending = translations->missing = false;
    memset(translations->heads, 0, TRANSLATION_CHAINS * sizeof *translations->heads);
    pthread_mutex_unlock(&translations->lock);
}

/* Where what is at `ram_address` is in the host's memory, if it is there. */
static const uint32_t *host_address(const Vcpu *vcpu, uint64_t ram_address)
{
    const SlotView *view = avmm_view_of_ram(vcpu, ram_address);
    return view == NULL ? NULL : (const uint32_t *)(view->host + (ram_address - view->ram_offset));
}

/* The one noted last is there to stay, unless the library has given it up: then the next block is to be where it is. */
void avmm_settle_translation(Vcpu *vcpu, const void *next_block)
{
    Translations *translations = &vcpu->translations;
    if (!translations->pending) {
        return;
    }
    pthread_mutex_lock(&translations->lock);
    translations->pending = false;
    Translation *last = &translations->blocks[translations->block_count - 1];
    if ((uintptr_t)next_block < FIELD(uintptr_t, last->tb, TB_CODE) + last->size) {
        *avmm_chain_of(translations, last->ram_address) = last->next;
        translations->word_count = last->words;
        translations->block_count--;
    }
    pthread_mutex_unlock(&translations->lock);
}

/* A block is going to be translated, or taken over. */
void avmm_begin_translation(Vcpu *vcpu, void *tb)
{
    NewBlock *block = &vcpu->block;
    avmm_settle_translation(vcpu, tb);
    block->code_size = 0;
    block->noted = !vcpu->counting && FIELD(void *, vcpu->cpu, CPU_BREAKPOINTS) == NULL
        && (FIELD(uint32_t, tb, TB_FLAGS) & HFLAG_AARCH64) && !FIELD(int, vcpu->cpu, CPU_SINGLESTEP);
    block->ram_address = block->noted ? lib.code_ram_address(vcpu->env, FIELD(uint64_t, tb, TB_PC)) : UINT64_MAX;
    block->source = host_address(vcpu, block->ram_address);
    block->noted &= block->source != NULL;
}

/* `array`, or what it was moved to, with room for `wanted` items of so many bytes; NULL, with all as it was, without memory for it. */
void *avmm_with_room(void *array, size_t *room, size_t wanted, size_t item_size)
{
    if (wanted <= *room) {
        return array;
    }
    size_t more = wanted * 2 + 4096;
    void *moved = PyMem_RawRealloc(array, more * item_size);
    *room = moved == NULL ? *room : more;
    return moved;
}

static bool make_room(Translations *translations, size_t words)
{
    void *blocks = avmm_with_room(
        translations->blocks, &translations->block_room, translations->block_count + 1, sizeof *translations->blocks);
    if (blocks == NULL) {
        return false;
    }
    translations->blocks = blocks;
    void *all_words = avmm_with_room(
        translations->words, &translations->word_room, translations->word_count + words, sizeof *translations->words);
    if (all_words == NULL) {
        return false;
    }
    translations->words = all_words;
    return true;
}

static void note_translation(Vcpu *vcpu, void *tb, uint32_t size)
{
    Translations *translations = &vcpu->translations;
    const NewBlock *block = &vcpu->block;
    size_t words = FIELD(uint16_t, tb, TB_ICOUNT);
    pthread_mutex_lock(&translations->lock);
    if (!block->noted || !make_room(translations, words)) {
        translations->missing = true;
    } else {
        uint32_t *chain = avmm_chain_of(translations, block->ram_address);
        translations->blocks[translations->block_count] =
            (Translation){tb, block->ram_address, *chain, size, translations->word_count};
        memcpy(translations->words + translations->word_count, block->words, words * sizeof *block->words);
        translations->word_count += words;
        *chain = (uint32_t)++translations->block_count;
        translations->pending = true;
    }
    pthread_mutex_unlock(&translations->lock);
}

/* tcg_gen_code(): the size of the block's code, or less than 0 for another attempt. */
int avmm_gen_code(void *tcg, void *tb)
{
    Vcpu *vcpu = avmm_executing;
    if (vcpu == NULL) {
        return lib.gen_code(tcg, tb);
    }
    NewBlock *block = &vcpu->block;
    int size = (int)block->code_size;
    if (size != 0) {
        for (int i = 0; i < 2; i++) {
            (&FIELD(uint16_t, tb, TB_JUMP_ENDS))[i] = block->jump_ends[i];
            (&FIELD(uintptr_t, tb, TB_JUMP_PLACES))[i] = block->jump_places[i];
        }
    } else {
        size = lib.gen_code(tcg, tb);
        vcpu->translated += size > 0;
    }
    if (size > 0) {
        note_translation(vcpu, tb, (uint32_t)size);
    }
    return size;
}

/* IC IALLU: drop the translations of what has changed since, or all of them where that is not known. */
void avmm_forget_changed_code(Vcpu *vcpu)
{
    const Translations *translations = &vcpu->translations;
    if (translations->missing) {
        avmm_forget_code(vcpu);
        return;
    }
    for (size_t i = 0; i < translations->block_count; i++) {
        const Translation *block = &translations->blocks[i];
        const uint32_t *source = host_address(vcpu, block->ram_address);
        size_t size = FIELD(uint16_t, block->tb, TB_ICOUNT) * sizeof *source;
        bool gone = FIELD(uint32_t, block->tb, TB_CFLAGS) & CF_INVALID;
        if (!gone && (source == NULL || memcmp(translations->words + block->words, source, size) != 0)) {
            lib.tb_invalidate_range(vcpu->uc, block->ram_address, block->ram_address + size);
        }
    }
    FIELD(uint32_t, vcpu->cpu, CPU_INTERRUPT_REQUEST) |= INTERRUPT_EXITTB;
}
