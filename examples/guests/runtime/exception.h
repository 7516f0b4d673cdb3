// SPDX-License-Identifier: MIT
//
// Exceptions taken to EL1 from EL1. start.S saves the frame; what happens then is up to the guest.
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct exception_frame {
    uint64_t x[31];
    uint64_t elr; // where to go on: a handler may move it
    uint64_t spsr;
    uint64_t unused; // SP must stay a multiple of 16
};

// ESR_EL1.EC, Arm DDI 0487, "Exception Syndrome Register (EL1)".
enum exception_class {
    EC_UNKNOWN = 0x00,
    EC_SVC = 0x15,
    EC_HVC = 0x16,
    EC_SMC = 0x17,
    EC_INSTRUCTION_ABORT = 0x21,
    EC_PC_ALIGNMENT = 0x22,
    EC_DATA_ABORT = 0x25,
    EC_SP_ALIGNMENT = 0x26,
};

// Called with interrupts masked, between acknowledge and end of interrupt.
typedef void (*irq_handler)(void);

// Returns whether the exception is dealt with.
typedef bool (*sync_handler)(struct exception_frame *frame, uint64_t esr, uint64_t far);

// One table for all vCPUs; `intid` is an SGI or PPI, 0 to 31. Set before the interrupt is enabled.
void irq_on(unsigned intid, irq_handler handler);

// For synchronous exceptions; without one, or when it returns false, the guest reports the exception
// and switches the machine off.
void sync_on(sync_handler handler);
