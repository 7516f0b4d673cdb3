"""Loading a guest: ELF, Linux arm64 Image and flat images, from a file into guest memory."""

from avmm.loader.kernel import LoadedKernel, load_kernel

__all__ = ["LoadedKernel", "load_kernel"]
