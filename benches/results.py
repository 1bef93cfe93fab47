# SPDX-License-Identifier: MPL-2.0
"""Raw results of benchmarks: one JSON file per machine under benches/results/.

A file has `machine` (what it ran on) and `runs`, one for each test and model, with the commit, the
date, the versions of all contestants and every single time in seconds. A new run replaces the one
with the same `key`, so that a file never mixes two releases of one figure.
"""

import datetime
import json
import os
import platform
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benches/results"
FORMAT = 1
# What our kernels and the peers' choose by, as Linux calls it.
FEATURES = (
    "fma avx2 avx_vnni avx512f avx512_vnni avx512_bf16 amx_tile amx_int8 amx_bf16 asimd asimddp i8mm bf16"
).split()


def cpuinfo(name):
    """What Linux says about the first processor, or an empty string."""
    for line in open("/proc/cpuinfo", encoding="utf-8") if sys.platform == "linux" else ():
        field, _, value = line.partition(":")
        if field.strip() == name:
            return value.strip()
    return ""


def machine():
    flags = (cpuinfo("flags") or cpuinfo("Features")).split()
    return {
        "cpu": cpuinfo("model name") or platform.processor() or platform.machine(),
        "features": [feature for feature in FEATURES if feature in flags],
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "kernel": f"{platform.system()} {re.match('[0-9.]*', platform.release())[0]}",
    }


def machine_name():
    """A file name for this machine: its processor, the widest instruction set, its cores."""
    about = machine()
    widest = about["features"][-1] if about["features"] else platform.machine()
    words = f"{about['cpu']} {widest} {about['cores']} cores"
    return re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-")


def output(*command):
    return subprocess.run(
        command, cwd=ROOT, check=True, text=True, stdout=subprocess.PIPE
    ).stdout.strip()


def provenance():
    """Commit, date and compiler of a run. A changed work tree is marked: such a run is no release's."""
    changed = output(
        "git",
        "status",
        "--porcelain",
        "--untracked-files=no",
        "--",
        ".",
        ":!benches/results",
        ":!*.md",
    )
    return {
        "commit": output("git", "rev-parse", "--short=12", "HEAD")
        + ("+changes" if changed else ""),
        "version": re.search(r'^version = "(.*)"', (ROOT / "Cargo.toml").read_text(), re.M)[1],
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d"),
        "rustc": output("rustc", "--version").split()[1],
    }


def key(run):
    return tuple(run.get(name) for name in ("test", "model", "threads", "busy"))


def merge(path, runs):
    """Puts `runs` into the file, in place of those with the same key."""
    path = Path(path)
    found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"runs": []}
    keyed = {key(run): run for run in found["runs"]} | {key(run): run for run in runs}
    written = {"format": FORMAT, "machine": machine(), "runs": list(keyed.values())}
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(written, indent=1)
    # A list of numbers or names, or an object of a clip, takes one line.
    text = re.sub(r"\[[^][{}]*\]", lambda match: " ".join(match[0].split()), text)
    text = re.sub(
        r"\{[^{}]*\}",
        lambda match: " ".join(match[0].split()) if len(match[0]) < 400 else match[0],
        text,
    )
    path.write_text(text + "\n", encoding="utf-8")
