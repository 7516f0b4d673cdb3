/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Registers by name, for debuggers and for the VM itself. */
#include "native.h"

typedef struct {
    const char *name;
    uint32_t op0, op1, crn, crm, op2;
} Encoding;

static const Encoding encodings[] = {
    {"sctlr_el1", 3, 0, 1, 0, 0},      {"cpacr_el1", 3, 0, 1, 0, 2},   {"ttbr0_el1", 3, 0, 2, 0, 0},
    {"ttbr1_el1", 3, 0, 2, 0, 1},      {"tcr_el1", 3, 0, 2, 0, 2},     {"afsr0_el1", 3, 0, 5, 1, 0},
    {"afsr1_el1", 3, 0, 5, 1, 1},      {"esr_el1", 3, 0, 5, 2, 0},     {"far_el1", 3, 0, 6, 0, 0},
    {"par_el1", 3, 0, 7, 4, 0},        {"mair_el1", 3, 0, 10, 2, 0},   {"amair_el1", 3, 0, 10, 3, 0},
    {"vbar_el1", 3, 0, 12, 0, 0},      {"tpidr_el1", 3, 0, 13, 0, 4},  {"contextidr_el1", 3, 0, 13, 0, 1},
    {"cntkctl_el1", 3, 0, 14, 1, 0},   {"csselr_el1", 3, 2, 0, 0, 0},  {"tpidr_el0", 3, 3, 13, 0, 2},
    {"tpidrro_el0", 3, 3, 13, 0, 3},   {"mdscr_el1", 2, 0, 0, 2, 2},
};

typedef struct {
    uint32_t crn, crm, op0, op1, op2;
    uint64_t value;
} Access;

/* True for a register that the architecture keeps: it traps to the host, whose handler is not to be called from here. */
static bool is_defined(const Vcpu *vcpu, const Encoding *e)
{
    const uint32_t encoding[5] = {e->op0, e->op1, e->crn, e->crm, e->op2};
    for (const SystemRegister *reg = vcpu->registers; reg != NULL; reg = reg->next) {
        if (memcmp(reg->encoding, encoding, sizeof encoding) == 0) {
            return true;
        }
    }
    return false;
}

static bool find_encoding(const Vcpu *vcpu, const char *name, Access *access)
{
    for (size_t i = 0; i < sizeof encodings / sizeof *encodings; i++) {
        const Encoding *e = &encodings[i];
        if (strcmp(e->name, name) == 0 && !is_defined(vcpu, e)) {
            *access = (Access){e->crn, e->crm, e->op0, e->op1, e->op2, 0};
            return true;
        }
    }
    return false;
}

/* Where a register that is a plain 64-bit field stands in the CPU state, or -1. */
static intptr_t field_of(const char *name)
{
    if (name[0] == 'x' && name[1] >= '0' && name[1] <= '9') {
        char *end;
        long number = strtol(name + 1, &end, 10);
        return *end == 0 && number <= 30 && (name[1] != '0' || name[2] == 0) ? ENV_XREGS + 8 * number : -1;
    }
    if (strcmp(name, "lr") == 0) {
        return ENV_XREGS + 8 * 30;
    }
    if (strcmp(name, "sp") == 0) {
        return ENV_XREGS + 8 * 31;
    }
    if (strcmp(name, "pc") == 0) {
        return ENV_PC;
    }
    if (strcmp(name, "elr_el1") == 0) {
        return ENV_ELR_EL + 8;
    }
    if (strcmp(name, "spsr_el1") == 0) {
        return ENV_SPSR + 8;
    }
    return -1;
}

/* The stack pointer in use is x31 of the CPU state; its bank is only written when it is switched. */
static int bank_in_use(Vcpu *vcpu)
{
    uint32_t pstate = FIELD(uint32_t, vcpu->env, ENV_PSTATE);
    return pstate & 1 ? (int)(pstate >> 2 & 3) : 0;
}

static uint64_t *stack_pointer(Vcpu *vcpu, int bank)
{
    bool in_use = bank_in_use(vcpu) == bank;
    return &FIELD(uint64_t, vcpu->env, in_use ? ENV_XREGS + 8 * 31 : ENV_SP_EL + 8 * bank);
}

static uint64_t *place_of(Vcpu *vcpu, const char *name)
{
    intptr_t field = field_of(name);
    if (field >= 0) {
        return &FIELD(uint64_t, vcpu->env, field);
    }
    if (strcmp(name, "sp_el0") == 0 || strcmp(name, "sp_el1") == 0) {
        return stack_pointer(vcpu, name[5] - '0');
    }
    return NULL;
}

static void write_pstate(Vcpu *vcpu, uint32_t pstate)
{
    *(&FIELD(uint64_t, vcpu->env, ENV_SP_EL) + bank_in_use(vcpu)) = FIELD(uint64_t, vcpu->env, ENV_XREGS + 8 * 31);
    lib.uc_reg_write(vcpu->uc, UC_ARM64_REG_PSTATE, &pstate);
    FIELD(uint64_t, vcpu->env, ENV_XREGS + 8 * 31) = *(&FIELD(uint64_t, vcpu->env, ENV_SP_EL) + bank_in_use(vcpu));
    lib.rebuild_hflags(vcpu->env);
}

PyObject *avmm_read_register(Vcpu *vcpu, PyObject *arguments, PyObject *keywords)
{
    static char *names[] = {"name", NULL};
    PyObject *object;
    Access access;
    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "U", names, &object)) {
        return NULL;
    }
    const char *name = PyUnicode_AsUTF8(object);
    if (name == NULL) {
        return NULL;
    }
    if (vcpu->trap_pc != 0) {
        /* Inside a load or store: the program counter stands at the start of the block until asked for. */
        lib.cpu_restore_state(vcpu->cpu, vcpu->trap_pc, false);
    }
    uint64_t *place = place_of(vcpu, name);
    if (place != NULL) {
        return PyLong_FromUnsignedLongLong(*place);
    }
    if (strcmp(name, "pstate") == 0) {
        uint32_t pstate = 0;
        lib.uc_reg_read(vcpu->uc, UC_ARM64_REG_PSTATE, &pstate);
        return PyLong_FromUnsignedLong(pstate);
    }
    if (!find_encoding(vcpu, name, &access) || lib.uc_reg_read(vcpu->uc, UC_ARM64_REG_CP_REG, &access) != 0) {
        PyErr_SetObject(PyExc_KeyError, object);
        return NULL;
    }
    return PyLong_FromUnsignedLongLong(access.value);
}

PyObject *avmm_write_register(Vcpu *vcpu, PyObject *arguments, PyObject *keywords)
{
    static char *names[] = {"name", "value", NULL};
    PyObject *object, *number;
    Access access;
    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "UO!", names, &object, &PyLong_Type, &number)) {
        return NULL;
    }
    const char *name = PyUnicode_AsUTF8(object);
    uint64_t value = PyLong_AsUnsignedLongLongMask(number);
    if (name == NULL || PyErr_Occurred()) {
        return NULL;
    }
    uint64_t *place = place_of(vcpu, name);
    if (place != NULL) {
        *place = value;
    } else if (strcmp(name, "pstate") == 0) {
        write_pstate(vcpu, (uint32_t)value);
    } else if (find_encoding(vcpu, name, &access)) {
        access.value = value;
        lib.uc_reg_write(vcpu->uc, UC_ARM64_REG_CP_REG, &access);
        lib.tlb_flush(vcpu->cpu);
    } else {
        PyErr_SetObject(PyExc_KeyError, object);
        return NULL;
    }
    Py_RETURN_NONE;
}
