"""Configurations of DeepSeek-V3.2 for the comparison with the oracle: named ones, and ones drawn from a seed.

Most select far fewer tokens than there are; one never reaches its limit, so that it attends to all.
"""
import numpy as np

from random_model import Case
from v2 import configurations as v2
from v3 import configurations as v3

FORMATS = v3.FORMATS

# A vector of the index is a choice, and most codes of its 128 are far smaller than the largest: their steps are as fine
# as the error of a sum over all channels, which the Hadamard transform is. Half a unit in the last place of the
# embeddings already changes 5 in 1,000 of the oracle's own.
DIFFER_SHARE = 1e-2

BASE = v3.BASE | {
    "architectures": ["DeepseekV32ForCausalLM"], "model_type": "deepseek_v32", "kv_lora_rank": 128,
    "qk_rope_head_dim": 64, "index_n_heads": 3, "index_head_dim": 128, "index_topk": 40, "num_hidden_layers": 3,
}

NAMED = [
    Case("v32-select", 230, BASE, 1),
    Case("v32-below-limit", 150, BASE | {"index_topk": 2048}, 2, chunks=(1, 50)),
    Case("v32-released-heads", 200, BASE | {
        "hidden_size": 256, "num_attention_heads": 2, "num_key_value_heads": 2, "q_lora_rank": 96, "kv_lora_rank": 512,
        "qk_nope_head_dim": 128, "v_head_dim": 128, "num_hidden_layers": 2, "index_n_heads": 64, "index_topk": 64}, 3),
    Case("v32-few-tokens", 160, BASE | {"index_topk": 12, "num_attention_heads": 11, "num_key_value_heads": 11}, 4),
    Case("v32-wide-index", 200, BASE | {"index_head_dim": 256, "kv_lora_rank": 256, "index_n_heads": 1}, 5),
    Case("v32-long-1200", 1200, BASE | {"num_hidden_layers": 2, "index_topk": 500, "rope_scaling": None}, 7,
         chunks=(300,)),
]


def draw(seed):
    random = np.random.default_rng([seed, 0x32])
    text = BASE | v2.draw_shapes(random)
    text |= {"n_shared_experts": 1, "kv_lora_rank": 128 * int(random.integers(1, 4)), "qk_rope_head_dim": 64,
             "q_lora_rank": 8 * int(random.integers(2, 13)), "index_n_heads": int(random.integers(1, 9)),
             "index_head_dim": 128, "index_topk": int(random.integers(24, 100)),
             "num_hidden_layers": int(random.integers(1, 4))}
    text["first_k_dense_replace"] = int(random.integers(0, text["num_hidden_layers"]))
    return Case(f"random-{seed}", int(random.integers(120, 350)), text, seed,
                chunks=(int(random.integers(1, 30)), int(random.integers(30, 200))), shards=int(random.integers(1, 3)))
