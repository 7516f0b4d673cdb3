/* The PMU as perf_event_open(2) has it: counting, and sampling by its overflow interrupt. */

#include <linux/perf_event.h>

#include "runtime.h"

enum { CALIBRATED = 1000 * 1000, PERIOD = 100 * 1000, PAGE = 4096, READ_WRITE = 3, SHARED = 1 };

/* Exactly two instructions a round, and the address of the first. */
extern char spin_begin[], spin_end[];
__attribute__((noinline)) static void spin(uint64_t rounds)
{
    __asm__ volatile(".globl spin_begin, spin_end\n"
                     "spin_begin: subs %0, %0, #1\n"
                     "b.ne spin_begin\n"
                     "spin_end:"
                     : "+r"(rounds)
                     :
                     : "cc");
}

static long open_event(uint64_t event, int group, uint64_t period)
{
    static struct perf_event_attr attributes;
    attributes = (struct perf_event_attr){
        .type = PERF_TYPE_HARDWARE,
        .size = sizeof attributes,
        .config = event,
        .disabled = group < 0,
        .exclude_kernel = 1,
        .sample_period = period,
        .sample_type = period ? PERF_SAMPLE_IP : 0,
        .wakeup_events = 1,
    };
    return CALL5(perf_event_open, &attributes, 0, -1, group, 0);
}

static uint64_t value_of(long event)
{
    uint64_t value = 0;
    REQUIRE(CALL3(read, event, &value, sizeof value) == sizeof value);
    return value;
}

static void count(void)
{
    long cycles = open_event(PERF_COUNT_HW_CPU_CYCLES, -1, 0);
    REQUIRE(cycles >= 0);
    long instructions = open_event(PERF_COUNT_HW_INSTRUCTIONS, (int)cycles, 0);
    REQUIRE(instructions >= 0);
    REQUIRE(CALL3(ioctl, cycles, PERF_EVENT_IOC_ENABLE, PERF_IOC_FLAG_GROUP) == 0);
    spin(CALIBRATED);
    REQUIRE(CALL3(ioctl, cycles, PERF_EVENT_IOC_DISABLE, PERF_IOC_FLAG_GROUP) == 0);
    put_number("cycles", value_of(cycles));
    put_number("instructions", value_of(instructions));
}

static void sample(void)
{
    long event = open_event(PERF_COUNT_HW_INSTRUCTIONS, -1, PERIOD);
    REQUIRE(event >= 0);
    struct perf_event_mmap_page *page =
        (void *)system_call(__NR_mmap, 0, (1 + 4) * PAGE, READ_WRITE, SHARED, event, 0);
    REQUIRE((long)page > 0);
    REQUIRE(CALL3(ioctl, event, PERF_EVENT_IOC_ENABLE, 0) == 0);
    spin(10 * CALIBRATED);
    REQUIRE(CALL3(ioctl, event, PERF_EVENT_IOC_DISABLE, 0) == 0);
    uint64_t samples = 0, inside = 0, at = 0, end = page->data_head;
    const char *ring = (const char *)page + page->data_offset;
    while (at < end) {
        const struct perf_event_header *header = (const void *)(ring + at % page->data_size);
        if (header->type == PERF_RECORD_SAMPLE) {
            uint64_t ip = *(const uint64_t *)(header + 1);
            samples++;
            inside += ip >= (uint64_t)spin_begin && ip < (uint64_t)spin_end;
        }
        at += header->size;
    }
    put_number("samples", samples);
    put_number("inside", inside);
}

int run(int arguments, char **names)
{
    (void)arguments, (void)names;
    count();
    sample();
    return 0;
}
