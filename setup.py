"""The native shim of the Unicorn engine; everything else is in pyproject.toml."""

from glob import glob

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension(
            "avmm_unicorn._native",
            sources=sorted(glob("plugins/avmm_unicorn/native/*.c")),
            depends=sorted(glob("plugins/avmm_unicorn/native/*.h")),
            extra_compile_args=["-std=gnu11", "-O2", "-Wall", "-Wextra", "-fvisibility=hidden"],
            libraries=["dl"],
        )
    ]
)
