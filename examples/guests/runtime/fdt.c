// SPDX-License-Identifier: MIT
#include "fdt.h"

#include "arch.h"

#define RAM_BASE 0x40000000ul
#define MPIDR_AFFINITY 0xff00fffffful

// Devicetree Specification v0.4, section 5.2 (the header) and 5.4 (the structure block).
enum {
    MAGIC = 0xd00dfeed,
    HEADER_OFF_DT_STRUCT = 8,
    HEADER_OFF_DT_STRINGS = 12,
    FDT_BEGIN_NODE = 1,
    FDT_END_NODE = 2,
    FDT_PROP = 3,
    FDT_NOP = 4,
};

struct machine machine;

static uint32_t big_endian(uintptr_t address) {
    return __builtin_bswap32(*(const uint32_t *)address);
}

static uintptr_t align4(uintptr_t address) { return (address + 3) & ~3ul; }

static bool starts_with(const char *text, const char *prefix) {
    while (*prefix) {
        if (*text++ != *prefix++)
            return false;
    }
    return true;
}

static bool equals(const char *a, const char *b) {
    return starts_with(a, b) && starts_with(b, a);
}

static uintptr_t after_string(uintptr_t address) {
    while (*(const char *)address)
        address++;
    return align4(address + 1);
}

static void add_cpu(uintptr_t reg, uint32_t length) {
    if (machine.cpus == MAX_CPUS)
        return;
    uint64_t mpidr = big_endian(reg);
    if (length == 8) // #address-cells = <2>
        mpidr = mpidr << 32 | big_endian(reg + 4);
    machine.mpidr[machine.cpus++] = mpidr;
}

static void copy_bootargs(const char *text) {
    for (unsigned i = 0; i < sizeof machine.bootargs - 1 && text[i]; i++)
        machine.bootargs[i] = text[i];
}

static void walk(uintptr_t fdt) {
    const char *strings = (const char *)fdt + big_endian(fdt + HEADER_OFF_DT_STRINGS);
    uintptr_t at = fdt + big_endian(fdt + HEADER_OFF_DT_STRUCT);
    const char *node = "", *parent = "";
    unsigned depth = 0;
    for (;;) {
        uint32_t token = big_endian(at);
        at += 4;
        if (token == FDT_BEGIN_NODE) {
            const char *name = (const char *)at;
            depth++; // the root is 1, /cpus and /chosen are 2, /cpus/cpu@0 is 3
            if (depth == 2)
                parent = name;
            node = name;
            at = after_string(at);
        } else if (token == FDT_END_NODE) {
            depth--;
        } else if (token == FDT_PROP) {
            uint32_t length = big_endian(at);
            const char *name = strings + big_endian(at + 4);
            uintptr_t value = at + 8;
            if (depth == 3 && equals(parent, "cpus") && starts_with(node, "cpu@") && equals(name, "reg"))
                add_cpu(value, length);
            if (depth == 2 && equals(parent, "chosen") && equals(name, "bootargs"))
                copy_bootargs((const char *)value);
            at = align4(value + length);
        } else if (token != FDT_NOP) {
            return; // FDT_END, or not a device tree after all
        }
    }
}

void fdt_init(uintptr_t address) {
    const uintptr_t candidates[] = {address, RAM_BASE};
    for (unsigned i = 0; i < 2 && !machine.fdt; i++) {
        uintptr_t fdt = candidates[i];
        if (fdt >= RAM_BASE && fdt % 8 == 0 && big_endian(fdt) == MAGIC) {
            machine.fdt = fdt;
            walk(fdt);
        }
    }
    if (!machine.cpus)
        machine.mpidr[machine.cpus++] = read_sysreg(mpidr_el1) & MPIDR_AFFINITY;
}

// The text behind `prefix` at the start of some word of the boot arguments, or null.
static const char *find_word(const char *prefix) {
    const char *text = machine.bootargs;
    while (*text) {
        if (starts_with(text, prefix)) {
            while (*prefix++)
                text++;
            return text;
        }
        while (*text && *text != ' ')
            text++;
        while (*text == ' ')
            text++;
    }
    return 0;
}

bool bootarg(const char *word) {
    const char *rest = find_word(word);
    return rest && (*rest == 0 || *rest == ' ');
}

uint64_t bootarg_number(const char *name, uint64_t otherwise) {
    const char *digits = find_word(name);
    if (!digits || *digits++ != '=')
        return otherwise;
    uint64_t value = 0;
    for (; *digits >= '0' && *digits <= '9'; digits++)
        value = value * 10 + (uint64_t)(*digits - '0');
    return value;
}
