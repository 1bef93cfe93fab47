// SPDX-License-Identifier: MPL-2.0
//
// Runs one core's program on this machine, with a model of what surrounds the core: locks, the DMA
// that fills and empties its buffers, and the memory tile's turning of sub-tiles into rows.
//
// Standard input holds dispatches: both parameters and the number of tiles of C, then all tiles of A
// and all tiles of B. Standard output gets the tiles of C as they leave the memory tile. The argument
// is a seed: how eager the DMA is differs with it. Exits with an error if the program would hang,
// takes a lock that is not its own, or leaves something over.

#include <aie_api/aie.hpp>
#include <cstdlib>
#include <random>
#include <vector>

#include "contract.h"
#include "layout.h"

extern "C" void whispernpu_core(const int8_t *left0, const int8_t *left1, const int8_t *right0, const int8_t *right1,
                                float *sums, const int32_t *parameters);

namespace {

alignas(64) std::uint8_t memory[0x10000];

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

// Tiles of one operand, and the buffers that they pass through in the core.
struct Stream {
    unsigned address, bytes, free_lock, full_lock;
    std::vector<Tile> tiles = {};
    std::size_t done = 0, back = 0;

    std::uint8_t *buffer(std::size_t turn) const { return memory + address + turn % layout::CORE_DEPTH * bytes; }
};

struct Machine {
    int locks[16] = {};
    Stream left = {layout::LEFTS_AT, contract::A_TILE_BYTES, layout::LEFT_FREE, layout::LEFT_FULL};
    Stream right = {layout::RIGHTS_AT, contract::B_TILE_BYTES, layout::RIGHT_FREE, layout::RIGHT_FULL};
    std::mt19937 random;

    bool fill(Stream &stream) {
        if (locks[stream.free_lock] == 0 || stream.done == stream.tiles.size()) {
            return false;
        }
        locks[stream.free_lock]--;
        std::memcpy(stream.buffer(stream.done), stream.tiles[stream.done].data(), stream.bytes);
        stream.done++;
        locks[stream.full_lock]++;
        return true;
    }

    // Sends C by the walk of the memory tile's DMA.
    bool empty() {
        if (locks[layout::PRODUCT_FULL] == 0) {
            return false;
        }
        locks[layout::PRODUCT_FULL]--;
        const auto &size = layout::ROWS_SIZES;
        const auto &stride = layout::ROWS_STRIDES;
        for (unsigned i = 0; i < size[0] * size[1] * size[2] * size[3]; i++) {
            unsigned rest = i, offset = 0;
            for (int dimension = 3; dimension >= 0; dimension--) {
                offset += rest % size[dimension] * stride[dimension];
                rest /= size[dimension];
            }
            std::fwrite(memory + layout::PRODUCT_AT + 4 * offset, 1, 4, stdout);
        }
        std::memset(memory + layout::PRODUCT_AT, 0xff, contract::C_TILE_BYTES);
        locks[layout::PRODUCT_FREE]++;
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

    void read_tiles(Stream &stream, std::size_t count) {
        for (std::size_t i = 0; i < count; i++) {
            stream.tiles.emplace_back(stream.bytes);
            if (!read(stream.tiles.back().data(), stream.bytes)) {
                fail("input ends within a dispatch");
            }
        }
    }

    // The core waits for A, and there is none.
    void start() {
        while (step()) {
        }
        if (left.done != left.tiles.size() || right.done != right.tiles.size() || locks[layout::RIGHT_FULL] != 0) {
            fail("tiles are left over");
        }
        std::uint32_t words[contract::PARAMETER_WORDS + 1];
        if (!read(words, sizeof words)) {
            throw NoMoreWork();
        }
        const std::size_t tiles = std::size_t(words[0] + 1) * words[contract::PARAMETER_WORDS];
        read_tiles(left, tiles);
        read_tiles(right, tiles);
        std::memcpy(memory + contract::PARAMETERS_AT, words, 4 * contract::PARAMETER_WORDS);
    }

    void acquire(unsigned lock, int value) {
        for (unsigned eager = random() % 4; eager > 0; eager--) {
            step();
        }
        if (lock == layout::LEFT_FULL && locks[lock] == 0 && left.done == left.tiles.size()) {
            start();
        }
        while (locks[lock] < value) {
            if (!step()) {
                fail("the core hangs on lock", lock);
            }
        }
        locks[lock] -= value;
    }

    // What the core hands back is overwritten at once, as the next tile may.
    void give(unsigned lock, int value) {
        for (Stream *stream : {&left, &right}) {
            if (lock == stream->free_lock) {
                std::memset(stream->buffer(stream->back++), 0xff, stream->bytes);
            }
        }
        locks[lock] += value;
        if (locks[layout::LEFT_FREE] + locks[layout::LEFT_FULL] > int(layout::CORE_DEPTH) ||
            locks[layout::RIGHT_FREE] + locks[layout::RIGHT_FULL] > int(layout::CORE_DEPTH) ||
            locks[layout::PRODUCT_FREE] + locks[layout::PRODUCT_FULL] > 1) {
            fail("more buffers are handed over than there are, lock", lock);
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
    machine.locks[layout::LEFT_FREE] = machine.locks[layout::RIGHT_FREE] = layout::CORE_DEPTH;
    machine.locks[layout::PRODUCT_FREE] = 1;
    std::memset(memory, 0xff, sizeof memory);
    try {
        whispernpu_core(at<int8_t>(layout::LEFTS_AT), at<int8_t>(layout::LEFTS_AT + contract::A_TILE_BYTES),
                        at<int8_t>(layout::RIGHTS_AT), at<int8_t>(layout::RIGHTS_AT + contract::B_TILE_BYTES),
                        at<float>(layout::PRODUCT_AT), at<int32_t>(contract::PARAMETERS_AT));
    } catch (const NoMoreWork &) {
    }
}
