#!/usr/bin/env python3
"""test_device with a checkpoint of random weights: several sources of both ratios, several selections
of one source, and candidates that are chosen before rows are.

usage: test_device.py TEST_DEVICE SEEKD_BENCH TOKENIZER.json"""
import os
import subprocess
import sys
import tempfile

test, bench, tokenizer = sys.argv[1:]
with tempfile.TemporaryDirectory() as folder:
    model = os.path.join(folder, "model")
    smaller = ["vocab_size=4096", "hidden_size=128", "head_dim=64", "num_attention_heads=4", "q_lora_rank=64",
               "o_lora_rank=32", "index_n_heads=4", "n_routed_experts=4", "num_experts_per_tok=2",
               "moe_intermediate_size=32", "engram_vocab_size=2000"]
    subprocess.run([bench, "make-checkpoint", "--out", model, "--like", "v4.1-mini", "--tokenizer", tokenizer]
                   + [word for change in smaller for word in ("--set", change)],
                   check=True, stdout=subprocess.DEVNULL)
    sys.exit(subprocess.run([test, model, "400", "logits"]).returncode)
