"""The command line: `avmm run`, `avmm plugins`, `avmm doctor`."""
