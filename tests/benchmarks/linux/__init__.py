"""avmm beside QEMU's emulator on Debian's kernel: the same guest on both in turn, compared pair by pair."""
