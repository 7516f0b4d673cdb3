"""Pages on request: in the format and encoding the client likes, and one for all who ask at the same time."""

from __future__ import annotations

import threading
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.openmetrics import exposition as openmetrics

from avmm_prometheus.collector import VmCollector
from avmm_prometheus.negotiation import Form, choose

SLICE_S = 0.001
"""For how long a page is made without a break. The event loop waits no longer than that for the interpreter."""
BREAK_S = 50e-6
"""How long the break is: whoever waits for the interpreter has it by then."""
_GZIP = 16 + zlib.MAX_WBITS
_END = "# EOF\n"


@dataclass(frozen=True, slots=True)
class _Page:
    number: int
    """The how manieth page it is."""
    body: bytes


class Pages:
    """Makes one page at a time. Whoever asks while others wait shares a page that was begun after the asking. Any thread."""

    def __init__(self, collector: VmCollector) -> None:
        self._collector = collector
        self._process = CollectorRegistry(auto_describe=False)
        ProcessCollector(registry=self._process)
        self._lock = threading.Lock()  # guards the next three
        self._begun = 0
        self._asking = 0
        self._shared: dict[Form, _Page] = {}
        self._turn = threading.Lock()  # held while a page is made

    def get(self, accept: str, accept_encoding: str) -> tuple[Form, bytes]:
        """The page as the HTTP headers of these names want it."""
        form = choose(accept, accept_encoding)
        with self._lock:
            begun_before = self._begun
            self._asking += 1
        try:
            with self._turn:
                page = self._shared.get(form)
                if page is None or page.number <= begun_before:
                    with self._lock:
                        self._begun = number = self._begun + 1
                    page = self._shared[form] = _Page(number, self._make(form))
                return form, page.body
        finally:
            with self._lock:
                self._asking -= 1
                if not self._asking:
                    self._shared = {}  # megabytes, perhaps

    def _make(self, form: Form) -> bytes:
        pieces = self._pieces(form)
        if not form.gzip:
            return b"".join(pieces)
        packer = zlib.compressobj(1, wbits=_GZIP)
        return b"".join((*map(packer.compress, pieces), packer.flush()))

    def _pieces(self, form: Form) -> Iterator[bytes]:
        encode = openmetrics.generate_latest if form.openmetrics else generate_latest
        yield encode(self._process).removesuffix(_END.encode())
        for lines in self._collector.lines(openmetrics=form.openmetrics, breathe=_Breath()):
            yield lines.encode()
        if form.openmetrics:
            yield _END.encode()


class _Breath:
    """Lets others have the interpreter every `SLICE_S`: Python by itself would keep them waiting for five times as long."""

    def __init__(self) -> None:
        self._since = time.perf_counter()

    def __call__(self) -> None:
        if time.perf_counter() - self._since >= SLICE_S:
            time.sleep(BREAK_S)
            self._since = time.perf_counter()
