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

/* What a block's code may refer to: the library's way out of a block, functions, and the definitions of its system registers. */
#define SYSTEM_REGISTER(word) (((word) & 0xffc00000) == 0xd5000000 && ((word) >> 19 & 3) != 0)
#define MAX_REGISTERS 8
enum { ANCHOR_EPILOGUE, ANCHOR_LIBRARY, ANCHOR_SHIM, ANCHOR_REGISTERS, MAX_ANCHORS = ANCHOR_REGISTERS + MAX_REGISTERS };

typedef struct {
    int count;
    uintptr_t address[MAX_ANCHORS], size[MAX_ANCHORS];
} Anchors;

/* Of a branch, of another instruction, or a whole address. The first two are 32 bits, relative to where they stand. */
typedef enum { REFERENCE_BRANCH, REFERENCE_DISPLACEMENT, REFERENCE_POINTER } ReferenceKind;

typedef struct {
    uint16_t at; /* in the code */
    uint8_t kind, anchor;
    int32_t offset; /* from the anchor */
} Reference;

#define MAX_REFERENCES 1024

typedef struct {
    size_t count;
    Reference references[MAX_REFERENCES];
} ReferenceList;

/* Code that is at `code`, and was made for `address`, `block_distance` behind the description of its block. */
typedef struct {
    const uint8_t *code;
    uintptr_t address;
    size_t size, block_distance;
    Anchors anchors;
} CodePlace;

/* A block's code wherever it is, and all there is to know to use it at another place. */
typedef struct {
    const uint8_t *code, *restore; /* what there is to restore at each instruction, as the library packs it */
    const uint32_t *words;         /* the instructions */
    const Reference *references;
    size_t code_size, reference_count, block_distance;
    uint16_t size, icount, jump_ends[2];
    uintptr_t jump_places[2];
} BlockCode;

/* hostcode.c: all references that lead out of the code, and false where one of them is not understood. */
bool avmm_find_references(const CodePlace *place, ReferenceList *list);

/* Make them lead to `anchors`; false, with the code in disorder, if one cannot reach that far. */
bool avmm_set_references(uint8_t *code, const Reference *references, size_t count, const Anchors *anchors);

static inline uint32_t *avmm_chain_of(const Translations *translations, uint64_t ram_address)
{
    return &translations->heads[(ram_address >> 2 ^ ram_address >> 17) % TRANSLATION_CHAINS];
}

#endif
