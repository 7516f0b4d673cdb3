/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The instance of the library behind a vCPU: its CPU, and what is replaced in it. */
#include "native.h"

PyObject *avmm_library_error(const char *what, int error)
{
    return PyErr_Format(core.engine_error, "unicorn: %s: %s", what, lib.uc_strerror(error));
}

static uint64_t no_read(void *uc, uint64_t offset, unsigned size, void *opaque)
{
    (void)uc, (void)offset, (void)size, (void)opaque;
    return 0;
}

static void no_write(void *uc, uint64_t offset, unsigned size, uint64_t value, void *opaque)
{
    (void)uc, (void)offset, (void)size, (void)value, (void)opaque;
}

/* The CPU as it is at power-on. What the host drives stays: the pins. */
void avmm_reset_instance(Vcpu *vcpu)
{
    void (*reset_cpu)(void *) = FIELD(void *, FIELD(void *, vcpu->cpu, CPU_CLASS), CLASS_RESET);
    uint32_t pstate = PSTATE_EL1H | PSTATE_DAIF; /* and the condition flags clear, as KVM leaves them */
    reset_cpu(vcpu->cpu);
    lib.uc_reg_write(vcpu->uc, UC_ARM64_REG_PSTATE, &pstate);
    lib.rebuild_hflags(vcpu->env);
    vcpu->owes = vcpu->at_barrier = false;
    avmm_forget_code(vcpu);
    FIELD(uint32_t, vcpu->cpu, CPU_INTERRUPT_REQUEST) |= INTERRUPT_ALWAYS;
    avmm_drive_pins(vcpu);
}

/* Make the CPU; 0, or -1 with an exception. */
int avmm_open_instance(Vcpu *vcpu)
{
    uint64_t probe;
    void *hook;
    int error = lib.uc_open(UC_ARCH_ARM64, UC_MODE_ARM, &vcpu->uc);
    if (error != 0) {
        vcpu->uc = NULL;
        avmm_library_error("uc_open", error);
        return -1;
    }
    lib.uc_ctl(vcpu->uc, UC_CTL_WRITE1(UC_CTL_CPU_MODEL), vcpu->machine->cpu_model);
    lib.uc_ctl(vcpu->uc, UC_CTL_WRITE1(UC_CTL_UC_PAGE_SIZE), PAGE_SIZE);
    lib.uc_ctl(vcpu->uc, UC_CTL_WRITE1(UC_CTL_UC_USE_EXITS), 1);
    lib.uc_ctl(vcpu->uc, UC_CTL_WRITE1(UC_CTL_TCG_BUFFER_SIZE), vcpu->machine->tb_size);
    error = lib.uc_reg_read(vcpu->uc, UC_ARM64_REG_X0, &probe); /* the first access makes the CPU */
    if (error == 0) {
        error = lib.uc_hook_add(vcpu->uc, &hook, UC_HOOK_INTR, (void *)avmm_on_exception, vcpu, 1, 0);
    }
    if (error != 0) {
        avmm_library_error("cannot make a CPU", error);
        return -1;
    }
    vcpu->cpu = FIELD(void *, vcpu->uc, UC_CPU);
    vcpu->env = (char *)vcpu->cpu + ARM_ENV;
    vcpu->tcg = FIELD(void *, vcpu->uc, UC_TCG_CONTEXT);
    FIELD(Vcpu *, vcpu->cpu, CPU_OPAQUE) = vcpu;
    FIELD(int, vcpu->uc, UC_NESTED_LEVEL) = 1;
    FIELD(bool, vcpu->cpu, CPU_STOPPED) = false;
    /* EL1 is the highest exception level: whatever is above it is the host. */
    FIELD(uint64_t, vcpu->env, ENV_FEATURES) &=
        ~((uint64_t)1 << FEATURE_EL2 | (uint64_t)1 << FEATURE_EL3 | (uint64_t)1 << FEATURE_PMU);
    FIELD(uint64_t, vcpu->env, ENV_ID_AA64PFR0) &= ~PFR0_SVE;
    void *class = FIELD(void *, vcpu->cpu, CPU_CLASS);
    FIELD(void *, class, CLASS_TLB_FILL) = (void *)avmm_tlb_fill;
    FIELD(void *, class, CLASS_EXEC_INTERRUPT) = (void *)avmm_exec_interrupt;
    FIELD(void *, class, CLASS_DO_INTERRUPT) = (void *)avmm_do_interrupt;
    vcpu->library_mapping = FIELD(void *, vcpu->uc, UC_MEMORY_MAPPING);
    FIELD(void *, vcpu->uc, UC_MEMORY_MAPPING) = (void *)avmm_memory_mapping;
    /* The library's own PMU, at every change of exception level: nobody can see it. */
    for (int i = 0; i < 2; i++) {
        vcpu->library_hooks[i] = FIELD(void *, vcpu->cpu, ARM_PRE_EL_CHANGE_HOOKS + 8 * i);
        FIELD(void *, vcpu->cpu, ARM_PRE_EL_CHANGE_HOOKS + 8 * i) = NULL;
    }
    /* Memory is mapped over this; what is left of it is I/O, with its guest physical address for an offset. */
    lib.memory_map_io(vcpu->uc, 0, (size_t)1 << 52, (void *)no_read, (void *)no_write, NULL, NULL);
    avmm_define_cache_operations(vcpu);
    avmm_define_cpacr(vcpu);
    avmm_begin_events(vcpu);
    if (avmm_begin_lookup(vcpu) < 0 || avmm_begin_translations(vcpu) < 0) {
        PyErr_NoMemory();
        return -1;
    }
    avmm_reset_instance(vcpu);
    return 0;
}

/* As the library made it, so that it can take it down; nothing when there is none. */
void avmm_close_instance(Vcpu *vcpu)
{
    if (vcpu->uc == NULL) {
        return;
    }
    if (vcpu->cpu != NULL) {
        avmm_watchpoint_remove_all(vcpu->cpu, 0);
    }
    if (vcpu->library_mapping != NULL) {
        FIELD(void *, vcpu->uc, UC_MEMORY_MAPPING) = vcpu->library_mapping;
        FIELD(void *, vcpu->cpu, ARM_PRE_EL_CHANGE_HOOKS) = vcpu->library_hooks[0];
        FIELD(void *, vcpu->cpu, ARM_EL_CHANGE_HOOKS) = vcpu->library_hooks[1];
    }
    avmm_clear_translations(vcpu);
    lib.uc_close(vcpu->uc);
    vcpu->uc = vcpu->cpu = vcpu->env = NULL;
}
