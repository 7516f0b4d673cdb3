// SPDX-License-Identifier: MIT
//
// One line for each benchmark, the same for a reader and for a script.
#pragma once

#include "print.h"
#include "timer.h"

// `count` things in `ticks` of the counter: how long each took, to the picosecond, and how many went into
// a microsecond. Of instructions, that number is MIPS.
static inline void bench_report(const char *name, uint64_t count, const char *things, uint64_t ticks) {
    uint64_t ps = to_nanoseconds(ticks) * 1000 / count;
    print("%s: %lu %s, %lu ticks of %lu Hz, %lu.%03lu ns each, %lu a microsecond\n", name, count, things,
          ticks, counter_frequency(), ps / 1000, ps % 1000, ps ? 1000000 / ps : 0);
}
