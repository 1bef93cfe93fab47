# SPDX-License-Identifier: MPL-2.0
"""The weights of an installed model: CTranslate2's `model.bin`, as src/model/ctranslate2.rs describes it."""

import json
import struct
from pathlib import Path

import numpy as np

ELEMENTS = {0: "<f4", 1: "i1", 2: "<i2", 3: "<i4", 4: "<f2"}


class Checkpoint:
    """Dimensions, tensors by CTranslate2's names as float32, and tokens."""

    def __init__(self, directory):
        self.directory = Path(directory)
        self.tensors = read(self.directory / "model.bin")
        self.mels = self["encoder/conv1/weight"].shape[1]
        self.audio_context, self.state = self["encoder/position_encodings/encodings"].shape
        self.text_context = self["decoder/position_encodings/encodings"].shape[0]
        self.vocabulary = self["decoder/embeddings/weight"].shape[0]
        self.heads = int(self.tensors["encoder/num_heads"])
        self.encoder_layers = self.layers("encoder")
        self.decoder_layers = self.layers("decoder")

    def __getitem__(self, name):
        return self.tensors[name].astype(np.float32)

    def layers(self, part):
        return len(
            {
                name.split("/")[1]
                for name in self.tensors
                if name.startswith(f"{part}/layer_") and "layer_norm/" not in name
            }
        )

    def linear(self, name, index=0, count=1):
        """Weight, (out, in), and bias of one of the layers that are stacked under a name."""
        rows = self[f"{name}/weight"].shape[0] // count
        part = slice(index * rows, (index + 1) * rows)
        return self[f"{name}/weight"][part], self[f"{name}/bias"][part]

    def tokens(self):
        """Bytes of the text tokens, up to the end of text."""
        listed = self.directory / "vocabulary.json"
        if listed.exists():
            names = json.loads(listed.read_text(encoding="utf-8"))
        else:
            names = (self.directory / "vocabulary.txt").read_text(encoding="utf-8").split("\n")
        letters = bytes_by_letter()
        return [bytes(letters[letter] for letter in name) for name in names[: names.index("<|endoftext|>")]]


def read(path):
    data = memoryview(path.read_bytes())
    place = 0

    def take(form):
        nonlocal place
        values = struct.unpack_from(f"<{form}", data, place)
        place += struct.calcsize(f"<{form}")
        return values[0] if len(values) == 1 else values

    def string():
        return bytes(take(f"{take('H')}s")).rstrip(b"\0").decode()

    if (take("I"), string()) != (6, "WhisperSpec"):
        raise ValueError(f"{path} is not a CTranslate2 Whisper model of version 6")
    take("I")
    tensors = {}
    for _ in range(take("I")):
        name = string()
        shape = [take("I") for _ in range(take("B"))]
        element, size = take("B"), take("I")
        tensors[name] = np.frombuffer(data[place : place + size], ELEMENTS[element]).reshape(shape)
        place += size
    return tensors


def bytes_by_letter():
    """GPT-2 writes each byte as a printable letter: itself if it is one, else the next one from U+0100 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(0x100 + place): byte for place, byte in enumerate(others)}
