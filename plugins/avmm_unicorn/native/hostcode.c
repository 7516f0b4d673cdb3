/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a block's translated code refers to outside of itself, so that it can be moved to another place, of another vCPU or another
 * process. It is x86-64 code, as Intel's and AMD's manuals describe its encoding; the library's code generator uses a small part of
 * it. A block with an instruction that is not known here, or a reference that is not understood, is not moved: it is translated
 * again.
 */
#include "translations.h"

#include <string.h>

typedef enum { NO_REFERENCE, RELATIVE, ADDRESS, OPERAND, POINTER } Operand;

/* One instruction: its length, and the 32-bit displacement or 64-bit constant in it that may refer to something. */
typedef struct {
    size_t length, at;
    Operand kind;
} Instruction;

typedef struct {
    const uint8_t *code;
    size_t position, size;
    bool wide, narrow; /* REX.W or VEX.W; operand size 16 */
} Reader;

static uint8_t next_byte(Reader *reader) { return reader->position < reader->size ? reader->code[reader->position++] : 0; }

/* ModRM, SIB and displacement; its middle field. */
static int read_operand(Reader *reader, Instruction *instruction, Operand kind)
{
    uint8_t modrm = next_byte(reader), mode = modrm >> 6, base = modrm & 7;
    if (mode != 3 && base == 4) {
        base = next_byte(reader) & 7;
        if (mode == 0 && base == 5) {
            mode = 2;
        }
    } else if (mode == 0 && base == 5) {
        instruction->kind = kind;
        instruction->at = reader->position;
        mode = 2;
    }
    reader->position += mode == 1 ? 1 : mode == 2 ? 4 : 0;
    return modrm >> 3 & 7;
}

static size_t immediate_size(const Reader *reader) { return reader->narrow ? 2 : 4; }

static bool read_one_byte_opcode(Reader *reader, Instruction *instruction, uint8_t opcode)
{
    switch (opcode) {
    case 0x00 ... 0x3f: /* arithmetic */
        if ((opcode & 7) < 4) {
            read_operand(reader, instruction, OPERAND);
        } else {
            reader->position += (opcode & 7) == 4 ? 1 : immediate_size(reader);
        }
        return (opcode & 7) < 6;
    case 0x50 ... 0x5f: case 0x90 ... 0x99: case 0xc3: /* push, pop, exchange, extend, return */
        return true;
    case 0x63: case 0x84 ... 0x8b: case 0xd0 ... 0xd3: case 0xfe: case 0xff:
        read_operand(reader, instruction, OPERAND);
        return true;
    case 0x8d:
        read_operand(reader, instruction, ADDRESS);
        return true;
    case 0x69: case 0x81: case 0xc7:
        read_operand(reader, instruction, OPERAND);
        reader->position += immediate_size(reader);
        return true;
    case 0x6b: case 0x80: case 0x83: case 0xc0: case 0xc1: case 0xc6:
        read_operand(reader, instruction, OPERAND);
        reader->position += 1;
        return true;
    case 0x68: case 0xa9:
        reader->position += immediate_size(reader);
        return true;
    case 0x6a: case 0x70 ... 0x7f: case 0xa8: case 0xb0 ... 0xb7: case 0xeb:
        reader->position += 1;
        return true;
    case 0xb8 ... 0xbf:
        if (reader->wide) {
            instruction->kind = POINTER;
            instruction->at = reader->position;
        }
        reader->position += reader->wide ? 8 : immediate_size(reader);
        return true;
    case 0xe8: case 0xe9:
        instruction->kind = RELATIVE;
        instruction->at = reader->position;
        reader->position += 4;
        return true;
    case 0xf6: case 0xf7: {
        int operation = read_operand(reader, instruction, OPERAND);
        reader->position += operation > 1 ? 0 : opcode == 0xf6 ? 1 : immediate_size(reader);
        return true;
    }
    default:
        return false;
    }
}

static bool read_two_byte_opcode(Reader *reader, Instruction *instruction, uint8_t opcode)
{
    switch (opcode) {
    case 0x0b: case 0x77: case 0xc8 ... 0xcf:
        return true;
    case 0x80 ... 0x8f:
        instruction->kind = RELATIVE;
        instruction->at = reader->position;
        reader->position += 4;
        return true;
    case 0x70 ... 0x73: case 0xa4: case 0xac: case 0xba: case 0xc2: case 0xc4 ... 0xc6:
        read_operand(reader, instruction, OPERAND);
        reader->position += 1;
        return true;
    case 0x10 ... 0x1f: case 0x28 ... 0x2f: case 0x40 ... 0x6f: case 0x74 ... 0x76: case 0x7c ... 0x7f: case 0x90 ... 0x9f:
    case 0xa3: case 0xa5: case 0xab: case 0xad ... 0xb1: case 0xb3: case 0xb6 ... 0xb8: case 0xbb ... 0xbf: case 0xc0: case 0xc1:
    case 0xc7: case 0xd0 ... 0xfe:
        read_operand(reader, instruction, OPERAND);
        return true;
    default:
        return false;
    }
}

/* The operation of an opcode map: 1 is 0F, 2 is 0F 38, 3 is 0F 3A. */
static bool read_mapped_opcode(Reader *reader, Instruction *instruction, int map)
{
    uint8_t opcode = next_byte(reader);
    if (map == 1) {
        return read_two_byte_opcode(reader, instruction, opcode);
    }
    read_operand(reader, instruction, OPERAND);
    reader->position += map == 3;
    return map == 2 || map == 3;
}

static bool read_opcode(Reader *reader, Instruction *instruction)
{
    uint8_t byte = next_byte(reader);
    while (byte == 0x66 || byte == 0xf0 || byte == 0xf2 || byte == 0xf3 || byte == 0x64 || byte == 0x65 || byte == 0x2e) {
        reader->narrow |= byte == 0x66;
        byte = next_byte(reader);
    }
    if (byte == 0xc5) {
        next_byte(reader);
        return read_mapped_opcode(reader, instruction, 1);
    }
    if (byte == 0xc4) {
        int map = next_byte(reader) & 0x1f;
        next_byte(reader);
        return read_mapped_opcode(reader, instruction, map);
    }
    if ((byte & 0xf0) == 0x40) {
        reader->wide = byte & 8;
        byte = next_byte(reader);
    }
    if (byte != 0x0f) {
        return read_one_byte_opcode(reader, instruction, byte);
    }
    uint8_t second = reader->position < reader->size ? reader->code[reader->position] : 0;
    if (second == 0x38 || second == 0x3a) {
        next_byte(reader);
        return read_mapped_opcode(reader, instruction, second == 0x38 ? 2 : 3);
    }
    return read_mapped_opcode(reader, instruction, 1);
}

static bool read_instruction(const uint8_t *code, size_t position, size_t size, Instruction *instruction)
{
    Reader reader = {.code = code, .position = position, .size = size};
    *instruction = (Instruction){0};
    if (!read_opcode(&reader, instruction) || reader.position > size) {
        return false;
    }
    instruction->length = reader.position - position;
    return true;
}

static bool note_reference(ReferenceList *list, size_t at, ReferenceKind kind, int anchor, int64_t offset)
{
    if (list->count == MAX_REFERENCES || at > UINT16_MAX || offset != (int32_t)offset) {
        return false;
    }
    list->references[list->count++] = (Reference){(uint16_t)at, (uint8_t)kind, (uint8_t)anchor, (int32_t)offset};
    return true;
}

/* The anchor that `address` belongs to, or -1. */
static int anchor_of(const Anchors *anchors, uintptr_t address)
{
    for (int i = 0; i < anchors->count; i++) {
        if (address - anchors->address[i] < anchors->size[i]) {
            return i;
        }
    }
    return -1;
}

static bool note_displacement(const CodePlace *place, const Instruction *instruction, size_t next, size_t *constants,
                              ReferenceList *list)
{
    int32_t displacement;
    memcpy(&displacement, place->code + instruction->at, sizeof displacement);
    uintptr_t target = place->address + next + (uintptr_t)(intptr_t)displacement;
    size_t inside = target - place->address;
    if (inside < place->size) {
        if (instruction->kind == OPERAND && inside < *constants) {
            *constants = inside; /* they are behind the instructions */
        }
        return true;
    }
    if (target - (place->address - place->block_distance) <= TB_EXIT_REQUESTED) {
        return true; /* the block's description, at the same distance, and in the low bits how the block was left */
    }
    int anchor = anchor_of(&place->anchors, target);
    ReferenceKind kind = instruction->kind == RELATIVE ? REFERENCE_BRANCH : REFERENCE_DISPLACEMENT;
    if (anchor < 0) {
        return false;
    }
    int64_t offset = (int64_t)(target - place->anchors.address[anchor]) - (int64_t)(next - instruction->at);
    return note_reference(list, instruction->at, kind, anchor, offset);
}

static bool note_pointer(const CodePlace *place, size_t at, ReferenceList *list)
{
    uint64_t value;
    memcpy(&value, place->code + at, sizeof value);
    int anchor = anchor_of(&place->anchors, value);
    return anchor < 0 || note_reference(list, at, REFERENCE_POINTER, anchor, (int64_t)(value - place->anchors.address[anchor]));
}

/* Among the constants behind the instructions are the addresses of functions that a branch does not reach. */
static bool note_constants(const CodePlace *place, size_t constants, ReferenceList *list)
{
    for (size_t at = constants; at + sizeof(uint64_t) <= place->size; at += sizeof(uint64_t)) {
        if (!note_pointer(place, at, list)) {
            return false;
        }
    }
    return true;
}

bool avmm_find_references(const CodePlace *place, ReferenceList *list)
{
    size_t constants = place->size;
    list->count = 0;
    for (size_t position = 0; position < constants;) {
        Instruction instruction;
        if (!read_instruction(place->code, position, constants, &instruction)) {
            return false;
        }
        position += instruction.length;
        bool understood = true;
        if (instruction.kind == POINTER) {
            understood = note_pointer(place, instruction.at, list);
        } else if (instruction.kind != NO_REFERENCE) {
            understood = note_displacement(place, &instruction, position, &constants, list);
        }
        if (!understood) {
            return false;
        }
    }
    return note_constants(place, constants, list);
}

bool avmm_set_references(uint8_t *code, const Reference *references, size_t count, const Anchors *anchors)
{
    for (size_t i = 0; i < count; i++) {
        const Reference *reference = &references[i];
        uint8_t *place = code + reference->at;
        uintptr_t target = anchors->address[reference->anchor] + (uintptr_t)(intptr_t)reference->offset;
        if (reference->kind == REFERENCE_POINTER) {
            memcpy(place, &target, sizeof target);
            continue;
        }
        intptr_t distance = (intptr_t)(target - (uintptr_t)place);
        int32_t displacement = (int32_t)distance;
        memcpy(place, &displacement, sizeof displacement);
        if (displacement != distance) {
            return false;
        }
    }
    return true;
}
