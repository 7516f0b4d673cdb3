// SPDX-License-Identifier: MIT
//
// The first instructions of a guest, of every further vCPU, and of every exception.

#include "limits.h"

// ---------------------------------------------------------------------------------------------------
// The header of an arm64 Image: "Booting AArch64 Linux", section 4. Its first word is a branch, so
// the entry point is the first byte of the image. On entry: EL1, MMU off, DAIF masked, x0 = the
// physical address of the device tree.

        .section .head, "ax"
        .global _start
_start: b       primary_entry           // code0
        .word   0                       // code1
        .quad   TEXT_OFFSET             // text_offset: from a 2 MiB boundary
        .quad   _image_size             // image_size: .bss and stacks included
        .quad   0x2                     // flags: little endian, 4 KiB pages, near the start of RAM
        .quad   0, 0, 0                 // res2..res4
        .ascii  "ARM\x64"               // magic
        .word   0                       // res5

// ---------------------------------------------------------------------------------------------------
// The boot vCPU: a stack, vectors, a zeroed .bss, then C.

        .text
primary_entry:
        mov     x19, x0
        mov     x0, xzr
        bl      set_up_stack_and_vectors
        ldr     x1, =_bss
        ldr     x2, =_bss_end
1:      cmp     x1, x2
        b.eq    2f
        stp     xzr, xzr, [x1], #16
        b       1b
2:      mov     x0, x19
        b       primary_main

// A secondary vCPU, by PSCI CPU_ON: x0 is the context id, which here is the vCPU's index
// (Arm DEN 0022, "CPU_ON"). It comes in the same state as the boot vCPU did.

        .global secondary_entry
secondary_entry:
        mov     x19, x0
        bl      set_up_stack_and_vectors
        mov     x0, x19
        b       secondary_main

// In: x0 = the vCPU's index. Stacks grow down: the stack of vCPU n ends where that of n + 1 begins.
set_up_stack_and_vectors:
        ldr     x1, =stacks
        add     x2, x0, #1
        mov     x3, #STACK_SIZE
        madd    x1, x2, x3, x1
        mov     sp, x1
        ldr     x1, =vectors
        msr     vbar_el1, x1
        msr     tpidr_el1, x0           // where cpu_id() reads it
        isb
        ret

// ---------------------------------------------------------------------------------------------------
// The vector table: Arm DDI 0487, "Exception vectors". Sixteen entries of 128 bytes; the entry's
// number goes to C as the second argument.

        .macro  VECTOR number
        .balign 128
        sub     sp, sp, #FRAME_SIZE
        stp     x0, x1, [sp]
        mov     x1, #\number
        b       exception
        .endm

        .balign 2048
vectors:
        .irp    number, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
        VECTOR  \number
        .endr

// Saves what C calls a struct exception_frame, lets C look at it and change it, and returns there.
exception:
        stp     x2, x3, [sp, #16]
        stp     x4, x5, [sp, #32]
        stp     x6, x7, [sp, #48]
        stp     x8, x9, [sp, #64]
        stp     x10, x11, [sp, #80]
        stp     x12, x13, [sp, #96]
        stp     x14, x15, [sp, #112]
        stp     x16, x17, [sp, #128]
        stp     x18, x19, [sp, #144]
        stp     x20, x21, [sp, #160]
        stp     x22, x23, [sp, #176]
        stp     x24, x25, [sp, #192]
        stp     x26, x27, [sp, #208]
        stp     x28, x29, [sp, #224]
        mrs     x2, elr_el1
        mrs     x3, spsr_el1
        stp     x30, x2, [sp, #240]
        str     x3, [sp, #256]
        mov     x0, sp
        bl      exception_main

        ldr     x3, [sp, #256]
        ldp     x30, x2, [sp, #240]
        msr     spsr_el1, x3
        msr     elr_el1, x2
        ldp     x28, x29, [sp, #224]
        ldp     x26, x27, [sp, #208]
        ldp     x24, x25, [sp, #192]
        ldp     x22, x23, [sp, #176]
        ldp     x20, x21, [sp, #160]
        ldp     x18, x19, [sp, #144]
        ldp     x16, x17, [sp, #128]
        ldp     x14, x15, [sp, #112]
        ldp     x12, x13, [sp, #96]
        ldp     x10, x11, [sp, #80]
        ldp     x8, x9, [sp, #64]
        ldp     x6, x7, [sp, #48]
        ldp     x4, x5, [sp, #32]
        ldp     x2, x3, [sp, #16]
        ldp     x0, x1, [sp], #FRAME_SIZE
        eret

        .section .stacks, "aw", %nobits
        .balign 16
stacks: .skip   STACK_SIZE * MAX_CPUS
