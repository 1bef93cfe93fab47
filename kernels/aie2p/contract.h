// SPDX-License-Identifier: MPL-2.0
//
// The contract's numbers, written from contract.rs in crates/xdna/src.
// Change that, then: WHISPERNPU_WRITE_HEADER=1 cargo test -p xdna header
#pragma once

namespace contract {

constexpr unsigned COLUMNS = 8;
constexpr unsigned ROWS = 4;
constexpr unsigned FIRST_CORE_ROW = 2;
constexpr unsigned TILE_ROWS = 128;
constexpr unsigned TILE = 64;
constexpr unsigned SUB = 8;
constexpr unsigned A_TILE_BYTES = 9216;
constexpr unsigned B_TILE_BYTES = 4608;
constexpr unsigned C_TILE_BYTES = 32768;
constexpr unsigned PARAMETERS_AT = 64512;
constexpr unsigned PARAMETER_WORDS = 2;
constexpr unsigned PARAMETER_MORE_K_TILES = 0;
constexpr unsigned PARAMETER_OUTPUT = 1;
constexpr unsigned OUTPUT_F32 = 0;
constexpr unsigned OUTPUT_BF16 = 1;
constexpr unsigned A_COLUMNS[] = {0, 2, 4, 6};
constexpr unsigned A_CHANNELS[] = {0, 0, 0, 0};
constexpr unsigned B_COLUMNS[] = {3, 3, 2, 4, 5, 5, 6, 1};
constexpr unsigned B_CHANNELS[] = {0, 1, 1, 1, 0, 1, 1, 0};
constexpr unsigned C_COLUMNS[] = {3, 2, 4, 1, 5, 6, 7, 0};

} // namespace contract
