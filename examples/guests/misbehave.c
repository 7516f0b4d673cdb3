// SPDX-License-Identifier: MIT
//
// misbehave: everything a guest should not do.
//
// Whatever it does, the host must stay well, and the guest must find the machine in order afterwards: the
// last part sets everything up again and counts timer ticks and SGIs. Each part says when it begins and,
// when it is over, how many things it tried and how many of them the machine refused by an exception.
//
// Boot arguments name the parts to run: wild unaligned undefined jump gicd gicr uart sysreg psci sgi lost.
// Without any, all of them run, in this order. `spin` is run only when named: the boot vCPU loops for ever
// with all interrupts masked, and only the host can end it. `lost` does the same to the last vCPU, and sends
// the one before it to an address where there is nothing.
#include "guest.h"

static uint64_t tried;
static volatile uint64_t refused;

// Always the same sequence, so that a run can be repeated: xorshift64.
static uint64_t random_state;

static uint64_t random(void) {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

// ---------------------------------------------------------------------------------------------------
// Every fault is counted and stepped over. A call to nowhere goes back to its caller.

static bool on_sync(struct exception_frame *frame, uint64_t esr, uint64_t far) {
    (void)far;
    refused++;
    switch (esr >> 26) {
    case EC_INSTRUCTION_ABORT:
    case EC_PC_ALIGNMENT:
        frame->elr = frame->x[30];
        break;
    case EC_SVC: // the preferred return address is already that of the next instruction
    case EC_HVC:
        break;
    default:
        frame->elr += 4;
    }
    return true;
}

// ---------------------------------------------------------------------------------------------------
// Accesses of every width and of the odd kinds, at any address.

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
static void wild(void) {
    for (uintptr_t address = 0; address < 1ul << 39; address += address >> 30 ? 1ul << 29 : 1ul << 15) {
        uintptr_t target = address + (random() & 0x7ff8);
        read_every_width(target);
        if (!in_ram(target) && !on_console(target))
            write_every_width(target, random());
    }
    for (unsigned bit = 39; bit < 64; bit++) // beyond the map: translation and address size faults
        read_every_width(1ul << bit);
}

static void unaligned(void) {
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

// ---------------------------------------------------------------------------------------------------
// Instructions made up at run time: a block of them, then RET.

enum { BLOCK = 512 };

static uint32_t code[BLOCK + 1] __attribute__((aligned(4096)));
static unsigned code_length;
static uint64_t scratch[512] __attribute__((aligned(4096)));

// Arm DDI 0487, "Synchronization and coherency issues between data and instruction accesses".
static void run_code(uint64_t x0) {
    code[code_length] = 0xd65f03c0; // RET
    for (uintptr_t line = (uintptr_t)code; line < (uintptr_t)&code[BLOCK + 1]; line += 64)
        __asm__ volatile("dc cvau, %0" ::"r"(line) : "memory");
    dsb_ish();
    __asm__ volatile("ic ialluis" ::: "memory");
    dsb_ish();
    isb();
    register uint64_t argument __asm__("x0") = x0;
    __asm__ volatile("blr %1" : "+r"(argument) : "r"(code) : "x1", "x30", "cc", "memory");
    tried += code_length;
    code_length = 0;
}

static void emit(uint32_t instruction, uint64_t x0) {
    code[code_length++] = instruction;
    if (code_length == BLOCK)
        run_code(x0);
}

// Arm DDI 0487, "A64 instruction set encoding": bits [28:25] = 0000 is reserved, 0001 unallocated, and a
// few encodings that exist and are not for a guest at EL1.
static void undefined(void) {
    for (unsigned i = 0; i < 4096; i++)
        emit((uint32_t)random() & ~(0xfu << 25) & ~(1u << 31), 0);
    for (unsigned i = 0; i < 1024; i++)
        emit((uint32_t)random() << 5 | 0xd4400000, 0); // HLT
    for (unsigned i = 0; i < 1024; i++)
        emit(((uint32_t)random() & 0xffff) << 5 | 0xd4200000, 0); // BRK
    for (unsigned i = 0; i < 256; i++)
        emit(((uint32_t)random() & 0xffff) << 5 | 0xd4000001, 0); // SVC, from EL1
    for (unsigned i = 0; i < 256; i++)
        emit(((uint32_t)random() & 0xffff) << 5 | 0xd4000003, 0); // SMC
    for (unsigned i = 0; i < 256; i++)
        emit(((uint32_t)random() & 0xffff) << 5 | 0xd4000002, 0x84ffffff); // HVC with an immediate
    for (unsigned i = 1; i < 4; i++)
        emit(0xd4a00000 | i, 0); // DCPS1 to DCPS3, not in Debug state
    emit(0xd6bf03e0, 0); // DRPS
    emit(0x1e604000, 0); // FMOV: trapped by CPACR_EL1
    run_code(0);
}

// System registers are named by five fields: "MRS", "MSR (register)", "SYS".
#define ENCODING(op0, op1, crn, crm, op2) ((op0) << 19 | (op1) << 16 | (crn) << 12 | (crm) << 8 | (op2) << 5)
#define MSR 0xd5000000u // and SYS, with op0 = 1; the register is x0
#define MRS 0xd5200001u // and SYSL; the register is x1

// What holds the guest itself up: it would only be its own end.
static bool vital(uint32_t encoding) {
    static const uint32_t registers[] = {
        ENCODING(3, 0, 1, 0, 0),  // SCTLR_EL1
        ENCODING(3, 0, 2, 0, 0),  // TTBR0_EL1
        ENCODING(3, 0, 2, 0, 2),  // TCR_EL1
        ENCODING(3, 0, 4, 2, 0),  // SPSel
        ENCODING(3, 0, 10, 2, 0), // MAIR_EL1
        ENCODING(3, 0, 12, 0, 0), // VBAR_EL1
        ENCODING(3, 0, 13, 0, 4), // TPIDR_EL1
        ENCODING(3, 3, 4, 2, 1),  // DAIF
        ENCODING(3, 3, 14, 0, 0), // CNTFRQ_EL0, which the highest exception level may write: it may be this one
    };
    for (unsigned i = 0; i < sizeof registers / sizeof registers[0]; i++) {
        if (registers[i] == encoding)
            return true;
    }
    return false;
}

// All 32768 + 16384 encodings: each is read, then written, with a new random value every 512.
static void sysreg(void) {
    for (uint32_t register_number = 0; register_number < 1 << 15; register_number++)
        emit(MRS | 2 << 19 | register_number << 5, 0);
    run_code(0);
    for (uint32_t register_number = 0; register_number < 1 << 15; register_number++) {
        uint32_t encoding = 2 << 19 | register_number << 5;
        if (!vital(encoding))
            emit(MSR | encoding, random());
    }
    run_code(random());
    for (uint32_t operation = 0; operation < 1 << 14; operation++) // caches, TLBs, address translation
        emit(MSR | 1 << 19 | operation << 5, (uint64_t)scratch);
    run_code((uint64_t)scratch);
}

// ---------------------------------------------------------------------------------------------------

static void jump(void) {
    static const uintptr_t targets[] = {
        UART_BASE,           // device memory, execute-never
        GICD_BASE,           // the same
        MMU_WINDOW,          // not mapped
        0x7ffff000,          // RAM that is not there, if there is less than 1 GiB of it
        1ul << 45,           // beyond the tables
        ~0ul << 12,          // the other half of the address space, translation off (EPD1)
        (uintptr_t)code + 2, // not on an instruction's boundary
    };
    for (unsigned i = 0; i < sizeof targets / sizeof targets[0]; i++, tried++)
        ((void (*)(void))targets[i])();
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

static void gicd(void) { hammer(GICD_BASE, 0x10000); }

static void gicr(void) { hammer(GICR_BASE, GICR_STRIDE); }

static void uart(void) {
    read_every_width(UART_BASE);
    hammer(UART_BASE + 4, 0xffc);
    for (unsigned i = 0; i < 32; i++) // more than the FIFO takes, asking nobody
        mmio_write16(UART_BASE, (uint16_t)(0xff00 | '.'));
    uart_init();
    print("\n");
}

// Parts of PSCI that would end or stop this vCPU are left out.
static bool final(uint32_t function) {
    switch (function & ~(1u << 30)) {
    case 0x84000001:              // CPU_SUSPEND
    case 0x84000002:              // CPU_OFF
    case 0x84000003:              // CPU_ON: below
    case 0x84000008:              // SYSTEM_OFF
    case 0x84000009:              // SYSTEM_RESET
    case 0x8400000c:              // CPU_FREEZE
    case 0x8400000d:              // CPU_DEFAULT_SUSPEND
    case 0x8400000e:              // SYSTEM_SUSPEND
    case 0x84000012:              // SYSTEM_RESET2
        return true;
    default:
        return false;
    }
}

enum { SGI_SELF = 5 };

static unsigned ticks, sgis;

static void on_tick(void) {
    timer_stop();
    ticks++;
}

static void on_sgi(void) { sgis++; }

// The interrupt controller afresh, whatever was done to it.
static void interrupts_on(void) {
    irq_on(TIMER_PPI_VIRTUAL, on_tick);
    irq_on(SGI_SELF, on_sgi);
    timer_stop();
    physical_timer_stop();
    write_sysreg(icc_ap0r0_el1, 0); // group 0, which the runtime does not use: nothing is active
    write_sysreg(icc_igrpen0_el1, 0);
    gic_init();
    gic_cpu_init();
}

static void psci_nonsense(void) {
    for (uint32_t function = 0; function < 64; function++) {
        for (uint32_t convention = 0; convention < 2; convention++) {
            uint32_t id = 0x84000000 | convention << 30 | function;
            if (!final(id)) {
                hvc(id, random(), random(), random());
                hvc(id, 0, ~0ul, 1);
                tried += 2;
            }
        }
    }
    for (unsigned i = 0; i < 4096; i++, tried++) { // other owners, fast and yielding, reserved bits
        uint64_t id = random();
        if (!final((uint32_t)id))
            hvc(id, random(), random(), random());
    }
    for (unsigned i = 0; i < 1024; i++, tried++) // vCPUs that do not exist
        psci(PSCI_CPU_ON, random() | 1ul << 24, random(), random());
    for (unsigned i = 0; i < 64; i++, tried++) // this one, which is on, to anywhere
        psci(PSCI_CPU_ON, cpu_mpidr(0), random(), random());
    for (unsigned i = 0; i < 1024; i++, tried++)
        psci(PSCI_AFFINITY_INFO, random(), random(), 0);
    interrupts_on(); // one wakes us
    for (unsigned i = 0; i < 4; i++, tried++) {
        timer_set(counter() + milliseconds(1));
        psci(PSCI_CPU_SUSPEND, i ? random() : ~0ul, random(), random());
        timer_stop();
    }
}

static void sgi(void) {
    for (unsigned i = 0; i < 65536; i++, tried++)
        write_sysreg(icc_sgi1r_el1, random() | 0xffull << 48); // Aff3 = 255: nobody
    for (unsigned i = 0; i < 4096; i++, tried += 3) {
        write_sysreg(icc_sgi1r_el1, random()); // somebody, perhaps; those are off
        write_sysreg(icc_sgi0r_el1, random());
        write_sysreg(icc_asgi1r_el1, random());
    }
    for (unsigned i = 0; i < 4096; i++, tried += 2) { // ends what never began
        write_sysreg(icc_eoir1_el1, random() & 0xffffff);
        write_sysreg(icc_dir_el1, random() & 0xffffff);
    }
}

// ---------------------------------------------------------------------------------------------------
// vCPUs that are never heard of again.

static _Noreturn void spin_masked(void) {
    __asm__ volatile("msr daifset, #0xf" ::: "memory");
    for (;;)
        __asm__ volatile("");
}

static bool spinning;

static void spinner(void) {
    store_release(&spinning, true);
    spin_masked();
}

// The last vCPU spins. The one before it starts where nothing answers: its first fetch aborts, and so does
// that of the vector, for ever.
static void lost(void) {
    unsigned last = cpu_count() - 1;
    if (last >= 1) {
        cpu_start(last, spinner);
        while (!load_acquire(&spinning)) {
        }
        tried++;
    }
    if (last >= 2) {
        psci(PSCI_CPU_ON, cpu_mpidr(last - 1), 0x3ffffff000, 0);
        tried++;
    }
}

// ---------------------------------------------------------------------------------------------------
// Is the machine still one? Sets up the interrupt controller afresh, and counts.

enum { CHECKS = 50 };

static bool in_order(void) {
    interrupts_on();
    for (unsigned i = 1; i <= CHECKS; i++) {
        timer_set(counter() + milliseconds(1));
        while (ticks < i) {
            wfi();
            irq_take_pending();
        }
        gic_send_sgi(cpu_mpidr(0), SGI_SELF);
        while (sgis < i) {
            wfi();
            irq_take_pending();
        }
    }
    print("misbehave: %u ticks and %u SGIs of %u\n", ticks, sgis, CHECKS);
    return ticks == CHECKS && sgis == CHECKS;
}

static void run(const char *name, void (*part)(void)) {
    print("misbehave: %s begins\n", name);
    random_state = 0x9e3779b97f4a7c15;
    tried = refused = 0;
    part();
    print("misbehave: %s ends: %lu tried, %lu refused\n", name, tried, refused);
}

void main(void) {
    static const struct {
        const char *name;
        void (*run)(void);
    } parts[] = {
        {"wild", wild}, {"unaligned", unaligned}, {"undefined", undefined}, {"jump", jump},
        {"gicd", gicd}, {"gicr", gicr}, {"uart", uart}, {"sysreg", sysreg},
        {"psci", psci_nonsense}, {"sgi", sgi}, {"lost", lost},
    };
    enum { COUNT = sizeof parts / sizeof parts[0] };
    bool all = !bootarg("spin");
    for (unsigned i = 0; i < COUNT; i++)
        all &= !bootarg(parts[i].name);

    sync_on(on_sync);
    mmu_map_everything();
    gic_init();
    gic_cpu_init();
    for (unsigned i = 0; i < COUNT; i++) {
        if (all || bootarg(parts[i].name))
            run(parts[i].name, parts[i].run);
    }
    if (bootarg("spin")) {
        print("misbehave: spin begins\n");
        spin_masked();
    }
    print("misbehave: %s\n", in_order() ? "PASS" : "FAIL");
}
