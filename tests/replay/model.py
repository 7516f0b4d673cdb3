"""What KVM answers, once more: a small model of its own, written from the kernel's documents and source and not from ours.

It knows how a VM is made, its attributes, and runs of the guest's `mmio` program. `Kvm.answer` gives the answer to an operation.
"""

from __future__ import annotations

from collections.abc import Mapping

from tests.replay.model_attributes import OK, Answer, AttributesModel, VcpuModel, error, ppi

MAILBOX = 0x0A00_0000
PROGRAM = 0x4000_0004
DISTRIBUTOR_SIZE, REDISTRIBUTOR_SIZE, SPACE = 0x1_0000, 0x2_0000, 1 << 40


class Kvm(AttributesModel):
    """One VM, without a PMU or with one for all its vCPUs."""

    def answer(self, operation: str, arguments: Mapping[str, object]) -> Answer:
        """Carry out one operation, any of this class's."""
        if self.dead and operation != "run":
            return error("EIO")
        number = arguments.get("vcpu")
        vcpu = self.vcpus.get(number) if isinstance(number, int) else None
        if vcpu is not None and vcpu.in_run and operation not in ("create_vcpu", "run", "irq_line"):
            return {"blocked": True}
        rest = {name: value for name, value in arguments.items() if name != "vcpu"}
        answer: Answer = getattr(self, operation)(vcpu=vcpu, number=number, **rest)
        return answer

    # The VM

    def create_vcpu(self, vcpu: VcpuModel | None, number: int) -> Answer:
        if self.initialized:
            return error("EBUSY")
        if self.vgic and self.places["redist"] >= 0 and not self._fits(len(self.vcpus)):
            return error("EINVAL")
        if vcpu is not None:
            return error("EEXIST")
        self.vcpus[number] = VcpuModel(len(self.vcpus))
        return OK

    def load_guest(self, **_: object) -> Answer:
        self.memory = True
        return OK

    def create_vgic_v3(self, **_: object) -> Answer:
        if any(one.in_run for one in self.vcpus.values()):
            return error("EBUSY")
        if self.vgic:
            return error("EEXIST")
        if any(one.ran for one in self.vcpus.values()):
            return error("EBUSY")
        self.vgic = True
        return OK

    def vgic_set_addr(self, which: str, addr: int, **_: object) -> Answer:
        if not self.vgic:
            return error("EBADF")
        size = DISTRIBUTOR_SIZE if which == "dist" else len(self.vcpus) * REDISTRIBUTOR_SIZE
        if which == "redist" and self.places["redist"] < 0 <= self.places["dist"]:
            dist = self.places["dist"]
            if addr + size > dist and addr < dist + DISTRIBUTOR_SIZE:
                return error("EINVAL")
        if self.places[which] >= 0:
            return error("EEXIST")
        if addr % 0x1_0000:
            return error("EINVAL")
        if addr >= SPACE or addr + size > SPACE:
            return error("E2BIG")
        self.places[which] = addr
        return OK

    def _fits(self, vcpus: int) -> bool:
        dist, redist = self.places["dist"], self.places["redist"]
        end = redist + vcpus * REDISTRIBUTOR_SIZE
        return end <= SPACE and (dist < 0 or not (dist < end and redist < dist + DISTRIBUTOR_SIZE))

    def vgic_set_nr_irqs(self, value: int, **_: object) -> Answer:
        if not self.vgic:
            return error("EBADF")
        if value < 64 or value > 1023 or value & 31:
            return error("EINVAL")
        if self.spis:
            return error("EBUSY")
        self.spis = value - 32
        return OK

    def vgic_get_nr_irqs(self, **_: object) -> Answer:
        return {"ret": 0, "value": self.spis + 32} if self.vgic else error("EBADF")

    def vgic_init(self, **_: object) -> Answer:
        if not self.vgic:
            return error("EBADF")
        self.spis = self.spis or 224
        self.initialized = True
        return OK

    def irq_line(self, type: str, num: int, vcpu: VcpuModel | None, **_: object) -> Answer:
        if (type == "cpu") is self.vgic:
            return error("ENXIO")
        if vcpu is None and type != "spi":
            return error("EINVAL")
        if type == "cpu":
            return OK if num in (0, 1) else error("EINVAL")
        if ppi(num) is not (type == "ppi") or num < 16:
            return error("EINVAL")
        if not self.initialized:
            return error("EBUSY")
        return OK if ppi(num) or num < self.spis + 32 else error("EINVAL")

    # vCPUs

    def vcpu_init(self, vcpu: VcpuModel, features: list[str], **_: object) -> Answer:
        lasting = frozenset(features) - {"power_off"}
        if self.features is not None and lasting != self.features:
            return error("EINVAL")
        self.features = lasting
        vcpu.initialized, vcpu.stopped = True, "power_off" in features
        vcpu.pc = vcpu.base = vcpu.count = 0
        return OK

    def set_pc(self, vcpu: VcpuModel, **_: object) -> Answer:
        if not vcpu.initialized:
            return error("ENOEXEC")
        vcpu.pc = PROGRAM
        return OK

    def get_mp_state(self, vcpu: VcpuModel, **_: object) -> Answer:
        return {"ret": 0, "value": 5 if vcpu.stopped else 0}

    def set_mp_state(self, vcpu: VcpuModel, value: int, **_: object) -> Answer:
        if value not in (0, 5):
            return error("EINVAL")
        vcpu.stopped = value == 5
        return OK

    # Runs

    def run(self, vcpu: VcpuModel, immediate_exit: int | None = None, **_: object) -> Answer:
        if vcpu.in_run:
            return {"blocked": True, "note": "previous run still in progress"}
        if immediate_exit is not None:
            vcpu.immediate_exit = immediate_exit
        errno = self._prepare(vcpu)
        if errno:
            return self._over(vcpu, errno)
        if vcpu.reason == "MMIO" and vcpu.mmio:
            vcpu.pc += 4
        vcpu.mmio = False
        if vcpu.immediate_exit:
            return self._over(vcpu, "EINTR")
        vcpu.reason = "UNKNOWN"
        if vcpu.stopped:
            vcpu.in_run = "S"
        elif not self.memory or not PROGRAM <= vcpu.pc < PROGRAM + 20:
            vcpu.in_run = "R"
        else:
            return self._execute(vcpu)
        return {"blocked": True, "thread_state": vcpu.in_run}

    def _prepare(self, vcpu: VcpuModel) -> str:
        if self.dead:
            return "EIO"
        if not vcpu.initialized:
            return "ENOEXEC"
        if vcpu.ran:
            return ""
        if self.vgic and not self.ready:
            wrong = self._map()
            if wrong:
                self.dead = True
                return wrong
            self.ready = True
        if self.vgic:
            if not all(self.own(vcpu, vcpu.ppis[timer], f"timer{timer}") for timer in (1, 0)):
                return "EINVAL"
            self.immutable = True
        if self.pmu() and not vcpu.created:
            return "EINVAL"
        if self.pmu() and self.vgic and (vcpu.irq is None or not (ppi(vcpu.irq) or vcpu.irq < self.spis + 32)):
            return "EINVAL"
        vcpu.ran = self.has_run = True
        return ""

    def _map(self) -> str:
        if min(self.places.values()) < 0:
            return "ENXIO"
        if not self._fits(len(self.vcpus)):
            return "EINVAL"
        return "" if self.initialized else "EBUSY"

    def _execute(self, vcpu: VcpuModel) -> Answer:
        """mov x19, MAILBOX; mov w1, 1; str w1, [x19]; add w1, w1, 1; b the str."""
        while (step := vcpu.pc - PROGRAM) != 8:
            match step:
                case 0:
                    vcpu.base = MAILBOX
                case 4:
                    vcpu.count = 1
                case 12:
                    vcpu.count += 1
                case _:
                    vcpu.pc = PROGRAM + 4
            vcpu.pc += 4
        vcpu.mmio, vcpu.reason = True, "MMIO"
        access = {"addr": vcpu.base, "len": 4, "is_write": 1, "data": vcpu.count}
        return {"ret": 0, "exit_reason": "MMIO", "mmio": access, "device_irq_level": 0}

    def _over(self, vcpu: VcpuModel, errno: str) -> Answer:
        return {"ret": -1, "errno": errno, "exit_reason": vcpu.reason, "device_irq_level": 0}

    def end(self, vcpu: VcpuModel) -> Answer:
        """A signal ends the run that the vCPU is in."""
        vcpu.in_run, vcpu.reason = "", "INTR"
        return self._over(vcpu, "EINTR")
