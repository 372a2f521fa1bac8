#!/usr/bin/env python3
"""test_device with a checkpoint of random weights: several sources of both ratios, several selections
of one source, and candidates that are chosen before rows are.

usage: test_device.py TEST_DEVICE SEEKD_BENCH TOKENIZER.json"""
import os
import subprocess
import sys
import tempfile

test, bench, tokenizer = sys.argv[1:4]
like = sys.argv[4] if len(sys.argv) > 4 else "v4.1-mini"
with tempfile.TemporaryDirectory() as folder:
    model = os.path.join(folder, "model")
    smaller = ["vocab_size=4096", "hidden_size=128", "head_dim=64", "num_attention_heads=4", "q_lora_rank=64",
               "o_lora_rank=32", "index_n_heads=4", "n_routed_experts=4", "num_experts_per_tok=2",
               "moe_intermediate_size=32", "engram_vocab_size=2000"]
    if like != "v4.1-mini":  # DeepSeek-V3.2's config.json
        smaller = ["vocab_size=4096", "hidden_size=128", "num_hidden_layers=3", "num_attention_heads=4",
                   "num_key_value_heads=4", "q_lora_rank=64", "kv_lora_rank=128", "qk_nope_head_dim=32", "v_head_dim=32",
                   "intermediate_size=128", "moe_intermediate_size=64", "n_routed_experts=16", "n_group=4",
                   "topk_group=2", "num_experts_per_tok=4", "index_n_heads=4", "index_topk=24",
                   "first_k_dense_replace=1"]
    subprocess.run([bench, "make-checkpoint", "--out", model, "--like", like, "--tokenizer", tokenizer]
                   + [word for change in smaller for word in ("--set", change)],
                   check=True, stdout=subprocess.DEVNULL)
    sys.exit(subprocess.run([test, model, "400", "logits"]).returncode)
