// SPDX-License-Identifier: MPL-2.0
//
// A stand-in for the part of AMD's aie_api and of Peano's intrinsics that the core program uses, so
// that it compiles and runs on any machine. Each operation is computed by its definition, a value
// at a time; bit patterns and block format are as aie_api's documentation has them. Vectors of one
// kind have no more sizes than are used.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <type_traits>

#include "formats.hpp"

// Tag of f32 sums.
struct accfloat {};

namespace aie {

template <typename T, unsigned N> struct vector {
    std::array<T, N> values;
};

template <typename T, unsigned N> struct block_vector;

template <unsigned N> struct block_vector<bfp16ebs8, N> {
    static constexpr unsigned BLOCKS = N / formats::BLOCK;
    std::array<formats::Block, BLOCKS> blocks;
};

template <typename T, unsigned N> vector<T, N> broadcast(float x) {
    vector<T, N> result;
    result.values.fill(T(x));
    return result;
}

template <typename T, unsigned N> vector<T, N> zeros() {
    return broadcast<T, N>(0.0f);
}

template <typename T, unsigned N> vector<T, 2 * N> concat(const vector<T, N> &a, const vector<T, N> &b) {
    vector<T, 2 * N> result;
    for (unsigned i = 0; i < N; i++) {
        result.values[i] = a.values[i];
        result.values[N + i] = b.values[i];
    }
    return result;
}

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

template <unsigned N, typename F> vector<float, N> each(const vector<float, N> &a, const vector<float, N> &b, F f) {
    vector<float, N> result;
    for (unsigned i = 0; i < N; i++) {
        result.values[i] = f(a.values[i], b.values[i]);
    }
    return result;
}

template <unsigned N> vector<float, N> add(const vector<float, N> &a, const vector<float, N> &b) {
    return each(a, b, [](float x, float y) { return x + y; });
}

template <unsigned N> vector<float, N> sub(const vector<float, N> &a, const vector<float, N> &b) {
    return each(a, b, [](float x, float y) { return x - y; });
}

template <unsigned N> vector<float, N> max(const vector<float, N> &a, const vector<float, N> &b) {
    return each(a, b, [](float x, float y) { return x > y ? x : y; });
}

template <unsigned N> vector<float, N> min(const vector<float, N> &a, const vector<float, N> &b) {
    return each(a, b, [](float x, float y) { return x < y ? x : y; });
}

template <unsigned N> vector<float, N> abs(const vector<float, N> &a) {
    return each(a, a, [](float x, float) { return std::fabs(x); });
}

template <typename Tag, unsigned N> struct accum {
    std::array<float, N> values;

    accum() { values.fill(std::nanf("")); }
    template <typename T> accum(const vector<T, N> &x) { *this = x; }

    template <typename T> accum &operator=(const vector<T, N> &x) {
        for (unsigned i = 0; i < N; i++) {
            values[i] = float(x.values[i]);
        }
        return *this;
    }

    template <typename T> auto to_vector() const {
        if constexpr (std::is_same_v<T, bfp16ebs8>) {
            block_vector<bfp16ebs8, N> result;
            for (unsigned i = 0; i < result.BLOCKS; i++) {
                result.blocks[i] = formats::to_block(&values[i * formats::BLOCK]);
            }
            return result;
        } else {
            vector<T, N> result;
            for (unsigned i = 0; i < N; i++) {
                if constexpr (std::is_same_v<T, bfloat16>) {
                    result.values[i] = formats::to_bfloat16(values[i]);
                } else {
                    result.values[i] = values[i];
                }
            }
            return result;
        }
    }
};

// A product of two bf16 is exact in f32.
template <unsigned N> accum<accfloat, N> mul(const vector<bfloat16, N> &a, const vector<bfloat16, N> &b) {
    accum<accfloat, N> result;
    for (unsigned i = 0; i < N; i++) {
        result.values[i] = float(a.values[i]) * float(b.values[i]);
    }
    return result;
}

template <unsigned N>
accum<accfloat, N> mac(const accum<accfloat, N> &sum, const vector<bfloat16, N> &a, const vector<bfloat16, N> &b) {
    accum<accfloat, N> result = mul(a, b);
    for (unsigned i = 0; i < N; i++) {
        result.values[i] = sum.values[i] + result.values[i];
    }
    return result;
}

// Blocks lie in memory without gaps, wherever vectors would have to be aligned.
template <typename T, unsigned N> class block_vector_input_buffer_stream {
    static constexpr unsigned BYTES = block_vector<T, N>::BLOCKS * sizeof(formats::Block);
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

enum class rounding_mode { floor, conv_even };

inline void set_rounding(rounding_mode mode) {
    formats::even = mode == rounding_mode::conv_even;
}

} // namespace aie

// Rows of A's blocks times rows of B's, which are B's columns. A block's product is an integer
// times a power of two; it is added in f32.
inline aie::accum<accfloat, 64> mac_8x8_8x8T(const aie::block_vector<bfp16ebs8, 64> &a,
                                             const aie::block_vector<bfp16ebs8, 64> &b, const aie::accum<accfloat, 64> &sum) {
    aie::accum<accfloat, 64> result;
    for (unsigned i = 0; i < 64; i++) {
        const formats::Block &row = a.blocks[i / 8], &column = b.blocks[i % 8];
        int dot = 0;
        for (unsigned k = 0; k < formats::BLOCK; k++) {
            dot += row.mantissas[k] * column.mantissas[k];
        }
        const int exponent = int(row.exponent) + int(column.exponent) - 2 * formats::UNIT_EXPONENT;
        result.values[i] = sum.values[i] + float(std::ldexp(double(dot), exponent));
    }
    return result;
}

// Locks belong to the machine around the core, which a program that runs this one supplies.
void acquire_greater_equal(unsigned id, unsigned value);
void release(unsigned id, int value);
