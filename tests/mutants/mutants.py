"""All mutants, by area."""

from __future__ import annotations

from tests.mutants import (
    configuration,
    control,
    disks,
    firmware,
    gic,
    kvm,
    loading,
    page,
    requests,
    sleep_and_power,
    slots,
    steering,
    timers_and_pmu,
    uart_and_rtc,
    unicorn,
    virtio,
    watching,
)

AREAS = (
    configuration,
    control,
    disks,
    firmware,
    gic,
    kvm,
    loading,
    page,
    requests,
    sleep_and_power,
    slots,
    steering,
    timers_and_pmu,
    uart_and_rtc,
    unicorn,
    virtio,
    watching,
)
MUTANTS = [mutant for area in AREAS for mutant in area.MUTANTS]
