"""Linux's drivers for the PL061 and the keys on it: who presses the power button shuts the guest down."""

from __future__ import annotations

from pathlib import Path

from avmm_control.client import ControlClient
from tests.linux.conftest import Fetcher

KEY_POWER = "116"
"""Linux, include/uapi/linux/input-event-codes.h, as the numbers of types below."""


async def test_a_press_is_a_key_that_powers_the_guest_off(fetched: Fetcher, tmp_path: Path) -> None:
    linux = fetched("bookworm", "generic")
    socket = tmp_path / "control"
    async with linux.boot("--device", "pl061", "--control", str(socket)) as guest, ControlClient(socket) as control:
        await guest.shell()
        assert (await guest.output("cat /sys/class/input/input0/name")) == "gpio-keys\n"
        [key] = [line for line in (await guest.output("cat /proc/interrupts")).splitlines() if "Poweroff" in line]
        assert key.split()[1] == "0"
        # Nobody but us is to hear the first press: an event is 16 bytes of time, then type, code and value.
        await guest.output("killall acpid")
        read = "dd bs=24 count=4 iflag=fullblock 2>/dev/null"
        words = 'hexdump -v -e \'12/2 "%d " "\\n"\''
        guest.type(f"{{ echo list''ening >&2; {read}; }} </dev/input/event0 | {words}; echo events end")
        await guest.expect("listening\n")
        await control.vm("vm0").press_power_button()
        found = await guest.expect(r"((?:[-\d ]+\n)+)events end\n")
        events = [line.split()[8:] for line in found[1].splitlines()]
        pressed, released, report = ["1", KEY_POWER, "1", "0"], ["1", KEY_POWER, "0", "0"], ["0", "0", "0", "0"]
        assert events == [pressed, report, released, report]
        # Then as it comes: acpid, once it has opened the keys, hears it.
        await guest.output("acpid; until ls -l /proc/$(pidof acpid)/fd | grep -q event0; do usleep 1000; done")
        await control.vm("vm0").press_power_button()
        await guest.expect(r"^The power button was pressed\.$")
        assert await guest.ended() == 0
