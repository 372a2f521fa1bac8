#!/usr/bin/env python3
"""Writes tests/models/nano: a DeepSeek-V4.1 text model with random weights, small enough to commit.

  make_nano.py [OUT_DIR]        (default: tests/models/nano next to this script's folder)

Deterministic: the same seed and NumPy give the same bytes. Needs NumPy only. Sizes are chosen so that
every rule of the architecture decides something within 256 tokens (tests/models/README.md has the list).
The golden file is made from the result by make_nano_golden.py.
"""
import json
import os
import struct
import sys
import unicodedata

import numpy as np

SEED = 43
EOS = 1

# ---------------------------------------------------------------------------------------------------
# Tokenizer: layout of the released file. Ids 0-2 stand in the vocabulary and among the added tokens,
# then the byte alphabet, then merges; the other added tokens follow and are not in the vocabulary.

FIRST = ["<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜▁pad▁｜>"]
LAST = ["<｜System｜>", "<｜fim▁hole｜>", "<｜fim▁begin｜>", "<｜fim▁end｜>", "<｜User｜>", "<｜Assistant｜>",
        "<think>", "</think>", "｜DSML｜", "<｜latest_reminder｜>"]
NOT_SPECIAL = {"<think>", "</think>", "｜DSML｜"}

# "left right", best first. Several give tokens that the Engram map joins: "the", " the", "The"; "é", "e".
MERGES = """Ġ Ġ|ĠĠ ĠĠ|i n|r e|o n|e r|t h|h e|th e|Ġ the|Ġ t|Ġt he|T h|Th e|a t|s t|in t|Ġ int|Ġ c|Ġc h|Ġch a|Ġcha r
; Ċ|Ċ Ċ|( )|() ;|Ġ =|Ġ= Ġ|re t|ret u|retu r|retur n|i f|Ġ if|Ġif Ġ|f o|fo r|I N|IN T|1 2|12 3|Ã ©|Ã ī|Ã ¤
ä ½|ä½ ł|å ¥|å¥ ½|ð Ł|ðŁ ļ|ðŁļ Ģ|Â ł|ĉ ĉ""".replace("\n", "|").split("|")

SPLIT_DIGITS = r"\p{N}{1,3}"
SPLIT_CJK = "[一-龥぀-ゟ゠-ヿ]+"
SPLIT_WORDS = (r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"
               r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")


def byte_alphabet():
    """GPT-2's printable character for every byte."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [b for b in range(256) if b not in printable]
    return {b: chr(b) for b in printable} | {b: chr(256 + i) for i, b in enumerate(rest)}


def make_vocab():
    """{string: id} of the vocabulary, and {content: id} of the added tokens."""
    vocab = {}
    for text in [*FIRST, *sorted(byte_alphabet().values()), *("".join(m.split(" ")) for m in MERGES)]:
        vocab.setdefault(text, len(vocab))          # two merges may give one token
    added = {text: vocab[text] for text in FIRST}
    for text in LAST:
        added[text] = len(vocab) + len(added) - len(FIRST)
    return vocab, added


def tokenizer_json(vocab, added):
    def split(pattern):
        return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    return {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [{"id": i, "content": text, "single_word": False, "lstrip": False, "rstrip": False,
                          "normalized": False, "special": text not in NOT_SPECIAL} for text, i in added.items()],
        "normalizer": {"type": "Sequence", "normalizers": []},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            split(SPLIT_DIGITS), split(SPLIT_CJK), split(SPLIT_WORDS), byte_level]},
        "post_processor": byte_level | {"trim_offsets": False},
        "decoder": byte_level | {"add_prefix_space": True, "use_regex": True},
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False,
                  "vocab": vocab, "merges": MERGES},
    }


# ---------------------------------------------------------------------------------------------------
# Engram: compressed token map and table sizes

WHITE_SPACE = "\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200b)))


def normalised(text):
    text = unicodedata.normalize("NFD", unicodedata.normalize("NFKC", text))
    text = "".join(c.lower() for c in text if not unicodedata.category(c).startswith("M"))
    for c in "\t\r\n":
        text = text.replace(c, " ")
    while "  " in text:
        text = text.replace("  ", " ")
    return text if text == " " else text.strip(WHITE_SPACE)


def compressed_map(vocab, added):
    """Token id -> number of its normalised text, and how many numbers there are."""
    to_byte = {c: b for b, c in byte_alphabet().items()}
    strings = {i: s for s, i in vocab.items()} | {i: s for s, i in added.items()}
    number, out = {}, []
    for i in range(len(strings)):
        raw = strings[i]
        text = raw if raw in added else bytes(to_byte[c] for c in raw).decode("utf-8", errors="replace")
        key = raw if "\ufffd" in text else normalised(text) or text
        out.append(number.setdefault(key, len(number)))
    return out, len(number)


def is_prime(n):
    return n > 1 and all(n % d for d in range(2, int(n ** 0.5) + 1))


def engram_primes(config):
    """[layer][ngram_max - 1 sweeps of n_heads]: each sweep restarts at engram_vocab_size, none is used twice."""
    used, tables = set(), []
    for _ in config["engram_layer_ids"]:
        table = []
        for _ in range(config["engram_max_ngram_size"] - 1):
            n = config["engram_vocab_size"]
            for _ in range(config["engram_n_heads"]):
                while not is_prime(n) or n in used:
                    n += 1
                used.add(n)
                table.append(n)
        tables.append(table)
    return tables


# ---------------------------------------------------------------------------------------------------
# Configuration and weights

def make_config(vocab_size, compressed):
    text = {
        "model_type": "deepseek_v41_text", "vocab_size": vocab_size, "hidden_size": 32, "num_hidden_layers": 6,
        "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 32, "qk_rope_head_dim": 16,
        "q_lora_rank": 16, "o_groups": 2, "o_lora_rank": 16, "sliding_window": 16,
        "compress_ratios": [0, 2, 2, 1, 1, 1], "kv_source_layer_ids": [1, 3], "index_source_layer_ids": [1, 3, 4],
        "candidate_source_layer_id": 3, "candidate_topk_blocks": 3, "candidate_block_size": 4,
        "index_n_heads": 2, "index_head_dim": 32, "index_topk": 8, "moe_intermediate_size": 16,
        "n_routed_experts": 3, "n_shared_experts": 1, "num_experts_per_tok": 2, "scoring_func": "sqrtsoftplus",
        "norm_topk_prob": True, "routed_scaling_factor": 1.5, "topk_method": "noaux_tc", "swiglu_limit": 2.5,
        "hidden_act": "silu", "hc_mult": 2, "hc_sinkhorn_iters": 4, "hc_eps": 1e-6, "engram_layer_ids": [1, 4],
        "engram_vocab_size": 40, "engram_max_ngram_size": 4, "engram_n_heads": 1, "engram_head_dim": 32,
        "engram_pad_token_id": 2, "engram_compressed_vocab_size": compressed, "rope_theta": 10000,
        "compress_rope_theta": 160000, "rope_scaling": {
            "type": "yarn", "factor": 16, "beta_fast": 32, "beta_slow": 1, "original_max_position_embeddings": 2048},
        "max_position_embeddings": 32768, "attention_bias": False, "attention_dropout": 0.0, "rms_norm_eps": 1e-20,
        "initializer_range": 0.02, "use_cache": True, "tie_word_embeddings": False, "num_nextn_predict_layers": 0,
    }
    text["engram_num_embeddings"] = [sum(table) for table in engram_primes(text)]
    return {"architectures": ["DeepseekV41ForCausalLM"], "model_type": "deepseek_v41", "dtype": "bfloat16",
            "bos_token_id": 0, "eos_token_id": EOS, "pad_token_id": 2, "text_config": text}


class Weights:
    """Named tensors in file order. Matrices keep the scale of a unit input unless `gain` says otherwise."""

    def __init__(self, seed):
        self.random, self.tensors = np.random.default_rng(seed), {}

    def put(self, name, dtype, array):
        self.tensors[name] = (dtype, np.ascontiguousarray(array))

    def f32(self, name, shape, scale, offset=0.0):
        self.put(name, "F32", (offset + scale * self.random.standard_normal(shape)).astype("<f4"))

    def bf16(self, name, shape, scale, offset=0.0):
        bits = (offset + scale * self.random.standard_normal(shape)).astype("<f4").view("<u4")
        self.put(name, "BF16", ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2"))

    def matrix(self, name, n_out, n_in, gain=1.0):
        self.bf16(name + ".weight", (n_out, n_in), gain / n_in ** 0.5)

    def norm(self, name, n):
        self.bf16(name, (n,), 0.2, 1.0)

    def table(self, name, rows, n):
        """FP8 rows with one scale per 32 columns: any finite code up to 3.75, scales around 1/2."""
        code = self.random.integers(0, 0x48, (rows, n)) | self.random.integers(0, 2, (rows, n)) << 7
        self.put(name + ".weight", "F8_E4M3", code.astype("u1"))
        self.put(name + ".scale", "F8_E8M0", self.random.integers(124, 128, (rows, n // 32)).astype("u1"))

    def write(self, path):
        header, at = {"__metadata__": {"format": "pt"}}, 0
        # Widest elements first: every tensor is aligned to its elements.
        order = sorted(self.tensors, key=lambda name: -self.tensors[name][1].itemsize)
        for name in order:
            dtype, a = self.tensors[name]
            header[name] = {"dtype": dtype, "shape": list(a.shape), "data_offsets": [at, at + a.nbytes]}
            at += a.nbytes
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        with open(path, "wb") as f:
            f.write(struct.pack("<Q", len(text)) + text)
            for name in order:
                f.write(self.tensors[name][1].tobytes())


def attention(w, c, layer):
    a, d, rank, hd = f"layers.{layer}.attn.", c["hidden_size"], c["q_lora_rank"], c["head_dim"]
    heads, groups = c["num_attention_heads"], c["o_groups"]
    w.matrix(a + "wq_a", rank, d)
    w.norm(a + "q_norm.weight", rank)
    w.matrix(a + "wq_b", heads * hd, rank)
    w.matrix(a + "wkv", hd, d)
    w.norm(a + "kv_norm.weight", hd)
    w.f32(a + "attn_sink", (heads,), 1.0)
    w.matrix(a + "wo_a", groups * c["o_lora_rank"], heads * hd // groups)
    w.matrix(a + "wo_b", d, groups * c["o_lora_rank"])
    if layer in c["kv_source_layer_ids"]:
        w.matrix(a + "compressor.wkv", hd, d)
        if c["compress_ratios"][layer] > 1:
            w.matrix(a + "compressor.wgate", hd, d)
        w.norm(a + "compressor.norm.weight", hd)
        w.matrix(a + "indexer.wk", c["index_head_dim"], hd)
        w.norm(a + "indexer.k_norm.weight", c["index_head_dim"])
    if layer in c["index_source_layer_ids"]:
        w.matrix(a + "indexer.wq_b", c["index_n_heads"] * c["index_head_dim"], rank)
        w.matrix(a + "indexer.weights_proj", c["index_n_heads"], d)


def experts(w, c, layer):
    f, d, inner, n = f"layers.{layer}.ffn.", c["hidden_size"], c["moe_intermediate_size"], c["n_routed_experts"]
    w.matrix(f + "gate", n, d, 1.5)
    w.f32(f + "gate.bias", (n,), 0.1)
    w.f32(f + "gate.bias_vl", (n,), 1.0)         # for images: using it for text must show
    for expert in [*(f"experts.{e}" for e in range(n)), "shared_experts"]:
        w.matrix(f"{f}{expert}.w1", inner, d)
        w.matrix(f"{f}{expert}.w3", inner, d)
        w.matrix(f"{f}{expert}.w2", d, inner)


def engram(w, c, layer, rows):
    e, d, hc = f"layers.{layer}.engram.", c["hidden_size"], c["hc_mult"]
    columns = (c["engram_max_ngram_size"] - 1) * c["engram_n_heads"] * c["engram_head_dim"]
    w.table(e + "embed", rows, c["engram_head_dim"])
    w.matrix(e + "wkv", (hc + 1) * d, columns)
    w.bf16(e + "q_weight", (hc, d), 0.3, 1.0)
    w.bf16(e + "k_weight", (hc, d), 0.3, 1.0)


def make_weights(c):
    w, d, hc = Weights(SEED), c["hidden_size"], c["hc_mult"]
    w.bf16("embed.weight", (c["vocab_size"], d), 1.0)
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
            engram(w, c, layer, c["engram_num_embeddings"][c["engram_layer_ids"].index(layer)])
    w.norm("norm.weight", d)
    w.matrix("head", c["vocab_size"], d, 5)
    w.tensors["head.weight"][1][EOS] = 0        # far below the best: texts go on until their limit
    return w


def main(out):
    os.makedirs(out, exist_ok=True)
    vocab, added = make_vocab()
    vocab_size = len(vocab | added)
    config = make_config(vocab_size, compressed_map(vocab, added)[1])

    def save(name, value, **layout):
        with open(os.path.join(out, name), "w", encoding="utf-8") as f:
            json.dump(value, f, ensure_ascii=False, **layout)
            f.write("\n")

    save("config.json", config, separators=(",", ":"))
    save("tokenizer.json", tokenizer_json(vocab, added), separators=(",", ":"))
    make_weights(config["text_config"]).write(os.path.join(out, "model.safetensors"))


if __name__ == "__main__":
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    main(sys.argv[1] if len(sys.argv) > 1 else os.path.join(root, "tests", "models", "nano"))
