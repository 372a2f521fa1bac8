"""Random checkpoints of DeepSeek-V4, in the released naming and formats or in BF16."""
import numpy as np

from random_model import HEAD, QUERY, ROUTED, SUBLAYER, Weights, write_model
from v4.configurations import config_json

TILE = 128


def compressor(w, prefix, ratio, dim, d):
    """Ratio 4 overlaps: two numbers per channel, for the row that the token is in and for the next one."""
    n = 2 * dim if ratio == 4 else dim
    w.matrix(prefix + "wkv", n, d)
    w.matrix(prefix + "wgate", n, d)
    w.f32(prefix + "ape", (ratio, n), 0.7)
    w.norm(prefix + "norm.weight", dim)


def attention(w, c, prefix, ratio):
    a, d, rank, hd = prefix + "attn.", c["hidden_size"], c["q_lora_rank"], c["head_dim"]
    heads, groups = c["num_attention_heads"], c["o_groups"]
    w.fp8(a + "wq_a", rank, d)
    w.norm(a + "q_norm.weight", rank)
    w.fp8(a + "wq_b", heads * hd, rank, QUERY)
    w.fp8(a + "wkv", hd, d)
    w.norm(a + "kv_norm.weight", hd)
    w.f32(a + "attn_sink", (heads,), 1.0)
    w.fp8(a + "wo_a", groups * c["o_lora_rank"], heads * hd // groups)
    w.fp8(a + "wo_b", d, groups * c["o_lora_rank"], SUBLAYER)
    if ratio > 0:
        compressor(w, a + "compressor.", ratio, hd, d)
    if ratio == 4:
        w.fp8(a + "indexer.wq_b", c["index_n_heads"] * c["index_head_dim"], rank)
        w.matrix(a + "indexer.weights_proj", c["index_n_heads"], d)
        compressor(w, a + "indexer.compressor.", ratio, c["index_head_dim"], d)


def experts(w, c, prefix, by_table):
    f, d, inner, n = prefix + "ffn.", c["hidden_size"], c["moe_intermediate_size"], c["n_routed_experts"]
    w.matrix(f + "gate", n, d, 1.5)
    if by_table:
        ids = w.random.permuted(np.tile(np.arange(n), (c["vocab_size"], 1)), axis=1)
        w.put(f + "gate.tid2eid", "I64", ids[:, :c["num_experts_per_tok"]].astype("<i8"))
    else:
        w.f32(f + "gate.bias", (n,), 0.3)
    for e in range(n):
        w.fp4(f"{f}experts.{e}.w1", inner, d)
        w.fp4(f"{f}experts.{e}.w3", inner, d)
        w.fp4(f"{f}experts.{e}.w2", d, inner, ROUTED)
    for name in ("w1", "w3"):
        w.fp8(f"{f}shared_experts.{name}", inner, d)
    w.fp8(f"{f}shared_experts.w2", d, inner, SUBLAYER)


def connection(w, name, n, hc, d, n_scales):
    w.f32(name + "fn", (n, hc * d), (hc * d) ** -0.5)
    w.f32(name + "base", (n,), 0.5)
    w.f32(name + "scale", (n_scales,), 0.2, 0.8)


def block(w, c, prefix, ratio, by_table):
    d, hc = c["hidden_size"], c["hc_mult"]
    for site in ("attn", "ffn"):
        connection(w, f"{prefix}hc_{site}_", (2 + hc) * hc, hc, d, 3)
        w.norm(f"{prefix}{site}_norm.weight", d)
    attention(w, c, prefix, ratio)
    experts(w, c, prefix, by_table)


def draft(w, c):
    """Some tensors of a draft layer: to be recognised and skipped."""
    d, hc = c["hidden_size"], c["hc_mult"]
    w.fp8("mtp.0.e_proj", d, d)
    w.fp8("mtp.0.h_proj", d, d)
    for name in ("enorm", "hnorm", "norm"):
        w.norm(f"mtp.0.{name}.weight", d)
    connection(w, "mtp.0.hc_head_", hc, hc, d, 1)
    w.bf16("mtp.0.emb.tok_emb.weight", (c["vocab_size"], d), 1.0)


def make_weights(c, seed, released, small_rows):
    w, d, hc = Weights([seed, 0xc4ec4], released, TILE), c["hidden_size"], c["hc_mult"]
    w.embedding(c["vocab_size"], d, small_rows)
    for layer in range(c["num_hidden_layers"]):
        block(w, c, f"layers.{layer}.", c["compress_ratios"][layer], layer < c["num_hash_layers"])
    connection(w, "hc_head_", hc, hc, d, 1)
    w.norm("norm.weight", d)
    w.matrix("head", c["vocab_size"], d, HEAD)
    if c["num_nextn_predict_layers"] > 0:
        draft(w, c)
    return w


def write(case, directory, released):
    write_model(directory, config_json(case.text, released),
                make_weights(case.text, case.seed, released, case.small_rows), case.shards)
