/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a run leaves for later ones: a cache of what its vCPUs have translated, and of what there was before. */
#include "native.h"

/* A cache under construction: `size` bytes of a bytes object, which is NULL when memory ran out. */
typedef struct {
    PyObject *object;
    uint8_t *contents;
    size_t size, room, most, entry_room;
    CacheEntry *entries;
    uint32_t count;
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
    void *entries = avmm_with_room(new->entries, &new->entry_room, (size_t)new->count + 1, sizeof *new->entries);
    if (entries == NULL) {
        PyErr_NoMemory();
        Py_CLEAR(new->object);
        return NULL;
    }
    new->entries = entries;
    return new->contents + new->size;
}

/* The block at the end of `new`, of this length, belongs to it. */
static void add_last(NewCache *new, size_t length)
{
    const CachedBlock *block = (const CachedBlock *)(new->contents + new->size);
    uint32_t hash = avmm_block_hash(block->pc, block->flags), *head = &new->heads[avmm_cache_chain(block->pc)];
    new->entries[new->count++] = (CacheEntry){hash, *head, (uint32_t)(new->size / 8)};
    *head = new->count;
    new->size += length;
}

static void add_copy(NewCache *new, const CachedBlock *block)
{
    size_t length = avmm_block_length(block);
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
    size_t length = avmm_block_length(&head);
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
    copy->checksum = avmm_checksum(copy, length);
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
        if ((FIELD(uint32_t, tb, TB_CFLAGS) & ~(CF_CLUSTER | CF_INVALID)) != 0
            || avmm_cached_block(view_of(new, &view), pc, cs_base, flags, words) != NULL) {
            continue;
        }
        const TranslationCache *cache = &vcpu->machine->cache;
        const CachedBlock *old = cache->contents == NULL ? NULL : avmm_cached_block(cache, pc, cs_base, flags, words);
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
        const CachedBlock *block = avmm_block_at(cache->contents, cache->blocks_end, cache->entries[i].place);
        if (block != NULL && block->checksum == avmm_checksum(block, avmm_block_length(block))
            && avmm_cached_block(view_of(new, &view), block->pc, block->cs_base, block->flags, avmm_words(block)) == NULL) {
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
    CacheHeader header = {.magic = CACHE_MAGIC, .index = new->size, .count = new->count};
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
    if (new->object == NULL || reserve(new, sizeof(CacheHeader)) == NULL) {
        return NULL;
    }
    new->size = sizeof(CacheHeader);
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
