// SPDX-License-Identifier: MIT
//
// testdev: ends the machine through its test device, a virtio console on the legacy virtio-mmio transport (virtio 1.1, 4.2.4).
// Boot arguments: code=N (the machine's exit status is 2 N + 1), rogue (a broken virtqueue; then the machine is switched off).
#include "guest.h"

#define VIRTIO_BASE 0x0a000000ul
#define DESC_F_NEXT 1
#define NEEDS_RESET 0x40

enum {
    DEVICE_ID = 0x08,
    PAGE_SIZE = 0x28,
    SELECT = 0x30,
    NUM = 0x38,
    ALIGN = 0x3c,
    PFN = 0x40,
    NOTIFY = 0x50,
    STATUS = 0x70,
};
enum { CONSOLE = 3, TRANSMIT = 1, SIZE = 2 };

static struct {
    struct {
        uint64_t address;
        uint32_t length;
        uint16_t flags, next;
    } descriptors[SIZE];
    uint16_t avail_flags, avail_index, avail_ring[SIZE];
    _Alignas(4096) uint16_t used_flags;
    uint16_t used_index;
} queue __attribute__((aligned(4096)));

static char text[16];

static unsigned write_decimal(char *to, unsigned value) {
    unsigned digits = value < 10 ? 0 : write_decimal(to, value / 10);
    to[digits] = (char)('0' + value % 10);
    return digits + 1;
}

void main(void) {
    if (mmio_read32(VIRTIO_BASE + DEVICE_ID) != CONSOLE) {
        print("FAIL: no console behind the first virtio-mmio transport\n");
        return;
    }
    mmio_write32(VIRTIO_BASE + PAGE_SIZE, 4096);
    mmio_write32(VIRTIO_BASE + SELECT, TRANSMIT);
    mmio_write32(VIRTIO_BASE + NUM, SIZE);
    mmio_write32(VIRTIO_BASE + ALIGN, 4096);
    mmio_write32(VIRTIO_BASE + PFN, (uint32_t)((uintptr_t)&queue >> 12));

    unsigned length = write_decimal(text, (unsigned)bootarg_number("code", 0));
    text[length++] = 'q';
    queue.descriptors[0].address = (uintptr_t)text;
    queue.descriptors[0].length = length;
    if (bootarg("rogue")) { // a descriptor that follows itself
        queue.descriptors[0].flags = DESC_F_NEXT;
    }
    queue.avail_index = 1;
    dsb_sy();
    mmio_write32(VIRTIO_BASE + NOTIFY, TRANSMIT);
    print("%s: the machine goes on\n", mmio_read32(VIRTIO_BASE + STATUS) & NEEDS_RESET ? "PASS" : "FAIL");
}
