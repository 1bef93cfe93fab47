// SPDX-License-Identifier: MPL-2.0
//
// The program of each of the 32 cores: tile after tile of C = A B, by CONTRACT.md.
//
// The sums of a tile stay in memory between calls, and what computes on them is not inlined: Peano
// drops sums that live in registers across a loop around a lock (documented by a test in llvm-aie,
// "loop-carried accumulator update is dropped").

#include <aie_api/aie.hpp>
#include <cstdint>

#include "contract.h"
#include "layout.h"

namespace {

constexpr unsigned SUB = contract::SUB;
constexpr unsigned SUB_VALUES = SUB * SUB;
// Sub-tiles along the sides of a tile of C; as many along the depth as along its columns.
constexpr unsigned ROWS = contract::TILE_ROWS / SUB;
constexpr unsigned COLUMNS = contract::TILE / SUB;
// Values that are rounded at once.
constexpr unsigned LANES = 32;

using Sums = aie::accum<accfloat, SUB_VALUES>;
using Blocks = aie::block_vector<bfp16ebs8, SUB_VALUES>;
using BlockReader = aie::block_vector_input_buffer_stream<bfp16ebs8, SUB_VALUES>;

// A core sees its own locks from number 48 on, after those of three neighbours.
constexpr unsigned OWN_LOCKS = 48;

inline void take(unsigned lock) {
    acquire_greater_equal(OWN_LOCKS + lock, 1);
}

inline void give(unsigned lock) {
    release(OWN_LOCKS + lock, 1);
}

template <bool FIRST> inline Sums begin(const float *sums) {
    if constexpr (FIRST) {
        return aie::zeros<accfloat, SUB_VALUES>();
    } else {
        return Sums(aie::load_v<SUB_VALUES>(sums));
    }
}

// A tile of A times a tile of B, added to the sums unless it is the first one. Two by two sub-tiles
// of sums use each operand twice: both operands come with 16 rows side by side.
template <bool FIRST>
__attribute__((noinline)) void multiply(const bfp16ebs8 *__restrict left, const bfp16ebs8 *__restrict right, float *sums) {
    for (unsigned row = 0; row < ROWS; row += 2) {
        for (unsigned column = 0; column < COLUMNS; column += 2) {
            float *const upper = sums + (row * COLUMNS + column) * SUB_VALUES;
            float *const lower = upper + COLUMNS * SUB_VALUES;
            Sums sum00 = begin<FIRST>(upper);
            Sums sum01 = begin<FIRST>(upper + SUB_VALUES);
            Sums sum10 = begin<FIRST>(lower);
            Sums sum11 = begin<FIRST>(lower + SUB_VALUES);
            BlockReader rows(left);
            BlockReader columns(right);
            rows.seek(row * COLUMNS);
            columns.seek(column * COLUMNS);
            for (unsigned depth = 0; depth < COLUMNS; depth++) {
                const Blocks rows0 = rows.pop();
                const Blocks rows1 = rows.pop();
                const Blocks columns0 = columns.pop();
                const Blocks columns1 = columns.pop();
                sum00 = mac_8x8_8x8T(rows0, columns0, sum00);
                sum01 = mac_8x8_8x8T(rows0, columns1, sum01);
                sum10 = mac_8x8_8x8T(rows1, columns0, sum10);
                sum11 = mac_8x8_8x8T(rows1, columns1, sum11);
            }
            aie::store_v(upper, sum00.template to_vector<float>());
            aie::store_v(upper + SUB_VALUES, sum01.template to_vector<float>());
            aie::store_v(lower, sum10.template to_vector<float>());
            aie::store_v(lower + SUB_VALUES, sum11.template to_vector<float>());
        }
    }
}

// Rounds all sums to bf16, packed at the front. Each step writes no further than it has read, by
// pointers to float alone, so that the compiler keeps the order.
__attribute__((noinline)) void round_to_bf16(float *sums) {
    for (unsigned i = 0; i < contract::TILE_ROWS * contract::TILE; i += LANES) {
        const aie::accum<accfloat, LANES> wide(aie::load_v<LANES>(sums + i));
        aie::store_v(sums + i / 2, wide.template to_vector<bfloat16>().template cast_to<float>());
    }
}

} // namespace

// Never returns. The instruction stream writes `parameters` before it sends the first tiles of A and
// B that they are for.
extern "C" void whispernpu_core(const int8_t *left0, const int8_t *left1, const int8_t *right0, const int8_t *right1,
                                float *sums, const int32_t *parameters) {
    aie::set_rounding(aie::rounding_mode::conv_even);
    const bfp16ebs8 *const lefts[] = {reinterpret_cast<const bfp16ebs8 *>(left0), reinterpret_cast<const bfp16ebs8 *>(left1)};
    const bfp16ebs8 *const rights[] = {reinterpret_cast<const bfp16ebs8 *>(right0),
                                       reinterpret_cast<const bfp16ebs8 *>(right1)};
    const volatile uint32_t *const words = reinterpret_cast<const volatile uint32_t *>(parameters);
    // Which buffers are next outlives a tile of C, as it does in the DMA that fills them.
    unsigned turn = 0;
    for (;;) {
        take(layout::PRODUCT_FREE);
        uint32_t more = 0;
        bool first = true;
        do {
            take(layout::LEFT_FULL);
            take(layout::RIGHT_FULL);
            if (first) {
                more = words[contract::PARAMETER_MORE_K_TILES];
                multiply<true>(lefts[turn], rights[turn], sums);
                first = false;
            } else {
                multiply<false>(lefts[turn], rights[turn], sums);
                more--;
            }
            turn = (turn + 1) % layout::CORE_DEPTH;
            give(layout::LEFT_FREE);
            give(layout::RIGHT_FREE);
        } while (more > 0);
        if (words[contract::PARAMETER_OUTPUT] == contract::OUTPUT_BF16) {
            round_to_bf16(sums);
        }
        give(layout::PRODUCT_FULL);
    }
}
