#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""Prints the array design (array_design.py) as MLIR, with the Python bindings of mlir-aie.

Written against python/dialects/aie.py of Xilinx/mlir-aie at commit 00cfd45fa6527f14a4f97069b6a52e84a4055dea (2026), and for the
names that `dma_bd` has had since. Nothing here chooses a number: what mlir-aie may choose are descriptors' numbers, addresses in
memory tiles, and routes. The shims' DMAs are left alone: the host's instruction streams program them.
"""

import inspect

import array_design as design
from aie.dialects.aie import (
    AIEDevice,
    DMAChannelDir,
    EndOp,
    LockAction,
    WireBundle,
    buffer,
    core,
    device,
    dma_bd,
    dma_start,
    external_func,
    flow,
    lock,
    mem,
    memtile_dma,
    next_bd,
    tile,
    use_lock,
)
from aie.extras import types as T
from aie.extras.context import mlir_mod_ctx

# What `build` compiles core.cc to.
OBJECT = "core.o"
FUNCTION = "whispernpu_core"

VALUE_BYTES = {"f32": 4, "i32": 4, "i8": 1}


def memref(buffer):
    element = {"f32": T.f32, "i32": T.i32, "i8": T.i8}[buffer.type]()
    return T.memref(buffer.bytes // VALUE_BYTES[buffer.type], element)


def move(transfer, memory):
    """A descriptor's address and walk, in values of its buffer."""
    size = VALUE_BYTES[transfer.buffer.type]
    offset, length = transfer.offset // size, transfer.bytes // size
    sizes, strides = design.layout.ROWS_SIZES, design.layout.ROWS_STRIDES
    if "transfer_len" in inspect.signature(dma_bd).parameters:
        walk = {"sizes": sizes, "strides": strides} if transfer.to_rows else {}
        dma_bd(memory, offset=offset, transfer_len=length, **walk)
    else:
        walk = {"dimensions": list(zip(sizes, strides))} if transfer.to_rows else {}
        dma_bd(memory, offset=offset, len=length, **walk)


def program_dma(block, channels, buffers, locks):
    """For each channel a ring of descriptors. Blocks are named by channel and place."""
    for i, (end, transfers) in enumerate(channels):
        with block["start", i] if i else block[0]:
            following = block["start", i + 1]
            dma_start(DMAChannelDir[end.direction], end.channel, dest=block[i, 0], chain=following)
        for j, transfer in enumerate(transfers):
            with block[i, j]:
                use_lock(locks[transfer.take], LockAction.AcquireGreaterEqual, value=1)
                move(transfer, buffers[transfer.buffer])
                use_lock(locks[transfer.give], LockAction.Release, value=1)
                next_bd(block[i, (j + 1) % len(transfers)])
    with block["start", len(channels)]:
        EndOp()


def build(array):
    first = next(iter(array.cores.values()))
    program = external_func(FUNCTION, inputs=[memref(buffer) for buffer in first], link_with=OBJECT)
    columns, rows = design.contract.COLUMNS, design.contract.FIRST_CORE_ROW + design.contract.ROWS
    tiles = {design.Tile(c, r): tile(c, r) for r in range(rows) for c in range(columns)}
    buffers = {b: buffer(tiles[b.tile], memref(b), name=b.name, address=b.address) for b in array.buffers}
    locks = {
        known: lock(tiles[known.tile], lock_id=known.number, init=known.value, sym_name=known.name)
        for known in array.locks
    }
    for source, target in array.flows:
        flow(
            tiles[source.tile],
            WireBundle.DMA,
            source.channel,
            tiles[target.tile],
            WireBundle.DMA,
            target.channel,
        )
    for at, handle in tiles.items():
        channels = [(end, transfers) for end, transfers in array.channels.items() if end.tile == at]
        if not channels:
            continue
        dma = memtile_dma if at.row == design.MEMORY_ROW else mem

        @dma(handle)
        def _(block):
            program_dma(block, channels, buffers, locks)

    for at, arguments in array.cores.items():

        @core(tiles[at], stack_size=design.layout.STACK_BYTES)
        def _():
            program(*[buffers[argument] for argument in arguments])


def main():
    with mlir_mod_ctx() as context:

        @device(AIEDevice.npu2)
        def _():
            build(design.describe())

        if not context.module.operation.verify():
            raise SystemExit("mlir-aie refuses the design")
        print(context.module)


if __name__ == "__main__":
    main()
