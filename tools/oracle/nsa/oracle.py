"""The oracle: native sparse attention written down from the formulas of its paper, in NumPy and float64.

Every position is computed by itself over lists of tokens and entries, without masks, caches or chunks, so that nothing
of the engine's way of doing it is repeated here. Two things are float32, because their roundings decide what is computed
and not how exactly: rotation angles, and the weights of the checkpoint (BF16).
"""
import json
import os
import struct

import numpy as np

VERSIONS = "tools/oracle/nsa, from the paper's formulas"

COMPRESSED, SELECTED, WINDOW = "cmp", "slc", "swa"


class Model:
    """A model directory: configuration (with the defaults that an absent key stands for) and tensors."""

    def __init__(self, directory):
        with open(os.path.join(directory, "config.json"), encoding="utf-8") as f:
            c = json.load(f)
        self.heads, self.groups = c["num_heads"], c["num_kv_heads"]
        self.key_dim = c["head_dim"]
        self.value_dim = c.get("v_head_dim", self.key_dim)
        self.block, self.n_blocks, self.window = c["block_size"], c["block_counts"], c["window_size"]
        self.length = c.get("compress_block_size", self.block)
        self.stride = c.get("compress_stride", self.length)
        self.first, self.last = c.get("first_blocks", 0), c.get("local_blocks", 1)
        self.learned = c.get("compress", "mean") == "mlp"
        self.separate = c.get("branch_kv", "shared") == "separate"
        self.theta, self.eps, self.layers = c["rope_theta"], c["norm_eps"], c["num_hidden_layers"]
        self.dense_layers = c.get("first_k_dense_replace", 0) if c.get("n_routed_experts") else self.layers
        self.router = c
        self.tensors = read_tensors(directory)

    def __getitem__(self, name):
        return self.tensors[name]

    def linear(self, name, x):
        return x @ self.tensors[name + ".weight"].T

    def norm(self, name, x):
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + self.eps) * self.tensors[name + ".weight"]


def read_tensors(directory):
    """Every tensor of the directory's safetensors files (BF16 and F32) as float64."""
    tensors = {}
    for file in sorted(os.listdir(directory)):
        if not file.startswith("model") or not file.endswith(".safetensors"):
            continue
        with open(os.path.join(directory, file), "rb") as f:
            size = struct.unpack("<Q", f.read(8))[0]
            header, data = json.loads(f.read(size)), f.read()
        for name, t in header.items():
            if name == "__metadata__":
                continue
            raw = data[slice(*t["data_offsets"])]
            if t["dtype"] == "BF16":
                values = (np.frombuffer(raw, "<u2").astype("<u4") << 16).view("<f4")
            else:
                assert t["dtype"] == "F32", name
                values = np.frombuffer(raw, "<f4")
            tensors[name] = values.reshape(t["shape"]).astype(np.float64)
    return tensors


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def rotate(m, x):
    """x [n][heads][key_dim] at positions 0..n-1: channel i of the first half turns with channel i of the second."""
    half = m.key_dim // 2
    frequency = (1.0 / m.theta ** (np.arange(half) * 2 / m.key_dim)).astype(np.float32)
    angle = (np.arange(len(x), dtype=np.float32)[:, None] * frequency).astype(np.float64)[:, None, :]
    a, b = x[..., :half], x[..., half:]
    return np.concatenate([a * np.cos(angle) - b * np.sin(angle), b * np.cos(angle) + a * np.sin(angle)], -1)


def keys_and_values(m, prefix, x):
    """{branch: (keys [n][groups][key_dim], values [n][groups][value_dim])}"""
    def project(names):
        k = m.linear(f"{prefix}attn.{names}k_proj", x).reshape(len(x), m.groups, m.key_dim)
        v = m.linear(f"{prefix}attn.{names}v_proj", x).reshape(len(x), m.groups, m.value_dim)
        return rotate(m, k), v
    if m.separate:
        return {branch: project(branch + "_") for branch in (COMPRESSED, SELECTED, WINDOW)}
    return dict.fromkeys((COMPRESSED, SELECTED, WINDOW), project(""))


def compress(m, prefix, name, rows):
    """[n][groups][dim] -> one entry for every stride, of the `length` tokens from there on: [entries][groups][dim]"""
    entries = []
    for start in range(0, len(rows) - m.length + 1, m.stride):
        block = rows[start:start + m.length]
        if not m.learned:
            entries.append(block.mean(0))
            continue
        p = f"{prefix}attn.{name}."
        flat = (block.transpose(1, 0, 2) + m[p + "position"]).reshape(m.groups, -1)
        entries.append(m.linear(p + "down_proj", np.maximum(m.linear(p + "up_proj", flat), 0)))
    return np.array(entries).reshape(-1, *rows.shape[1:])


def overlaps(m, n):
    """[blocks][entries] of n tokens: strides that a selectable block and a compressed entry have in common."""
    block = np.arange(0, n, m.block)[:, None]
    entry = np.arange(0, n - m.length + 1, m.stride)[None, :]
    common = np.minimum(entry + m.length, block + m.block) - np.maximum(entry, block)
    return np.maximum(common, 0) // m.stride


def choose_blocks(m, t, shares, common):
    """Ascending numbers of the blocks that a group attends at position t. shares [entries]: of all its heads."""
    current = t // m.block
    importance = common[:current + 1, :len(shares)] @ shares
    importance[:m.first] = np.inf
    importance[max(0, current - m.last + 1):] = np.inf
    best = np.argsort(-importance, kind="stable")[:m.n_blocks]
    return sorted(best.tolist())


def attend(q, k, v, scale):
    """One group: q [heads][key_dim], k [keys][key_dim], v [keys][value_dim] -> outputs, and the keys' shares."""
    if len(k) == 0:
        return np.zeros((len(q), v.shape[-1])), np.zeros(0)
    p = softmax(q @ k.T * scale)
    return p @ v, p.sum(0)


def attention(m, prefix, x):
    """Output [n][hidden], and the blocks of every position: [n][groups * n_blocks], each group's filled up with -1."""
    n, per_group, scale = len(x), m.heads // m.groups, m.key_dim ** -0.5
    q = rotate(m, m.linear(prefix + "attn.q_proj", x).reshape(n, m.heads, m.key_dim))
    gate = sigmoid(m.linear(prefix + "attn.g_proj", x)).reshape(n, m.heads, 3)
    kv = keys_and_values(m, prefix, x)
    entry_k = compress(m, prefix, "cmp_k", kv[COMPRESSED][0])
    entry_v = compress(m, prefix, "cmp_v", kv[COMPRESSED][1])
    common = overlaps(m, n)
    out = np.zeros((n, m.heads, m.value_dim))
    chosen = np.full((n, m.groups, m.n_blocks), -1)
    for t in range(n):
        complete = max(0, (t + 1 - m.length) // m.stride + 1)
        recent = slice(max(0, t + 1 - m.window), t + 1)
        for g in range(m.groups):
            of_group = slice(g * per_group, (g + 1) * per_group)
            mine = q[t, of_group]
            cmp, shares = attend(mine, entry_k[:complete, g], entry_v[:complete, g], scale)
            blocks = choose_blocks(m, t, shares, common)
            chosen[t, g, :len(blocks)] = blocks
            tokens = [i for b in blocks for i in range(b * m.block, min((b + 1) * m.block, t + 1))]
            slc, _ = attend(mine, kv[SELECTED][0][tokens, g], kv[SELECTED][1][tokens, g], scale)
            swa = np.zeros_like(slc)
            if m.window > 0:
                swa, _ = attend(mine, kv[WINDOW][0][recent, g], kv[WINDOW][1][recent, g], scale)
            gates = gate[t, of_group]
            out[t, of_group] = gates[:, 0:1] * cmp + gates[:, 1:2] * slc + gates[:, 2:3] * swa
    return m.linear(prefix + "attn.o_proj", out.reshape(n, -1)), chosen.reshape(n, -1)


def mlp(m, prefix, x):
    gate = m.linear(prefix + "gate_proj", x)
    return m.linear(prefix + "down_proj", gate * sigmoid(gate) * m.linear(prefix + "up_proj", x))


def experts(m, prefix, x):
    """Output, and the experts of every position, ascending."""
    c = m.router
    logits = m.linear(prefix + "mlp.gate", x)
    scores = softmax(logits) if c["scoring_func"] == "softmax" else sigmoid(logits)
    best = np.sort(np.argsort(-scores, -1, kind="stable")[:, :c["num_experts_per_tok"]], -1)
    weights = np.take_along_axis(scores, best, -1)
    if c["norm_topk_prob"]:
        weights = weights / weights.sum(-1, keepdims=True)
    weights = weights * c["routed_scaling_factor"]
    out = mlp(m, prefix + "mlp.shared_experts.", x) if c["n_shared_experts"] else np.zeros_like(x)
    for t in range(len(x)):
        for expert, weight in zip(best[t], weights[t]):
            out[t] += weight * mlp(m, f"{prefix}mlp.experts.{expert}.", x[t:t + 1])[0]
    return out, best


def run(directory, ids, noise=None):
    """Logits [n][vocab] and the choices, as {name: array}.

    `noise` = (size, seed) multiplies every embedded value by 1 + size * a normal number: do the choices hold?
    """
    m, choices = Model(directory), {}
    embeddings = m["model.embeddings.weight"]
    if noise:
        embeddings = embeddings * (1 + noise[0] * np.random.default_rng(noise[1]).standard_normal(embeddings.shape))
    h = embeddings[ids]
    for layer in range(m.layers):
        p = f"model.layers.{layer}."
        y, choices[f"layers.{layer}.topk"] = attention(m, p, m.norm(p + "attn_norm", h))
        h = h + y
        x = m.norm(p + "mlp_norm", h)
        if layer < m.dense_layers:
            h = h + mlp(m, p + "mlp.", x)
        else:
            y, choices[f"layers.{layer}.router"] = experts(m, p, x)
            h = h + y
    return m.linear("lm_head", m.norm("model.norm", h)).astype(np.float32), choices
