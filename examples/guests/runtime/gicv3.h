// SPDX-License-Identifier: MIT
//
// Generic Interrupt Controller, version 3 (Arm IHI 0069): affinity routing, one security state or
// the non-secure side of two, all interrupts in group 1, CPU interface by system registers.
#pragma once

#include <stdint.h>

#define GICD_BASE 0x08000000ul
#define GICR_BASE 0x080a0000ul
#define GICR_STRIDE 0x20000ul // two frames of 64 KiB a vCPU: RD_base and SGI_base

enum { INTID_SPURIOUS = 1023 };

// The distributor: once, by the boot vCPU. Whatever state it was in, all SPIs end up disabled.
void gic_init(void);

// This vCPU's redistributor and CPU interface, with all SGIs and both timers' PPIs enabled.
void gic_cpu_init(void);

// ICC_SGI1R_EL1: sends SGI `intid` (0 to 15) to the one vCPU with this affinity. What this vCPU
// stored before is visible to the other when it takes the interrupt.
void gic_send_sgi(uint64_t mpidr, unsigned intid);

// ICC_IAR1_EL1: acknowledges; INTID_SPURIOUS if there is nothing to take.
unsigned gic_acknowledge(void);

// ICC_EOIR1_EL1: drops the priority and deactivates.
void gic_end(unsigned intid);
