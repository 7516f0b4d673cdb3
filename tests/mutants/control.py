"""Mutants of the control API: who may, and how much."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

CONTROL = "tests/unit/control/"
GUARD = "plugins/avmm_control/guard.py"
SOCKETS = "plugins/avmm_control/sockets.py"


MUTANTS = [
    Mutant(
        "any Host will do",
        GUARD,
        'if not self._host_is_ours(headers.getlist("host")):',
        "if False:",
        (CONTROL + "test_security.py",),
    ),
    Mutant(
        "pages of any origin may ask",
        GUARD,
        "if not is_open and not _same_origin(headers):",
        "if False:",
        (CONTROL + "test_security.py",),
    ),
    Mutant(
        "the beginning of the token will do",
        GUARD,
        'return hmac.compare_digest(token.strip().encode("latin-1", "replace"), self._token)',
        'return self._token.startswith(token.strip().encode("latin-1", "replace"))',
        (CONTROL + "test_security.py",),
    ),
    Mutant(
        "a body may grow on the way", GUARD, "if received > limits.body_bytes:", "if False:", (CONTROL + "test_bad_input.py",)
    ),
    Mutant(
        "a body may take for ever",
        GUARD,
        "asyncio.timeout(limits.request_s)",
        "asyncio.timeout(None)",
        (CONTROL + "test_bad_input.py",),
    ),
    Mutant(
        "a client that does not read is kept",
        "plugins/avmm_control/protocol.py",
        "        self._stalled = self.loop.call_later(self.limits.stalled_s, self.transport.abort)\n",
        "",
        (CONTROL + "test_bad_input.py::test_a_client_that_does_not_take_its_answer_is_cut_off",),
    ),
    Mutant("others may connect", SOCKETS, "path.chmod(0o600)", "path.chmod(0o666)", (CONTROL + "test_security.py",)),
    Mutant(
        "a socket in use is taken over", SOCKETS, "    if answers(path):\n", "    if False:\n", (CONTROL + "test_listening.py",)
    ),
    Mutant(
        "a runtime directory may be open to others",
        "plugins/avmm_control/address.py",
        " and not found.st_mode & 0o077",
        "",
        (CONTROL + "test_security.py",),
    ),
    Mutant(
        "TCP needs no token",
        "plugins/avmm_control/server.py",
        "if isinstance(address, TcpAddress) and token is None:",
        "if False:",
        (CONTROL + "test_security.py",),
    ),
    Mutant(
        "events that are lost are not counted",
        "plugins/avmm_control/ring.py",
        "return new, new[-1][0] - number - len(new) if new else 0",
        "return new, 0",
        (CONTROL + "test_streams.py",),
    ),
]
