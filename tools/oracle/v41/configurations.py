"""Configurations of DeepSeek-V4.1 for the comparison with the oracle: named ones, and ones drawn from a seed.

Every named configuration makes some rule of the architecture decide something: sequences are longer than the
window, more rows are visible than are selected, candidate blocks hold far fewer rows than there are. All widths
are multiples of 32, the quantisation block, so that no fake quantisation is skipped, and hardly any two widths
of one configuration are equal, so that a transposed or misplaced matrix does not fit.

Two limits come from the oracle: (candidate_topk_blocks - 1) * candidate_block_size >= index_topk (it would
select rows outside the candidates otherwise; the released configuration is far from that), and a null candidate
source is written -1.
"""
import numpy as np

import make_nano
from random_model import ADDED, VOCAB, VOCAB_SIZE, Case

COMPRESSED_SIZE = make_nano.compressed_map(VOCAB, ADDED)[1]

YARN = {"type": "yarn", "factor": 16, "beta_fast": 32, "beta_slow": 1, "original_max_position_embeddings": 65536}
# A ramp that lies inside 8 or 16 rotated pairs (the released one needs 32).
YARN_SHORT = {"rope_type": "yarn", "factor": 8, "beta_fast": 16, "beta_slow": 1,
              "original_max_position_embeddings": 512}

FORMATS = ("bf16", "released")

BASE = {
    "model_type": "deepseek_v41_text", "vocab_size": VOCAB_SIZE, "hidden_size": 96, "num_hidden_layers": 5,
    "num_attention_heads": 4, "num_key_value_heads": 1, "head_dim": 64, "qk_rope_head_dim": 16,
    "q_lora_rank": 32, "o_groups": 2, "o_lora_rank": 32, "sliding_window": 16,
    "compress_ratios": [0, 2, 2, 1, 1], "kv_source_layer_ids": [1, 3], "index_source_layer_ids": [1, 3, 4],
    "candidate_source_layer_id": -1, "candidate_topk_blocks": 6, "candidate_block_size": 4,
    "index_n_heads": 3, "index_head_dim": 32, "index_topk": 12, "moe_intermediate_size": 32,
    "n_routed_experts": 16, "n_shared_experts": 1, "num_experts_per_tok": 4, "scoring_func": "sqrtsoftplus",
    "norm_topk_prob": True, "routed_scaling_factor": 1.5, "topk_method": "noaux_tc", "swiglu_limit": 2.5,
    "hidden_act": "silu", "hc_mult": 4, "hc_sinkhorn_iters": 20, "hc_eps": 1e-6, "engram_layer_ids": [1],
    "engram_vocab_size": 300, "engram_max_ngram_size": 4, "engram_n_heads": 2, "engram_head_dim": 32,
    "engram_pad_token_id": 2, "engram_compressed_vocab_size": COMPRESSED_SIZE, "rope_theta": 10000,
    "compress_rope_theta": 160000, "rope_scaling": YARN_SHORT, "max_position_embeddings": 65536,
    "attention_bias": False, "attention_dropout": 0.0, "rms_norm_eps": 1e-20, "initializer_range": 0.02,
    "use_cache": True, "tie_word_embeddings": False, "num_nextn_predict_layers": 0,
}


def make_text(**changes):
    text = BASE | changes
    text["num_hidden_layers"] = len(text["compress_ratios"])
    text["engram_num_embeddings"] = [sum(table) for table in make_nano.engram_primes(text)]
    return text


def config_json(text, released):
    """The composite config.json; `released` adds what says that weights are FP8 and FP4."""
    config = {"architectures": ["DeepseekV41ForCausalLM"], "model_type": "deepseek_v41", "dtype": "bfloat16",
              "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2, "text_config": text}
    if released:
        config["quantization_config"] = {"quant_method": "fp8", "activation_scheme": "dynamic",
                                         "weight_block_size": [32, 32], "scale_fmt": "ue8m0", "expert_dtype": "fp4"}
    return config


NAMED = [
    Case("window-only", 301, make_text(
        compress_ratios=[0, 0, 0], kv_source_layer_ids=[], index_source_layer_ids=[], engram_layer_ids=[],
        sliding_window=24, hidden_size=128), 1),
    Case("ratio-1", 258, make_text(
        compress_ratios=[0, 1, 1, 1], kv_source_layer_ids=[1], index_source_layer_ids=[1, 3], engram_layer_ids=[0],
        index_topk=20), 2),
    Case("ratio-2", 259, make_text(
        compress_ratios=[2, 2, 2, 2], kv_source_layer_ids=[0, 2], index_source_layer_ids=[0, 1, 2],
        engram_layer_ids=[2], o_groups=4, o_lora_rank=64), 3, chunks=(1, 3, 50)),
    Case("schedule", 330, make_text(
        compress_ratios=[0, 0, 2, 2, 2, 2, 1, 1, 1, 1], kv_source_layer_ids=[2, 4, 6],
        index_source_layer_ids=[2, 4, 6, 7, 9], candidate_source_layer_id=6, candidate_topk_blocks=5,
        engram_layer_ids=[1, 4], hidden_size=64, num_nextn_predict_layers=3), 4, shards=3),
    Case("candidates", 640, make_text(
        compress_ratios=[0, 1, 1, 1, 1], kv_source_layer_ids=[1], index_source_layer_ids=[1, 2, 4],
        candidate_source_layer_id=1, candidate_topk_blocks=4, candidate_block_size=8, index_topk=16,
        engram_layer_ids=[]), 5, chunks=(13, 128)),
    Case("candidates-ratio-2", 777, make_text(
        compress_ratios=[2, 2, 2, 2], kv_source_layer_ids=[0], index_source_layer_ids=[0, 1, 2, 3],
        candidate_source_layer_id=1, candidate_topk_blocks=9, candidate_block_size=3, index_topk=20,
        engram_layer_ids=[3], sliding_window=9), 6, chunks=(11, 256)),
    Case("experts-288", 200, make_text(
        compress_ratios=[0, 2, 1], kv_source_layer_ids=[1, 2], index_source_layer_ids=[1, 2], engram_layer_ids=[1],
        n_routed_experts=288, num_experts_per_tok=8), 7, shards=2),
    Case("experts-384", 181, make_text(
        compress_ratios=[1, 1, 0], kv_source_layer_ids=[0], index_source_layer_ids=[0, 1], engram_layer_ids=[1],
        n_routed_experts=384, num_experts_per_tok=6, hidden_size=64), 8),
    Case("engram-3", 333, make_text(
        compress_ratios=[1, 2, 2, 0], kv_source_layer_ids=[0, 1], index_source_layer_ids=[0, 1, 2],
        engram_layer_ids=[0, 1, 3], engram_n_heads=4, engram_max_ngram_size=3, engram_head_dim=64), 9),
    Case("no-yarn", 270, make_text(
        compress_ratios=[0, 2, 1, 1], kv_source_layer_ids=[1, 2], index_source_layer_ids=[1, 2],
        rope_scaling=None, qk_rope_head_dim=32, norm_topk_prob=True, swiglu_limit=1.5), 10),
    Case("two-streams", 288, make_text(
        hc_mult=2, hc_sinkhorn_iters=4, num_attention_heads=6, o_groups=3, compress_ratios=[0, 2, 2, 1, 1],
        n_routed_experts=8, num_experts_per_tok=2, rms_norm_eps=1e-6), 11),
    Case("wide", 160, make_text(
        compress_ratios=[0, 2, 1, 1], kv_source_layer_ids=[1, 2], index_source_layer_ids=[1, 2, 3],
        candidate_source_layer_id=2, hidden_size=256, num_attention_heads=8, head_dim=128, qk_rope_head_dim=64,
        q_lora_rank=96, o_groups=4, o_lora_rank=64, index_n_heads=8, index_head_dim=64, moe_intermediate_size=96,
        rope_scaling=YARN, engram_layer_ids=[1, 3], engram_n_heads=8), 12),
    Case("many-sources", 401, make_text(
        compress_ratios=[2, 2, 1, 1, 2, 2, 1, 1], kv_source_layer_ids=[0, 2, 4, 6],
        index_source_layer_ids=[0, 1, 2, 3, 4, 6, 7], candidate_source_layer_id=6, engram_layer_ids=[0, 5],
        hidden_size=64, index_topk=9), 13, shards=2),
    Case("short", 3, make_text(engram_layer_ids=[0, 1, 2]), 14, chunks=(1, 2)),
    Case("long-4096", 4096, make_text(
        compress_ratios=[0, 2, 1, 1], kv_source_layer_ids=[1, 2], index_source_layer_ids=[1, 2, 3],
        candidate_source_layer_id=2, candidate_topk_blocks=32, candidate_block_size=8, index_topk=64,
        sliding_window=128, engram_layer_ids=[1], hidden_size=64), 15, chunks=(509,)),
]


def draw_layers(random):
    """A random layer schedule the engine accepts: (ratios, KV sources, index sources, candidate source)."""
    ratios, kv, index = [0] * int(random.integers(0, 3)), [], []
    for _ in range(int(random.integers(1, 4))):                 # blocks that share one KV source
        ratio, first = int(random.integers(1, 3)), len(ratios)
        kv.append(first)
        for i in range(int(random.integers(1, 4))):
            if i == 0 or random.random() < 0.6:
                index.append(len(ratios))
            ratios.append(ratio)
    candidate = -1
    if random.random() < 0.6:                                   # among the last KV source's selections
        candidate = int(random.choice([layer for layer in index if layer >= kv[-1]]))
    return ratios, kv, index, candidate


def draw(seed):
    """A configuration invented from a seed."""
    random = np.random.default_rng([0x5eed, seed])

    def pick(*values):
        return values[int(random.integers(0, len(values)))]

    ratios, kv, index, candidate = draw_layers(random)
    n_layers, groups = len(ratios), pick(1, 2, 4)
    n_experts = pick(8, 16, 48, 257, 300)
    topk, block = int(random.integers(5, 33)), int(random.integers(2, 10))
    head_dim = pick(32, 64, 96)
    rope_dim = pick(8, 16, 32)
    engram = sorted(random.choice(n_layers, size=min(n_layers, int(random.integers(0, 4))), replace=False).tolist())
    text = make_text(
        compress_ratios=ratios, kv_source_layer_ids=kv, index_source_layer_ids=index,
        candidate_source_layer_id=candidate, candidate_block_size=block,
        candidate_topk_blocks=1 + -(-topk // block) + int(random.integers(0, 4)), index_topk=topk,
        hidden_size=pick(64, 96, 128), head_dim=head_dim, qk_rope_head_dim=rope_dim,
        num_attention_heads=groups * pick(1, 2, 3), o_groups=groups, o_lora_rank=pick(32, 64),
        q_lora_rank=pick(32, 64, 96), sliding_window=int(random.integers(1, 65)),
        index_n_heads=int(random.integers(1, 7)),
        index_head_dim=pick(32, 64), moe_intermediate_size=pick(32, 64), n_routed_experts=n_experts,
        num_experts_per_tok=int(random.integers(2, 7)), hc_mult=pick(2, 3, 4),
        hc_sinkhorn_iters=int(random.integers(2, 21)),
        engram_layer_ids=engram, engram_n_heads=int(random.integers(1, 5)), engram_max_ngram_size=pick(2, 3, 4),
        rope_scaling=pick(None, YARN, YARN_SHORT), swiglu_limit=pick(1.5, 2.5, 10.0),
        routed_scaling_factor=pick(1.0, 1.5, 2.5), rms_norm_eps=pick(1e-20, 1e-6))
    chunks = (int(random.integers(1, 20)) * 2 + 1,)
    return Case(f"random-{seed}", int(random.integers(100, 500)), text, seed, chunks, int(random.integers(1, 4)))
