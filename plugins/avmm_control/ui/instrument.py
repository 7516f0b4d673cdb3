"""The instrument behind `--ui`: the control API with the page, on TCP, for whoever knows the token."""

from __future__ import annotations

import secrets

from avmm.plugin import ConfigError, SteeredVm, get_logger, parse_endpoint
from avmm_control.address import TcpAddress, split_setting
from avmm_control.token import read_token

TOKEN_BYTES = 24
"""Of a token that is made here: 192 bits."""

log = get_logger()


class UiInstrument:
    """Serves the page for the VMs it is given."""

    def __init__(self, setting: str) -> None:
        address, self._token_file = split_setting(setting)
        try:
            self._address = TcpAddress(*parse_endpoint(address))
        except ValueError as error:
            raise ConfigError(str(error), key="ui") from None
        self._joined: dict[str, object] = {}
        self.url = ""
        """Where the page is; empty before `start`. Holds the token when that was made here."""

    async def start(self, vm: SteeredVm) -> None:
        """Serve the page for `vm` from now on; ConfigError when the address cannot be had, or the token will not do."""
        try:
            import websockets  # noqa: F401 - uvicorn's, looked for before it is missed

            from avmm_control import server
            from avmm_control.ui.server import UiServer
        except ImportError as error:
            raise ConfigError(f"needs {error.name}: pip install 'avmm[ui]'", key="ui") from None
        given = read_token(self._token_file)
        present = server.present(self._address)
        if present is not None and not isinstance(present, UiServer):
            raise ConfigError(f"the control API without the page is at {self._address}: --ui serves both", key="ui")
        token = given or (present and present.token) or secrets.token_urlsafe(TOKEN_BYTES)
        try:
            joined = await server.join(vm, UiServer(self._address, token))
        except ConfigError as error:
            raise ConfigError(error.message, key="ui") from None
        assert isinstance(joined, UiServer)
        self._joined[vm.name] = joined
        joined.watch(vm)
        assert isinstance(joined.address, TcpAddress)
        shown = TcpAddress(_ANYWHERE.get(joined.address.host, joined.address.host), joined.address.port)
        self.url = f"http://{shown}/" + ("" if given else f"#token={joined.token}")
        vm.notices.append(f"web page at {self.url}" + (", for whoever knows the token" if given else ""))
        log.info("page served", vm=vm.name, address=str(joined.address))

    async def stop(self, vm: SteeredVm) -> None:
        """Tell the pages that `vm` is over, and serve it no more; the last VM's end closes the server."""
        from avmm_control import server
        from avmm_control.ui.server import UiServer

        joined = self._joined.pop(vm.name, None)
        if isinstance(joined, UiServer):
            try:
                await joined.unwatch(vm)
            finally:
                await server.leave(vm, joined)


_ANYWHERE = {"": "localhost", "0.0.0.0": "127.0.0.1", "::": "::1"}
"""Where one's own machine is reached when it listens on all its interfaces."""


def create_instrument(setting: str) -> UiInstrument:
    """The instrument for `ui = "HOST:PORT"`, with `,token-file=FILE` behind it if need be; port 0 is any that is free."""
    return UiInstrument(setting)
