"""Configurations of DeepSeek-V2 for the comparison with the oracle: named ones, and ones drawn from a seed.

With and without low-rank queries, with and without groups of experts that really limit the choice, one or no dense
first layers. Sequences are longer than YaRN's original positions. Hardly any two widths of one configuration are
equal, so that a transposed or misplaced matrix does not fit.
"""
import numpy as np

from random_model import VOCAB_SIZE, Case

FORMATS = ("bf16",)

YARN = {"type": "yarn", "factor": 40, "beta_fast": 32, "beta_slow": 1, "original_max_position_embeddings": 4096,
        "mscale": 0.707, "mscale_all_dim": 0.707}
# A ramp that lies inside 8 or 16 rotated pairs (the released one needs 32), passed within a few hundred tokens.
YARN_SHORT = YARN | {"factor": 8, "beta_fast": 4, "original_max_position_embeddings": 96}

BASE = {
    "architectures": ["DeepseekV2ForCausalLM"], "model_type": "deepseek_v2", "torch_dtype": "bfloat16",
    "vocab_size": VOCAB_SIZE, "hidden_size": 96, "num_hidden_layers": 4, "num_attention_heads": 4,
    "num_key_value_heads": 4, "q_lora_rank": 32, "kv_lora_rank": 48, "qk_nope_head_dim": 24, "qk_rope_head_dim": 16,
    "v_head_dim": 40, "intermediate_size": 112, "moe_intermediate_size": 32, "first_k_dense_replace": 1,
    "moe_layer_freq": 1, "n_routed_experts": 24, "n_shared_experts": 2, "num_experts_per_tok": 6, "n_group": 8,
    "topk_group": 3, "topk_method": "group_limited_greedy", "scoring_func": "softmax", "norm_topk_prob": False,
    "routed_scaling_factor": 4.0, "hidden_act": "silu", "rms_norm_eps": 1e-6, "rope_theta": 10000,
    "rope_scaling": YARN_SHORT, "max_position_embeddings": 65536, "attention_bias": False, "attention_dropout": 0.0,
    "tie_word_embeddings": False, "bos_token_id": 0, "eos_token_id": 1, "aux_loss_alpha": 0.001, "ep_size": 1,
    "initializer_range": 0.02, "pretraining_tp": 1, "seq_aux": True, "use_cache": True,
}
LITE = {"q_lora_rank": None, "n_group": 1, "topk_group": 1, "topk_method": "greedy", "routed_scaling_factor": 1.0}

NAMED = [
    Case("v2-groups", 260, BASE, 1),
    Case("v2-released-yarn", 211, BASE | {
        "rope_scaling": YARN, "qk_rope_head_dim": 64, "n_routed_experts": 160, "num_hidden_layers": 3}, 2),
    Case("v2-one-group", 190, BASE | {
        "n_group": 4, "topk_group": 1, "n_routed_experts": 16, "num_experts_per_tok": 4, "kv_lora_rank": 56}, 3,
        chunks=(1, 60)),
    Case("v2-no-yarn", 240, BASE | {"rope_scaling": None, "num_attention_heads": 12, "num_key_value_heads": 12}, 4),
    Case("v2-long-2048", 2048, BASE | {"num_hidden_layers": 2, "hidden_size": 64}, 5, chunks=(509,)),
    Case("lite", 260, BASE | LITE, 6),
    Case("lite-released-heads", 200, BASE | LITE | {
        "hidden_size": 192, "num_attention_heads": 3, "num_key_value_heads": 3, "kv_lora_rank": 512,
        "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128, "num_hidden_layers": 2,
        "rope_scaling": YARN}, 7),
    Case("lite-dense", 150, BASE | LITE | {"first_k_dense_replace": 3, "n_shared_experts": 1}, 8, shards=2),
    Case("lite-all-experts", 170, BASE | LITE | {
        "first_k_dense_replace": 0, "n_routed_experts": 64, "rope_scaling": YARN_SHORT | {
            "mscale": 1.0, "mscale_all_dim": 1.0}}, 9),
    Case("lite-short", 3, BASE | LITE, 10, chunks=(1, 2)),
]


def draw_shapes(random):
    """Widths of a latent attention and its experts' groups, all different more often than not."""
    # The library wants the hidden size to be a multiple of the heads, which the model does not need.
    heads, groups = int(random.integers(1, 12)), int(random.choice([2, 4, 8]))
    per_group, chosen = int(random.integers(2, 9)), int(random.integers(1, groups))
    yarn = YARN_SHORT | {"factor": float(random.integers(2, 41)),
                         "original_max_position_embeddings": int(random.integers(40, 200))}
    yarn["mscale"] = yarn["mscale_all_dim"] = float(random.choice([0.5, 0.707, 1.0]))
    return {
        "hidden_size": 16 * heads * int(random.integers(1, 3)) if heads > 4 else 48 * heads, "num_hidden_layers": int(random.integers(2, 6)),
        "num_attention_heads": heads, "num_key_value_heads": heads,
        "q_lora_rank": 8 * int(random.integers(2, 13)) if random.random() < 0.6 else None,
        "kv_lora_rank": 8 * int(random.integers(2, 25)), "qk_nope_head_dim": 8 * int(random.integers(1, 9)),
        "qk_rope_head_dim": int(random.choice([8, 16, 32])), "v_head_dim": 8 * int(random.integers(1, 9)),
        "intermediate_size": 16 * int(random.integers(2, 13)), "moe_intermediate_size": 16 * int(random.integers(1, 7)),
        "n_shared_experts": int(random.integers(1, 4)), "n_routed_experts": groups * per_group, "n_group": groups,
        "topk_group": chosen, "num_experts_per_tok": int(random.integers(1, min(chosen * per_group, 9) + 1)),
        "routed_scaling_factor": float(random.choice([1.0, 2.5, 16.0])),
        "rope_scaling": yarn if random.random() < 0.8 else None,
    }


def draw(seed):
    random = np.random.default_rng([seed, 0x2])
    text = BASE | draw_shapes(random)
    if random.random() < 0.4:
        text |= {"n_group": 1, "topk_group": 1, "topk_method": "greedy"}
    text["first_k_dense_replace"] = int(random.integers(0, text["num_hidden_layers"]))
    return Case(f"random-{seed}", int(random.integers(120, 420)), text, seed,
                chunks=(int(random.integers(1, 30)), int(random.integers(30, 200))), shards=int(random.integers(1, 3)))
