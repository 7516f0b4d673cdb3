"""Mutants of the web page."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

UI = "plugins/avmm_control/ui/"
PAGES = "tests/unit/ui/"


MUTANTS = [
    Mutant(
        "a lane records without end",
        UI + "lanes.py",
        "if len(changes) >= CHANGES:",
        "if len(changes) < 0:",
        (PAGES + "test_lanes.py",),
    ),
    Mutant(
        "a full lane stays away",
        UI + "lanes.py",
        "            add_tracer(self._vcpu, self._hook)\n        elif",
        "            pass\n        elif",
        (PAGES + "test_lanes.py",),
    ),
    Mutant(
        "kicks without end",
        UI + "lanes.py",
        "                request = asked.pop(get_ident(), NO_REQUEST)\n                if len(kicks) < KICKS:",
        "                request = asked.pop(get_ident(), NO_REQUEST)\n                if True:",
        (PAGES + "test_lanes.py",),
    ),
    Mutant(
        "a kick is always the host's",
        UI + "lanes.py",
        "if vcpu is not None and vcpu.in_guest_thread():",
        "if False:",
        (PAGES + "test_lanes.py",),
    ),
    Mutant(
        "frames pile up for a page that stalls",
        UI + "page.py",
        "return not self._frame and self._sent - self._shown < FRAMES_AHEAD",
        "return True",
        (PAGES + "test_stream.py",),
    ),
    Mutant(
        "output piles up for a page that stalls",
        UI + "page.py",
        "if not self._piece and self._sent - self._shown < OUTPUT_AHEAD and self._draw():",
        "if not self._piece and self._draw():",
        (PAGES + "test_stream.py",),
    ),
    Mutant(
        "the end is told before the last of the output",
        UI + "page.py",
        "            self._over = not self._draw()",
        "            self._over = True",
        (PAGES + "test_stream.py",),
    ),
    Mutant(
        "the place of another run is believed",
        UI + "stream.py",
        'known = socket.query_params.get("session") == live.session',
        "known = True",
        (PAGES + "test_stream.py",),
    ),
    Mutant(
        "a WebSocket needs no token",
        "plugins/avmm_control/guard.py",
        '        refusal = self._refusal(scope["path"], headers)\n',
        '        refusal = self._refusal(scope["path"], headers) if scope["type"] == "http" else None\n',
        (PAGES + "test_stream.py",),
    ),
    Mutant(
        "every page has the same nonce",
        UI + "site.py",
        "nonce = secrets.token_urlsafe(16)",
        'nonce = "0" * 22',
        (PAGES + "test_site.py",),
    ),
]
