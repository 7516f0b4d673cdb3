/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Translations that outlive their process. A cache is a header, the blocks one behind the other, and an index of them. A block has
 * all that its translation was made from, and its code with what it refers to outside of itself left open, told by name: nothing in
 * it depends on where anything was in memory. Numbers are the host's; the key tells hosts, libraries and machines apart.
 */
#ifndef AVMM_TRANSLATION_CACHE_H
#define AVMM_TRANSLATION_CACHE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "translations.h"

#define CACHE_MAGIC "avmm-tc\4"
#define CACHE_CHAINS 65536
#define CACHE_KEY_SIZE 128
#define DIGEST_STEP 0x9e3779b97f4a7c15u

typedef struct {
    char magic[8];
    uint8_t key[CACHE_KEY_SIZE];
    uint64_t index, count; /* where the index begins; of blocks */
} CacheHeader;

/* Behind it: references, digests of registers, instructions, what to restore, the code, and zeroes up to a multiple of 8 bytes. */
typedef struct {
    uint64_t checksum; /* of what follows */
    uint64_t pc, cs_base;
    uint32_t flags;
    uint16_t size, icount, code_size, restore_size, reference_count, register_count, block_distance;
    uint16_t jump_ends[2], jump_places[2], zero[3];
} CachedBlock;

_Static_assert(sizeof(CacheHeader) % 8 == 0 && sizeof(CachedBlock) == 56, "no padding");

/* An index into the blocks, by what is known before the instructions are compared. */
typedef struct {
    uint32_t hash, next; /* `next` in its chain: the number of an earlier one, from 1; or 0 */
    uint32_t place;      /* of the block in the file, in units of 8 bytes */
} CacheEntry;

/* An open cache; without `contents` there is none. Read by all vCPUs, written by none. */
typedef struct {
    Py_buffer buffer;
    const uint8_t *contents;
    size_t blocks_end; /* where the index begins */
    uint32_t count;
    const uint32_t *heads; /* CACHE_CHAINS of them: the newest of each chain, from 1 */
    const CacheEntry *entries;
} TranslationCache;

static inline size_t avmm_block_length(const CachedBlock *block)
{
    size_t length = sizeof *block + block->reference_count * sizeof(Reference)
        + ((size_t)block->register_count + block->icount) * sizeof(uint32_t) + block->restore_size + block->code_size;
    return (length + 7) & ~(size_t)7;
}

/* Four sums side by side: one multiplication after the other would take four times as long. */
static inline uint64_t avmm_checksum(const CachedBlock *block, size_t length)
{
    const uint64_t *data = (const uint64_t *)block + 1, *end = (const uint64_t *)((const char *)block + length);
    uint64_t one = length, two = 0, three = 0, four = 0;
    for (; end - data >= 4; data += 4) {
        one = (one ^ data[0]) * DIGEST_STEP;
        two = (two ^ data[1]) * DIGEST_STEP;
        three = (three ^ data[2]) * DIGEST_STEP;
        four = (four ^ data[3]) * DIGEST_STEP;
    }
    for (; data < end; data++) {
        one = (one ^ *data) * DIGEST_STEP;
    }
    const uint64_t sums[] = {two, three, four};
    for (int i = 0; i < 3; i++) {
        one = (one ^ one >> 29 ^ sums[i]) * DIGEST_STEP;
    }
    return one ^ one >> 29;
}

static inline uint32_t avmm_block_hash(uint64_t pc, uint32_t flags)
{
    return (uint32_t)((pc ^ (uint64_t)flags << 17) * DIGEST_STEP >> 32);
}

/* The chain of the blocks at `pc`. Those of a page are side by side: who needs one will need the next. */
static inline uint32_t avmm_cache_chain(uint64_t pc)
{
    uint64_t page = (pc >> PAGE_BITS) * DIGEST_STEP >> 32;
    return (uint32_t)(page << 8 ^ (pc >> 4 & 0xff)) % CACHE_CHAINS;
}

static inline const Reference *avmm_references(const CachedBlock *block) { return (const Reference *)(block + 1); }

static inline const uint32_t *avmm_digests(const CachedBlock *block)
{
    return (const uint32_t *)(avmm_references(block) + block->reference_count);
}

static inline const uint32_t *avmm_words(const CachedBlock *block) { return avmm_digests(block) + block->register_count; }

/* translation_cache.c: the block at `place`, if all of it is in front of `end`. */
const CachedBlock *avmm_block_at(const uint8_t *contents, size_t end, uint32_t place);

/* The block for these instructions; NULL if it is not there, or damaged. */
const CachedBlock *avmm_cached_block(const TranslationCache *, uint64_t pc, uint64_t cs_base, uint32_t flags,
                                     const uint32_t *words);

#endif
