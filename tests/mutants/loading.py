"""Mutants of what a machine starts with: images, what goes beside them, and what is fetched for it."""

from __future__ import annotations

from tests.mutants.mutant import Mutant
from tests.mutants.places import ARM, ARM64

LOADER, BOOT = "avmm/loader/", ARM64 + "boot.py"
ELF, IMAGE = "tests/unit/loader/test_elf.py", "tests/unit/loader/test_kernel.py"
FETCH, FETCHED = "avmm/fetch/", "tests/unit/fetch/"

MUTANTS = [
    # Images.
    Mutant("an entry is virtual", LOADER + "elf.py", "return entry - segment.virtual + segment.physical", "return entry", (ELF,)),
    Mutant("an executable is for any machine", LOADER + "elf.py", "if its_machine != machine:", "if False:", (ELF,)),
    Mutant(
        "a segment has more in its file than in memory", LOADER + "elf.py", "if file_size > memory_size:", "if False:", (ELF,)
    ),
    Mutant(
        "an Image goes wherever memory begins",
        LOADER + "arm64_image.py",
        "-(-image_base // _BASE_ALIGNMENT)",
        "image_base // _BASE_ALIGNMENT",
        (IMAGE,),
    ),
    Mutant("an Image claims no more than its file", LOADER + "arm64_image.py", "max(image_size, size)", "size", (IMAGE,)),
    Mutant("an Image may be truncated", LOADER + "arm64_image.py", ") > size:", ") > size and False:", (IMAGE,)),
    # What goes beside them.
    Mutant(
        "a device tree overwrites the image",
        BOOT,
        "if fdt_address < image.end:",
        "if False:",
        (ARM + "test_fdt.py", ARM + "test_arch.py"),
    ),
    Mutant(
        "an initrd overwrites the image",
        BOOT,
        "        if address < image.end:",
        "        if False:",
        (ARM + "test_fdt.py", ARM + "test_arch.py"),
    ),
    Mutant(
        "a device tree may have any size", BOOT, "if size > _MAX_FDT:", "if False:", (ARM + "test_fdt.py", ARM + "test_arch.py")
    ),
    # What is fetched.
    Mutant(
        "what is fetched has any hash",
        FETCH + "download.py",
        ") != sha256:",
        ") != sha256 and False:",
        (FETCHED + "test_archive.py",),
    ),
    Mutant(
        "a download may have any length",
        FETCH + "download.py",
        "if len(data) > limit:",
        "if False:",
        (FETCHED + "test_download.py",),
    ),
    Mutant(
        "a bad signature will do", FETCH + "signature.py", "if done.returncode != 0:", "if False:", (FETCHED + "test_archive.py",)
    ),
    Mutant(
        "a release file is good for ever",
        FETCH + "archive.py",
        " < datetime.now(UTC):",
        " < datetime.now(UTC) and False:",
        (FETCHED + "test_archive.py",),
    ),
    Mutant(
        "an index unpacks without end",
        FETCH + "archive.py",
        "decompress(packed, _MAX_INDEX)",
        "decompress(packed)",
        (FETCHED + "test_archive.py",),
    ),
]
