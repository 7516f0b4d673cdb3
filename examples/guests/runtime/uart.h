// SPDX-License-Identifier: MIT
//
// The console: an Arm PrimeCell UART (PL011), Arm DDI 0183.
#pragma once

#define UART_BASE 0x09000000ul

// 115200 baud 8N1 with FIFOs, transmitter and receiver on, all interrupts masked.
void uart_init(void);

// Waits while the transmit FIFO is full.
void uart_write(const char *bytes, unsigned length);
