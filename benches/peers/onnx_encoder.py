# SPDX-License-Identifier: MPL-2.0
"""Whisper's encoder as an ONNX graph of plain operations, float32: what onnxruntime and OpenVINO are given.

(1, mels, frames) to (1, frames / 2, state). Nothing is fused by hand: the runtimes do that themselves.
"""

import math

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 17


class Graph:
    def __init__(self):
        self.nodes = []
        self.constants = []

    def constant(self, values):
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def number(self, value):
        return self.constant(np.array(value, np.float32))

    def add(self, operation, *inputs, **attributes):
        output = f"{operation}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operation, list(inputs), [output], **attributes))
        return output

    def linear(self, x, weight, bias):
        return self.add("Add", self.add("MatMul", x, self.constant(weight.T)), self.constant(bias))

    def norm(self, x, checkpoint, name):
        gamma, beta = (self.constant(checkpoint[f"{name}/{part}"]) for part in ("gamma", "beta"))
        return self.add("LayerNormalization", x, gamma, beta, axis=-1, epsilon=1e-5)

    def gelu(self, x):
        """The exact one, in the operations in which PyTorch exports it."""
        erf = self.add("Erf", self.add("Div", x, self.number(math.sqrt(2))))
        return self.add("Mul", self.add("Mul", x, self.add("Add", erf, self.number(1))), self.number(0.5))

    def convolution(self, x, checkpoint, name, stride):
        weight, bias = (self.constant(checkpoint[f"{name}/{part}"]) for part in ("weight", "bias"))
        return self.gelu(self.add("Conv", x, weight, bias, kernel_shape=[3], pads=[1, 1], strides=[stride]))

    def attention(self, x, checkpoint, name):
        head_size = checkpoint.state // checkpoint.heads
        split = self.constant(np.array([1, checkpoint.audio_context, checkpoint.heads, head_size]))
        join = self.constant(np.array([1, checkpoint.audio_context, checkpoint.state]))

        def heads(index, order):
            projected = self.linear(x, *checkpoint.linear(f"{name}/linear_0", index, 3))
            return self.add("Transpose", self.add("Reshape", projected, split), perm=order)

        query, key, value = heads(0, [0, 2, 1, 3]), heads(1, [0, 2, 3, 1]), heads(2, [0, 2, 1, 3])
        query = self.add("Mul", query, self.number(head_size**-0.5))
        weights = self.add("Softmax", self.add("MatMul", query, key), axis=-1)
        mixed = self.add("Transpose", self.add("MatMul", weights, value), perm=[0, 2, 1, 3])
        return self.linear(self.add("Reshape", mixed, join), *checkpoint.linear(f"{name}/linear_1"))

    def layer(self, x, checkpoint, name):
        normed = self.norm(x, checkpoint, f"{name}/self_attention/layer_norm")
        x = self.add("Add", x, self.attention(normed, checkpoint, f"{name}/self_attention"))
        normed = self.norm(x, checkpoint, f"{name}/ffn/layer_norm")
        inner = self.gelu(self.linear(normed, *checkpoint.linear(f"{name}/ffn/linear_0")))
        return self.add("Add", x, self.linear(inner, *checkpoint.linear(f"{name}/ffn/linear_1")))


def write(checkpoint, path):
    graph = Graph()
    x = graph.convolution("mel", checkpoint, "encoder/conv1", stride=1)
    x = graph.convolution(x, checkpoint, "encoder/conv2", stride=2)
    x = graph.add("Transpose", x, perm=[0, 2, 1])
    x = graph.add("Add", x, graph.constant(checkpoint["encoder/position_encodings/encodings"]))
    for layer in range(checkpoint.encoder_layers):
        x = graph.layer(x, checkpoint, f"encoder/layer_{layer}")
    hidden = graph.norm(x, checkpoint, "encoder/layer_norm")
    frames = checkpoint.audio_context
    mel = helper.make_tensor_value_info("mel", TensorProto.FLOAT, [1, checkpoint.mels, 2 * frames])
    out = helper.make_tensor_value_info(hidden, TensorProto.FLOAT, [1, frames, checkpoint.state])
    whole = helper.make_graph(graph.nodes, "whisper-encoder", [mel], [out], graph.constants)
    model = helper.make_model(whole, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)
    onnx.checker.check_model(model)
    onnx.save(model, path)
