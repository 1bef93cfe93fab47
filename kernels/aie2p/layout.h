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

// Buffers of each kind in a core, and in a memory tile. A memory tile holds more of A and B, so
// that memory goes on reading while the cores are busy with an epilogue.
constexpr unsigned CORE_DEPTH = 2;
constexpr unsigned MEMORY_DEPTH = 4;
constexpr unsigned PRODUCT_DEPTH = 2;

// A core's data memory: the stack first, the parameters where the contract puts them, then buffers
// one after another. What follows the last one is for the program's own data: the linker script
// that mlir-aie writes puts it there.
constexpr unsigned STACK_BYTES = 2048;
constexpr unsigned PRODUCTS_AT = 0x0840;
constexpr unsigned LEFTS_AT = 0x4840;
constexpr unsigned SUMS_AT = 0x8840;
constexpr unsigned RIGHTS_AT = 0xC840;

// Rows of a tile to rows of sub-tiles, or back, which is the same exchange: the first dimension is
// the outermost, strides are in values.
constexpr unsigned EXCHANGE_SIZES[] = {8, 8, 8, 8};
constexpr unsigned EXCHANGE_STRIDES[] = {512, 8, 64, 1};

} // namespace layout
