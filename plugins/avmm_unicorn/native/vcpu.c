/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One vCPU, from creation to close, and its methods. */
#include "native.h"

#include <structmember.h>

static void close_vcpu(Vcpu *vcpu)
{
    avmm_close_instance(vcpu);
    if (vcpu->machine != NULL) {
        Machine *machine = vcpu->machine;
        for (int i = 0; i < machine->vcpu_count; i++) {
            if (machine->vcpus[i] == vcpu) {
                machine->vcpus[i] = machine->vcpus[--machine->vcpu_count];
            }
        }
    }
    for (int i = 0; i < vcpu->view_count; i++) {
        PyMem_RawFree(vcpu->views[i].pages);
    }
    vcpu->view_count = 0;
    avmm_end_lookup(vcpu);
    avmm_end_code_order(vcpu);
    avmm_end_translations(vcpu);
    avmm_free_registers(vcpu);
    if (vcpu->call != NULL) {
        vcpu->call->vcpu = NULL;
    }
    Py_CLEAR(vcpu->call);
    Py_CLEAR(vcpu->mmio_read);
    Py_CLEAR(vcpu->mmio_write);
    Py_CLEAR(vcpu->hypercall);
    Py_CLEAR(vcpu->tlb_flush_all);
    Py_CLEAR(vcpu->count_tlb_flushes);
    Py_CLEAR(vcpu->events.reached);
    Py_CLEAR(vcpu->machine);
}

static int init(Vcpu *vcpu, PyObject *arguments, PyObject *keywords)
{
    PyObject *traps;
    Machine *machine;
    (void)keywords;
    if (!PyArg_ParseTuple(arguments, "O!iO", &MachineType, &machine, &vcpu->index, &traps)) {
        return -1;
    }
    if (vcpu->machine != NULL || machine->vcpu_count == MAX_VCPUS) {
        PyErr_SetString(core.engine_error, "unicorn: too many vCPUs");
        return -1;
    }
    vcpu->machine = (Machine *)Py_NewRef(machine);
    vcpu->mmio_read = PyObject_GetAttrString(traps, "mmio_read");
    vcpu->mmio_write = PyObject_GetAttrString(traps, "mmio_write");
    vcpu->hypercall = PyObject_GetAttrString(traps, "hypercall");
    vcpu->tlb_flush_all = PyObject_GetAttrString(traps, "tlb_flush_all");
    vcpu->count_tlb_flushes = PyObject_GetAttrString(traps, "count_tlb_flushes");
    vcpu->call = PyObject_New(Hypercall, &HypercallType);
    if (PyErr_Occurred()) {
        return -1;
    }
    vcpu->call->vcpu = vcpu;
    if (avmm_open_instance(vcpu) < 0) {
        return -1;
    }
    for (int i = 0; i < machine->slot_count; i++) {
        int error = avmm_map_view(vcpu, &machine->slots[i]);
        if (error != 0) {
            avmm_library_error("cannot map memory", error);
            return -1;
        }
    }
    machine->vcpus[machine->vcpu_count++] = vcpu;
    return 0;
}

static bool usable(Vcpu *vcpu)
{
    if (vcpu->uc == NULL || vcpu->inside) {
        PyErr_SetString(PyExc_RuntimeError, vcpu->uc == NULL ? "the vCPU is closed" : "the vCPU is in the guest");
        return false;
    }
    return true;
}

/* The one argument of a method, by position or as `name`; NULL with an exception, or where `missing` is allowed. */
static PyObject *the_argument(PyObject *const *arguments, Py_ssize_t count, PyObject *names, const char *name, bool missing)
{
    Py_ssize_t given = count + (names == NULL ? 0 : PyTuple_GET_SIZE(names));
    if (given == 0 && missing) {
        return NULL;
    }
    if (given != 1 || (count == 0 && PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(names, 0), name) != 0)) {
        PyErr_Format(PyExc_TypeError, "one argument, %s", name);
        return NULL;
    }
    return arguments[0];
}

static PyObject *enter(Vcpu *vcpu, PyObject *const *arguments, Py_ssize_t count, PyObject *names)
{
    PyObject *number = the_argument(arguments, count, names, "budget", true);
    uint64_t budget = number == NULL ? 0 : PyLong_AsUnsignedLongLong(number);
    if (PyErr_Occurred() || !usable(vcpu)) {
        return NULL;
    }
    return avmm_enter(vcpu, budget);
}

static PyObject *kick(Vcpu *vcpu, PyObject *unused)
{
    (void)unused;
    /* Latch first, exit flag second. Pairs with avmm_exec_interrupt(), which clears the flag first and reads the latch second. */
    atomic_store(&vcpu->kicked, 1);
    if (vcpu->cpu != NULL) {
        request_exit(vcpu);
    }
    Py_RETURN_NONE;
}

static PyObject *clear_kick(Vcpu *vcpu, PyObject *unused)
{
    (void)unused;
    atomic_store(&vcpu->kicked, 0);
    Py_RETURN_NONE;
}

/* Any thread. */
static PyObject *set_pin(Vcpu *vcpu, uint32_t pin, PyObject *level)
{
    int on = level == NULL ? -1 : PyObject_IsTrue(level);
    if (on < 0) {
        return NULL;
    }
    /* Pin first, exit flag second. Pairs with avmm_exec_interrupt(), as in kick(). */
    if (on) {
        atomic_fetch_or(&vcpu->pins, pin);
    } else {
        atomic_fetch_and(&vcpu->pins, ~pin);
    }
    if (vcpu->cpu != NULL) {
        request_exit(vcpu);
    }
    Py_RETURN_NONE;
}

static PyObject *set_irq_line(Vcpu *vcpu, PyObject *const *arguments, Py_ssize_t count, PyObject *names)
{
    return set_pin(vcpu, INTERRUPT_HARD, the_argument(arguments, count, names, "level", false));
}

static PyObject *set_fiq_line(Vcpu *vcpu, PyObject *const *arguments, Py_ssize_t count, PyObject *names)
{
    return set_pin(vcpu, INTERRUPT_FIQ, the_argument(arguments, count, names, "level", false));
}

static PyObject *flush_tlb(Vcpu *vcpu, PyObject *unused)
{
    (void)unused;
    if (!usable(vcpu)) {
        return NULL;
    }
    pthread_mutex_lock(&vcpu->machine->lock);
    vcpu->notes.all_pages = false;
    vcpu->notes.page_count = 0;
    pthread_mutex_unlock(&vcpu->machine->lock);
    lib.tlb_flush(vcpu->cpu);
    Py_RETURN_NONE;
}

static PyObject *count_instructions(Vcpu *vcpu, PyObject *const *arguments, Py_ssize_t count, PyObject *names)
{
    PyObject *on = the_argument(arguments, count, names, "on", false);
    int wanted = on == NULL ? -1 : PyObject_IsTrue(on);
    if (wanted < 0 || !usable(vcpu)) {
        return NULL;
    }
    vcpu->count_wanted = wanted;
    Py_RETURN_NONE;
}

static PyObject *get_instructions(Vcpu *vcpu, void *unused)
{
    (void)unused;
    uint64_t now = vcpu->inside && vcpu->trapped && vcpu->count_wanted ? avmm_executed(vcpu) : 0;
    return PyLong_FromUnsignedLongLong(vcpu->instructions + now);
}

static PyObject *reset_method(Vcpu *vcpu, PyObject *unused)
{
    (void)unused;
    if (!usable(vcpu)) {
        return NULL;
    }
    avmm_reset_instance(vcpu);
    Py_RETURN_NONE;
}

static PyObject *close_method(Vcpu *vcpu, PyObject *unused)
{
    (void)unused;
    if (vcpu->inside) {
        PyErr_SetString(PyExc_RuntimeError, "the vCPU is in the guest");
        return NULL;
    }
    close_vcpu(vcpu);
    Py_RETURN_NONE;
}

static void dealloc(Vcpu *vcpu)
{
    close_vcpu(vcpu);
    Py_TYPE(vcpu)->tp_free((PyObject *)vcpu);
}

#define OPEN_ONLY(function)                                                                                              \
    static PyObject *function##_method(Vcpu *vcpu, PyObject *arguments, PyObject *keywords)                              \
    {                                                                                                                    \
        if (vcpu->uc == NULL) {                                                                                          \
            PyErr_SetString(PyExc_RuntimeError, "the vCPU is closed");                                                   \
            return NULL;                                                                                                 \
        }                                                                                                                \
        return avmm_##function(vcpu, arguments, keywords);                                                               \
    }
OPEN_ONLY(read_register)
OPEN_ONLY(write_register)
OPEN_ONLY(define_register)
OPEN_ONLY(define_counter)
OPEN_ONLY(set_counter_offset)

#define FAST(function) ((PyCFunction)(void (*)(void))function), METH_FASTCALL | METH_KEYWORDS, NULL
#define GENERAL(function) ((PyCFunction)(void (*)(void))function##_method), METH_VARARGS | METH_KEYWORDS, NULL

static PyMethodDef methods[] = {
    {"enter", FAST(enter)},
    {"kick", (PyCFunction)kick, METH_NOARGS, NULL},
    {"clear_kick", (PyCFunction)clear_kick, METH_NOARGS, NULL},
    {"set_irq_line", FAST(set_irq_line)},
    {"set_fiq_line", FAST(set_fiq_line)},
    {"flush_tlb", (PyCFunction)flush_tlb, METH_NOARGS, NULL},
    {"count_instructions", FAST(count_instructions)},
    {"_count_events", (PyCFunction)avmm_count_events, METH_O, NULL},
    {"event_counts", (PyCFunction)avmm_event_counts, METH_NOARGS, NULL},
    {"_limit_events", (PyCFunction)avmm_limit_events, METH_VARARGS, NULL},
    {"reset", (PyCFunction)reset_method, METH_NOARGS, NULL},
    {"close", (PyCFunction)close_method, METH_NOARGS, NULL},
    {"read_register", GENERAL(read_register)},
    {"write_register", GENERAL(write_register)},
    {"define_register", GENERAL(define_register)},
    {"define_counter", GENERAL(define_counter)},
    {"set_counter_offset", GENERAL(set_counter_offset)},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef members[] = {
    {"index", T_INT, offsetof(Vcpu, index), READONLY, NULL},
    {"tlb_broadcasts", T_ULONGLONG, offsetof(Vcpu, tlb_broadcasts), READONLY, NULL},
    {"code_broadcasts", T_ULONGLONG, offsetof(Vcpu, code_broadcasts), READONLY, NULL},
    {"external_aborts", T_ULONGLONG, offsetof(Vcpu, external_aborts), READONLY, NULL},
    {"untranslatable", T_ULONGLONG, offsetof(Vcpu, untranslatable), READONLY, NULL},
    {"alone_instructions", T_ULONGLONG, offsetof(Vcpu, alone_instructions), READONLY, NULL},
    {"translated", T_ULONGLONG, offsetof(Vcpu, translated), READONLY, NULL},
    {"taken_from_vcpus", T_ULONGLONG, offsetof(Vcpu, taken_from_vcpus), READONLY, NULL},
    {"taken_from_cache", T_ULONGLONG, offsetof(Vcpu, taken_from_cache), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyGetSetDef properties[] = {
    {"instructions", (getter)get_instructions, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

PyTypeObject VcpuType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "avmm_unicorn._native.Vcpu",
    .tp_basicsize = sizeof(Vcpu),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .tp_new = PyType_GenericNew,
    .tp_init = (initproc)init,
    .tp_dealloc = (destructor)dealloc,
    .tp_methods = methods,
    .tp_members = members,
    .tp_getset = properties,
};
