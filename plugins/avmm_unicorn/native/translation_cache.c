/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Translations that outlive their process. A cache is a header, the blocks one behind the other, and an index of them. A block has
 * all that its translation was made from, and its code with what it refers to outside of itself left open, told by name: nothing in
 * it depends on where anything was in memory. Numbers are the host's; the key tells hosts, libraries and machines apart.
 *
 * A file can be damaged: no place in it is believed unless it is inside, and no block is used unless its checksum is right.
 */
#include "native.h"

#include <cpuid.h>

#define MAGIC "avmm-tc\1"

typedef struct {
    char magic[8];
    uint8_t key[CACHE_KEY_SIZE];
    uint64_t size, index; /* of it all; where the index begins */
    uint64_t count;
} Header;

/* Behind it: references, digests of registers, instructions, what to restore, the code, and zeroes up to a multiple of 8 bytes. */
typedef struct {
    uint64_t checksum; /* of what follows */
    uint64_t pc, cs_base;
    uint32_t flags;
    uint16_t size, icount, code_size, restore_size, reference_count, register_count, block_distance;
    uint16_t jump_ends[2], jump_places[2], zero[3];
} CachedBlock;

_Static_assert(sizeof(Header) % 8 == 0 && sizeof(CachedBlock) == 56, "no padding");

static size_t block_length(const CachedBlock *block)
{
    size_t length = sizeof *block + block->reference_count * sizeof(Reference)
        + ((size_t)block->register_count + block->icount) * sizeof(uint32_t) + block->restore_size + block->code_size;
    return (length + 7) & ~(size_t)7;
}

static uint64_t checksum_of(const CachedBlock *block, size_t length)
{
    const uint64_t *data = (const uint64_t *)block;
    uint64_t sum = length;
    for (size_t i = 1; i < length / sizeof *data; i++) {
        sum = ((sum ^ data[i]) * 0x9e3779b97f4a7c15u);
        sum ^= sum >> 29;
    }
    return sum;
}

static uint32_t hash_of(uint64_t pc, uint32_t flags) { return (uint32_t)((pc ^ (uint64_t)flags << 17) * 0x9e3779b97f4a7c15u >> 32); }

static const Reference *references_of(const CachedBlock *block) { return (const Reference *)(block + 1); }

static const uint32_t *digests_of(const CachedBlock *block)
{
    return (const uint32_t *)(references_of(block) + block->reference_count);
}

static const uint32_t *words_of(const CachedBlock *block) { return digests_of(block) + block->register_count; }

/* The block at `place`, if all of it is there. */
static const CachedBlock *block_at(const uint8_t *contents, size_t end, uint32_t place)
{
    size_t offset = (size_t)place * 8;
    if (offset < sizeof(Header) || offset > end || end - offset < sizeof(CachedBlock)) {
        return NULL;
    }
    const CachedBlock *block = (const CachedBlock *)(contents + offset);
    return block_length(block) <= end - offset ? block : NULL;
}

/* The block for these instructions; NULL if it is not there, or damaged. */
static const CachedBlock *find(const TranslationCache *cache, uint64_t pc, uint64_t cs_base, uint32_t flags, const uint32_t *words)
{
    uint32_t hash = hash_of(pc, flags), number = cache->heads[hash % CACHE_CHAINS], last = cache->count + 1;
    size_t to_page_end = (PAGE_SIZE - (pc & ~PAGE_MASK)) / sizeof *words; /* a block ends there, and what is behind may not be mapped */
    for (; number != 0 && number < last; last = number, number = cache->entries[number - 1].next) {
        const CacheEntry *entry = &cache->entries[number - 1];
        const CachedBlock *block = entry->hash == hash ? block_at(cache->contents, cache->blocks_end, entry->place) : NULL;
        if (block != NULL && block->pc == pc && block->cs_base == cs_base && block->flags == flags && block->icount <= to_page_end
            && memcmp(words_of(block), words, block->icount * sizeof *words) == 0
            && block->checksum == checksum_of(block, block_length(block))) {
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
        find(cache, FIELD(uint64_t, tb, TB_PC), FIELD(uint64_t, tb, TB_CS_BASE), FIELD(uint32_t, tb, TB_FLAGS), wanted->source);
    if (found == NULL) {
        return false;
    }
    *digests = digests_of(found);
    *block = (BlockCode){
        .restore = (const uint8_t *)(words_of(found) + found->icount),
        .words = words_of(found),
        .references = references_of(found),
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
    const Header *header = (const Header *)contents;
    if (size < sizeof *header || memcmp(header->magic, MAGIC, sizeof header->magic) != 0
        || memcmp(header->key, key, CACHE_KEY_SIZE) != 0 || header->size != size || header->index % 8 != 0 || header->index > size
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

/* A cache under construction: `size` bytes of a bytes object, which is NULL when memory ran out. */
typedef struct {
    PyObject *object;
    uint8_t *contents;
    size_t size, room, most;
    CacheEntry *entries;
    uint32_t count, entry_room;
    uint32_t heads[CACHE_CHAINS];
    uint8_t code[UINT16_MAX + 1];
    ReferenceList list;
} NewCache;

static bool resize(NewCache *new, size_t room)
{
    if (_PyBytes_Resize(&new->object, (Py_ssize_t)room) < 0) {
        return false;
    }
    new->contents = (uint8_t *)PyBytes_AS_STRING(new->object);
    new->room = room;
    return true;
}

/* Room for `length` more bytes, and for an entry. */
static uint8_t *reserve(NewCache *new, size_t length)
{
    if (new->size + length > new->room && !resize(new, new->room + new->room / 2 + length + (1 << 20))) {
        return NULL;
    }
    if (new->count == new->entry_room) {
        uint32_t room = new->entry_room * 2 + 4096;
        CacheEntry *entries = PyMem_RawRealloc(new->entries, room * sizeof *entries);
        if (entries == NULL) {
            PyErr_NoMemory();
            Py_CLEAR(new->object);
            return NULL;
        }
        new->entries = entries;
        new->entry_room = room;
    }
    return new->contents + new->size;
}

/* The block at the end of `new`, of this length, belongs to it. */
static void add_last(NewCache *new, size_t length)
{
    const CachedBlock *block = (const CachedBlock *)(new->contents + new->size);
    uint32_t hash = hash_of(block->pc, block->flags), *head = &new->heads[hash % CACHE_CHAINS];
    new->entries[new->count++] = (CacheEntry){hash, *head, (uint32_t)(new->size / 8)};
    *head = new->count;
    new->size += length;
}

static void add_copy(NewCache *new, const CachedBlock *block)
{
    size_t length = block_length(block);
    if (new->size + length > new->most) {
        return;
    }
    uint8_t *place = reserve(new, length);
    if (place != NULL) {
        memcpy(place, block, length);
        add_last(new, length);
    }
}

static const TranslationCache *view_of(const NewCache *new, TranslationCache *view)
{
    *view = (TranslationCache){
        .contents = new->contents, .blocks_end = new->size, .count = new->count, .heads = new->heads, .entries = new->entries};
    return view;
}

/* A pointer could also be a number of the guest's that happens to look like one: only those to definitions of registers are kept. */
static bool lasting(const ReferenceList *list)
{
    for (size_t i = 0; i < list->count; i++) {
        if (list->references[i].kind != REFERENCE_BRANCH && list->references[i].anchor < ANCHOR_REGISTERS) {
            return false;
        }
    }
    return true;
}

static void *put(uint8_t **place, const void *data, size_t size)
{
    void *start = *place;
    memcpy(start, data, size);
    *place += size;
    return start;
}

static void add_translation(NewCache *new, const Vcpu *vcpu, const Translation *translation, const uint32_t *words)
{
    const void *tb = translation->tb;
    uint32_t digests[MAX_REGISTERS];
    Anchors anchors;
    BlockCode block;
    if (translation->size > UINT16_MAX || !avmm_find_anchors(vcpu, words, FIELD(uint16_t, tb, TB_ICOUNT), &anchors, digests)
        || !avmm_describe(vcpu, translation, &anchors, new->code, &new->list, &block) || !lasting(&new->list)) {
        return;
    }
    CachedBlock head = {
        .pc = FIELD(uint64_t, tb, TB_PC),
        .cs_base = FIELD(uint64_t, tb, TB_CS_BASE),
        .flags = FIELD(uint32_t, tb, TB_FLAGS),
        .size = block.size,
        .icount = block.icount,
        .code_size = (uint16_t)block.code_size,
        .restore_size = (uint16_t)avmm_restore_size(&block),
        .reference_count = (uint16_t)block.reference_count,
        .register_count = (uint16_t)(anchors.count - ANCHOR_REGISTERS),
        .block_distance = (uint16_t)block.block_distance,
        .jump_ends = {block.jump_ends[0], block.jump_ends[1]},
        .jump_places = {(uint16_t)block.jump_places[0], (uint16_t)block.jump_places[1]},
    };
    for (size_t i = 0; i < block.reference_count; i++) { /* the same in every process */
        const Reference *reference = &block.references[i];
        memset(new->code + reference->at, 0, reference->kind == REFERENCE_POINTER ? sizeof(uint64_t) : sizeof(uint32_t));
    }
    size_t length = block_length(&head);
    if (new->size + length > new->most) {
        return;
    }
    uint8_t *place = reserve(new, length);
    if (place == NULL) {
        return;
    }
    uint8_t *end = place + length;
    CachedBlock *copy = put(&place, &head, sizeof head);
    put(&place, block.references, block.reference_count * sizeof *block.references);
    put(&place, digests, head.register_count * sizeof *digests);
    put(&place, words, block.icount * sizeof *words);
    put(&place, block.restore, head.restore_size);
    put(&place, block.code, block.code_size);
    memset(place, 0, (size_t)(end - place));
    copy->checksum = checksum_of(copy, length);
    add_last(new, length);
}

/* What `vcpu` has translated or taken over. */
static void add_translations(NewCache *new, const Vcpu *vcpu)
{
    const Translations *translations = &vcpu->translations;
    TranslationCache view;
    for (size_t i = 0; i < translations->block_count && new->object != NULL; i++) {
        const Translation *translation = &translations->blocks[i];
        const void *tb = translation->tb;
        const uint32_t *words = translations->words + translation->words;
        uint64_t pc = FIELD(uint64_t, tb, TB_PC), cs_base = FIELD(uint64_t, tb, TB_CS_BASE);
        uint32_t flags = FIELD(uint32_t, tb, TB_FLAGS);
        if ((FIELD(uint32_t, tb, TB_CFLAGS) & ~(CF_CLUSTER | CF_INVALID)) != 0 || find(view_of(new, &view), pc, cs_base, flags, words)) {
            continue;
        }
        const TranslationCache *cache = &vcpu->machine->cache;
        const CachedBlock *old = cache->contents == NULL ? NULL : find(cache, pc, cs_base, flags, words);
        if (old != NULL) {
            add_copy(new, old);
        } else {
            add_translation(new, vcpu, translation, words);
        }
    }
}

/* What the cache had that this run did not use. */
static void add_others(NewCache *new, const TranslationCache *cache)
{
    TranslationCache view;
    for (uint32_t i = 0; cache->contents != NULL && i < cache->count && new->object != NULL; i++) {
        const CachedBlock *block = block_at(cache->contents, cache->blocks_end, cache->entries[i].place);
        if (block != NULL && block->checksum == checksum_of(block, block_length(block))
            && find(view_of(new, &view), block->pc, block->cs_base, block->flags, words_of(block)) == NULL) {
            add_copy(new, block);
        }
    }
}

/* The whole of it, with the index behind the blocks; NULL with an exception when memory ran out. */
static PyObject *finish(NewCache *new, const uint8_t *key)
{
    size_t entries_size = new->count * sizeof *new->entries, size = new->size + sizeof new->heads + entries_size;
    if (new->object == NULL || !resize(new, size)) {
        return NULL;
    }
    Header header = {.magic = MAGIC, .size = size, .index = new->size, .count = new->count};
    memcpy(header.key, key, CACHE_KEY_SIZE);
    memcpy(new->contents, &header, sizeof header);
    uint8_t *place = new->contents + new->size;
    put(&place, new->heads, sizeof new->heads);
    put(&place, new->entries, entries_size);
    return new->object;
}

static PyObject *build(const Machine *machine, NewCache *new, const uint8_t *key, size_t most)
{
    new->most = most;
    new->object = PyBytes_FromStringAndSize(NULL, 0);
    if (new->object == NULL || reserve(new, sizeof(Header)) == NULL) {
        return NULL;
    }
    new->size = sizeof(Header);
    for (int i = 0; i < machine->vcpu_count && new->object != NULL; i++) {
        add_translations(new, machine->vcpus[i]);
    }
    add_others(new, &machine->cache);
    return finish(new, key);
}

/* keep_translations(key, least, most): a cache of at most `most` bytes; None if less than `least` blocks are not in the one in use. */
PyObject *avmm_keep_translations(Machine *machine, PyObject *arguments)
{
    Py_buffer key;
    unsigned long long least, most, translated = 0;
    if (!PyArg_ParseTuple(arguments, "y*KK", &key, &least, &most)) {
        return NULL;
    }
    bool in_guest = false;
    for (int i = 0; i < machine->vcpu_count; i++) {
        translated += machine->vcpus[i]->translated;
        in_guest |= machine->vcpus[i]->inside;
    }
    if (key.len != CACHE_KEY_SIZE || machine->without != 0 || in_guest || translated < least) {
        PyBuffer_Release(&key);
        Py_RETURN_NONE;
    }
    NewCache *new = PyMem_RawCalloc(1, sizeof *new);
    PyObject *result = new == NULL ? PyErr_NoMemory() : build(machine, new, key.buf, most);
    if (new != NULL) {
        PyMem_RawFree(new->entries);
    }
    PyMem_RawFree(new);
    PyBuffer_Release(&key);
    return result;
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
