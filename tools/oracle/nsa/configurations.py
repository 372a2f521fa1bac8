"""Configurations of native sparse attention for the comparison with the oracle: named ones, and ones drawn from a seed.

docs/nsa.md has every key. Every named configuration but the shortest makes all three branches decide something: texts are
longer than the window, have more blocks than are selected and entries that overlap each other or blocks' borders, and
hardly any two widths are equal, so that a transposed or misplaced matrix does not fit.
"""
import numpy as np

from random_model import VOCAB_SIZE, Case

FORMATS = ("bf16",)  # no checkpoint has its weights in another

BASE = {
    "architectures": ["NSAForCausalLM"], "model_type": "nsa", "vocab_size": VOCAB_SIZE, "hidden_size": 96,
    "num_hidden_layers": 3, "num_heads": 16, "num_kv_heads": 1, "head_dim": 32, "qkv_bias": False, "block_size": 16,
    "block_counts": 4, "window_size": 24, "rope_theta": 10000.0, "max_position_embeddings": 65536, "hidden_ratio": 4,
    "intermediate_size": 160, "hidden_act": "swish", "norm_eps": 1e-6, "tie_word_embeddings": False, "bos_token_id": 0,
    "eos_token_id": 1, "pad_token_id": 2, "initializer_range": 0.02, "elementwise_affine": True, "use_cache": True,
    "fuse_norm": True, "fuse_swiglu": True, "fuse_cross_entropy": True, "torch_dtype": "bfloat16",
}

EXPERTS = {
    "n_routed_experts": 24, "num_experts_per_tok": 4, "n_shared_experts": 2, "moe_intermediate_size": 48,
    "first_k_dense_replace": 1, "scoring_func": "softmax", "norm_topk_prob": True, "routed_scaling_factor": 1.5,
}

# As the paper has it, in small: entries of two strides, four strides to a block, the first block and two last ones.
PAPER = {
    "block_size": 16, "block_counts": 5, "window_size": 20, "compress_block_size": 8, "compress_stride": 4,
    "first_blocks": 1, "local_blocks": 2, "compress": "mlp", "compress_dim": 40, "branch_kv": "separate",
    "num_heads": 8, "num_kv_heads": 2, "head_dim": 48, "v_head_dim": 32,
}


def make_text(**changes):
    return BASE | changes


NAMED = [
    Case("as-published", 300, make_text(), 1),
    Case("paper", 330, make_text(**PAPER), 2, chunks=(1, 7, 50)),
    Case("paper-experts", 290, make_text(**PAPER, **EXPERTS), 3, shards=3),
    Case("overlap-4", 310, make_text(
        compress_block_size=32, compress_stride=8, block_size=8, block_counts=7, first_blocks=2, local_blocks=3,
        num_heads=6, num_kv_heads=3, hidden_size=64), 4, chunks=(5, 77)),
    Case("one-head-a-group", 280, make_text(
        num_heads=4, num_kv_heads=4, head_dim=64, v_head_dim=96, window_size=1, block_size=4, block_counts=9,
        branch_kv="separate"), 5),
    Case("no-window", 259, make_text(window_size=0, num_heads=10, num_kv_heads=2, block_size=32, block_counts=2), 6),
    Case("odd-widths", 301, make_text(
        num_heads=6, num_kv_heads=2, head_dim=22, v_head_dim=13, block_size=24, compress_block_size=8, hidden_size=90,
        block_counts=3, window_size=31, intermediate_size=77), 7),
    Case("sigmoid-experts", 240, make_text(**EXPERTS | {
        "scoring_func": "sigmoid", "norm_topk_prob": False, "n_shared_experts": 0, "first_k_dense_replace": 0,
        "routed_scaling_factor": 0.7}), 8, shards=2),
    Case("short", 3, make_text(**PAPER), 9, chunks=(1, 2)),
    Case("long-3000", 3000, make_text(
        num_hidden_layers=2, num_heads=8, num_kv_heads=2, hidden_size=64, block_size=64, block_counts=8, window_size=128,
        compress_block_size=32, compress_stride=16, first_blocks=1, local_blocks=2), 10, chunks=(509,)),
]


def draw(seed):
    """A configuration invented from a seed."""
    random = np.random.default_rng([0x5a11, seed])

    def pick(*values):
        return values[int(random.integers(0, len(values)))]

    stride = pick(1, 2, 4, 8, 16)
    groups = pick(1, 2, 3)
    first, local, more = int(random.integers(0, 3)), int(random.integers(1, 4)), int(random.integers(0, 5))
    changes = {
        "hidden_size": pick(64, 96, 100), "num_hidden_layers": pick(1, 2, 3), "num_kv_heads": groups,
        "num_heads": groups * pick(1, 3, 4, 16), "head_dim": pick(16, 32, 64, 70), "v_head_dim": pick(16, 32, 48, 80),
        "block_size": stride * int(random.integers(1, 1 + 40 // stride)), "block_counts": first + local + more,
        "first_blocks": first, "local_blocks": local, "compress_stride": stride,
        "compress_block_size": stride * int(random.integers(1, 5)), "window_size": int(random.integers(0, 60)),
        "branch_kv": pick("shared", "separate"), "compress": pick("mean", "mlp"), "rope_theta": pick(10000, 500000.0),
        "norm_eps": pick(1e-5, 1e-6), "intermediate_size": pick(64, 150),
    }
    if changes["compress"] == "mlp":
        changes["compress_dim"] = pick(32, 50)
    if random.random() < 0.4:
        changes |= EXPERTS | {"scoring_func": pick("softmax", "sigmoid"), "norm_topk_prob": pick(True, False),
                              "n_shared_experts": pick(0, 1, 2), "num_experts_per_tok": pick(1, 3, 6),
                              "first_k_dense_replace": int(random.integers(0, changes["num_hidden_layers"]))}
    chunks = (int(random.integers(1, 20)) * 2 + 1,)
    return Case(f"random-{seed}", int(random.integers(100, 400)), make_text(**changes), seed, chunks,
                int(random.integers(1, 4)))
