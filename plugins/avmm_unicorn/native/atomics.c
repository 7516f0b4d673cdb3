/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Atomic operations that the library as shipped makes of a plain load and a plain store: exchange, minimum, maximum, and addition
 * in big-endian order. Here they are made of its compare-and-swap, which is the host's. That also looks up the address and raises
 * what there is to raise, for the place in the translated code that called us.
 */
#include "native.h"

/* One operation at one size and order: reads with a compare-and-swap that changes nothing, then tries until nobody came between. */
#define OPERATION(name, suffix, word, data, expression)                                                                  \
    static word name##_##suffix(void *env, uint64_t address, word given, uint32_t oi)                                    \
    {                                                                                                                    \
        uintptr_t place = (uintptr_t)__builtin_return_address(0);                                                        \
        data value = (data)given, old;                                                                                   \
        word seen = lib.cas_##suffix(env, address, 0, 0, oi, place), before;                                             \
        do {                                                                                                             \
            before = seen;                                                                                               \
            old = (data)before;                                                                                          \
            seen = lib.cas_##suffix(env, address, before, (word)(expression)&MASK(data), oi, place);                     \
        } while (seen != before);                                                                                        \
        return before;                                                                                                   \
    }
#define MASK(data) (~(uint64_t)0 >> (64 - 8 * sizeof(data)))

#define UNSIGNED_SIZES(name, expression)                                                                                 \
    OPERATION(name, b, uint32_t, uint8_t, expression)                                                                    \
    OPERATION(name, w_le, uint32_t, uint16_t, expression)                                                                \
    OPERATION(name, w_be, uint32_t, uint16_t, expression)                                                                \
    OPERATION(name, l_le, uint32_t, uint32_t, expression)                                                                \
    OPERATION(name, l_be, uint32_t, uint32_t, expression)                                                                \
    OPERATION(name, q_le, uint64_t, uint64_t, expression)                                                                \
    OPERATION(name, q_be, uint64_t, uint64_t, expression)
#define SIGNED_SIZES(name, expression)                                                                                   \
    OPERATION(name, b, uint32_t, int8_t, expression)                                                                     \
    OPERATION(name, w_le, uint32_t, int16_t, expression)                                                                 \
    OPERATION(name, w_be, uint32_t, int16_t, expression)                                                                 \
    OPERATION(name, l_le, uint32_t, int32_t, expression)                                                                 \
    OPERATION(name, l_be, uint32_t, int32_t, expression)                                                                 \
    OPERATION(name, q_le, uint64_t, int64_t, expression)                                                                 \
    OPERATION(name, q_be, uint64_t, int64_t, expression)

UNSIGNED_SIZES(exchange, ((void)old, value))
UNSIGNED_SIZES(umin, old < value ? old : value)
UNSIGNED_SIZES(umax, old > value ? old : value)
SIGNED_SIZES(smin, old < value ? old : value)
SIGNED_SIZES(smax, old > value ? old : value)
OPERATION(add, w_be, uint32_t, uint16_t, old + value)
OPERATION(add, l_be, uint32_t, uint32_t, old + value)
OPERATION(add, q_be, uint64_t, uint64_t, old + value)

#define REPLACE(helper, name, suffix) {"helper_atomic_" helper #suffix "_aarch64", (void *)name##_##suffix},
#define REPLACE_SIZES(helper, name)                                                                                      \
    REPLACE(helper, name, b) REPLACE(helper, name, w_le) REPLACE(helper, name, w_be) REPLACE(helper, name, l_le)         \
    REPLACE(helper, name, l_be) REPLACE(helper, name, q_le) REPLACE(helper, name, q_be)

/* The operations that the front end for Arm generates. */
const Replacement avmm_atomics[] = {
    REPLACE_SIZES("xchg", exchange)
    REPLACE_SIZES("fetch_umin", umin)
    REPLACE_SIZES("fetch_umax", umax)
    REPLACE_SIZES("fetch_smin", smin)
    REPLACE_SIZES("fetch_smax", smax)
    REPLACE("fetch_add", add, w_be)
    REPLACE("fetch_add", add, l_be)
    REPLACE("fetch_add", add, q_be)
    {NULL, NULL},
};
