// SPDX-License-Identifier: MIT
#include "print.h"

#include <stdarg.h>

#include "arch.h"
#include "uart.h"

struct line {
    char text[255];
    unsigned length;
};

struct field {
    unsigned width;
    bool left, zeros, is_long;
};

static void append(struct line *line, char c) {
    if (line->length < sizeof line->text)
        line->text[line->length++] = c;
}

static void append_field(struct line *line, const char *text, unsigned length, struct field field) {
    unsigned padding = field.width > length ? field.width - length : 0;
    for (; padding && !field.left; padding--)
        append(line, field.zeros ? '0' : ' ');
    while (length--)
        append(line, *text++);
    while (padding--)
        append(line, ' ');
}

static void append_number(struct line *line, uint64_t value, unsigned base, bool negative, struct field field) {
    char digits[21];
    char *first = digits + sizeof digits;
    do {
        *--first = "0123456789abcdef"[value % base];
        value /= base;
    } while (value);
    if (negative)
        *--first = '-';
    append_field(line, first, (unsigned)(digits + sizeof digits - first), field);
}

static const char *parse_field(const char *format, struct field *field) {
    *field = (struct field){0};
    for (;; format++) {
        if (*format == '-')
            field->left = true;
        else if (*format == '0' && !field->width)
            field->zeros = true;
        else if (*format >= '0' && *format <= '9')
            field->width = field->width * 10 + (unsigned)(*format - '0');
        else if (*format == 'l')
            field->is_long = true;
        else
            return format;
    }
}

// PSTATE.I is masked while the lock is held: an interrupt handler that prints cannot deadlock.
static void write_line(const struct line *line) {
    static bool locked;
    uint64_t daif = irq_save();
    while (__atomic_test_and_set(&locked, __ATOMIC_ACQUIRE)) {
    }
    uart_write(line->text, line->length);
    __atomic_clear(&locked, __ATOMIC_RELEASE);
    irq_restore(daif);
}

void print(const char *format, ...) {
    struct line line = {.length = 0};
    va_list arguments;
    va_start(arguments, format);
    for (; *format; format++) {
        if (*format != '%') {
            append(&line, *format);
            continue;
        }
        struct field field;
        format = parse_field(format + 1, &field);
        if (*format == 's') {
            const char *text = va_arg(arguments, const char *);
            unsigned length = 0;
            while (text[length])
                length++;
            append_field(&line, text, length, field);
        } else if (*format == 'd') {
            int64_t value = field.is_long ? va_arg(arguments, int64_t) : va_arg(arguments, int);
            append_number(&line, value < 0 ? -(uint64_t)value : (uint64_t)value, 10, value < 0, field);
        } else if (*format == 'u' || *format == 'x') {
            uint64_t value = field.is_long ? va_arg(arguments, uint64_t) : va_arg(arguments, unsigned);
            append_number(&line, value, *format == 'u' ? 10 : 16, false, field);
        } else if (*format == 'c') {
            append(&line, (char)va_arg(arguments, int));
        } else {
            append(&line, *format);
        }
    }
    va_end(arguments);
    write_line(&line);
}
