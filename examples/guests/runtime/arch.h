// SPDX-License-Identifier: MIT
//
// Single instructions with a C name: system registers, barriers, interrupt masks, device accesses.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define read_sysreg(name)                                             \
    ({                                                                \
        uint64_t value_;                                              \
        __asm__ volatile("mrs %0, " #name : "=r"(value_)::"memory");  \
        value_;                                                       \
    })

#define write_sysreg(name, value) \
    __asm__ volatile("msr " #name ", %0" ::"r"((uint64_t)(value)) : "memory")

// Arm DDI 0487, "Barriers": DSB for completion, ISB for context synchronization.
static inline void dsb_sy(void) { __asm__ volatile("dsb sy" ::: "memory"); }
static inline void dsb_ish(void) { __asm__ volatile("dsb ish" ::: "memory"); }
static inline void dsb_ishst(void) { __asm__ volatile("dsb ishst" ::: "memory"); }
static inline void isb(void) { __asm__ volatile("isb" ::: "memory"); }

static inline void irq_unmask(void) { __asm__ volatile("msr daifclr, #2" ::: "memory"); }
static inline void irq_mask(void) { __asm__ volatile("msr daifset, #2" ::: "memory"); }

static inline uint64_t irq_save(void) {
    uint64_t daif = read_sysreg(daif);
    irq_mask();
    return daif;
}

static inline void irq_restore(uint64_t daif) { write_sysreg(daif, daif); }

// WFI completes for a pending interrupt whether PSTATE.I masks it or not. Every guest here masks,
// tests its condition, waits, and unmasks: an interrupt that comes in between cannot be slept through.
static inline void wfi(void) { __asm__ volatile("dsb sy\n\twfi" ::: "memory"); }

// Takes what is pending now: one unmask, one synchronization, one mask.
static inline void irq_take_pending(void) {
    irq_unmask();
    isb();
    irq_mask();
}

// The same for FIQs and IRQs.
static inline void interrupts_take_pending(void) {
    __asm__ volatile("msr daifclr, #3" ::: "memory");
    isb();
    __asm__ volatile("msr daifset, #3" ::: "memory");
}

// One load or store of exactly this width, whatever the compiler would like better.
#define DEFINE_MMIO(bits, load, store, modifier)                                              \
    static inline uint##bits##_t mmio_read##bits(uintptr_t address) {                         \
        uint##bits##_t value;                                                                 \
        __asm__ volatile(load " %" modifier "0, [%1]" : "=r"(value) : "r"(address) : "memory"); \
        return value;                                                                         \
    }                                                                                         \
    static inline void mmio_write##bits(uintptr_t address, uint##bits##_t value) {            \
        __asm__ volatile(store " %" modifier "0, [%1]" ::"r"(value), "r"(address) : "memory"); \
    }

DEFINE_MMIO(8, "ldrb", "strb", "w")
DEFINE_MMIO(16, "ldrh", "strh", "w")
DEFINE_MMIO(32, "ldr", "str", "w")
DEFINE_MMIO(64, "ldr", "str", "x")

// Words that vCPUs share. Acquire and release pair up as in C11.
#define load_acquire(pointer) __atomic_load_n(pointer, __ATOMIC_ACQUIRE)
#define store_release(pointer, value) __atomic_store_n(pointer, value, __ATOMIC_RELEASE)
#define fetch_add(pointer, value) __atomic_fetch_add(pointer, value, __ATOMIC_ACQ_REL)
