"""Bringing a guest from its distributor's archive into a cache: kernel and initramfs, checked by the archive's own hashes.

`avmm.fetch.guest.fetch` does it. It needs the extra `fetch`; this module and `avmm.fetch.places` need nothing.
"""
