// SPDX-License-Identifier: MIT
//
// An identity map with caches on: the first GiB is Device memory, the next is RAM. RAM beyond is not used.
// Arm DDI 0487, "The AArch64 Virtual Memory System Architecture": 4 KiB granule, 39-bit addresses.
#pragma once

#include <stdint.h>

#define MMU_WINDOW 0x80000000ul // where mmu_window_pte() maps: the third GiB

// Fills the tables. Once, by the boot vCPU.
void mmu_init(void);

// Points this vCPU at them and sets SCTLR_EL1.{M,C,I}.
void mmu_enable(void);

// Maps every GiB that is not yet mapped to itself as Device memory, never executable.
void mmu_map_everything(void);

// The level 3 descriptor of the page at MMU_WINDOW; invalid until written.
volatile uint64_t *mmu_window_pte(void);

// A valid level 3 descriptor for normal memory at the physical address `page`.
uint64_t mmu_page_descriptor(uintptr_t page);
