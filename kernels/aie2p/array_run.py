# SPDX-License-Identifier: MPL-2.0
"""Runs the array design: locks, DMA channels and streams, with cores that only carry values.

A stream moves a step when its source and all its targets are ready, in an order that chance decides; streams hold nothing
themselves, which the real ones do: what does not hang here has less reason to hang there. A core adds up its tiles' marks in
the lock order of core.cc, so that a tile which arrives at the wrong core, at the wrong time or in the wrong order shows.
"""

from array_design import IN, OUT, End, contract, core, layout, shim

VALUES = contract.TILE * contract.TILE


def exchange(values):
    """The walk of a descriptor over a tile."""
    a, b, c, d = layout.EXCHANGE_SIZES
    i, j, k, m = layout.EXCHANGE_STRIDES
    return [values[e * i + f * j + g * k + h * m] for e in range(a) for f in range(b) for g in range(c) for h in range(d)]


def sub_tiles():
    """Where in a row-major tile a core expects the values of its tile of A to come from: by CONTRACT.md, not by layout.h."""
    side, sub = contract.TILE // contract.SUB, contract.SUB
    for row in range(side):
        for column in range(side):
            for i in range(sub):
                for j in range(sub):
                    yield (row * sub + i) * contract.TILE + column * sub + j


SUB_TILES = list(sub_tiles())


class Hang(Exception):
    pass


class Core:
    """The lock order of core.cc as a generator: it yields the lock that it waits for."""

    def __init__(self, run, tile, passes):
        self.run, self.tile = run, tile
        buffers = {buffer.name.split("_")[0]: buffer for buffer in run.array.cores[tile]}
        self.buffers = {kind: [buffers[f"{kind}{i}"] for i in range(layout.CORE_DEPTH)] for kind in ("left", "right", "product")}
        self.turn = dict.fromkeys(self.buffers, 0)
        self.program = self.work(*passes)
        self.waits = next(self.program)

    def next(self, kind):
        buffer = self.buffers[kind][self.turn[kind] % layout.CORE_DEPTH]
        self.turn[kind] += 1
        return buffer

    def work(self, k_tiles, m_passes, n_passes, own_passes):
        yield contract.START_LOCK
        for n in range(n_passes):
            for _ in range(m_passes):
                sums = [0] * VALUES
                for k in range(k_tiles):
                    yield layout.LEFT_FULL
                    left = self.run.memory[self.next("left")][0]
                    if [x - left[0] for x in left] != SUB_TILES:
                        raise Hang(f"core {self.tile}: A is not in sub-tiles")
                    if n < own_passes:
                        yield layout.RIGHT_FULL
                        mark = self.run.memory[self.next("right")][0][0]
                        sums = [s * 3 + x * mark for s, x in zip(sums, left)]
                        self.give(layout.RIGHT_FREE)
                    self.give(layout.LEFT_FREE)
                if n < own_passes:
                    yield layout.PRODUCT_FREE
                    self.run.memory[self.next("product")][0] = sums
                    self.give(layout.PRODUCT_FULL)

    def give(self, number):
        self.run.locks[self.tile, number] += 1

    def step(self):
        if self.waits is None or self.run.locks[self.tile, self.waits] < 1:
            return False
        self.run.locks[self.tile, self.waits] -= 1
        self.waits = next(self.program, None)
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
            data = exchange(data) if transfer.exchange else data
        else:
            data = self.sends[source].pop(0)
        for target in targets:
            if target in self.array.channels:
                transfer = self.finish(target)
                self.memory[transfer.buffer][transfer.offset // contract.C_TILE_BYTES] = data
            else:
                self.gets.setdefault(target, []).append(data)
        return True


def run(array, k_tiles, m_passes, n_passes, own_passes, random):
    """A product of so many tiles and passes; the number of tiles of C, which are all as they should be."""
    machine = Run(array)
    # Values that tell each tile and each place in it from others.
    left = lambda row, n, m, k: [(row * 7 + m * 5 + k + 1) * 4096 + i for i in range(VALUES)]  # noqa: E731
    mark = lambda column, n, m, k: 1 + column + 8 * (n + 8 * k)  # noqa: E731
    passes = [(n, m, k) for n in range(n_passes) for m in range(m_passes) for k in range(k_tiles)]
    for row, column in enumerate(contract.A_COLUMNS):
        machine.sends[End(shim(column), OUT, contract.A_CHANNEL)] = [left(row, *at) for at in passes]
    for column in range(contract.COLUMNS):
        own = [at for at in passes if at[0] < own_passes[column]]
        machine.sends[End(shim(column), OUT, contract.B_CHANNEL)] = [[mark(column, *at)] for at in own]
    cores = []
    for row in range(contract.ROWS):
        for column in range(contract.COLUMNS):
            machine.locks[core(row, column), contract.START_LOCK] = 1
            cores.append(Core(machine, core(row, column), (k_tiles, m_passes, n_passes, own_passes[column])))
    actions = [lambda source=source: machine.move(source) for source in machine.routes] + [core.step for core in cores]
    idle = False
    while not idle:
        random.shuffle(actions)
        idle = not any([action() for action in actions])
    waiting = [f"core {core.tile} waits for lock {core.waits}" for core in cores if core.waits is not None]
    if waiting or any(machine.sends.values()):
        raise Hang("; ".join(waiting) or "tiles are left over")
    before = {(lock.tile, lock.number): lock.value for lock in array.locks}
    if machine.locks != before:
        raise Hang("locks are not as they were before")
    return compare(machine, left, mark, k_tiles, m_passes, own_passes)


def compare(machine, left, mark, k_tiles, m_passes, own_passes):
    """C of each column: pass after pass the rows of four cores, row-major."""
    tiles = 0
    for column in range(contract.COLUMNS):
        found = machine.gets.get(End(shim(column), IN, contract.C_CHANNEL), [])
        expected = []
        for n in range(own_passes[column]):
            for m in range(m_passes):
                for row in range(contract.ROWS):
                    sums = [0] * VALUES
                    for k in range(k_tiles):
                        sums = [s * 3 + x * mark(column, n, m, k) for s, x in zip(sums, left(row, n, m, k))]
                    expected.append(sums)
        if found != expected:
            raise Hang(f"C of column {column} is not what it should be")
        tiles += len(found)
    return tiles
