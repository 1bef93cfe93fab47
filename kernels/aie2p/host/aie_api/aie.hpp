// SPDX-License-Identifier: MPL-2.0
//
// A stand-in for the part of AMD's aie_api and of Peano's intrinsics that the core program uses, so
// that it compiles and runs on any machine. Each operation is computed by its definition, a value
// at a time, in integers where the array rounds; bit patterns and block format are as aie_api's
// documentation has them.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <type_traits>

// Tag of f32 sums.
struct accfloat {};

struct bfloat16 {
    std::uint16_t bits;
};

// Names what lies in memory: bytes of blocks.
struct bfp16ebs8 {
    std::uint8_t byte;
};

namespace aie {

enum class rounding_mode { floor, conv_even };

// What cores power up with is rounding down.
inline rounding_mode rounding = rounding_mode::floor;

inline void set_rounding(rounding_mode mode) {
    rounding = mode;
}

// Rounding away from zero carries into the exponent by itself, since magnitudes are ordered as their
// bits are.
inline bfloat16 to_bfloat16(float x) {
    std::uint32_t bits;
    std::memcpy(&bits, &x, sizeof bits);
    const bool negative = bits >> 31;
    const std::uint32_t rest = bits & 0xffff;
    bits >>= 16;
    if (rounding == rounding_mode::conv_even) {
        bits += rest > 0x8000 || (rest == 0x8000 && (bits & 1));
    } else {
        bits += negative && rest > 0;
    }
    return {std::uint16_t(bits)};
}

struct Block {
    std::uint8_t exponent;
    std::int8_t mantissas[8];
};
static_assert(sizeof(Block) == 9, "exponent and mantissas without gaps");

template <typename T, unsigned N> struct vector {
    std::array<T, N> values;

    template <typename U> vector<U, N * sizeof(T) / sizeof(U)> cast_to() const {
        vector<U, N * sizeof(T) / sizeof(U)> result;
        std::memcpy(result.values.data(), values.data(), sizeof values);
        return result;
    }
};

template <typename T, unsigned N> struct block_vector {
    std::array<Block, N / 8> blocks;
};

// A vector is loaded and stored where its size, up to 64 bytes, divides the address.
template <typename T, unsigned N> void check_alignment(const T *at) {
    constexpr std::size_t bytes = sizeof(T) * N < 64 ? sizeof(T) * N : 64;
    if (reinterpret_cast<std::uintptr_t>(at) % bytes != 0) {
        std::fprintf(stderr, "a vector at an address that is no multiple of %zu\n", bytes);
        std::abort();
    }
}

template <unsigned N, typename T> vector<T, N> load_v(const T *from) {
    check_alignment<T, N>(from);
    vector<T, N> result;
    std::memcpy(result.values.data(), from, sizeof(T) * N);
    return result;
}

template <typename T, unsigned N> void store_v(T *to, const vector<T, N> &x) {
    check_alignment<T, N>(to);
    std::memcpy(to, x.values.data(), sizeof(T) * N);
}

template <typename Tag, unsigned N> struct accum {
    std::array<float, N> values;

    accum() { values.fill(std::nanf("")); }
    explicit accum(const vector<float, N> &x) : values(x.values) {}

    template <typename T> vector<T, N> to_vector() const {
        vector<T, N> result;
        for (unsigned i = 0; i < N; i++) {
            if constexpr (std::is_same_v<T, bfloat16>) {
                result.values[i] = to_bfloat16(values[i]);
            } else {
                result.values[i] = values[i];
            }
        }
        return result;
    }
};

template <typename Tag, unsigned N> accum<Tag, N> zeros() {
    accum<Tag, N> result;
    result.values.fill(0.0f);
    return result;
}

// Blocks lie in memory without gaps, wherever vectors would have to be aligned.
template <typename T, unsigned N> class block_vector_input_buffer_stream {
    static constexpr unsigned BYTES = sizeof(block_vector<T, N>);
    const std::uint8_t *next;

public:
    explicit block_vector_input_buffer_stream(const T *from) : next(reinterpret_cast<const std::uint8_t *>(from)) {}

    void seek(int vectors) { next += vectors * int(BYTES); }

    block_vector<T, N> pop() {
        block_vector<T, N> result;
        std::memcpy(result.blocks.data(), next, BYTES);
        next += BYTES;
        return result;
    }
};

} // namespace aie

// Rows of A's blocks times rows of B's, which are B's columns. A block's product is an integer
// times a power of two (mantissas count 64ths); it is added in f32.
inline aie::accum<accfloat, 64> mac_8x8_8x8T(const aie::block_vector<bfp16ebs8, 64> &a,
                                             const aie::block_vector<bfp16ebs8, 64> &b, const aie::accum<accfloat, 64> &sum) {
    aie::accum<accfloat, 64> result;
    for (unsigned i = 0; i < 64; i++) {
        const aie::Block &row = a.blocks[i / 8], &column = b.blocks[i % 8];
        int dot = 0;
        for (unsigned k = 0; k < 8; k++) {
            dot += row.mantissas[k] * column.mantissas[k];
        }
        const int exponent = int(row.exponent) + int(column.exponent) - 2 * (127 + 6);
        result.values[i] = sum.values[i] + float(std::ldexp(double(dot), exponent));
    }
    return result;
}

// Locks belong to the machine around the core, which a program that runs this one supplies.
void acquire_greater_equal(unsigned id, unsigned value);
void release(unsigned id, int value);
