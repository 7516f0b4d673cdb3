/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The library's assertions, some of which a guest can reach. They must not end the host's process: what stands for abort()
 * inside the library leaves the guest instead.
 */
#include "native.h"

#include <stdarg.h>

_Thread_local Vcpu *avmm_executing;

static _Thread_local char last_words[200];

/* fprintf(): only assertions and debug output write anything. Kept for the fault that may follow. */
int avmm_library_said(void *stream, const char *format, ...)
{
    va_list arguments;
    (void)stream;
    va_start(arguments, format);
    vsnprintf(last_words, sizeof last_words, format, arguments);
    va_end(arguments);
    return 0;
}

int avmm_library_printed(void) { return 0; }

/* abort(), exit(). Does not return. */
void avmm_library_gave_up(void)
{
    Vcpu *vcpu = avmm_executing;
    if (vcpu == NULL) {
        abort();
    }
    DisasContext *context = vcpu->translating;
    if (context == NULL) {
        last_words[strcspn(last_words, "\n")] = 0;
        vcpu->fault = last_words;
        FIELD(int32_t, vcpu->cpu, CPU_EXCEPTION_INDEX) = EXCP_INTERRUPT;
        lib.cpu_loop_exit(vcpu->cpu);
    }
    /* An instruction that the library cannot translate: nothing was executed, the program counter is at the block's start. */
    vcpu->translating = NULL;
    if (context->num_insns > 1) {
        /* Translate the block again, up to the instruction before this one. */
        FIELD(uint32_t, vcpu->cpu, CPU_CFLAGS_NEXT_TB) = (uint32_t)context->num_insns - 1;
        FIELD(int32_t, vcpu->cpu, CPU_EXCEPTION_INDEX) = -1;
        lib.cpu_loop_exit(vcpu->cpu);
    }
    vcpu->untranslatable++;
    FIELD(uint64_t, vcpu->cpu, CPU_ICOUNT_BUDGET) = 0;
    lib.raise_exception(vcpu->env, EXCP_UDEF, SYNDROME_UNCATEGORIZED, 1);
}
