"""What the families of the comparison share: a case, random weights in the released formats or in BF16, token ids.

One drawing of weights gives both formats: dense matrices are made as E4M3 codes with one power-of-two scale per tile,
expert matrices as FP4 codes with one scale per row and 32 inputs. Both formats' values are exact in BF16, so the BF16
variant holds the same numbers and the two differ only in what their formats ask of the activations (FP8 and FP4
weights take FP8 inputs, BF16 weights do not).

Scales: matrices keep the size of a unit input, blocks differ by up to a factor of 8 (so that a scale in the wrong place
shows), everything that shifts a choice (sinks, router bias, mHC base) is random too.
"""
import dataclasses
import json
import os
import struct

import numpy as np

import make_nano

VOCAB, ADDED = make_nano.make_vocab()
VOCAB_SIZE = len(VOCAB | ADDED)

E4M3 = np.array([(m / 8 if e == 0 else 1 + m / 8) * 2.0 ** (max(e, 1) - 7) for e in range(16) for m in range(8)][:127])
E2M1 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6])
BLOCK = 32

# Gains of matrices, relative to keeping the size of a unit input. A sublayer adds a tenth of the stream's size and
# an attention is not sharp: with larger ones a single code that falls differently in two implementations grows from
# layer to layer until the models have nothing in common, and comparing logits says nothing.
QUERY, SUBLAYER, ROUTED, HEAD = 0.7, 0.1, 0.05, 0.6


@dataclasses.dataclass
class Case:
    name: str
    n_tokens: int
    text: dict              # the model's configuration (of a composite one: text_config)
    seed: int
    chunks: tuple = (7, 64)  # tokens per step; odd ones cut open groups
    shards: int = 1
    small_rows: bool = False  # some embeddings are tiny, so that the epsilon of a norm shows


def nearest(values, table):
    """Codes of the nearest table entries, sign in the bit above; either neighbour at a tie."""
    code = np.searchsorted((table[1:] + table[:-1]) / 2, np.abs(values))
    return code.astype(np.uint8), np.signbit(values).astype(np.uint8)


def bf16_bits(values):
    """Exact: what is stored must fit."""
    bits = values.astype("<f4").view("<u4")
    assert not np.any(bits & 0xFFFF), "a weight that BF16 cannot hold"
    return (bits >> 16).astype("<u2")


def spread(blocks, rows, columns, shape):
    """One number per block of rows x columns -> one per element; the last blocks may be cut off."""
    return np.repeat(np.repeat(blocks, rows, 0), columns, 1)[:shape[0], :shape[1]]


class Weights(make_nano.Weights):
    """Named tensors. `released` decides how `fp8` and `fp4` matrices are stored, `tile` is the side of an FP8 tile."""

    def __init__(self, seed, released, tile=BLOCK):
        super().__init__(seed)
        self.released, self.tile = released, tile

    def draw(self, n_out, n_in, gain):
        values = self.random.standard_normal((n_out, n_in)) * gain / n_in ** 0.5
        blocks = np.exp(0.5 * self.random.standard_normal((-(-n_out // BLOCK), -(-n_in // BLOCK))))
        return values * spread(blocks, BLOCK, BLOCK, values.shape)

    def scales(self, values, rows, columns, largest):
        """Power-of-two exponents per block of rows x columns, up to two above the smallest that fits."""
        n, k = values.shape
        most = np.abs(np.pad(values, ((0, -n % rows), (0, -k % columns))))
        most = most.reshape(-(-n // rows), rows, -(-k // columns), columns).max((1, 3))
        extra = self.random.integers(0, 3 if rows > 1 else 2, most.shape)
        return np.ceil(np.log2(np.maximum(most, 1e-6) / largest)).astype(int) + extra

    def fp8(self, name, n_out, n_in, gain=1.0):
        values = self.draw(n_out, n_in, gain)
        exponent = self.scales(values, self.tile, self.tile, 448)
        scale = spread(2.0 ** exponent, self.tile, self.tile, values.shape)
        code, sign = nearest(values / scale, E4M3)
        if self.released:
            self.put(name + ".weight", "F8_E4M3", code | sign << 7)
            self.put(name + ".scale", "F8_E8M0", (exponent + 127).astype(np.uint8))
        else:
            self.put(name + ".weight", "BF16", bf16_bits(E4M3[code] * np.where(sign, -1, 1) * scale))

    def fp4(self, name, n_out, n_in, gain=1.0):
        values = self.draw(n_out, n_in, gain)
        exponent = self.scales(values, 1, BLOCK, 6)
        scale = np.repeat(2.0 ** exponent, BLOCK, 1)
        code, sign = nearest(values / scale, E2M1)
        if self.released:
            nibble = code | sign << 3
            self.put(name + ".weight", "I8", nibble[:, 0::2] | nibble[:, 1::2] << 4)
            self.put(name + ".scale", "F8_E8M0", (exponent + 127).astype(np.uint8))
        else:
            self.put(name + ".weight", "BF16", bf16_bits(E2M1[code] * np.where(sign, -1, 1) * scale))

    def embedding(self, vocab_size, d, small_rows, name="embed.weight"):
        """`small_rows`: one of 16 is so small that a norm with another epsilon than the model's shows."""
        scale = 1.0
        if small_rows:
            scale = np.where(self.random.random((vocab_size, 1)) < 1 / 16, 1e-3, 1.0)
        self.bf16(name, (vocab_size, d), scale)

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


def write_model(directory, config, weights, shards):
    """The whole model directory of a case, with make_nano's tokenizer."""
    os.makedirs(directory, exist_ok=True)
    for name, value in (("config.json", config), ("tokenizer.json", make_nano.tokenizer_json(VOCAB, ADDED))):
        with open(os.path.join(directory, name), "w", encoding="utf-8") as f:
            json.dump(value, f, ensure_ascii=False, separators=(",", ":"))
            f.write("\n")
    weights.write(directory, shards)


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
