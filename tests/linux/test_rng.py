"""Linux's virtio-rng driver."""

from __future__ import annotations

from tests.linux.conftest import Linux


async def test_dev_hwrng_gives_the_hosts_bytes(linux: Linux) -> None:
    async with linux.boot("--device", "virtio-rng") as guest:
        await guest.shell()
        assert (await guest.output("cat /sys/class/misc/hw_random/rng_current")).startswith("virtio_rng.")
        read = "dd if=/dev/hwrng of=/tmp/{0} bs=4096 count=4 iflag=fullblock 2>/dev/null && wc -c </tmp/{0}"
        assert await guest.output(read.format("one")) == "16384\n"
        assert await guest.output(read.format("other")) == "16384\n"
        assert (await guest.run("cmp -s /tmp/one /tmp/other")).status == 1
        # What is random does not get smaller.
        assert int(await guest.output("gzip -9 </tmp/one | wc -c")) > 16384
        assert await guest.power_off() == 0


async def test_a_limit_slows_the_guest_and_nothing_else(linux: Linux) -> None:
    async with linux.boot("--device", "virtio-rng,rate=64") as guest:
        await guest.shell()
        took = "s=$(cut -d. -f1 /proc/uptime); {}; echo $(($(cut -d. -f1 /proc/uptime) - s))"
        assert int(await guest.output(took.format("dd if=/dev/hwrng of=/dev/null bs=64 count=4 2>/dev/null"))) >= 2
        assert await guest.power_off() == 0
