/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What there is to know of a translated block to use it again. */
#ifndef AVMM_TRANSLATIONS_H
#define AVMM_TRANSLATIONS_H

#include "layout.h"

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

/* A block that was translated: from where, and from what. */
typedef struct {
    void *tb;
    uint64_t ram_address;
    uint32_t next; /* in its chain: index + 1, or 0 */
    uint32_t size; /* of its code */
    size_t words;  /* index of its first instruction */
} Translation;

/* The translations of one vCPU since it dropped all of them: see translations.c. Written by the thread in enter(); `lock`. */
typedef struct {
    pthread_mutex_t lock;
    Translation *blocks;
    uint32_t *words, *heads; /* the instructions, and TRANSLATION_CHAINS chains */
    size_t block_count, block_room, word_count, word_room;
    bool pending;  /* the last one may still be given up by the library */
    bool missing;  /* not all are here */
} Translations;

#define TRANSLATION_CHAINS 32768

/* The block that is being translated. `code_size` if its code is that of another vCPU. */
typedef struct {
    uint64_t ram_address;
    const uint32_t *source;
    uint32_t words[TCG_MAX_INSNS];
    bool noted;
    size_t code_size;
    uint16_t jump_ends[2];
    uintptr_t jump_places[2];
} NewBlock;

#define MAX_POINTERS 8

/* Code on its way from one vCPU's buffer to another's; the description of a block is `block_distance` in front of its code. */
typedef struct {
    uintptr_t old_code, new_code, size, block_distance, old_epilogue, new_epilogue, old_buffer, old_buffer_size;
    int pointer_count;
    uintptr_t old_pointers[MAX_POINTERS], new_pointers[MAX_POINTERS];
} CodeMove;

/* hostcode.c: `code` was copied as `move` says: make it work where it is now. False if that cannot be. */
bool avmm_move_code(const CodeMove *move, uint8_t *code);

static inline uint32_t *avmm_chain_of(const Translations *translations, uint64_t ram_address)
{
    return &translations->heads[(ram_address >> 2 ^ ram_address >> 17) % TRANSLATION_CHAINS];
}

#endif
