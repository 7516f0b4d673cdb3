/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Loading. The library is a private copy, so that the functions replaced in it stay replaced for this extension alone: another
 * user of unicorn in this process keeps the library as it was shipped.
 */
#define _GNU_SOURCE
#include "library.h"

#include "native.h"
#include "private_copy.h"

#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <link.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

Library lib;
Images images;

static char message[512];

static const char *fail(const char *what, const char *detail)
{
    snprintf(message, sizeof message, "%s: %s", what, detail);
    return message;
}

/* What the dynamic section of the library says about its relocations. */
typedef struct {
    uintptr_t base;
    const ElfW(Sym) *symbols;
    const char *names;
    const ElfW(Rela) *tables[2];
    size_t counts[2];
} Relocations;

static bool read_relocations(void *handle, Relocations *relocations)
{
    struct link_map *map = NULL;
    if (dlinfo(handle, RTLD_DI_LINKMAP, &map) != 0) {
        return false;
    }
    *relocations = (Relocations){.base = map->l_addr};
    for (const ElfW(Dyn) *entry = map->l_ld; entry->d_tag != DT_NULL; entry++) {
        const void *pointer = (const void *)entry->d_un.d_ptr;
        switch (entry->d_tag) {
        case DT_SYMTAB: relocations->symbols = pointer; break;
        case DT_STRTAB: relocations->names = pointer; break;
        case DT_RELA: relocations->tables[0] = pointer; break;
        case DT_RELASZ: relocations->counts[0] = entry->d_un.d_val / sizeof(ElfW(Rela)); break;
        case DT_JMPREL: relocations->tables[1] = pointer; break;
        case DT_PLTRELSZ: relocations->counts[1] = entry->d_un.d_val / sizeof(ElfW(Rela)); break;
        }
    }
    return relocations->symbols != NULL && relocations->names != NULL && relocations->tables[1] != NULL;
}

#define MAX_REPLACEMENTS 64
#define FILTER_SIZE 4096

static const Replacement *const replacements[] = {avmm_replacements, avmm_atomics};
#define GROUPS ((int)(sizeof replacements / sizeof *replacements))

/* A small number from a symbol's value, which tells most symbols from those looked for without a look at their names. */
static unsigned fingerprint(uintptr_t value)
{
    return (value >> 4) % FILTER_SIZE;
}

/* The replacement for `name`, with a mark that it was found; NULL when there is none. */
static const Replacement *replacement_of(const char *name, bool found[][MAX_REPLACEMENTS])
{
    for (int group = 0; group < GROUPS; group++) {
        for (int i = 0; replacements[group][i].name != NULL; i++) {
            if (strcmp(replacements[group][i].name, name) == 0) {
                found[group][i] = true;
                return &replacements[group][i];
            }
        }
    }
    return NULL;
}

/* Point every slot of every replaced function to what replaces it: calls, tables of helpers, and functions of libc. */
static const char *replace_functions(void *handle, const Relocations *relocations)
{
    bool found[GROUPS][MAX_REPLACEMENTS] = {{false}}, wanted[FILTER_SIZE] = {false};
    wanted[fingerprint(0)] = true; /* functions of other libraries have no value in this one */
    for (int group = 0; group < GROUPS; group++) {
        for (int i = 0; replacements[group][i].name != NULL; i++) {
            wanted[fingerprint((uintptr_t)dlsym(handle, replacements[group][i].name) - relocations->base)] = true;
        }
    }
    uintptr_t writable = 0; /* the page last made so */
    for (int table = 0; table < 2; table++) {
        for (size_t i = 0; i < relocations->counts[table]; i++) {
            const ElfW(Rela) *rela = &relocations->tables[table][i];
            if (ELF64_R_SYM(rela->r_info) == 0) {
                continue;
            }
            const ElfW(Sym) *symbol = &relocations->symbols[ELF64_R_SYM(rela->r_info)];
            const Replacement *replacement =
                wanted[fingerprint(symbol->st_value)] ? replacement_of(relocations->names + symbol->st_name, found) : NULL;
            if (replacement == NULL) {
                continue;
            }
            /* The slot may be in the part that is read-only after relocation. */
            uintptr_t slot = relocations->base + rela->r_offset, page = slot & ~(uintptr_t)4095;
            if (page != writable && mprotect((void *)page, 4096, PROT_READ | PROT_WRITE) != 0) {
                return fail(replacement->name, strerror(errno));
            }
            writable = page;
            *(void **)slot = replacement->function;
        }
    }
    for (int group = 0; group < GROUPS; group++) {
        for (int i = 0; replacements[group][i].name != NULL; i++) {
            if (!found[group][i]) {
                return fail("no such function in the library", replacements[group][i].name);
            }
        }
    }
    return NULL;
}

/* dl_iterate_phdr(): the end of the image that begins at `data`. */
static int measure_image(struct dl_phdr_info *info, size_t size, void *data)
{
    Image *image = data;
    (void)size;
    if (info->dlpi_addr != image->address) {
        return 0;
    }
    for (int i = 0; i < info->dlpi_phnum; i++) {
        uintptr_t end = info->dlpi_phdr[i].p_vaddr + info->dlpi_phdr[i].p_memsz;
        if (info->dlpi_phdr[i].p_type == PT_LOAD && end > image->size) {
            image->size = end;
        }
    }
    return 1;
}

/* The image that has `function`. */
static Image image_of(const void *function)
{
    Dl_info info;
    Image image = {0};
    if (dladdr(function, &info) != 0) {
        image.address = (uintptr_t)info.dli_fbase;
        dl_iterate_phdr(measure_image, &image);
    }
    return image;
}

const char *avmm_load_library(const char *path)
{
    const char *why = NULL;
    void *handle = avmm_open_private_copy(path, &why);
    if (handle == NULL) {
        return fail(path, why);
    }
#define RESOLVE_SYMBOL(field, name, result, arguments)                                                                   \
    if ((*(void **)&lib.field = dlsym(handle, name)) == NULL) {                                                          \
        return fail("no such function in the library", name);                                                            \
    }
    LIBRARY_SYMBOLS(RESOLVE_SYMBOL)
    images = (Images){image_of((const void *)lib.uc_open), image_of((const void *)avmm_load_library)};
    Relocations relocations;
    if (!read_relocations(handle, &relocations)) {
        return fail("no relocations in the library", "cannot replace its functions");
    }
    return replace_functions(handle, &relocations);
}

bool avmm_readable(const void *address, size_t size)
{
    /* write() looks before it leaps: EFAULT where reading would be SIGSEGV. */
    static int fd = -1;
    if (fd < 0 && (fd = memfd_create("probe", MFD_CLOEXEC)) < 0) {
        return true;
    }
    return pwrite(fd, address, size, 0) == (ssize_t)size;
}

/* One 64-bit read of `offset` behind `base`, or 0 when nothing is there. */
static uint64_t peek(const void *base, size_t offset)
{
    const char *address = (const char *)base + offset;
    return avmm_readable(address, 8) ? *(const uint64_t *)address : 0;
}

const char *avmm_calibrate(void *uc)
{
    const uint64_t pc = 0x1122334455667788, x7 = 0x99aabbccddeeff00, vbar = 0x0000123456789800;
    struct {
        uint32_t crn, crm, op0, op1, op2;
        uint64_t value;
    } vbar_el1 = {12, 0, 3, 0, 0, vbar};
    lib.uc_reg_write(uc, UC_ARM64_REG_PC, &pc);
    lib.uc_reg_write(uc, UC_ARM64_REG_X0 + 7, &x7);
    lib.uc_reg_write(uc, UC_ARM64_REG_CP_REG, &vbar_el1);

    const char *cpu = (const char *)peek(uc, UC_CPU);
    if (cpu == NULL || peek(cpu, CPU_ENV) != (uint64_t)(cpu + ARM_ENV)) {
        return "the CPU state is elsewhere";
    }
    const char *env = cpu + ARM_ENV;
    if (peek(env, ENV_PC) != pc || peek(env, ENV_XREGS + 7 * 8) != x7 || peek(env, 1216 + 8) != vbar) {
        return "the registers are elsewhere";
    }
    if (peek(cpu, CPU_ICOUNT_DECR) != (uint64_t)(cpu + ARM_ICOUNT_DECR) || peek(cpu, CPU_OPAQUE) != 0) {
        return "the exit flag is elsewhere";
    }
    const void *class = (const void *)peek(cpu, CPU_CLASS);
    if (peek(class, CLASS_EXEC_INTERRUPT) != (uint64_t)(uintptr_t)lib.exec_interrupt
        || peek(class, CLASS_TLB_FILL) != (uint64_t)(uintptr_t)lib.tlb_fill) {
        return "the CPU class is elsewhere";
    }
    if (peek((const void *)peek(uc, UC_PAGE_BITS), 0) >> 32 != PAGE_BITS) {
        return "the page size is not what was asked for";
    }
    uint64_t mask = peek(cpu, CPU_TLB + TLB_FAST);
    if (mask != 255 << TLB_ENTRY_BITS || peek((const void *)peek(cpu, CPU_TLB + TLB_FAST + 8), mask) != UINT64_MAX) {
        return "the TLB is elsewhere";
    }
    uint64_t zero = 0;
    vbar_el1.value = 0;
    lib.uc_reg_write(uc, UC_ARM64_REG_PC, &zero);
    lib.uc_reg_write(uc, UC_ARM64_REG_X0 + 7, &zero);
    lib.uc_reg_write(uc, UC_ARM64_REG_CP_REG, &vbar_el1);
    return NULL;
}
