// SPDX-License-Identifier: MIT
//
// bench_hvc: what a hypercall costs. The call is PSCI_VERSION, which does nothing. Boot argument: rounds=N.
#include "bench.h"
#include "guest.h"

enum : uint64_t { ROUNDS = 1000000 };

void main(void) {
    uint64_t rounds = bootarg_number("rounds", ROUNDS);
    uint64_t start = counter();
    for (uint64_t round = 0; round < rounds; round++)
        psci(PSCI_VERSION, 0, 0, 0);
    bench_report("bench_hvc", rounds, "calls", counter() - start);
}
