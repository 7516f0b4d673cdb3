// SPDX-License-Identifier: MIT
//
// Arm DDI 0487, "The Generic Timer in AArch64 state". Each vCPU has one virtual and one physical
// timer; each is a 64-bit comparator with a level-triggered private interrupt.
#pragma once

#include "arch.h"

enum { TIMER_PPI_VIRTUAL = 27, TIMER_PPI_PHYSICAL = 30 };

enum { TIMER_ENABLE = 1 << 0, TIMER_IMASK = 1 << 1, TIMER_ISTATUS = 1 << 2 };

// The ISB keeps the counter from being read early, out of program order.
static inline uint64_t counter(void) {
    isb();
    return read_sysreg(cntvct_el0);
}

static inline uint64_t physical_counter(void) {
    isb();
    return read_sysreg(cntpct_el0);
}

static inline uint64_t counter_frequency(void) { return read_sysreg(cntfrq_el0); }

static inline uint64_t milliseconds(uint64_t ms) { return ms * counter_frequency() / 1000; }

static inline uint64_t to_nanoseconds(uint64_t ticks) {
    return ticks * 1000000 / (counter_frequency() / 1000);
}

static inline uint64_t to_microseconds(uint64_t ticks) { return to_nanoseconds(ticks) / 1000; }

static inline void timer_set(uint64_t compare_value) {
    write_sysreg(cntv_cval_el0, compare_value);
    write_sysreg(cntv_ctl_el0, TIMER_ENABLE);
    isb();
}

static inline void timer_stop(void) {
    write_sysreg(cntv_ctl_el0, 0);
    isb();
}

static inline void physical_timer_set(uint64_t compare_value) {
    write_sysreg(cntp_cval_el0, compare_value);
    write_sysreg(cntp_ctl_el0, TIMER_ENABLE);
    isb();
}

static inline void physical_timer_stop(void) {
    write_sysreg(cntp_ctl_el0, 0);
    isb();
}
