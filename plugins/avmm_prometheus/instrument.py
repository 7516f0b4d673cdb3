"""The instrument: joins a VM to its endpoint and takes it away again."""

from __future__ import annotations

import asyncio

from avmm.plugin import ConfigError, ObservedVm, get_logger, parse_endpoint
from avmm_prometheus import endpoint
from avmm_prometheus.elsewhere import elsewhere
from avmm_prometheus.endpoint import PATH
from avmm_prometheus.probe import Probe

log = get_logger()


class PrometheusInstrument:
    """Serves the metrics of the VMs it watches at http://ADDRESS/metrics."""

    def __init__(self, setting: str) -> None:
        try:
            self._host, self._port = parse_endpoint(setting)
        except ValueError as error:
            raise ConfigError(str(error), key="metrics") from None
        self._probes: dict[str, Probe] = {}
        self.address = ""
        """Where it really listens, as HOST:PORT; empty until `start`. Tells the port that 0 came to."""

    async def start(self, vm: ObservedVm) -> None:
        """Serve `vm`'s metrics from now on; ConfigError when the address cannot be had or holds a VM of that name."""
        try:
            joined, watched = await elsewhere(lambda: endpoint.join(self._host, self._port, vm))
        except asyncio.CancelledError:
            # By now it has joined, and nobody will stop what was never seen to start.
            endpoint.leave(self._host, self._port, vm)
            raise
        self.address = joined.address
        self._probes[vm.name] = Probe(watched)
        log.info("metrics served", vm=vm.name, url=f"http://{self.address}{PATH}")

    async def stop(self, vm: ObservedVm) -> None:
        """Serve `vm`'s metrics no more; returns once no scrape reads it. The last VM's end closes the endpoint."""
        if vm.name in self._probes:
            self._probes.pop(vm.name).stop()
        await elsewhere(lambda: endpoint.leave(self._host, self._port, vm))


def create_instrument(setting: str) -> PrometheusInstrument:
    """The instrument for `metrics = "HOST:PORT"`; `:PORT` is every IPv4 interface, port 0 any that is free."""
    return PrometheusInstrument(setting)
