"""Linux's virtio-net driver: HTTP through passt both ways, between two machines of one process, and between two processes."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import shutil
import socket
import subprocess
import warnings
from pathlib import Path

import pytest

import avmm
from avmm.config import DeviceConfig
from avmm_virtio import Switch, VirtioMmio, VirtioNet
from avmm_virtio.passt import find_passt
from avmm_virtio.tap import open_tap
from tests.linux.conftest import Linux

PAGE = random.Random(4).randbytes(3_000_000)
DIGEST = hashlib.sha256(PAGE).hexdigest()
RESPONSE = b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n" % len(PAGE) + PAGE


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One request, one page."""
    await reader.readuntil(b"\r\n\r\n")
    writer.write(RESPONSE)
    await writer.drain()
    writer.close()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


async def test_http_through_passt_both_ways(linux: Linux) -> None:
    if find_passt() is None:
        pytest.skip("passt is not installed")
    port = free_port()
    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server, linux.boot("--net", f"passt,tcp={port}:80") as guest:
        here = server.sockets[0].getsockname()[1]
        await guest.shell()
        assert await guest.output("cat /sys/class/net/eth0/carrier") == "1\n"
        gateway = (await guest.output("ip route | sed -n 's/^default via \\([^ ]*\\).*/\\1/p'")).strip()
        assert gateway, "DHCP gave no address"
        # passt shows the host's own loopback as the gateway.
        assert (await guest.output(f"wget -q -O /tmp/page http://{gateway}:{here}/; sha256sum </tmp/page")).split()[0] == DIGEST
        await guest.output("httpd -h /tmp -p 80")
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /page HTTP/1.0\r\n\r\n")
        head, _, body = (await asyncio.wait_for(reader.read(-1), 60)).partition(b"\r\n\r\n")
        writer.close()
        assert head.startswith(b"HTTP/1.1 200")
        assert hashlib.sha256(body).hexdigest() == DIGEST
        assert await guest.power_off() == 0


async def test_a_page_over_a_tap_interface(linux: Linux) -> None:
    name, host, here = f"avmm{os.getpid()}"[:15], "198.18.77.1", "198.18.77.2"
    if (reason := no_tap(name)) is not None:
        warnings.warn(f"NO TAP INTERFACE WAS TESTED: {reason}", stacklevel=1)
        pytest.skip(reason)
    async with linux.boot("--net", f"tap:{name}") as guest:
        await guest.shell()
        subprocess.run(["ip", "addr", "add", f"{host}/24", "dev", name], check=True)
        subprocess.run(["ip", "link", "set", name, "up"], check=True)
        async with await asyncio.start_server(serve, host, 0) as server:
            port = server.sockets[0].getsockname()[1]
            await guest.output(f"ip addr add {here}/24 dev eth0; ping -c 3 -i 0.1 {host}")
            assert (await guest.output(f"wget -q -O /tmp/page http://{host}:{port}/; sha256sum </tmp/page")).split()[0] == DIGEST
        # The interface is deleted under the card: the guest sees its cable out.
        subprocess.run(["ip", "link", "delete", name], check=True)
        await guest.output("while [ $(cat /sys/class/net/eth0/carrier) = 1 ]; do usleep 10000; done")
        assert await guest.power_off() == 0


def no_tap(name: str) -> str | None:
    """Why there can be no TAP interface here; None when there can."""
    if shutil.which("ip") is None:
        return "iproute2 is not installed"
    try:
        open_tap(name).close()
    except OSError as error:
        return f"TAP interfaces are not permitted here: {error.strerror}"
    return None


async def test_two_machines_of_one_process_through_a_switch(linux: Linux) -> None:
    lan = Switch()
    said = {"web": bytearray(), "client": bytearray()}

    def machine(name: str, run: str) -> avmm.Vm:
        config = avmm.MachineConfig(
            name=name,
            kernel=linux.kernel,
            initrd=linux.initrd,
            append=f'console=ttyAMA0 quiet run="{run}"',
            devices={"net0": DeviceConfig(kind="virtio-net", options={"net": lan})},
        )
        return avmm.Vm(config, console=said[name].extend)

    web = machine("web", "ip addr add 10.0.0.1/24 dev eth0; seq 100000 >/tmp/numbers; httpd -f -h /tmp")
    fetch = "until wget -q -O /tmp/numbers http://10.0.0.1/numbers; do sleep 1; done; sha256sum </tmp/numbers; ping -c 3 10.0.0.1"
    client = machine("client", f"ip addr add 10.0.0.2/24 dev eth0; {fetch}")
    async with web, client:
        await web.start()
        await client.start()
        async with asyncio.timeout(120):
            assert (await client.halted()).reason is avmm.HaltReason.SHUTDOWN
        await web.stop()
    text = said["client"].decode()
    print(text)  # beside a failure
    assert hashlib.sha256("".join(f"{n}\n" for n in range(1, 100_001)).encode()).hexdigest() in text
    assert "3 packets transmitted, 3 packets received" in text
    for vm in (web, client):
        device = vm.device("net0")
        assert isinstance(device, VirtioMmio)
        assert isinstance(device.model, VirtioNet)
        assert (device.errors, device.model.invalid, device.model.too_big) == (0, 0, 0)


async def test_two_processes_over_a_socket(linux: Linux, tmp_path: Path) -> None:
    async with (
        linux.boot("--net", f"listen:unix:{tmp_path}/net,mtu=9000") as one,
        linux.boot("--net", f"stream:unix:{tmp_path}/net,mtu=9000,mac=02:00:00:00:00:77") as other,
    ):
        await asyncio.gather(one.shell(), other.shell())
        await asyncio.gather(one.output("ip addr add 10.0.0.1/24 dev eth0"), other.output("ip addr add 10.0.0.2/24 dev eth0"))
        assert "02:00:00:00:00:77" in await other.output("cat /sys/class/net/eth0/address")
        assert "3 packets received" in await other.output("ping -c 3 -i 0.1 -s 8000 10.0.0.1")
        assert await one.power_off() == 0
        # The cable is out, and the guest knows.
        await other.output("while [ $(cat /sys/class/net/eth0/carrier) = 1 ]; do usleep 10000; done")
        assert await other.power_off() == 0
