"""Pages on request: in the format and encoding the client likes, and one for all who ask at the same time."""

from __future__ import annotations

import threading
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import choose_encoder

from avmm_prometheus.collector import VmCollector

SLICE_S = 0.001
"""For how long a page is made without a break. The event loop waits no longer than that for the interpreter."""
BREAK_S = 50e-6
"""How long the break is: whoever waits for the interpreter has it by then."""
_GZIP = 16 + zlib.MAX_WBITS
_END = "# EOF\n"


@dataclass(frozen=True, slots=True)
class Form:
    """How a page is written."""

    content_type: str
    gzip: bool

    @property
    def openmetrics(self) -> bool:
        return self.content_type.startswith("application/openmetrics-text")


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
        encode, content_type = choose_encoder(accept)
        form = Form(content_type, _accepts_gzip(accept_encoding))
        with self._lock:
            begun_before = self._begun
            self._asking += 1
        try:
            with self._turn:
                page = self._shared.get(form)
                if page is None or page.number <= begun_before:
                    with self._lock:
                        self._begun = number = self._begun + 1
                    page = self._shared[form] = _Page(number, self._make(form, encode))
                return form, page.body
        finally:
            with self._lock:
                self._asking -= 1
                if not self._asking:
                    self._shared = {}  # megabytes, perhaps

    def _make(self, form: Form, encode: Callable[[CollectorRegistry], bytes]) -> bytes:
        pieces = self._pieces(form, encode)
        if not form.gzip:
            return b"".join(pieces)
        packer = zlib.compressobj(1, wbits=_GZIP)
        return b"".join((*map(packer.compress, pieces), packer.flush()))

    def _pieces(self, form: Form, encode: Callable[[CollectorRegistry], bytes]) -> Iterator[bytes]:
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


def _accepts_gzip(accept_encoding: str) -> bool:
    """True unless gzip is not named, or named with a weight of 0 (RFC 9110, 12.5.3)."""
    for coding in accept_encoding.split(","):
        name, _, parameters = coding.partition(";")
        if name.strip().lower() == "gzip":
            weight = parameters.strip().lower().removeprefix("q=")
            return not weight or weight.strip("0.") != ""
    return False
