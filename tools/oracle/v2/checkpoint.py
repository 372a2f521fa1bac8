"""Random checkpoints of DeepSeek-V2 and V3: released names; matrices in BF16, or in FP8 with a float scale for each tile
of 128 x 128. A float scale times a code is not exact in BF16: the two formats hold numbers that differ."""
import numpy as np

import random_model
from random_model import HEAD, QUERY, ROUTED, SUBLAYER, nearest, spread

TILE = 128


class Weights(random_model.Weights):
    def dense(self, name, n_out, n_in, gain=1.0):
        """A matrix of those that V3's release quantises. Its scales use all digits of a float."""
        values = self.draw(n_out, n_in, gain)
        if not self.released:
            self.put(name + ".weight", "BF16", bf16(values))
            return
        exponent = self.scales(values, TILE, TILE, 448)
        scale = (2.0 ** exponent * self.random.uniform(1, 2, exponent.shape)).astype("<f4")
        code, sign = nearest(values / spread(scale, TILE, TILE, values.shape), random_model.E4M3)
        self.put(name + ".weight", "F8_E4M3", code | sign << 7)
        self.put(name + ".weight_scale_inv", "F32", scale)


def bf16(values):
    bits = values.astype("<f4").view("<u4")
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2")


def attention(w, c, p):
    d, heads, rank = c["hidden_size"], c["num_attention_heads"], c["q_lora_rank"]
    head_dim = c["qk_nope_head_dim"] + c["qk_rope_head_dim"]
    if rank is None:
        w.dense(p + "q_proj", heads * head_dim, d, QUERY)
    else:
        w.dense(p + "q_a_proj", rank, d)
        w.norm(p + "q_a_layernorm.weight", rank)
        w.dense(p + "q_b_proj", heads * head_dim, rank, QUERY)
    w.dense(p + "kv_a_proj_with_mqa", c["kv_lora_rank"] + c["qk_rope_head_dim"], d)
    w.norm(p + "kv_a_layernorm.weight", c["kv_lora_rank"])
    w.dense(p + "kv_b_proj", heads * (c["qk_nope_head_dim"] + c["v_head_dim"]), c["kv_lora_rank"])
    w.dense(p + "o_proj", d, heads * c["v_head_dim"], SUBLAYER)
    if "index_topk" in c:
        index(w, c, p + "indexer.")


def index(w, c, p):
    """V3.2's. Weights of heads are negative as well; the key's norm is stored as BF16 or as float32."""
    d, heads, dim = c["hidden_size"], c["index_n_heads"], c["index_head_dim"]
    store = w.f32 if w.released else w.bf16
    w.dense(p + "wq_b", heads * dim, c["q_lora_rank"])
    w.dense(p + "wk", dim, d)
    store(p + "k_norm.weight", (dim,), 0.2, 1.0)
    store(p + "k_norm.bias", (dim,), 0.3)
    w.matrix(p + "weights_proj", heads, d)


def mlp(w, p, d, inner, gain):
    w.dense(p + "gate_proj", inner, d)
    w.dense(p + "up_proj", inner, d)
    w.dense(p + "down_proj", d, inner, gain)


def experts(w, c, p):
    """Routing weights are as large as the scaling makes them: divided out, so that no layer outweighs the others."""
    d, inner, n = c["hidden_size"], c["moe_intermediate_size"], c["n_routed_experts"]
    one = 0.7 if c["model_type"] == "deepseek_v3" else 1.5 / n      # a chosen expert's score, about
    total = c["routed_scaling_factor"] * (1 if c["norm_topk_prob"] else c["num_experts_per_tok"] * one)
    w.matrix(p + "gate", n, d, 1.5)
    if c["model_type"] == "deepseek_v3":
        # Mostly below 0 with their scores: experts that are out of the choice must not count as 0.
        w.f32(p + "gate.e_score_correction_bias", (n,), 0.3, -0.9)
    elif c["model_type"] != "deepseek_v2":
        w.f32(p + "gate.e_score_correction_bias", (n,), 0.3)
    for e in range(n):
        mlp(w, f"{p}experts.{e}.", d, inner, 3 * ROUTED / total)
    mlp(w, p + "shared_experts.", d, inner * c["n_shared_experts"], SUBLAYER)


def layer(w, c, n, dense):
    p, d = f"model.layers.{n}.", c["hidden_size"]
    w.norm(p + "input_layernorm.weight", d)
    w.norm(p + "post_attention_layernorm.weight", d)
    attention(w, c, p + "self_attn.")
    if dense:
        mlp(w, p + "mlp.", d, c["intermediate_size"], SUBLAYER)
    else:
        experts(w, c, p + "mlp.")


def draft(w, c, n):
    """A draft layer: to be recognised and skipped."""
    p, d = f"model.layers.{n}.", c["hidden_size"]
    layer(w, c, n, False)
    for name in ("enorm", "hnorm", "shared_head.norm"):
        w.norm(p + name + ".weight", d)
    w.matrix(p + "eh_proj", d, 2 * d)
    for name in ("embed_tokens", "shared_head.head"):
        w.bf16(p + name + ".weight", (c["vocab_size"], d), 1.0)


def make_weights(c, seed, released, small_rows):
    w, d = Weights([seed, 0x1a7e], released, TILE), c["hidden_size"]
    w.embedding(c["vocab_size"], d, small_rows, "model.embed_tokens.weight")
    for n in range(c["num_hidden_layers"]):
        layer(w, c, n, n < c["first_k_dense_replace"])
    w.norm("model.norm.weight", d)
    w.matrix("lm_head", c["vocab_size"], d, HEAD)
    for i in range(c.get("num_nextn_predict_layers", 0)):
        draft(w, c, c["num_hidden_layers"] + i)
    return w


def write(case, directory, released):
    """The whole model directory of a case."""
    config = dict(case.text)
    if released:
        config["quantization_config"] = {"quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic",
                                         "weight_block_size": [TILE, TILE]}
    weights = make_weights(case.text, case.seed, released, case.small_rows)
    random_model.write_model(directory, config, weights, case.shards)
