# SPDX-License-Identifier: MPL-2.0
"""The virtual environment of the scripts beside this, and where they keep what they make."""

import os
import subprocess
import sys
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).resolve()
HOME = TARGET / "peers"

sys.dont_write_bytecode = True
sys.path[:0] = [str(HERE), str(HERE.parent)]


def module(name, path):
    """A script without an extension as a module."""
    loader = SourceFileLoader(name, str(path))
    loaded = module_from_spec(spec_from_loader(name, loader))
    sys.modules[name] = loaded
    loader.exec_module(loaded)
    return loaded


score = module("score", ROOT / "scripts/score")


def enter():
    """Runs the script again in the virtual environment, which is made if need be."""
    home = HOME / "venv"
    python = home / "bin" / "python"
    if Path(sys.prefix).resolve() == home:
        return
    wanted = (HERE / "requirements.txt").read_text() + "\n".join(score.PACKAGES)
    made = home / "made-for"
    if not made.exists() or made.read_text() != wanted:
        print("benches/peers: setting up the peers (once, some minutes)", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", "--clear", home], check=True)
        pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        # For whisper.cpp: this machine's instructions, and libraries that stay where they are built.
        native = os.environ | {"CMAKE_ARGS": "-DGGML_NATIVE=ON", "NO_REPAIR": "1"}
        requirements = ["-r", HERE / "requirements.txt", *score.PACKAGES]
        subprocess.run(pip + requirements, check=True, env=native)
        made.write_text(wanted)
    os.execv(python, [python, *sys.argv])


def build(package):
    """Compiles a program of the workspace and says where it is."""
    command = ["cargo", "build", "--quiet", "--release", "--locked", "--package", package]
    subprocess.run(command, cwd=ROOT, check=True)
    return TARGET / "release" / package
