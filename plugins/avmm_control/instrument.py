"""The instrument: joins a VM to its control server and takes it away again."""

from __future__ import annotations

from avmm.plugin import ConfigError, SteeredVm, get_logger
from avmm_control.address import Address, TcpAddress, parse_address, split_setting
from avmm_control.token import read_token

log = get_logger()


class ControlInstrument:
    """Serves the control API for the VMs it is given."""

    def __init__(self, setting: str) -> None:
        self._setting, self._token_file = split_setting(setting)
        self._joined: dict[str, object] = {}
        self.address: Address | None = None
        """Where it really listens; None before `start`. Tells the port that 0 came to."""

    async def start(self, vm: SteeredVm) -> None:
        """Serve `vm` from now on; ConfigError when the address cannot be had, or the token will not do."""
        try:
            from avmm_control import server
        except ImportError as error:
            raise ConfigError(f"needs {error.name}: pip install 'avmm[control]'", key="control") from None
        address = parse_address(self._setting, vm.name)
        # The environment's token is for those who come over the network; a socket of the owner's own needs none.
        token = read_token(self._token_file) if self._token_file is not None or isinstance(address, TcpAddress) else None
        joined = await server.join(vm, server.ControlServer(address, token=token))
        self._joined[vm.name] = joined
        self.address = joined.address
        log.info("control served", vm=vm.name, address=str(joined.address))

    async def stop(self, vm: SteeredVm) -> None:
        """Serve `vm` no more; the last VM's end closes the server."""
        from avmm_control import server

        joined = self._joined.pop(vm.name, None)
        if isinstance(joined, server.ControlServer):
            await server.leave(vm, joined)


def create_instrument(setting: str) -> ControlInstrument:
    """The instrument for `control = "PATH"`, `"HOST:PORT"` or `"auto"`, each with `,token-file=FILE` behind it if need be."""
    return ControlInstrument(setting)
