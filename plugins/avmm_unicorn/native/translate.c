/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The frame around the translation of one block: an inline look at the exit flag, and, while somebody counts instructions,
 * an inline subtraction from the budget. The instructions themselves are translated by the library.
 *
 * A counted block starts with
 *     left = budget - instructions of the block; if (left < 0) goto too_long; budget = left; running = block
 * so that `budget` is right between blocks, and `running` tells how much of a block was not executed when it is left midway.
 */
#include "native.h"

#define ENV_EXIT_FLAG (ARM_ICOUNT_DECR - ARM_ENV)
#define ENV_BUDGET (CPU_ICOUNT_EXTRA - ARM_ENV)
#define ENV_RUNNING (CPU_ICOUNT_BUDGET - ARM_ENV)
#define ENV_INTERRUPT_REQUEST (CPU_INTERRUPT_REQUEST - ARM_ENV)
#define ENV_VCPU (CPU_OPAQUE - ARM_ENV)
#define EXIT_FLAG_SET 0xffff0000u

#define DSB 0xd503309fu /* but for its domain and type */
#define WFE 0xd503205fu
#define YIELD 0xd503203fu

/* Operations take temporaries by pointer, the generator functions by their distance from the context. */
static uintptr_t handle(void *tcg, void *temp) { return (uintptr_t)temp - (uintptr_t)tcg; }

static uintptr_t env_operand(void *tcg) { return (uintptr_t)tcg + FIELD(uintptr_t, tcg, TCG_CPU_ENV); }

static void put_label(void *tcg, void *label)
{
    FIELD(uint32_t, label, 0) |= 1; /* present */
    lib.tcg_op1(tcg, OP_SET_LABEL, (uintptr_t)label);
}

/* Set `temp` to a constant; the place of the constant, which may still be changed. */
static uintptr_t *put_constant(void *tcg, void *temp, uint64_t value)
{
    uintptr_t *arguments = (uintptr_t *)((char *)lib.tcg_emit_op(tcg, OP_MOVI_I64) + TCG_OP_ARGS);
    arguments[0] = (uintptr_t)temp;
    arguments[1] = value;
    return &arguments[1];
}

/* A field of our Vcpu, by way of the CPU's state: the code may be executed by another vCPU than it was translated for. */
static void *put_vcpu(void *tcg)
{
    void *vcpu = lib.tcg_temp_new(tcg, TYPE_I64, false);
    lib.tcg_op3(tcg, OP_LD_I64, (uintptr_t)vcpu, env_operand(tcg), (uintptr_t)(intptr_t)ENV_VCPU);
    return vcpu;
}

static void store_constant(void *tcg, uint64_t value, int opcode, intptr_t offset)
{
    void *temp = lib.tcg_temp_new(tcg, TYPE_I64, false);
    put_constant(tcg, temp, value);
    lib.tcg_op3(tcg, opcode, (uintptr_t)temp, env_operand(tcg), (uintptr_t)offset);
    lib.tcg_temp_free(tcg, temp);
}

static void *put_exit_check(void *tcg)
{
    void *label = lib.gen_new_label(tcg), *flag = lib.tcg_temp_new(tcg, TYPE_I32, false);
    lib.tcg_op3(tcg, OP_LD_I32, (uintptr_t)flag, env_operand(tcg), (uintptr_t)(intptr_t)ENV_EXIT_FLAG);
    lib.tcg_brcondi_i32(tcg, COND_LT, handle(tcg, flag), 0, label);
    lib.tcg_temp_free(tcg, flag);
    return label;
}

/* The start of a counted block; the place where its number of instructions belongs, once it is known. */
static uintptr_t *put_budget_check(void *tcg, void *tb, void *too_long)
{
    void *left = lib.tcg_temp_new(tcg, TYPE_I64, true), *length = lib.tcg_temp_new(tcg, TYPE_I64, false);
    lib.tcg_op3(tcg, OP_LD_I64, (uintptr_t)left, env_operand(tcg), (uintptr_t)(intptr_t)ENV_BUDGET);
    uintptr_t *count = put_constant(tcg, length, 0);
    lib.tcg_op3(tcg, OP_SUB_I64, (uintptr_t)left, (uintptr_t)left, (uintptr_t)length);
    lib.tcg_temp_free(tcg, length);
    lib.tcg_brcondi_i64(tcg, COND_LT, handle(tcg, left), 0, too_long);
    lib.tcg_op3(tcg, OP_ST_I64, (uintptr_t)left, env_operand(tcg), (uintptr_t)(intptr_t)ENV_BUDGET);
    lib.tcg_temp_free(tcg, left);
    store_constant(tcg, (uint64_t)(uintptr_t)tb, OP_ST_I64, ENV_RUNNING);
    return count;
}

/* `*place` -= a constant; or, to see whether that would make it negative, and go to `if_negative`. Where the constant belongs. */
uintptr_t *avmm_put_subtract(void *tcg, int64_t *place, void *if_negative)
{
    void *base = lib.tcg_temp_new(tcg, TYPE_I64, false), *left = lib.tcg_temp_new(tcg, TYPE_I64, false);
    void *amount = lib.tcg_temp_new(tcg, TYPE_I64, false);
    put_constant(tcg, base, (uint64_t)(uintptr_t)place);
    lib.tcg_op3(tcg, OP_LD_I64, (uintptr_t)left, (uintptr_t)base, 0);
    uintptr_t *constant = put_constant(tcg, amount, 0);
    lib.tcg_op3(tcg, OP_SUB_I64, (uintptr_t)left, (uintptr_t)left, (uintptr_t)amount);
    if (if_negative != NULL) {
        lib.tcg_brcondi_i64(tcg, COND_LT, handle(tcg, left), 0, if_negative);
    } else {
        lib.tcg_op3(tcg, OP_ST_I64, (uintptr_t)left, (uintptr_t)base, 0);
    }
    lib.tcg_temp_free(tcg, amount);
    lib.tcg_temp_free(tcg, left);
    lib.tcg_temp_free(tcg, base);
    return constant;
}

/*
 * Behind a DSB: leave the block here if this vCPU has broadcast a TLBI since the last one, to wait until the others have carried it
 * out. Every TLBI ends its block, so the next look at `owes` is behind it.
 */
static void put_barrier(void *tcg, uint64_t pc_next)
{
    void *go_on = lib.gen_new_label(tcg);
    void *base = put_vcpu(tcg), *owes = lib.tcg_temp_new(tcg, TYPE_I32, false);
    lib.tcg_op3(tcg, OP_LD_I32, (uintptr_t)owes, (uintptr_t)base, offsetof(Vcpu, owes));
    lib.tcg_brcondi_i32(tcg, COND_EQ, handle(tcg, owes), 0, go_on);
    lib.tcg_temp_free(tcg, owes);
    lib.tcg_temp_free(tcg, base);
    store_constant(tcg, pc_next, OP_ST_I64, ENV_PC);
    void *one = lib.tcg_temp_new(tcg, TYPE_I64, false);
    base = put_vcpu(tcg);
    put_constant(tcg, one, 1);
    lib.tcg_op3(tcg, OP_ST32_I64, (uintptr_t)one, (uintptr_t)base, offsetof(Vcpu, at_barrier));
    lib.tcg_temp_free(tcg, one);
    lib.tcg_temp_free(tcg, base);
    lib.tcg_exit_tb(tcg, NULL, 0);
    put_label(tcg, go_on);
}

/* What an instruction asks of the host where others are in the guest at the same time. */
static void after_instruction_in_parallel(Vcpu *vcpu, DisasContext *context)
{
    uint32_t word = FIELD(uint32_t, context, CONTEXT_INSN);
    if ((word & 0xfffff0ff) == DSB) {
        put_barrier(vcpu->tcg, context->pc_next);
    } else if (word == WFE || word == YIELD) {
        context->is_jmp = word == WFE ? DISAS_WFE : DISAS_YIELD; /* the library thinks that there is nothing to do */
    }
}

static void translate_instructions(const TranslatorOps *ops, DisasContext *context, void *cpu, BlockEvents *events)
{
    Vcpu *vcpu = vcpu_of(cpu);
    do {
        context->num_insns++;
        ops->insn_start(context, cpu);
        const void *breakpoint = context->singlestep_enabled ? NULL : FIELD(void *, cpu, CPU_BREAKPOINTS);
        for (; breakpoint != NULL; breakpoint = FIELD(void *, breakpoint, BREAKPOINT_NEXT)) {
            if (FIELD(uint64_t, breakpoint, 0) == context->pc_next && ops->breakpoint_check(context, cpu, breakpoint)) {
                break;
            }
        }
        if (context->is_jmp > DISAS_TOO_MANY) {
            return;
        }
        avmm_before_instruction(vcpu, events, context->pc_next);
        ops->translate_insn(context, cpu);
        vcpu->block.words[context->num_insns - 1] = FIELD(uint32_t, context, CONTEXT_INSN);
        avmm_after_instruction(vcpu, events, context->is_jmp);
        if (vcpu->machine->parallel && context->is_jmp == DISAS_NEXT && FIELD(uint32_t, vcpu->env, ENV_AARCH64)) {
            after_instruction_in_parallel(vcpu, context);
        }
        bool full = context->num_insns >= context->max_insns || FIELD(int, vcpu->tcg, TCG_NB_OPS) >= TCG_ENOUGH_OPS;
        if (context->is_jmp == DISAS_NEXT && full) {
            context->is_jmp = DISAS_TOO_MANY;
        }
    } while (context->is_jmp == DISAS_NEXT);
}

void avmm_translator_loop(const TranslatorOps *ops, DisasContext *context, void *cpu, void *tb, int max_insns)
{
    Vcpu *vcpu = vcpu_of(cpu);
    void *tcg = vcpu->tcg, *too_long = NULL;
    uintptr_t *count = NULL;
    BlockEvents events = {0};

    context->tb = tb;
    context->pc_first = context->pc_next = FIELD(uint64_t, tb, TB_PC);
    context->is_jmp = DISAS_NEXT;
    context->num_insns = 0;
    context->max_insns = max_insns;
    context->singlestep_enabled = FIELD(int, cpu, CPU_SINGLESTEP) != 0;
    avmm_check_alignment(vcpu, context->pc_first);
    if (vcpu->machine->parallel) {
        atomic_store(&vcpu->translating_code, true); /* before any of it is read: pairs with may_have_code() */
    }
    avmm_begin_translation(vcpu, tb);
    if (avmm_take_over(vcpu, tb)) {
        return;
    }
    vcpu->translating = context;
    uint32_t cflags = FIELD(uint32_t, tb, TB_CFLAGS);
    bool alone = (cflags & CF_LAST_IO) != 0;
    if (vcpu->machine->parallel && !alone && !(vcpu->machine->without & LEAVE_ATOMICS)) {
        FIELD(uint32_t, tb, TB_CFLAGS) = cflags | CF_PARALLEL;
        FIELD(uint32_t, tcg, TCG_TB_CFLAGS) |= CF_PARALLEL;
    }
    ops->init_disas_context(context, cpu);

    void *leave = alone ? lib.gen_new_label(tcg) : put_exit_check(tcg);
    if (vcpu->counting) {
        too_long = lib.gen_new_label(tcg);
        avmm_begin_block(vcpu, &events, too_long);
        count = put_budget_check(tcg, tb, too_long);
    }
    ops->tb_start(context, cpu);
    translate_instructions(ops, context, cpu, &events);
    ops->tb_stop(context, cpu);
    if (count != NULL) {
        *count = (uintptr_t)context->num_insns;
        put_label(tcg, too_long);
        store_constant(tcg, BLOCK_TOO_LONG, OP_ST_I64, ENV_RUNNING);
        store_constant(tcg, EXIT_FLAG_SET, OP_ST32_I64, ENV_EXIT_FLAG);
    }
    vcpu->translating = NULL;
    put_label(tcg, leave);
    lib.tcg_exit_tb(tcg, tb, TB_EXIT_REQUESTED);

    FIELD(uint32_t, tb, TB_CFLAGS) = cflags; /* every block is translated like this: look-ups need not know */
    FIELD(uint16_t, tb, TB_SIZE) = (uint16_t)(context->pc_next - context->pc_first);
    FIELD(uint16_t, tb, TB_ICOUNT) = (uint16_t)context->num_insns;
}

/* The library would look at the exit flag after every load and store, and redo the instruction: see kick(). */
void avmm_check_exit_request(void *tcg) { (void)tcg; }

/*
 * tcg_gen_exit_tb(): where a block ends with a system register write or an exception return, the library goes back to its loop to
 * look whether an interrupt can be taken now. There is none to look for unless a line is up, and then interrupt_request says so, or
 * the exit flag is set, which the next block looks at: go on to that.
 */
void avmm_exit_block(void *tcg, void *tb, unsigned index)
{
    Vcpu *vcpu = avmm_executing;
    const void *block = vcpu == NULL || vcpu->translating == NULL ? NULL : vcpu->translating->tb;
    bool plain = block != NULL && (FIELD(uint32_t, block, TB_CFLAGS) & ~(CF_CLUSTER | CF_PARALLEL)) == 0;
    if (tb == NULL && plain && !vcpu->counting && (FIELD(uint32_t, block, TB_FLAGS) & HFLAG_AARCH64)) {
        void *leave = lib.gen_new_label(tcg), *request = lib.tcg_temp_new(tcg, TYPE_I32, false);
        lib.tcg_op3(tcg, OP_LD_I32, (uintptr_t)request, env_operand(tcg), (uintptr_t)(intptr_t)ENV_INTERRUPT_REQUEST);
        lib.tcg_brcondi_i32(tcg, COND_NE, handle(tcg, request), INTERRUPT_ALWAYS, leave);
        lib.tcg_temp_free(tcg, request);
        lib.tcg_look_up(tcg);
        put_label(tcg, leave);
    }
    lib.tcg_exit_tb(tcg, tb, index);
}

/* How many instructions of the running block are not executed yet when the program counter is right. */
uint64_t avmm_not_executed(Vcpu *vcpu)
{
    uint64_t running = FIELD(uint64_t, vcpu->cpu, CPU_ICOUNT_BUDGET), pc = FIELD(uint64_t, vcpu->env, ENV_PC);
    if (running <= BLOCK_TOO_LONG) {
        return 0;
    }
    const void *tb = (const void *)(uintptr_t)running;
    uint64_t done = (pc - FIELD(uint64_t, tb, TB_PC)) / 4, all = FIELD(uint16_t, tb, TB_ICOUNT);
    return done <= all ? all - done : 0;
}

/* The running block is left midway, at the program counter: give back what it did not execute. */
void avmm_settle_block(Vcpu *vcpu)
{
    if (vcpu->counting) {
        FIELD(uint64_t, vcpu->cpu, CPU_ICOUNT_EXTRA) += avmm_not_executed(vcpu);
        FIELD(uint64_t, vcpu->cpu, CPU_ICOUNT_BUDGET) = 0;
    }
}

/* An exception is no instruction; but one right behind another costs as much, or a guest without vectors outlives any budget. */
void avmm_charge_exception(Vcpu *vcpu)
{
    uint64_t *left = &FIELD(uint64_t, vcpu->cpu, CPU_ICOUNT_EXTRA);
    uint64_t left_in_all = vcpu->budget_left - (vcpu->counter_start - *left);
    if (vcpu->counting && left_in_all == vcpu->left_at_exception && *left != 0) {
        --*left;
        --left_in_all;
        vcpu->events.charged++;
    }
    vcpu->left_at_exception = left_in_all;
}

/* PC alignment fault, before anything is fetched from `address`. Does not return if there is one. */
void avmm_check_alignment(Vcpu *vcpu, uint64_t address)
{
    if ((address & 3) && FIELD(uint32_t, vcpu->env, ENV_AARCH64)) {
        FIELD(uint64_t, vcpu->env, ENV_VADDRESS) = address;
        FIELD(uint64_t, vcpu->cpu, CPU_ICOUNT_BUDGET) = 0;
        lib.raise_exception(vcpu->env, EXCP_PREFETCH_ABORT, SYNDROME_PC_ALIGNMENT, 1);
    }
}

/* Instructions executed in this entry. From a trap, the instruction that trapped is not counted yet. */
uint64_t avmm_executed(Vcpu *vcpu)
{
    if (vcpu->trap_pc != 0) {
        lib.cpu_restore_state(vcpu->cpu, vcpu->trap_pc, false);
    }
    return vcpu->counter_start - FIELD(uint64_t, vcpu->cpu, CPU_ICOUNT_EXTRA) - (vcpu->trapped ? avmm_not_executed(vcpu) : 0);
}
