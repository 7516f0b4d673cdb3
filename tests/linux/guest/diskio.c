/* Disk loads, past the page cache: `diskio FILE read|write BLOCK COUNT` in sequence, `diskio FILE randread|randwrite BLOCK COUNT`.
 * Zeroes by a request of their own: `diskio FILE zero OFFSET SIZE`.
 * A write-ahead log: `diskio FILE log COUNT` appends records, each fsynced before "synced NUMBER" is written. */

#include "runtime.h"

enum { HERE = -100, WRITABLE = 02, CREATE = 0100, APPEND = 02000, DIRECT = 0200000 };
enum { ZERO_OUT = 0x127F, MOST = 1 << 20, RECORD = 4096 };

static _Alignas(4096) char buffer[MOST];

static void log_records(long file, uint64_t count)
{
    for (uint64_t number = 1; number <= count; number++) {
        for (size_t i = 0; i < RECORD / 8; i++)
            ((uint64_t *)buffer)[i] = number * 0x9E3779B97F4A7C15 + i;
        REQUIRE(CALL3(write, file, buffer, RECORD) == RECORD);
        REQUIRE(CALL1(fsync, file) == 0);
        put_number("synced", number);
    }
}

int run(int count, char **arguments)
{
    REQUIRE(count >= 4);
    int random = length(arguments[2]) > 5;
    int write = arguments[2][random ? 4 : 0] == 'w';
    if (arguments[2][0] == 'l') {
        long file = CALL4(openat, HERE, arguments[1], WRITABLE | CREATE | APPEND, 0644);
        REQUIRE(file >= 0);
        log_records(file, number_of(arguments[3]));
        return 0;
    }
    if (arguments[2][0] == 'z') {
        uint64_t range[2] = {number_of(arguments[3]), number_of(arguments[4])};
        REQUIRE(CALL3(ioctl, CALL4(openat, HERE, arguments[1], WRITABLE, 0), ZERO_OUT, range) == 0);
        return 0;
    }
    long file = CALL4(openat, HERE, arguments[1], (write ? WRITABLE : 0) | DIRECT, 0);
    REQUIRE(file >= 0);
    uint64_t block = number_of(arguments[3]), times = number_of(arguments[4]);
    REQUIRE(block && block <= MOST);
    uint64_t blocks = (uint64_t)CALL3(lseek, file, 0, 2) / block, seed = 1;
    REQUIRE(blocks > 0);
    for (uint64_t i = 0; i < times; i++) {
        seed = seed * 6364136223846793005 + 1442695040888963407;
        long at = (long)((random ? seed >> 33 : i) % blocks * block);
        long done = write ? CALL4(pwrite64, file, buffer, block, at) : CALL4(pread64, file, buffer, block, at);
        REQUIRE(done == (long)block);
    }
    return 0;
}
