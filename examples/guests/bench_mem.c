// SPDX-License-Identifier: MIT
//
// bench_mem: how fast loads, stores and branches are.
//
// The walk of walk.h. Boot argument: rounds=N.
#include "bench.h"
#include "guest.h"
#include "walk.h"

enum : uint64_t { ROUNDS = 400000000 };

void main(void) {
    uint64_t rounds = bootarg_number("rounds", ROUNDS);
    uint64_t start = counter();
    walk(rounds);
    bench_report("bench_mem", rounds * WALK_INSTRUCTIONS, "instructions", counter() - start);
}
