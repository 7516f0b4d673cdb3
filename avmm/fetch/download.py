"""Downloads over HTTP or HTTPS (proxies by the environment, as everywhere), or from a file: URL; never more than was promised."""

from __future__ import annotations

import hashlib
import http.client
import os
import tempfile
import urllib.error
import urllib.request
from pathlib import Path

from avmm.errors import FetchError
from avmm.fetch.progress import Progress

_TIMEOUT_S = 30
"""Without a byte for so long, a server is taken to be gone."""
_CHUNK = 1 << 16


def download(url: str, progress: Progress, *, limit: int, size: int | None = None, name: str = "") -> bytes:
    """What is at `url`; FetchError when it cannot be had or has more than `limit` bytes.

    `size`, as the archive promises, and `name`, the last part of the URL if left out, are for the progress.
    """
    name = name or url.rpartition("/")[2]
    request = urllib.request.Request(url, headers={"User-Agent": "avmm"})
    progress.begin(name, size)
    data = bytearray()
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as response:
            while chunk := response.read(_CHUNK):
                data += chunk
                if len(data) > limit:
                    raise FetchError(f"{url}: has more than the {limit} bytes it should have")
                progress.advance(len(chunk))
    except urllib.error.HTTPError as error:
        raise FetchError(f"{url}: the archive answers {error.code} {error.reason}") from None
    except urllib.error.URLError as error:
        reason = error.reason.strerror if isinstance(error.reason, OSError) and error.reason.strerror else error.reason
        raise FetchError(f"{url}: cannot be reached ({reason}): is there a network?") from None
    except (OSError, http.client.HTTPException) as error:
        raise FetchError(f"{url}: broke off after {len(data)} bytes ({str(error) or type(error).__name__})") from None
    finally:
        progress.end()
    return bytes(data)


def download_checked(url: str, progress: Progress, *, size: int, sha256: str, name: str = "") -> bytes:
    """What is at `url`, if it is what the archive says it is; FetchError otherwise."""
    data = download(url, progress, limit=size, size=size, name=name)
    if len(data) != size:
        raise FetchError(f"{url}: has {len(data)} bytes, not {size}: the download broke off, or the archive is being changed")
    if (found := hashlib.sha256(data).hexdigest()) != sha256:
        raise FetchError(f"{url}: is not what the archive says it is (SHA256 {found}, not {sha256})")
    return data


def write_whole(path: Path, data: bytes) -> None:
    """Write a file such that nobody ever sees a part of it under its name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        try:
            file.write(data)
            file.flush()
            os.fchmod(file.fileno(), 0o644)
            os.replace(file.name, path)
        except BaseException:
            os.unlink(file.name)
            raise
