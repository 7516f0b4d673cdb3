/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which block the code at a host address belongs to: asked when an instruction faults in the middle of one. The library keeps a
 * balanced tree for that, and a block more costs an allocation and a walk through it. But blocks come into the translation buffer one
 * behind the other, so it is enough to write them down in that order.
 */
#include "native.h"

void avmm_end_code_order(Vcpu *vcpu)
{
    PyMem_RawFree(vcpu->code_order.blocks);
    vcpu->code_order = (CodeOrder){NULL};
}

/* How many blocks have code that begins at `address` or before. */
static size_t begun_by(const CodeOrder *order, uintptr_t address)
{
    size_t low = 0, high = order->count;
    if (high != 0 && FIELD(uintptr_t, order->blocks[high - 1], TB_CODE) <= address) {
        return high;
    }
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (FIELD(uintptr_t, order->blocks[middle], TB_CODE) <= address) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static bool make_room(CodeOrder *order)
{
    void *blocks = avmm_with_room(order->blocks, &order->room, order->count + 1, sizeof *order->blocks);
    order->blocks = blocks == NULL ? order->blocks : blocks;
    return blocks != NULL;
}

/* tcg_tb_insert(). One for which there is no memory is left to the library's tree. */
void avmm_tb_insert(void *tcg, void *tb)
{
    Vcpu *vcpu = avmm_executing;
    if (vcpu == NULL || !make_room(&vcpu->code_order)) {
        lib.tb_insert(tcg, tb);
        return;
    }
    CodeOrder *order = &vcpu->code_order;
    size_t place = begun_by(order, FIELD(uintptr_t, tb, TB_CODE));
    memmove(order->blocks + place + 1, order->blocks + place, (order->count - place) * sizeof *order->blocks);
    order->blocks[place] = tb;
    order->count++;
}

/* tcg_tb_remove() */
void avmm_tb_remove(void *tcg, void *tb)
{
    CodeOrder *order = avmm_executing == NULL ? NULL : &avmm_executing->code_order;
    size_t place = order == NULL ? 0 : begun_by(order, FIELD(uintptr_t, tb, TB_CODE));
    if (place == 0 || order->blocks[place - 1] != tb) {
        lib.tb_remove(tcg, tb);
        return;
    }
    order->count--;
    memmove(order->blocks + place - 1, order->blocks + place, (order->count - place + 1) * sizeof *order->blocks);
}

/* tcg_tb_lookup(): the block, or NULL for an address in none. */
void *avmm_tb_of_code(void *tcg, uintptr_t address)
{
    const CodeOrder *order = avmm_executing == NULL ? NULL : &avmm_executing->code_order;
    size_t place = order == NULL ? 0 : begun_by(order, address);
    void *tb = place == 0 ? NULL : order->blocks[place - 1];
    if (tb != NULL && address < FIELD(uintptr_t, tb, TB_CODE) + FIELD(size_t, tb, TB_CODE_SIZE)) {
        return tb;
    }
    return lib.tb_of_code(tcg, address);
}
