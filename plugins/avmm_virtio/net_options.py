"""A network device as a table of a machine's description: `[devices.NAME]` with `kind = "virtio-net"`."""

from __future__ import annotations

import os
import re

from avmm.plugin import Device, DeviceOptions, DeviceTable
from avmm_virtio.mmio import VirtioMmio
from avmm_virtio.net import VirtioNet
from avmm_virtio.netdev import Netdev, NoNetdev
from avmm_virtio.one_peer import StreamClient, StreamServer
from avmm_virtio.passt import PasstNetdev, find_passt
from avmm_virtio.sockets import listen, parse_address
from avmm_virtio.stream import StreamNetdev
from avmm_virtio.switch import Switch
from avmm_virtio.tap import TapNetdev, open_tap

_KEYS = ("net", "mac", "mtu", "link", "reconnect", "tcp", "udp", "passt_arguments")
_SPECS = "passt, stream:ADDRESS, listen:ADDRESS, tap:NAME or none"
_MTU_MIN, _MTU_MAX = 68, 65535


def create_net(options: DeviceOptions) -> Device:
    """The factory behind the name `virtio-net`; ConfigError names the key that is wrong.

    `net`: `passt`, `stream:unix:PATH`, `stream:tcp:HOST:PORT`, `listen:...` likewise, `tap:NAME`, `none`; or, in Python, a
    `Switch` or a `Netdev`. `mac`: six hexadecimal bytes, made up at every start when left out. `mtu`: 68 to 65535. `link` (true):
    the cable is in. `reconnect` (1): seconds until a stream's client tries again, 0 for never. `tcp`, `udp`: ports that passt
    forwards to the guest, as its own options have them. `passt_arguments`: further arguments of passt's.
    """
    table = _Table(options)
    netdev = table.netdev()
    mtu = table.integer("mtu", _MTU_MIN, _MTU_MAX)
    link = table.flag("link", default=True)
    card = VirtioNet(netdev, table.mac(), mtu=netdev.mtu if mtu is None else mtu, link=link)
    return VirtioMmio(card, options)


class _Table(DeviceTable):
    """The options of one network card."""

    def __init__(self, options: DeviceOptions) -> None:
        super().__init__(options, "virtio-net", _KEYS)

    def netdev(self) -> Netdev:
        """The backend that `net` asks for."""
        match net := self.values.get("net"):
            case Netdev():
                return net
            case Switch():
                return net.port(self.name)
            case str():
                kind, _, rest = net.partition(":")
                for key, owner in (("reconnect", "stream"), ("tcp", "passt"), ("udp", "passt"), ("passt_arguments", "passt")):
                    if key in self.values and kind != owner:
                        raise self.error(key, f'is a setting of net = "{owner}"')
                return self._by_name(net, kind, rest)
            case None:
                raise self.error("net", f"missing: {_SPECS}")
            case _:
                raise self.is_not("net", net, _SPECS)

    def _by_name(self, net: str, kind: str, rest: str) -> Netdev:
        match kind:
            case "none" if not rest:
                return NoNetdev()
            case "passt" if not rest:
                return self._passt()
            case "stream" | "listen":
                return self._stream(kind, rest)
            case "tap":
                return self._tap(rest)
            case _:
                raise self.is_not("net", net, _SPECS)

    def _passt(self) -> Netdev:
        arguments = [*self.texts("passt_arguments")]
        for key, option in (("tcp", "--tcp-ports"), ("udp", "--udp-ports")):
            if ports := self.texts(key):
                arguments += (option, ",".join(ports))
        program = find_passt()
        if program is None:
            raise self.error("net", "passt is not installed: see https://passt.top, or install your distribution's package passt")
        return PasstNetdev(self.name, program, arguments)

    def _stream(self, kind: str, rest: str) -> Netdev:
        try:
            address = parse_address(rest)
        except ValueError as error:
            raise self.error("net", str(error)) from None
        if kind == "stream":
            return StreamNetdev(self.name, StreamClient(address, reconnect_s=self.seconds("reconnect", 1.0)))
        try:
            return StreamNetdev(self.name, StreamServer(listen(address)))
        except OSError as error:
            raise self.error("net", f"cannot listen at {address}: {error.strerror or error}") from None

    def _tap(self, name: str) -> Netdev:
        if not re.fullmatch(r"[!-.0-~]{1,15}", name):
            raise self.is_not("net", name, "an interface's name: 1 to 15 characters")
        try:
            return TapNetdev(self.name, open_tap(name))
        except OSError as error:
            raise self.error("net", f"no TAP interface {name}: {error.strerror or error}") from None

    def mac(self) -> bytes:
        """The address given, or a locally administered one made up: two machines of one network must not have the same."""
        given = self.values.get("mac")
        if given is None:
            return bytes((0x02, *os.urandom(5)))
        if not isinstance(given, str) or not re.fullmatch(r"([0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2}", given):
            raise self.is_not("mac", given, "six bytes like 02:00:00:00:00:01")
        mac = bytes.fromhex(given.replace(":", ""))
        if mac[0] & 1 or not any(mac):
            raise self.error("mac", f"{given} is the address of a group or of nobody")
        return mac
