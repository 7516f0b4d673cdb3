/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Several vCPUs of one VM in the guest at once: who is in it, how one waits for the others, and how one stops them.
 *
 * A vCPU is `in_guest` while it executes guest code, and not while it waits: for the GIL and in the trap it takes it for, for
 * others, for nobody in particular. Whoever leaves a note for it does that first and reads `in_guest` second; it sets `in_guest`
 * first and reads its notes second. So a note left for a vCPU that is not in the guest need not be waited for.
 */
#include "native.h"

#include <sched.h>

#define SPINS 200 /* looks at what one waits for before going to sleep: about as long as a block and a flush take */

/* Something that others may wait for has happened. Fenced before. Pairs with the increment of `waiting` in wait_until(). */
void avmm_tell_waiters(Machine *machine)
{
    if (atomic_load(&machine->waiting) != 0) {
        pthread_mutex_lock(&machine->lock);
        pthread_cond_broadcast(&machine->changed);
        pthread_mutex_unlock(&machine->lock);
    }
}

/* Wait until `over`, outside the guest and with the lock not held. */
static void wait_until(Vcpu *vcpu, bool (*over)(Vcpu *))
{
    Machine *machine = vcpu->machine;
    for (int i = 0; i < SPINS; i++) {
        if (over(vcpu)) {
            return;
        }
        __builtin_ia32_pause();
    }
    pthread_mutex_lock(&machine->lock);
    atomic_fetch_add(&machine->waiting, 1);
    while (!over(vcpu)) {
        pthread_cond_wait(&machine->changed, &machine->lock);
    }
    atomic_fetch_sub(&machine->waiting, 1);
    pthread_mutex_unlock(&machine->lock);
}

static bool nobody_else_alone(Vcpu *vcpu)
{
    const Vcpu *alone = atomic_load(&vcpu->machine->alone);
    return alone == NULL || alone == vcpu;
}

void avmm_go_out(Vcpu *vcpu)
{
    if (vcpu->machine->parallel) {
        atomic_store(&vcpu->in_guest, false);
        avmm_tell_waiters(vcpu->machine);
    }
}

/* Into the guest, perhaps in the middle of a block: after the TLB is as those want it who have not waited for us. */
void avmm_come_in(Vcpu *vcpu)
{
    if (!vcpu->machine->parallel) {
        return;
    }
    /* In the guest first, notes and `alone` second: pairs with leave_note() in broadcast.c and avmm_begin_alone(). */
    for (atomic_store(&vcpu->in_guest, true); !nobody_else_alone(vcpu); atomic_store(&vcpu->in_guest, true)) {
        avmm_go_out(vcpu);
        wait_until(vcpu, nobody_else_alone);
    }
    avmm_drain(vcpu, false);
}

/* All others have carried out what `vcpu` broadcast, or are outside and will do so before they come in. */
static bool others_heard(Vcpu *vcpu)
{
    Machine *machine = vcpu->machine;
    for (int i = 0; i < machine->vcpu_count; i++) {
        Vcpu *other = machine->vcpus[i];
        if (other != vcpu && atomic_load(&other->heard) < vcpu->owed && atomic_load(&other->in_guest)) {
            return false;
        }
    }
    return true;
}

static bool others_out(Vcpu *vcpu)
{
    Machine *machine = vcpu->machine;
    for (int i = 0; i < machine->vcpu_count; i++) {
        if (machine->vcpus[i] != vcpu && atomic_load(&machine->vcpus[i]->in_guest)) {
            return false;
        }
    }
    return true;
}

/*
 * Before an instruction that is to be executed with all others stopped. They must be outside the guest, and stay there; two who
 * want this take turns. Outside ourselves meanwhile, so that nobody waits for us who we wait for.
 */
void avmm_begin_alone(Vcpu *vcpu)
{
    Machine *machine = vcpu->machine;
    Vcpu *nobody = NULL;
    avmm_settle_block(vcpu);
    avmm_go_out(vcpu);
    while (!atomic_compare_exchange_strong(&machine->alone, &nobody, vcpu)) {
        nobody = NULL;
        wait_until(vcpu, nobody_else_alone);
    }
    for (int i = 0; i < machine->vcpu_count; i++) {
        if (machine->vcpus[i] != vcpu) {
            request_exit(machine->vcpus[i]);
        }
    }
    wait_until(vcpu, others_out);
    avmm_come_in(vcpu);
    vcpu->alone = ALONE_NEXT;
    vcpu->alone_instructions++;
}

void avmm_end_alone(Vcpu *vcpu)
{
    vcpu->alone = ALONE_NOT;
    atomic_store(&vcpu->machine->alone, NULL);
    avmm_tell_waiters(vcpu->machine);
}

/* Between two blocks, the exit flag just cleared: whatever others want, and we of them. */
void avmm_meet_others(Vcpu *vcpu)
{
    atomic_store_explicit(&vcpu->translating_code, false, memory_order_release); /* PAGE_CODE says it by now */
    if (vcpu->alone == ALONE_NOW) {
        avmm_end_alone(vcpu);
    }
    if (vcpu->at_barrier) {
        vcpu->at_barrier = false;
        avmm_settle_block(vcpu);
        if (!others_heard(vcpu) && !(vcpu->machine->without & LEAVE_WAITS)) {
            avmm_go_out(vcpu);
            wait_until(vcpu, others_heard);
            avmm_come_in(vcpu);
        }
        vcpu->owes = false;
    }
    if (!nobody_else_alone(vcpu)) {
        avmm_go_out(vcpu);
        avmm_come_in(vcpu);
    }
}

/* The guest spins: somebody else may have more to do on this core. */
void avmm_yield(Vcpu *vcpu)
{
    avmm_go_out(vcpu);
    sched_yield();
    avmm_come_in(vcpu);
}

/* Tell the VM of the TLB_FLUSH requests that vCPUs made of each other; false with an exception. */
bool avmm_count_flushes(Vcpu *vcpu)
{
    pthread_mutex_lock(&vcpu->machine->lock);
    unsigned made = vcpu->flushes_requested, ipis = vcpu->flush_ipis;
    vcpu->flushes_requested = vcpu->flush_ipis = 0;
    pthread_mutex_unlock(&vcpu->machine->lock);
    unsigned handled = vcpu->flushes_handled;
    vcpu->flushes_handled = 0;
    if (made == 0 && handled == 0) {
        return true;
    }
    PyObject *answer = PyObject_CallFunction(vcpu->count_tlb_flushes, "III", made, handled, ipis);
    Py_XDECREF(answer);
    return answer != NULL;
}
