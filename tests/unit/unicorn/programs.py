"""Guest programs for these tests: machine code, with the assembly it was made from beside every word."""

from __future__ import annotations

Words = tuple[int, ...]


def rounds(*body: int) -> Words:
    """`body` x0 times, then a wait for an interrupt."""
    back = -(len(body) + 1) & 0x7FFFF
    return (
        *body,
        0xF1000400,  # subs x0, x0, #1
        0x54000001 | back << 5,  # b.ne, to the body
        0xD503207F,  # wfi
    )


# Wait for an interrupt, then for ever.
WFI = (
    0xD503207F,  # wfi
    0x14000000,  # b .
)

# Wait for an event, then say so: x0 = 1.
WFE = (
    0xD503205F,  # wfe
    0xD2800020,  # mov x0, #1
    0xD503207F,  # wfi
)

# Yield, then say so: x0 = 1.
YIELD = (
    0xD503203F,  # yield
    0xD2800020,  # mov x0, #1
    0xD503207F,  # wfi
)

# Spin.
SPIN = (
    0x14000000,  # b .
)

# Two hypercalls, then what came back in x0 goes to x4.
HVC = (
    0xD2800140,  # mov x0, #10
    0xD2800161,  # mov x1, #11
    0xD4002462,  # hvc #0x123
    0xAA0003E4,  # mov x4, x0
    0xD40008A3,  # smc #0x45
    0xD503207F,  # wfi
)

# SVC at EL1.
SVC = (
    0xD2800020,  # mov x0, #1
    0xD400B4A1,  # svc #0x5a5
    0xD2800040,  # mov x0, #2
    0xD503207F,  # wfi
)

# Drop to EL0 at the address in x1, then SVC from there.
EL0_SVC = (
    0xD5184021,  # msr elr_el1, x1
    0xD518401F,  # msr spsr_el1, xzr
    0xD69F03E0,  # eret
    0xD40000E1,  # svc #7
)

# Every vector: stop; x29 counts the exceptions taken.
VECTOR = (
    0x910007BD,  # add x29, x29, #1
    0xD503207F,  # wfi
    0x14000000,  # b .
)

# Every vector: count it in x29, make a hypercall, stop.
CALLING_VECTOR = (
    0x910007BD,  # add x29, x29, #1
    0xD4000002,  # hvc #0
    0xD503207F,  # wfi
)

# Every vector: count it in x29 and go on behind the instruction that was refused.
SKIP_VECTOR = (
    0x910007BD,  # add x29, x29, #1
    0xD538403C,  # mrs x28, elr_el1
    0x9100139C,  # add x28, x28, #4
    0xD518403C,  # msr elr_el1, x28
    0xD69F03E0,  # eret
)

# Every vector: count it in x29 and go back.
RETURN_VECTOR = (
    0x910007BD,  # add x29, x29, #1
    0xD69F03E0,  # eret
)

# Store to the address in x1, and return.
STORE_VECTOR = (
    0xB9000020,  # str w0, [x1]
    0xD69F03E0,  # eret
)

# One load of each width from the address in x1.
LOAD = (
    0x39400022,  # ldrb w2, [x1]
    0x79400423,  # ldrh w3, [x1, #2]
    0xB9400424,  # ldr w4, [x1, #4]
    0xF9400425,  # ldr x5, [x1, #8]
    0x39804026,  # ldrsb x6, [x1, #16]
    0xB9801427,  # ldrsw x7, [x1, #20]
    0xD503207F,  # wfi
)

# One store of each width to the address in x1.
STORE = (
    0x39000022,  # strb w2, [x1]
    0x79000422,  # strh w2, [x1, #2]
    0xB9000422,  # str w2, [x1, #4]
    0xF9000422,  # str x2, [x1, #8]
    0xD503207F,  # wfi
)

# A pair to the address in x1 and a pair back.
PAIR = (
    0xA9000C22,  # stp x2, x3, [x1]
    0xA9411424,  # ldp x4, x5, [x1, #16]
    0xD503207F,  # wfi
)

# A load and a store that lie across two words.
UNALIGNED = (
    0xB8402022,  # ldr w2, [x1, #2]
    0xB8006023,  # str w3, [x1, #6]
    0xD503207F,  # wfi
)

# Clear a block of memory where there is none.
ZVA = (
    0xD50B7421,  # dc zva, x1
    0xD503207F,  # wfi
)

# Exclusives on what is no memory.
ATOMIC = (
    0xC85F7C22,  # ldxr x2, [x1]
    0xC8037C22,  # stxr w3, x2, [x1]
    0xD503207F,  # wfi
)

# A load that moves its base, at x1, in a block with more before and behind it.
POST_INDEX = (
    0x91000463,  # add x3, x3, #1
    0x91000463,  # add x3, x3, #1
    0xF8408422,  # ldr x2, [x1], #8
    0x91000463,  # add x3, x3, #1
    0xD503207F,  # wfi
)

# The same for a store.
STORE_PRE_INDEX = (
    0x91000463,  # add x3, x3, #1
    0xF8008C22,  # str x2, [x1, #8]!
    0x91000463,  # add x3, x3, #1
    0xD503207F,  # wfi
)

# Go to the address in x1.
BRANCH = (
    0xD61F0020,  # br x1
)

# Use a floating-point register, trapped or not as CPACR_EL1 says, which is set to x1 first.
FP = (
    0xD5181041,  # msr cpacr_el1, x1
    0xD5033FDF,  # isb
    0x9E670040,  # fmov d0, x2
    0xD2800023,  # mov x3, #1
    0xD503207F,  # wfi
)

# Set CPACR_EL1 to x2, then use a floating-point register at EL0, at the address in x1.
EL0_FP = (
    0xD5181042,  # msr cpacr_el1, x2
    0xD5184021,  # msr elr_el1, x1
    0xD518401F,  # msr spsr_el1, xzr
    0xD69F03E0,  # eret
    0x9E670040,  # fmov d0, x2
    0xD40000E1,  # svc #7
)

# The one instruction that is undefined for good.
UNDEFINED = (
    0xD2800020,  # mov x0, #1
    0x00000000,  # udf #0
    0xD2800040,  # mov x0, #2
    0xD503207F,  # wfi
)

# A breakpoint instruction.
BRK = (
    0xD4200EE0,  # brk #0x77
    0xD503207F,  # wfi
)

# S3_3_C15_C2_0 to x2.
READ_REGISTER = (
    0xD2800023,  # mov x3, #1
    0xD53BF202,  # mrs x2, s3_3_c15_c2_0
    0xD2800043,  # mov x3, #2
    0xD503207F,  # wfi
)

# x2 to S3_3_C15_C2_0.
WRITE_REGISTER = (
    0xD2800023,  # mov x3, #1
    0xD51BF202,  # msr s3_3_c15_c2_0, x2
    0xD2800043,  # mov x3, #2
    0xD503207F,  # wfi
)

# Drop to EL0 at the address in x1 and read S3_3_C15_C2_0 there.
EL0_READ_REGISTER = (
    0xD5184021,  # msr elr_el1, x1
    0xD518401F,  # msr spsr_el1, xzr
    0xD69F03E0,  # eret
    0xD53BF202,  # mrs x2, s3_3_c15_c2_0
    0xD4000001,  # svc #0
)

# Drop to EL0 at the address in x1 and write x2 to S3_3_C15_C2_0 there.
EL0_WRITE_REGISTER = (
    0xD5184021,  # msr elr_el1, x1
    0xD518401F,  # msr spsr_el1, xzr
    0xD69F03E0,  # eret
    0xD51BF202,  # msr s3_3_c15_c2_0, x2
    0xD4000001,  # svc #0
)

# Drop to EL0 at the address in x1 and read CNTVCT_EL0 there.
EL0_COUNTER = (
    0xD5184021,  # msr elr_el1, x1
    0xD518401F,  # msr spsr_el1, xzr
    0xD69F03E0,  # eret
    0xD53BE042,  # mrs x2, cntvct_el0
    0xD4000001,  # svc #0
)

# Identification.
ID = (
    0xD53800A2,  # mrs x2, mpidr_el1
    0xD5380003,  # mrs x3, midr_el1
    0xD51800A2,  # msr s3_0_c0_c0_5, x2
    0xD503207F,  # wfi
)

# Read the virtual counter twice.
COUNTER = (
    0xD53BE042,  # mrs x2, cntvct_el0
    0xD53BE043,  # mrs x3, cntvct_el0
    0xD503207F,  # wfi
)

# Unmask interrupts, then count in x0 for ever.
UNMASK = (
    0xD50342FF,  # msr daifclr, #2
    0x91000400,  # add x0, x0, #1
    0x17FFFFFF,  # b .-4
)

# Ways to unmask interrupts, then x0 rounds.
UNMASK_BY_CLEARING = (
    0xD50342FF,  # msr daifclr, #2
    0xF1000400,  # subs x0, x0, #1
    0x54FFFFE1,  # b.ne .-4
    0xD503207F,  # wfi
)
UNMASK_BY_WRITING = (
    0xD51B423F,  # msr daif, xzr
    *UNMASK_BY_CLEARING[1:],
)
UNMASK_BY_RETURNING = (
    0xD28068A2,  # mov x2, #0x345
    0xD5184002,  # msr spsr_el1, x2
    0x10000061,  # adr x1, .+12
    0xD5184021,  # msr elr_el1, x1
    0xD69F03E0,  # eret
    *UNMASK_BY_CLEARING[1:],
)

# x2 to S3_3_C15_C2_0, then unmask interrupts, or the other way around; then x0 rounds.
WRITE_AND_UNMASK = (
    0xD51BF202,  # msr s3_3_c15_c2_0, x2
    *UNMASK_BY_CLEARING,
)
UNMASK_AND_WRITE = (
    0xD50342FF,  # msr daifclr, #2
    0xD51BF202,  # msr s3_3_c15_c2_0, x2
    *UNMASK_BY_CLEARING[1:],
)

# Unmask fast interrupts alone, then count in x0 for ever.
UNMASK_FIQ = (
    0xD50341FF,  # msr daifclr, #1
    0x91000400,  # add x0, x0, #1
    0x17FFFFFF,  # b .-4
)

# Wait for an interrupt with interrupts unmasked.
UNMASK_WFI = (
    0xD50342FF,  # msr daifclr, #2
    0xD503207F,  # wfi
    0xD2800020,  # mov x0, #1
    0xD503207F,  # wfi
)

# A store that raises the interrupt line, an ISB, then x0 = 1.
IRQ_FROM_STORE = (
    0xD50342FF,  # msr daifclr, #2
    0xB9000020,  # str w0, [x1]
    0xD5033FDF,  # isb
    0xD2800020,  # mov x0, #1
    0xD503207F,  # wfi
)

# Follow the pointer at x0 for ever; it points to itself. x1 counts.
CHASE = (
    0xF9400000,  # ldr x0, [x0]
    0x91000421,  # add x1, x1, #1
    0xF9400000,  # ldr x0, [x0]
    0x91000421,  # add x1, x1, #1
    0x17FFFFFC,  # b .-16
)

# A store and a load that must stay in step: x2 counts, the memory at x0 holds the same.
PUSH = (
    0x91000442,  # add x2, x2, #1
    0xF9000002,  # str x2, [x0]
    0xF9400003,  # ldr x3, [x0]
    0xCB030044,  # sub x4, x2, x3
    0xAA0400A5,  # orr x5, x5, x4
    0x17FFFFFB,  # b .-20
)

# x0 rounds of three instructions.
ADD_LOOP = rounds(
    0x8B000021,  # add x1, x1, x0
)

# x0 rounds with a trap, an exception, memory and branches in them; every result ends in x9.
MIXED_LOOP = (
    0xB9400102,  # ldr w2, [x8]
    0x8B020129,  # add x9, x9, x2
    0xD4000001,  # svc #0
    0x8B1D0129,  # add x9, x9, x29
    0xF90000E9,  # str x9, [x7]
    0xF94000E3,  # ldr x3, [x7]
    0xD53BF204,  # mrs x4, s3_3_c15_c2_0
    0x8B040129,  # add x9, x9, x4
    0x36000040,  # tbz x0, #0, .+8
    0x91000D29,  # add x9, x9, #3
    0x94000004,  # bl .+16
    0xF1000400,  # subs x0, x0, #1
    0x54FFFE81,  # b.ne .-48
    0xD503207F,  # wfi
    0xCA030129,  # eor x9, x9, x3
    0xD65F03C0,  # ret
)

# Write the instruction in w2 over the one at x1, with cache maintenance, then go there.
REWRITE = (
    0xB9000022,  # str w2, [x1]
    0xD50B7B21,  # dc cvau, x1
    0xD5033B9F,  # dsb ish
    0xD50B7521,  # ic ivau, x1
    0xD5033B9F,  # dsb ish
    0xD5033FDF,  # isb
    0xD61F0020,  # br x1
)

# The same with all of the instruction cache invalidated.
REWRITE_ALL = (
    0xB9000022,  # str w2, [x1]
    0xD5033B9F,  # dsb ish
    0xD508751F,  # ic iallu
    0xD5033B9F,  # dsb ish
    0xD5033FDF,  # isb
    0xD61F0020,  # br x1
)

# Write over the next instruction but one, without any maintenance.
REWRITE_SELF = (
    0x10000081,  # adr x1, .+16
    0xB9000022,  # str w2, [x1]
    0x14000001,  # b .+4
    0xD503201F,  # nop
    0xD2800020,  # mov x0, #1
    0xD503207F,  # wfi
)

# Call the function at x1 and stop.
CALL = (
    0xD63F0020,  # blr x1
    0xD503207F,  # wfi
)

# Invalidate the instruction cache line at x1.
INVALIDATE_LINE = (
    0xD50B7521,  # ic ivau, x1
    0xD5033B9F,  # dsb ish
    0xD5033FDF,  # isb
    0xD503207F,  # wfi
)

# A function: x0 = 1.
SET_ONE = (
    0xD2800020,  # mov x0, #1
    0xD65F03C0,  # ret
)

# The same length: x0 = 2.
SET_TWO = (
    0xD2800040,  # mov x0, #2
    0xD65F03C0,  # ret
)

# Translation on: TCR in x2, TTBR0 in x3, MAIR 0xff in attribute 0, SCTLR in x4; then read x1.
MMU_ON = (
    0xD2801FE5,  # mov x5, #0xff
    0xD518A205,  # msr mair_el1, x5
    0xD5182042,  # msr tcr_el1, x2
    0xD5182003,  # msr ttbr0_el1, x3
    0xD5033FDF,  # isb
    0xD5181004,  # msr sctlr_el1, x4
    0xD5033FDF,  # isb
    0xF9400020,  # ldr x0, [x1]
    0xD503207F,  # wfi
)

# Read x1 to x0 and wait; for ever.
LOAD_WFI = (
    0xF9400020,  # ldr x0, [x1]
    0xD503207F,  # wfi
    0x17FFFFFE,  # b .-8
)

# Invalidate all translations, everywhere.
TLBI_ALL = (
    0xD5033A9F,  # dsb ishst
    0xD508831F,  # tlbi vmalle1is
    0xD5033B9F,  # dsb ish
    0xD5033FDF,  # isb
    0xD503207F,  # wfi
)

# Invalidate the translation of the page with number x1, everywhere.
TLBI_PAGE = (
    0xD5033A9F,  # dsb ishst
    0xD5088361,  # tlbi vaae1is, x1
    0xD5033B9F,  # dsb ish
    0xD5033FDF,  # isb
    0xD503207F,  # wfi
)

# x0 stores to the address in x1.
STORE_LOOP = rounds(
    0xF9000020,  # str x0, [x1]
)

# x0 hypercalls.
STEP_HVC = (
    0xD4000002,  # hvc #0
    0xD1000463,  # sub x3, x3, #1
    0xB5FFFFC3,  # cbnz x3, .-8
    0xD503207F,  # wfi
)

# x0 reads of a device at x1.
READ_LOOP = rounds(
    0xB9400022,  # ldr w2, [x1]
)

# x0 writes to a device at x1.
WRITE_LOOP = rounds(
    0xB9000022,  # str w2, [x1]
)

# x0 reads of S3_3_C15_C2_0.
REGISTER_READ_LOOP = rounds(
    0xD53BF202,  # mrs x2, s3_3_c15_c2_0
)

# x0 writes of S3_3_C15_C2_0.
REGISTER_WRITE_LOOP = rounds(
    0xD51BF202,  # msr s3_3_c15_c2_0, x2
)

# x0 reads of the virtual counter.
COUNTER_LOOP = rounds(
    0xD53BE042,  # mrs x2, cntvct_el0
)

# x0 hypercalls.
HVC_LOOP = rounds(
    0xD4000002,  # hvc #0
)

# x0 exceptions from EL1.
SVC_LOOP = rounds(
    0xD4000001,  # svc #0
)

# x0 indirect calls of the function at x1.
CALL_LOOP = rounds(
    0xD63F0020,  # blr x1
)

# Every vector: go back.
ERET = (
    0xD69F03E0,  # eret
)

# Wait for an interrupt, again and again.
WFI_LOOP = (
    0xD503207F,  # wfi
    0x17FFFFFF,  # b .-4
)

# Again and again: a word from x1, plus 1, to the word behind it.
CONTRACT_MMIO = (
    0xB9400022,  # ldr w2, [x1]
    0x11000442,  # add w2, w2, #1
    0xB9000422,  # str w2, [x1, #4]
    0x17FFFFFD,  # b .-12
)

# A hypercall, again and again.
CONTRACT_HVC = (
    0xD4000002,  # hvc #0
    0x17FFFFFF,  # b .-4
)

# An encoding that the library asserts never to see, on CPUs with half-precision arithmetic.
UNTRANSLATABLE = (
    0x91000400,  # add x0, x0, #1
    0x91000400,  # add x0, x0, #1
    0x0E787B0E,  # .inst 0x0e787b0e
    0x91000400,  # add x0, x0, #1
    0xD503207F,  # wfi
)

# Watch the doubleword at x1 with the control in x2, from here on.
WATCH_ON = (
    0xD510109F,  # msr oslar_el1, xzr
    0xD51000C1,  # msr dbgwvr0_el1, x1
    0xD51000E2,  # msr dbgwcr0_el1, x2
    0xD2940003,  # mov x3, #0xa000
    0xD5100243,  # msr mdscr_el1, x3
    0xD50348FF,  # msr daifclr, #8
    0xD5033FDF,  # isb
)

# Watch; store behind the doubleword, store to it, load from it.
WATCH = (
    *WATCH_ON,
    0xF9000420,  # str x0, [x1, #8]
    0xB9000420,  # str w0, [x1, #4]
    0xB9400424,  # ldr w4, [x1, #4]
    0xD2800025,  # mov x5, #1
    0xD503207F,  # wfi
)

# Load from the address in x1, store x2 there and load again, store x3 there and load again; all in one block.
STORE_LOAD_TWICE = (
    0xF9400024,  # ldr x4, [x1]
    0xF9000022,  # str x2, [x1]
    0xF9400025,  # ldr x5, [x1]
    0xF9000023,  # str x3, [x1]
    0xF9400026,  # ldr x6, [x1]
    0xD503207F,  # wfi
)


def load_behind(instructions: int) -> Words:
    """Load from x1 behind so many others."""
    return (
        *(0x91000463,) * instructions,  # add x3, x3, #1
        0xF9400022,  # ldr x2, [x1]
        0x91000463,  # add x3, x3, #1
        0xD503207F,  # wfi
    )
