// SPDX-License-Identifier: MIT
//
// Sizes that the assembly and the C code share.
#pragma once

#define TEXT_OFFSET 0x80000 // as in guest.ld
#define MAX_CPUS 32
#define STACK_SIZE 8192
#define FRAME_SIZE 272 // sizeof(struct exception_frame)
