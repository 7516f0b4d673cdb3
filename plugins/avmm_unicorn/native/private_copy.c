/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A private copy of a shared library. What the dynamic loader reads and what can be written is copied to anonymous memory. Code and
 * constants, most of the file, are left out, and mapped from the file itself once the loader is done: they need not be copied, and
 * processes share them. Until then none of the library's code can run. So the loader is not told of its initialisers, which are
 * called from here; and a library whose relocations call its code (IFUNC) is copied whole.
 */
#define _GNU_SOURCE
#include "private_copy.h"

#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_SEGMENTS 16
#define PAGE 4096ul
#define IGNORED_TAG 0x60000000 /* in no range that a loader knows */

/* A library's file, mapped to be read. `dynamic` is NULL when it is not laid out as expected, which the loader may complain of. */
typedef struct {
    const char *bytes;
    size_t size;
    const ElfW(Phdr) *segments;
    int count;
    const ElfW(Dyn) *dynamic;
    size_t entries;
} Image;

static const void *at_offset(const Image *image, uint64_t offset, uint64_t size)
{
    return offset <= image->size && size <= image->size - offset ? image->bytes + offset : NULL;
}

/* What will be at `address` (relative to where the library is loaded) once it is loaded, or NULL. */
static const void *at_address(const Image *image, uint64_t address, uint64_t size)
{
    for (int i = 0; i < image->count; i++) {
        const ElfW(Phdr) *segment = &image->segments[i];
        if (segment->p_type == PT_LOAD && address >= segment->p_vaddr && address - segment->p_vaddr < segment->p_filesz
            && size <= segment->p_filesz - (address - segment->p_vaddr)) {
            return at_offset(image, segment->p_offset + (address - segment->p_vaddr), size);
        }
    }
    return NULL;
}

static void parse(Image *image)
{
    const ElfW(Ehdr) *header = at_offset(image, 0, sizeof *header);
    if (header == NULL || memcmp(header->e_ident, ELFMAG, SELFMAG) != 0 || header->e_ident[EI_CLASS] != ELFCLASS64
        || header->e_phentsize != sizeof(ElfW(Phdr)) || header->e_phnum > MAX_SEGMENTS) {
        return;
    }
    image->segments = at_offset(image, header->e_phoff, header->e_phnum * sizeof(ElfW(Phdr)));
    image->count = image->segments == NULL ? 0 : header->e_phnum;
    for (int i = 0; i < image->count; i++) {
        if (image->segments[i].p_type == PT_DYNAMIC) {
            image->entries = image->segments[i].p_filesz / sizeof(ElfW(Dyn));
            image->dynamic = at_offset(image, image->segments[i].p_offset, image->segments[i].p_filesz);
        }
    }
}

/* An entry of the dynamic section, or NULL. */
static const ElfW(Dyn) *entry_of(const Image *image, ElfW(Sxword) tag)
{
    for (size_t i = 0; i < image->entries && image->dynamic[i].d_tag != DT_NULL; i++) {
        if (image->dynamic[i].d_tag == tag) {
            return &image->dynamic[i];
        }
    }
    return NULL;
}

/* Its value, or 0. */
static uint64_t value_of(const Image *image, ElfW(Sxword) tag)
{
    const ElfW(Dyn) *entry = entry_of(image, tag);
    return entry == NULL ? 0 : entry->d_un.d_val;
}

/* Whether a table of relocations has the loader call code of the library. */
static bool calls_code(const Image *image, uint64_t address, uint64_t size)
{
    const ElfW(Rela) *table = size == 0 ? NULL : at_address(image, address, size);
    if (table == NULL) {
        return size != 0;
    }
    const ElfW(Sym) *symbols = NULL;
    uint64_t known = 0; /* symbols that are in the file */
    for (size_t i = 0; i < size / sizeof *table; i++) {
        uint64_t number = ELF64_R_SYM(table[i].r_info);
        if (ELF64_R_TYPE(table[i].r_info) == R_X86_64_IRELATIVE) {
            return true;
        }
        if (number >= known) {
            known = number + 1;
            symbols = at_address(image, value_of(image, DT_SYMTAB), known * sizeof *symbols);
        }
        if (number != 0
            && (symbols == NULL
                || (ELF64_ST_TYPE(symbols[number].st_info) == STT_GNU_IFUNC && symbols[number].st_shndx != SHN_UNDEF))) {
            return true;
        }
    }
    return false;
}

static bool lies_in(const ElfW(Phdr) *segment, uint64_t address)
{
    return address >= segment->p_vaddr && address - segment->p_vaddr < segment->p_memsz;
}

/* Whether the loader may be done with the library before this segment is there. */
static bool may_come_later(const Image *image, const ElfW(Phdr) *segment)
{
    static const ElfW(Sxword) tables[] = {DT_HASH, DT_GNU_HASH, DT_SYMTAB, DT_STRTAB, DT_RELA, DT_JMPREL,
                                          DT_VERSYM, DT_VERNEED, DT_VERDEF};
    if (segment->p_type != PT_LOAD || (segment->p_flags & PF_W) != 0 || segment->p_offset == 0
        || segment->p_filesz != segment->p_memsz) {
        return false;
    }
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) {
        if (lies_in(segment, value_of(image, tables[i]))) {
            return false;
        }
    }
    for (int i = 0; i < image->count; i++) {
        if (image->segments[i].p_type == PT_NOTE && lies_in(segment, image->segments[i].p_vaddr)) {
            return false;
        }
    }
    return true;
}

/* The segments to map later, as bits; none where a copy of all is the only safe one. */
static unsigned left_out(const Image *image)
{
    if (image->dynamic == NULL || entry_of(image, DT_TEXTREL) != NULL || (value_of(image, DT_FLAGS) & DF_TEXTREL) != 0
        || calls_code(image, value_of(image, DT_RELA), value_of(image, DT_RELASZ))
        || calls_code(image, value_of(image, DT_JMPREL), value_of(image, DT_PLTRELSZ))) {
        return 0;
    }
    unsigned later = 0;
    for (int i = 0; i < image->count; i++) {
        later |= may_come_later(image, &image->segments[i]) ? 1u << i : 0;
    }
    return later;
}

static bool copy_range(int out, const Image *image, uint64_t from, uint64_t to)
{
    while (from < to) {
        ssize_t written = pwrite(out, image->bytes + from, to - from, (off_t)from);
        if (written <= 0) {
            return false;
        }
        from += (uint64_t)written;
    }
    return true;
}

/* Have the loader ignore the entries of the dynamic section that would have it call code. */
static bool hide_initialisers(int out, const Image *image)
{
    const ElfW(Sxword) ignored = IGNORED_TAG;
    for (size_t i = 0; i < image->entries && image->dynamic[i].d_tag != DT_NULL; i++) {
        ElfW(Sxword) tag = image->dynamic[i].d_tag;
        off_t place = (const char *)&image->dynamic[i].d_tag - image->bytes;
        if ((tag == DT_INIT || tag == DT_INIT_ARRAY || tag == DT_FINI || tag == DT_FINI_ARRAY)
            && pwrite(out, &ignored, sizeof ignored, place) != sizeof ignored) {
            return false;
        }
    }
    return true;
}

/*
 * What the loader is to do instead of looking up a symbol that the library has itself: a third of its time. It ignores the
 * number.
 */
static ElfW(Rela) settled(const ElfW(Rela) *wanted, const ElfW(Sym) *symbol)
{
    uint64_t type = ELF64_R_TYPE(wanted->r_info), number = ELF64_R_SYM(wanted->r_info);
    if ((type != R_X86_64_64 && type != R_X86_64_GLOB_DAT) || symbol->st_shndx == SHN_UNDEF || symbol->st_shndx == SHN_ABS) {
        return *wanted;
    }
    ElfW(Sxword) addend = (ElfW(Sxword))symbol->st_value + (type == R_X86_64_64 ? wanted->r_addend : 0);
    return (ElfW(Rela)){wanted->r_offset, ELF64_R_INFO(number, R_X86_64_RELATIVE), addend};
}

/* Write the relocations to the copy, settled. Their symbols are known to be in the file. */
static bool settle_symbols(int out, const Image *image)
{
    size_t size = value_of(image, DT_RELASZ);
    const ElfW(Rela) *table = size == 0 ? NULL : at_address(image, value_of(image, DT_RELA), size);
    const ElfW(Sym) *symbols = at_address(image, value_of(image, DT_SYMTAB), sizeof *symbols);
    ElfW(Rela) *written = table == NULL ? NULL : malloc(size);
    if (written == NULL) {
        return table == NULL;
    }
    for (size_t i = 0; i < size / sizeof *table; i++) {
        written[i] = settled(&table[i], &symbols[ELF64_R_SYM(table[i].r_info)]);
    }
    bool done = pwrite(out, written, size, (const char *)table - image->bytes) == (ssize_t)size;
    free(written);
    return done;
}

/* An anonymous file of the same size with all of it but the segments to come later; -1 with errno. */
static int copy(const Image *image, unsigned later)
{
    int out = memfd_create("libunicorn", MFD_CLOEXEC);
    bool copied = out >= 0 && ftruncate(out, (off_t)image->size) == 0;
    if (copied && later == 0) {
        copied = copy_range(out, image, 0, image->size);
    }
    for (int i = 0; copied && later != 0 && i < image->count; i++) {
        const ElfW(Phdr) *segment = &image->segments[i];
        if (segment->p_type == PT_LOAD && (later >> i & 1) == 0) {
            copied = copy_range(out, image, segment->p_offset & -PAGE, segment->p_offset + segment->p_filesz);
        }
    }
    if (copied && later != 0) {
        copied = hide_initialisers(out, image) && settle_symbols(out, image);
    }
    if (!copied && out >= 0) {
        close(out);
        out = -1;
    }
    return out;
}

/* Map what was left out from the file itself, over what the loader mapped there. */
static bool map_rest(const Image *image, unsigned later, uintptr_t base, int in)
{
    for (int i = 0; i < image->count; i++) {
        const ElfW(Phdr) *segment = &image->segments[i];
        if ((later >> i & 1) != 0) {
            int protection = PROT_READ | ((segment->p_flags & PF_X) != 0 ? PROT_EXEC : 0);
            uint64_t lead = segment->p_vaddr & (PAGE - 1);
            if (mmap((void *)(base + segment->p_vaddr - lead), segment->p_filesz + lead, protection, MAP_PRIVATE | MAP_FIXED, in,
                     (off_t)(segment->p_offset - lead)) == MAP_FAILED) {
                return false;
            }
        }
    }
    return true;
}

/* What the loader would have called. There is nothing to call at the end: the library stays. */
static void initialise(const Image *image, uintptr_t base)
{
    uint64_t init = value_of(image, DT_INIT), count = value_of(image, DT_INIT_ARRAYSZ) / sizeof(void *);
    if (init != 0) {
        ((void (*)(void))(base + init))();
    }
    void (**functions)(void) = (void (**)(void))(base + value_of(image, DT_INIT_ARRAY));
    for (uint64_t i = 0; i < count; i++) {
        functions[i]();
    }
}

/* Whether all that is to be loaded is there: the loader would find out by a fault. */
static bool complete(const Image *image)
{
    for (int i = 0; i < image->count; i++) {
        const ElfW(Phdr) *segment = &image->segments[i];
        if (segment->p_type == PT_LOAD && at_offset(image, segment->p_offset, segment->p_filesz) == NULL) {
            return false;
        }
    }
    return true;
}

static void *open_copy(const Image *image, int in, const char **why)
{
    char name[64];
    if (!complete(image)) {
        *why = "the file is cut short";
        return NULL;
    }
    unsigned later = left_out(image);
    int fd = copy(image, later);
    if (fd < 0) {
        *why = strerror(errno);
        return NULL;
    }
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    void *handle = dlopen(name, RTLD_LAZY | RTLD_LOCAL);
    close(fd);
    struct link_map *map = NULL;
    if (handle == NULL || dlinfo(handle, RTLD_DI_LINKMAP, &map) != 0) {
        *why = dlerror();
        return NULL;
    }
    if (later != 0) {
        if (!map_rest(image, later, map->l_addr, in)) {
            *why = strerror(errno);
            return NULL;
        }
        initialise(image, map->l_addr);
    }
    return handle;
}

void *avmm_open_private_copy(const char *path, const char **why)
{
    struct stat status;
    void *handle = NULL;
    int in = open(path, O_RDONLY | O_CLOEXEC);
    Image image = {0};
    if (in < 0 || fstat(in, &status) != 0) {
        *why = strerror(errno);
    } else if ((image.bytes = mmap(NULL, image.size = (size_t)status.st_size, PROT_READ, MAP_PRIVATE, in, 0)) == MAP_FAILED) {
        *why = strerror(errno);
    } else {
        parse(&image);
        handle = open_copy(&image, in, why);
        munmap((void *)image.bytes, image.size);
    }
    if (in >= 0) {
        close(in);
    }
    return handle;
}
