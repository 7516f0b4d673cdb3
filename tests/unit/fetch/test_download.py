"""Downloads that go wrong are one clear line."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from avmm.errors import FetchError
from avmm.fetch.download import download, download_checked, write_whole
from tests.unit.fetch.mirror import Told


class Handler(BaseHTTPRequestHandler):
    """/short promises more than it sends; anything else is not there."""

    def do_GET(self) -> None:
        if self.path != "/short":
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", "100")
        self.end_headers()
        self.wfile.write(b"half")

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def server() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def refused(url: str) -> str:
    told = Told()
    with pytest.raises(FetchError) as caught:
        download_checked(url, told, size=100, sha256="0" * 64)
    assert told.open == 0
    (line,) = str(caught.value).splitlines()
    return line.removeprefix(url)


def test_what_is_not_there(server: str) -> None:
    assert refused(f"{server}/nothing") == ": the archive answers 404 Not Found"


def test_what_breaks_off(server: str) -> None:
    assert refused(f"{server}/short").startswith(": has 4 bytes, not 100: the download broke off")


def test_no_network() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/x"
        assert refused(url) == ": cannot be reached (Connection refused): is there a network?"


def test_no_such_host() -> None:
    assert "is there a network?" in refused("http://no-such-host.invalid/x")


def test_no_such_file(tmp_path: Path) -> None:
    assert "No such file or directory" in refused((tmp_path / "x").as_uri())


def test_more_than_there_may_be(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(bytes(10))
    assert download((tmp_path / "x").as_uri(), Told(), limit=10) == bytes(10)
    with pytest.raises(FetchError, match="has more than the 9 bytes it should have"):
        download((tmp_path / "x").as_uri(), Told(), limit=9)


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    write_whole(tmp_path / "new" / "x", b"1")
    write_whole(tmp_path / "new" / "x", b"2")
    assert [(path.name, path.read_bytes(), path.stat().st_mode & 0o777) for path in (tmp_path / "new").iterdir()] == [
        ("x", b"2", 0o644)
    ]
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError):
        write_whole(tmp_path / "folder", b"3")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "new"]
