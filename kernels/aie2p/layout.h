// SPDX-License-Identifier: MPL-2.0
//
// What the core program and the array design agree on and the host need not know. array_design.py
// reads this file too, as it reads contract.h: each line `constexpr unsigned NAME = NUMBER;` or
// `NAME[] = {NUMBERS};`. All addresses and sizes are in bytes.
#pragma once

namespace layout {

// Locks of a core's memory. A buffer's two locks count those that its filler and its user may take.
constexpr unsigned LEFT_FREE = 0;
constexpr unsigned LEFT_FULL = 1;
constexpr unsigned RIGHT_FREE = 2;
constexpr unsigned RIGHT_FULL = 3;
constexpr unsigned PRODUCT_FREE = 4;
constexpr unsigned PRODUCT_FULL = 5;

// Buffers of A and of B in a core and in a memory tile, of C in a memory tile. A core has one of C.
constexpr unsigned CORE_DEPTH = 2;
constexpr unsigned MEMORY_DEPTH = 2;
constexpr unsigned PRODUCT_DEPTH = 2;

// A core's data memory: the stack first, which grows upwards, then buffers one after another up to
// the parameters. What follows these is for the program's own data.
constexpr unsigned STACK_BYTES = 4096;
constexpr unsigned PRODUCT_AT = 0x1000;
constexpr unsigned LEFTS_AT = 0x9000;
constexpr unsigned RIGHTS_AT = 0xD800;

// Sub-tiles of C to rows: the first dimension is the outermost, strides are in values.
constexpr unsigned ROWS_SIZES[] = {16, 8, 8, 8};
constexpr unsigned ROWS_STRIDES[] = {512, 8, 64, 1};

} // namespace layout
