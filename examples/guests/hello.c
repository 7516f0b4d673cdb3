// SPDX-License-Identifier: MIT
//
// hello: one line, then PSCI SYSTEM_OFF.
#include "guest.h"

void main(void) { print("Hello from AArch64 EL1\n"); }
