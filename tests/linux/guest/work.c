/* Branches and memory: sorts and searches pseudo-random words, over and over. `work ROUNDS` */

#include "runtime.h"

enum { WORDS = 1 << 16 };

static uint32_t words[WORDS], heap[WORDS];

static void sift(size_t at, size_t size)
{
    uint32_t moving = heap[at];
    for (size_t child; (child = 2 * at + 1) < size; at = child) {
        if (child + 1 < size && heap[child + 1] > heap[child])
            child++;
        if (heap[child] <= moving)
            break;
        heap[at] = heap[child];
    }
    heap[at] = moving;
}

int run(int count, char **arguments)
{
    REQUIRE(count == 2);
    uint32_t seed = 2463534242, checksum = 0;
    for (uint64_t round = number_of(arguments[1]); round; round--) {
        for (size_t i = 0; i < WORDS; i++) {
            seed ^= seed << 13, seed ^= seed >> 17, seed ^= seed << 5;
            heap[i] = seed;
        }
        for (size_t i = WORDS / 2; i-- > 0;)
            sift(i, WORDS);
        for (size_t size = WORDS; size-- > 1;) {
            words[size] = heap[0];
            heap[0] = heap[size];
            sift(0, size);
        }
        words[0] = heap[0];
        for (size_t i = 1; i < WORDS; i++)
            REQUIRE(words[i - 1] <= words[i]);
        checksum = checksum * 31 + words[seed % WORDS];
    }
    put_number("checksum", checksum);
    return 0;
}
