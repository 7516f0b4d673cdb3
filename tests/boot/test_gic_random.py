"""A random walk through the interrupt controllers' states: QEMU's model writes the same thousand lines."""

from __future__ import annotations

import hashlib
import shutil
import subprocess

import pytest

from .conftest import IMAGES, Booting

QEMU = "qemu-system-aarch64"
STEPS = 1000
# SHA-256 of what the guest writes on QEMU 7.2; test_qemu_says_so makes them anew.
WALKS = {
    ("gicv3", 1): "4af6e6e02a35d31afc878536017135ea63867ac62d10af911ad6568987a57ca7",
    ("gicv3", 2): "58e4ce7c266e462d58114d633a4c43610c72e905b24ae525d59157130f822cce",
    ("gicv2", 1): "0ad63c3a07d395a27f45d161a7510e4d7454f4a980df80b3f5a3fa7ade111b4e",
    ("gicv2", 2): "353082497fc6ad489e9d156b4724b2d54be499fbbd6542e147cb24113c76c629",
}


@pytest.mark.parametrize(("irqchip", "seed"), WALKS)
async def test_every_state_is_the_one_that_qemu_is_in(boot: Booting, irqchip: str, seed: int) -> None:
    async with boot("gic_random", irqchip=irqchip, append=f"seed={seed} steps={STEPS}") as guest:
        await guest.run()
    assert guest.console.count("\n") == STEPS
    assert hashlib.sha256(guest.written).hexdigest() == WALKS[irqchip, seed]


@pytest.mark.skipif(shutil.which(QEMU) is None, reason=f"{QEMU} is not installed (qemu-system-arm)")
@pytest.mark.parametrize(("irqchip", "seed"), WALKS)
def test_qemu_says_so(irqchip: str, seed: int) -> None:
    machine = ["-machine", f"virt,gic-version={irqchip[-1]}", "-cpu", "cortex-a57", "-display", "none", "-serial", "stdio"]
    guest = ["-kernel", str(IMAGES / "gic_random.img"), "-append", f"seed={seed} steps={STEPS}"]
    run = subprocess.run([QEMU, *machine, *guest], stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=True)
    assert hashlib.sha256(run.stdout).hexdigest() == WALKS[irqchip, seed]
