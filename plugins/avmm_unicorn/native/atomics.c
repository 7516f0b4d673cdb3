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

typedef void Fetch GEN_FETCH;

/*
 * The signed ones, where one vCPU is in the guest at a time: the library compares numbers of less than 64 bits as if zeros stood in
 * front of both, unless it is told of their sign. What it gives back has that in front then, where zeros belong.
 */
static void generate_signed(Fetch *generate, void *tcg, void *result, void *address, void *value, intptr_t mode, int memop)
{
    generate(tcg, result, address, value, mode, (memop & MO_SIZE) == MO_SIZE ? memop : memop | MO_SIGN);
    switch (memop & MO_SIZE) {
    case 0: lib.gen_ext8u(tcg, result, result); break;
    case 1: lib.gen_ext16u(tcg, result, result); break;
    case 2: lib.gen_ext32u(tcg, result, result); break;
    }
}

static void generate_smin GEN_FETCH
{
    generate_signed(lib.gen_fetch_smin, tcg, result, address, value, mode, memop);
}

static void generate_smax GEN_FETCH
{
    generate_signed(lib.gen_fetch_smax, tcg, result, address, value, mode, memop);
}

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
    {"tcg_gen_atomic_fetch_smin_i64_aarch64", (void *)generate_smin},
    {"tcg_gen_atomic_fetch_smax_i64_aarch64", (void *)generate_smax},
    {NULL, NULL},
};
