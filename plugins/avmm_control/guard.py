"""What every request must pass before it reaches the API: the Host and Origin headers, the rate, the token, the size."""

from __future__ import annotations

import asyncio
import hmac
import re
from collections.abc import Callable
from http.cookies import CookieError, SimpleCookie
from ipaddress import ip_address
from math import ceil

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from avmm.plugin import get_logger
from avmm_control.limits import Bucket, Limits
from avmm_control.problem import problem

COOKIE = "avmm_token"
"""The cookie that may hold the token, for pages that cannot set a header; the port follows (see `cookie_name`)."""
BEARER = "bearer "
_CLOSE = {"Connection": "close"}

log = get_logger()


class Guard:
    """The outermost ASGI application. Refuses with one line; what fails behind it is told in the log, not to the client."""

    def __init__(
        self,
        application: ASGIApp,
        limits: Limits,
        *,
        token: str | None,
        host: str | None,
        is_open: Callable[[str], bool] = lambda path: False,
    ) -> None:
        """`token`: what clients must know, None for whoever can connect. `host`: the host name of a TCP address; None for a
        Unix socket, which no browser reaches. `is_open(path)`: what is there for those too who do not know the token."""
        self._application, self._limits, self._is_open = application, limits, is_open
        self._token = None if token is None else token.encode()
        self._host = None if host is None else host.lower()
        self._bucket = Bucket(limits.requests_per_s, limits.burst)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            return
        headers = Headers(scope=scope)
        refusal = self._refusal(scope["path"], headers)
        if refusal is not None:
            status, detail, further = refusal
            await problem(status, detail, further)(scope, receive, send)
            return
        await self._pass(scope, self._limited(receive, headers) if scope["type"] == "http" else receive, send)

    def _refusal(self, path: str, headers: Headers) -> tuple[int, str, dict[str, str]] | None:
        """Why the request goes no further, or None."""
        if not self._host_is_ours(headers.getlist("host")):
            return 421, "the Host header names another host", {}
        is_open = self._is_open(path)
        if not is_open and not _same_origin(headers):
            return 403, "the request comes from a page of another origin", {}
        wait_s = self._bucket.take()
        if wait_s:
            return 429, "too many requests", {"Retry-After": str(ceil(wait_s))}
        if self._token is not None and not is_open and not self._knows_token(headers):
            return 401, "the token is missing or wrong", {"WWW-Authenticate": 'Bearer realm="avmm"'}
        length = headers.get("content-length", "0")
        if not length.isdigit() or int(length) > self._limits.body_bytes:
            return 413, f"a body has at most {self._limits.body_bytes} bytes", _CLOSE
        return None

    def _host_is_ours(self, hosts: list[str]) -> bool:
        """A name that somebody else's name service may give our address (DNS rebinding) is not ours; an address is."""
        if self._host is None:
            return True
        if len(hosts) != 1:
            return False
        host = _host_name(hosts[0])
        if host in ("localhost", self._host):
            return True
        try:
            ip_address(host)
        except ValueError:
            return False
        return True

    def _knows_token(self, headers: Headers) -> bool:
        given = headers.get("authorization", "")
        token = given[len(BEARER) :] if given[: len(BEARER)].lower() == BEARER else _cookie(headers)
        assert self._token is not None
        return hmac.compare_digest(token.strip().encode("latin-1", "replace"), self._token)

    def _limited(self, receive: Receive, headers: Headers) -> Receive:
        """`receive`, but for a body that is too large or too slow."""
        limits = self._limits
        received, complete = 0, "content-length" not in headers and "transfer-encoding" not in headers

        async def limited() -> Message:
            nonlocal received, complete
            if complete:
                return await receive()
            try:
                async with asyncio.timeout(limits.request_s):
                    message = await receive()
            except TimeoutError:
                raise HTTPException(408, "the request did not arrive in time", _CLOSE) from None
            received += len(message.get("body", b""))
            complete = not message.get("more_body", False)
            if received > limits.body_bytes:
                raise HTTPException(413, f"a body has at most {limits.body_bytes} bytes", _CLOSE)
            return message

        return limited

    async def _pass(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = False

        async def watched(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._application(scope, receive, watched)
        except Exception as error:  # noqa: BLE001 - the task boundary: a client must not end the VM, nor see its inside
            log.error("control request failed", path=scope["path"], error=f"{type(error).__name__}: {error}")
            if not begun:
                await problem(500, "the request failed; the log says why", _CLOSE)(scope, receive, send)


def _host_name(host: str) -> str:
    """The host of a Host header, without port and brackets."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower()


def _same_origin(headers: Headers) -> bool:
    """False for a request that a page of another origin made."""
    if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        return False
    origin = headers.get("origin")
    return origin is None or origin.partition("://")[2].lower() == headers.get("host", "").lower()


def cookie_name(headers: Headers) -> str:
    """The name of the cookie for whoever is reached by that Host header: browsers give cookies to every port of a host."""
    port = re.search(r":([0-9]+)$", headers.get("host", ""), re.ASCII)
    return COOKIE if port is None else f"{COOKIE}_{port[1]}"


def _cookie(headers: Headers) -> str:
    try:
        cookies = SimpleCookie(headers.get("cookie", ""))
    except CookieError:
        return ""
    name = cookie_name(headers)
    return cookies[name].value if name in cookies else ""
