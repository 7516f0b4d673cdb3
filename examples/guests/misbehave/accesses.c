// SPDX-License-Identifier: MIT
//
// Accesses of every width and of the odd kinds, at any address.
#include "misbehave.h"

static void read_every_width(uintptr_t address) {
    mmio_read8(address);
    mmio_read16(address);
    mmio_read32(address);
    mmio_read64(address);
    tried += 4;
}

static void write_every_width(uintptr_t address, uint64_t value) {
    mmio_write8(address, (uint8_t)value);
    mmio_write16(address, (uint16_t)value);
    mmio_write32(address, (uint32_t)value);
    mmio_write64(address, value);
    tried += 4;
}

// Those whose syndrome would not tell a hypervisor what they did (ESR_EL2.ISV = 0): it must decode the
// instruction, or give up.
static void access_oddly(uintptr_t address) {
    uint64_t a = 0, b = 0;
    uintptr_t moving = address;
    __asm__ volatile("ldp %0, %1, [%2]" : "=&r"(a), "=&r"(b) : "r"(address) : "memory");
    __asm__ volatile("stp xzr, xzr, [%0]" ::"r"(address) : "memory");
    __asm__ volatile("ldr %0, [%1], #8" : "=&r"(a), "+r"(moving)::"memory");
    __asm__ volatile("str wzr, [%0, #-8]!" : "+r"(moving)::"memory");
    __asm__ volatile("ldxr %w0, [%1]" : "=&r"(a) : "r"(address) : "memory");
    __asm__ volatile("stxr %w0, wzr, [%1]" : "=&r"(a) : "r"(address) : "memory");
    __asm__ volatile("ldxp %0, %1, [%2]" : "=&r"(a), "=&r"(b) : "r"(address & ~15ul) : "memory");
    __asm__ volatile("ldar %w0, [%1]" : "=&r"(a) : "r"(address) : "memory");
    __asm__ volatile("stlr wzr, [%0]" ::"r"(address) : "memory");
    __asm__ volatile("ldrsb %0, [%1]" : "=&r"(a) : "r"(address) : "memory");
    __asm__ volatile("prfm pldl1keep, [%0]" ::"r"(address) : "memory");
    __asm__ volatile("clrex" ::: "memory");
    tried += 11;
}

static bool in_ram(uintptr_t address) { return address >> 30 == 1; }

// The console survives only because this guest wants to tell how it goes.
static bool on_console(uintptr_t address) { return address >> 12 == UART_BASE >> 12; }

// The whole of the 39-bit identity map: each GiB once or twice, the first, where devices are, every 32 KiB.
void wild(void) {
    for (uintptr_t address = 0; address < 1ul << 39; address += address >> 30 ? 1ul << 29 : 1ul << 15) {
        uintptr_t target = address + (random() & 0x7ff8);
        read_every_width(target);
        if (!in_ram(target) && !on_console(target))
            write_every_width(target, random());
    }
    for (unsigned bit = 39; bit < 64; bit++) // beyond the map: translation and address size faults
        read_every_width(1ul << bit);
}

void unaligned(void) {
    static const uintptr_t bases[] = {GICD_BASE, GICR_BASE, GICR_BASE + 0x10000, UART_BASE, 0x0b000000};
    for (unsigned i = 0; i < sizeof bases / sizeof bases[0]; i++) {
        for (uintptr_t offset = 1; offset < 64; offset += 2) {
            read_every_width(bases[i] + 0x10 + offset); // +0x10: not the data register
            write_every_width(bases[i] + 0x10 + offset, 0);
        }
        access_oddly(bases[i] + 0x18);
        access_oddly(bases[i] + 0x19);
        mmio_read64(bases[i] + 0xffc); // across the end of a PL011
    }
    uart_init(); // a machine that takes them byte by byte has seen zeros written to the control register
}

// Every word of a frame: read and written in all widths, with all ones, noise, and nothing.
static void hammer(uintptr_t base, uintptr_t size) {
    for (uintptr_t offset = 0; offset < size; offset += 4) {
        read_every_width(base + offset);
        write_every_width(base + offset, ~0ul);
        write_every_width(base + offset, random());
        write_every_width(base + offset, 0);
        read_every_width(base + offset);
    }
}

void gicd(void) { hammer(GICD_BASE, 0x10000); }

void gicr(void) { hammer(GICR_BASE, GICR_STRIDE); }

void uart(void) {
    read_every_width(UART_BASE);
    hammer(UART_BASE + 4, 0xffc);
    for (unsigned i = 0; i < 32; i++) // more than the FIFO takes, asking nobody
        mmio_write16(UART_BASE, (uint16_t)(0xff00 | '.'));
    uart_init();
    print("\n");
}
