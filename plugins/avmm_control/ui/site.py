"""The page's own files. Everything comes from this package; the page may load nothing from elsewhere, and run nothing inline."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable

from starlette.requests import Request
from starlette.responses import Response

PREFIX = "/ui/"
"""Where the files are, but for the page itself, which is at /."""
_TYPES = {
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "mjs": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
    "txt": "text/plain; charset=utf-8",
}
_NONCE = b"{nonce}"
_HEADERS = {
    "Cache-Control": "no-cache",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def policy(nonce: str) -> str:
    """The page's content security policy.

    The terminal makes style sheets, which get the nonce, and gives cells of true colour a style attribute; neither runs anything.
    """
    return "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'",
            f"style-src-elem 'self' 'nonce-{nonce}'",
            "style-src-attr 'unsafe-inline'",
            "img-src 'self'",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        )
    )


@dataclass(frozen=True, slots=True)
class _File:
    content: bytes
    type: str
    tag: str


class Site:
    """The files, read once."""

    def __init__(self) -> None:
        folder = files(__package__) / "static"
        self._page = (folder / "index.html").read_bytes()
        self._files = {name: _read(file) for name, file in _walk(folder) if name != "index.html"}
        self.paths = frozenset({"/", *(PREFIX + name for name in self._files)})
        """Where the page and its files are."""

    async def page(self, request: Request) -> Response:
        """The page, at /."""
        nonce = secrets.token_urlsafe(16)
        headers = {**_HEADERS, "Cache-Control": "no-store", "Content-Security-Policy": policy(nonce)}
        return Response(self._page.replace(_NONCE, nonce.encode()), headers=headers, media_type="text/html")

    async def file(self, request: Request) -> Response:
        """One of its files."""
        file = self._files.get(request.path_params["name"])
        if file is None:
            return Response("no such file\n", 404, _HEADERS, "text/plain")
        headers = {**_HEADERS, "ETag": file.tag}
        if file.tag in request.headers.get("if-none-match", ""):
            return Response(None, 304, headers)
        return Response(file.content, 200, headers, file.type)


def _walk(folder: Traversable, prefix: str = "") -> list[tuple[str, Traversable]]:
    """All files below `folder`, by their names relative to it."""
    found = []
    for entry in folder.iterdir():
        name = prefix + entry.name
        found += _walk(entry, f"{name}/") if entry.is_dir() else [(name, entry)]
    return found


def _read(file: Traversable) -> _File:
    content = file.read_bytes()
    return _File(content, _TYPES[file.name.rpartition(".")[2]], f'"{hashlib.sha256(content).hexdigest()[:20]}"')
