/* Just enough to be a Linux program without a C library: system calls, and text on standard output. */
#pragma once

#include <linux/unistd.h>
#include <stddef.h>
#include <stdint.h>

static inline long system_call(long number, long a, long b, long c, long d, long e, long f)
{
    register long x8 __asm__("x8") = number;
    register long x0 __asm__("x0") = a;
    register long x1 __asm__("x1") = b;
    register long x2 __asm__("x2") = c;
    register long x3 __asm__("x3") = d;
    register long x4 __asm__("x4") = e;
    register long x5 __asm__("x5") = f;
    __asm__ volatile("svc #0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
    return x0;
}

#define CALL1(name, a) system_call(__NR_##name, (long)(a), 0, 0, 0, 0, 0)
#define CALL2(name, a, b) system_call(__NR_##name, (long)(a), (long)(b), 0, 0, 0, 0)
#define CALL3(name, a, b, c) system_call(__NR_##name, (long)(a), (long)(b), (long)(c), 0, 0, 0)
#define CALL4(name, a, b, c, d) system_call(__NR_##name, (long)(a), (long)(b), (long)(c), (long)(d), 0, 0)
#define CALL5(name, a, b, c, d, e) system_call(__NR_##name, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), 0)

static inline size_t length(const char *text)
{
    size_t n = 0;
    while (text[n])
        n++;
    return n;
}

static inline void put(const char *text)
{
    CALL3(write, 1, text, length(text));
}

/* "name number\n", in one write. */
static inline void put_number(const char *name, uint64_t number)
{
    char line[96];
    char digits[20];
    size_t at = 0, count = 0;
    while (name[at] && at < 64) {
        line[at] = name[at];
        at++;
    }
    do
        digits[count++] = (char)('0' + number % 10);
    while (number /= 10);
    line[at++] = ' ';
    while (count)
        line[at++] = digits[--count];
    line[at++] = '\n';
    CALL3(write, 1, line, at);
}

static inline uint64_t number_of(const char *text)
{
    uint64_t number = 0;
    while (*text >= '0' && *text <= '9')
        number = number * 10 + (uint64_t)(*text++ - '0');
    return number;
}

[[noreturn]] static inline void leave(int status)
{
    for (;;)
        CALL1(exit_group, status);
}

/* The check fails: say which, and leave with 1. */
#define REQUIRE(condition)                       \
    do {                                         \
        if (!(condition)) {                      \
            put("FAIL: " #condition "\n");       \
            leave(1);                            \
        }                                        \
    } while (0)

int run(int count, char **arguments);

__attribute__((used)) static void begin(long *stack)
{
    leave(run((int)stack[0], (char **)(stack + 1)));
}

__attribute__((naked, used)) void _start(void)
{
    __asm__ volatile("mov x29, xzr\n mov x30, xzr\n mov x0, sp\n b begin");
}
