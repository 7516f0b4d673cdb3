/* SPDX-License-Identifier: GPL-2.0-or-later */
/* From the guest to the VM's Python objects and back, inside enter(): memory-mapped I/O and the call that all traps share. */
#include "native.h"

static int call_with_gil(PyObject *function, PyObject *const *arguments, size_t count, uint64_t *result)
{
    PyObject *answer = PyObject_Vectorcall(function, arguments, count, NULL);
    if (answer != NULL && result != NULL) {
        *result = PyLong_AsUnsignedLongLongMask(answer);
        if (*result == UINT64_MAX && PyErr_Occurred()) {
            Py_CLEAR(answer);
        }
    }
    if (answer != NULL) {
        Py_DECREF(answer);
        return TRAP_OK;
    }
    if (PyErr_ExceptionMatches(core.external_abort)) {
        PyErr_Clear();
        return TRAP_ABORT;
    }
    if (PyErr_ExceptionMatches(core.undefined)) {
        PyErr_Clear();
        return TRAP_UNDEFINED;
    }
    return TRAP_ERROR; /* the exception stays set in this thread's state until enter() returns it */
}

/* Call `function` with the GIL taken for just as long; its result, if wanted, as an integer. */
int avmm_call_traps(Vcpu *vcpu, PyObject *function, PyObject *const *arguments, size_t count, uint64_t *result)
{
    take_gil(vcpu);
    int outcome = call_with_gil(function, arguments, count, result);
    drop_gil(vcpu);
    return outcome;
}

/* Leave the guest before the instruction at `host_pc` (0: the program counter is right as it is). Does not return. */
void avmm_leave_with_error(Vcpu *vcpu, uintptr_t host_pc)
{
    vcpu->error = true;
    FIELD(int32_t, vcpu->cpu, CPU_EXCEPTION_INDEX) = EXCP_INTERRUPT;
    lib.cpu_loop_exit_restore(vcpu->cpu, host_pc);
}

/* The library looks up the section of an I/O access right before the access: keep what tells us its virtual address. */
void *avmm_iotlb_to_section(void *cpu, uint64_t index, uint32_t attrs)
{
    Vcpu *vcpu = vcpu_of(cpu);
    vcpu->io_index = index;
    vcpu->armed = true;
    return lib.iotlb_to_section(cpu, index, attrs);
}

static int call_mmio(Vcpu *vcpu, PyObject *function, uint64_t address, int width, const uint64_t *store, uint64_t *load)
{
    PyObject *arguments[3] = {NULL, NULL, NULL};
    int outcome = TRAP_ERROR;
    take_gil(vcpu);
    arguments[0] = PyLong_FromUnsignedLongLong(address);
    arguments[1] = PyLong_FromLong(width);
    if (store != NULL) {
        arguments[2] = PyLong_FromUnsignedLongLong(*store);
    }
    if (arguments[0] != NULL && arguments[1] != NULL && (store == NULL || arguments[2] != NULL)) {
        outcome = call_with_gil(function, arguments, store != NULL ? 3 : 2, load);
    }
    for (int i = 0; i < 3; i++) {
        Py_XDECREF(arguments[i]);
    }
    drop_gil(vcpu);
    return outcome;
}

static void settle_mmio(Vcpu *vcpu, int outcome, uint64_t address, int width, int access, uint32_t attrs)
{
    uintptr_t host_pc = vcpu->trap_pc;
    vcpu->trap_pc = 0;
    switch (outcome) {
    case TRAP_OK:
        return;
    case TRAP_ABORT:
        vcpu->external_aborts++;
        lib.transaction_failed(vcpu->cpu, address, address - (vcpu->io_index & PAGE_MASK), (unsigned)width, access, 0, attrs,
                               MEMTX_DECODE_ERROR, host_pc);
        return;
    case TRAP_UNDEFINED:
        /* In this order: restoring the state overwrites the syndrome. */
        lib.cpu_restore_state(vcpu->cpu, host_pc, true);
        lib.raise_exception(vcpu->env, EXCP_UDEF, SYNDROME_UNCATEGORIZED, 1);
        return;
    default:
        avmm_leave_with_error(vcpu, host_pc);
    }
}

static uint64_t swap(uint64_t value, int width) { return __builtin_bswap64(value) >> (64 - 8 * width); }

/* Everything that is not memory. Also reached by page table walks, which come without a look-up of their section first. */
uint32_t avmm_dispatch_read(void *uc, void *region, uint64_t address, uint64_t *value, unsigned op, uint32_t attrs)
{
    Vcpu *vcpu = vcpu_of_uc(uc);
    int width = 1 << (op & MO_SIZE);
    (void)region;
    *value = 0;
    if (!vcpu->armed) {
        return MEMTX_DECODE_ERROR;
    }
    vcpu->armed = false;
    if (!avmm_serve_read(vcpu, address, width, value)) {
        vcpu->trap_pc = FIELD(uintptr_t, vcpu->cpu, CPU_MEM_IO_PC);
        int outcome = call_mmio(vcpu, vcpu->mmio_read, address, width, NULL, value);
        settle_mmio(vcpu, outcome, address, width, MMU_DATA_LOAD, attrs);
    }
    if (width < 8) {
        *value &= ((uint64_t)1 << (8 * width)) - 1;
    }
    if (op & MO_BSWAP) {
        *value = swap(*value, width);
    }
    return MEMTX_OK;
}

uint32_t avmm_dispatch_write(void *uc, void *region, uint64_t address, uint64_t value, unsigned op, uint32_t attrs)
{
    Vcpu *vcpu = vcpu_of_uc(uc);
    int width = 1 << (op & MO_SIZE);
    (void)region;
    if (!vcpu->armed) {
        return MEMTX_DECODE_ERROR;
    }
    vcpu->armed = false;
    if (width < 8) {
        value &= ((uint64_t)1 << (8 * width)) - 1;
    }
    if (op & MO_BSWAP) {
        value = swap(value, width);
    }
    if (!avmm_serve_write(vcpu, address, width, value)) {
        vcpu->trap_pc = FIELD(uintptr_t, vcpu->cpu, CPU_MEM_IO_PC);
        int outcome = call_mmio(vcpu, vcpu->mmio_write, address, width, &value, NULL);
        settle_mmio(vcpu, outcome, address, width, MMU_DATA_STORE, attrs);
    }
    return MEMTX_OK;
}
