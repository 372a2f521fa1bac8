#!/usr/bin/env python3
"""Checkpoints with one thing wrong: refused at load, by name. Usage: test_bad_checkpoint.py SEEKD_BENCH SEEKD_EVAL
MODEL_SEED"""

import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import unittest

BENCH, EVAL, MODEL_SEED = (sys.argv.pop(1) for _ in range(3))

SMALL = ["hidden_size=64", "moe_intermediate_size=32", "num_attention_heads=2", "head_dim=32", "qk_rope_head_dim=16",
         "q_lora_rank=32", "o_groups=2", "o_lora_rank=32", "n_routed_experts=4", "num_experts_per_tok=2",
         "index_n_heads=2", "index_head_dim=32", "engram_vocab_size=300", "engram_head_dim=32", "vocab_size=4096"]
INDEX = "model.safetensors.index.json"


class Checkpoint(unittest.TestCase):
    """A good one, and a copy of it for each test to spoil."""
    like, changes = "v4.1-mini", SMALL

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.good = os.path.join(cls.folder.name, "good")
        sets = [word for change in cls.changes for word in ("--set", change)]
        subprocess.run([BENCH, "make-checkpoint", "--out", cls.good, "--like", cls.like, "--tokenizer",
                        os.path.join(MODEL_SEED, "tokenizer.json"), *sets], check=True, stdout=subprocess.DEVNULL)
        with open(os.path.join(cls.good, INDEX), encoding="utf-8") as f:
            cls.shard = json.load(f)["weight_map"]

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def setUp(self):
        self.bad = os.path.join(self.folder.name, "bad")
        shutil.copytree(self.good, self.bad)
        self.addCleanup(shutil.rmtree, self.bad)

    def load(self):
        return subprocess.run([EVAL, "--model", self.bad, "--tokens", "-", "--json"], input="[0, 5]", text=True,
                              capture_output=True)

    def refused(self, *words):
        run = self.load()
        self.assertEqual((run.returncode, run.stdout), (2, ""), run.stderr)
        for word in words:
            self.assertIn(word, run.stderr)

    def path(self, name):
        return os.path.join(self.bad, name)

    def change_json(self, name, change):
        with open(self.path(name), encoding="utf-8") as f:
            document = json.load(f)
        change(document)
        with open(self.path(name), "w", encoding="utf-8") as f:
            json.dump(document, f)

    def change_text(self, **fields):
        self.change_json("config.json", lambda document: document["text_config"].update(fields))

    def header(self, shard):
        with open(self.path(shard), "rb") as f:
            (n,) = struct.unpack("<Q", f.read(8))
            return n, json.loads(f.read(n))

    def set_byte(self, tensor, at, value):
        n, header = self.header(self.shard[tensor])
        with open(self.path(self.shard[tensor]), "r+b") as f:
            f.seek(8 + n + header[tensor]["data_offsets"][0] + at)
            f.write(bytes([value]))

    def change_header(self, shard, change):
        n, header = self.header(shard)
        change(header)
        text = json.dumps(header, separators=(",", ":")).encode()
        self.assertLessEqual(len(text), n)
        with open(self.path(shard), "r+b") as f:
            f.seek(8)
            f.write(text.ljust(n))

    def test_the_good_one_is_loaded(self):
        self.assertEqual(self.load().returncode, 0)


class BadFloatScales(Checkpoint):
    """DeepSeek-V3.2: float scales for tiles, and what V4.1 has no like of."""
    like = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "engine", "released_deepseek_v32.json")
    changes = ["vocab_size=4096", "hidden_size=128", "num_hidden_layers=2", "num_attention_heads=2",
               "num_key_value_heads=2", "q_lora_rank=64", "kv_lora_rank=128", "qk_nope_head_dim=32", "v_head_dim=32",
               "intermediate_size=128", "moe_intermediate_size=64", "n_routed_experts=8", "n_group=4", "topk_group=2",
               "num_experts_per_tok=4", "index_n_heads=2", "index_topk=24", "first_k_dense_replace=1"]
    layer = "model.layers.1.self_attn."

    def rename(self, tensor):
        """In the header and in the index: as if it had never been there."""
        def change(names):
            names["x" + tensor[1:]] = names.pop(tensor)
        self.change_header(self.shard[tensor], change)
        self.change_json(INDEX, lambda index: change(index["weight_map"]))

    def test_scales_that_are_missing(self):
        for name in ("kv_b_proj.weight_scale_inv", "indexer.wk.weight_scale_inv"):
            with self.subTest(name):
                self.rename(self.layer + name)
                self.refused("tensor '" + self.layer + name + "' is missing")
                shutil.rmtree(self.bad)
                shutil.copytree(self.good, self.bad)

    def test_a_scale_that_is_nan(self):
        tensor = self.layer + "q_b_proj.weight_scale_inv"
        for at, value in ((3, 0x7F), (2, 0xC0)):
            self.set_byte(tensor, at, value)
        self.refused(tensor, "the scale at [0, 0] is not a finite number")

    def test_the_norm_of_a_key_of_another_size_or_type(self):
        tensor = self.layer + "indexer.k_norm.bias"

        def retype(header):
            header[tensor]["dtype"] = "F16"
        self.change_header(self.shard[tensor], retype)
        self.refused("tensor '" + tensor + "'", "expected BF16 [128]")

    def test_a_configuration_of_another_size(self):
        self.change_json("config.json", lambda document: document.update(index_n_heads=3))
        self.refused("tensor 'model.layers.0.self_attn.indexer.wq_b.weight'", "[384, 64]", "[256, 64]")

    def test_a_configuration_of_two_families(self):
        self.change_json("config.json", lambda document: document.update(compress_ratios=[4, 4]))
        self.refused("compress_ratios: unknown field")
        self.change_json("config.json", lambda document: document.update(model_type="deepseek_v3"))
        self.refused("architectures: 'DeepseekV32ForCausalLM' does not belong to model_type 'deepseek_v3'")
        self.change_json("config.json", lambda document: document.update(model_type="deepseek_v5"))
        self.refused("model_type: 'deepseek_v5' is not supported")


class BadCheckpoint(Checkpoint):
    def test_nan_scales(self):
        for tensor in ("layers.0.attn.wq_a.scale", "layers.3.attn.indexer.wq_b.scale", "layers.1.engram.wkv.scale",
                       "layers.2.ffn.shared_experts.w2.scale", "layers.5.ffn.experts.3.w1.scale",
                       "layers.4.engram.embed.scale"):
            with self.subTest(tensor):
                self.set_byte(tensor, 1, 255)
                self.refused(tensor, "255 (NaN)")
                self.set_byte(tensor, 1, 127)

    def test_nan_codes_end_the_step(self):
        """Codes are not scanned at load: a NaN among them makes its outputs NaN, never a token."""
        for layer, tensor in ((0, "attn.wq_a"), (0, "attn.wkv"), (3, "attn.indexer.wq_b"), (2, "attn.wo_a"),
                              (5, "ffn.shared_experts.w2"), (1, "engram.wkv")):
            name = f"layers.{layer}.{tensor}.weight"
            with self.subTest(name):
                shutil.copy(os.path.join(self.good, self.shard[name]), self.path(self.shard[name]))
                self.set_byte(name, 33, 0xFF)
                self.refused("not a finite number", f"layer {layer}")
                shutil.copy(os.path.join(self.good, self.shard[name]), self.path(self.shard[name]))

    def test_nan_in_what_only_makes_choices_ends_the_step(self):
        for layer, tensor in ((0, "ffn.gate"), (3, "attn.indexer.weights_proj"), (3, "attn.indexer.wk")):
            name = f"layers.{layer}.{tensor}.weight"
            with self.subTest(name):
                self.set_byte(name, 0, 0xFF)
                self.set_byte(name, 1, 0x7F)
                self.refused("not a finite number", f"layer {layer}")
                shutil.copy(os.path.join(self.good, self.shard[name]), self.path(self.shard[name]))

    def test_sizes_that_differ_from_the_tables_and_the_tokenizer(self):
        n = self.header(self.shard["layers.1.engram.embed.weight"])[1]["layers.1.engram.embed.weight"]["shape"][0]
        m = self.header(self.shard["layers.4.engram.embed.weight"])[1]["layers.4.engram.embed.weight"]["shape"][0]
        self.change_text(engram_num_embeddings=[n + 1, m])
        self.refused("engram_num_embeddings[0]", str(n + 1), str(n))
        self.change_text(engram_num_embeddings=[n, m], engram_compressed_vocab_size=100)
        self.refused("engram_compressed_vocab_size: 100")
        self.change_text(engram_compressed_vocab_size=4096, vocab_size=100)
        self.refused("config.json")

    def test_an_embedding_of_another_size(self):
        self.change_text(vocab_size=5000)
        self.refused("tensor 'embed.weight'", "[5000, 64]", "[4096, 64]")

    def test_a_tokenizer_with_more_ids_than_the_model(self):
        def add(document):
            document["added_tokens"].append({**document["added_tokens"][-1], "id": 4096, "content": "<more>"})
        self.change_json("tokenizer.json", add)
        self.refused("tokenizer.json", "4097", "4096")

    def test_a_table_with_a_row_less(self):
        tensor = "layers.1.engram.embed.weight"

        def shorten(header):
            entry = header[tensor]
            entry["shape"][0] -= 1
            entry["data_offsets"][1] -= entry["shape"][1]
        before = self.header(self.shard[tensor])[1][tensor]["shape"][1]
        self.change_header(self.shard[tensor], shorten)
        self.change_json(INDEX, lambda index: index["metadata"].update(
            total_size=index["metadata"]["total_size"] - before))
        self.refused("tensor '" + tensor + "'", "expected F8_E4M3")

    def test_a_tensor_of_another_type_or_shape(self):
        def retype(header):
            header["layers.0.attn_norm.weight"]["dtype"] = "F16"
        self.change_header(self.shard["layers.0.attn_norm.weight"], retype)
        self.refused("tensor 'layers.0.attn_norm.weight'", "expected BF16 [64]")

    def test_a_tensor_that_is_missing(self):
        tensor = "layers.2.ffn.experts.1.w2.weight"

        def rename(header):
            header["layers.2.ffn.experts.1.w9.weight"] = header.pop(tensor)
        self.change_header(self.shard[tensor], rename)
        self.refused(INDEX, "tensor '" + tensor + "' is not in its shard")

        def follow(index):
            index["weight_map"]["layers.2.ffn.experts.1.w9.weight"] = index["weight_map"].pop(tensor)
        self.change_json(INDEX, follow)
        self.refused("tensor '" + tensor + "' is missing")

    def test_shards_that_are_not_what_they_were(self):
        shard = self.shard["layers.0.attn_norm.weight"]
        size = os.path.getsize(self.path(shard))
        os.truncate(self.path(shard), size - 1)
        self.refused(shard, "past the end")
        os.truncate(self.path(shard), 100)
        self.refused(shard, "longer than the file")
        os.truncate(self.path(shard), 0)
        self.refused(shard, "0 bytes are too few")
        os.unlink(self.path(shard))
        self.refused(shard, "No such file")
        os.mkdir(self.path(shard))
        self.refused(shard, "not a regular file")

    def test_overlapping_tensors(self):
        shard = self.shard["layers.0.attn.wq_b.weight"]

        def move(header):
            header["layers.0.attn.wq_b.weight"]["data_offsets"] = header["layers.0.attn.wq_b.scale"]["data_offsets"]
            header["layers.0.attn.wq_b.weight"]["shape"] = header["layers.0.attn.wq_b.scale"]["shape"]
        self.change_header(shard, move)
        self.refused(shard, "overlap", "layers.0.attn.wq_b")

    def test_an_index_that_lies(self):
        first = "layers.0.attn_norm.weight"
        for change, words in (
                (lambda index: index["metadata"].update(total_size=1), ("metadata.total_size: 1 bytes",)),
                (lambda index: index["metadata"].update(total_size="8"), ("metadata.total_size: not a whole",)),
                (lambda index: index["weight_map"].update({first: "../" + self.shard[first]}), ("not a plain",)),
                (lambda index: index["weight_map"].update({first: "/etc/passwd"}), ("not a plain", first)),
                (lambda index: index["weight_map"].update({first: 7}), ("is not a string", first)),
                (lambda index: index["weight_map"].update({first: "config.json"}), ("config.json",)),
                (lambda index: index["weight_map"].update(more="x.safetensors"), ("x.safetensors: No such",)),
                (lambda index: index["weight_map"].pop(first), (first, "is not listed")),
                (lambda index: index.pop("weight_map"), ("no weight_map",))):
            shutil.copy(os.path.join(self.good, INDEX), self.bad)
            self.change_json(INDEX, change)
            with self.subTest(words[0]):
                self.refused(*words)

    def test_a_format_that_the_files_do_not_have(self):
        self.change_json("config.json", lambda document: document["quantization_config"].update(expert_dtype="fp8"))
        self.refused("layers.0.ffn.experts.0.w1.scale", "expected F8_E8M0 [1, 2], found F8_E8M0 [32, 2]")
        self.change_json("config.json", lambda document: document.pop("quantization_config"))
        self.refused("layers.0.attn.wq_a.weight", "expected BF16 [32, 64], found F8_E4M3 [32, 64]")


if __name__ == "__main__":
    unittest.main()
