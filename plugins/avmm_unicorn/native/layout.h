/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where things stand inside libunicorn.so.2 of the unicorn 2.1.4 wheel for x86-64 Linux (QEMU 5.0.1 inside): byte offsets and
 * constants. `avmm_calibrate()` checks those that a wrong library would get wrong before any of them is relied on.
 */
#ifndef AVMM_LAYOUT_H
#define AVMM_LAYOUT_H

#include <stdint.h>

/* The field of this type so many bytes behind `base`. */
#define FIELD(type, base, offset) (*(__typeof__(type) __attribute__((may_alias)) *)((char *)(base) + (offset)))

#define UNICORN_VERSION 0x020104ffu /* uc_version(): major, minor, patch, release */
#define UC_ARCH_ARM64 2
#define UC_MODE_ARM 0
#define UC_PROT_ALL 7
#define UC_HOOK_INTR 1
#define UC_ARM64_REG_X0 199
#define UC_ARM64_REG_PC 260
#define UC_ARM64_REG_PSTATE 265
#define UC_ARM64_REG_CP_REG 290
#define UC_CTL_WRITE1(type) ((type) | (1 << 26) | (1u << 30))
#define UC_CTL_UC_PAGE_SIZE 1
#define UC_CTL_UC_USE_EXITS 4
#define UC_CTL_CPU_MODEL 7
#define UC_CTL_TLB_TYPE 12
#define UC_CTL_TCG_BUFFER_SIZE 13

/* struct uc_struct */
#define UC_MEMORY_MAPPING 288
#define UC_CPU 440
#define UC_PAGE_BITS 680 /* pointer to { bool decided; int bits; } */
#define UC_TCG_CONTEXT 768
#define UC_NESTED_LEVEL 14840

/* CPUState; CPUARMState follows it in the same allocation, ARM_ENV bytes behind its start. */
#define CPU_STOPPED 18
#define CPU_EXIT_REQUEST 21
#define CPU_CFLAGS_NEXT_TB 24
#define CPU_INTERRUPT_REQUEST 28
#define CPU_SINGLESTEP 32
#define CPU_ICOUNT_BUDGET 40 /* unused by the library without icount: we keep the running block here */
#define CPU_ICOUNT_EXTRA 48  /* likewise: we keep the instruction budget here */
#define CPU_ENV 296
#define CPU_ICOUNT_DECR 304
#define CPU_JUMP_CACHE 312 /* JUMPS pointers to blocks */
#define CPU_BREAKPOINTS 33096
#define CPU_WATCHPOINT_HIT 33128
#define CPU_OPAQUE 33136 /* unused by the library: our Vcpu */
#define CPU_MEM_IO_PC 33144
#define CPU_HALTED 33176
#define CPU_EXCEPTION_INDEX 33184
#define CPU_CLASS 33200
#define CPU_TLB 33216
#define ARM_ICOUNT_DECR 41792
#define ARM_ENV 41808
#define ARM_CP_REGS 54544
#define ARM_PRE_EL_CHANGE_HOOKS 55072
#define ARM_EL_CHANGE_HOOKS 55080

/* CPUClass */
#define CLASS_RESET 0
#define CLASS_DO_INTERRUPT 16
#define CLASS_TLB_FILL 72
#define CLASS_GET_PHYS_PAGE 96
#define CLASS_EXEC_INTERRUPT 144

/* CPUARMState */
#define ENV_XREGS 64
#define ENV_PC 320
#define ENV_PSTATE 328
#define ENV_AARCH64 332
#define ENV_HFLAGS 336
#define ENV_ID_AA64PFR0 12944
#define ENV_ID_AA64PFR1 12952
#define ENV_CPACR_EL1 704
#define ENV_SYNDROME 3024
#define ENV_VADDRESS 3032
#define ENV_TARGET_EL 3040
#define ENV_SP_EL 600
#define ENV_ELR_EL 568
#define ENV_SPSR 352 /* banked_spsr; the entry of EL1 is 1 */
#define ENV_ESR_EL 984
#define ENV_FAR_EL 1048
#define ENV_MDSCR_EL1 2024
#define ENV_FEATURES 12336

/* CPUTLB, inside CPUState at CPU_TLB */
#define TLB_MODES 12
#define TLB_VICTIMS 8
#define TLB_DIRTY 0
#define TLB_DESC 32
#define TLB_DESC_SIZE 696
#define TLB_DESC_VTABLE 48
#define TLB_DESC_IOTLB 688
#define TLB_FAST 8384
#define TLB_FAST_SIZE 16
#define TLB_ENTRY_BITS 6

#define PAGE_BITS 12 /* what we ask for; the library's own default is 10 */
#define PAGE_SIZE (1 << PAGE_BITS)
#define PAGE_MASK (~(uint64_t)0xfff)
#define TLB_INVALID 0x200
#define TLB_NOTDIRTY 0x100
#define TLB_MMIO 0x80
#define TLB_WATCHPOINT 0x40

typedef struct {
    uint64_t addr_read, addr_write, addr_code, paddr;
    uintptr_t addend;
    uint64_t padding[3];
} TlbEntry;

typedef struct {
    uint64_t addr;
    uint32_t attrs, padding;
} IoTlbEntry;

/* MemoryRegion and RAMBlock */
#define REGION_RAM 0
#define REGION_RAM_BLOCK 8
#define REGION_PERMS 136
#define REGION_SIZE 160
#define RAM_BLOCK_OFFSET 16

/* TranslationBlock */
#define TB_PC 0
#define TB_CS_BASE 8
#define TB_FLAGS 16
#define TB_SIZE 20
#define TB_ICOUNT 22
#define TB_CFLAGS 24
#define TB_CODE 32
#define TB_CODE_SIZE 40
#define TB_SECOND_PAGE 80 /* where the rest of it was translated from, or UINT64_MAX */
#define TB_JUMP_ENDS 88   /* two 16-bit offsets into the code: behind the jumps that are patched to lead to other blocks */
#define TB_JUMP_PLACES 96 /* and two of their displacements */
#define NO_JUMP 0xffff
#define TB_EXIT_REQUESTED 3

/* Flags of a translation: the first is part of what a look-up compares, the second is not while a block is being translated. */
#define CF_LAST_IO 0x8000    /* we: executed with all others stopped */
#define CF_PARALLEL 0x80000
#define JUMPS 4096
#define JUMP_PAGE_BITS 6
#define JUMP_PAGE_MASK ((1u << JUMP_PAGE_BITS) - 1)
#define HFLAG_AARCH64 0x80000000u
#define HFLAG_SINGLE_STEP 0x40000000u
#define CF_CLUSTER 0xff000000u /* the same everywhere */
#define CF_INVALID 0x40000
#define CF_COMPARED 0xff0effffu /* what a look-up compares, and that a block is still valid */

/* TCGContext and its operations */
#define TCG_NB_OPS 56
#define TCG_TB_CFLAGS 100
#define TCG_EPILOGUE 152
#define TCG_CODE_NEXT 192      /* where in the buffer the next block will be */
#define TCG_CODE_END 208       /* of the buffer, but for a reserve */
#define TCG_MAX_INSNS 512      /* of a block */
#define TCG_INSN_ENDS 29880    /* a 16-bit offset into the code for each instruction of the block */
#define TCG_INSN_DATA 30904    /* and INSN_DATA words of what to restore there: program counter, IT state, syndrome */
#define INSN_DATA 3
#define EPILOGUE_SIZE 64
#define TCG_ENOUGH_OPS 4000 /* keeps a block within the reach of its 16-bit offsets */
#define TCG_CPU_ENV 43248
#define TCG_OP_ARGS 24
#define OP_SET_LABEL 1
#define OP_LD_I32 13
#define OP_MOVI_I64 64
#define OP_LD_I64 73
#define OP_ST32_I64 76
#define OP_ST_I64 77
#define OP_SUB_I64 79
#define COND_LT 2
#define COND_EQ 8
#define COND_NE 9
#define TYPE_I32 0
#define TYPE_I64 1

typedef struct {
    void *tb;
    uint64_t pc_first, pc_next;
    int is_jmp, num_insns, max_insns;
    _Bool singlestep_enabled;
} DisasContext;

#define DISAS_NEXT 0
#define DISAS_TOO_MANY 1
#define DISAS_NORETURN 2
#define DISAS_WFE 7
#define DISAS_YIELD 10
#define CONTEXT_INSN 64 /* behind a DisasContext of AArch64: the instruction translated last */

typedef struct {
    void (*init_disas_context)(DisasContext *, void *cpu);
    void (*tb_start)(DisasContext *, void *cpu);
    void (*insn_start)(DisasContext *, void *cpu);
    _Bool (*breakpoint_check)(DisasContext *, void *cpu, const void *breakpoint);
    void (*translate_insn)(DisasContext *, void *cpu);
    void (*tb_stop)(DisasContext *, void *cpu);
    void (*pc_sync)(DisasContext *, void *cpu);
} TranslatorOps;

/* CPUWatchpoint */
typedef struct {
    uint64_t address, length, hit_address;
    uint32_t hit_attrs;
    int flags;
    void *links[2];
} Watchpoint;

#define BP_MEM_READ 0x1
#define BP_HIT_READ 0x40
#define BP_HIT_WRITE 0x80

/* CPUBreakpoint: pc, flags, next */
#define BREAKPOINT_NEXT 16

/* ARMCPRegInfo, 136 bytes */
typedef struct RegInfo {
    const char *name;
    uint8_t cp, crn, crm, opc0, opc1, opc2;
    int state, type, access, secure;
    void *opaque;
    uint64_t resetvalue;
    intptr_t fieldoffset, bank_fieldoffsets[2];
    int (*accessfn)(void *env, const struct RegInfo *, _Bool is_read);
    uint64_t (*readfn)(void *env, const struct RegInfo *);
    void (*writefn)(void *env, const struct RegInfo *, uint64_t value);
    void *raw_readfn, *raw_writefn, *resetfn, *orig_readfn, *orig_writefn;
} RegInfo;

_Static_assert(sizeof(RegInfo) == 136, "ARMCPRegInfo");
_Static_assert(sizeof(TlbEntry) == 1 << TLB_ENTRY_BITS, "CPUTLBEntry");

#define CP_STATE_AA64 1
#define CP_CONST 0x2
#define CP_SUPPRESS_TB_END 0x8
#define CP_OVERRIDE 0x10
#define CP_IO 0x40
#define CP_NO_RAW 0x80
#define CP_RAISES_EXC 0x8000
#define CP_ACCESS_OK 0
#define CP_ACCESS_TRAP 1
#define PL0_R 0xaa
#define PL0_W 0x55
#define PL1_R 0xa8
#define PL1_W 0x54
#define CP_KEY(op0, op1, crn, crm, op2) \
    ((1u << 28) | (0x13u << 16) | ((op0) << 14) | ((op1) << 11) | ((crn) << 7) | ((crm) << 3) | (op2))

/* Exceptions: below EXCP_INTERRUPT they are the guest's, from there on they come out of cpu_exec(). */
#define EXCP_UDEF 1
#define EXCP_SVC 2
#define EXCP_PREFETCH_ABORT 3
#define EXCP_DATA_ABORT 4
#define EXCP_BKPT 7
#define EXCP_HVC 11
#define EXCP_SMC 13
#define EXCP_INTERRUPT 0x10000
#define EXCP_HLT 0x10001
#define EXCP_DEBUG 0x10002
#define EXCP_HALTED 0x10003
#define EXCP_YIELD 0x10004
#define EXCP_ATOMIC 0x10005

#define INTERRUPT_HARD 0x2
#define INTERRUPT_EXITTB 0x4
#define INTERRUPT_FIQ 0x10
#define INTERRUPT_LINES (INTERRUPT_HARD | INTERRUPT_FIQ)
#define INTERRUPT_ALWAYS 0x1000 /* TGT_EXT_4, which Arm does not use: keeps cpu_exec_interrupt() being called */

#define SYNDROME_UNCATEGORIZED 0x02000000u
#define SYNDROME_PC_ALIGNMENT 0x8a000000u
#define SYNDROME_IL 0x02000000u

#define MMU_DATA_LOAD 0
#define MMU_DATA_STORE 1
#define MMU_INST_FETCH 2
#define MO_SIZE 3
#define MO_SIGN 4
#define MO_BSWAP 8
#define MEMTX_OK 0
#define MEMTX_DECODE_ERROR 2

#define PSTATE_EL1H 5
#define PSTATE_DAIF 0x3c0
#define PFR0_SVE ((uint64_t)0xf << 32) /* ID_AA64PFR0_EL1.SVE, which decides what is decoded */
#define CPACR_FPEN ((uint64_t)3 << 20)
#define FEATURE_EL2 32
#define FEATURE_EL3 33
#define FEATURE_PMU 35

#endif
