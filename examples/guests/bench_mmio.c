// SPDX-License-Identifier: MIT
//
// bench_mmio: what a read of a device register costs that traps. The register is the PL011's UARTLCR_H, whose reads have
// no effect. Boot argument: rounds=N.
#include "bench.h"
#include "guest.h"

enum : uint64_t { ROUNDS = 2000000 };

void main(void) {
    uint64_t rounds = bootarg_number("rounds", ROUNDS);
    uint64_t start = counter();
    for (uint64_t round = 0; round < rounds; round++)
        mmio_read32(UART_BASE + 0x2c);
    bench_report("bench_mmio", rounds, "reads", counter() - start);
}
