"""Mutants of plugins' entry points, logging, the machine's description, plugins' options, records, loading."""

from __future__ import annotations

from tests.mutants.mutant import Mutant
from tests.mutants.places import CORE

LOGS = CORE + "test_log.py"
ENTRIES = "avmm/entry_points.py"
REGISTRY = "tests/unit/test_registry.py"
CONFIG = "tests/unit/test_config.py"
CHECKS = "avmm/config_checks.py"
OPTIONS_OF = CORE + "test_option_table.py"
OPTIONS = "avmm/option_table.py"
FILLED = CORE + "test_memory.py"
RECORD = "avmm/record.py"
RECORDS = CORE + "test_record.py"


MUTANTS = [
    # What every run needs, without the libraries for it.
    Mutant("a distribution counts twice", ENTRIES, "if project not in seen:", "if True:", (CORE + "test_entry_points.py",)),
    Mutant("a comment is an entry point", ENTRIES, 'elif not line.startswith("#"):', "else:", (CORE + "test_entry_points.py",)),
    Mutant("of two plugins of a name the first is taken", "avmm/registry.py", "if len(quick) == 1:", "if quick:", (REGISTRY,)),
    Mutant("structlog is imported for events that nobody hears", "avmm/log.py", "if _is_heard(level):", "if True:", (LOGS,)),
    Mutant(
        "an application's structlog hears nothing",
        "avmm/log.py",
        "structlog is not None and structlog",
        "False and structlog",
        (LOGS,),
    ),
    Mutant("a field told again is an error", "avmm/log.py", "**{**self._fields, **fields}", "**self._fields, **fields", (LOGS,)),
    Mutant(
        "structlog is configured too late",
        "avmm/log.py",
        "            configure()\n    logger:",
        "            pass\n    logger:",
        ("tests/unit/cli/test_logs.py",),
    ),
    # The machine's description.
    Mutant("a number above its limit passes", CHECKS, "low <= value <= high:", "low <= value <= high + 1:", (CONFIG,)),
    Mutant(
        "true is a whole number",
        CHECKS,
        "isinstance(value, int) and not isinstance(value, bool) and low",
        "isinstance(value, int) and low",
        (CONFIG,),
    ),
    Mutant("a key that nobody knows passes", CHECKS, "if key not in checks:", "if False:", (CONFIG,)),
    Mutant("a device needs no kind", "avmm/config.py", 'required=("kind",)', "required=()", (CONFIG,)),
    Mutant(
        "only the first mistake is told",
        "avmm/config_errors.py",
        "if len(self._errors) == 1 else",
        "if self._errors else",
        (CONFIG,),
    ),
    Mutant("a mistake in a table has the table's key", "avmm/config_errors.py", 'key=f"{key}.{one.key}"', "key=key", (CONFIG,)),
    Mutant(
        "what has its default counts as given",
        "avmm/config.py",
        "for key in self._given}",
        "for key in vars(self) if key[0] != '_'}",
        (CONFIG,),
    ),
    # The options of plugins.
    Mutant(
        "true is a number of seconds",
        CHECKS,
        "isinstance(value, int | float) and not isinstance(value, bool)",
        "isinstance(value, int | float)",
        (OPTIONS_OF,),
    ),
    Mutant(
        "a plugin's option may have any name",
        OPTIONS,
        "            if key not in keys:\n",
        "            if False:\n",
        (OPTIONS_OF,),
    ),
    # Records.
    Mutant(
        "a field given twice is the last one", RECORD, "not named.keys().isdisjoint(names[: len(values)])", "False", (RECORDS,)
    ),
    Mutant("a record may lack a field", RECORD, "if MISSING in kept.values():", "if False:", (RECORDS,)),
    Mutant(
        "what is no field tells records apart",
        RECORD,
        "{name: self.__dict__[name] for name in self.__match_args__}",
        "dict(vars(self))",
        (RECORDS,),
    ),
    Mutant(
        "data classes are compiled for every run", RECORD, "init=False, repr=False, eq=False", "init=False, eq=False", (LOGS,)
    ),
    # Loading.
    Mutant(
        "a kernel that EFI can start is taken for a packed one",
        "avmm/packed.py",
        'head.startswith(b"MZ") and head',
        'head.startswith(b"MZ") or head',
        ("tests/unit/loader/test_kernel.py",),
    ),
    Mutant(
        "half a kernel is a kernel",
        "avmm/loader/placement.py",
        "if file.readinto(room) != size:",
        "if file.readinto(room) == 0:",
        (FILLED,),
    ),
    Mutant("large pages beyond what is filled", "avmm/memory.py", "if size >= _LARGE_PAGE:", "if True:", (FILLED,)),
]
