// SPDX-License-Identifier: MIT
//
// gicv2: every vCPU sends an SGI to the next one, on a machine with a GICv2 (Arm IHI 0048), and is told who sent it.
#include "guest.h"

#define GICD 0x08000000ul
#define GICC 0x08010000ul

enum { GICD_CTLR = 0x000, GICD_ISENABLER = 0x100, GICD_ITARGETSR = 0x800, GICD_SGIR = 0xf00 };
enum { GICC_CTLR = 0x00, GICC_PMR = 0x04, GICC_IAR = 0x0c, GICC_EOIR = 0x10 };
enum { SPURIOUS = 1023, SGI = 3 };

static unsigned passed;

static void send_to(unsigned cpu) {
    dsb_sy();
    mmio_write32(GICD + GICD_SGIR, 1u << (16 + cpu) | SGI);
}

// Interrupts stay masked: WFI ends for a pending one all the same, and GICC_IAR is read by hand.
static unsigned acknowledge(void) {
    unsigned value;
    while ((value = mmio_read32(GICC + GICC_IAR)) == SPURIOUS)
        wfi();
    mmio_write32(GICC + GICC_EOIR, value);
    return value;
}

static void relay(void) {
    unsigned self = cpu_id(), before = (self + cpu_count() - 1) % cpu_count();
    mmio_write32(GICC + GICC_PMR, 0xf0);
    mmio_write32(GICC + GICC_CTLR, 1);
    mmio_write32(GICD + GICD_ISENABLER, 1u << SGI);
    unsigned own = mmio_read8(GICD + GICD_ITARGETSR);
    if (own != 1u << self)
        print("FAIL: vCPU %u sees itself as target %x\n", self, own);
    if (self == 0)
        send_to(1 % cpu_count());
    unsigned value = acknowledge();
    if (value != (before << 10 | SGI))
        print("FAIL: vCPU %u acknowledged %x\n", self, value);
    else if (own == 1u << self)
        fetch_add(&passed, 1);
    if (self != 0)
        send_to((self + 1) % cpu_count());
}

void main(void) {
    mmio_write32(GICD + GICD_CTLR, 1);
    cpu_start_others(relay);
    relay();
    cpu_wait_for_others_off();
    print("%s: %u of %u vCPUs were sent an SGI by the one before\n", passed == cpu_count() ? "PASS" : "FAIL", passed, cpu_count());
}
