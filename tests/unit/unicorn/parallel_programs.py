"""Guest programs for several vCPUs at once; words as in programs.py."""

from __future__ import annotations

from tests.unit.unicorn.programs import WATCH_ON, Words, rounds

# Meet the others at the device at x15, then go to x16.
GATE = (
    0xF90001FF,  # str xzr, [x15]
    0xD61F0200,  # br x16
)

# Translation on: TCR in x21, TTBR0 in x22, SCTLR in x23; then go to x24.
TRANSLATE = (
    0xD2801FF4,  # mov x20, #0xff
    0xD518A214,  # msr mair_el1, x20
    0xD5182055,  # msr tcr_el1, x21
    0xD5182016,  # msr ttbr0_el1, x22
    0xD5033FDF,  # isb
    0xD5181017,  # msr sctlr_el1, x23
    0xD5033FDF,  # isb
    0xD61F0300,  # br x24
)

# x0 rounds: the word at x1, plus 1.
EXCLUSIVE = rounds(
    0xC85F7C22,  # ldxr x2, [x1]
    0x91000442,  # add x2, x2, #1
    0xC8037C22,  # stxr w3, x2, [x1]
    0x35FFFFA3,  # cbnz w3, .-12
)

# Count in the word at x1, until there is something in the one at x2.
COUNT_UNTIL = (
    0xF9400023,  # ldr x3, [x1]
    0x91000463,  # add x3, x3, #1
    0xF9000023,  # str x3, [x1]
    0xF9400044,  # ldr x4, [x2]
    0xB4FFFF84,  # cbz x4, .-16
    0xD503207F,  # wfi
)

# x0 rounds: both words at x1, plus 1, together.
EXCLUSIVE_PAIR = rounds(
    0xC87F1022,  # ldxp x2, x4, [x1]
    0x91000442,  # add x2, x2, #1
    0x91000484,  # add x4, x4, #1
    0xC8231022,  # stxp w3, x2, x4, [x1]
    0x35FFFF83,  # cbnz w3, .-16
)

# x0 rounds: the word at x1, plus 1.
LSE_ADD = (
    0xD2800022,  # mov x2, #1
    *rounds(
        0xF8220023,  # ldadd x2, x3, [x1]
    ),
)

# x0 rounds of LSE_ADD, and then something in the word at x5.
ADD_AND_TELL = (
    *LSE_ADD[:-1],
    0xF90000A2,  # str x2, [x5]
    0xD503207F,  # wfi
)

# x0 rounds: the word at x1, plus 1.
LSE_CAS = rounds(
    0xF9400022,  # ldr x2, [x1]
    0xAA0203E4,  # mov x4, x2
    0x91000443,  # add x3, x2, #1
    0xC8A47C23,  # cas x4, x3, [x1]
    0xEB02009F,  # cmp x4, x2
    0x54FFFF61,  # b.ne .-20
)

# x0 rounds: both words at x1, plus 1, together.
LSE_CASP = rounds(
    0xA9400C22,  # ldp x2, x3, [x1]
    0xAA0203E6,  # mov x6, x2
    0xAA0303E7,  # mov x7, x3
    0x91000444,  # add x4, x2, #1
    0x91000465,  # add x5, x3, #1
    0x48267C24,  # casp x6, x7, x4, x5, [x1]
    0xEB0200DF,  # cmp x6, x2
    0xFA4300E0,  # ccmp x7, x3, #0, eq
    0x54FFFF01,  # b.ne .-32
)


def _store_buffer(between: int) -> Words:
    """x0 rounds of a store to x1 and a load from x2, seen at x5; x3 and x4 tell each other the round.

    Whoever waits for the other sees it come at once, but yields in between: the other may have no core.
    """
    return rounds(
        0x910004C6,  # add x6, x6, #1
        0xF9000066,  # str x6, [x3]
        0xD2807D08,  # mov x8, #1000
        0xF9400087,  # ldr x7, [x4]
        0xEB0600FF,  # cmp x7, x6
        0x540000AA,  # b.ge .+20
        0xF1000508,  # subs x8, x8, #1
        0x54FFFF81,  # b.ne .-16
        0xD503203F,  # yield
        0x17FFFFF9,  # b .-28
        0xF9000026,  # str x6, [x1]
        between,
        0xF9400047,  # ldr x7, [x2]
        0xF80084A7,  # str x7, [x5], #8
    )


STORE_BUFFER = _store_buffer(
    0xD5033BBF,  # dmb ish
)
STORE_BUFFER_OPEN = _store_buffer(
    0xD503201F,  # nop
)


def _publish(first: int, second: int) -> Words:
    """x0 rounds of a message, its number, to x1, and its flag to x2."""
    return rounds(
        0x910004C6,  # add x6, x6, #1
        first,
        0xD5033ABF,  # dmb ishst
        second,
    )


PUBLISH = _publish(
    0xF9000026,  # str x6, [x1]
    0xF9000046,  # str x6, [x2]
)
PUBLISH_EARLY = _publish(
    0xF9000046,  # str x6, [x2]
    0xF9000026,  # str x6, [x1]
)

# Until the flag at x2 says x0: whether the message at x1 is as new as the flag; x9 counts when it is not.
SUBSCRIBE = (
    0xF9400046,  # ldr x6, [x2]
    0xD50339BF,  # dmb ishld
    0xF9400027,  # ldr x7, [x1]
    0xEB0600FF,  # cmp x7, x6
    0x9A89A529,  # cinc x9, x9, lt
    0xEB0000DF,  # cmp x6, x0
    0x54FFFF41,  # b.ne .-24
    0xD503207F,  # wfi
)

# x0 rounds: the page table entry at x1 becomes x3, then x2, in turn; x5 is the page's number in TLBI.
# The word at x4 is odd while it changes; half of it tells the page.
REMAP = (
    0xF9400086,  # ldr x6, [x4]
    0x910004C6,  # add x6, x6, #1
    0xF9000086,  # str x6, [x4]
    0xD5033BBF,  # dmb ish
    0xF9000023,  # str x3, [x1]
    0xD5033A9F,  # dsb ishst
    0xD5088365,  # tlbi vaae1is, x5
    0xD5033B9F,  # dsb ish
    0x910004C6,  # add x6, x6, #1
    0xF9000086,  # str x6, [x4]
    0xAA0203E7,  # mov x7, x2
    0xAA0303E2,  # mov x2, x3
    0xAA0703E3,  # mov x3, x7
    0xF1000400,  # subs x0, x0, #1
    0x54FFFE41,  # b.ne .-56
    0x92800026,  # mov x6, #-2
    0xF9000086,  # str x6, [x4]
    0xD503207F,  # wfi
)

# One look at the page and at what is said of it.
_LOOK = (
    0xF9400086,  # ldr x6, [x4]
    0xD50339BF,  # dmb ishld
    0xF9400027,  # ldr x7, [x1]
    0xD50339BF,  # dmb ishld
    0xF9400088,  # ldr x8, [x4]
    0xCA0800CA,  # eor x10, x6, x8
    0x924000CB,  # and x11, x6, #1
    0xAA0B014A,  # orr x10, x10, x11
    0xCA4604E7,  # eor x7, x7, x6, lsr #1
    0x924000E7,  # and x7, x7, #1
    0xF100015F,  # cmp x10, #0
    0x9A9F00E7,  # csel x7, x7, xzr, eq
    0x8B070129,  # add x9, x9, x7
    0x9A8C158C,  # cinc x12, x12, eq
)

# Until the word at x4 is -2: whether x1 leads to the page that x4 tells. x9 counts when it does not, x12 the looks.
# One block, without a branch.
READ_REMAPPED = (
    *_LOOK * 32,
    0xB10008DF,  # cmn x6, #2
    0x54FFC7E1,  # b.ne .-1796
    0xD503207F,  # wfi
)

# x0 rounds: the next number in the instruction at x1, with cache maintenance, then published at x2. x3 is `mov x0, #0`.
PATCH = rounds(
    0x910004C6,  # add x6, x6, #1
    0x0B061467,  # add w7, w3, w6, lsl #5
    0xB9000027,  # str w7, [x1]
    0xD50B7B21,  # dc cvau, x1
    0xD5033B9F,  # dsb ish
    0xD50B7521,  # ic ivau, x1
    0xD5033B9F,  # dsb ish
    0xD5033FDF,  # isb
    0xF9000046,  # str x6, [x2]
)

# Until the word at x2 is x3: call the function at x1; x9 counts when it returns something older than that word.
CALL_PATCHED = (
    0xF9400046,  # ldr x6, [x2]
    0xD50339BF,  # dmb ishld
    0xD5033FDF,  # isb
    0xD63F0020,  # blr x1
    0xEB06001F,  # cmp x0, x6
    0x9A89A529,  # cinc x9, x9, lt
    0xEB0300DF,  # cmp x6, x3
    0x54FFFF21,  # b.ne .-28
    0xD503207F,  # wfi
)

# x0 broadcasts, each waited for.
TLBI_LOOP = rounds(
    0xD508831F,  # tlbi vmalle1is
    0xD5033B9F,  # dsb ish
)

# Wait for an event until the word at x1 is x0.
EVENT_LOOP = (
    0xD503205F,  # wfe
    0xD503203F,  # yield
    0xF9400022,  # ldr x2, [x1]
    0xEB00005F,  # cmp x2, x0
    0x54FFFF81,  # b.ne .-16
    0xD503207F,  # wfi
)


def _extreme(atomic: int, count_lost: int) -> Words:
    """x0 rounds: numbers from x2 on, in steps of x3, to the word at x1; x9 counts when the last was lost."""
    return rounds(
        0xAA0203E5,  # mov x5, x2
        0x8B030042,  # add x2, x2, x3
        atomic,
        0xEB05009F,  # cmp x4, x5
        count_lost,
    )


# Ever larger numbers.
LSE_UMAX = _extreme(
    0xF8226024,  # ldumax x2, x4, [x1]
    0x9A892529,  # cinc x9, x9, lo
)
LSE_SMAX = _extreme(
    0xF8224024,  # ldsmax x2, x4, [x1]
    0x9A89A529,  # cinc x9, x9, lt
)

# Ever smaller numbers.
LSE_UMIN = _extreme(
    0xF8227024,  # ldumin x2, x4, [x1]
    0x9A899529,  # cinc x9, x9, hi
)
LSE_SMIN = _extreme(
    0xF8225024,  # ldsmin x2, x4, [x1]
    0x9A89D529,  # cinc x9, x9, gt
)


def _locked(one: int, take: int, again: int, let_go: int) -> Words:
    """x0 rounds: the word at x1, plus 1, under the lock at x1 + 64; what takes the lock and lets go of it has its width."""
    return (
        0x91010025,  # add x5, x1, #64
        one,
        *rounds(
            take,
            again,
            0xF9400024,  # ldr x4, [x1]
            0x91000484,  # add x4, x4, #1
            0xF9000024,  # str x4, [x1]
            let_go,
        ),
    )


LSE_SWP = _locked(
    0xD2800022,  # mov x2, #1
    0xF8A280A3,  # swpa x2, x3, [x5]
    0xB5FFFFE3,  # cbnz x3, .-4
    0xC89FFCBF,  # stlr xzr, [x5]
)
LSE_SWP_BYTE = _locked(
    0x52800022,  # mov w2, #1
    0x38A280A3,  # swpab w2, w3, [x5]
    0x35FFFFE3,  # cbnz w3, .-4
    0x089FFCBF,  # stlrb wzr, [x5]
)
LSE_SWP_HALFWORD = _locked(
    0x52800022,  # mov w2, #1
    0x78A280A3,  # swpah w2, w3, [x5]
    0x35FFFFE3,  # cbnz w3, .-4
    0x489FFCBF,  # stlrh wzr, [x5]
)

# Watch, then make an atomic of each kind at the doubleword at x1.
WATCH_ATOMIC = (
    *WATCH_ON,
    0xF8200024,  # ldadd x0, x4, [x1]
    0xD2800025,  # mov x5, #1
    0xD503207F,  # wfi
)
