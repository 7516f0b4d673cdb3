/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Counting events: instructions, and what they do. While nothing is counted nothing of this is in the translated code.
 *
 * Every event has a countdown to its next limit at the exception level the guest is at. That of the instructions is the
 * instruction budget of translate.c; the others are decremented inline, loads and stores behind the instruction, when it can
 * fault no more, branches before it. A block that might reach a limit, or cannot go on because one is reached, is left at its
 * start; from there single instructions are executed until the limit is reached exactly. At every change of the exception
 * level what was counted is added to the totals of that level, and the countdowns begin anew.
 */
#include "native.h"

#define FAR ((uint64_t)INT64_MAX)
#define LONGEST_BLOCK 512
#define LINGER 20000000 /* instructions for which what nobody wants to count any more is still counted */
#define BOTH 2

static uint64_t *budget_of(Vcpu *vcpu) { return &FIELD(uint64_t, vcpu->cpu, CPU_ICOUNT_EXTRA); }

/* The totals. */

static uint64_t sum(const Events *events, int event, int levels)
{
    return levels == BOTH ? events->total[event][0] + events->total[event][1] : events->total[event][levels];
}

/* Book what was executed until now; between instructions, before the exception level or a limit changes. */
static void fold(Vcpu *vcpu)
{
    Events *events = &vcpu->events;
    uint64_t executed = vcpu->counter_start - *budget_of(vcpu);
    vcpu->instructions += vcpu->count_wanted ? executed : 0;
    vcpu->budget_left -= executed;
    vcpu->counter_start = *budget_of(vcpu);
    executed -= events->charged;
    events->charged = 0;
    if (events->mask == 0) {
        return;
    }
    int level = avmm_level_of(vcpu);
    events->total[INSTRUCTIONS][level] += executed;
    for (int event = FIRST_INLINE; event <= LAST_INLINE; event++) {
        events->total[event][level] += (uint64_t)(events->start[event] - events->left[event]);
        events->start[event] = events->left[event];
    }
}

/* How many more of an event there are to its nearest limit at the exception level the guest is at; 0 when one is reached. */
static uint64_t distance(const Events *events, int event, int level)
{
    uint64_t alone = events->limit[event][level] - sum(events, event, level);
    uint64_t both = events->limit[event][BOTH] - sum(events, event, BOTH);
    uint64_t nearest = (int64_t)alone < (int64_t)both ? alone : both;
    return (int64_t)nearest < 0 ? 0 : nearest;
}

/* Begin the countdowns anew, after fold(). */
static void arm(Vcpu *vcpu)
{
    Events *events = &vcpu->events;
    int level = avmm_level_of(vcpu);
    uint64_t budget = vcpu->budget_left;
    if (events->mask != 0) {
        for (int event = FIRST_INLINE; event <= LAST_INLINE; event++) {
            events->start[event] = events->left[event] = (int64_t)distance(events, event, level);
        }
        uint64_t instructions = distance(events, INSTRUCTIONS, level);
        uint64_t linger = events->linger_until - sum(events, INSTRUCTIONS, BOTH);
        budget = instructions < budget ? instructions : budget;
        budget = linger < budget ? linger : budget;
    }
    *budget_of(vcpu) = vcpu->counter_start = budget;
}

static void forget_limits(Events *events)
{
    for (int event = 0; event < EVENTS; event++) {
        for (int levels = 0; levels <= BOTH; levels++) {
            events->limit[event][levels] = sum(events, event, levels) + FAR;
        }
    }
}

void avmm_begin_events(Vcpu *vcpu)
{
    forget_limits(&vcpu->events);
    vcpu->events.linger_until = UINT64_MAX;
}

void avmm_begin_entry(Vcpu *vcpu) { arm(vcpu); }

void avmm_end_entry(Vcpu *vcpu) { fold(vcpu); }

void avmm_leave_level(Vcpu *vcpu, int event)
{
    if (vcpu->events.mask != 0) {
        fold(vcpu);
        if (vcpu->events.mask & EVENT_BIT(event, avmm_level_of(vcpu))) {
            vcpu->events.total[event][avmm_level_of(vcpu)]++;
        }
    }
}

void avmm_enter_level(Vcpu *vcpu)
{
    if (vcpu->events.mask != 0) {
        arm(vcpu);
    }
}

void avmm_helper_exception_return(void *env, uint64_t pc)
{
    Vcpu *vcpu = vcpu_of_env(env);
    avmm_leave_level(vcpu, EXCEPTION_RETURNS); /* ERET is the last of its block, which is counted whole */
    FIELD(uint64_t, vcpu->cpu, CPU_ICOUNT_BUDGET) = 0;
    lib.exception_return(env, pc);
    avmm_enter_level(vcpu);
}

/* Between two blocks. */

/* Carry out what count_events() and limit_events() asked for. */
static void change(Vcpu *vcpu)
{
    Events *events = &vcpu->events;
    fold(vcpu);
    events->changed = false;
    uint32_t before = events->mask;
    bool linger = sum(events, INSTRUCTIONS, BOTH) < events->linger_until || before == 0;
    events->mask = linger ? events->mask | events->wanted : events->wanted;
    if (events->mask != before) {
        vcpu->counting = vcpu->count_wanted || vcpu->budget_on || events->mask != 0;
        avmm_forget_code(vcpu);
        for (int event = FIRST_INLINE; event <= LAST_INLINE; event++) {
            events->start[event] = events->left[event] = 0;
        }
    }
    events->linger_until = events->mask == events->wanted ? UINT64_MAX : sum(events, INSTRUCTIONS, BOTH) + LINGER;
}

static bool limit_reached(const Events *events)
{
    for (int event = 0; event < EVENTS; event++) {
        if (distance(events, event, 0) == 0 || distance(events, event, 1) == 0) {
            return true;
        }
    }
    return false;
}

static bool call_reached(Vcpu *vcpu)
{
    forget_limits(&vcpu->events);
    if (vcpu->events.reached == NULL) {
        return true;
    }
    take_gil(vcpu);
    PyObject *reached = Py_NewRef(vcpu->events.reached), *answer = PyObject_CallNoArgs(reached);
    bool good = answer != NULL;
    Py_XDECREF(answer);
    Py_DECREF(reached);
    drop_gil(vcpu);
    return good;
}

/* A new budget, a new mask, a limit reached; then how long the next block may be. False: leave the guest. */
bool avmm_between_blocks(Vcpu *vcpu)
{
    Events *events = &vcpu->events;
    void *cpu = vcpu->cpu;
    bool too_long = FIELD(uint64_t, cpu, CPU_ICOUNT_BUDGET) == BLOCK_TOO_LONG;
    FIELD(uint64_t, cpu, CPU_ICOUNT_BUDGET) = 0; /* the last block is complete */
    if (events->mask != 0 || events->changed) {
        fold(vcpu);
        if (events->changed || sum(events, INSTRUCTIONS, BOTH) >= events->linger_until) {
            change(vcpu);
        }
        if (events->mask != 0 && limit_reached(events)) {
            if (!call_reached(vcpu)) {
                vcpu->error = true;
                FIELD(bool, cpu, CPU_EXIT_REQUEST) = true;
                return false;
            }
            if (events->changed) {
                change(vcpu);
            }
        }
        arm(vcpu);
    }
    uint64_t left = *budget_of(vcpu);
    if (left == 0) {
        FIELD(bool, cpu, CPU_EXIT_REQUEST) = true;
        vcpu->budget_hit = true;
        return false;
    }
    if (too_long) {
        /* The next block is longer than what is left: translate it anew, no longer than that, for once. */
        uint64_t length = left < LONGEST_BLOCK ? left : LONGEST_BLOCK;
        for (int event = FIRST_INLINE; event <= LAST_INLINE && events->mask != 0; event++) {
            length = events->left[event] < LONGEST_BLOCK ? 1 : length;
        }
        FIELD(uint32_t, cpu, CPU_CFLAGS_NEXT_TB) = (uint32_t)length;
    }
    return true;
}

/* The methods of a vCPU. */

/* How often `event` happened at `level`, as count_events() promises it. */
static uint64_t count_of(Vcpu *vcpu, int event, int level)
{
    const Events *events = &vcpu->events;
    uint64_t total = events->total[event][level];
    if (!vcpu->inside || events->mask == 0 || level != avmm_level_of(vcpu)) {
        return total;
    }
    if (event == INSTRUCTIONS) {
        bool inside_block = FIELD(uint64_t, vcpu->cpu, CPU_ICOUNT_BUDGET) > BLOCK_TOO_LONG;
        return total + avmm_executed(vcpu) - events->charged + (inside_block ? 1 : 0);
    }
    if (event >= FIRST_INLINE && event <= LAST_INLINE) {
        return total + (uint64_t)(events->start[event] - events->left[event]);
    }
    return total;
}

static void changed(Vcpu *vcpu)
{
    vcpu->events.changed = true;
    if (vcpu->inside) {
        request_exit(vcpu);
    }
}

PyObject *avmm_count_events(Vcpu *vcpu, PyObject *mask)
{
    unsigned long wanted = PyLong_AsUnsignedLong(mask);
    if (PyErr_Occurred()) {
        return NULL;
    }
    if (wanted >> (2 * EVENTS) != 0) {
        return PyErr_Format(PyExc_ValueError, "%lu is no mask of events", wanted);
    }
    if (wanted != vcpu->events.wanted) {
        vcpu->events.wanted = (uint32_t)wanted;
        changed(vcpu);
    }
    Py_RETURN_NONE;
}

PyObject *avmm_event_counts(Vcpu *vcpu, PyObject *unused)
{
    (void)unused;
    PyObject *counts = PyTuple_New(2 * EVENTS);
    for (int i = 0; counts != NULL && i < 2 * EVENTS; i++) {
        PyObject *count = PyLong_FromUnsignedLongLong(count_of(vcpu, i / 2, i % 2));
        if (count == NULL) {
            Py_CLEAR(counts);
            break;
        }
        PyTuple_SET_ITEM(counts, i, count);
    }
    return counts;
}

/* limit_events([(event, levels, count), ...], reached) */
PyObject *avmm_limit_events(Vcpu *vcpu, PyObject *arguments)
{
    PyObject *limits, *reached;
    Events *events = &vcpu->events;
    if (!PyArg_ParseTuple(arguments, "O!O", &PyTuple_Type, &limits, &reached)) {
        return NULL;
    }
    forget_limits(events);
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(limits); i++) {
        int event, levels;
        unsigned long long count;
        if (!PyArg_ParseTuple(PyTuple_GET_ITEM(limits, i), "iiK", &event, &levels, &count)) {
            return NULL;
        }
        if (event < 0 || event >= EVENTS || levels < 1 || levels > 3 || count == 0 || count > FAR) {
            return PyErr_Format(PyExc_ValueError, "no such event, exception levels or limit");
        }
        uint64_t now = (levels & 1 ? count_of(vcpu, event, 0) : 0) + (levels & 2 ? count_of(vcpu, event, 1) : 0);
        uint64_t *limit = &events->limit[event][levels - 1];
        uint64_t wanted = now + (count < FAR / 2 ? count : FAR / 2);
        *limit = (int64_t)(wanted - *limit) < 0 ? wanted : *limit;
    }
    Py_XSETREF(events->reached, Py_NewRef(reached));
    changed(vcpu);
    Py_RETURN_NONE;
}
