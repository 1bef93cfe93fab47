// SPDX-License-Identifier: MPL-2.0
//
// bf16 and bfp16ebs8 by their definitions, in integers: no trick of the Rust emulation, which is
// tested against this.
#pragma once

#include <cstdint>
#include <cstring>

namespace formats {

// What cores power up with is rounding down; set_rounding changes it.
inline bool even = false;

inline std::uint32_t bits_of(float x) {
    std::uint32_t bits;
    std::memcpy(&bits, &x, sizeof bits);
    return bits;
}

inline float of_bits(std::uint32_t bits) {
    float x;
    std::memcpy(&x, &bits, sizeof x);
    return x;
}

// `value` without its last `places` bits (1 to 62), rounded as the mode says; `value` may be
// negative.
inline std::int64_t drop_places(std::int64_t value, unsigned places) {
    const std::int64_t unit = std::int64_t(1) << places;
    std::int64_t quotient = value / unit, rest = value % unit;
    if (rest < 0) {
        rest += unit;
        quotient--;
    }
    const bool up = rest > unit / 2 || (rest == unit / 2 && quotient % 2 != 0);
    return quotient + (even && up ? 1 : 0);
}

// Sign and magnitude of a finite f32 as an integer of 24 bits; with its exponent it is integer *
// 2^(exponent - 127 - 23).
inline std::int64_t significand(float x) {
    const std::uint32_t bits = bits_of(x);
    // What has exponent 0 counts as zero, as the array's f32 has it.
    const std::int64_t magnitude = (bits >> 23 & 0xff) == 0 ? 0 : (bits & 0x7fffff) | 0x800000;
    return bits >> 31 ? -magnitude : magnitude;
}

inline std::uint32_t exponent(float x) {
    return bits_of(x) >> 23 & 0xff;
}

constexpr unsigned BLOCK = 8;
// A mantissa of a block with this exponent counts ones: 127, and six places after the point.
constexpr int UNIT_EXPONENT = 127 + 6;

struct Block {
    std::uint8_t exponent;
    std::int8_t mantissas[BLOCK];
};
static_assert(sizeof(Block) == 9, "exponent and mantissas without gaps");

// The exponent is the largest one; each value keeps seven bits and its sign. What rounds to 128 is
// 127, as CONTRACT.md says.
inline Block to_block(const float *values) {
    Block block = {};
    for (unsigned i = 0; i < BLOCK; i++) {
        if (exponent(values[i]) > block.exponent) {
            block.exponent = std::uint8_t(exponent(values[i]));
        }
    }
    for (unsigned i = 0; i < BLOCK; i++) {
        const unsigned below = block.exponent - exponent(values[i]);
        // A value of 24 bits and more places below is less than half a last place.
        const std::int64_t mantissa = drop_places(significand(values[i]), 17 + (below < 40 ? below : 40));
        block.mantissas[i] = std::int8_t(mantissa > 127 ? 127 : mantissa);
    }
    return block;
}

} // namespace formats

struct bfloat16 {
    std::uint16_t bits;

    bfloat16() = default;
    // Only of values that bf16 holds.
    explicit bfloat16(float x) : bits(std::uint16_t(formats::bits_of(x) >> 16)) {}
    explicit operator float() const { return formats::of_bits(std::uint32_t(bits) << 16); }
};

// Names what lies in memory: bytes of blocks.
struct bfp16ebs8 {
    std::uint8_t byte;
};

namespace formats {

// Rounding away from zero carries into the exponent by itself, since magnitudes are ordered as
// their bits are.
inline bfloat16 to_bfloat16(float x) {
    const std::int64_t magnitude = bits_of(x) & 0x7fffffff;
    const std::int64_t rounded = drop_places(bits_of(x) >> 31 ? -magnitude : magnitude, 16);
    bfloat16 result;
    result.bits = std::uint16_t((rounded < 0 ? -rounded : rounded) | (bits_of(x) >> 31 << 15));
    return result;
}

} // namespace formats
