"""The oracle: Hugging Face transformers' deepseek_v4, in float32 on the CPU, with its discrete choices recorded.

Weights are dequantised exactly (their values are exact in BF16), then everything computes in float32. What that
implementation leaves out is put in from outside, where the release has it, written here in PyTorch: the quantisation of
windows, compressed rows, index keys and index queries (with the Hadamard rotation before the latter two), and the FP8
inputs of linear layers where the checkpoint's weights are FP8 or FP4. There the experts' routing weight also has to be
multiplied before the down projection, as the release does; with unquantised inputs both places are the same.
"""
import json
import os
import re
import struct
import sys

import numpy as np
import torch
import transformers
from transformers.models.deepseek_v4 import modeling_deepseek_v4 as modeling
from transformers.models.deepseek_v4.configuration_deepseek_v4 import DeepseekV4Config

VERSIONS = f"transformers {transformers.__version__}, torch {torch.__version__}"
ROPE = 64  # rotated channels, which a row does not quantise

# Released names to the implementation's, in order.
NAMES = [(r"^layers\.(\d+)\.", r"model.layers.\1."), (r"^(norm|hc_head)", r"model.\1"),
         (r"^embed\.", "model.embed_tokens."), (r"^head\.", "lm_head."),
         (r"hc_head_(\w+)$", r"hc_head.hc_\1"), (r"\.hc_(attn|ffn)_(\w+)$", r".\1_hc.\2"),
         (r"\.attn_norm\.", ".input_layernorm."), (r"\.ffn_norm\.", ".post_attention_layernorm."),
         (r"\.attn\.", ".self_attn."), (r"\.ffn\.", ".mlp."), (r"\.attn_sink$", ".sinks"),
         (r"\.indexer\.wq_b\.", ".compressor.indexer.q_b_proj."),
         (r"\.indexer\.weights_proj\.", ".compressor.indexer.scorer.weights_proj."),
         (r"\.indexer\.compressor\.", ".compressor.indexer."), (r"\.ape$", ".position_bias"),
         (r"(compressor|indexer)\.norm\.", r"\1.kv_norm."), (r"\.wkv\.", ".kv_proj."), (r"\.wgate\.", ".gate_proj."),
         (r"\.wq_a\.", ".q_a_proj."), (r"\.q_norm\.", ".q_a_norm."), (r"\.wq_b\.", ".q_b_proj."),
         (r"\.wo_(a|b)\.", r".o_\1_proj."), (r"\.gate\.bias$", ".gate.e_score_correction_bias"),
         (r"shared_experts\.w1\.", "shared_experts.gate_proj."), (r"shared_experts\.w2\.", "shared_experts.down_proj."),
         (r"shared_experts\.w3\.", "shared_experts.up_proj.")]


def power_of_two_above(x):
    """2^ceil(log2 x) of positive float32 numbers, from their bits."""
    mantissa, exponent = torch.frexp(x)      # x = mantissa * 2^exponent, mantissa in [1/2, 1)
    return torch.ldexp(torch.ones_like(x), torch.where(mantissa == 0.5, exponent - 1, exponent))


def fp8(x, block):
    """E4M3 with one power of two for `block` values."""
    blocks = x.unflatten(-1, (-1, block))
    most = blocks.abs().amax(-1, keepdim=True).clamp(min=1e-4)
    scale = power_of_two_above(most * torch.tensor(1 / 448, dtype=torch.float32))
    codes = (blocks / scale).clamp(-448, 448).to(torch.float8_e4m3fn)
    return (codes.float() * scale).flatten(-2)


def fp4(x):
    """E2M1 with one power of two for 32 values, ties to the even code."""
    blocks = x.unflatten(-1, (-1, 32))
    most = blocks.abs().amax(-1, keepdim=True).clamp(min=6 * 2.0 ** -126)
    scale = power_of_two_above(most * torch.tensor(1 / 6, dtype=torch.float32))
    y = (blocks / scale).clamp(-6, 6)
    step = torch.where(y.abs() < 2, 0.5, torch.where(y.abs() < 4, 1.0, 2.0))
    return ((y / step).round() * step * scale).flatten(-2)


def kv_row(x):
    """A window's or compressed row: FP8 in blocks of 64, the rotated channels as they are."""
    return torch.cat([fp8(x[..., :-ROPE], 64), x[..., -ROPE:]], -1)


def rotated(x):
    """The normalised Hadamard transform of the last axis."""
    n = x.shape[-1]
    h = torch.ones(1, 1)
    while h.shape[0] < n:
        h = torch.cat([torch.cat([h, h], 1), torch.cat([h, -h], 1)], 0)
    return x @ h * n ** -0.5


class Trace:
    """What the running model chose: name -> array with one row per position (or per compressed row)."""

    def __init__(self, quantise_inputs):
        self.quantise_inputs, self.values, self.layer, self.calls = quantise_inputs, {}, 0, 0

    def put(self, name, tensor):
        """A tensor [positions, ...]"""
        self.values[f"layers.{self.layer}.{name}"] = tensor.detach().numpy().reshape(tensor.shape[0], -1)


trace = Trace(False)
rope = modeling.apply_rotary_pos_emb


def rope_then_quantise(x, cos, sin, unsqueeze_dim=1):
    """In the implementation's place; which of its calls this is tells what x is."""
    y = rope(x, cos, sin, unsqueeze_dim)
    caller = sys._getframe(1).f_code.co_qualname.split(".")[0]
    if caller == "DeepseekV4Attention":
        trace.calls += 1
        if trace.calls == 2:                        # query, then key, then output
            y = kv_row(y)
            trace.put("window", y[0, 0])
    elif caller in ("DeepseekV4CSACompressor", "DeepseekV4HCACompressor"):
        y = kv_row(y)
        trace.put("latent", y[0, 0])
    elif y.shape[1] == 1:                           # the indexer's keys have one head, its queries more
        y = fp4(rotated(y))
        trace.put("index_key", y[0, 0])
    else:
        y = fp4(rotated(y))
        trace.put("index_query", y[0].transpose(0, 1))
    return y


modeling.apply_rotary_pos_emb = rope_then_quantise


def topk(self, k, dim=-1):
    """Of equal scores, which are common (no head's product was positive), the first; PyTorch leaves that open."""
    values, indices = self.sort(dim=dim, descending=True, stable=True)
    return torch.return_types.topk((values.narrow(dim, 0, k), indices.narrow(dim, 0, k)))


torch.Tensor.topk = topk


def quantised_input(name):
    def hook(module, args):
        if not trace.quantise_inputs:
            return None
        x = fp8(args[0], 128)
        if name:
            trace.put(name, x.reshape(-1, x.shape[-1]))
        return (x, *args[1:])
    return hook


def routed_experts(self, hidden_states, top_k_index, top_k_weights):
    """The experts with quantised inputs, weighted before the down projection. Inputs of the down projections are
    recorded in ascending order of experts."""
    x, (n, k) = fp8(hidden_states, 128), top_k_index.shape
    order = top_k_index.argsort(-1)
    index, weights = top_k_index.gather(1, order), top_k_weights.gather(1, order)
    inner = torch.zeros(n, k, self.down_proj.shape[-1])
    out = torch.zeros_like(hidden_states)
    for expert in index.unique().tolist():
        row, slot = torch.where(index == expert)
        t = self._apply_gate(x[row] @ self.gate_up_proj[expert].T) * weights[row, slot, None]
        inner[row, slot] = fp8(t, 128)
        out.index_add_(0, row, inner[row, slot] @ self.down_proj[expert].T)
    trace.put("experts.w2.input", inner)
    return out


def install_hooks(model, quantise_inputs):
    def enter(layer):
        def hook(module, args):
            trace.layer, trace.calls = layer, 0
        return hook

    def chose_experts(module, args, result):
        trace.put("router", result[2].sort(-1).values)

    def chose_rows(module, args, result):
        rows = result[0].clone()
        rows[rows < 0] = 1 << 30
        rows = rows.sort(-1).values
        topk = model.config.index_topk
        rows = torch.nn.functional.pad(rows, (0, topk - rows.shape[1]), value=1 << 30)
        trace.put("topk", torch.where(rows == 1 << 30, -1, rows))

    for i, layer in enumerate(model.model.layers):
        layer.register_forward_pre_hook(enter(i))
        a, shared = layer.self_attn, layer.mlp.shared_experts
        layer.mlp.gate.register_forward_hook(chose_experts)
        inputs = {"wq_a.input": a.q_a_proj, "wq_b.input": a.q_b_proj, "wo_b.input": a.o_b_proj,
                  "experts.w1.input": shared.gate_proj, "shared_experts.w2.input": shared.down_proj}
        for name, module in inputs.items():
            module.register_forward_pre_hook(quantised_input(name))
        for module in (a.kv_proj, shared.up_proj):
            module.register_forward_pre_hook(quantised_input(None))
        indexer = getattr(a.compressor, "indexer", None)
        if indexer is not None:
            indexer.register_forward_hook(chose_rows)
            indexer.q_b_proj.register_forward_pre_hook(quantised_input(None))
        if quantise_inputs:
            layer.mlp.experts.forward = routed_experts.__get__(layer.mlp.experts)


def dequantise(tensors, name):
    """A weight as float32 (token tables: as they are)."""
    dtype, a = tensors[name]
    if dtype == "F8_E4M3" or dtype == "I8":
        scale = torch.from_numpy(np.ldexp(np.float32(1), tensors[name.replace(".weight", ".scale")][1].astype(int) - 127))
        if dtype == "I8":
            table = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6])
            codes = torch.from_numpy(np.stack([a & 15, a >> 4], -1).reshape(len(a), -1).astype(int))
            return table[codes] * scale.repeat_interleave(32, 1)
        w = torch.from_numpy(a.copy()).view(torch.float8_e4m3fn).float()
        return w * scale.repeat_interleave(128, 0).repeat_interleave(128, 1)[:w.shape[0], :w.shape[1]]
    if dtype == "BF16":
        return torch.from_numpy((a.astype("<u4") << 16).view("<f4"))
    return torch.from_numpy(a.copy())


NUMPY = {"F32": "<f4", "BF16": "<u2", "I64": "<i8", "I8": "u1", "F8_E4M3": "u1", "F8_E8M0": "u1"}


def read_tensors(directory):
    """{name: (type, array)} of all shards, as they lie there."""
    out = {}
    for file in sorted(f for f in os.listdir(directory) if re.fullmatch(r"model.*\.safetensors", f)):
        with open(os.path.join(directory, file), "rb") as f:
            header = json.loads(f.read(struct.unpack("<Q", f.read(8))[0]))
            data = f.read()
        header.pop("__metadata__", None)
        for name, t in header.items():
            first, last = t["data_offsets"]
            out[name] = (t["dtype"], np.frombuffer(data[first:last], NUMPY[t["dtype"]]).reshape(t["shape"]))
    return out


def state(directory, config):
    tensors, out = read_tensors(directory), {}
    for name in tensors:
        if name.endswith(".scale") or name.startswith("mtp.") or ".ffn.experts." in name:
            continue
        theirs = name
        for pattern, into in NAMES:
            theirs = re.sub(pattern, into, theirs)
        out[theirs] = dequantise(tensors, name)
    for layer in range(config.num_hidden_layers):
        def stack(which):
            return torch.stack([dequantise(tensors, f"layers.{layer}.ffn.experts.{e}.{which}.weight")
                                for e in range(config.n_routed_experts)])
        experts = f"model.layers.{layer}.mlp.experts."
        out[experts + "gate_up_proj"] = torch.cat([stack("w1"), stack("w3")], 1)
        out[experts + "down_proj"] = stack("w2")
    return out


def open_model(directory):
    with open(os.path.join(directory, "config.json"), encoding="utf-8") as f:
        settings = json.load(f)
    released = settings.pop("quantization_config", None) is not None
    part = settings["qk_rope_head_dim"] / settings["head_dim"]
    scaling = settings.pop("rope_scaling")
    compress = {"rope_type": "default", "rope_theta": settings["compress_rope_theta"], "partial_rotary_factor": part}
    if scaling:
        compress |= {"rope_type": "yarn", "attention_factor": 1.0} | {k: v for k, v in scaling.items() if k != "type"}
    settings["rope_parameters"] = {"compress": compress, "main": {
        "rope_type": "default", "rope_theta": settings["rope_theta"], "partial_rotary_factor": part}}
    config = DeepseekV4Config(**settings, attn_implementation="eager", experts_implementation="eager")
    model = modeling.DeepseekV4ForCausalLM(config).float().eval()
    model.load_state_dict(state(directory, config), strict=True)
    install_hooks(model, released)
    return model, released


@torch.no_grad()
def run(directory, ids, noise=None):
    """Logits [n][vocab] and the choices, as {name: array}.

    `noise` = (size, seed) multiplies every embedded value by 1 + size * a normal number: do the choices hold?
    """
    global trace
    model, released = open_model(directory)
    if noise:
        weight = model.model.embed_tokens.weight
        factor = 1 + noise[0] * np.random.default_rng(noise[1]).standard_normal(weight.shape)
        weight.mul_(torch.from_numpy(factor.astype(np.float32)))
    trace = Trace(released)
    logits = model(torch.tensor([ids]), use_cache=False).logits
    return logits[0].numpy(), trace.values
