// SPDX-License-Identifier: MIT
//
// A walk through 256 KiB with a stride of 17 words: load, change, store, then a branch on what was loaded.
// Both ways of the branch are two instructions long, so a round is always ten.
#pragma once

#include <stdint.h>

enum : uint64_t { WALK_INSTRUCTIONS = 10, WORDS = 32768 };

static uint64_t words[WORDS];

static void walk(uint64_t rounds) {
    uint64_t index = 0, value, sum = 0;
    __asm__ volatile(
        "1: ldr  %[value], [%[words], %[index], lsl #3]\n"
        "   add  %[value], %[value], %[index]\n"
        "   str  %[value], [%[words], %[index], lsl #3]\n"
        "   add  %[index], %[index], #17\n"
        "   and  %[index], %[index], #0x7fff\n"
        "   tbz  %[value], #3, 2f\n"
        "   eor  %[sum], %[sum], %[value]\n"
        "   b    3f\n"
        "2: add  %[sum], %[sum], %[value]\n"
        "   nop\n"
        "3: subs %[rounds], %[rounds], #1\n"
        "   b.ne 1b\n"
        : [index] "+r"(index), [value] "=&r"(value), [sum] "+r"(sum), [rounds] "+r"(rounds)
        : [words] "r"(words)
        : "cc", "memory");
}
