// SPDX-License-Identifier: MPL-2.0
//
// Runs one core's program on this machine, with a model of what surrounds the core: locks, the DMA
// that fills and empties its buffers, and the memory tile's exchange of rows and sub-tiles.
//
// Standard input holds dispatches: five words of parameters, then all tiles of A as they come to
// the memory tile (64 x 64 bf16, row-major), then all tiles of B. Standard output gets the tiles of
// C as they leave the memory tile. The argument is a seed: how eager the DMA is differs with it.
// Exits with an error if the program would hang, takes a lock that is not its own, or leaves
// something over.

#include <aie_api/aie.hpp>
#include <cstdlib>
#include <random>
#include <vector>

#include "contract.h"
#include "layout.h"

extern "C" void whispernpu_core(const bfloat16 *left0, const bfloat16 *left1, const int8_t *right0, const int8_t *right1,
                                bfloat16 *product0, bfloat16 *product1, float *sums, const int32_t *parameters);

namespace {

constexpr unsigned MEMORY = 0x10000;
alignas(64) std::uint8_t memory[MEMORY];

[[noreturn]] void fail(const char *what, unsigned value = 0) {
    std::fprintf(stderr, "%s %u\n", what, value);
    std::exit(1);
}

template <typename T> T *at(unsigned address) {
    return reinterpret_cast<T *>(memory + address);
}

// Thrown where the core waits for a dispatch that never comes.
struct NoMoreWork {};

using Tile = std::vector<std::uint8_t>;

// Tiles of one stream, and the buffers that they pass through in the core.
struct Stream {
    unsigned address, bytes, free_lock, full_lock;
    std::vector<Tile> tiles = {};
    std::size_t done = 0;

    std::uint8_t *buffer() const { return memory + address + done % layout::CORE_DEPTH * bytes; }
};

struct Machine {
    int locks[16] = {};
    Stream left = {layout::LEFTS_AT, contract::A_TILE_BYTES, layout::LEFT_FREE, layout::LEFT_FULL};
    Stream right = {layout::RIGHTS_AT, contract::B_TILE_BYTES, layout::RIGHT_FREE, layout::RIGHT_FULL};
    Stream product = {layout::PRODUCTS_AT, contract::C_TILE_BYTES, layout::PRODUCT_FREE, layout::PRODUCT_FULL};
    // Which buffers the core has handed back; those it may not look at any more.
    std::size_t lefts_back = 0, rights_back = 0;
    std::mt19937 random;

    // The walk of a memory tile's DMA over a tile of bf16.
    static Tile exchange(const std::uint8_t *from) {
        Tile to;
        const auto &size = layout::EXCHANGE_SIZES;
        const auto &stride = layout::EXCHANGE_STRIDES;
        for (unsigned i = 0; i < size[0] * size[1] * size[2] * size[3]; i++) {
            unsigned rest = i, offset = 0;
            for (int dimension = 3; dimension >= 0; dimension--) {
                offset += rest % size[dimension] * stride[dimension];
                rest /= size[dimension];
            }
            to.insert(to.end(), from + 2 * offset, from + 2 * offset + 2);
        }
        return to;
    }

    bool fill(Stream &stream) {
        if (locks[stream.free_lock] == 0 || stream.done == stream.tiles.size()) {
            return false;
        }
        locks[stream.free_lock]--;
        std::memcpy(stream.buffer(), stream.tiles[stream.done].data(), stream.bytes);
        stream.done++;
        locks[stream.full_lock]++;
        return true;
    }

    bool empty() {
        if (locks[product.full_lock] == 0) {
            return false;
        }
        locks[product.full_lock]--;
        const Tile rows = exchange(product.buffer());
        std::fwrite(rows.data(), 1, rows.size(), stdout);
        std::memset(product.buffer(), 0xff, product.bytes);
        product.done++;
        locks[product.free_lock]++;
        return true;
    }

    // One thing that the DMA can do, in an order that chance decides.
    bool step() {
        const unsigned first = random() % 3;
        for (unsigned i = 0; i < 3; i++) {
            const unsigned which = (first + i) % 3;
            if (which == 0 ? fill(left) : which == 1 ? fill(right) : empty()) {
                return true;
            }
        }
        return false;
    }

    static bool read(void *to, std::size_t bytes) {
        const std::size_t found = std::fread(to, 1, bytes, stdin);
        if (found != 0 && found != bytes) {
            fail("input ends within a dispatch");
        }
        return found == bytes;
    }

    void read_tiles(Stream &stream, std::size_t count, bool rows) {
        for (std::size_t i = 0; i < count; i++) {
            Tile tile(stream.bytes);
            if (!read(tile.data(), tile.size())) {
                fail("input ends within a dispatch");
            }
            stream.tiles.push_back(rows ? exchange(tile.data()) : tile);
        }
    }

    void start() {
        while (step()) {
        }
        if (left.done != left.tiles.size() || right.done != right.tiles.size() || locks[layout::LEFT_FULL] != 0 ||
            locks[layout::RIGHT_FULL] != 0) {
            fail("tiles are left over");
        }
        std::uint32_t words[contract::PARAMETER_WORDS];
        if (!read(words, sizeof words)) {
            throw NoMoreWork();
        }
        const std::size_t tiles = std::size_t(words[contract::PARAMETER_K_TILES]) * words[contract::PARAMETER_M_PASSES];
        read_tiles(left, tiles * words[contract::PARAMETER_N_PASSES], true);
        read_tiles(right, tiles * words[contract::PARAMETER_OWN_PASSES], false);
        std::memcpy(memory + contract::PARAMETERS_AT, words, sizeof words);
        locks[contract::START_LOCK] = 1;
    }

    void acquire(unsigned lock, int value) {
        if (lock == contract::START_LOCK && locks[lock] == 0) {
            start();
        }
        for (unsigned eager = random() % 4; eager > 0; eager--) {
            step();
        }
        while (locks[lock] < value) {
            if (!step()) {
                fail("the core hangs on lock", lock);
            }
        }
        locks[lock] -= value;
    }

    // What the core hands back is overwritten at once, as the next tile may.
    void poison(const Stream &stream, std::size_t &back) {
        std::memset(memory + stream.address + back++ % layout::CORE_DEPTH * stream.bytes, 0xff, stream.bytes);
    }

    void give(unsigned lock, int value) {
        if (lock == layout::LEFT_FREE) {
            poison(left, lefts_back);
        } else if (lock == layout::RIGHT_FREE) {
            poison(right, rights_back);
        }
        locks[lock] += value;
        for (const Stream *stream : {&left, &right, &product}) {
            if (locks[stream->free_lock] + locks[stream->full_lock] > int(layout::CORE_DEPTH)) {
                fail("more buffers are handed over than there are, lock", lock);
            }
        }
    }
};

Machine machine;

unsigned own(unsigned id) {
    if (id < 48 || id >= 64) {
        fail("not a lock of the core's own memory:", id);
    }
    return id - 48;
}

} // namespace

void acquire_greater_equal(unsigned id, unsigned value) {
    machine.acquire(own(id), int(value));
}

void release(unsigned id, int value) {
    machine.give(own(id), value);
}

int main(int argc, char **argv) {
    machine.random.seed(argc > 1 ? unsigned(std::atoi(argv[1])) : 0);
    for (unsigned lock : {layout::LEFT_FREE, layout::RIGHT_FREE, layout::PRODUCT_FREE}) {
        machine.locks[lock] = layout::CORE_DEPTH;
    }
    std::memset(memory, 0xff, sizeof memory);
    try {
        whispernpu_core(at<bfloat16>(layout::LEFTS_AT), at<bfloat16>(layout::LEFTS_AT + contract::A_TILE_BYTES),
                        at<int8_t>(layout::RIGHTS_AT), at<int8_t>(layout::RIGHTS_AT + contract::B_TILE_BYTES),
                        at<bfloat16>(layout::PRODUCTS_AT), at<bfloat16>(layout::PRODUCTS_AT + contract::C_TILE_BYTES),
                        at<float>(layout::SUMS_AT), at<int32_t>(contract::PARAMETERS_AT));
    } catch (const NoMoreWork &) {
    }
}
