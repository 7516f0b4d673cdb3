/* SPDX-License-Identifier: GPL-2.0-or-later */
/* System registers that trap to the host, constants, and the counters that are read natively. */
#include "native.h"

#include <time.h>

static const uint64_t NS_PER_S = 1000000000;

static void settle(Vcpu *vcpu, int outcome)
{
    /* The program counter is at the instruction already: CP_RAISES_EXC. */
    switch (outcome) {
    case TRAP_OK:
        return;
    case TRAP_ERROR:
        avmm_leave_with_error(vcpu, 0);
        return;
    default:
        lib.raise_exception(vcpu->env, EXCP_UDEF, SYNDROME_UNCATEGORIZED, 1);
    }
}

static uint64_t read_trap(void *env, const RegInfo *info)
{
    SystemRegister *reg = info->opaque;
    uint64_t value = 0;
    (void)env;
    settle(reg->vcpu, avmm_call_traps(reg->vcpu, reg->read, NULL, 0, &value));
    return value;
}

static uint64_t read_constant(void *env, const RegInfo *info)
{
    (void)env;
    return ((SystemRegister *)info->opaque)->constant;
}

static void write_trap(void *env, const RegInfo *info, uint64_t value)
{
    SystemRegister *reg = info->opaque;
    Vcpu *vcpu = reg->vcpu;
    (void)env;
    take_gil(vcpu);
    PyObject *argument = PyLong_FromUnsignedLongLong(value);
    PyObject *answer = argument == NULL ? NULL : PyObject_CallOneArg(reg->write, argument);
    Py_XDECREF(argument);
    int outcome = TRAP_OK;
    if (answer != NULL) {
        Py_DECREF(answer);
    } else if (PyErr_ExceptionMatches(core.undefined) || PyErr_ExceptionMatches(core.external_abort)) {
        PyErr_Clear();
        outcome = TRAP_UNDEFINED;
    } else {
        outcome = TRAP_ERROR;
    }
    drop_gil(vcpu);
    settle(vcpu, outcome);
}

static void write_ignored(void *env, const RegInfo *info, uint64_t value)
{
    (void)env;
    (void)info;
    (void)value;
}

static uint64_t read_counter(void *env, const RegInfo *info)
{
    SystemRegister *reg = info->opaque;
    uint64_t now;
    (void)env;
    if (reg->native_clock) {
        struct timespec time;
        clock_gettime(CLOCK_MONOTONIC, &time);
        now = (uint64_t)time.tv_sec * NS_PER_S + (uint64_t)time.tv_nsec;
    } else {
        settle(reg->vcpu, avmm_call_traps(reg->vcpu, reg->now, NULL, 0, &now));
    }
    /* now * numerator / denominator, in whole and remaining periods so that nothing overflows. */
    uint64_t ticks = now / reg->denominator * reg->numerator + now % reg->denominator * reg->numerator / reg->denominator;
    return ticks - atomic_load_explicit(&reg->offset, memory_order_relaxed);
}

static int counter_access(void *env, const RegInfo *info, _Bool is_read)
{
    SystemRegister *reg = info->opaque;
    uint64_t allowed = 0;
    (void)is_read;
    if (FIELD(uint32_t, env, ENV_PSTATE) >> 2 & 3) {
        return CP_ACCESS_OK;
    }
    settle(reg->vcpu, avmm_call_traps(reg->vcpu, reg->allowed_at_el0, NULL, 0, &allowed));
    return allowed ? CP_ACCESS_OK : CP_ACCESS_TRAP;
}

static int register_access(void *env, const RegInfo *info, _Bool is_read)
{
    SystemRegister *reg = info->opaque;
    PyObject *arguments[] = {is_read ? Py_True : Py_False};
    uint64_t allowed = 0;
    if (FIELD(uint32_t, env, ENV_PSTATE) >> 2 & 3) {
        return CP_ACCESS_OK;
    }
    settle(reg->vcpu, avmm_call_traps(reg->vcpu, reg->allowed_at_el0, arguments, 1, &allowed));
    return allowed ? CP_ACCESS_OK : CP_ACCESS_TRAP;
}

static SystemRegister *new_register(Vcpu *vcpu, const char *name)
{
    SystemRegister *reg = PyMem_RawCalloc(1, sizeof *reg);
    if (reg == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    snprintf(reg->name, sizeof reg->name, "%s", name);
    reg->vcpu = vcpu;
    reg->next = vcpu->registers;
    vcpu->registers = reg;
    return reg;
}

static PyObject *keep(PyObject *object) { return object == Py_None ? NULL : Py_NewRef(object); }

static int define(Vcpu *vcpu, RegInfo *info, const int encoding[5], SystemRegister *reg)
{
    static const int limits[5] = {3, 7, 15, 15, 7};
    for (int i = 0; i < 5; i++) {
        if (encoding[i] < 0 || encoding[i] > limits[i]) {
            PyErr_Format(PyExc_ValueError, "%s: no such system register encoding", reg->name);
            return -1;
        }
        reg->encoding[i] = (uint32_t)encoding[i];
    }
    info->name = reg->name;
    info->state = CP_STATE_AA64;
    info->opc0 = (uint8_t)encoding[0];
    info->opc1 = (uint8_t)encoding[1];
    info->crn = (uint8_t)encoding[2];
    info->crm = (uint8_t)encoding[3];
    info->opc2 = (uint8_t)encoding[4];
    lib.define_reginfo(vcpu->cpu, info, reg);
    return 0;
}

/* define_register(name, (op0, op1, CRn, CRm, op2), read, write, constant, el0, allowed_at_el0) */
PyObject *avmm_define_register(Vcpu *vcpu, PyObject *arguments, PyObject *keywords)
{
    static char *names[] = {"name", "encoding", "read", "write", "constant", "el0", "allowed_at_el0", NULL};
    const char *name;
    int e[5], el0;
    PyObject *read, *write, *constant, *allowed;
    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "s(iiiii)OOOpO", names, &name, &e[0], &e[1], &e[2], &e[3], &e[4],
                                     &read, &write, &constant, &el0, &allowed)) {
        return NULL;
    }
    SystemRegister *reg = new_register(vcpu, name);
    if (reg == NULL) {
        return NULL;
    }
    RegInfo info = {.type = CP_NO_RAW | CP_OVERRIDE | CP_RAISES_EXC | CP_IO};
    reg->read = keep(read);
    reg->write = keep(write);
    reg->allowed_at_el0 = keep(allowed);
    info.accessfn = reg->allowed_at_el0 != NULL ? register_access : NULL;
    if (constant != Py_None) {
        reg->constant = PyLong_AsUnsignedLongLongMask(constant);
        if (PyErr_Occurred()) {
            return NULL;
        }
        if (reg->write == NULL) {
            info.type = CP_NO_RAW | CP_OVERRIDE | CP_CONST;
            info.resetvalue = reg->constant;
        }
    }
    bool readable = reg->read != NULL || constant != Py_None, writable = reg->write != NULL || constant != Py_None;
    info.access = (readable ? (el0 ? PL0_R : PL1_R) : 0) | (writable ? (el0 ? PL0_W : PL1_W) : 0);
    info.readfn = constant != Py_None ? read_constant : read_trap;
    info.writefn = reg->write != NULL ? write_trap : write_ignored;
    if (define(vcpu, &info, e, reg) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static uint64_t common_divisor(uint64_t a, uint64_t b) { return b == 0 ? a : common_divisor(b, a % b); }

/* define_counter(name, encoding, frequency_hz, offset, allowed_at_el0, now_ns): `now_ns` None is CLOCK_MONOTONIC. */
PyObject *avmm_define_counter(Vcpu *vcpu, PyObject *arguments, PyObject *keywords)
{
    static char *names[] = {"name", "encoding", "frequency_hz", "offset", "allowed_at_el0", "now_ns", NULL};
    const char *name;
    int e[5];
    unsigned long long frequency;
    PyObject *offset, *allowed, *now;
    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "s(iiiii)KOOO", names, &name, &e[0], &e[1], &e[2], &e[3], &e[4],
                                     &frequency, &offset, &allowed, &now)) {
        return NULL;
    }
    if (frequency == 0 || frequency > NS_PER_S) {
        return PyErr_Format(PyExc_ValueError, "%s: a frequency from 1 Hz to 1 GHz, not %llu", name, frequency);
    }
    SystemRegister *reg = new_register(vcpu, name);
    uint64_t start = PyLong_AsUnsignedLongLongMask(offset);
    if (reg == NULL || PyErr_Occurred()) {
        return NULL;
    }
    uint64_t divisor = common_divisor(frequency, NS_PER_S);
    reg->numerator = frequency / divisor;
    reg->denominator = NS_PER_S / divisor;
    reg->offset = start;
    reg->allowed_at_el0 = keep(allowed);
    reg->now = keep(now);
    reg->native_clock = reg->now == NULL;
    RegInfo info = {
        .type = CP_NO_RAW | CP_OVERRIDE | CP_RAISES_EXC | CP_IO,
        .access = PL0_R,
        .readfn = read_counter,
        .accessfn = reg->allowed_at_el0 != NULL ? counter_access : NULL,
    };
    if (define(vcpu, &info, e, reg) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyObject *avmm_set_counter_offset(Vcpu *vcpu, PyObject *arguments, PyObject *keywords)
{
    static char *names[] = {"name", "offset", NULL};
    const char *name;
    PyObject *offset;
    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "sO", names, &name, &offset)) {
        return NULL;
    }
    uint64_t value = PyLong_AsUnsignedLongLongMask(offset);
    if (PyErr_Occurred()) {
        return NULL;
    }
    for (SystemRegister *reg = vcpu->registers; reg != NULL; reg = reg->next) {
        if (reg->denominator != 0 && strcmp(reg->name, name) == 0) {
            atomic_store(&reg->offset, value);
            Py_RETURN_NONE;
        }
    }
    return PyErr_Format(PyExc_KeyError, "%s", name);
}

static void write_cpacr(void *env, const RegInfo *info, uint64_t value)
{
    (void)info;
    FIELD(uint64_t, env, ENV_CPACR_EL1) = value & CPACR_FPEN;
}

/* CPACR_EL1: without SVE and without trace registers there is one field that can be written; the library keeps all bits. */
void avmm_define_cpacr(Vcpu *vcpu)
{
    RegInfo info = *lib.get_reginfo(FIELD(void *, vcpu->cpu, ARM_CP_REGS), CP_KEY(3u, 0u, 1u, 0u, 2u));
    info.type |= CP_OVERRIDE;
    info.name = "CPACR_EL1";
    info.state = CP_STATE_AA64;
    info.writefn = write_cpacr;
    lib.define_reginfo(vcpu->cpu, &info, vcpu);
}

void avmm_free_registers(Vcpu *vcpu)
{
    while (vcpu->registers != NULL) {
        SystemRegister *reg = vcpu->registers;
        vcpu->registers = reg->next;
        Py_XDECREF(reg->read);
        Py_XDECREF(reg->write);
        Py_XDECREF(reg->allowed_at_el0);
        Py_XDECREF(reg->now);
        PyMem_RawFree(reg);
    }
}
