/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The objects of the extension and what its files offer each other. */
#ifndef AVMM_NATIVE_H
#define AVMM_NATIVE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "library.h"
#include "translation_cache.h"

#include <pthread.h>
#include <stdatomic.h>

#define MAX_SLOTS 32
#define MAX_VCPUS 512
#define MAX_LINES 64
#define MAX_PAGES 16
#define EVERY_PAGE UINT64_MAX
#define MAX_WATCHPOINTS 16
#define CACHE_LINE 64

/* Guest memory of a VM. Owner: the machine; written with every vCPU outside. */
typedef struct {
    uint64_t address, size;
    Py_buffer buffer;
    bool read_only, reads_trapped;
} Slot;

/* Where the library and this extension are in memory, for the life of the process. */
typedef struct {
    uintptr_t address, size;
} Image;

typedef struct {
    Image library, shim;
} Images;

extern Images images;

struct Vcpu;

#define MAX_SERVED 16
#define MAX_QUEUED 512

/* A register that is served without a trap: see avmm/served.py. */
typedef struct {
    uint64_t address;
    Py_buffer words;
} ServedRegister;

typedef struct {
    uint32_t value;
    uint8_t number, width;
} QueuedWrite;

/* Registers that are served, and the coalesced writes to them, oldest first. */
typedef struct {
    ServedRegister registers[MAX_SERVED]; /* written before any entry */
    int register_count;
    PyObject *settle;
    int timer; /* -1 until there is a register; set while there are writes */
    pthread_mutex_t lock; /* the rest; held for no longer than a copy */
    _Atomic int write_count;
    QueuedWrite writes[MAX_QUEUED];
} ServedMmio;

/* What the vCPUs of one VM share. */
typedef struct {
    PyObject_HEAD
    int cpu_model;
    uint32_t tb_size;
    bool parallel; /* several vCPUs may be in the guest at once */
    int without;   /* LEAVE_ bits: for the tests that show what a mechanism is good for */
    int slot_count, vcpu_count;
    Slot slots[MAX_SLOTS];
    struct Vcpu *vcpus[MAX_VCPUS];
    /* Guards what vCPUs leave for each other, and goes with `changed`: somebody is outside, or not alone, or has heard. */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    uint64_t news; /* number of the last broadcast; `lock` */
    _Atomic int waiting;
    struct Vcpu *_Atomic alone; /* for whom all others stay outside */
    TranslationCache cache;     /* set before the first vCPU is made */
    ServedMmio served;
} Machine;

#define LEAVE_ATOMICS 1 /* and barriers */
#define LEAVE_WAITS 2   /* for what a TLBI is to have done elsewhere */
#define LEAVE_CODE 4    /* the notes about code that changed */

/* What other vCPUs left for one to carry out. */
typedef struct {
    uint64_t address;
    uint16_t modes;
} PageFlush;

typedef struct {
    bool all_pages, all_code;
    int page_count, line_count;
    PageFlush pages[MAX_PAGES];
    uint64_t lines[MAX_LINES]; /* guest physical addresses of cache lines whose code changed */
} Notes;

enum { ALONE_NOT, ALONE_NEXT, ALONE_NOW };

/* A slot as one vCPU's instance of the library knows it. */
typedef struct {
    uint64_t address, size, ram_offset;
    char *host;
    bool read_only;
    _Atomic bool reads_trapped; /* any thread */
    uint64_t *pages; /* one a page: the PAGE_ bits below, and where in the TLB stores to it go through */
} SlotView;

#define PAGE_CODE 0x1     /* holds translated code */
#define PAGE_WRITABLE 0x2 /* may have a TLB entry for stores: that of the virtual page in the upper bits and of PAGE_MODE */
#define PAGE_MANY 0x4     /* may have others, too */
#define PAGE_MODE_SHIFT 4

/* A system register or counter that is ours. */
typedef struct SystemRegister {
    struct SystemRegister *next;
    struct Vcpu *vcpu;
    char name[32];
    uint32_t encoding[5]; /* op0, op1, CRn, CRm, op2 */
    PyObject *read, *write, *allowed_at_el0, *now;
    bool native_clock;
    uint64_t constant;
    uint64_t numerator, denominator;
    _Atomic uint64_t offset;
} SystemRegister;

/* The registers of a hypercall; lives as long as its vCPU. */
typedef struct {
    PyObject_HEAD
    struct Vcpu *vcpu;
    unsigned immediate;
    char secure;
} Hypercall;

/* In the order of avmm.engine.CountedEvent. Those from MEMORY_ACCESSES to RETURNS are counted inline. */
enum { INSTRUCTIONS, MEMORY_ACCESSES, LOADS, STORES, BRANCHES, IMMEDIATE_BRANCHES, RETURNS, EXCEPTIONS, EXCEPTION_RETURNS };
#define EVENTS 9
#define FIRST_INLINE MEMORY_ACCESSES
#define LAST_INLINE RETURNS
#define EVENT_BIT(event, level) ((uint32_t)1 << (2 * (event) + (level)))

/* What is counted. Masks: bit 2 * event + exception level. */
typedef struct {
    uint32_t mask, wanted;               /* counted by the translated code; asked for, from the next block on if `changed` */
    bool changed;
    uint64_t total[EVENTS][2];           /* at each exception level, but for the countdowns under way */
    uint64_t limit[EVENTS][3];           /* totals at which to call `reached`: at EL0, at EL1, at both together */
    int64_t left[EVENTS], start[EVENTS]; /* countdowns at the exception level the guest is at */
    uint64_t charged, linger_until;
    PyObject *reached;
} Events;

/* An entry of the library's first cache of blocks, and what it has to be compared with. */
typedef struct {
    void *tb;
    uint64_t pc;
    void *code;
    uint32_t flags;
} Jump;

/* A block that was looked up: where in memory its code begins. One that goes on in another page is not kept. */
typedef struct {
    void *tb;
    uint64_t ram_address;
} FoundBlock;

#define FOUND_BLOCKS 8192

/* Blocks, by where their code is in the translation buffer. */
typedef struct {
    void **blocks;
    size_t count, room;
} CodeOrder;

/* The events of a block that is being translated. */
typedef struct {
    uint32_t counted, word;
    uintptr_t number[EVENTS], *length[EVENTS], *branch[EVENTS];
} BlockEvents;

typedef struct Vcpu {
    PyObject_HEAD
    Machine *machine;
    int index;
    void *uc, *cpu, *env, *tcg;
    void *library_mapping, *library_hooks[2]; /* what uc_close() must find as it was */
    /* Any thread: the latched kick, and that there are notes. */
    _Atomic int kicked;
    _Atomic int pending;
    _Atomic uint32_t pins; /* INTERRUPT_ bits: what the guest's interrupt pins are to be */
    Notes notes; /* `machine->lock` */
    /* Written by the thread in enter(), read by others: see parallel.c. */
    _Atomic bool in_guest, translating_code;
    _Atomic uint64_t heard; /* the last broadcast that is carried out */
    /* The rest belongs to the thread that is in enter(), else to the vCPU's task. */
    bool inside, trapped, armed, error, counting, count_wanted;
    PyThreadState *thread;
    const char *fault;
    DisasContext *translating;
    uint64_t io_index;
    uintptr_t trap_pc;
    uint64_t counter_start, budget_left, left_at_exception, instructions;
    bool budget_on, budget_hit;
    uint32_t owes, at_barrier; /* a TLBI since the last DSB; at one. For translated code, which knows 32 bits */
    uint64_t owed;             /* the broadcast that others must have heard of when that DSB is over */
    int alone;
    Jump *jumps;       /* JUMPS of them */
    FoundBlock *found; /* FOUND_BLOCKS of them */
    CodeOrder code_order;
    Translations translations;
    NewBlock block;
    SlotView views[MAX_SLOTS];
    int view_count, read_only_views;
    Events events;
    SystemRegister *registers;
    Watchpoint *watchpoints[MAX_WATCHPOINTS];
    int watchpoint_count;
    PyObject *mmio_read, *mmio_write, *hypercall, *tlb_flush_all, *count_tlb_flushes;
    Hypercall *call;
    /* Counted with plain integers, read by whoever asks. */
    unsigned long long tlb_broadcasts, code_broadcasts, external_aborts, untranslatable;
    unsigned long long alone_instructions;
    unsigned long long translated, taken_from_vcpus, taken_from_cache; /* blocks */
    unsigned served_reads, served_writes;  /* since they were settled last */
    unsigned flushes_handled;              /* since count_tlb_flushes() was called last, as the two below */
    unsigned flushes_requested, flush_ipis; /* by others, under `machine->lock` */
} Vcpu;

/* Objects of the core, handed over once by `configure()`. */
typedef struct {
    PyObject *external_abort, *undefined, *engine_error;
    PyObject *kicked, *halted, *yielded, *budget_exhausted, *debug, *fault;
} CoreObjects;

extern CoreObjects core;
extern PyTypeObject MachineType, VcpuType, HypercallType;
extern const Replacement avmm_replacements[], avmm_atomics[];
extern _Thread_local Vcpu *avmm_executing;

static inline Vcpu *vcpu_of(const void *cpu) { return FIELD(Vcpu *, cpu, CPU_OPAQUE); }
static inline Vcpu *vcpu_of_env(const void *env) { return vcpu_of((const char *)env - ARM_ENV); }
static inline Vcpu *vcpu_of_uc(const void *uc) { return vcpu_of(FIELD(void *, uc, UC_CPU)); }

/* The exception level the guest is at. */
static inline int avmm_level_of(Vcpu *vcpu) { return FIELD(uint32_t, vcpu->env, ENV_PSTATE) >> 2 & 1; }

/* Make the running translated code return to the library's loop at the next block. */
static inline void request_exit(Vcpu *vcpu)
{
    __atomic_store_n((uint16_t *)((char *)vcpu->cpu + ARM_ICOUNT_DECR + 2), 0xffff, __ATOMIC_RELEASE);
}

/* parallel.c */
void avmm_go_out(Vcpu *vcpu);
void avmm_come_in(Vcpu *vcpu);
void avmm_begin_alone(Vcpu *vcpu);
void avmm_end_alone(Vcpu *vcpu);
void avmm_meet_others(Vcpu *vcpu);
void avmm_yield(Vcpu *vcpu);
bool avmm_count_flushes(Vcpu *vcpu);
void avmm_tell_waiters(Machine *machine);

/* served.c */
bool avmm_serve_read(Vcpu *vcpu, uint64_t address, int width, uint64_t *value);
bool avmm_serve_write(Vcpu *vcpu, uint64_t address, int width, uint64_t value);
void avmm_settle_served(Vcpu *vcpu);
void avmm_begin_served(Machine *machine);
void avmm_end_served(Machine *machine);
PyObject *avmm_serve(Machine *machine, PyObject *arguments);
PyObject *avmm_settle_with(Machine *machine, PyObject *settle);
PyObject *avmm_take_queued(Machine *machine, PyObject *unused);
PyObject *avmm_queue_timer(Machine *machine, PyObject *unused);

/* The GIL, around a trap: the thread gave it up in enter(). */
static inline void take_gil(Vcpu *vcpu)
{
    avmm_go_out(vcpu);
    PyEval_RestoreThread(vcpu->thread);
    vcpu->trapped = true;
    avmm_settle_served(vcpu);
}

static inline void drop_gil(Vcpu *vcpu)
{
    vcpu->trapped = false;
    vcpu->thread = PyEval_SaveThread();
    avmm_come_in(vcpu);
}

/* instance.c */
PyObject *avmm_library_error(const char *what, int error);
int avmm_open_instance(Vcpu *vcpu);
void avmm_reset_instance(Vcpu *vcpu);
void avmm_close_instance(Vcpu *vcpu);

/* entry.c */
PyObject *avmm_enter(Vcpu *vcpu, uint64_t budget);

/* exceptions.c */
void avmm_on_exception(void *uc, uint32_t exception, void *vcpu);
bool avmm_exec_interrupt(void *cpu, int request);
void avmm_drive_pins(Vcpu *vcpu);
void avmm_do_interrupt(void *cpu);
void avmm_helper_pre_hvc(void *env);
void avmm_helper_pre_smc(void *env, uint32_t syndrome);
void avmm_helper_daifset(void *env, uint32_t mask);
void avmm_helper_daifclear(void *env, uint32_t mask);
int avmm_fp_exception_el(void *env, int level);

/* assertions.c */
void avmm_library_gave_up(void);
int avmm_library_said(void *stream, const char *format, ...);
int avmm_library_printed(void);

/* traps.c */
int avmm_call_traps(Vcpu *vcpu, PyObject *function, PyObject *const *arguments, size_t count, uint64_t *result);
void *avmm_iotlb_to_section(void *cpu, uint64_t index, uint32_t attrs);
uint32_t avmm_dispatch_read(void *uc, void *region, uint64_t address, uint64_t *value, unsigned op, uint32_t attrs);
uint32_t avmm_dispatch_write(void *uc, void *region, uint64_t address, uint64_t value, unsigned op, uint32_t attrs);
void avmm_leave_with_error(Vcpu *vcpu, uintptr_t host_pc);
enum { TRAP_OK, TRAP_ABORT, TRAP_UNDEFINED, TRAP_ERROR };

/* memory.c */
bool avmm_tlb_fill(void *cpu, uint64_t address, int size, int access, int mode, bool probe, uintptr_t host_pc);
void avmm_tlb_protect_code(void *uc, uint64_t ram_address);
void avmm_tlb_unprotect_code(void *uc, uint64_t ram_address);
void avmm_tb_invalidate_fast(void *uc, void *pages, uint64_t start, int length, uintptr_t host_pc);
void avmm_tlb_reset_dirty(void *cpu, uint64_t address, uint64_t length);
void avmm_tlb_set_dirty(void *cpu, uint64_t address);
void avmm_forget_code(Vcpu *vcpu);

/* views.c */
SlotView *avmm_view_of_ram(const Vcpu *vcpu, uint64_t ram_address);
void *avmm_memory_mapping(void *uc, uint64_t address);
int avmm_map_view(Vcpu *vcpu, const Slot *slot);
void avmm_unmap_view(Vcpu *vcpu, const Slot *slot);
void avmm_set_view(Vcpu *vcpu, const Slot *slot);

/* lookup.c */
int avmm_begin_lookup(Vcpu *vcpu);
void avmm_end_lookup(Vcpu *vcpu);
void *avmm_lookup_block(void *env);
void *avmm_find_block(void *cpu, uint64_t pc, uint64_t cs_base, uint32_t flags, uint32_t cflags);
void avmm_tb_flush(void *cpu);

/* code_order.c */
void avmm_tb_insert(void *tcg, void *tb);
void avmm_tb_remove(void *tcg, void *tb);
void *avmm_tb_of_code(void *tcg, uintptr_t address);
void avmm_end_code_order(Vcpu *vcpu);

/* translations.c */
void *avmm_with_room(void *array, size_t *room, size_t wanted, size_t item_size);
int avmm_begin_translations(Vcpu *vcpu);
void avmm_end_translations(Vcpu *vcpu);
void avmm_clear_translations(Vcpu *vcpu);
void avmm_settle_translation(Vcpu *vcpu, const void *next_block);
void avmm_begin_translation(Vcpu *vcpu, void *tb);
int avmm_gen_code(void *tcg, void *tb);
void avmm_forget_changed_code(Vcpu *vcpu);

/* reuse.c */
bool avmm_take_over(Vcpu *vcpu, void *tb);
bool avmm_find_anchors(const Vcpu *vcpu, const uint32_t *words, size_t count, Anchors *anchors, uint32_t *digests);
bool avmm_describe(const Vcpu *, const Translation *, const Anchors *, uint8_t *code, ReferenceList *list, BlockCode *block);
size_t avmm_restore_size(const BlockCode *from);

/* translation_cache.c */
bool avmm_find_cached(const TranslationCache *, const void *tb, const NewBlock *, BlockCode *block, const uint32_t **digests);
PyObject *avmm_use_translations(Machine *machine, PyObject *arguments);
PyObject *avmm_host_features(PyObject *module, PyObject *unused);
void avmm_drop_cache(Machine *machine);

/* kept_translations.c */
PyObject *avmm_keep_translations(Machine *machine, PyObject *arguments);

/* broadcast.c */
void avmm_tlb_flush_modes_is(void *cpu, uint16_t modes);
void avmm_tlb_flush_page_is(void *cpu, uint64_t address, uint16_t modes);
void avmm_define_cache_operations(Vcpu *vcpu);
void avmm_drain(Vcpu *vcpu, bool between_blocks);

/* translate.c */
#define BLOCK_TOO_LONG 1 /* in CPU_ICOUNT_BUDGET: the budget does not reach to the end of the next block */
void avmm_translator_loop(const TranslatorOps *, DisasContext *, void *cpu, void *tb, int max_insns);
void avmm_check_exit_request(void *tcg);
void avmm_exit_block(void *tcg, void *tb, unsigned index);
uintptr_t *avmm_put_subtract(void *tcg, int64_t *place, void *if_negative);
void avmm_settle_block(Vcpu *vcpu);
uint64_t avmm_not_executed(Vcpu *vcpu);
void avmm_charge_exception(Vcpu *vcpu);
void avmm_check_alignment(Vcpu *vcpu, uint64_t address);
uint64_t avmm_executed(Vcpu *vcpu);

/* pmu_block.c */
void avmm_begin_block(Vcpu *vcpu, BlockEvents *block, void *too_long);
void avmm_before_instruction(Vcpu *vcpu, BlockEvents *block, uint64_t pc);
void avmm_after_instruction(Vcpu *vcpu, BlockEvents *block, int is_jmp);

/* pmu.c */
void avmm_begin_events(Vcpu *vcpu);
void avmm_begin_entry(Vcpu *vcpu);
void avmm_end_entry(Vcpu *vcpu);
void avmm_leave_level(Vcpu *vcpu, int event);
void avmm_enter_level(Vcpu *vcpu);
void avmm_helper_exception_return(void *env, uint64_t pc);
bool avmm_between_blocks(Vcpu *vcpu);
PyObject *avmm_count_events(Vcpu *vcpu, PyObject *mask);
PyObject *avmm_event_counts(Vcpu *vcpu, PyObject *unused);
PyObject *avmm_limit_events(Vcpu *vcpu, PyObject *arguments);

/* watchpoints.c */
int avmm_watchpoint_insert(void *cpu, uint64_t address, uint64_t length, int flags, Watchpoint **place);
void avmm_watchpoint_remove(void *cpu, Watchpoint *watchpoint);
void avmm_watchpoint_remove_all(void *cpu, int mask);
int avmm_watchpoint_flags(void *cpu, uint64_t address, uint64_t length);
void avmm_watchpoint_check(void *cpu, uint64_t address, uint64_t length, uint32_t attrs, int access, uintptr_t host_pc);

/* sysregs.c */
void avmm_define_cpacr(Vcpu *vcpu);
PyObject *avmm_define_register(Vcpu *vcpu, PyObject *arguments, PyObject *keywords);
PyObject *avmm_define_counter(Vcpu *vcpu, PyObject *arguments, PyObject *keywords);
PyObject *avmm_set_counter_offset(Vcpu *vcpu, PyObject *arguments, PyObject *keywords);
void avmm_free_registers(Vcpu *vcpu);

/* registers.c */
PyObject *avmm_read_register(Vcpu *vcpu, PyObject *arguments, PyObject *keywords);
PyObject *avmm_write_register(Vcpu *vcpu, PyObject *arguments, PyObject *keywords);

#endif
