"""VMs: what there is, and its life."""

from __future__ import annotations

from fastapi import APIRouter, Response

from avmm.plugin import DeviceSnapshot, VmSnapshot
from avmm_control.models import IrqRequest, Stepped, StepRequest, VmDetails, VmSummary, details, summary
from avmm_control.routes.common import Named, TheHub

router = APIRouter(prefix="/v1/vms", tags=["VMs"])


@router.get("")
async def list_vms(hub: TheHub) -> list[VmSummary]:
    """All VMs of this server."""
    return [summary(served.vm) for served in hub]


@router.get("/{vm}", response_model=VmDetails)
async def inspect_vm(served: Named) -> Response:
    """A VM, whole: what it is and how it stands."""
    return Response(details(served.vm).model_dump_json(), media_type="application/json")


@router.get("/{vm}/snapshot", response_model=VmSnapshot)
async def snapshot(served: Named) -> Response:
    """A VM at this moment. Everything counted is counted from its start."""
    return Response(served.steering.snapshot().to_json(), media_type="application/json")


@router.get("/{vm}/devices")
async def list_devices(served: Named) -> list[DeviceSnapshot]:
    """The devices on the VM's bus."""
    return list(served.steering.snapshot().devices)


@router.post("/{vm}/pause")
async def pause(served: Named) -> VmSummary:
    """Pause a running VM: when this returns, every vCPU is outside the guest and every device at rest."""
    await served.steering.pause()
    return summary(served.vm)


@router.post("/{vm}/resume")
async def resume(served: Named) -> VmSummary:
    """Let a paused VM go on."""
    await served.steering.resume()
    return summary(served.vm)


@router.post("/{vm}/step")
async def step(served: Named, request: StepRequest) -> list[Stepped]:
    """Have a paused VM execute so many instructions: one vCPU, or each that is powered on, one after the other."""
    results = await served.steering.step(request.instructions, request.vcpu)
    return [Stepped.model_validate(one, from_attributes=True) for one in results]


@router.post("/{vm}/reset", status_code=202)
async def reset(served: Named) -> VmSummary:
    """Reset the machine; one with `on_reset = "exit"` ends. A paused one stays paused."""
    served.steering.reset()
    return summary(served.vm)


@router.post("/{vm}/power-off", status_code=202)
async def power_off(served: Named) -> VmSummary:
    """Switch the machine off, at once. The power button asks the guest instead."""
    served.steering.power_off()
    return summary(served.vm)


@router.post("/{vm}/power-button", status_code=202)
async def press_power_button(served: Named) -> VmSummary:
    """Ask the guest to shut down, by the machine's power button. Whether it does is the guest's choice: the state tells."""
    served.steering.press_power_button()
    return summary(served.vm)


@router.post("/{vm}/stop")
async def stop(served: Named) -> VmSummary:
    """End the VM from the host's side: when this returns, it is over. Harmless when it is already."""
    await served.steering.stop()
    return summary(served.vm)


@router.post("/{vm}/irqs", status_code=204)
async def inject_irq(served: Named, request: IrqRequest) -> None:
    """Drive a shared input of the interrupt controller, or pulse it."""
    match request.action:
        case "pulse":
            served.steering.pulse_irq(request.irq)
        case "raise" | "lower":
            served.steering.set_irq(request.irq, level=request.action == "raise")
