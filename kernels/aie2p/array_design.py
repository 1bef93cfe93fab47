# SPDX-License-Identifier: MPL-2.0
"""The array design as plain data: buffers, locks, DMA transfers and flows of all tiles.

Its numbers come from contract.h and layout.h and from nowhere else. overlay.py says the same to mlir-aie; `check` holds it
against AIE2P's limits and runs it. Sizes and addresses are in bytes.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

SHIM_ROW, MEMORY_ROW = 0, 1


def header(name):
    """The constants of a header, lists as lists."""
    text = (Path(__file__).parent / name).read_text()
    single = re.findall(r"^constexpr unsigned (\w+) = (\w+);", text, re.M)
    several = re.findall(r"^constexpr unsigned (\w+)\[\] = \{([^}]*)\};", text, re.M)
    numbers = {name: int(value, 0) for name, value in single}
    numbers |= {name: [int(value, 0) for value in values.split(",")] for name, values in several}
    return SimpleNamespace(**numbers)


contract = header("contract.h")
layout = header("layout.h")


@dataclass(frozen=True)
class Tile:
    column: int
    row: int

    def __str__(self):
        return f"{self.column}_{self.row}"


@dataclass(frozen=True)
class Buffer:
    tile: Tile
    name: str
    bytes: int
    # "f32", "i32", or "i8" for blocks.
    type: str
    # Where mlir-aie may choose (memory tiles), none.
    address: int | None = None


@dataclass(frozen=True)
class Lock:
    tile: Tile
    number: int
    name: str
    # At power-up.
    value: int


@dataclass(frozen=True)
class Transfer:
    """A buffer descriptor: it takes 1 from a lock, moves bytes, and gives 1 to another lock."""

    buffer: Buffer
    take: Lock
    give: Lock
    offset: int
    bytes: int
    # Sub-tiles become rows on the way out.
    to_rows: bool = False


@dataclass(frozen=True)
class End:
    """A DMA channel. IN is S2MM, from the stream to memory, OUT is MM2S."""

    tile: Tile
    direction: str
    channel: int


IN, OUT = "S2MM", "MM2S"


@dataclass
class Array:
    buffers: list = field(default_factory=list)
    locks: list = field(default_factory=list)
    # For each channel its transfers, over and over.
    channels: dict = field(default_factory=dict)
    # Pairs of ends; one source with several targets is a broadcast.
    flows: list = field(default_factory=list)
    # For each core what its program is called with.
    cores: dict = field(default_factory=dict)


def shim(column):
    return Tile(column, SHIM_ROW)


def memory(column):
    return Tile(column, MEMORY_ROW)


def core(row, column):
    return Tile(column, contract.FIRST_CORE_ROW + row)


# Channels of a memory tile. Even channels have descriptors 0 to 23, odd ones 24 to 47.
RIGHT_IN, LEFT_IN, PRODUCT_IN = 0, 1, 2
RIGHT_OUT, LEFT_OUT, PRODUCT_OUT = 0, 1, 2
# Channels of a core.
CORE_LEFT, CORE_RIGHT, CORE_PRODUCT = 0, 1, 0


class Builder:
    def __init__(self):
        self.array = Array()
        self.next_lock = {}

    def buffers(self, tile, name, bytes, type, count, address=None):
        made = []
        for i in range(count):
            at = None if address is None else address + i * bytes
            made.append(Buffer(tile, f"{name}{i}_{tile}", bytes, type, at))
        self.array.buffers += made
        return made

    def lock(self, tile, name, value, number=None):
        if number is None:
            number = self.next_lock.get(tile, 0)
            self.next_lock[tile] = number + 1
        self.array.locks.append(Lock(tile, number, f"{name}_{tile}", value))
        return self.array.locks[-1]

    def locks(self, tile, name, count, numbers=(None, None)):
        return self.lock(tile, f"{name}_free", count, numbers[0]), self.lock(tile, f"{name}_full", 0, numbers[1])

    def channel(self, tile, direction, number, transfers):
        self.array.channels[End(tile, direction, number)] = transfers

    def whole(self, buffers, take, give):
        return [Transfer(buffer, take, give, 0, buffer.bytes) for buffer in buffers]

    def pass_on(self, tile, name, bytes, channels):
        """A memory tile takes tiles of one stream and sends them on."""
        buffers = self.buffers(tile, name, bytes, "i8", layout.MEMORY_DEPTH)
        free, full = self.locks(tile, name, layout.MEMORY_DEPTH)
        self.channel(tile, IN, channels[0], self.whole(buffers, free, full))
        self.channel(tile, OUT, channels[1], self.whole(buffers, full, free))

    def flow(self, source, target):
        self.array.flows.append((End(source[0], OUT, source[1]), End(target[0], IN, target[1])))


def build_memory(builder, column):
    tile = memory(column)
    builder.pass_on(tile, "right", contract.B_TILE_BYTES, (RIGHT_IN, RIGHT_OUT))
    builder.flow((shim(contract.B_COLUMNS[column]), contract.B_CHANNELS[column]), (tile, RIGHT_IN))
    if column in contract.A_COLUMNS:
        channel = contract.A_CHANNELS[contract.A_COLUMNS.index(column)]
        builder.pass_on(tile, "left", contract.A_TILE_BYTES, (LEFT_IN, LEFT_OUT))
        builder.flow((shim(column), channel), (tile, LEFT_IN))
    # Four cores fill a quarter each; the quarters leave one after another, each as soon as it is
    # full.
    quarter = contract.C_TILE_BYTES
    joined = builder.buffers(tile, "product", contract.ROWS * quarter, "f32", layout.PRODUCT_DEPTH)
    parts = []
    for row in range(contract.ROWS):
        free, full = builder.locks(tile, f"product{row}", layout.PRODUCT_DEPTH)
        parts.append([(buffer, row * quarter, free, full) for buffer in joined])
        transfers = [Transfer(buffer, free, full, row * quarter, quarter) for buffer in joined]
        builder.channel(tile, IN, PRODUCT_IN + row, transfers)
    out = []
    for turn in zip(*parts):
        out += [Transfer(buffer, full, free, offset, quarter, True) for buffer, offset, free, full in turn]
    builder.channel(tile, OUT, PRODUCT_OUT, out)
    builder.flow((tile, PRODUCT_OUT), (shim(contract.C_COLUMNS[column]), 0))


def build_core(builder, row, column):
    tile = core(row, column)
    depth = layout.CORE_DEPTH
    lefts = builder.buffers(tile, "left", contract.A_TILE_BYTES, "i8", depth, layout.LEFTS_AT)
    rights = builder.buffers(tile, "right", contract.B_TILE_BYTES, "i8", depth, layout.RIGHTS_AT)
    product = builder.buffers(tile, "product", contract.C_TILE_BYTES, "f32", 1, layout.PRODUCT_AT)
    parameters = builder.buffers(tile, "parameters", contract.PARAMETER_WORDS * 4, "i32", 1, contract.PARAMETERS_AT)
    free, full = builder.locks(tile, "left", depth, (layout.LEFT_FREE, layout.LEFT_FULL))
    builder.channel(tile, IN, CORE_LEFT, builder.whole(lefts, free, full))
    free, full = builder.locks(tile, "right", depth, (layout.RIGHT_FREE, layout.RIGHT_FULL))
    builder.channel(tile, IN, CORE_RIGHT, builder.whole(rights, free, full))
    free, full = builder.locks(tile, "product", 1, (layout.PRODUCT_FREE, layout.PRODUCT_FULL))
    builder.channel(tile, OUT, CORE_PRODUCT, builder.whole(product, full, free))
    builder.flow((memory(contract.A_COLUMNS[row]), LEFT_OUT), (tile, CORE_LEFT))
    builder.flow((memory(column), RIGHT_OUT), (tile, CORE_RIGHT))
    builder.flow((tile, CORE_PRODUCT), (memory(column), PRODUCT_IN + row))
    builder.array.cores[tile] = lefts + rights + product + parameters


def describe():
    builder = Builder()
    for column in range(contract.COLUMNS):
        build_memory(builder, column)
        for row in range(contract.ROWS):
            build_core(builder, row, column)
    return builder.array
