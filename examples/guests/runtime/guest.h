// SPDX-License-Identifier: MIT
//
// Everything a guest needs. It defines main(); when main() returns, the machine is switched off.
#pragma once

#include "arch.h"
#include "cpu.h"
#include "exception.h"
#include "fdt.h"
#include "gicv3.h"
#include "limits.h"
#include "mmu.h"
#include "print.h"
#include "psci.h"
#include "timer.h"
#include "uart.h"

void main(void);
