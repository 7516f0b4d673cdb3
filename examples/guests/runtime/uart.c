// SPDX-License-Identifier: MIT
#include "uart.h"

#include "arch.h"

// Arm DDI 0183, "Summary of registers".
enum {
    UARTDR = 0x00,
    UARTFR = 0x18,
    UARTIBRD = 0x24,
    UARTFBRD = 0x28,
    UARTLCR_H = 0x2c,
    UARTCR = 0x30,
    UARTIMSC = 0x38,
    UARTICR = 0x44,
};

enum {
    FR_TXFF = 1 << 5,
    LCR_H_FEN = 1 << 4,
    LCR_H_WLEN_8 = 3 << 5,
    CR_UARTEN = 1 << 0,
    CR_TXE = 1 << 8,
    CR_RXE = 1 << 9,
    ALL_INTERRUPTS = 0x7ff,
};

void uart_init(void) {
    // The order of "Control register, UARTCR": disable, set the line, enable. UARTLCR_H comes after
    // the divisors because its write is what latches them.
    mmio_write32(UART_BASE + UARTCR, 0);
    mmio_write32(UART_BASE + UARTIMSC, 0);
    mmio_write32(UART_BASE + UARTICR, ALL_INTERRUPTS);
    mmio_write32(UART_BASE + UARTIBRD, 13); // 24 MHz / (16 * 115200) = 13 + 1/64
    mmio_write32(UART_BASE + UARTFBRD, 1);
    mmio_write32(UART_BASE + UARTLCR_H, LCR_H_FEN | LCR_H_WLEN_8);
    mmio_write32(UART_BASE + UARTCR, CR_UARTEN | CR_TXE | CR_RXE);
}

static void put(char byte) {
    while (mmio_read32(UART_BASE + UARTFR) & FR_TXFF) {
    }
    mmio_write32(UART_BASE + UARTDR, (uint8_t)byte);
}

void uart_write(const char *bytes, unsigned length) {
    for (unsigned i = 0; i < length; i++) {
        if (bytes[i] == '\n')
            put('\r');
        put(bytes[i]);
    }
}
