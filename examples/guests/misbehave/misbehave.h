// SPDX-License-Identifier: MIT
//
// The parts of misbehave, and what they share.
#pragma once

#include "guest.h"

// How many things the part that runs has tried.
extern uint64_t tried;

// Noise; each part begins with the same.
uint64_t random(void);

// The interrupt controller afresh, whatever was done to it.
void interrupts_on(void);

void wild(void);
void unaligned(void);
void gicd(void);
void gicr(void);
void uart(void);

void undefined(void);
void sysreg(void);
void jump(void);

void psci_nonsense(void);
void sgi(void);

void lost(void);
_Noreturn void spin_masked(void);
