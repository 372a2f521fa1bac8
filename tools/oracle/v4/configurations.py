"""Configurations of DeepSeek-V4 for the comparison with the oracle: named ones, and ones drawn from a seed.

Every named configuration makes some rule of the architecture decide something: sequences are longer than the window,
more compressed rows are visible than are selected, heavily compressed layers have several rows, chunks end in the middle
of overlapping windows. Fixed by the architecture's row format: 64 rotated channels behind a multiple of 64 others.
Inputs of quantised matrices, and a group's part of the output projection, are multiples of 128 wide, a tile of scales.
"""
import numpy as np

from random_model import VOCAB_SIZE, Case

FORMATS = ("bf16", "released")

# Vectors whose codes are one choice are 128 to 384 wide here, four times those of V4.1's configurations.
DIFFER_SHARE = 4e-3

YARN = {"type": "yarn", "factor": 16, "beta_fast": 32, "beta_slow": 1, "original_max_position_embeddings": 65536}
# A ramp that begins at the first pairs: positions of some hundred show it.
YARN_SHORT = {"type": "yarn", "factor": 8, "beta_fast": 16, "beta_slow": 1, "original_max_position_embeddings": 512}

BASE = {
    "architectures": ["DeepseekV4ForCausalLM"], "model_type": "deepseek_v4", "torch_dtype": "bfloat16",
    "vocab_size": VOCAB_SIZE, "hidden_size": 128, "num_attention_heads": 4, "num_key_value_heads": 1, "head_dim": 128,
    "qk_rope_head_dim": 64, "q_lora_rank": 128, "o_groups": 2, "o_lora_rank": 128, "sliding_window": 16,
    "index_n_heads": 3, "index_head_dim": 64, "index_topk": 12, "moe_intermediate_size": 128, "n_routed_experts": 12,
    "n_shared_experts": 1, "num_experts_per_tok": 3, "num_hash_layers": 1, "scoring_func": "sqrtsoftplus",
    "norm_topk_prob": True, "routed_scaling_factor": 1.5, "topk_method": "noaux_tc", "swiglu_limit": 2.5,
    "hidden_act": "silu", "hc_mult": 4, "hc_sinkhorn_iters": 20, "hc_eps": 1e-6, "rope_theta": 10000,
    "compress_rope_theta": 160000, "rope_scaling": YARN_SHORT, "max_position_embeddings": 65536,
    "attention_bias": False, "attention_dropout": 0.0, "rms_norm_eps": 1e-6, "initializer_range": 0.02,
    "use_cache": True, "tie_word_embeddings": False, "num_nextn_predict_layers": 0,
    "bos_token_id": 0, "eos_token_id": 1,
}


def make_config(ratios, **changes):
    """`ratios` are the layers'; the list in the file goes on with those of draft layers."""
    config = BASE | changes
    config["num_hidden_layers"] = len(ratios)
    config["compress_ratios"] = list(ratios) + [0] * config["num_nextn_predict_layers"]
    return config


def config_json(config, released):
    """`released` adds what says that weights are FP8 and FP4."""
    if not released:
        return config
    return config | {"expert_dtype": "fp4", "quantization_config": {
        "quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic", "weight_block_size": [128, 128],
        "scale_fmt": "ue8m0"}}


NAMED = [
    Case("windows", 150, make_config([0, 0, 0], num_hash_layers=2, sliding_window=24), 1),
    Case("csa", 259, make_config([4, 4, 4], num_hash_layers=0, o_groups=4), 2, chunks=(1, 3, 50)),
    Case("csa-all", 45, make_config([4, 4], index_topk=64), 3, chunks=(5,)),
    Case("hca", 700, make_config([128, 128, 0], sliding_window=40), 4, chunks=(61, 256)),
    Case("schedule-flash", 420, make_config(
        [0, 0, 4, 128, 4, 128, 4], num_hash_layers=3, num_nextn_predict_layers=1), 5, shards=3),
    Case("schedule-pro", 391, make_config(
        [128, 128, 4, 128, 4], num_hash_layers=3, index_topk=20, routed_scaling_factor=2.5, num_attention_heads=6,
        o_groups=3), 6, chunks=(7, 130)),
    Case("no-yarn", 300, make_config([4, 128, 4], rope_scaling=None, swiglu_limit=1.5), 7),
    Case("wide", 290, make_config(
        [0, 4, 128, 4], hidden_size=384, num_attention_heads=8, head_dim=192, q_lora_rank=256, o_groups=4, o_lora_rank=256,
        index_n_heads=8, index_head_dim=128, moe_intermediate_size=256, rope_scaling=YARN), 8),
    Case("two-streams", 270, make_config(
        [4, 128, 0], hc_mult=2, hc_sinkhorn_iters=4, hc_eps=1e-3, n_routed_experts=257, num_experts_per_tok=6), 9),
    Case("short", 3, make_config([4, 128, 0]), 10, chunks=(1, 2)),
    Case("long-2100", 2100, make_config(
        [0, 4, 128, 4], sliding_window=128, index_topk=64), 11, chunks=(509,)),
]


def draw(seed):
    """A configuration invented from a seed."""
    random = np.random.default_rng([0x5eed4, seed])

    def pick(*values):
        return values[int(random.integers(0, len(values)))]

    ratios = [pick(0, 4, 4, 128) for _ in range(int(random.integers(2, 6)))]
    groups = pick(1, 2, 4)
    config = make_config(
        ratios, hidden_size=pick(128, 256), head_dim=pick(128, 192), num_attention_heads=groups * pick(2, 4),
        o_groups=groups, o_lora_rank=pick(128, 256), q_lora_rank=pick(128, 256),
        sliding_window=int(random.integers(1, 65)), index_n_heads=int(random.integers(2, 7)),
        index_head_dim=pick(64, 128), index_topk=int(random.integers(5, 33)), moe_intermediate_size=pick(128, 256),
        n_routed_experts=pick(8, 16, 48, 257), num_experts_per_tok=int(random.integers(2, 7)),
        num_hash_layers=int(random.integers(0, len(ratios) + 1)), hc_mult=pick(2, 3, 4),
        hc_sinkhorn_iters=int(random.integers(2, 21)), rope_scaling=pick(None, YARN, YARN_SHORT),
        swiglu_limit=pick(1.5, 2.5, 10.0), routed_scaling_factor=pick(1.0, 1.5, 2.5),
        num_nextn_predict_layers=pick(0, 1))
    chunks = (int(random.integers(1, 20)) * 2 + 1,)
    return Case(f"random-{seed}", int(random.integers(100, 500)), config, seed, chunks, int(random.integers(1, 4)))
