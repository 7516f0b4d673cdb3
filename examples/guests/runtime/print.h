// SPDX-License-Identifier: MIT
//
// A small printf. Lines of different vCPUs never mix.
#pragma once

// Knows %c %s %d %u %x %%, each with -, 0, a width and l. One call prints at most 255 characters.
__attribute__((format(printf, 1, 2))) void print(const char *format, ...);
