/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The cache that an earlier run left. Its file can be damaged: no place in it is believed unless it is inside, and no block is used
 * unless its checksum is right.
 */
#include "native.h"

#include <cpuid.h>

const CachedBlock *avmm_block_at(const uint8_t *contents, size_t end, uint32_t place)
{
    size_t offset = (size_t)place * 8;
    if (offset < sizeof(CacheHeader) || offset > end || end - offset < sizeof(CachedBlock)) {
        return NULL;
    }
    const CachedBlock *block = (const CachedBlock *)(contents + offset);
    return avmm_block_length(block) <= end - offset ? block : NULL;
}

const CachedBlock *avmm_cached_block(const TranslationCache *cache, uint64_t pc, uint64_t cs_base, uint32_t flags, const uint32_t *words)
{
    uint32_t hash = avmm_block_hash(pc, flags), number = cache->heads[avmm_cache_chain(pc)], last = cache->count + 1;
    size_t to_page_end = (PAGE_SIZE - (pc & ~PAGE_MASK)) / sizeof *words; /* a block ends there, and what is behind may not be mapped */
    for (; number != 0 && number < last; last = number, number = cache->entries[number - 1].next) {
        const CacheEntry *entry = &cache->entries[number - 1];
        const CachedBlock *block = entry->hash == hash ? avmm_block_at(cache->contents, cache->blocks_end, entry->place) : NULL;
        if (block != NULL && block->pc == pc && block->cs_base == cs_base && block->flags == flags && block->icount <= to_page_end
            && memcmp(avmm_words(block), words, block->icount * sizeof *words) == 0
            && block->checksum == avmm_checksum(block, avmm_block_length(block))) {
            return block;
        }
    }
    return NULL;
}

/* Whether there is a translation of what `tb` is to be one of: `block`, and `digests` of its registers. */
bool avmm_find_cached(const TranslationCache *cache, const void *tb, const NewBlock *wanted, BlockCode *block, const uint32_t **digests)
{
    if (cache->contents == NULL) {
        return false;
    }
    const CachedBlock *found =
        avmm_cached_block(cache, FIELD(uint64_t, tb, TB_PC), FIELD(uint64_t, tb, TB_CS_BASE), FIELD(uint32_t, tb, TB_FLAGS), wanted->source);
    if (found == NULL) {
        return false;
    }
    *digests = avmm_digests(found);
    *block = (BlockCode){
        .restore = (const uint8_t *)(avmm_words(found) + found->icount),
        .words = avmm_words(found),
        .references = avmm_references(found),
        .code_size = found->code_size,
        .reference_count = found->reference_count,
        .block_distance = found->block_distance,
        .size = found->size,
        .icount = found->icount,
        .jump_ends = {found->jump_ends[0], found->jump_ends[1]},
        .jump_places = {found->jump_places[0], found->jump_places[1]},
    };
    block->code = block->restore + found->restore_size;
    return true;
}

void avmm_drop_cache(Machine *machine)
{
    if (machine->cache.contents != NULL) {
        PyBuffer_Release(&machine->cache.buffer);
    }
    machine->cache = (TranslationCache){.contents = NULL};
}

static bool open_contents(TranslationCache *cache, const uint8_t *contents, size_t size, const uint8_t *key)
{
    const CacheHeader *header = (const CacheHeader *)contents;
    if (size < sizeof *header || memcmp(header->magic, CACHE_MAGIC, sizeof header->magic) != 0
        || memcmp(header->key, key, CACHE_KEY_SIZE) != 0 || header->index % 8 != 0 || header->index > size
        || header->count > UINT32_MAX - 1
        || size - header->index != CACHE_CHAINS * sizeof(uint32_t) + header->count * sizeof(CacheEntry)) {
        return false;
    }
    cache->contents = contents;
    cache->blocks_end = header->index;
    cache->count = (uint32_t)header->count;
    cache->heads = (const uint32_t *)(contents + header->index);
    cache->entries = (const CacheEntry *)(cache->heads + CACHE_CHAINS);
    return true;
}

/* use_translations(contents, key): how many there are; ValueError if that is no cache, or not one with this key. */
PyObject *avmm_use_translations(Machine *machine, PyObject *arguments)
{
    Py_buffer contents, key;
    if (!PyArg_ParseTuple(arguments, "y*y*", &contents, &key)) {
        return NULL;
    }
    avmm_drop_cache(machine);
    bool usable = key.len == CACHE_KEY_SIZE && machine->vcpu_count == 0
        && open_contents(&machine->cache, contents.buf, (size_t)contents.len, key.buf);
    PyBuffer_Release(&key);
    if (!usable) {
        PyBuffer_Release(&contents);
        PyErr_SetString(PyExc_ValueError, "not translations with this key");
        return NULL;
    }
    machine->cache.buffer = contents;
    return PyLong_FromUnsignedLong(machine->cache.count);
}

/* host_features(): what the library's code generator may make use of. */
PyObject *avmm_host_features(PyObject *module, PyObject *unused)
{
    uint32_t leaves[3][4] = {{0}};
    (void)module, (void)unused;
    __get_cpuid(1, &leaves[0][0], &leaves[0][1], &leaves[0][2], &leaves[0][3]);
    __get_cpuid_count(7, 0, &leaves[1][0], &leaves[1][1], &leaves[1][2], &leaves[1][3]);
    __get_cpuid(0x80000001, &leaves[2][0], &leaves[2][1], &leaves[2][2], &leaves[2][3]);
    leaves[0][1] = 0; /* which of the host's CPUs this is */
    return PyBytes_FromStringAndSize((const char *)leaves, sizeof leaves);
}
