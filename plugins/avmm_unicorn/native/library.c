/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Loading. The library is loaded from a private in-memory copy of the file, so that the functions replaced in it stay
 * replaced for this extension alone: another user of unicorn in this process keeps the library as it was shipped.
 */
#define _GNU_SOURCE
#include "library.h"

#include "native.h"

#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

Library lib;

static char message[512];

static const char *fail(const char *what, const char *detail)
{
    snprintf(message, sizeof message, "%s: %s", what, detail);
    return message;
}

/* A file descriptor of an anonymous copy of `path`, or -1 with errno. */
static int copy_of(const char *path)
{
    struct stat status;
    int in = open(path, O_RDONLY | O_CLOEXEC), out = -1;
    if (in >= 0 && fstat(in, &status) == 0) {
        out = memfd_create("libunicorn", MFD_CLOEXEC);
    }
    for (off_t left = out < 0 ? 0 : status.st_size; left > 0;) {
        ssize_t sent = sendfile(out, in, NULL, (size_t)left);
        if (sent <= 0) {
            close(out);
            out = -1;
            break;
        }
        left -= sent;
    }
    if (in >= 0) {
        close(in);
    }
    return out;
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

/* The index of the replacement for `name`, or -1. */
static int replacement_of(const Replacement *replacements, const char *name)
{
    for (int i = 0; replacements[i].name != NULL; i++) {
        if (strcmp(replacements[i].name, name) == 0) {
            return i;
        }
    }
    return -1;
}

/* Point every slot of every replaced function to what replaces it: calls, tables of helpers, and functions of libc. */
static const char *replace_functions(const Relocations *relocations, const Replacement *replacements)
{
    bool patched[MAX_REPLACEMENTS] = {false};
    for (int table = 0; table < 2; table++) {
        for (size_t i = 0; i < relocations->counts[table]; i++) {
            const ElfW(Rela) *rela = &relocations->tables[table][i];
            if (ELF64_R_SYM(rela->r_info) == 0) {
                continue;
            }
            const ElfW(Sym) *symbol = &relocations->symbols[ELF64_R_SYM(rela->r_info)];
            int index = replacement_of(replacements, relocations->names + symbol->st_name);
            if (index < 0) {
                continue;
            }
            /* The slot may be in the part that is read-only after relocation. */
            uintptr_t slot = relocations->base + rela->r_offset;
            if (mprotect((void *)(slot & ~(uintptr_t)4095), 4096, PROT_READ | PROT_WRITE) != 0) {
                return fail(replacements[index].name, strerror(errno));
            }
            *(void **)slot = replacements[index].function;
            patched[index] = true;
        }
    }
    for (int i = 0; replacements[i].name != NULL; i++) {
        if (!patched[i]) {
            return fail("no such function in the library", replacements[i].name);
        }
    }
    return NULL;
}

const char *avmm_load_library(const char *path)
{
    char copy[64];
    int fd = copy_of(path);
    if (fd < 0) {
        return fail(path, strerror(errno));
    }
    snprintf(copy, sizeof copy, "/proc/self/fd/%d", fd);
    void *handle = dlopen(copy, RTLD_LAZY | RTLD_LOCAL);
    close(fd);
    if (handle == NULL) {
        return fail(path, dlerror());
    }
#define RESOLVE_SYMBOL(field, name, result, arguments)                                                                   \
    if ((*(void **)&lib.field = dlsym(handle, name)) == NULL) {                                                          \
        return fail("no such function in the library", name);                                                            \
    }
    LIBRARY_SYMBOLS(RESOLVE_SYMBOL)
    Relocations relocations;
    if (!read_relocations(handle, &relocations)) {
        return fail("no relocations in the library", "cannot replace its functions");
    }
    const char *error = replace_functions(&relocations, avmm_replacements);
    return error != NULL ? error : replace_functions(&relocations, avmm_atomics);
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
