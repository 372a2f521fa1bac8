"""Configurations of DeepSeek-V3 for the comparison with the oracle: named ones, and ones drawn from a seed.

The router's groups limit the choice, its bias changes it. Widths are not multiples of the 128 x 128 tiles of a scale,
so that edge tiles are partly filled, and some heads' values lie in two tiles.
"""
import numpy as np

from random_model import Case
from v2 import configurations as v2

FORMATS = ("bf16", "released")

BASE = v2.BASE | {
    "architectures": ["DeepseekV3ForCausalLM"], "model_type": "deepseek_v3", "hidden_size": 160,
    "kv_lora_rank": 160, "intermediate_size": 144, "n_shared_experts": 1, "n_routed_experts": 32,
    "num_experts_per_tok": 5, "topk_method": "noaux_tc", "topk_group": 4, "scoring_func": "sigmoid",
    "norm_topk_prob": True, "routed_scaling_factor": 2.5, "num_nextn_predict_layers": 1,
    "rope_scaling": v2.YARN_SHORT | {"mscale": 1.0, "mscale_all_dim": 1.0},
}
del BASE["aux_loss_alpha"], BASE["seq_aux"]

NAMED = [
    Case("v3-groups", 260, BASE | {"v_head_dim": 48}, 1),
    Case("v3-released-heads", 170, BASE | {
        "hidden_size": 256, "num_attention_heads": 2, "num_key_value_heads": 2, "q_lora_rank": 96, "kv_lora_rank": 512,
        "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128, "num_hidden_layers": 2,
        "rope_scaling": v2.YARN | {"mscale": 1.0, "mscale_all_dim": 1.0}}, 2),
    Case("v3-256-experts", 140, BASE | {
        "n_routed_experts": 256, "num_experts_per_tok": 8, "num_hidden_layers": 3, "first_k_dense_replace": 2,
        "moe_intermediate_size": 16}, 3, shards=3),
    Case("v3-no-norm", 180, BASE | {"norm_topk_prob": False, "n_group": 1, "topk_group": 1,
                                    "routed_scaling_factor": 1.0}, 4, chunks=(1, 50)),
    Case("v3-no-low-rank", 200, BASE | {"q_lora_rank": None, "rope_scaling": None, "first_k_dense_replace": 0,
                                        "num_nextn_predict_layers": 0}, 5),
    Case("v3-long-1024", 1024, BASE | {"num_hidden_layers": 2, "kv_lora_rank": 64}, 6, chunks=(300,)),
]


def draw(seed):
    random = np.random.default_rng([seed, 0x3])
    text = BASE | v2.draw_shapes(random)
    text["n_shared_experts"] = 1
    text["norm_topk_prob"] = bool(random.random() < 0.7)
    text["first_k_dense_replace"] = int(random.integers(0, text["num_hidden_layers"]))
    text["num_nextn_predict_layers"] = int(random.integers(0, 2))
    return Case(f"random-{seed}", int(random.integers(120, 420)), text, seed,
                chunks=(int(random.integers(1, 30)), int(random.integers(30, 200))), shards=int(random.integers(1, 3)))
