"""The page's files: the policy they come with, and that they are all of this package."""

from __future__ import annotations

import re
from importlib.resources import files

import pytest

STATIC = files("avmm_control.ui") / "static"


async def test_the_page_comes_without_a_token_and_with_a_strict_policy(serve):
    async with serve() as served, served.http(token=False) as http:
        page, again = await http.get("/"), await http.get("/")
        assert page.status_code == 200
        policy = dict(part.split(" ", 1) for part in page.headers["content-security-policy"].split("; "))
        assert policy["default-src"] == "'none'"
        assert policy["script-src"] == "'self'"
        assert policy["frame-ancestors"] == policy["base-uri"] == policy["form-action"] == "'none'"
        assert "unsafe-eval" not in page.headers["content-security-policy"]
        nonce = re.search(r"'nonce-([^']{20,})'", policy["style-src-elem"])
        assert nonce is not None
        assert f'nonce="{nonce[1]}"' in page.text
        assert nonce[1] not in again.text, "each page has its own"
        assert page.headers["cache-control"] == "no-store"


async def test_a_file_is_fetched_once(serve):
    async with serve() as served, served.http(token=False) as http:
        first = await http.get("/ui/main.js")
        assert first.headers["content-type"].startswith("text/javascript")
        assert first.headers["x-content-type-options"] == "nosniff"
        again = await http.get("/ui/main.js", headers={"If-None-Match": first.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize("path", ["/ui/", "/ui/index.html", "/ui/../server.py", "/ui/%2e%2e/server.py", "/ui//etc/passwd"])
async def test_there_is_nothing_else(serve, path):
    async with serve() as served, served.http() as http:
        assert (await http.get(path)).status_code == 404


async def test_the_token_is_traded_for_a_cookie_that_scripts_cannot_read(serve):
    async with serve() as served:
        async with served.http(token=False) as http:
            assert (await http.get("/v1/vms")).status_code == 401
            assert (await http.post("/ui/login")).status_code == 401
            answer = await http.post("/ui/login", headers={"Authorization": f"Bearer {served.token}"})
            assert answer.status_code == 204
            cookie = answer.headers["set-cookie"].lower()
            assert "httponly" in cookie
            assert "samesite=strict" in cookie
            assert (await http.get("/v1/vms")).status_code == 200
        port = served.base.rpartition(":")[2]
        assert cookie.startswith(f"avmm_token_{port}="), "another port's cookie is another's"


def test_the_page_loads_nothing_from_elsewhere_and_runs_nothing_inline():
    page = (STATIC / "index.html").read_text()
    assert re.findall(r'(?:src|href)="(?!/ui/|#)[^"]*"', page) == []
    assert re.findall(r"<script(?![^>]*src=)|<style|\son\w+=|\sstyle=", page) == []
    for name in ("main.js", "dom.js", "lanes.js", "console.js"):
        assert not re.search(r"innerHTML|insertAdjacentHTML|document\.write|eval\(", (STATIC / name).read_text())
