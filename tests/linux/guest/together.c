/*
 * Two threads of one process, a CPU each, and what one does to the other: `together ROUNDS` prints how often each thing was done,
 * and how often something was seen that must not be.
 */

#include "runtime.h"

enum { PAGE = 4096, THREAD = 0x100 | 0x200 | 0x400 | 0x800 | 0x10000 | 0x40000, SIGCHLD = 17 };
enum { READ_WRITE = 3, ALL = 7, SHARED = 1, PRIVATE = 2, FIXED = 0x10, ANONYMOUS = 0x20 };
enum { FUTEX_WAIT = 0, FUTEX_WAKE = 1 };

static char stack[4 * PAGE] __attribute__((aligned(16)));
static volatile uint64_t *window, *counter;
static uint32_t *code;
static _Atomic uint64_t generation, patched, looks, calls;
static _Atomic uint32_t word, turn, stop;
static uint64_t stale, old;
static uint64_t rounds;

static long map(void *where, long protection, long flags, long file, long offset)
{
    return system_call(__NR_mmap, (long)where, PAGE, protection, flags, file, offset);
}

static void run_on(unsigned cpu)
{
    uint64_t mask = 1u << cpu;
    REQUIRE(CALL3(sched_setaffinity, 0, sizeof mask, &mask) == 0);
}

static void spin(uint32_t amount)
{
    while (amount--)
        word++; /* an atomic addition */
}

/* The number in the page says which of its two, by turns, is mapped; an even generation says which it must be. */
static void look_at_window(void)
{
    uint64_t before = generation, number = *window, after = generation;
    if (before == after && !(before & 1)) {
        looks++;
        stale += number != (before >> 1 & 1);
    }
}

static void call_patched(void)
{
    uint64_t newest = patched, number;
    __asm__ volatile("isb");
    number = ((uint64_t(*)(void))code)();
    calls++;
    old += number < newest;
}

/* Pass the turn back and forth, sleeping meanwhile: each wakes the other up. */
static void take_turns(uint32_t mine)
{
    for (uint64_t round = rounds / 10; round; round--) {
        while (turn != mine)
            CALL5(futex, &turn, FUTEX_WAIT, 1 - mine, 0, 0);
        turn = 1 - mine;
        CALL5(futex, &turn, FUTEX_WAKE, 1, 0, 0);
    }
}

static int other(void)
{
    run_on(1);
    while (!stop) {
        look_at_window();
        call_patched();
        (*counter)++;
        spin(1);
    }
    spin((uint32_t)rounds);
    take_turns(1);
    stop = 2;
    CALL5(futex, &stop, FUTEX_WAKE, 1, 0, 0);
    CALL1(exit, 0);
    return 0;
}

static void remap(long file)
{
    for (uint64_t round = 1; round <= rounds; round++) {
        generation++;
        REQUIRE(map((void *)window, READ_WRITE, SHARED | FIXED, file, (long)(round & 1) * PAGE) == (long)window);
        generation++;
    }
}

static void patch(void)
{
    for (uint64_t round = 1; round <= rounds; round++) {
        ((volatile uint32_t *)code)[0] = 0xd2800000u | (uint32_t)(round & 0xffff) << 5; /* mov x0, #round */
        __asm__ volatile("dc cvau, %0\n dsb ish\n ic ivau, %0\n dsb ish\n isb" ::"r"(code) : "memory");
        patched = round;
    }
}

/* A child has the memory of its parent as it was: what the other thread goes on to count must not show. */
static uint64_t forked(void)
{
    uint64_t torn = 0;
    for (uint64_t round = 0; round < rounds / 100; round++) {
        long child = CALL5(clone, SIGCHLD, 0, 0, 0, 0);
        REQUIRE(child >= 0);
        if (child == 0) {
            uint64_t before = *counter;
            spin(1000);
            CALL1(exit, *counter != before);
        }
        int status = 0;
        REQUIRE(CALL4(wait4, child, &status, 0, 0) == child);
        torn += status != 0;
    }
    return torn;
}

int run(int count, char **arguments)
{
    REQUIRE(count == 2);
    rounds = number_of(arguments[1]);
    REQUIRE(rounds > 100 && rounds < 65536);
    long file = CALL2(memfd_create, "pages", 0);
    REQUIRE(file >= 0 && CALL2(ftruncate, file, 2 * PAGE) == 0);
    uint64_t one = 1;
    REQUIRE(CALL4(pwrite64, file, &one, sizeof one, PAGE) == sizeof one);
    window = (volatile uint64_t *)map(NULL, READ_WRITE, SHARED, file, 0);
    code = (uint32_t *)map(NULL, ALL, PRIVATE | ANONYMOUS, -1, 0);
    counter = (volatile uint64_t *)map(NULL, READ_WRITE, PRIVATE | ANONYMOUS, -1, 0);
    code[0] = 0xd2800000; /* mov x0, #0 */
    code[1] = 0xd65f03c0; /* ret */
    __asm__ volatile("dc cvau, %0\n dsb ish\n ic ivau, %0\n dsb ish\n isb" ::"r"(code) : "memory");

    run_on(0);
    long thread = CALL5(clone, THREAD, stack + sizeof stack - PAGE, 0, 0, 0); /* in this function's frame until it calls another */
    REQUIRE(thread >= 0);
    if (thread == 0)
        other();
    while (looks == 0 || calls == 0)
        ;
    remap(file);
    patch();
    uint64_t torn = forked();
    spin((uint32_t)rounds);
    stop = 1;
    take_turns(0);
    while (stop != 2)
        CALL5(futex, &stop, FUTEX_WAIT, 1, 0, 0);
    put_number("looks", looks);
    put_number("stale", stale);
    put_number("calls", calls);
    put_number("old", old);
    put_number("torn", torn);
    put_number("lost", (uint32_t)(2 * rounds + *counter) - word);
    return 0;
}
