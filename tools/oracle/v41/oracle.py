"""The oracle: mlx-vlm's deepseek_v41, in float32 on the CPU, with its discrete choices recorded.

Weights are dequantised exactly (their values are exact in BF16), then everything computes in float32; the fake
quantisations of windows, compressed rows, index keys and index queries stay, being part of the model. The FP8
inputs of linear layers stay where the checkpoint's weights are FP8 or FP4 and are left out where they are BF16,
as the model's description says; mlx-vlm always quantises them.
"""
import importlib.util
import json
import os
import sys
import types

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import tokenizers
from mlx.utils import tree_map

VERSIONS = "mlx-vlm 0.7.10, mlx 0.32.4"

# The function that quantises, and which of its calls: the name of the value.
SITES = {
    ("DeepseekV41Attention._attention", 0): "wq_a.input",
    ("DeepseekV41Attention._attention", 1): "wq_b.input",
    ("DeepseekV41Attention._attention", 2): "wo_b.input",
    ("DeepseekV41Attention._window_part", 0): "wkv.input",
    ("DeepseekV41Attention._window_part", 1): "window",
    ("DeepseekV41Attention._compress_part", 0): "latent",
    ("Indexer._publish_keys", 0): "index_key",
    ("Indexer.__call__", 0): "indexer.wq_b.input",
    ("Indexer.__call__", 1): "index_query",
    ("DeepseekV41MoE.__call__", 0): "experts.w1.input",
    ("DeepseekV41SwiGLU.__call__", 0): "experts.w2.input",
    ("DeepseekV41MLP.__call__", 0): "shared_experts.w1.input",
    ("DeepseekV41MLP.__call__", 1): "shared_experts.w2.input",
    ("Engram.__call__", 0): "engram.wkv.input",
}


def import_model():
    """Imports the model's modules alone: the package itself would pull in a server and image libraries."""
    base = os.path.dirname(importlib.util.find_spec("mlx_vlm").origin)
    for name in ("mlx_vlm", "mlx_vlm.models", "mlx_vlm.models.deepseek_v4", "mlx_vlm.models.deepseek_v41"):
        module = types.ModuleType(name)
        module.__path__ = [os.path.join(base, *name.split(".")[1:])]
        sys.modules[name] = module
    from mlx_vlm.models.deepseek_v41 import config, deepseek_v41, engram, language
    return config, deepseek_v41, engram, language


mx.disable_compile()
config_module, model_module, engram_module, language = import_model()


class Trace:
    """What the running model chose: name -> array with one row per position (or per compressed row)."""

    def __init__(self, quantise_inputs):
        self.quantise_inputs, self.values = quantise_inputs, {}
        self.layer, self.calls, self.experts = 0, {}, None

    def enter(self, layer):
        if layer != self.layer or not self.calls:
            self.layer, self.calls = layer, {}

    def put(self, name, array):
        self.values[f"layers.{self.layer}.{name}"] = array

    def site(self, function):
        call = self.calls.get(function, 0)
        self.calls[function] = call + 1
        return SITES[function, call]


trace = Trace(True)


def flat(array):
    """[1, L, ...] -> [L, everything else]"""
    return np.array(array.astype(mx.float32)).reshape(array.shape[1], -1)


def expert_rows(array):
    """Inputs of the down projections: [positions][slots * width], experts of a position ascending.

    The oracle sorts (position, slot) pairs by expert once there are 64 of them.
    """
    order = np.argsort(trace.experts, axis=-1, kind="stable")
    n, k = order.shape
    rows = np.array(array.astype(mx.float32)).reshape(n * k, -1)
    if n * k >= 64:
        back = np.empty(n * k, dtype=np.int64)
        back[np.array(mx.argsort(mx.array(trace.experts).flatten()))] = np.arange(n * k)
        rows = rows[back]
    return np.take_along_axis(rows.reshape(n, k, -1), order[..., None], 1).reshape(n, -1)


def record_quantisation(module, name):
    original = getattr(module, name)

    def quantise(x, *rest):
        site = trace.site(sys._getframe(1).f_code.co_qualname)
        if site.endswith(".input") and not trace.quantise_inputs:
            return x
        y = original(x, *rest)
        if site == "experts.w2.input":
            trace.put(site, expert_rows(y))
        else:
            trace.put(site, flat(y))
        return y

    setattr(module, name, quantise)


def record_call(owner, after=None, before=None):
    original = owner.__call__

    def call(self, *args, **kwargs):
        if before:
            before(self)
        result = original(self, *args, **kwargs)
        if after:
            after(result)
        return result

    owner.__call__ = call


def chose_experts(result):
    trace.experts = np.array(result[0]).reshape(-1, result[0].shape[-1])
    trace.put("router", np.sort(trace.experts, axis=-1))


def chose_rows(result):
    """Selected rows, ascending, then -1."""
    rows = flat(result).astype(np.int64)
    rows[rows < 0] = 1 << 30
    rows.sort(axis=-1)
    trace.put("topk", np.where(rows == 1 << 30, -1, rows))


for module_, name_ in ((language, "fake_quant_fp8_ue8m0"), (language, "fake_quant_fp4_ue8m0"),
                       (language, "fake_quant_fp4_e4m3"), (engram_module, "fake_quant_fp8_ue8m0")):
    record_quantisation(module_, name_)
record_call(language.DeepseekV41Block, before=lambda self: trace.enter(self.layer_idx))
record_call(engram_module.Engram, before=lambda self: trace.enter(self.layer_id))
record_call(language.DeepseekV41MoEGate, after=chose_experts)
record_call(language.Indexer, after=chose_rows)


class TextModel(model_module.Model):
    """The model without its vision part."""

    def __init__(self, config):
        nn.Module.__init__(self)
        self.config = config
        self.language_model = language.LanguageModel(config)


def read_tensors(directory):
    index = os.path.join(directory, "model.safetensors.index.json")
    files = ["model.safetensors"]
    if os.path.exists(index):
        with open(index, encoding="utf-8") as f:
            files = sorted(set(json.load(f)["weight_map"].values()))
    tensors = {}
    for file in files:
        tensors |= mx.load(os.path.join(directory, file))
    unused = ("vision.", "aligner.", "image_", "mtp.")
    return {name: a for name, a in tensors.items() if not name.startswith(unused)}


def open_model(directory):
    with open(os.path.join(directory, "config.json"), encoding="utf-8") as f:
        settings = json.load(f)
    released = bool(settings.pop("quantization_config", None))
    config = config_module.ModelConfig.from_dict(settings)
    model = TextModel(config)
    model.load_weights(list(model.sanitize(read_tensors(directory)).items()))
    floating = (mx.bfloat16, mx.float16, mx.float32)
    model.update(tree_map(lambda a: a.astype(mx.float32) if a.dtype in floating else a, model.parameters()))
    text = model.language_model
    if text.layout is not None:
        tokenizer = tokenizers.Tokenizer.from_file(os.path.join(directory, "tokenizer.json"))
        text.engram_hash = engram_module.NgramHashState(config, text.layout, tokenizer)
    return text, released


def run(directory, ids, noise=None):
    """Logits [n][vocab] and the choices, as {name: array}.

    `noise` = (size, seed) multiplies every embedded value by 1 + size * a normal number: do the choices hold?
    """
    global trace
    model, released = open_model(directory)
    if noise:
        weight = model.embed_tokens.weight
        factor = 1 + noise[0] * np.random.default_rng(noise[1]).standard_normal(weight.shape)
        model.embed_tokens.weight = weight * mx.array(factor.astype(np.float32))
    trace = Trace(released)
    logits = model(mx.array([ids])).logits
    return np.array(logits)[0], trace.values
