/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What belongs to the VM and not to one of its vCPUs: the memory slots. */
#include "native.h"

#include <structmember.h>

static PyObject *new(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
    int model;
    unsigned tb_size;
    int parallel = false;
    (void)keywords;
    if (!PyArg_ParseTuple(arguments, "iI|p", &model, &tb_size, &parallel)) {
        return NULL;
    }
    Machine *machine = (Machine *)type->tp_alloc(type, 0);
    if (machine != NULL) {
        machine->cpu_model = model;
        machine->tb_size = tb_size;
        machine->parallel = parallel;
        pthread_mutex_init(&machine->lock, NULL);
        pthread_cond_init(&machine->changed, NULL);
        avmm_begin_served(machine);
    }
    return (PyObject *)machine;
}

static void release(Machine *machine, int index)
{
    PyBuffer_Release(&machine->slots[index].buffer);
    machine->slots[index] = machine->slots[--machine->slot_count];
}

static void unmap_everywhere(Machine *machine, int index)
{
    for (int i = 0; i < machine->vcpu_count; i++) {
        avmm_unmap_view(machine->vcpus[i], &machine->slots[index]);
    }
    release(machine, index);
}

static bool all_outside(Machine *machine)
{
    for (int i = 0; i < machine->vcpu_count; i++) {
        if (machine->vcpus[i]->inside) {
            PyErr_SetString(PyExc_RuntimeError, "a vCPU is in the guest");
            return false;
        }
    }
    return true;
}

/* map(address, buffer, read_only) */
static PyObject *map(Machine *machine, PyObject *arguments, PyObject *keywords)
{
    static char *names[] = {"address", "buffer", "read_only", NULL};
    unsigned long long address;
    PyObject *object;
    int read_only;
    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "KOp", names, &address, &object, &read_only)
        || !all_outside(machine)) {
        return NULL;
    }
    if (machine->slot_count == MAX_SLOTS) {
        return PyErr_Format(core.engine_error, "unicorn: more than %d memory slots", MAX_SLOTS);
    }
    Slot *slot = &machine->slots[machine->slot_count];
    if (PyObject_GetBuffer(object, &slot->buffer, PyBUF_WRITABLE) < 0) {
        return NULL;
    }
    slot->address = address;
    slot->size = (uint64_t)slot->buffer.len;
    slot->read_only = read_only;
    machine->slot_count++;
    for (int i = 0; i < machine->vcpu_count; i++) {
        int error = avmm_map_view(machine->vcpus[i], slot);
        if (error != 0) {
            unmap_everywhere(machine, machine->slot_count - 1);
            return PyErr_Format(core.engine_error, "unicorn: cannot map memory at %p: %s", (void *)address,
                                lib.uc_strerror(error));
        }
    }
    Py_RETURN_NONE;
}

/* unmap(address) */
static PyObject *unmap(Machine *machine, PyObject *argument)
{
    uint64_t address = PyLong_AsUnsignedLongLong(argument);
    if (PyErr_Occurred() || !all_outside(machine)) {
        return NULL;
    }
    for (int i = 0; i < machine->slot_count; i++) {
        if (machine->slots[i].address == address) {
            unmap_everywhere(machine, i);
            Py_RETURN_NONE;
        }
    }
    PyErr_SetObject(PyExc_KeyError, argument);
    return NULL;
}

/* trap_reads(address, on) */
static PyObject *trap_reads(Machine *machine, PyObject *arguments)
{
    unsigned long long address;
    int on;
    if (!PyArg_ParseTuple(arguments, "Kp", &address, &on)) {
        return NULL;
    }
    for (int i = 0; i < machine->slot_count; i++) {
        Slot *slot = &machine->slots[i];
        if (slot->address == address && slot->read_only) {
            slot->reads_trapped = on;
            for (int j = 0; j < machine->vcpu_count; j++) {
                avmm_set_view(machine->vcpus[j], slot);
            }
            Py_RETURN_NONE;
        }
    }
    return PyErr_Format(PyExc_KeyError, "no read-only memory slot at %p", (void *)address);
}

static PyObject *close_method(Machine *machine, PyObject *unused)
{
    (void)unused;
    if (!all_outside(machine)) {
        return NULL;
    }
    while (machine->slot_count > 0) {
        unmap_everywhere(machine, machine->slot_count - 1);
    }
    avmm_drop_cache(machine);
    Py_CLEAR(machine->served.settle); /* it leads to the VM, which leads here */
    Py_RETURN_NONE;
}

static void dealloc(Machine *machine)
{
    while (machine->slot_count > 0) {
        release(machine, machine->slot_count - 1);
    }
    avmm_drop_cache(machine);
    avmm_end_served(machine);
    pthread_cond_destroy(&machine->changed);
    pthread_mutex_destroy(&machine->lock);
    Py_TYPE(machine)->tp_free((PyObject *)machine);
}

static PyMethodDef methods[] = {
    {"map", (PyCFunction)(void (*)(void))map, METH_VARARGS | METH_KEYWORDS, NULL},
    {"unmap", (PyCFunction)unmap, METH_O, NULL},
    {"trap_reads", (PyCFunction)trap_reads, METH_VARARGS, NULL},
    {"use_translations", (PyCFunction)avmm_use_translations, METH_VARARGS, NULL},
    {"keep_translations", (PyCFunction)avmm_keep_translations, METH_VARARGS, NULL},
    {"serve", (PyCFunction)avmm_serve, METH_VARARGS, NULL},
    {"settle_with", (PyCFunction)avmm_settle_with, METH_O, NULL},
    {"take", (PyCFunction)avmm_take_queued, METH_NOARGS, NULL},
    {"fileno", (PyCFunction)avmm_queue_timer, METH_NOARGS, NULL},
    {"close", (PyCFunction)close_method, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef members[] = {
    {"_without", T_INT, offsetof(Machine, without), 0, NULL},
    {NULL, 0, 0, 0, NULL},
};

PyTypeObject MachineType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "avmm_unicorn._native.Machine",
    .tp_basicsize = sizeof(Machine),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_new = new,
    .tp_dealloc = (destructor)dealloc,
    .tp_methods = methods,
    .tp_members = members,
};
