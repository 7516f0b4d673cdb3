/* SPDX-License-Identifier: GPL-2.0-or-later */
/* enter(): into the guest, and out of it with the reason. */
#include "native.h"

/* An atomic access that not even a vCPU alone can make: the guest's fault, "unsupported exclusive or atomic access". */
static void abort_atomic(Vcpu *vcpu)
{
    avmm_settle_block(vcpu);
    bool from_el1 = (FIELD(uint32_t, vcpu->env, ENV_PSTATE) >> 2 & 3) != 0;
    FIELD(uint32_t, vcpu->env, ENV_SYNDROME) = (from_el1 ? 0x25u : 0x24u) << 26 | SYNDROME_IL | 0x35;
    FIELD(uint64_t, vcpu->env, ENV_VADDRESS) = 0;
    FIELD(uint32_t, vcpu->env, ENV_TARGET_EL) = 1;
    FIELD(int32_t, vcpu->cpu, CPU_EXCEPTION_INDEX) = EXCP_DATA_ABORT;
    avmm_do_interrupt(vcpu->cpu);
}

/* One stretch in the guest. The GIL is not held. */
static int execute(Vcpu *vcpu)
{
    FIELD(uint32_t, vcpu->cpu, CPU_HALTED) = 0;
    FIELD(bool, vcpu->cpu, CPU_EXIT_REQUEST) = false;
    FIELD(int32_t, vcpu->cpu, CPU_EXCEPTION_INDEX) = -1;
    avmm_executing = vcpu;
    int why = lib.cpu_exec(vcpu->uc, vcpu->cpu);
    avmm_executing = NULL;
    avmm_settle_translation(vcpu, FIELD(void *, vcpu->tcg, TCG_CODE_NEXT));
    if (vcpu->alone != ALONE_NOT) {
        avmm_end_alone(vcpu);
        if (why == EXCP_ATOMIC) {
            abort_atomic(vcpu);
            why = EXCP_INTERRUPT;
        }
    }
    return why;
}

/* Stay in the guest until it has to leave; a new reference to the exit, or NULL with an exception. */
static PyObject *run(Vcpu *vcpu)
{
    PyObject *exit = NULL;
    bool parallel = vcpu->machine->parallel;
    vcpu->thread = PyEval_SaveThread();
    avmm_come_in(vcpu);
    while (exit == NULL && !vcpu->error && vcpu->fault == NULL) {
        switch (execute(vcpu)) {
        case EXCP_HLT:
            exit = core.halted;
            break;
        case EXCP_YIELD:
            if (parallel) {
                avmm_yield(vcpu);
            } else {
                exit = core.yielded;
            }
            break;
        case EXCP_DEBUG:
            exit = core.debug;
            break;
        case EXCP_ATOMIC:
            if (parallel) {
                avmm_begin_alone(vcpu);
            } else {
                abort_atomic(vcpu);
            }
            break;
        default:
            /* An error or a fault leaves a kick latched: it is not why this entry ends. */
            if (vcpu->error || vcpu->fault != NULL) {
                break;
            }
            if (vcpu->budget_hit) {
                exit = core.budget_exhausted;
            } else if (atomic_exchange(&vcpu->kicked, 0)) {
                exit = core.kicked;
            }
        }
    }
    avmm_go_out(vcpu);
    PyEval_RestoreThread(vcpu->thread);
    avmm_settle_served(vcpu);
    if (vcpu->error) {
        avmm_settle_block(vcpu);
        vcpu->error = false;
        return NULL;
    }
    if (exit == core.debug) {
        avmm_settle_block(vcpu);
        return PyObject_CallFunction(core.debug, "K", (unsigned long long)FIELD(uint64_t, vcpu->env, ENV_PC));
    }
    if (exit == NULL) {
        const char *fault = vcpu->fault;
        vcpu->fault = NULL;
        return PyObject_CallFunction(core.fault, "s", fault);
    }
    return Py_NewRef(exit);
}

/* Enter the guest, with a budget of instructions if that is not 0; the exit, or NULL with an exception. */
PyObject *avmm_enter(Vcpu *vcpu, uint64_t budget)
{
    if (atomic_load_explicit(&vcpu->kicked, memory_order_relaxed)) {
        atomic_store(&vcpu->kicked, 0);
        return Py_NewRef(core.kicked);
    }
    bool counting = vcpu->count_wanted || budget != 0 || vcpu->events.mask != 0;
    if (counting != vcpu->counting) {
        vcpu->counting = counting;
        avmm_forget_code(vcpu);
    }
    vcpu->budget_on = budget != 0;
    vcpu->budget_hit = false;
    vcpu->left_at_exception = UINT64_MAX;
    vcpu->budget_left = budget != 0 && budget < INT64_MAX ? budget : INT64_MAX;
    avmm_begin_entry(vcpu);
    avmm_drive_pins(vcpu);
    FIELD(uint64_t, vcpu->cpu, CPU_ICOUNT_BUDGET) = 0;
    FIELD(uint32_t, vcpu->cpu, CPU_CFLAGS_NEXT_TB) = UINT32_MAX;
    vcpu->inside = true;
    PyObject *exit = run(vcpu);
    vcpu->inside = false;
    avmm_end_entry(vcpu);
    if (exit != NULL && vcpu->machine->parallel && !avmm_count_flushes(vcpu)) {
        Py_CLEAR(exit);
    }
    return exit;
}
