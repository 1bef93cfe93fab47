# SPDX-License-Identifier: MPL-2.0
"""A model as whisper.cpp reads it, matrices in f16: the format that src/model/ggml.rs describes."""

import struct

import numpy as np
from faster_whisper.feature_extractor import FeatureExtractor

MAGIC = 0x67676D6C
F32, F16 = 0, 1


def write(checkpoint, path):
    with open(path, "wb") as file:
        file.write(struct.pack("<12i", MAGIC, *dimensions(checkpoint)))
        filters = FeatureExtractor(feature_size=checkpoint.mels).mel_filters.astype("<f4")
        file.write(struct.pack("<2i", *filters.shape) + filters.tobytes())
        tokens = checkpoint.tokens()
        file.write(struct.pack("<i", len(tokens)))
        for token in tokens:
            file.write(struct.pack("<i", len(token)) + token)
        for name, values in tensors(checkpoint):
            file.write(tensor(name, values))


def dimensions(checkpoint):
    c = checkpoint
    audio = (c.audio_context, c.state, c.heads, c.encoder_layers)
    text = (c.text_context, c.state, c.heads, c.decoder_layers)
    return (c.vocabulary, *audio, *text, c.mels, F16)


def tensor(name, values):
    is_matrix = values.ndim > 1 and values.shape[-1] > 1 and not name.endswith("positional_embedding")
    values = values.astype("<f2" if is_matrix else "<f4")
    head = struct.pack("<3i", values.ndim, len(name), F16 if is_matrix else F32)
    return head + struct.pack(f"<{values.ndim}i", *reversed(values.shape)) + name.encode() + values.tobytes()


def tensors(checkpoint):
    c = checkpoint
    for number in (1, 2):
        yield f"encoder.conv{number}.weight", c[f"encoder/conv{number}/weight"]
        yield f"encoder.conv{number}.bias", c[f"encoder/conv{number}/bias"][:, np.newaxis]
    yield "decoder.token_embedding.weight", c["decoder/embeddings/weight"]
    for part, norm, layers in (("encoder", "ln_post", c.encoder_layers), ("decoder", "ln", c.decoder_layers)):
        yield f"{part}.positional_embedding", c[f"{part}/position_encodings/encodings"]
        yield from normalisation(c, f"{part}.{norm}", f"{part}/layer_norm")
        for layer in range(layers):
            yield from block(c, f"{part}.blocks.{layer}", f"{part}/layer_{layer}", part == "decoder")


def block(c, to, name, has_cross_attention):
    own = f"{name}/self_attention"
    yield from normalisation(c, f"{to}.attn_ln", f"{own}/layer_norm")
    yield from linear(f"{to}.attn.query", *c.linear(f"{own}/linear_0", 0, 3))
    yield f"{to}.attn.key.weight", c.linear(f"{own}/linear_0", 1, 3)[0]
    yield from linear(f"{to}.attn.value", *c.linear(f"{own}/linear_0", 2, 3))
    yield from linear(f"{to}.attn.out", *c.linear(f"{own}/linear_1"))
    if has_cross_attention:
        cross = f"{name}/attention"
        yield from normalisation(c, f"{to}.cross_attn_ln", f"{cross}/layer_norm")
        yield from linear(f"{to}.cross_attn.query", *c.linear(f"{cross}/linear_0"))
        yield f"{to}.cross_attn.key.weight", c.linear(f"{cross}/linear_1", 0, 2)[0]
        yield from linear(f"{to}.cross_attn.value", *c.linear(f"{cross}/linear_1", 1, 2))
        yield from linear(f"{to}.cross_attn.out", *c.linear(f"{cross}/linear_2"))
    yield from normalisation(c, f"{to}.mlp_ln", f"{name}/ffn/layer_norm")
    yield from linear(f"{to}.mlp.0", *c.linear(f"{name}/ffn/linear_0"))
    yield from linear(f"{to}.mlp.2", *c.linear(f"{name}/ffn/linear_1"))


def linear(to, weight, bias):
    yield f"{to}.weight", weight
    yield f"{to}.bias", bias


def normalisation(c, to, name):
    yield from linear(to, c[f"{name}/gamma"], c[f"{name}/beta"])
