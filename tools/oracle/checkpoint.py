"""Random checkpoints in the released naming and formats, and the same weights in BF16.

One drawing of weights gives both: dense matrices are made as E4M3 codes with one power-of-two scale per 32x32
tile, expert matrices as FP4 codes with one scale per row and 32 inputs. Both formats' values are exact in BF16,
so the BF16 variant holds the same numbers and the two differ only in what their formats ask of the activations
(FP8 and FP4 weights take FP8 inputs, BF16 weights do not).

Scales: matrices keep the size of a unit input, tiles differ by up to a factor of 8 (so that a scale in the wrong
place shows), everything that shifts a choice (sinks, router bias, mHC base) is random too.
"""
import json
import os
import struct

import numpy as np

import make_nano
from configurations import ADDED, VOCAB, config_json

E4M3 = np.array([(m / 8 if e == 0 else 1 + m / 8) * 2.0 ** (max(e, 1) - 7) for e in range(16) for m in range(8)][:127])
E2M1 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6])
BLOCK = 32

# Gains of matrices, relative to keeping the size of a unit input. A sublayer adds a tenth of the stream's size and
# an attention is not sharp: with larger ones a single code that falls differently in two implementations grows from
# layer to layer until the models have nothing in common, and comparing logits says nothing.
QUERY, SUBLAYER, ROUTED, HEAD = 0.7, 0.1, 0.05, 0.6


def nearest(values, table):
    """Codes of the nearest table entries, sign in the bit above; either neighbour at a tie."""
    code = np.searchsorted((table[1:] + table[:-1]) / 2, np.abs(values))
    return code.astype(np.uint8), np.signbit(values).astype(np.uint8)


def bf16_bits(values):
    """Exact: what is stored must fit."""
    bits = values.astype("<f4").view("<u4")
    assert not np.any(bits & 0xFFFF), "a weight that BF16 cannot hold"
    return (bits >> 16).astype("<u2")


class Weights(make_nano.Weights):
    """Named tensors. `released` decides how `fp8` and `fp4` matrices are stored."""

    def __init__(self, seed, released):
        super().__init__(seed)
        self.released = released

    def draw(self, n_out, n_in, gain):
        values = self.random.standard_normal((n_out, n_in)) * gain / n_in ** 0.5
        tiles = np.exp(0.5 * self.random.standard_normal((-(-n_out // BLOCK), -(-n_in // BLOCK))))
        return values * np.repeat(np.repeat(tiles, BLOCK, 0)[:n_out], BLOCK, 1)[:, :n_in]

    def scales(self, values, rows, largest):
        """Power-of-two exponents per `rows` x 32 block, up to two above the smallest that fits."""
        n, k = values.shape
        most = np.abs(values).reshape(-(-n // rows), rows, k // BLOCK, BLOCK).max((1, 3))
        extra = self.random.integers(0, 3 if rows > 1 else 2, most.shape)
        return np.ceil(np.log2(np.maximum(most, 1e-6) / largest)).astype(int) + extra

    def fp8(self, name, n_out, n_in, gain=1.0):
        values = self.draw(n_out, n_in, gain)
        exponent = self.scales(values, BLOCK, 448)
        scale = np.repeat(np.repeat(2.0 ** exponent, BLOCK, 0), BLOCK, 1)
        code, sign = nearest(values / scale, E4M3)
        if self.released:
            self.put(name + ".weight", "F8_E4M3", code | sign << 7)
            self.put(name + ".scale", "F8_E8M0", (exponent + 127).astype(np.uint8))
        else:
            self.put(name + ".weight", "BF16", bf16_bits(E4M3[code] * np.where(sign, -1, 1) * scale))

    def fp4(self, name, n_out, n_in, gain=1.0):
        values = self.draw(n_out, n_in, gain)
        exponent = self.scales(values, 1, 6)
        scale = np.repeat(2.0 ** exponent, BLOCK, 1)
        code, sign = nearest(values / scale, E2M1)
        if self.released:
            nibble = code | sign << 3
            self.put(name + ".weight", "I8", nibble[:, 0::2] | nibble[:, 1::2] << 4)
            self.put(name + ".scale", "F8_E8M0", (exponent + 127).astype(np.uint8))
        else:
            self.put(name + ".weight", "BF16", bf16_bits(E2M1[code] * np.where(sign, -1, 1) * scale))

    def write(self, directory, n_shards):
        """model.safetensors, or shards of about equal numbers of layers with their index."""
        if n_shards == 1:
            super().write(os.path.join(directory, "model.safetensors"))
            return
        names, where, total = list(self.tensors), {}, 0
        files = [f"model-{i + 1:05}-of-{n_shards:05}.safetensors" for i in range(n_shards)]
        for i, name in enumerate(names):
            where[name] = files[i * n_shards // len(names)]
        for file in files:
            part = make_nano.Weights(0)
            part.tensors = {name: self.tensors[name] for name in names if where[name] == file}
            part.write(os.path.join(directory, file))
            total += sum(a.nbytes for _, a in part.tensors.values())
        with open(os.path.join(directory, "model.safetensors.index.json"), "w", encoding="utf-8") as f:
            json.dump({"metadata": {"total_size": total}, "weight_map": where}, f)


def attention(w, c, layer):
    a, d, rank, hd = f"layers.{layer}.attn.", c["hidden_size"], c["q_lora_rank"], c["head_dim"]
    heads, groups = c["num_attention_heads"], c["o_groups"]
    w.fp8(a + "wq_a", rank, d)
    w.norm(a + "q_norm.weight", rank)
    w.fp8(a + "wq_b", heads * hd, rank, QUERY)
    w.fp8(a + "wkv", hd, d)
    w.norm(a + "kv_norm.weight", hd)
    w.f32(a + "attn_sink", (heads,), 1.0)
    w.fp8(a + "wo_a", groups * c["o_lora_rank"], heads * hd // groups)
    w.fp8(a + "wo_b", d, groups * c["o_lora_rank"], SUBLAYER)
    if layer in c["kv_source_layer_ids"]:
        w.matrix(a + "compressor.wkv", hd, d)
        if c["compress_ratios"][layer] > 1:
            w.matrix(a + "compressor.wgate", hd, d)
        w.norm(a + "compressor.norm.weight", hd)
        w.matrix(a + "indexer.wk", c["index_head_dim"], hd)
        w.norm(a + "indexer.k_norm.weight", c["index_head_dim"])
    if layer in c["index_source_layer_ids"]:
        w.fp8(a + "indexer.wq_b", c["index_n_heads"] * c["index_head_dim"], rank)
        w.matrix(a + "indexer.weights_proj", c["index_n_heads"], d)


def experts(w, c, layer):
    f, d, inner, n = f"layers.{layer}.ffn.", c["hidden_size"], c["moe_intermediate_size"], c["n_routed_experts"]
    w.matrix(f + "gate", n, d, 1.5)
    w.f32(f + "gate.bias", (n,), 0.3)
    w.f32(f + "gate.bias_vl", (n,), 1.0)         # for images: using it for text must show
    for e in range(n):
        w.fp4(f"{f}experts.{e}.w1", inner, d)
        w.fp4(f"{f}experts.{e}.w3", inner, d)
        w.fp4(f"{f}experts.{e}.w2", d, inner, ROUTED)
    for name in ("w1", "w3"):
        w.fp8(f"{f}shared_experts.{name}", inner, d)
    w.fp8(f"{f}shared_experts.w2", d, inner, SUBLAYER)


def engram(w, c, layer):
    e, d, hc = f"layers.{layer}.engram.", c["hidden_size"], c["hc_mult"]
    columns = (c["engram_max_ngram_size"] - 1) * c["engram_n_heads"] * c["engram_head_dim"]
    w.table(e + "embed", c["engram_num_embeddings"][c["engram_layer_ids"].index(layer)], c["engram_head_dim"])
    w.fp8(e + "wkv", (hc + 1) * d, columns)
    w.bf16(e + "q_weight", (hc, d), 0.3, 1.0)
    w.bf16(e + "k_weight", (hc, d), 0.3, 1.0)


def extras(w, c):
    """Tensors of parts that a text model does not use: to be recognised and skipped."""
    d = c["hidden_size"]
    w.bf16("vision.norm.weight", (32,), 1.0)
    w.bf16("vision.patch_embed.proj.weight", (32, 48), 1.0)
    w.bf16("aligner.w1.weight", (d, 32), 1.0)
    w.bf16("image_newline", (d,), 1.0)
    w.fp8("mtp.0.attn.wkv", c["head_dim"], d)
    w.bf16("mtp.2.norm.weight", (d,), 1.0)


def make_weights(c, seed, released, small_rows):
    """`small_rows`: one of 16 embeddings is so small that an epsilon of a norm other than 1e-20 shows."""
    w, d, hc = Weights([seed, 0xc4ec], released), c["hidden_size"], c["hc_mult"]
    scale = 1.0
    if small_rows:
        scale = np.where(w.random.random((c["vocab_size"], 1)) < 1 / 16, 1e-3, 1.0)
    w.bf16("embed.weight", (c["vocab_size"], d), scale)
    for layer in range(c["num_hidden_layers"]):
        for site in ("attn", "ffn"):
            p = f"layers.{layer}.hc_{site}_"
            w.f32(p + "fn", ((2 + hc) * hc, hc * d), (hc * d) ** -0.5)
            w.f32(p + "base", ((2 + hc) * hc,), 0.5)
            w.f32(p + "scale", (3,), 0.2, 0.8)
            w.norm(f"layers.{layer}.{site}_norm.weight", d)
        attention(w, c, layer)
        experts(w, c, layer)
        if layer in c["engram_layer_ids"]:
            engram(w, c, layer)
    w.norm("norm.weight", d)
    w.matrix("head", c["vocab_size"], d, HEAD)
    if c["num_nextn_predict_layers"] > 0:
        extras(w, c)
    return w


def write(case, directory, released):
    """The whole model directory of a case."""
    os.makedirs(directory, exist_ok=True)
    for name, value in (("config.json", config_json(case.text, released)),
                        ("tokenizer.json", make_nano.tokenizer_json(VOCAB, ADDED))):
        with open(os.path.join(directory, name), "w", encoding="utf-8") as f:
            json.dump(value, f, ensure_ascii=False, separators=(",", ":"))
            f.write("\n")
    make_weights(case.text, case.seed, released, case.small_rows).write(directory, case.shards)


def token_ids(case):
    """Random ids in which n-grams recur: stretches of the text so far are repeated."""
    random, ids = np.random.default_rng([case.seed, 0x1d5]), []
    while len(ids) < case.n_tokens:
        if len(ids) > 20 and random.random() < 0.3:
            at = int(random.integers(0, len(ids) - 10))
            ids += ids[at:at + int(random.integers(2, 10))]
        else:
            ids += random.integers(0, case.text["vocab_size"], int(random.integers(1, 12))).tolist()
    return ids[:case.n_tokens]


def write_tensors(path, tensors):
    """A safetensors file of float32 arrays."""
    header, at = {}, 0
    for name, a in tensors.items():
        header[name] = {"dtype": "F32", "shape": list(a.shape), "data_offsets": [at, at + a.size * 4]}
        at += a.size * 4
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for a in tensors.values():
            f.write(np.ascontiguousarray(a, "<f4").tobytes())
