/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The guest's watchpoints (DBGWVR<n>_EL1, DBGWCR<n>_EL1). The library reads the registers and decides whether a watchpoint
 * applies where an access hits it; the list of them and the hit itself, which it leaves out, are here.
 */
#include "native.h"

static bool overlaps(const Watchpoint *watchpoint, uint64_t address, uint64_t length)
{
    /* Inclusive ends: a range may end with the address space. */
    return watchpoint->address <= address + (length - 1) && address <= watchpoint->address + (watchpoint->length - 1);
}

int avmm_watchpoint_insert(void *cpu, uint64_t address, uint64_t length, int flags, Watchpoint **place)
{
    Vcpu *vcpu = vcpu_of(cpu);
    Watchpoint *watchpoint = vcpu == NULL || vcpu->watchpoint_count == MAX_WATCHPOINTS ? NULL : calloc(1, sizeof *watchpoint);
    if (watchpoint == NULL) {
        return -1;
    }
    *watchpoint = (Watchpoint){.address = address, .length = length, .flags = flags};
    vcpu->watchpoints[vcpu->watchpoint_count++] = watchpoint;
    lib.tlb_flush(cpu); /* entries made anew say whether their page is watched */
    *place = watchpoint;
    return 0;
}

void avmm_watchpoint_remove(void *cpu, Watchpoint *watchpoint)
{
    Vcpu *vcpu = vcpu_of(cpu);
    for (int i = 0; i < vcpu->watchpoint_count; i++) {
        if (vcpu->watchpoints[i] == watchpoint) {
            vcpu->watchpoints[i] = vcpu->watchpoints[--vcpu->watchpoint_count];
            lib.tlb_flush(cpu);
            free(watchpoint);
            return;
        }
    }
}

void avmm_watchpoint_remove_all(void *cpu, int mask)
{
    Vcpu *vcpu = vcpu_of(cpu);
    (void)mask;
    while (vcpu != NULL && vcpu->watchpoint_count > 0) {
        avmm_watchpoint_remove(cpu, vcpu->watchpoints[0]);
    }
}

/* What is watched in a page that gets a TLB entry. */
int avmm_watchpoint_flags(void *cpu, uint64_t address, uint64_t length)
{
    Vcpu *vcpu = vcpu_of(cpu);
    int flags = 0;
    for (int i = 0; i < vcpu->watchpoint_count; i++) {
        flags |= overlaps(vcpu->watchpoints[i], address, length) ? vcpu->watchpoints[i]->flags : 0;
    }
    return flags;
}

/* An access to a watched page, before it is made. Does not return if it hits. */
void avmm_watchpoint_check(void *cpu, uint64_t address, uint64_t length, uint32_t attrs, int access, uintptr_t host_pc)
{
    Vcpu *vcpu = vcpu_of(cpu);
    int hit = access == BP_MEM_READ ? BP_HIT_READ : BP_HIT_WRITE;
    for (int i = 0; i < vcpu->watchpoint_count; i++) {
        Watchpoint *watchpoint = vcpu->watchpoints[i];
        watchpoint->flags &= ~(BP_HIT_READ | BP_HIT_WRITE);
        if (!(watchpoint->flags & access) || !overlaps(watchpoint, address, length)) {
            continue;
        }
        watchpoint->flags |= hit;
        watchpoint->hit_address = address > watchpoint->address ? address : watchpoint->address;
        watchpoint->hit_attrs = attrs;
        if (lib.watchpoint_applies(cpu, watchpoint)) {
            FIELD(Watchpoint *, cpu, CPU_WATCHPOINT_HIT) = watchpoint;
            FIELD(int32_t, cpu, CPU_EXCEPTION_INDEX) = EXCP_DEBUG;
            lib.cpu_loop_exit_restore(cpu, host_pc);
        }
        watchpoint->flags &= ~hit;
    }
}
