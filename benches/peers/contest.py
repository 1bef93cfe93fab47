# SPDX-License-Identifier: MPL-2.0
"""Contestants as processes of their own, and rounds in which they take turns."""

import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
# Threads of the contestant before go on spinning for as long as this (Intel's OpenMP: 0.2 s).
SETTLE = 0.3


class Contestant:
    """A process that answers requests, a line each."""

    def __init__(self, label, command, **environment):
        self.label = label
        self.runs = label
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            env=os.environ | environment,
        )

    def ask(self, *request):
        with contextlib.suppress(BrokenPipeError):
            print(*request, sep="\t", file=self.process.stdin, flush=True)
        line = self.process.stdout.readline()
        answer = json.loads(line) if line else {"error": f"it ended, {self.process.wait()}"}
        if "error" in answer:
            raise SystemExit(f"{self.label}: {request[0]}: {answer['error']}")
        self.runs = answer.get("runs", self.runs)
        return answer

    def close(self):
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.wait()


def ours(program, model, threads, label="whispernpu", *options, **environment):
    return Contestant(label, [program, model, str(threads), *options], **environment)


def peer(name, directory, threads):
    command = [sys.executable, HERE / "peer.py", name, directory, str(threads)]
    return Contestant(name, command, OMP_NUM_THREADS=str(threads))


@contextlib.contextmanager
def assembled(contestants):
    try:
        yield contestants
    finally:
        for contestant in contestants:
            contestant.close()


@contextlib.contextmanager
def busy(count):
    """Processes that want the processor too."""
    spinning = [subprocess.Popen(["sh", "-c", "while :; do :; done"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in spinning:
            process.kill()
            process.wait()


def rounds(contestants, count, *request):
    """Seconds that each took, by label; another one begins each round, after one turn each to warm up."""
    seconds = {contestant.label: [] for contestant in contestants}
    for contestant in contestants:
        contestant.ask(*request)
    for number in range(count):
        first = number % len(contestants)
        for contestant in contestants[first:] + contestants[:first]:
            time.sleep(SETTLE)
            seconds[contestant.label].append(round(contestant.ask(*request)["seconds"], 6))
    return seconds


def row(contestant):
    """Who it is, and what it says that it runs: version and precision, or instruction set."""
    return {"name": contestant.label, "runs": contestant.runs}
