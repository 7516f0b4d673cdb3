"""Timelines: what the vCPUs of a VM did and why, recorded while it runs, for Perfetto and for the terminal.

`recorder` keeps the last events, `weave` makes slices and arrows of them (a `timeline`), `perfetto_file` writes and reads these,
`summary` and `svg` show them.
"""
