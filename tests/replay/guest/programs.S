// SPDX-License-Identifier: MIT
//
// The guest that transcripts run: small programs, each a global symbol, that tell what they see by storing to the mailbox.
// On entry: EL1, MMU off, DAIF masked. No program uses a stack.

#define MAILBOX_HI  0x0a00                      // x19 = 0x0a000000
#define GICD_HI     0x0800
#define GICR        0x080a0000
#define SGI_FRAME   0x10000

#define PSCI_VERSION         0x84000000
#define PSCI_CPU_SUSPEND     0xc4000001
#define PSCI_CPU_OFF         0x84000002
#define PSCI_CPU_ON          0xc4000003
#define PSCI_AFFINITY_INFO   0xc4000004
#define PSCI_SYSTEM_OFF      0x84000008
#define PSCI_SYSTEM_RESET    0x84000009
#define PSCI_SYSTEM_SUSPEND  0xc400000e
#define NOT_A_FUNCTION       0x8400ffff

#define ICC_PMR_EL1      S3_0_C4_C6_0
#define ICC_IAR1_EL1     S3_0_C12_C12_0
#define ICC_EOIR1_EL1    S3_0_C12_C12_1
#define ICC_SGI1R_EL1    S3_0_C12_C11_5
#define ICC_SRE_EL1      S3_0_C12_C12_5
#define ICC_IGRPEN1_EL1  S3_0_C12_C12_7
#define PMCR_EL0         S3_3_C9_C12_0
#define PMCNTENSET_EL0   S3_3_C9_C12_1
#define PMOVSSET_EL0     S3_3_C9_C14_3
#define PMINTENSET_EL1   S3_0_C9_C14_1

// Overflow of the cycle counter and of event counters 1 to 4.
#define OVERFLOWS   0x8000001e

        .macro  program name
        .global \name
\name:
        .endm

        .macro  mailbox
        movz    x19, #MAILBOX_HI, lsl #16
        .endm

        .macro  word register, value
        movz    \register, #(\value) & 0xffff
        movk    \register, #((\value) >> 16) & 0xffff, lsl #16
        .endm

        .text
        .global _start
_start: b       mmio

// Store 1, 2, 3, ...
program mmio
        mailbox
        mov     w1, #1
1:      str     w1, [x19]
        add     w1, w1, #1
        b       1b

// Load, then store what was read, 4 bytes on.
program mmio_read
        mailbox
1:      ldr     w1, [x19]
        str     w1, [x19, #4]
        b       1b

program spin
        b       spin

// Wait for an interrupt (or an event), store 1; again, 2; ...
program wfi
        mailbox
        mov     w1, #1
1:      wfi
        str     w1, [x19]
        add     w1, w1, #1
        b       1b

program wfe
        mailbox
        mov     w1, #1
1:      wfe
        str     w1, [x19]
        add     w1, w1, #1
        b       1b

// ---------------------------------------------------------------------------------------------------
// Firmware calls. Each stores the result.

program off
        word    w0, PSCI_SYSTEM_OFF
        b       system_call

program reset
        word    w0, PSCI_SYSTEM_RESET
system_call:
        mailbox
        hvc     #0
        str     w0, [x19, #0x20]
        b       .

program cpu_off
        mailbox
        word    w0, PSCI_CPU_OFF
        hvc     #0
        str     w0, [x19]
        b       .

program cpu_suspend
        mailbox
        word    w0, PSCI_CPU_SUSPEND
        mov     x1, xzr
        adr     x2, cpu_suspend
        mov     x3, xzr
        hvc     #0
        str     w0, [x19]
        b       .

program system_suspend
        mailbox
        word    w0, PSCI_SYSTEM_SUSPEND
        adr     x1, system_suspend
        mov     x2, xzr
        hvc     #0
        str     w0, [x19]
        b       .

program psci_version
        mailbox
        word    w0, PSCI_VERSION
        hvc     #0
        str     w0, [x19]
        word    w0, NOT_A_FUNCTION
        hvc     #0
        str     w0, [x19]
        b       .

// CPU_ON of vCPU 1, of the same once more, of the caller, of an MPIDR that nobody has; then AFFINITY_INFO of vCPU 1.
program cpu_on
        mailbox
        mov     x20, #1
        bl      turn_on
        str     w0, [x19]
        bl      turn_on
        str     w0, [x19, #4]
        mov     x20, #0
        bl      turn_on
        str     w0, [x19, #8]
        mov     x20, #99
        bl      turn_on
        str     w0, [x19, #0xc]
        word    w0, PSCI_AFFINITY_INFO
        mov     x1, #1
        mov     x2, xzr
        hvc     #0
        str     w0, [x19, #0x10]
        b       .

turn_on:
        word    w0, PSCI_CPU_ON
        mov     x1, x20
        adr     x2, secondary
        movz    x3, #0xabcd
        hvc     #0
        ret

// Where CPU_ON starts a vCPU: the context id, the own MPIDR, then off.
program secondary
        mailbox
        str     w0, [x19, #0x40]
        mrs     x1, mpidr_el1
        str     w1, [x19, #0x44]
        word    w0, PSCI_CPU_OFF
        hvc     #0
        b       .

// AFFINITY_INFO of vCPU 1, alone and with all that share its cluster.
program affinity
        mailbox
        word    w0, PSCI_AFFINITY_INFO
        mov     x1, #1
        mov     x2, xzr
        hvc     #0
        str     w0, [x19]
        word    w0, PSCI_AFFINITY_INFO
        mov     x1, #1
        mov     x2, #1
        hvc     #0
        str     w0, [x19, #4]
        b       .

// ---------------------------------------------------------------------------------------------------
// Interrupts through the GIC.

        .org    affinity + 180, 0               // a transcript tells where a vCPU waits: 188 bytes from there
wait:   mailbox
1:      wfi
        mrs     x1, ICC_IAR1_EL1
        cmp     w1, #1020
        b.hs    2f
        str     w1, [x19, #0x80]
        msr     ICC_EOIR1_EL1, x1
        b       1b
2:      movz    w2, #0x3ff
        str     w2, [x19, #0x84]
        b       1b

program gic_ready_wait
        bl      set_up_gic
        mailbox
        movz    w1, #0x600d
        str     w1, [x19]
        b       wait

program gic_wait
        bl      set_up_gic
        b       wait

program gic_poll
        bl      set_up_gic
        mailbox
        movz    w1, #0x600d
        str     w1, [x19]
1:      mrs     x1, ICC_IAR1_EL1
        cmp     w1, #1020
        b.hs    1b
        str     w1, [x19, #0x80]
        msr     ICC_EOIR1_EL1, x1
        b       1b

// SGI 5 to the vCPU with affinity 0.0.0.1.
program sgi1
        mailbox
        movz    x1, #0x0500, lsl #16
        orr     x1, x1, #2
        msr     ICC_SGI1R_EL1, x1
        isb
        mov     w1, #1
        str     w1, [x19]
        b       .

program vtimer
        bl      set_up_gic
        msr     cntv_tval_el0, xzr
        mov     x1, #1
        msr     cntv_ctl_el0, x1
        isb
        b       wait

program ptimer
        bl      set_up_gic
        msr     cntp_tval_el0, xzr
        mov     x1, #1
        msr     cntp_ctl_el0, x1
        isb
        b       wait

program pmu
        bl      set_up_gic
        bl      overflow
        b       wait

// ---------------------------------------------------------------------------------------------------
// The same without a GIC: whoever runs the guest drives the CPU's pin.

program vtimer_nogic
        mailbox
        msr     cntv_tval_el0, xzr
        mov     x1, #1
        msr     cntv_ctl_el0, x1
        isb
1:      mrs     x1, cntv_ctl_el0
        str     w1, [x19, #0x90]
        b       1b

program ptimer_nogic
        mailbox
        msr     cntp_tval_el0, xzr
        mov     x1, #1
        msr     cntp_ctl_el0, x1
        isb
1:      mrs     x1, cntp_ctl_el0
        str     w1, [x19, #0x90]
        b       1b

program pmu_nogic
        bl      overflow
        mailbox
1:      mrs     x1, PMOVSSET_EL0
        str     w1, [x19, #0x94]
        b       1b

// Have the PMU raise its interrupt: counters on, interrupts on, overflow flags set.
overflow:
        word    w1, OVERFLOWS
        msr     PMINTENSET_EL1, x1
        msr     PMCNTENSET_EL0, x1
        mrs     x2, PMCR_EL0
        orr     x2, x2, #1
        msr     PMCR_EL0, x2
        msr     PMOVSSET_EL0, x1
        isb
        ret

// Every interrupt enabled, in Group 1, at the highest priority; this vCPU takes them all. The distributor is switched on behind
// the private interrupts and ahead of the shared ones.
set_up_gic:
        mrs     x0, mpidr_el1
        and     x1, x0, #0xff
        ubfx    x0, x0, #8, #8
        add     x1, x1, x0, lsl #4              // the vCPU's number: 16 to a cluster
        word    w0, GICR
        add     x0, x0, x1, lsl #17
        str     wzr, [x0, #0x14]                // GICR_WAKER
        mov     w2, #-1
        add     x0, x0, #SGI_FRAME
        str     w2, [x0, #0x80]                 // GICR_IGROUPR0
        str     w2, [x0, #0x100]                // GICR_ISENABLER0
        movz    x0, #GICD_HI, lsl #16
        mov     w1, #0x12                       // GICD_CTLR: ARE, EnableGrp1
        str     w1, [x0]
        mov     w3, #4
1:      add     x1, x0, x3
        str     w2, [x1, #0x80]                 // GICD_IGROUPRn
        str     w2, [x1, #0x100]                // GICD_ISENABLERn
        add     w3, w3, #4
        cmp     w3, #0x80
        b.lo    1b
        mov     x1, #7
        msr     ICC_SRE_EL1, x1
        isb
        mov     x1, #0xf0
        msr     ICC_PMR_EL1, x1
        mov     x1, #1
        msr     ICC_IGRPEN1_EL1, x1
        isb
        ret
