"""uvicorn's HTTP/1.1 connection, with a limit to how many there are and to how long a request takes to begin."""

from __future__ import annotations

import asyncio
import logging

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from avmm_control.limits import Limits
from avmm_control.problem import MEDIA_TYPE, describe

QUIET = logging.getLogger("avmm.control.http")
QUIET.setLevel(logging.CRITICAL + 1)  # what a client does wrong is told to the client
QUIET.propagate = False


class LimitedProtocol(H11Protocol):
    """One connection."""

    limits: Limits

    _deadline: asyncio.TimerHandle | None = None
    _stalled: asyncio.TimerHandle | None = None
    _upgraded = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.logger = self.access_logger = QUIET
        self.access_log = False
        if len(self.connections) > self.limits.clients:
            transport.abort()
        else:
            self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        self._upgraded = True
        super().handle_websocket_upgrade(event)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._watch()

    def send_400_response(self, msg: str) -> None:
        """Not a request at all, or one whose headers are too large."""
        body = describe(400, "not an HTTP request, or its headers are too large").model_dump_json().encode()
        headers = [("Content-Type", MEDIA_TYPE), ("Content-Length", str(len(body))), ("Connection", "close")]
        for event in (h11.Response(status_code=400, headers=headers), h11.Data(data=body), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._unwatch()
        self._flows()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stalled = self.loop.call_later(self.limits.stalled_s, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._flows()

    def _flows(self) -> None:
        """The client reads again, or is gone."""
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

    def _watch(self) -> None:
        """Wait for the next request, headers and all; not while one is answered."""
        answering = self.conn.our_state is h11.SEND_RESPONSE or self.conn.our_state is h11.SEND_BODY
        if answering or self._upgraded:
            self._unwatch()
        elif self._deadline is None:
            self._deadline = self.loop.call_later(self.limits.request_s, self.transport.abort)

    def _unwatch(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


def limited_protocol(limits: Limits) -> type[H11Protocol]:
    """The protocol class of a server with `limits`."""
    return type("LimitedProtocol", (LimitedProtocol,), {"limits": limits})
