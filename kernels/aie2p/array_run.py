# SPDX-License-Identifier: MPL-2.0
"""Runs the array design: locks, DMA channels and streams, with cores that only carry values.

A stream moves a step when its source and all its targets are ready, in an order that chance decides; streams hold nothing
themselves, which the real ones do: what does not hang here has less reason to hang there. A core adds up its tiles' marks in
the lock order of core.cc, so that a tile which arrives at the wrong core, at the wrong time or in the wrong order shows.
"""

from array_design import IN, OUT, End, contract, core, layout, shim

VALUES = contract.TILE_ROWS * contract.TILE


def to_rows(values):
    """The walk of a descriptor over a tile."""
    a, b, c, d = layout.ROWS_SIZES
    i, j, k, m = layout.ROWS_STRIDES
    return [values[e * i + f * j + g * k + h * m] for e in range(a) for f in range(b) for g in range(c) for h in range(d)]


def sub_tiles():
    """Which value of a tile's rows a core has at each place of its tile: by CONTRACT.md, not by layout.h."""
    sub = contract.SUB
    for row in range(contract.TILE_ROWS // sub):
        for column in range(contract.TILE // sub):
            for i in range(sub):
                for j in range(sub):
                    yield (row * sub + i) * contract.TILE + column * sub + j


SUB_TILES = list(sub_tiles())


class Hang(Exception):
    pass


class Core:
    """The lock order of core.cc as a generator: it yields the lock that it waits for."""

    def __init__(self, run, tile, k_tiles):
        self.run, self.tile, self.k_tiles = run, tile, k_tiles
        buffers = {buffer.name.split("_")[0]: buffer for buffer in run.array.cores[tile]}
        self.product = buffers["product0"]
        self.operands = [[buffers[f"{kind}{i}"] for kind in ("left", "right")] for i in range(layout.CORE_DEPTH)]
        self.program = self.work()
        self.waits = next(self.program)

    def work(self):
        turn = 0
        while True:
            yield layout.PRODUCT_FREE
            total = 0
            for _ in range(self.k_tiles):
                yield layout.LEFT_FULL
                yield layout.RIGHT_FULL
                left, right = (self.run.memory[buffer][0] for buffer in self.operands[turn])
                total = total * 3 + left * right
                turn = (turn + 1) % layout.CORE_DEPTH
                self.give(layout.LEFT_FREE)
                self.give(layout.RIGHT_FREE)
            self.run.memory[self.product][0] = [total * VALUES + place for place in SUB_TILES]
            self.give(layout.PRODUCT_FULL)

    def give(self, number):
        self.run.locks[self.tile, number] += 1

    def step(self):
        if self.run.locks[self.tile, self.waits] < 1:
            return False
        self.run.locks[self.tile, self.waits] -= 1
        self.waits = next(self.program)
        return True


class Run:
    def __init__(self, array):
        self.array = array
        self.locks = {(lock.tile, lock.number): lock.value for lock in array.locks}
        # For each buffer its parts; only C in memory tiles has several.
        self.memory = {buffer: [None] * contract.ROWS for buffer in array.buffers}
        self.turn = dict.fromkeys(array.channels, 0)
        self.routes = {}
        for source, target in array.flows:
            self.routes.setdefault(source, []).append(target)
        # What shims still have to send, and what they got.
        self.sends, self.gets = {}, {}

    def transfer(self, end):
        transfers = self.array.channels[end]
        return transfers[self.turn[end] % len(transfers)]

    def ready(self, end):
        if end in self.array.channels:
            take = self.transfer(end).take
            return self.locks[take.tile, take.number] > 0
        return bool(self.sends.get(end)) if end.direction == OUT else True

    def finish(self, end):
        transfer = self.transfer(end)
        self.locks[transfer.take.tile, transfer.take.number] -= 1
        self.locks[transfer.give.tile, transfer.give.number] += 1
        self.turn[end] += 1
        return transfer

    def move(self, source):
        targets = self.routes[source]
        if not self.ready(source) or not all(self.ready(target) for target in targets):
            return False
        if source in self.array.channels:
            transfer = self.finish(source)
            data = self.memory[transfer.buffer][transfer.offset // contract.C_TILE_BYTES]
            data = to_rows(data) if transfer.to_rows else data
        else:
            data = self.sends[source].pop(0)
        for target in targets:
            if target in self.array.channels:
                transfer = self.finish(target)
                self.memory[transfer.buffer][transfer.offset // contract.C_TILE_BYTES] = data
            else:
                self.gets.setdefault(target, []).append(data)
        return True


def left(row, m, k):
    """A value that tells a tile of A from others."""
    return row * 7 + m * 5 + k + 1


def right(column, n, k):
    return 1 + column + 8 * (n + 8 * k)


def run(array, k_tiles, m_passes, n_passes, random):
    """A product of so many tiles and passes; the number of tiles of C, which are all as they should be."""
    machine = Run(array)
    passes = [(m, n, k) for m in range(m_passes) for n in range(n_passes) for k in range(k_tiles)]
    for row, ends in enumerate(zip(contract.A_COLUMNS, contract.A_CHANNELS)):
        machine.sends[End(shim(ends[0]), OUT, ends[1])] = [left(row, m, k) for m, _, k in passes]
    for column, ends in enumerate(zip(contract.B_COLUMNS, contract.B_CHANNELS)):
        machine.sends[End(shim(ends[0]), OUT, ends[1])] = [right(column, n, k) for _, n, k in passes]
    tiles = [core(row, column) for row in range(contract.ROWS) for column in range(contract.COLUMNS)]
    cores = [Core(machine, tile, k_tiles) for tile in tiles]
    actions = [lambda source=source: machine.move(source) for source in machine.routes] + [core.step for core in cores]
    idle = False
    while not idle:
        random.shuffle(actions)
        idle = not any([action() for action in actions])
    if any(machine.sends.values()):
        raise Hang("; ".join(f"core {core.tile} waits for lock {core.waits}" for core in cores))
    # At the end each core has room for its next tile of C, and waits for the tiles to multiply.
    before = {(lock.tile, lock.number): lock.value for lock in array.locks}
    before |= {(tile, layout.PRODUCT_FREE): 0 for tile in tiles}
    if machine.locks != before or any(core.waits != layout.LEFT_FULL for core in cores):
        raise Hang("locks are not as they were before")
    return compare(machine, k_tiles, m_passes, n_passes)


def compare(machine, k_tiles, m_passes, n_passes):
    """C of each column: pass after pass the rows of four cores, row-major."""
    tiles = 0
    for column in range(contract.COLUMNS):
        found = machine.gets.get(End(shim(contract.C_COLUMNS[column]), IN, 0), [])
        expected = []
        for m in range(m_passes):
            for n in range(n_passes):
                for row in range(contract.ROWS):
                    total = 0
                    for k in range(k_tiles):
                        total = total * 3 + left(row, m, k) * right(column, n, k)
                    expected.append(list(range(total * VALUES, (total + 1) * VALUES)))
        if found != expected:
            raise Hang(f"C of column {column} is not what it should be")
        tiles += len(found)
    return tiles
