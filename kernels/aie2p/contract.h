// SPDX-License-Identifier: MPL-2.0
//
// The contract's numbers, written from contract.rs and arithmetic.rs in crates/xdna/src.
// Change those, then: WHISPERNPU_WRITE_HEADER=1 cargo test -p xdna header
#pragma once

namespace contract {

constexpr unsigned COLUMNS = 8;
constexpr unsigned ROWS = 4;
constexpr unsigned FIRST_CORE_ROW = 2;
constexpr unsigned TILE = 64;
constexpr unsigned SUB = 8;
constexpr unsigned A_TILE_BYTES = 8192;
constexpr unsigned B_TILE_BYTES = 4864;
constexpr unsigned B_VALUE_BYTES = 4608;
constexpr unsigned C_TILE_BYTES = 8192;
constexpr unsigned PARAMETERS_AT = 2048;
constexpr unsigned PARAMETER_WORDS = 5;
constexpr unsigned START_LOCK = 15;
constexpr unsigned EPILOGUE_NONE = 0;
constexpr unsigned EPILOGUE_GELU = 1;
constexpr unsigned A_CHANNEL = 1;
constexpr unsigned B_CHANNEL = 0;
constexpr unsigned C_CHANNEL = 0;
constexpr unsigned GELU_TERMS = 8;
constexpr unsigned PARAMETER_K_TILES = 0;
constexpr unsigned PARAMETER_M_PASSES = 1;
constexpr unsigned PARAMETER_N_PASSES = 2;
constexpr unsigned PARAMETER_OWN_PASSES = 3;
constexpr unsigned PARAMETER_EPILOGUE = 4;
constexpr unsigned A_COLUMNS[] = {0, 2, 4, 6};

constexpr float GELU_END = 0x1.600000p2f;
constexpr float GELU_ROOT[] = {
    0x1.d581dep-1f,
    -0x1.76c6c2p-4f,
    -0x1.04258cp-5f,
    -0x1.ff4312p-11f,
    0x1.d195eep-10f,
    -0x1.a1de92p-14f,
    -0x1.8c3cd2p-16f,
    0x1.32d9a4p-19f,
};

} // namespace contract
