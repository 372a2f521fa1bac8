"""Random checkpoints of native sparse attention, with the tensor names of the public implementation and our own."""
from random_model import HEAD, QUERY, ROUTED, SUBLAYER, Weights, write_model


def attention(w, c, layer):
    a, d, heads, groups = f"model.layers.{layer}.attn.", c["hidden_size"], c["num_heads"], c["num_kv_heads"]
    key, value = c["head_dim"], c.get("v_head_dim", c["head_dim"])
    w.matrix(a + "q_proj", heads * key, d, 2 * QUERY)
    for branch in ("cmp_", "slc_", "swa_") if c.get("branch_kv") == "separate" else ("",):
        w.matrix(f"{a}{branch}k_proj", groups * key, d)
        w.matrix(f"{a}{branch}v_proj", groups * value, d)
    w.matrix(a + "g_proj", 3 * heads, d)
    w.matrix(a + "o_proj", d, heads * value, 2 * SUBLAYER)
    if c.get("compress") == "mlp":
        length, inner = c["compress_block_size"], c["compress_dim"]
        for name, n in (("cmp_k", key), ("cmp_v", value)):
            w.bf16(f"{a}{name}.position", (length, n), 0.5)
            w.matrix(f"{a}{name}.up_proj", inner, length * n)
            w.matrix(f"{a}{name}.down_proj", n, inner, 1.4)


def mlp(w, name, inner, d, gain):
    w.matrix(name + "gate_proj", inner, d)
    w.matrix(name + "up_proj", inner, d)
    w.matrix(name + "down_proj", d, inner, gain)


def experts(w, c, layer):
    f, d, inner, n = f"model.layers.{layer}.mlp.", c["hidden_size"], c["moe_intermediate_size"], c["n_routed_experts"]
    w.matrix(f + "gate", n, d, 1.5)
    for e in range(n):
        mlp(w, f"{f}experts.{e}.", inner, d, 4 * ROUTED)
    if c["n_shared_experts"] > 0:
        mlp(w, f + "shared_experts.", inner * c["n_shared_experts"], d, SUBLAYER)


def make_weights(c, seed, small_rows):
    w, d = Weights([seed, 0x45a], False), c["hidden_size"]
    w.embedding(c["vocab_size"], d, small_rows, "model.embeddings.weight")
    for layer in range(c["num_hidden_layers"]):
        p = f"model.layers.{layer}."
        w.norm(p + "attn_norm.weight", d)
        attention(w, c, layer)
        w.norm(p + "mlp_norm.weight", d)
        if layer < c.get("first_k_dense_replace", c["num_hidden_layers"]):
            mlp(w, p + "mlp.", c["intermediate_size"], d, SUBLAYER)
        else:
            experts(w, c, layer)
    w.norm("model.norm.weight", d)
    w.matrix("lm_head", c["vocab_size"], d, HEAD)
    return w


def write(case, directory, released):
    """The whole model directory of a case. There is no released format other than BF16."""
    assert not released
    write_model(directory, case.text, make_weights(case.text, case.seed, case.small_rows), case.shards)
