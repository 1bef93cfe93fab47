// SPDX-License-Identifier: MPL-2.0
//
// The program of each of the 32 cores: C = epilogue(A B + bias), tile by tile, by CONTRACT.md.
//
// The sums of a tile stay in memory between calls, and what computes on them is not inlined: Peano
// drops sums that live in registers across a loop around a lock (documented by a test in llvm-aie,
// "loop-carried accumulator update is dropped").

#include <aie_api/aie.hpp>
#include <cstdint>

#include "arithmetic.h"
#include "contract.h"
#include "layout.h"

namespace {

constexpr unsigned SUB = contract::SUB;
constexpr unsigned SUB_VALUES = SUB * SUB;
// Sub-tiles along a side of a tile.
constexpr unsigned SIDE = contract::TILE / SUB;

static_assert(SIDE % 2 == 0, "sums are computed two by two");
static_assert(SUB_VALUES % arithmetic::LANES == 0, "the epilogue takes a sub-tile in whole vectors");

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

// Sums begin with the bias of their column: eight values, the same in all eight rows of a sub-tile.
__attribute__((noinline)) void begin(const float *__restrict bias, float *__restrict sums) {
    for (unsigned column = 0; column < SIDE; column++) {
        const aie::vector<float, SUB> row = aie::load_v<SUB>(bias + column * SUB);
        const aie::vector<float, 2 * SUB> rows = aie::concat(row, row);
        for (unsigned i = column; i < SIDE * SIDE; i += SIDE) {
            for (unsigned j = 0; j < SUB_VALUES; j += 2 * SUB) {
                aie::store_v(sums + i * SUB_VALUES + j, rows);
            }
        }
    }
}

// Adds a tile of A times a tile of B, block after block in depth. Two by two sub-tiles of sums use
// each operand twice.
__attribute__((noinline)) void multiply(const bfloat16 *__restrict left, const bfp16ebs8 *__restrict right,
                                        float *__restrict sums) {
    const aie::vector<bfloat16, SUB_VALUES> ones = aie::broadcast<bfloat16, SUB_VALUES>(1.0f);
    for (unsigned row = 0; row < SIDE; row += 2) {
        for (unsigned column = 0; column < SIDE; column += 2) {
            float *const upper = sums + (row * SIDE + column) * SUB_VALUES;
            float *const lower = upper + SIDE * SUB_VALUES;
            Sums sum00(aie::load_v<SUB_VALUES>(upper));
            Sums sum01(aie::load_v<SUB_VALUES>(upper + SUB_VALUES));
            Sums sum10(aie::load_v<SUB_VALUES>(lower));
            Sums sum11(aie::load_v<SUB_VALUES>(lower + SUB_VALUES));
            const bfloat16 *left0 = left + row * SIDE * SUB_VALUES;
            const bfloat16 *left1 = left0 + SIDE * SUB_VALUES;
            BlockReader right0(right);
            BlockReader right1(right);
            right0.seek(column * SIDE);
            right1.seek((column + 1) * SIDE);
            for (unsigned depth = 0; depth < SIDE; depth++) {
                // The same conversion twice, by two ways: Peano fails on two of the first kind side
                // by side, as AMD's IRON notes in its GEMM.
                Sums wide0;
                wide0 = aie::load_v<SUB_VALUES>(left0);
                const Sums wide1 = aie::mul(aie::load_v<SUB_VALUES>(left1), ones);
                left0 += SUB_VALUES;
                left1 += SUB_VALUES;
                const Blocks rows0 = wide0.template to_vector<bfp16ebs8>();
                const Blocks rows1 = wide1.template to_vector<bfp16ebs8>();
                const Blocks columns0 = right0.pop();
                const Blocks columns1 = right1.pop();
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

__attribute__((noinline)) void finish(const float *__restrict sums, bfloat16 *__restrict product, uint32_t epilogue) {
    using namespace arithmetic;
    if (epilogue == contract::EPILOGUE_GELU) {
        for (unsigned i = 0; i < contract::TILE * contract::TILE; i += LANES) {
            aie::store_v(product + i, to_half(gelu(aie::load_v<LANES>(sums + i))));
        }
    } else {
        for (unsigned i = 0; i < contract::TILE * contract::TILE; i += LANES) {
            aie::store_v(product + i, to_half(aie::load_v<LANES>(sums + i)));
        }
    }
}

// Buffers of one kind, used in turn. Which one is next outlives a dispatch, as it does in the DMA
// that fills or empties them.
template <typename T> struct Turns {
    T *buffers[layout::CORE_DEPTH];
    unsigned next = 0;

    T *take_turn() {
        T *const buffer = buffers[next];
        next = (next + 1) % layout::CORE_DEPTH;
        return buffer;
    }
};

} // namespace

// Never returns. `parameters` is written by the instruction stream before it sets the start lock.
extern "C" void whispernpu_core(const bfloat16 *left0, const bfloat16 *left1, const int8_t *right0, const int8_t *right1,
                                bfloat16 *product0, bfloat16 *product1, float *sums, const int32_t *parameters) {
    aie::set_rounding(aie::rounding_mode::conv_even);
    Turns<const bfloat16> lefts = {{left0, left1}};
    Turns<const int8_t> rights = {{right0, right1}};
    Turns<bfloat16> products = {{product0, product1}};
    const volatile uint32_t *const words = reinterpret_cast<const volatile uint32_t *>(parameters);
    for (;;) {
        take(contract::START_LOCK);
        const uint32_t depth = words[contract::PARAMETER_K_TILES];
        const uint32_t m_passes = words[contract::PARAMETER_M_PASSES];
        const uint32_t n_passes = words[contract::PARAMETER_N_PASSES];
        const uint32_t own_passes = words[contract::PARAMETER_OWN_PASSES];
        const uint32_t epilogue = words[contract::PARAMETER_EPILOGUE];
        for (uint32_t n = 0; n < n_passes; n++) {
            const bool own = n < own_passes;
            for (uint32_t m = 0; m < m_passes; m++) {
                for (uint32_t k = 0; k < depth; k++) {
                    take(layout::LEFT_FULL);
                    const bfloat16 *const left = lefts.take_turn();
                    if (own) {
                        take(layout::RIGHT_FULL);
                        const int8_t *const right = rights.take_turn();
                        if (k == 0) {
                            begin(reinterpret_cast<const float *>(right + contract::B_VALUE_BYTES), sums);
                        }
                        multiply(left, reinterpret_cast<const bfp16ebs8 *>(right), sums);
                        give(layout::RIGHT_FREE);
                    }
                    give(layout::LEFT_FREE);
                }
                if (own) {
                    take(layout::PRODUCT_FREE);
                    finish(sums, products.take_turn(), epilogue);
                    give(layout::PRODUCT_FULL);
                }
            }
        }
    }
}
