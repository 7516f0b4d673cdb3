// SPDX-License-Identifier: MIT
//
// bench_alu: how fast instructions are that stay in registers.
//
// A loop of ten: eight on registers, a decrement, a branch back. Boot argument: rounds=N.
#include "bench.h"
#include "guest.h"

enum : uint64_t { ROUNDS = 1000000000, INSTRUCTIONS = 10 };

static void loop(uint64_t rounds) {
    uint64_t a = 1, b = 2, c = 3;
    __asm__ volatile(
        "1: add  %[a], %[a], %[b]\n"
        "   eor  %[b], %[b], %[c]\n"
        "   add  %[c], %[c], %[a], lsl #3\n"
        "   sub  %[a], %[a], #7\n"
        "   orr  %[b], %[b], #1\n"
        "   ror  %[c], %[c], #11\n"
        "   and  %[a], %[a], #0x7fffffffffffffff\n"
        "   add  %[b], %[b], %[a]\n"
        "   subs %[rounds], %[rounds], #1\n"
        "   b.ne 1b\n"
        : [a] "+r"(a), [b] "+r"(b), [c] "+r"(c), [rounds] "+r"(rounds)
        :
        : "cc");
}

void main(void) {
    uint64_t rounds = bootarg_number("rounds", ROUNDS);
    uint64_t start = counter();
    loop(rounds);
    bench_report("bench_alu", rounds * INSTRUCTIONS, "instructions", counter() - start);
}
