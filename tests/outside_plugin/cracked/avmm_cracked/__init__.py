"""A plugin that is broken: avmm names it and goes on."""

raise RuntimeError("this bell is cracked")
