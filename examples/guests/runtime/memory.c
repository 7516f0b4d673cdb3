// SPDX-License-Identifier: MIT
//
// The three functions that a freestanding compiler may call on its own.
#include <stddef.h>

void *memset(void *target, int value, size_t length) {
    unsigned char *to = target;
    while (length--)
        *to++ = (unsigned char)value;
    return target;
}

void *memcpy(void *restrict target, const void *restrict source, size_t length) {
    unsigned char *to = target;
    const unsigned char *from = source;
    while (length--)
        *to++ = *from++;
    return target;
}

int memcmp(const void *left, const void *right, size_t length) {
    const unsigned char *a = left, *b = right;
    for (; length--; a++, b++) {
        if (*a != *b)
            return *a - *b;
    }
    return 0;
}
