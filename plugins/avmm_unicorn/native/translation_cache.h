/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Translations kept from one run for another: a file's contents. What is in it and where: translation_cache.c. */
#ifndef AVMM_TRANSLATION_CACHE_H
#define AVMM_TRANSLATION_CACHE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "translations.h"

#define CACHE_CHAINS 65536
#define CACHE_KEY_SIZE 128

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

#endif
