"""Mutants of the Unicorn engine's native shim."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

UNICORN = "plugins/avmm_unicorn/native/"
REUSED = "tests/unit/unicorn/test_reuse.py"
REUSE = UNICORN + "reuse.c"
TRANSLATIONS = UNICORN + "translations.c"
HOST_CODE = UNICORN + "hostcode.c"
COPY, COPIED = UNICORN + "private_copy.c", "tests/unit/unicorn/test_private_copy.py"
UNITS = "tests/unit/unicorn/"
CODE_ORDER, ORDERED = UNICORN + "code_order.c", UNITS + "test_code_order.py"
LOOKUP = UNICORN + "lookup.c"
FIGURES = UNITS + "test_figures.py"
WATCHED, WATCHES = UNICORN + "watchpoints.c", UNITS + "test_watchpoints.py"
ATOMIC = UNITS + "test_atomics.py"
ALONE = UNITS + "test_parallel.py::test_while_one_makes_an_atomic_on_a_device_no_other_executes_anything"
KEPT = "tests/unit/unicorn/test_translation_cache.py"
TRANSLATION_CACHE = UNICORN + "translation_cache.c"
KEEPING = UNICORN + "kept_translations.c"
TRANSLATION_FILE = "plugins/avmm_unicorn/translation_cache.py"


MUTANTS = [
    Mutant(
        "the block that has an address is looked for in the wrong half",
        CODE_ORDER,
        "            low = middle + 1;\n",
        "            low = high;\n",
        (ORDERED,),
    ),
    Mutant("blocks that were dropped are still found", LOOKUP, "        vcpu->code_order.count = 0;\n", "", (ORDERED,)),
    Mutant(
        "a translation of other instructions is taken over",
        REUSE,
        "memcmp(words, block->source, FIELD(uint16_t, other->tb, TB_ICOUNT) * sizeof *words) == 0",
        "words != NULL",
        (REUSED,),
    ),
    Mutant(
        "a translation for another address is taken over",
        REUSE,
        "other->ram_address == block->ram_address && FIELD(uint64_t, other->tb, TB_PC) == FIELD(uint64_t, tb, TB_PC)",
        "true",
        (REUSED,),
    ),
    Mutant(
        "a translation taken over has another vCPU's registers",
        REUSE,
        "put_block(vcpu, tb, &block, &to);",
        "put_block(vcpu, tb, &block, &from);",
        (REUSED,),
    ),
    Mutant("a translation taken over has another vCPU's constants", REUSE, "&& same_digests(&to, ours, theirs)", "", (REUSED,)),
    Mutant("translations that jump to others cannot be taken over", REUSE, "sizeof(int32_t));", "0);", (REUSED,)),
    Mutant(
        "a translation taken over does not know where its instructions are",
        REUSE,
        "    unpack_restore_data(vcpu->tcg, tb, from);\n",
        "",
        (REUSED,),
    ),
    Mutant(
        "a translation is taken over by who counts",
        TRANSLATIONS,
        "block->noted = !vcpu->counting && ",
        "block->noted = ",
        (REUSED,),
    ),
    Mutant(
        "translations that are dropped can be taken over",
        TRANSLATIONS,
        "    if (translations->heads == NULL) {\n        return;",
        "    {\n        return;",
        (REUSED,),
    ),
    Mutant(
        "a translation kept from another register's constant is used",
        REUSE,
        " || !same_digests(&anchors, ours, digests)",
        "",
        (KEPT,),
    ),
    Mutant("a register's constant is not told apart", REUSE, "info->resetvalue,", "0,", (KEPT,)),
    Mutant(
        "a translation of other instructions is kept",
        TRANSLATION_CACHE,
        "memcmp(avmm_words(block), words, block->icount * sizeof *words) == 0",
        "words != NULL",
        (KEPT,),
    ),
    Mutant(
        "a damaged translation is used",
        TRANSLATION_CACHE,
        "            && block->checksum == avmm_checksum(block, avmm_block_length(block))) {\n            return block;",
        "            ) {\n            return block;",
        (KEPT,),
    ),
    Mutant(
        "a translation may lie outside of its file",
        TRANSLATION_CACHE,
        " || offset > end || end - offset < sizeof(CachedBlock)",
        "",
        (KEPT,),
    ),
    Mutant(
        "translations for another key are used",
        TRANSLATION_CACHE,
        "memcmp(header->key, key, CACHE_KEY_SIZE) != 0",
        "false",
        (KEPT,),
    ),
    Mutant(
        "a file that was cut off is used",
        TRANSLATION_CACHE,
        "size - header->index != CACHE_CHAINS * sizeof(uint32_t) + header->count * sizeof(CacheEntry)",
        "false",
        (KEPT,),
    ),
    Mutant(
        "where things were is kept with a translation",
        KEEPING,
        "reference->kind == REFERENCE_POINTER ? sizeof(uint64_t) : sizeof(uint32_t));",
        "0);",
        (KEPT,),
    ),
    Mutant(
        "addresses among the constants are kept",
        HOST_CODE,
        "    return note_constants(place, constants, list);\n",
        "    return true;\n",
        (KEPT,),
    ),
    Mutant("pointers that may be the guest's numbers are kept", KEEPING, " || !lasting(&new->list)", "", (KEPT,)),
    Mutant(
        "what was kept before is forgotten",
        KEEPING,
        "    add_others(new, &machine->cache);\n",
        "",
        (KEPT,),
    ),
    Mutant("no memory for what would be kept ends the machine", TRANSLATION_FILE, "(OSError, MemoryError)", "OSError", (KEPT,)),
    Mutant("a file that others can write is used", TRANSLATION_FILE, " or status.st_mode & 0o022", "", (KEPT,)),
    Mutant("a file of another user's is used", TRANSLATION_FILE, " or status.st_uid != os.geteuid()", "", (KEPT,)),
    Mutant("a link is followed to translations", TRANSLATION_FILE, " | os.O_NOFOLLOW", "", (KEPT,)),
    Mutant(
        "a file in use is old", TRANSLATION_FILE, "                os.utime(file)  # in use\n", "                pass\n", (KEPT,)
    ),
    Mutant("IC IALLU drops nothing", TRANSLATIONS, "if (!gone && ", "if (false && ", (REUSED,)),
    Mutant("IC IALLU drops everything", TRANSLATIONS, "    if (translations->missing) {\n", "    {\n", (REUSED,)),
    Mutant(
        "constants in code that was moved are taken for instructions",
        HOST_CODE,
        "*constants = inside;",
        "*constants = place->size;",
        (REUSED,),
    ),
    Mutant(
        "an interrupt that is unmasked waits for something else",
        UNICORN + "translate.c",
        "lib.tcg_brcondi_i32(tcg, COND_NE, handle(tcg, request), INTERRUPT_ALWAYS, leave);",
        "lib.tcg_brcondi_i32(tcg, COND_LT, handle(tcg, request), 0, leave);",
        ("tests/unit/unicorn/test_interrupts.py",),
    ),
    # The private copy of the library.
    Mutant(
        "all of the library is copied",
        COPY,
        "later |= may_come_later(image, &image->segments[i]) ? 1u << i : 0;",
        "later = 0;",
        (COPIED,),
    ),
    Mutant("what is written is the file's", COPY, "(segment->p_flags & PF_W) != 0 || ", "", (COPIED,)),
    Mutant(
        "the loader calls what is not there yet",
        COPY,
        "hide_initialisers(out, image) && ",
        "((void)hide_initialisers, true) && ",
        (COPIED,),
    ),
    Mutant(
        "initialisers are not called", COPY, "        initialise(image, map->l_addr);\n", "        (void)initialise;\n", (COPIED,)
    ),
    Mutant("a relocation that calls code is none", COPY, "== R_X86_64_IRELATIVE", "== R_X86_64_NONE", (COPIED,)),
    Mutant("a symbol that calls code is none", COPY, "== STT_GNU_IFUNC", "== STT_NOTYPE", (COPIED,)),
    Mutant(
        "code that is relocated is the file's",
        COPY,
        " || entry_of(image, DT_TEXTREL) != NULL || (value_of(image, DT_FLAGS) & DF_TEXTREL) != 0\n",
        "\n",
        (COPIED,),
    ),
    Mutant("a file that is cut short is loaded", COPY, "if (!complete(image)) {", "if (!complete(image) && false) {", (COPIED,)),
    Mutant("a file ends where its headers say", COPY, "offset <= image->size && size <= image->size - offset", "true", (COPIED,)),
    # Watchpoints.
    Mutant(
        "a watchpoint ends a byte too late",
        WATCHED,
        "address <= watchpoint->address + (watchpoint->length - 1)",
        "address <= watchpoint->address + watchpoint->length",
        (WATCHES,),
    ),
    Mutant(
        "pages that are in the TLB are not watched",
        WATCHED,
        "    lib.tlb_flush(cpu); /* entries made",
        "    /* entries made",
        (WATCHES,),
    ),
    # Exceptions.
    Mutant(
        "a call that is undefined is one that was made",
        UNICORN + "exceptions.c",
        "        FIELD(uint64_t, vcpu->env, ENV_PC) -= 4;\n        deliver(",
        "        deliver(",
        (UNITS + "test_exits.py", UNITS + "test_exceptions.py"),
    ),
    Mutant(
        "a kick before a block is forgotten",
        UNICORN + "exceptions.c",
        "        FIELD(bool, cpu, CPU_EXIT_REQUEST) = true;\n        return false;",
        "        return false;",
        (UNITS + "test_kicks.py",),
    ),
    Mutant(
        "floating point of EL0 is let through with that of EL1",
        UNICORN + "exceptions.c",
        "        return level == 0 ? 1 : 0;\n",
        "        return 0;\n",
        (UNITS + "test_exceptions.py",),
    ),
    Mutant(
        "floating point of EL1 traps with that of EL0",
        UNICORN + "exceptions.c",
        "        return level == 0 ? 1 : 0;\n",
        "        return 1;\n",
        (UNITS + "test_exceptions.py",),
    ),
    Mutant(
        "the reserved value of CPACR_EL1.FPEN lets floating point through",
        UNICORN + "exceptions.c",
        "    case 3:\n        return 0;\n    default:",
        "    case 2:\n    case 3:\n        return 0;\n    default:",
        (UNITS + "test_exceptions.py",),
    ),
    Mutant(
        "CPACR_EL1 keeps what lets nothing through",
        UNICORN + "sysregs.c",
        " = value & CPACR_FPEN;",
        " = value;",
        (UNITS + "test_features.py",),
    ),
    Mutant(
        "the library opens floating point whatever CPACR_EL1 says",
        UNICORN + "module.c",
        '    {"fp_exception_el_aarch64", (void *)avmm_fp_exception_el},\n',
        "",
        (UNITS + "test_exceptions.py",),
    ),
    # vCPUs in parallel.
    Mutant(
        "a page too many to note is not flushed",
        UNICORN + "broadcast.c",
        "        notes->all_pages = true;\n",
        "        notes->all_pages |= address == EVERY_PAGE;\n",
        (UNITS + "test_code.py",),
    ),
    Mutant(
        "an instruction that is executed alone does not wait for the others",
        UNICORN + "parallel.c",
        "    wait_until(vcpu, others_out);\n",
        "    (void)others_out;\n",
        (ALONE,),
    ),
    Mutant(
        "the others come back beside an instruction that is executed alone",
        UNICORN + "parallel.c",
        "!nobody_else_alone(vcpu); atomic_store(",
        "false; atomic_store(",
        (ALONE,),
    ),
    Mutant(
        "an instruction that is executed alone is made for several",
        UNICORN + "translate.c",
        "parallel && !alone && ",
        "parallel && ",
        (ALONE,),
    ),
    Mutant(
        "more than one instruction is executed alone",
        UNICORN + "exceptions.c",
        "= CF_LAST_IO | 1;",
        "= CF_LAST_IO;",
        (ALONE,),
    ),
    Mutant(
        "a TLBI IS is for one vCPU",
        UNICORN + "broadcast.c",
        "        note_tlb_flush(other, address, modes);\n",
        "",
        (UNITS + "test_parallel.py", UNITS + "test_memory.py"),
    ),
    Mutant(
        "a DSB waits for nobody",
        UNICORN + "parallel.c",
        "if (!others_heard(vcpu) && ",
        "if (false && ",
        (UNITS + "test_parallel.py",),
    ),
    Mutant(
        "an event is counted at either level",
        UNICORN + "pmu.c",
        "(int64_t)alone < (int64_t)both ? alone : both",
        "both",
        (UNITS + "test_events.py",),
    ),
    Mutant(
        "exceptions are counted where they lead to",
        UNICORN + "exceptions.c",
        "    avmm_leave_level(vcpu, EXCEPTIONS);\n    lib.do_interrupt(cpu);\n",
        "    lib.do_interrupt(cpu);\n    avmm_leave_level(vcpu, EXCEPTIONS);\n",
        (UNITS + "test_events.py",),
    ),
    # Atomics.
    Mutant("the least of two is the greatest", UNICORN + "atomics.c", "umin, old < value", "umin, old > value", (ATOMIC,)),
    Mutant("signed is unsigned", UNICORN + "atomics.c", "SIGNED_SIZES(smax, old", "UNSIGNED_SIZES(smax, old", (ATOMIC,)),
    Mutant("the least has its sign behind it", UNICORN + "atomics.c", "memop : memop | MO_SIGN", "memop : memop", (ATOMIC,)),
    Mutant("a sign fills the register", UNICORN + "atomics.c", "lib.gen_ext16u(tcg, result, result);", "", (ATOMIC,)),
    Mutant("a pointer into an array is to its start", COPY, "(type == R_X86_64_64 ? wanted->r_addend : 0)", "0", (COPIED,)),
    Mutant("what another library has is looked for here", COPY, "symbol->st_shndx == SHN_UNDEF || ", "", (COPIED,)),
    # Figures.
    Mutant(
        "what comes from the cache comes from a vCPU", REUSE, "vcpu->taken_from_cache++", "vcpu->taken_from_vcpus++", (FIGURES,)
    ),
    Mutant("what comes from a vCPU is not counted", REUSE, "            vcpu->taken_from_vcpus++;\n", "", (FIGURES,)),
    Mutant(
        "a block taken over is translated, too",
        TRANSLATIONS,
        "    } else {\n        size = lib.gen_code(tcg, tb);\n        vcpu->translated += size > 0;\n    }\n",
        "    } else {\n        size = lib.gen_code(tcg, tb);\n    }\n    vcpu->translated++;\n",
        (FIGURES,),
    ),
    Mutant("an attempt at a block is a block", TRANSLATIONS, "translated += size > 0", "translated++", (FIGURES,)),
    Mutant(
        "a fetch from nowhere is no external abort",
        UNICORN + "memory.c",
        "    vcpu->external_aborts++;\n",
        "",
        (FIGURES,),
    ),
    Mutant(
        "an access that is refused is no external abort",
        UNICORN + "traps.c",
        "        vcpu->external_aborts++;\n",
        "",
        (FIGURES,),
    ),
    Mutant(
        "instructions made alone are not counted", UNICORN + "parallel.c", "    vcpu->alone_instructions++;\n", "", (FIGURES,)
    ),
    Mutant(
        "two figures are swapped",
        "plugins/avmm_unicorn/vcpu.py",
        "(self.translated, self.taken_from_vcpus, self.taken_from_cache)",
        "(self.translated, self.taken_from_cache, self.taken_from_vcpus)",
        (FIGURES,),
    ),
    Mutant("TLB broadcasts are not counted", UNICORN + "broadcast.c", "    vcpu->tlb_broadcasts++;\n", "", (FIGURES,)),
    Mutant(
        "an invalidated line is no broadcast",
        UNICORN + "broadcast.c",
        "    vcpu->code_broadcasts++;\n    atomic_thread_fence",
        "    atomic_thread_fence",
        (FIGURES,),
    ),
    Mutant("what cannot be translated is not counted", UNICORN + "assertions.c", "    vcpu->untranslatable++;\n", "", (FIGURES,)),
]
