# SPDX-License-Identifier: MPL-2.0
"""A stand-in for the part of mlir-aie's Python bindings that overlay.py uses: it records what is said to it.

Signatures are those of python/dialects/aie.py that overlay.py names. It shows that overlay.py runs, and says what array_design.py
describes; it does not show that mlir-aie accepts it.
"""

import sys
from contextlib import contextmanager
from enum import Enum
from types import ModuleType, SimpleNamespace


def install():
    """Puts the stand-in where overlay.py imports mlir-aie from; what is said is in the result."""
    said = SimpleNamespace(tiles=[], buffers=[], locks=[], flows=[], descriptors={}, starts={}, cores={}, functions=[])
    now = SimpleNamespace(tile=None, block=None)
    dialect = ModuleType("aie.dialects.aie")
    dialect.AIEDevice = Enum("AIEDevice", "npu1 npu2")
    dialect.DMAChannelDir = Enum("DMAChannelDir", "S2MM MM2S")
    dialect.LockAction = Enum("LockAction", "Acquire Release AcquireGreaterEqual")
    dialect.WireBundle = Enum("WireBundle", "DMA South North")

    class Blocks:
        def __init__(self):
            self.known = {}

        def __getitem__(self, key):
            return self.known.setdefault(key, SimpleBlock(now.tile, key))

    class SimpleBlock:
        def __init__(self, tile, key):
            self.name = (tile, key)

        def __enter__(self):
            now.block = self.name

        def __exit__(self, *_):
            now.block = None

    def tile(col, row, *, loc=None, ip=None, allocation_scheme=None):
        said.tiles.append((col, row))
        return col, row

    def buffer(tile, datatype, name=None, address=None, initial_value=None, use_write_rtp=False, loc=None, ip=None):
        said.buffers.append((tile, datatype, name, address))
        return name

    def lock(tile, *, lock_id=None, init=None, sym_name=None, annot=None, loc=None, ip=None):
        said.locks.append((tile, lock_id, sym_name, init))
        return sym_name

    def flow(source, source_bundle=None, source_channel=None, dest=None, dest_bundle=None, dest_channel=None):
        said.flows.append((source, source_channel, dest, dest_channel))

    def descriptor():
        return said.descriptors.setdefault(now.block, {})

    def use_lock(lock, action, *, value=None, loc=None, ip=None):
        what = "give" if action is dialect.LockAction.Release else "take"
        assert value == 1 and what not in descriptor()
        descriptor()[what] = lock

    def dma_bd(buffer, *, offset=None, len=None, dimensions=None, bd_id=None, next_bd_id=None, loc=None, ip=None):
        assert "take" in descriptor() and "give" not in descriptor()
        descriptor()["move"] = (buffer, offset, len, dimensions)

    def next_bd(dest=None, loc=None, ip=None):
        descriptor()["next"] = dest.name

    def dma_start(channel_dir, channel_index, *, dest=None, chain=None, repeat_count=0, loc=None, ip=None):
        said.starts[now.tile, channel_dir.name, channel_index] = (now.block, dest.name, chain.name)

    def region(tile):
        def run(body):
            now.tile = tile
            body(Blocks())
            now.tile = None

        return run

    def core(tile, link_with=None, dynamic_objfifo_lowering=None, stack_size=None):
        assert link_with is None

        def run(body):
            now.tile = tile
            said.cores[tile] = [stack_size]
            body()
            now.tile = None

        return run

    def external_func(name, inputs, outputs=None, visibility="private", link_with=None):
        said.functions.append((name, inputs, link_with))
        return lambda *arguments: said.cores[now.tile].append((name, arguments))

    for function in (tile, buffer, lock, flow, use_lock, dma_bd, next_bd, dma_start, core, external_func):
        setattr(dialect, function.__name__, function)
    dialect.mem = dialect.memtile_dma = region
    dialect.EndOp = lambda: None
    dialect.device = lambda device: lambda body: body()

    types = ModuleType("aie.extras.types")
    for name in ("f32", "i32", "i8"):
        setattr(types, name, lambda name=name: name)
    types.memref = lambda count, element: (count, element)

    @contextmanager
    def mlir_mod_ctx():
        module = SimpleNamespace(operation=SimpleNamespace(verify=lambda: True))
        yield SimpleNamespace(module=module)

    context = ModuleType("aie.extras.context")
    context.mlir_mod_ctx = mlir_mod_ctx
    extras = ModuleType("aie.extras")
    extras.types = types
    modules = {"aie": ModuleType("aie"), "aie.dialects": ModuleType("aie.dialects"), "aie.dialects.aie": dialect}
    sys.modules |= modules | {"aie.extras": extras, "aie.extras.types": types, "aie.extras.context": context}
    return said
