/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Guest exceptions, interrupts, hypercalls and hints; and the one place where a kick is noticed. */
#include "native.h"

/* The library's word of interrupt lines belongs to the thread in enter(), which changes it without a lock: bring it up to date. */
void avmm_drive_pins(Vcpu *vcpu)
{
    uint32_t *request = &FIELD(uint32_t, vcpu->cpu, CPU_INTERRUPT_REQUEST);
    *request = (*request & ~(uint32_t)INTERRUPT_LINES) | atomic_load(&vcpu->pins);
}

/*
 * Called by the library before every block that it does not reach by a direct jump, because INTERRUPT_ALWAYS is set in
 * interrupt_request. It has just cleared the exit flag in icount_decr.
 */
bool avmm_exec_interrupt(void *cpu, int request)
{
    Vcpu *vcpu = vcpu_of(cpu);
    /* Exit flag cleared first, latch and pins read second. Pairs with kick() and set_pin(), which set those first and the exit
       flag second: a kick whose exit flag was cleared just now is seen in the latch here. */
    atomic_thread_fence(memory_order_seq_cst);
    if (vcpu->machine->parallel) {
        avmm_meet_others(vcpu);
    }
    if (((uint32_t)request & INTERRUPT_LINES) != atomic_load_explicit(&vcpu->pins, memory_order_relaxed)) {
        avmm_drive_pins(vcpu);
        request = FIELD(int, cpu, CPU_INTERRUPT_REQUEST);
    }
    avmm_drain(vcpu, true);
    vcpu->translating = NULL; /* left standing where a fetch faulted */
    if (atomic_load_explicit(&vcpu->kicked, memory_order_relaxed)) {
        FIELD(bool, cpu, CPU_EXIT_REQUEST) = true;
        return false;
    }
    if (vcpu->counting || vcpu->events.changed) {
        if (!avmm_between_blocks(vcpu)) {
            return false;
        }
        request = FIELD(int, cpu, CPU_INTERRUPT_REQUEST); /* an interrupt, perhaps, by a counter that is full */
    }
    if (vcpu->alone == ALONE_NEXT) {
        /* One instruction, and back here at once: such a block has no look at the exit flag itself. */
        vcpu->alone = ALONE_NOW;
        FIELD(uint32_t, cpu, CPU_CFLAGS_NEXT_TB) = CF_LAST_IO | 1;
        request_exit(vcpu);
    }
    return (request & INTERRUPT_LINES) != 0 && lib.exec_interrupt(cpu, request);
}

/* CPUClass.do_interrupt: deliver an exception or an interrupt, which ends a stretch of counting at one exception level. */
void avmm_do_interrupt(void *cpu)
{
    Vcpu *vcpu = vcpu_of(cpu);
    avmm_leave_level(vcpu, EXCEPTIONS);
    lib.do_interrupt(cpu);
    avmm_enter_level(vcpu);
}

static void deliver(Vcpu *vcpu, uint32_t exception, uint32_t syndrome)
{
    FIELD(uint32_t, vcpu->env, ENV_SYNDROME) = syndrome;
    FIELD(int32_t, vcpu->cpu, CPU_EXCEPTION_INDEX) = (int32_t)exception;
    FIELD(uint32_t, vcpu->env, ENV_TARGET_EL) = 1;
    avmm_do_interrupt(vcpu->cpu);
}

static void hypercall(Vcpu *vcpu, bool secure)
{
    PyObject *arguments[] = {(PyObject *)vcpu->call};
    vcpu->call->immediate = FIELD(uint32_t, vcpu->env, ENV_SYNDROME) & 0xffff;
    vcpu->call->secure = secure;
    switch (avmm_call_traps(vcpu, vcpu->hypercall, arguments, 1, NULL)) {
    case TRAP_OK:
        return;
    case TRAP_ABORT:
    case TRAP_UNDEFINED:
        FIELD(uint64_t, vcpu->env, ENV_PC) -= 4;
        deliver(vcpu, EXCP_UDEF, SYNDROME_UNCATEGORIZED);
        return;
    default:
        /* Leave at the instruction, not behind it: the call was not carried out. */
        FIELD(uint64_t, vcpu->env, ENV_PC) -= 4;
        vcpu->error = true;
        FIELD(bool, vcpu->cpu, CPU_EXIT_REQUEST) = true;
    }
}

/* UC_HOOK_INTR: a synchronous exception; the exception state of the CPU is complete, nothing is delivered yet. */
void avmm_on_exception(void *uc, uint32_t exception, void *opaque)
{
    Vcpu *vcpu = opaque;
    (void)uc;
    avmm_settle_block(vcpu);
    avmm_charge_exception(vcpu);
    switch (exception) {
    case EXCP_HVC:
    case EXCP_SMC:
        hypercall(vcpu, exception == EXCP_SMC);
        return;
    case EXCP_UDEF:
    case EXCP_SVC:
    case EXCP_PREFETCH_ABORT:
    case EXCP_DATA_ABORT:
    case EXCP_BKPT:
        FIELD(uint32_t, vcpu->env, ENV_TARGET_EL) = 1;
        avmm_do_interrupt(vcpu->cpu);
        return;
    default:
        vcpu->fault = "an exception that EL1 cannot take";
        FIELD(bool, vcpu->cpu, CPU_EXIT_REQUEST) = true;
    }
}

/* HVC and SMC are never undefined by configuration here: the host is EL2 and EL3, and its handler decides. */
void avmm_helper_pre_hvc(void *env) { (void)env; }

void avmm_helper_pre_smc(void *env, uint32_t syndrome)
{
    (void)env;
    FIELD(uint32_t, env, ENV_SYNDROME) = syndrome;
}

/* The flags that translation depends on include whether software step is active, which PSTATE.D decides. */
void avmm_helper_daifset(void *env, uint32_t mask)
{
    lib.msr_i_daifset(env, mask);
    if (FIELD(uint64_t, env, ENV_MDSCR_EL1) & 1) {
        lib.rebuild_hflags(env);
    }
}

void avmm_helper_daifclear(void *env, uint32_t mask)
{
    lib.msr_i_daifclear(env, mask);
    if (FIELD(uint64_t, env, ENV_MDSCR_EL1) & 1) {
        lib.rebuild_hflags(env);
    }
}

/*
 * The exception level that an access to the floating-point registers from `level` traps to, or 0: "CPACR_EL1.FPEN". The
 * library leaves the registers open whatever the guest says.
 */
int avmm_fp_exception_el(void *env, int level)
{
    switch (FIELD(uint64_t, env, ENV_CPACR_EL1) >> 20 & 3) {
    case 1:
        return level == 0 ? 1 : 0;
    case 3:
        return 0;
    default:
        return 1;
    }
}
