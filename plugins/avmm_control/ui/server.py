"""The control API's server with the page: its files, the door to it, and the live streams."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.websockets import WebSocket

from avmm.plugin import NotThere, SteeredVm
from avmm_control.address import TcpAddress
from avmm_control.guard import cookie_name
from avmm_control.hub import Hub
from avmm_control.server import ControlServer
from avmm_control.ui import stream
from avmm_control.ui.live import Live
from avmm_control.ui.site import PREFIX, Site
from avmm_control.ui.websocket import QuietWebSocket


class UiServer(ControlServer):
    """Serves the page and the API at one address, to those who know the token."""

    def __init__(self, address: TcpAddress, token: str) -> None:
        self._site = Site()
        self._lives: dict[str, Live] = {}
        # The page and its files hold no secret, and nobody has a cookie before the page is there to ask for one.
        super().__init__(address, token=token, further=self._routes, open_paths=self._site.paths, websockets=QuietWebSocket)

    def watch(self, vm: SteeredVm) -> None:
        """Have pages of `vm`, which is served already."""
        self._lives[vm.name] = Live(vm, self.hub.get(vm.name).console)

    async def unwatch(self, vm: SteeredVm) -> None:
        """`vm` is over: tell its pages."""
        live = self._lives.pop(vm.name, None)
        if live is not None:
            await live.end()

    def _routes(self, hub: Hub) -> Sequence[BaseRoute]:
        return (
            Route("/", self._site.page),
            Route(f"{PREFIX}login", self._login, methods=["POST"]),
            Route(f"{PREFIX}{{name:path}}", self._site.file),
            WebSocketRoute("/v1/vms/{vm}/live", self._live),
        )

    async def _login(self, request: Request) -> Response:
        """Give whoever knows the token, as the guard has seen, a cookie with it that no script can read."""
        assert self.token is not None
        response = Response(status_code=204, headers={"Cache-Control": "no-store"})
        response.set_cookie(cookie_name(request.headers), self.token, httponly=True, samesite="strict")
        return response

    async def _live(self, socket: WebSocket) -> None:
        live = self._lives.get(socket.path_params["vm"])
        if live is None:
            raise NotThere(f"there is no VM {socket.path_params['vm']}")
        await stream.serve(socket, live)
