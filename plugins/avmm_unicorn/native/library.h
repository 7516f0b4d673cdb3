/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The private copy of libunicorn: its functions, and the replacement of some of them. */
#ifndef AVMM_LIBRARY_H
#define AVMM_LIBRARY_H

#include "layout.h"

#include <stdbool.h>
#include <stddef.h>

#define CAS(word) (void *env, uint64_t address, word expected, word wanted, uint32_t oi, uintptr_t pc)
#define GEN_FETCH (void *tcg, void *result, void *address, void *value, intptr_t mode, int memop)
#define GEN_EXTEND (void *tcg, void *result, void *value)

/* Every function of the library that is called from here; SYMBOL(field, exported name, result, arguments). */
#define LIBRARY_SYMBOLS(SYMBOL)                                                                                          \
    SYMBOL(uc_version, "uc_version", unsigned, (unsigned *, unsigned *))                                                 \
    SYMBOL(uc_open, "uc_open", int, (int arch, int mode, void **uc))                                                     \
    SYMBOL(uc_close, "uc_close", int, (void *uc))                                                                        \
    SYMBOL(uc_ctl, "uc_ctl", int, (void *uc, int control, ...))                                                          \
    SYMBOL(uc_strerror, "uc_strerror", const char *, (int error))                                                        \
    SYMBOL(uc_mem_map_ptr, "uc_mem_map_ptr", int, (void *uc, uint64_t, uint64_t size, uint32_t perms, void *))           \
    SYMBOL(uc_mem_unmap, "uc_mem_unmap", int, (void *uc, uint64_t address, uint64_t size))                               \
    SYMBOL(uc_hook_add, "uc_hook_add", int, (void *uc, void *hook, int, void *, void *, uint64_t, uint64_t, ...))        \
    SYMBOL(uc_reg_read, "uc_reg_read", int, (void *uc, int id, void *value))                                             \
    SYMBOL(uc_reg_write, "uc_reg_write", int, (void *uc, int id, const void *value))                                     \
    SYMBOL(memory_map_io, "memory_map_io_aarch64", void *, (void *, uint64_t, size_t, void *, void *, void *, void *))   \
    SYMBOL(cpu_exec, "cpu_exec_aarch64", int, (void *uc, void *cpu))                                                     \
    SYMBOL(cpu_loop_exit, "cpu_loop_exit_aarch64", void, (void *cpu))                                                    \
    SYMBOL(cpu_loop_exit_restore, "cpu_loop_exit_restore_aarch64", void, (void *cpu, uintptr_t pc))                      \
    SYMBOL(cpu_restore_state, "cpu_restore_state_aarch64", bool, (void *cpu, uintptr_t pc, bool will_exit))              \
    SYMBOL(raise_exception, "raise_exception_aarch64", void, (void *env, uint32_t, uint32_t syndrome, uint32_t el))      \
    SYMBOL(do_interrupt, "arm_cpu_do_interrupt_aarch64", void, (void *cpu))                                              \
    SYMBOL(exec_interrupt, "arm_cpu_exec_interrupt_aarch64", bool, (void *cpu, int request))                             \
    SYMBOL(rebuild_hflags, "arm_rebuild_hflags_aarch64", void, (void *env))                                              \
    SYMBOL(tlb_fill, "arm_cpu_tlb_fill_aarch64", bool, (void *, uint64_t, int, int, int, bool, uintptr_t))               \
    SYMBOL(transaction_failed, "arm_cpu_do_transaction_failed_aarch64", void,                                            \
           (void *, uint64_t, uint64_t, unsigned, int, int, uint32_t attrs, uint32_t response, uintptr_t))               \
    SYMBOL(get_reginfo, "get_arm_cp_reginfo_aarch64", const RegInfo *, (void *registers, uint32_t key))                  \
    SYMBOL(define_reginfo, "define_one_arm_cp_reg_with_opaque_aarch64", void, (void *cpu, const RegInfo *, void *))      \
    SYMBOL(tlb_flush, "tlb_flush_aarch64", void, (void *cpu))                                                            \
    SYMBOL(tlb_flush_modes, "tlb_flush_by_mmuidx_aarch64", void, (void *cpu, uint16_t modes))                            \
    SYMBOL(tlb_flush_page, "tlb_flush_page_by_mmuidx_aarch64", void, (void *cpu, uint64_t address, uint16_t modes))      \
    SYMBOL(gen_code, "tcg_gen_code_aarch64", int, (void *tcg, void *tb))                                                 \
    SYMBOL(tb_flush, "tb_flush_aarch64", void, (void *cpu))                                                              \
    SYMBOL(lookup_tb_ptr, "helper_lookup_tb_ptr_aarch64", void *, (void *env))                                            \
    SYMBOL(tb_insert, "tcg_tb_insert_aarch64", void, (void *tcg, void *tb))                                              \
    SYMBOL(tb_remove, "tcg_tb_remove_aarch64", void, (void *tcg, void *tb))                                              \
    SYMBOL(tb_of_code, "tcg_tb_lookup_aarch64", void *, (void *tcg, uintptr_t address))                                  \
    SYMBOL(tb_lookup, "tb_htable_lookup_aarch64", void *, (void *cpu, uint64_t, uint64_t, uint32_t, uint32_t))            \
    SYMBOL(code_ram_address, "get_page_addr_code_aarch64", uint64_t, (void *env, uint64_t address))                      \
    SYMBOL(tb_invalidate_range, "tb_invalidate_phys_range_aarch64", void, (void *uc, uint64_t start, uint64_t end))      \
    SYMBOL(tb_invalidate_fast, "tb_invalidate_phys_page_fast_aarch64", void,                                             \
           (void *uc, void *pages, uint64_t start, int length, uintptr_t))                                               \
    SYMBOL(iotlb_to_section, "iotlb_to_section_aarch64", void *, (void *cpu, uint64_t index, uint32_t attrs))            \
    SYMBOL(msr_i_daifset, "helper_msr_i_daifset_aarch64", void, (void *env, uint32_t mask))                              \
    SYMBOL(msr_i_daifclear, "helper_msr_i_daifclear_aarch64", void, (void *env, uint32_t mask))                          \
    SYMBOL(exception_return, "helper_exception_return_aarch64", void, (void *env, uint64_t pc))                           \
    SYMBOL(ldl_code, "cpu_ldl_code_aarch64", uint32_t, (void *env, uint64_t address))                                    \
    SYMBOL(watchpoint_applies, "arm_debug_check_watchpoint_aarch64", bool, (void *cpu, void *watchpoint))               \
    SYMBOL(gen_fetch_smin, "tcg_gen_atomic_fetch_smin_i64_aarch64", void, GEN_FETCH)                                     \
    SYMBOL(gen_fetch_smax, "tcg_gen_atomic_fetch_smax_i64_aarch64", void, GEN_FETCH)                                     \
    SYMBOL(gen_ext8u, "tcg_gen_ext8u_i64_aarch64", void, GEN_EXTEND)                                                     \
    SYMBOL(gen_ext16u, "tcg_gen_ext16u_i64_aarch64", void, GEN_EXTEND)                                                   \
    SYMBOL(gen_ext32u, "tcg_gen_ext32u_i64_aarch64", void, GEN_EXTEND)                                                   \
    SYMBOL(cas_b, "helper_atomic_cmpxchgb_mmu_aarch64", uint32_t, CAS(uint32_t))                                         \
    SYMBOL(cas_w_le, "helper_atomic_cmpxchgw_le_mmu_aarch64", uint32_t, CAS(uint32_t))                                   \
    SYMBOL(cas_w_be, "helper_atomic_cmpxchgw_be_mmu_aarch64", uint32_t, CAS(uint32_t))                                   \
    SYMBOL(cas_l_le, "helper_atomic_cmpxchgl_le_mmu_aarch64", uint32_t, CAS(uint32_t))                                   \
    SYMBOL(cas_l_be, "helper_atomic_cmpxchgl_be_mmu_aarch64", uint32_t, CAS(uint32_t))                                   \
    SYMBOL(cas_q_le, "helper_atomic_cmpxchgq_le_mmu_aarch64", uint64_t, CAS(uint64_t))                                   \
    SYMBOL(cas_q_be, "helper_atomic_cmpxchgq_be_mmu_aarch64", uint64_t, CAS(uint64_t))                                   \
    SYMBOL(gen_new_label, "gen_new_label_aarch64", void *, (void *tcg))                                                  \
    SYMBOL(tcg_emit_op, "tcg_emit_op_aarch64", void *, (void *tcg, int opcode))                                          \
    SYMBOL(tcg_op1, "tcg_gen_op1_aarch64", void, (void *tcg, int opcode, uintptr_t))                                     \
    SYMBOL(tcg_op3, "tcg_gen_op3_aarch64", void, (void *tcg, int opcode, uintptr_t, uintptr_t, uintptr_t))               \
    SYMBOL(tcg_temp_new, "tcg_temp_new_internal_aarch64", void *, (void *tcg, int type, bool local))                     \
    SYMBOL(tcg_temp_free, "tcg_temp_free_internal_aarch64", void, (void *tcg, void *temp))                               \
    SYMBOL(tcg_brcondi_i32, "tcg_gen_brcondi_i32_aarch64", void, (void *, int, uintptr_t, int32_t, void *label))         \
    SYMBOL(tcg_brcondi_i64, "tcg_gen_brcondi_i64_aarch64", void, (void *, int, uintptr_t, int64_t, void *label))         \
    SYMBOL(tcg_look_up, "tcg_gen_lookup_and_goto_ptr_aarch64", void, (void *tcg))                                        \
    SYMBOL(tcg_exit_tb, "tcg_gen_exit_tb_aarch64", void, (void *tcg, void *tb, unsigned index))                         

#define DECLARE_SYMBOL(field, name, result, arguments) result(*field) arguments;
typedef struct {
    LIBRARY_SYMBOLS(DECLARE_SYMBOL)
} Library;

extern Library lib;

/* A function of the library, by exported name, and what is called in its place everywhere inside the library. */
typedef struct {
    const char *name;
    void *function;
} Replacement;

/* Load a private copy of the library at `path`; NULL, or one line that says what is wrong. */
const char *avmm_load_library(const char *path);

/* Check the layout against a fresh instance, through the library's public functions only; NULL, or what does not hold. */
const char *avmm_calibrate(void *uc);

/* Whether `size` bytes at `address` can be read without a fault. */
bool avmm_readable(const void *address, size_t size);

#endif
