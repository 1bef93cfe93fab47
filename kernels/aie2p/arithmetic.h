// SPDX-License-Identifier: MPL-2.0
//
// GELU as src/encoder/npu/arithmetic.rs defines it to the bit: products of bf16, and sums of f32 in
// a fixed order.
#pragma once

#include <aie_api/aie.hpp>

#include "contract.h"

namespace arithmetic {

// Lanes of the multiplier for bf16.
constexpr unsigned LANES = 32;
using Float = aie::vector<float, LANES>;
using Half = aie::vector<bfloat16, LANES>;
using Sum = aie::accum<accfloat, LANES>;

inline Half to_half(const Float &x) {
    return Sum(x).to_vector<bfloat16>();
}

inline Float to_float(const Half &x) {
    return Sum(x).to_vector<float>();
}

// f32 as the sum of two bf16: its first 16 bits of precision.
struct Split {
    Half high;
    Half low;

    explicit Split(const Float &x) : high(to_half(x)), low(to_half(aie::sub(x, to_float(high)))) {}
};

// a b to about 16 bits: three products, added in this order.
inline Float product(const Split &a, const Split &b) {
    Sum sum = aie::mul(a.high, b.high);
    sum = aie::mac(sum, a.high, b.low);
    sum = aie::mac(sum, a.low, b.high);
    return sum.to_vector<float>();
}

inline Float square(const Float &x) {
    const Split split(x);
    return product(split, split);
}

// x Φ(x) = max(x, 0) - |x| Φ(-|x|); a polynomial has the eighth root of Φ.
inline Float gelu(const Float &x) {
    const Float size = aie::min(aie::abs(x), aie::broadcast<float, LANES>(contract::GELU_END));
    const Split split(size);
    Float root = aie::broadcast<float, LANES>(contract::GELU_ROOT[contract::GELU_TERMS - 1]);
    for (unsigned i = contract::GELU_TERMS - 1; i > 0; i--) {
        const Float term = aie::broadcast<float, LANES>(contract::GELU_ROOT[i - 1]);
        root = aie::add(product(Split(root), split), term);
    }
    const Float tail = square(square(square(root)));
    return aie::sub(aie::max(x, aie::zeros<float, LANES>()), product(split, Split(tail)));
}

} // namespace arithmetic
