#!/usr/bin/env python3
"""Writes tests/models/nano/golden.json: what the model in that folder computes, in double precision.

  make_nano_golden.py [MODEL_DIR]

A plain forward pass of DeepSeek-V4.1's text model over whole sequences in NumPy, without a cache, written
from the architecture's description and sharing no code with the engine. Nothing is rounded except by the
model's own fake quantisation of KV and index rows; of equal scores the lower index wins. Reads F32, BF16
and FP8 tables; not other quantised weights, draft layers or images.

The prompt is drawn a few tokens at a time; those with which noise far above single-precision rounding
would change a quantised value, a selection or a choice of experts are drawn again. Takes some minutes.
"""
import json
import math
import os
import struct
import sys

import numpy as np

import make_nano

PROMPT_SEED, PROMPT_TOKENS, GREEDY_TOKENS, TOP, POSITIONS = 2, 200, 16, 20, 9
BLOCK, NOISE, DRAWS, GAP_MIN = 5, 1e-6, 6, 0.2     # tokens drawn together; noise by which they are judged


# ---------------------------------------------------------------------------------------------------
# Files

def e4m3(code):
    code = code.astype(int)
    exponent, mantissa = code >> 3 & 15, code & 7
    value = np.where(exponent > 0, (8 + mantissa) * 2.0 ** (exponent - 10), mantissa * 2.0 ** -9)
    return np.where(code & 128, -value, value)


def read_weights(path, dtype):
    with open(path, "rb") as f:
        header = json.loads(f.read(struct.unpack("<Q", f.read(8))[0]))
        data = f.read()
    header.pop("__metadata__", None)
    storage = {"F32": "<f4", "BF16": "<u2", "F8_E4M3": "u1", "F8_E8M0": "u1"}
    raw = {name: np.frombuffer(data[t["data_offsets"][0]:t["data_offsets"][1]], storage[t["dtype"]]).reshape(t["shape"])
           for name, t in header.items()}
    out = {}
    for name, a in raw.items():
        kind = header[name]["dtype"]
        if kind == "BF16":
            a = (a.astype("<u4") << 16).view("<f4")
        elif kind == "F8_E4M3":
            scale = raw[name.removesuffix("weight") + "scale"].astype(int)
            a = e4m3(a) * np.repeat(2.0 ** (scale - 127), 32, axis=1)
        out[name] = a.astype(dtype)
    return out


# ---------------------------------------------------------------------------------------------------
# Pieces of the forward pass. T tokens; arrays are [T, ...] unless said otherwise.

def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softmax(x, axis=-1):
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def rmsnorm(x, weight, eps):
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * weight


def power_of_two_above(x):
    mantissa, exponent = np.frexp(x)
    return np.ldexp(np.ones_like(x), np.where(mantissa == 0.5, exponent - 1, exponent))


def round_e4m3(x):
    step = np.ldexp(np.ones_like(x), np.maximum(np.frexp(np.abs(x))[1] - 4, -9))
    return np.rint(x / step) * step


def round_e2m1(x):
    step = np.select([np.abs(x) < 2, np.abs(x) < 4], [0.5, 1.0], 2.0).astype(x.dtype)
    return np.rint(x / step) * step


def fake_quant(x, kind):
    """window: e4m3, 32 channels a power of two; index: e2m1, the same; latent: e2m1, 16 channels an e4m3 scale."""
    block = x.reshape(*x.shape[:-1], -1, 16 if kind == "latent" else 32)
    largest = np.abs(block).max(-1, keepdims=True)
    if kind == "window":
        scale = power_of_two_above(np.maximum(largest, 1e-4) / 448)
        out = round_e4m3(np.clip(block / scale, -448, 448)) * scale
    else:
        if kind == "index":
            scale = power_of_two_above(np.maximum(largest, 6 * 2.0 ** -126) / 6)
        else:
            scale = round_e4m3(np.maximum(largest, 6 * 2.0 ** -9) / 6)
        out = round_e2m1(np.clip(block / scale, -6, 6)) * scale
    return out.reshape(x.shape)


def best(score, k):
    """[rows, n] -> mask of each row's k largest entries above -inf, the lower index first among equals."""
    order = np.argsort(-score, axis=1, kind="stable")[:, :k]
    mask = np.zeros(score.shape, bool)
    np.put_along_axis(mask, order, True, axis=1)
    return mask & (score > -np.inf)


class Model:
    def __init__(self, folder, dtype=np.float64):
        with open(os.path.join(folder, "config.json"), encoding="utf-8") as f:
            self.c = json.load(f)["text_config"]
        with open(os.path.join(folder, "tokenizer.json"), encoding="utf-8") as f:
            tokenizer = json.load(f)
        added = {a["content"]: a["id"] for a in tokenizer["added_tokens"]}
        self.token_map, n = make_nano.compressed_map(tokenizer["model"]["vocab"], added)
        assert n == self.c["engram_compressed_vocab_size"], n
        self.w = read_weights(os.path.join(folder, "model.safetensors"), dtype)
        self.dtype = dtype
        self.eps = self.c["rms_norm_eps"]

    def linear(self, x, name):
        return x @ self.w[name + ".weight"].T

    def decided(self, x):
        """Passes through whatever is chosen by a threshold."""
        return x

    def rope(self, x, position, compressed, sign=1):
        """Turns adjacent pairs of the last channels. x: [T, channels] or [T, heads, channels]."""
        n = self.c["qk_rope_head_dim"]
        theta = self.c["compress_rope_theta" if compressed else "rope_theta"]
        i = np.arange(n // 2)
        frequency = theta ** (-2.0 * i / n)
        yarn = self.c["rope_scaling"] if compressed else None
        if yarn:
            def pair(turns):
                return n * math.log(yarn["original_max_position_embeddings"] / (turns * 2 * math.pi)) / (2 * math.log(theta))
            low, high = max(math.floor(pair(yarn["beta_fast"])), 0), min(math.ceil(pair(yarn["beta_slow"])), n - 1)
            ramp = np.clip((i - low) / (high - low), 0, 1)
            frequency = frequency / yarn["factor"] * ramp + frequency * (1 - ramp)
        angle = np.asarray(position)[:, None] * frequency
        if x.ndim == 3:
            angle = angle[:, None]
        cos, sin = np.cos(angle).astype(self.dtype), sign * np.sin(angle).astype(self.dtype)
        out = x.copy()
        a, b = x[..., -n::2], x[..., -n + 1::2]
        out[..., -n::2] = a * cos - b * sin
        out[..., -n + 1::2] = a * sin + b * cos
        return out

    def mixes(self, streams, prefix):
        n, eps = self.c["hc_mult"], self.c["hc_eps"]
        fn, base, scale = (self.w[prefix + part] for part in ("fn", "base", "scale"))
        flat = streams.reshape(len(streams), -1)
        m = flat @ fn.T / np.sqrt((flat * flat).mean(-1, keepdims=True) + self.eps)
        pre = sigmoid(m[:, :n] * scale[0] + base[:n]) + eps
        post = 2 * sigmoid(m[:, n:2 * n] * scale[1] + base[n:2 * n])
        comb = softmax((m[:, 2 * n:] * scale[2] + base[2 * n:]).reshape(-1, n, n)) + eps
        comb /= comb.sum(1, keepdims=True) + eps
        for _ in range(self.c["hc_sinkhorn_iters"] - 1):
            comb /= comb.sum(2, keepdims=True) + eps
            comb /= comb.sum(1, keepdims=True) + eps
        return pre, post, comb

    def compress(self, x, layer, shared):
        """Latent rows and index keys of a KV source."""
        a, ratio = f"layers.{layer}.attn.", self.c["compress_ratios"][layer]
        n = len(x) // ratio
        latent = self.linear(x[:n * ratio], a + "compressor.wkv")
        if ratio > 1:
            gate = self.linear(x[:n * ratio], a + "compressor.wgate").reshape(n, ratio, -1)
            latent = (softmax(gate, 1) * latent.reshape(n, ratio, -1)).sum(1)
        latent = rmsnorm(latent, self.w[a + "compressor.norm.weight"], self.eps)
        position = np.arange(n) * ratio
        key = rmsnorm(self.linear(latent, a + "indexer.wk"), self.w[a + "indexer.k_norm.weight"], self.eps)
        shared["keys"] = fake_quant(self.rope(key, position, True), "index")
        shared["latents"] = self.decided(fake_quant(self.rope(latent, position, True), "latent"))

    def select(self, x, qr, layer, position, shared):
        """Sets the mask [T, rows] of selected latent rows; at the candidate layer also that of candidates."""
        c, a = self.c, f"layers.{layer}.attn.indexer."
        heads, channels, keys = c["index_n_heads"], c["index_head_dim"], shared["keys"]
        query = self.linear(qr, a + "wq_b").reshape(len(x), heads, channels)
        query = fake_quant(self.rope(query, position, True), "index")
        weight = self.linear(x, a + "weights_proj") * (channels * heads) ** -0.5
        score = (np.maximum(query @ keys.T, 0) * weight[:, :, None]).sum(1)
        visible = (position + 1) // c["compress_ratios"][layer]
        score[np.arange(len(keys)) >= visible[:, None]] = -np.inf
        source, size = c["candidate_source_layer_id"], c["candidate_block_size"]
        if layer == source:
            padded = np.pad(score, ((0, 0), (0, -len(keys) % size)), constant_values=-np.inf)
            block = padded.reshape(len(x), -1, size).max(2)
            block[np.arange(block.shape[1]) == (visible[:, None] - 1) // size] = np.inf
            blocks = self.decided(best(block, c["candidate_topk_blocks"]))
            shared["candidates"] = np.repeat(blocks, size, 1)[:, :len(keys)]
        elif 0 <= source < layer:
            score[~shared["candidates"]] = -np.inf
        shared["selected"] = self.decided(best(score, c["index_topk"]))

    def attention(self, x, layer, position, shared):
        c, a = self.c, f"layers.{layer}.attn."
        heads, channels, compressed = c["num_attention_heads"], c["head_dim"], c["compress_ratios"][layer] > 0
        qr = rmsnorm(self.linear(x, a + "wq_a"), self.w[a + "q_norm.weight"], self.eps)
        q = self.rope(self.linear(qr, a + "wq_b").reshape(len(x), heads, channels), position, compressed)
        kv = rmsnorm(self.linear(x, a + "wkv"), self.w[a + "kv_norm.weight"], self.eps)
        kv = self.decided(fake_quant(self.rope(kv, position, compressed), "window"))
        age = position[:, None] - position
        mask = (age >= 0) & (age < c["sliding_window"])
        if compressed:
            if layer in c["kv_source_layer_ids"]:
                self.compress(x, layer, shared)
            if layer in c["index_source_layer_ids"]:
                self.select(x, qr, layer, position, shared)
            kv, mask = np.concatenate([kv, shared["latents"]]), np.concatenate([mask, shared["selected"]], 1)
        score = np.where(mask[:, None], q @ kv.T * channels ** -0.5, -np.inf)
        sink = np.broadcast_to(self.w[a + "attn_sink"][None, :, None], (len(x), heads, 1))
        out = softmax(np.concatenate([score, sink], -1))[..., :-1] @ kv
        out = self.rope(out, position, compressed, -1)
        groups, rank = c["o_groups"], c["o_lora_rank"]
        wo_a = self.w[a + "wo_a.weight"].reshape(groups, rank, -1)
        out = np.einsum("tgi,gri->tgr", out.reshape(len(x), groups, -1), wo_a)
        return self.linear(out.reshape(len(x), -1), a + "wo_b")

    def expert(self, x, prefix, weight):
        limit = self.c["swiglu_limit"]
        gate = np.minimum(self.linear(x, prefix + "w1"), limit)
        up = np.clip(self.linear(x, prefix + "w3"), -limit, limit)
        return self.linear(weight * gate * sigmoid(gate) * up, prefix + "w2")

    def experts(self, x, layer):
        c, f = self.c, f"layers.{layer}.ffn."
        score = np.sqrt(np.log1p(np.exp(self.linear(x, f + "gate"))))
        chosen = self.decided(best(score + self.w[f + "gate.bias"], c["num_experts_per_tok"]))
        weight = np.where(chosen, score, 0)
        if c["norm_topk_prob"]:
            weight = weight / (weight.sum(1, keepdims=True) + 1e-20)
        weight = weight * c["routed_scaling_factor"]
        out = self.expert(x, f + "shared_experts.", 1)
        for e in range(c["n_routed_experts"]):
            out = out + self.expert(x, f"{f}experts.{e}.", weight[:, e, None])
        return out

    def engram_rows(self, ids, layer):
        """[T, (orders - 1) * heads] rows of the table before `layer`."""
        c = self.c
        orders, heads, n = c["engram_max_ngram_size"], c["engram_n_heads"], c["engram_compressed_vocab_size"]
        mapped = np.array(self.token_map)[ids]
        pad = self.token_map[c["engram_pad_token_id"]]
        bound = np.iinfo(np.int64).max // n // 2
        multiplier = np.random.default_rng(10007 * layer).integers(0, bound, orders, dtype=np.int64) * 2 + 1
        prime = make_nano.engram_primes(c)[c["engram_layer_ids"].index(layer)]
        offset = np.cumsum(prime) - prime
        rows, mixed = [], mapped * multiplier[0]
        for i in range(1, orders):
            shifted = np.concatenate([np.full(i, pad), mapped])[:len(mapped)]
            mixed = mixed ^ shifted * multiplier[i]
            rows += [mixed % prime[(i - 1) * heads + k] + offset[(i - 1) * heads + k] for k in range(heads)]
        return np.stack(rows, 1)

    def engram(self, streams, ids, layer):
        e, d = f"layers.{layer}.engram.", self.c["hidden_size"]
        rows = self.w[e + "embed.weight"][self.engram_rows(ids, layer)].reshape(len(ids), -1)
        kv = self.linear(rows, e + "wkv")
        key, value = kv[:, :-d].reshape(streams.shape), kv[:, -d:]
        dot = (rmsnorm(streams, self.w[e + "q_weight"], self.eps) * rmsnorm(key, self.w[e + "k_weight"], self.eps)).sum(-1)
        dot = dot / math.sqrt(d)
        gate = sigmoid(np.copysign(np.sqrt(np.maximum(np.abs(dot), 1e-6)), dot))
        return streams + gate[:, :, None] * value[:, None]

    def logits(self, ids):
        """[T, vocabulary]"""
        c, position, shared = self.c, np.arange(len(ids)), {}
        streams = np.repeat(self.w["embed.weight"][ids][:, None], c["hc_mult"], 1)
        pre_mix = np.zeros(streams.shape[:2], self.dtype)
        pre_mix[:, 0] = 1

        def sublayer(streams, site, layer, pre_mix, function):
            pre, post, comb = self.mixes(streams, f"layers.{layer}.hc_{site}_")
            x = np.einsum("tj,tjd->td", pre_mix, streams)
            y = function(rmsnorm(x, self.w[f"layers.{layer}.{site}_norm.weight"], self.eps))
            return post[:, :, None] * y[:, None] + np.einsum("tjk,tjd->tkd", comb, streams), pre

        for layer in range(c["num_hidden_layers"]):
            if layer in c["engram_layer_ids"]:
                streams = self.engram(streams, ids, layer)
            streams, pre_mix = sublayer(streams, "attn", layer, pre_mix,
                                        lambda x: self.attention(x, layer, position, shared))
            streams, pre_mix = sublayer(streams, "ffn", layer, pre_mix, lambda x: self.experts(x, layer))
        x = np.einsum("tj,tjd->td", pre_mix, streams)
        return self.linear(rmsnorm(x, self.w["norm.weight"], self.eps), "head")


class NoisyModel(Model):
    """Adds noise to the result of every matrix, relative to its size, and records what was decided."""

    def run(self, ids, draw):
        """draw 0 is without noise."""
        self.draw, self.n_matrices, self.decisions = draw, 0, []
        return self.logits(np.array(ids)), self.decisions

    def linear(self, x, name):
        y = super().linear(x, name)
        if self.draw:
            self.n_matrices += 1        # a generator each, so that a token's noise is the same in a longer text
            noise = np.random.default_rng([self.draw, self.n_matrices]).standard_normal(y.shape)
            y = y + NOISE * np.sqrt((y * y).mean(-1, keepdims=True)) * noise
        return y

    def decided(self, x):
        self.decisions.append(x)
        return x

    def steady(self, ids):
        quiet = self.run(ids, 0)[1]
        return all(all(map(np.array_equal, quiet, self.run(ids, draw)[1])) for draw in range(1, DRAWS + 1))


def continuation(model, prompt):
    """Greedy ids up to the first whose lead over the second best is too small, and the smallest lead."""
    ids, gap = list(prompt), np.inf
    while len(ids) < len(prompt) + GREEDY_TOKENS and gap >= GAP_MIN:
        last = model.run(ids, 0)[0][-1]
        second, top = np.sort(last)[-2:]
        ids, gap = ids + [int(last.argmax())], min(gap, top - second)
    return ids[len(prompt):], gap


def find_prompt(folder):
    """Prompt and greedy ids."""
    model, random, prompt = NoisyModel(folder), np.random.default_rng(PROMPT_SEED), [0]
    while True:
        n = min(BLOCK, PROMPT_TOKENS - len(prompt))
        print(f"\r{len(prompt)} of {PROMPT_TOKENS} tokens", end="", file=sys.stderr, flush=True)
        longer = prompt + random.integers(3, model.c["vocab_size"], n).tolist()
        if not model.steady(longer):
            continue
        if len(longer) < PROMPT_TOKENS:
            prompt = longer
            continue
        greedy, gap = continuation(model, longer)
        if gap >= GAP_MIN and model.steady(longer + greedy):
            return longer, greedy


def main(folder):
    model, (prompt, greedy) = Model(folder), find_prompt(folder)
    ids = np.array(prompt + greedy)
    first = len(prompt) - 1
    wide = model.logits(ids)[first:]
    narrow = Model(folder, np.float32).logits(ids)[first:]
    two = np.sort(wide[:-1], 1)[:, -2:]
    difference = float(np.abs(narrow - wide).max())
    golden = {
        "name": "nano", "input_ids": prompt, "greedy_ids": greedy,
        "logits": [{"position": first + k, "top": [[int(i), round(float(wide[k][i]), 6)]
                                                   for i in np.argsort(-wide[k], kind="stable")[:TOP]]} for k in range(POSITIONS)],
        "checks": {"same_greedy_all_at_once": wide[:-1].argmax(1).tolist() == greedy,
                   "max_abs_difference_fp32_vs_fp64": difference,
                   "smallest_greedy_gap": float((two[:, 1] - two[:, 0]).min())},
        # No rounding flip happens here, so single precision is off by its own noise alone; 10 times that
        # leaves room for other summation orders.
        "tolerance": float(f"{10 * difference:.0e}"),
    }
    with open(os.path.join(folder, "golden.json"), "w", encoding="utf-8") as f:
        json.dump(golden, f, separators=(",", ":"))
        f.write("\n")
    print(golden["checks"], "tolerance", golden["tolerance"])


if __name__ == "__main__":
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    main(sys.argv[1] if len(sys.argv) > 1 else os.path.join(root, "tests", "models", "nano"))
