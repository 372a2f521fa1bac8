"""Random checkpoints of DeepSeek-V4.1, in the released naming and formats or in BF16."""
from random_model import HEAD, QUERY, ROUTED, SUBLAYER, Weights, write_model
from v41.configurations import config_json


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
    w, d, hc = Weights([seed, 0xc4ec], released), c["hidden_size"], c["hc_mult"]
    w.embedding(c["vocab_size"], d, small_rows)
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
    write_model(directory, config_json(case.text, released),
                make_weights(case.text, case.seed, released, case.small_rows), case.shards)
