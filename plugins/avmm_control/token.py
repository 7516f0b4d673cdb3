"""The token: what a client of a TCP address must know. It comes from a file or the environment, never from a command line."""

from __future__ import annotations

import os
from pathlib import Path

from avmm.plugin import ConfigError

VARIABLE = "AVMM_CONTROL_TOKEN"
MIN_LENGTH, MAX_LENGTH = 16, 512


def read_token(file: Path | None) -> str | None:
    """The token in `file`, or else in the environment; None when there is neither. ConfigError when it will not do."""
    if file is None:
        token = os.environ.get(VARIABLE)
        return None if token is None else _checked(token, VARIABLE)
    try:
        with file.open("rb") as opened:
            if os.fstat(opened.fileno()).st_mode & 0o077:
                raise ConfigError(f"{file} can be read by others: chmod 600 {file}", key="control_token_file")
            content = opened.read(MAX_LENGTH + 2)
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}", key="control_token_file") from None
    return _checked(content.decode("latin-1").strip(), str(file))


def _checked(token: str, where: str) -> str:
    if not MIN_LENGTH <= len(token) <= MAX_LENGTH or not token.isascii() or not token.isprintable() or " " in token:
        what = f"a token is {MIN_LENGTH} to {MAX_LENGTH} printable ASCII characters without spaces"
        raise ConfigError(f"{where}: {what}", key="control_token_file")
    return token
