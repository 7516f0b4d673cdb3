// SPDX-License-Identifier: MIT
//
// pingpong: what an interprocessor interrupt costs, there and back.
//
// vCPUs 2k and 2k + 1 are a pair. The even one sends an SGI, the odd one answers with an SGI, `rounds`
// times; all pairs play at once. Both sleep in WFI while they wait, or, with the boot argument `spin`,
// look at a word in memory. Boot arguments: spin, rounds=N (default 5000).
#include "guest.h"

enum { SGI_BALL = 3 };

struct player {
    uint64_t received;
    uint64_t elapsed; // of all rounds, in counter ticks; the even player's
    bool ready, done;
} __attribute__((aligned(64)));

static struct player players[MAX_CPUS];
static uint64_t rounds;
static bool spin;

static void on_ball(void) {
    struct player *mine = &players[cpu_id()];
    store_release(&mine->received, mine->received + 1);
}

static void wait_for(uint64_t balls) {
    const struct player *mine = &players[cpu_id()];
    if (spin)
        irq_unmask();
    while (load_acquire(&mine->received) < balls) {
        if (!spin) {
            wfi();
            irq_take_pending();
        }
    }
}

static void play(void) {
    unsigned cpu = cpu_id(), partner = cpu ^ 1;
    gic_cpu_init();
    store_release(&players[cpu].ready, true);
    if (partner < cpu_count()) {
        while (!load_acquire(&players[partner].ready)) {
        }
        uint64_t start = counter();
        for (uint64_t round = 1; round <= rounds; round++) {
            if (cpu & 1)
                wait_for(round);
            gic_send_sgi(cpu_mpidr(partner), SGI_BALL);
            if (!(cpu & 1))
                wait_for(round);
        }
        players[cpu].elapsed = counter() - start;
    }
    irq_mask();
    store_release(&players[cpu].done, true);
}

void main(void) {
    bool good = cpu_count() > 1;
    rounds = bootarg_number("rounds", 5000);
    spin = bootarg("spin");
    irq_on(SGI_BALL, on_ball);
    gic_init();
    cpu_start_others(play);
    play();
    for (unsigned cpu = 0; cpu + 1 < cpu_count(); cpu += 2) {
        struct player *even = &players[cpu], *odd = &players[cpu + 1];
        while (!load_acquire(&even->done) || !load_acquire(&odd->done)) {
        }
        print("pingpong: vCPUs %u and %u: %lu round trips, %lu ns each\n", cpu, cpu + 1, even->received,
              to_nanoseconds(even->elapsed) / rounds);
        good &= even->received == rounds && odd->received == rounds;
    }
    cpu_wait_for_others_off();
    print("pingpong: %s\n", good ? "PASS" : "FAIL");
}
