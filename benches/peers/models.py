# SPDX-License-Identifier: MPL-2.0
"""Makes what the peers read out of an installed model, once; and the window that all of them are given."""

import os
import shutil
from pathlib import Path

import ggml_file
import numpy as np
import onnx_encoder
from checkpoint import Checkpoint
from faster_whisper.audio import decode_audio
from faster_whisper.feature_extractor import FeatureExtractor

SECONDS, RATE = 30, 16_000


def installed(name):
    home = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share"
    path = Path(home) / "whispernpu/models" / name
    if not (path / "model.bin").exists():
        raise SystemExit(f"{path} is missing: scripts/fetch-model {name}")
    return path


def prepare(name, home):
    """The directory with `installed` (the model itself), `encoder.onnx` and `ggml.bin`."""
    directory, source = home / name, installed(name)
    if directory.exists() and (directory / "installed").resolve() == source.resolve():
        return directory
    partial = home / f".{name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    shutil.rmtree(directory, ignore_errors=True)
    partial.mkdir(parents=True)
    checkpoint = Checkpoint(source)
    onnx_encoder.write(checkpoint, partial / "encoder.onnx")
    ggml_file.write(checkpoint, partial / "ggml.bin")
    (partial / "installed").symlink_to(source.resolve())
    partial.rename(directory)
    return directory


def window(audio, path):
    """The first 30 s of a recording as Whisper's log-mel, (frames, bands)."""
    samples = decode_audio(str(audio), RATE)[: SECONDS * RATE]
    samples = np.pad(samples, (0, SECONDS * RATE - len(samples)))
    mel = FeatureExtractor()(samples, padding=0)
    np.save(path, np.ascontiguousarray(mel[:, : SECONDS * 100].T.astype(np.float32)))
