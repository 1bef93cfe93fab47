# SPDX-License-Identifier: MPL-2.0
"""The others' side of benches/peers/run: the requests that dev/peers answers, answered by one of PEERS.

Usage: peer.py PEER DIRECTORY THREADS, where DIRECTORY has what models.py made of a model.
"""

import ctypes
import json
import os
import sys
import sysconfig
import time
from pathlib import Path

import numpy as np


class Peer:
    """`mel`, (1, mels, frames), is the window that the requests are about."""

    def __init__(self, directory, threads):
        self.directory = Path(directory)
        self.threads = threads
        self.load()

    def window(self, path):
        self.mel = np.ascontiguousarray(np.load(path).T[np.newaxis])
        return {"runs": self.runs()}

    def encode(self):
        began = time.perf_counter()
        self.output = self.run()
        return {"seconds": time.perf_counter() - began}

    def hidden(self, path):
        np.save(path, np.asarray(self.output, np.float32)[0])
        return {}


class OpenVino(Peer):
    precision = "f32"

    def load(self):
        import openvino

        settings = {
            "INFERENCE_NUM_THREADS": self.threads,
            "INFERENCE_PRECISION_HINT": self.precision,
            "PERFORMANCE_HINT": "LATENCY",
        }
        core = openvino.Core()
        self.request = core.compile_model(self.directory / "encoder.onnx", "CPU", settings).create_infer_request()
        self.version = openvino.__version__.split("-")[0]

    def runs(self):
        hint = self.request.get_compiled_model().get_property("INFERENCE_PRECISION_HINT")
        return f"OpenVINO {self.version}, {hint.get_type_name()}"

    def run(self):
        return self.request.infer([self.mel], share_inputs=True, share_outputs=True)[0]


class OpenVinoBf16(OpenVino):
    precision = "bf16"


class OnnxRuntime(Peer):
    def load(self):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        path, providers = self.directory / "encoder.onnx", ["CPUExecutionProvider"]
        self.session = onnxruntime.InferenceSession(path, options, providers)
        self.version = onnxruntime.__version__

    def runs(self):
        return f"onnxruntime {self.version}, f32"

    def run(self):
        return self.session.run(None, {"mel": self.mel})[0]


class CTranslate2(Peer):
    def load(self):
        import ctranslate2
        from tokenizers import Tokenizer

        self.special = Tokenizer.from_file(str(self.directory / "installed/tokenizer.json")).token_to_id
        self.library = ctranslate2
        model = str(self.directory / "installed")
        self.model = ctranslate2.models.Whisper(model, compute_type="int8", intra_threads=self.threads)

    def runs(self):
        return f"CTranslate2 {self.library.__version__}, {self.model.compute_type}"

    def run(self):
        return self.model.encode(self.library.StorageView.from_array(self.mel), to_cpu=True)

    def said(self):
        """The prompt and what it makes of the window."""
        spoken = ["<|en|>", "<|transcribe|>"] if self.model.is_multilingual else []
        prompt = [self.special(name) for name in ("<|startoftranscript|>", *spoken, "<|notimestamps|>")]
        result = self.model.generate(self.output, [prompt], beam_size=1)
        return {"prompt": prompt, "tokens": result[0].sequences_ids[0]}

    def token(self, context, count):
        """One pass over prompt and all is taken away, so that only single tokens are left."""
        context, count = int(context), int(count)
        prompt = [[self.special("<|startoftranscript|>"), *(300 + place for place in range(1, context))]]
        end = self.special("<|endoftext|>")

        def generate(more):
            began = time.perf_counter()
            # Without an end of text it goes on to its limit, which is half of max_length.
            result = self.model.generate(self.output, prompt, beam_size=1, max_length=2 * more, suppress_tokens=[end])
            return time.perf_counter() - began, len(result[0].sequences_ids[0])

        (short, few), (long, many) = generate(1), generate(1 + count)
        if many - few != count:
            raise RuntimeError(f"{many} and {few} tokens instead of {count} more")
        return {"seconds": (long - short) / count}


class WhisperCpp(Peer):
    """Through whisper.cpp's C interface: the Python one cannot hand over several tokens."""

    def load(self):
        # A built whisper.cpp looks for these where it was built: they are there already when it is loaded.
        for name in ("ggml-base", "ggml-cpu", "ggml", "whisper"):
            self.library = ctypes.CDLL(str(Path(sysconfig.get_path("platlib")) / f"lib{name}.so"))
        self.library.whisper_init_from_file.restype = ctypes.c_void_p
        self.library.whisper_get_logits.restype = ctypes.POINTER(ctypes.c_float)
        self.library.whisper_version.restype = ctypes.c_char_p
        quiet = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
        self.quiet = quiet(lambda *_: None)
        self.library.whisper_log_set(self.quiet, None)
        context = self.library.whisper_init_from_file(bytes(self.directory / "ggml.bin"))
        if not context:
            raise RuntimeError("whisper.cpp cannot load the model")
        self.context = ctypes.c_void_p(context)
        self.model = None

    def call(self, name, *arguments):
        if getattr(self.library, name)(self.context, *arguments):
            raise RuntimeError(f"{name} failed")

    def window(self, path):
        answer = super().window(path)
        _, bands, frames = self.mel.shape
        self.call("whisper_set_mel", self.mel.ctypes.data_as(ctypes.c_void_p), frames, bands)
        return answer

    def runs(self):
        return f"whisper.cpp {self.library.whisper_version().decode()}, f16"

    def run(self):
        self.call("whisper_encode", 0, self.threads)

    def decode(self, tokens, past):
        self.call("whisper_decode", (ctypes.c_int * len(tokens))(*tokens), len(tokens), past, self.threads)

    def logits(self, path, *tokens):
        """whisper.cpp hands out those that follow the last token, so the tokens are fed one by one."""
        vocabulary = self.library.whisper_n_vocab(self.context)
        rows = []
        for past, token in enumerate(tokens):
            self.decode([int(token)], past)
            rows.append(np.ctypeslib.as_array(self.library.whisper_get_logits(self.context), (vocabulary,)).copy())
        np.save(path, np.stack(rows))
        return {}

    def token(self, context, count):
        context, count = int(context), int(count)
        self.decode([300 + place for place in range(context)], 0)
        began = time.perf_counter()
        for place in range(context, context + count):
            self.decode([300 + place], place)
        return {"seconds": (time.perf_counter() - began) / count}

    def transcribe(self, path):
        """Greedy, one file after the other, otherwise whisper.cpp's defaults."""
        from faster_whisper.audio import decode_audio
        from pywhispercpp.model import Model

        if self.model is None:
            quiet = {"print_progress": False, "print_realtime": False, "redirect_whispercpp_logs_to": None}
            self.model = Model(str(self.directory / "ggml.bin"), n_threads=self.threads, language="en", **quiet)
        began = time.perf_counter()
        segments = self.model.transcribe(decode_audio(path, 16_000))
        text = " ".join(segment.text.strip() for segment in segments)
        return {
            "seconds": time.perf_counter() - began,
            "text": " ".join(text.split()),
            "runs": f"{self.runs()}, greedy",
        }


class FasterWhisper(Peer):
    how = "greedy"

    def load(self):
        import faster_whisper

        self.version = faster_whisper.__version__
        model = str(self.directory / "installed")
        self.model = faster_whisper.WhisperModel(model, "cpu", compute_type="int8", cpu_threads=self.threads)

    def transcribe(self, path):
        began = time.perf_counter()
        segments, _ = self.model.transcribe(path, language="en", beam_size=1)
        text = " ".join(segment.text.strip() for segment in segments)
        return {
            "seconds": time.perf_counter() - began,
            "text": " ".join(text.split()),
            "runs": f"faster-whisper {self.version}, int8, {self.how}",
        }


class FasterWhisperBatched(FasterWhisper):
    """Finds voice first, and decodes what it finds side by side: its own defaults but for the beam."""

    how = "greedy, batched"

    def load(self):
        super().load()
        from faster_whisper import BatchedInferencePipeline

        self.model = BatchedInferencePipeline(self.model)


PEERS = {
    "openvino-bf16": OpenVinoBf16,
    "openvino-f32": OpenVino,
    "onnxruntime": OnnxRuntime,
    "ctranslate2": CTranslate2,
    "whisper.cpp": WhisperCpp,
    "faster-whisper": FasterWhisper,
    "faster-whisper-batched": FasterWhisperBatched,
}
REQUESTS = ("window", "encode", "hidden", "logits", "said", "token", "transcribe")


def answer(peer, line):
    name, *arguments = line.rstrip("\n").split("\t")
    try:
        if name not in REQUESTS:
            raise ValueError(f"unknown request {name}")
        return getattr(peer, name)(*arguments)
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}


def main():
    # What a library prints must not come between the answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    name, directory, threads = sys.argv[1:]
    peer = PEERS[name](directory, int(threads))
    for line in sys.stdin:
        print(json.dumps(answer(peer, line)), file=answers, flush=True)


if __name__ == "__main__":
    main()
