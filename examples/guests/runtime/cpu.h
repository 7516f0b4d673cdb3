// SPDX-License-Identifier: MIT
//
// vCPUs by index: 0 is the one that boots, the others are as the device tree lists them.
#pragma once

#include <stdint.h>

#include "arch.h"

static inline unsigned cpu_id(void) { return (unsigned)read_sysreg(tpidr_el1); }

unsigned cpu_count(void);

// Aff3.Aff2.Aff1.Aff0 as in MPIDR_EL1.
uint64_t cpu_mpidr(unsigned cpu);

// PSCI CPU_ON: vCPU `cpu` calls entry(), MMU on, interrupts masked; when that returns, CPU_OFF.
// Returns a psci_result.
int cpu_start(unsigned cpu, void (*entry)(void));

// Starts all others and, for a start that is refused, says so and switches the machine off.
void cpu_start_others(void (*entry)(void));

// Waits until AFFINITY_INFO says OFF for all others.
void cpu_wait_for_others_off(void);
