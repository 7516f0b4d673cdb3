// SPDX-License-Identifier: MIT
//
// Power State Coordination Interface (Arm DEN 0022) by HVC, in the SMC Calling Convention
// (Arm DEN 0028): the function in x0 (w0 for a 32-bit one), arguments in x1 to x3, the result in x0.
#pragma once

#include <stdint.h>

enum psci_function : uint64_t {
    PSCI_VERSION = 0x84000000,
    PSCI_CPU_SUSPEND = 0xc4000001,
    PSCI_CPU_OFF = 0x84000002,
    PSCI_CPU_ON = 0xc4000003,
    PSCI_AFFINITY_INFO = 0xc4000004,
    PSCI_SYSTEM_OFF = 0x84000008,
    PSCI_SYSTEM_RESET = 0x84000009,
    PSCI_FEATURES = 0x8400000a,
};

enum psci_result {
    PSCI_SUCCESS = 0,
    PSCI_NOT_SUPPORTED = -1,
    PSCI_INVALID_PARAMETERS = -2,
    PSCI_DENIED = -3,
    PSCI_ALREADY_ON = -4,
    PSCI_ON_PENDING = -5,
    PSCI_INVALID_ADDRESS = -9,
};

enum psci_affinity_state { PSCI_STATE_ON = 0, PSCI_STATE_OFF = 1, PSCI_STATE_ON_PENDING = 2 };

int64_t hvc(uint64_t function, uint64_t x1, uint64_t x2, uint64_t x3);

// Any PSCI call. Results are 32-bit signed numbers whatever the width of the function.
int psci(uint64_t function, uint64_t x1, uint64_t x2, uint64_t x3);

_Noreturn void psci_system_off(void);
_Noreturn void psci_cpu_off(void);
