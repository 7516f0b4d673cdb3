"""The HTTP endpoint: one for each address of the process, whatever the number of VMs behind it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterable
from contextlib import suppress
from socketserver import TCPServer, ThreadingMixIn
from typing import TYPE_CHECKING
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from avmm.plugin import ConfigError, ObservedVm, get_logger
from avmm_prometheus.collector import VmCollector
from avmm_prometheus.metric import Watched
from avmm_prometheus.pages import Pages

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

Connection = socket.socket | tuple[bytes, socket.socket]
"""What socketserver calls a request; always a socket here."""

log = get_logger()

PATH = "/metrics"
CONNECTIONS = 256
"""How many connections are served at once; a further one is told 503 and closed."""
IDLE_S = 10
"""How long a connection may keep silent, in seconds."""
RETRY_S = 0.1
"""How long to leave a connection waiting that cannot be accepted (the process has no descriptor left), in seconds."""
_TOO_MANY = b"HTTP/1.0 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n"


class _Handler(WSGIRequestHandler):
    timeout = IDLE_S

    def log_message(self, format: str, *args: object) -> None:
        """A scrape is not worth a line."""


class _Server(ThreadingMixIn, WSGIServer):
    """A thread for the listener and one for each connection; nothing of it runs on an event loop."""

    daemon_threads = False  # so that server_close() waits for them
    request_queue_size = CONNECTIONS

    def __init__(self, family: socket.AddressFamily, address: tuple[str, int], application: WSGIApplication) -> None:
        self.address_family = family
        self._open: set[Connection] = set()
        self._closing = threading.Event()
        super().__init__(address, _Handler)
        self.set_app(application)
        self._thread = threading.Thread(target=self._serve, name=f"metrics-{self.server_port}", daemon=True)
        self._thread.start()

    def server_bind(self) -> None:
        """As the base class does, but without asking the name service for our own name."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]
        self.setup_environ()

    def _serve(self) -> None:
        while not self._closing.is_set():
            self.handle_request()

    def get_request(self) -> tuple[socket.socket, object]:
        try:
            return super().get_request()
        except OSError:
            self._closing.wait(RETRY_S)
            raise

    def verify_request(self, request: Connection, client_address: object) -> bool:
        if len(self._open) < CONNECTIONS:
            return True
        if isinstance(request, socket.socket):
            with suppress(OSError):  # it is gone, or will not listen: this thread waits for nobody
                request.send(_TOO_MANY, socket.MSG_DONTWAIT)
                request.recv(1 << 16, socket.MSG_DONTWAIT)  # unread bytes would have the answer thrown away
        return False

    def process_request(self, request: Connection, client_address: object) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Connection) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Connection, client_address: object) -> None:
        """A client that went away or kept silent is nobody's concern."""

    def close(self) -> None:
        """Stop listening, cut the connections, and wait for every thread. Blocks while a page is being made."""
        self._closing.set()
        self.socket.shutdown(socket.SHUT_RDWR)  # wakes the listener's thread
        self._thread.join()
        for connection in tuple(self._open):
            if isinstance(connection, socket.socket):
                with suppress(OSError):  # gone by itself
                    connection.shutdown(socket.SHUT_RDWR)
        self.server_close()


class Endpoint:
    """Metrics of some VMs at one address."""

    def __init__(self, host: str, port: int) -> None:
        """Listen; ConfigError when that cannot be. Port 0 takes any that is free."""
        self.collector = VmCollector()
        try:
            found = socket.getaddrinfo(host or "0.0.0.0", port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            family, _, _, _, (number, *_) = found[0]
            self._server = _Server(family, (str(number), port), _application(Pages(self.collector)))
        except OSError as error:
            raise ConfigError(f"cannot serve at {shown(host, port)}: {error.strerror or error}", key="metrics") from None
        self.address = shown(self._server.server_name, self._server.server_port)
        """Where it really listens, as HOST:PORT."""

    def close(self) -> None:
        """Stop serving. Blocks for a moment."""
        self._server.close()


_endpoints: dict[tuple[str, int], Endpoint] = {}
_lock = threading.Lock()
"""Guards `_endpoints`, and holds back whoever joins an endpoint that is being opened or closed."""


def join(host: str, port: int, vm: ObservedVm) -> tuple[Endpoint, Watched]:
    """Have `vm` served at an address, together with the VMs that are already there. May block: not on an event loop."""
    with _lock:
        endpoint = _endpoints.get((host, port)) or Endpoint(host, port)
        watched = endpoint.collector.add(vm)
        _endpoints[host, port] = endpoint
        return endpoint, watched


def leave(host: str, port: int, vm: ObservedVm) -> None:
    """Have `vm` served no more; the last to leave closes the endpoint. May block: not on an event loop."""
    with _lock:
        endpoint = _endpoints.get((host, port))
        if endpoint is not None and not endpoint.collector.remove(vm):
            del _endpoints[host, port]
            endpoint.close()


def shown(host: str, port: int) -> str:
    """An address as one writes it."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _application(pages: Pages) -> WSGIApplication:
    """The page at /metrics, and nothing elsewhere."""

    def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if environ.get("PATH_INFO") != PATH:
            return _refuse(start_response, "404 Not Found", f"metrics are at {PATH}")
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            return _refuse(start_response, "405 Method Not Allowed", "metrics are read with GET", ("Allow", "GET, HEAD"))
        try:
            form, body = pages.get(environ.get("HTTP_ACCEPT", ""), environ.get("HTTP_ACCEPT_ENCODING", ""))
        except Exception as error:  # noqa: BLE001 - the task boundary: a page that fails must not end with a traceback at every scrape
            log.error("page failed", error=f"{type(error).__name__}: {error}")
            return _refuse(start_response, "500 Internal Server Error", "the page could not be made; the log says why")
        headers = [("Content-Type", form.content_type), ("Content-Length", str(len(body)))]
        if form.gzip:
            headers.append(("Content-Encoding", "gzip"))
        start_response("200 OK", headers)
        return [body] if environ["REQUEST_METHOD"] == "GET" else []

    return application


def _refuse(start_response: StartResponse, status: str, why: str, *headers: tuple[str, str]) -> Iterable[bytes]:
    start_response(status, [("Content-Type", "text/plain; charset=utf-8"), *headers])
    return [f"{why}\n".encode()]
