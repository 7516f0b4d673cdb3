// SPDX-License-Identifier: MIT
//
// Instructions made up at run time: a block of them, then RET. And jumps to where there are none.
#include "misbehave.h"

enum { BLOCK = 512 };

static uint32_t code[BLOCK + 1] __attribute__((aligned(4096)));
static unsigned code_length;
static uint64_t scratch[512] __attribute__((aligned(4096)));

// Arm DDI 0487, "Synchronization and coherency issues between data and instruction accesses".
static void run_code(uint64_t x0) {
    code[code_length] = 0xd65f03c0; // RET
    for (uintptr_t line = (uintptr_t)code; line < (uintptr_t)&code[BLOCK + 1]; line += 64)
        __asm__ volatile("dc cvau, %0" ::"r"(line) : "memory");
    dsb_ish();
    __asm__ volatile("ic ialluis" ::: "memory");
    dsb_ish();
    isb();
    register uint64_t argument __asm__("x0") = x0;
    __asm__ volatile("blr %1" : "+r"(argument) : "r"(code) : "x1", "x30", "cc", "memory");
    tried += code_length;
    code_length = 0;
}

static void emit(uint32_t instruction, uint64_t x0) {
    code[code_length++] = instruction;
    if (code_length == BLOCK)
        run_code(x0);
}

// Arm DDI 0487, "A64 instruction set encoding": bits [28:25] = 0000 is reserved, 0001 unallocated, and a
// few encodings that exist and are not for a guest at EL1.
void undefined(void) {
    for (unsigned i = 0; i < 4096; i++)
        emit((uint32_t)random() & ~(0xfu << 25) & ~(1u << 31), 0);
    for (unsigned i = 0; i < 1024; i++)
        emit((uint32_t)random() << 5 | 0xd4400000, 0); // HLT
    for (unsigned i = 0; i < 1024; i++)
        emit(((uint32_t)random() & 0xffff) << 5 | 0xd4200000, 0); // BRK
    for (unsigned i = 0; i < 256; i++)
        emit(((uint32_t)random() & 0xffff) << 5 | 0xd4000001, 0); // SVC, from EL1
    for (unsigned i = 0; i < 256; i++)
        emit(((uint32_t)random() & 0xffff) << 5 | 0xd4000003, 0); // SMC
    for (unsigned i = 0; i < 256; i++)
        emit(((uint32_t)random() & 0xffff) << 5 | 0xd4000002, 0x84ffffff); // HVC with an immediate
    for (unsigned i = 1; i < 4; i++)
        emit(0xd4a00000 | i, 0); // DCPS1 to DCPS3, not in Debug state
    emit(0xd6bf03e0, 0); // DRPS
    emit(0x1e604000, 0); // FMOV: trapped by CPACR_EL1
    run_code(0);
}

// System registers are named by five fields: "MRS", "MSR (register)", "SYS".
#define ENCODING(op0, op1, crn, crm, op2) ((op0) << 19 | (op1) << 16 | (crn) << 12 | (crm) << 8 | (op2) << 5)
#define MSR 0xd5000000u // and SYS, with op0 = 1; the register is x0
#define MRS 0xd5200001u // and SYSL; the register is x1

// What holds the guest itself up: it would only be its own end.
static bool vital(uint32_t encoding) {
    static const uint32_t registers[] = {
        ENCODING(3, 0, 1, 0, 0),  // SCTLR_EL1
        ENCODING(3, 0, 2, 0, 0),  // TTBR0_EL1
        ENCODING(3, 0, 2, 0, 2),  // TCR_EL1
        ENCODING(3, 0, 4, 2, 0),  // SPSel
        ENCODING(3, 0, 10, 2, 0), // MAIR_EL1
        ENCODING(3, 0, 12, 0, 0), // VBAR_EL1
        ENCODING(3, 0, 13, 0, 4), // TPIDR_EL1
        ENCODING(3, 3, 4, 2, 1),  // DAIF
        ENCODING(3, 3, 14, 0, 0), // CNTFRQ_EL0, which the highest exception level may write: it may be this one
    };
    for (unsigned i = 0; i < sizeof registers / sizeof registers[0]; i++) {
        if (registers[i] == encoding)
            return true;
    }
    return false;
}

// All 32768 + 16384 encodings: each is read, then written, with a new random value every 512.
void sysreg(void) {
    for (uint32_t register_number = 0; register_number < 1 << 15; register_number++)
        emit(MRS | 2 << 19 | register_number << 5, 0);
    run_code(0);
    for (uint32_t register_number = 0; register_number < 1 << 15; register_number++) {
        uint32_t encoding = 2 << 19 | register_number << 5;
        if (!vital(encoding))
            emit(MSR | encoding, random());
    }
    run_code(random());
    for (uint32_t operation = 0; operation < 1 << 14; operation++) // caches, TLBs, address translation
        emit(MSR | 1 << 19 | operation << 5, (uint64_t)scratch);
    run_code((uint64_t)scratch);
}

void jump(void) {
    static const uintptr_t targets[] = {
        UART_BASE,           // device memory, execute-never
        GICD_BASE,           // the same
        MMU_WINDOW,          // not mapped
        0x7ffff000,          // RAM that is not there, if there is less than 1 GiB of it
        1ul << 45,           // beyond the tables
        ~0ul << 12,          // the other half of the address space, translation off (EPD1)
        (uintptr_t)code + 2, // not on an instruction's boundary
    };
    for (unsigned i = 0; i < sizeof targets / sizeof targets[0]; i++, tried++)
        ((void (*)(void))targets[i])();
}
