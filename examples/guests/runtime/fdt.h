// SPDX-License-Identifier: MIT
//
// What a guest wants to know of the device tree (Devicetree Specification v0.4, chapter 5).
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "limits.h"

struct machine {
    uintptr_t fdt;            // where it was found, 0 if nowhere
    unsigned cpus;            // /cpus/cpu@*, in the tree's order, at most MAX_CPUS
    uint64_t mpidr[MAX_CPUS]; // the affinity fields of each: its reg property
    char bootargs[256];       // /chosen/bootargs, cut to fit; a copy, for the tree may lie where nothing is mapped
};

extern struct machine machine;

// Reads the flattened device tree at `address`, or at the start of RAM when that is none: the arm64
// boot protocol passes it in x0, an ELF loader may leave x0 alone. Without one there is one vCPU.
void fdt_init(uintptr_t address);

// Whether `word` stands in the boot arguments, alone between blanks.
bool bootarg(const char *word);

// The value of `name=<decimal>` in the boot arguments, or `otherwise`.
uint64_t bootarg_number(const char *name, uint64_t otherwise);
