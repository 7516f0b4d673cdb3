/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Registers that are served without a trap: reads of what the device has told, and coalesced writes. Whoever takes the GIL for a
 * trap, or leaves the guest, has the queue emptied first: by Python, which holds the device lock from before it takes the writes
 * until they are carried out. A vCPU that finds the queue empty and accesses a device waits for that lock, and comes behind them.
 */
#include "native.h"

#include <sys/timerfd.h>

#define SERVES_READS ((uint64_t)1 << 32)
#define SERVES_WRITES ((uint64_t)1 << 33)
#define QUEUED_NS 1000000
#define UNSETTLED 65536 /* accesses after which one goes the way of a trap, so that a guest that polls is counted */

static uint64_t *words_of(const ServedMmio *served, int number) { return served->registers[number].words.buf; }

/* The number of the register at `address`, and what it tells at this moment, if that has `what` in it; else -1. */
static int find(const ServedMmio *served, uint64_t address, int width, uint64_t what, uint64_t *told)
{
    for (int i = 0; i < served->register_count; i++) {
        if (served->registers[i].address == address) {
            *told = __atomic_load_n(words_of(served, i), __ATOMIC_ACQUIRE);
            return width <= 4 && (*told & what) ? i : -1;
        }
    }
    return -1;
}

bool avmm_serve_read(Vcpu *vcpu, uint64_t address, int width, uint64_t *value)
{
    const ServedMmio *served = &vcpu->machine->served;
    uint64_t told;
    int number = find(served, address, width, SERVES_READS, &told);
    if (number < 0 || vcpu->served_reads == UNSETTLED) {
        return false;
    }
    *value = (uint32_t)told;
    __atomic_fetch_add(words_of(served, number) + 1, 1, __ATOMIC_RELAXED);
    vcpu->served_reads++;
    return true;
}

static void set_timer(const ServedMmio *served, long ns)
{
    struct itimerspec when = {.it_value.tv_nsec = ns};
    timerfd_settime(served->timer, 0, &when, NULL);
}

bool avmm_serve_write(Vcpu *vcpu, uint64_t address, int width, uint64_t value)
{
    ServedMmio *served = &vcpu->machine->served;
    uint64_t told;
    int number = find(served, address, width, SERVES_WRITES, &told);
    if (number < 0) {
        return false;
    }
    pthread_mutex_lock(&served->lock);
    int count = atomic_load(&served->write_count);
    bool room = count < MAX_QUEUED; /* else it is a trap, behind what is queued */
    if (room) {
        served->writes[count] = (QueuedWrite){(uint32_t)value, (uint8_t)number, (uint8_t)width};
        atomic_store(&served->write_count, count + 1);
        vcpu->served_writes++;
        if (count == 0) {
            set_timer(served, QUEUED_NS);
        }
    }
    pthread_mutex_unlock(&served->lock);
    return room;
}

/* Have what was served counted, and what is queued carried out. The GIL is held. */
void avmm_settle_served(Vcpu *vcpu)
{
    ServedMmio *served = &vcpu->machine->served;
    unsigned reads = vcpu->served_reads, writes = vcpu->served_writes;
    if (reads == 0 && writes == 0 && atomic_load_explicit(&served->write_count, memory_order_acquire) == 0) {
        return;
    }
    vcpu->served_reads = vcpu->served_writes = 0;
    PyObject *answer = PyObject_CallFunction(served->settle, "iII", vcpu->index, reads, writes);
    if (answer == NULL) {
        PyErr_WriteUnraisable(served->settle);
    }
    Py_XDECREF(answer);
}

void avmm_begin_served(Machine *machine)
{
    machine->served.timer = -1;
    pthread_mutex_init(&machine->served.lock, NULL);
}

void avmm_end_served(Machine *machine)
{
    ServedMmio *served = &machine->served;
    for (int i = 0; i < served->register_count; i++) {
        PyBuffer_Release(&served->registers[i].words);
    }
    Py_CLEAR(served->settle);
    if (served->timer >= 0) {
        close(served->timer);
    }
    pthread_mutex_destroy(&served->lock);
}

/* serve(address, words) */
PyObject *avmm_serve(Machine *machine, PyObject *arguments)
{
    ServedMmio *served = &machine->served;
    unsigned long long address;
    PyObject *words;
    if (!PyArg_ParseTuple(arguments, "KO", &address, &words)) {
        return NULL;
    }
    if (served->settle == NULL || served->register_count == MAX_SERVED) {
        PyErr_SetString(core.engine_error, "unicorn: too many registers to serve, or nobody to settle with");
        return NULL;
    }
    ServedRegister *reg = &served->registers[served->register_count];
    if (PyObject_GetBuffer(words, &reg->words, PyBUF_WRITABLE) < 0) {
        return NULL;
    }
    if (reg->words.len != 2 * sizeof(uint64_t)) {
        PyBuffer_Release(&reg->words);
        PyErr_SetString(PyExc_ValueError, "two words of 64 bits");
        return NULL;
    }
    reg->address = address;
    served->register_count++;
    Py_RETURN_NONE;
}

/* settle_with(settle) */
PyObject *avmm_settle_with(Machine *machine, PyObject *settle)
{
    Py_XSETREF(machine->served.settle, Py_NewRef(settle));
    Py_RETURN_NONE;
}

/* fileno() */
PyObject *avmm_queue_timer(Machine *machine, PyObject *unused)
{
    ServedMmio *served = &machine->served;
    (void)unused;
    if (served->timer < 0) {
        served->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    }
    return served->timer < 0 ? PyErr_SetFromErrno(PyExc_OSError) : PyLong_FromLong(served->timer);
}

static int append(PyObject *list, PyObject *item)
{
    int failed = item == NULL ? -1 : PyList_Append(list, item);
    Py_XDECREF(item);
    return failed;
}

/* A list of (address, width, values), one a run of writes to the same register. */
static PyObject *runs_of(const ServedMmio *served, const QueuedWrite *writes, int count)
{
    PyObject *runs = PyList_New(0), *values = NULL; /* borrowed, of the run under way */
    for (int i = 0; i < count && runs != NULL; i++) {
        int failed = 0;
        if (i == 0 || writes[i].number != writes[i - 1].number || writes[i].width != writes[i - 1].width) {
            uint64_t address = served->registers[writes[i].number].address;
            values = PyList_New(0);
            failed = append(runs, Py_BuildValue("(KiN)", (unsigned long long)address, (int)writes[i].width, values));
        }
        if (failed < 0 || append(values, PyLong_FromUnsignedLong(writes[i].value)) < 0) {
            Py_CLEAR(runs);
        }
    }
    return runs;
}

/* take() */
PyObject *avmm_take_queued(Machine *machine, PyObject *unused)
{
    ServedMmio *served = &machine->served;
    QueuedWrite writes[MAX_QUEUED];
    (void)unused;
    pthread_mutex_lock(&served->lock);
    int count = atomic_load(&served->write_count);
    memcpy(writes, served->writes, (size_t)count * sizeof *writes);
    atomic_store(&served->write_count, 0);
    if (count != 0) {
        set_timer(served, 0); /* which also takes back what it has told */
    }
    pthread_mutex_unlock(&served->lock);
    return runs_of(served, writes, count);
}
