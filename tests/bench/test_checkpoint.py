#!/usr/bin/env python3
"""Checkpoints of random weights. Usage: test_checkpoint.py SEEKD_BENCH SEEKD_EVAL MODEL_SEED RELEASED_CONFIG"""

import contextlib
import hashlib
import json
import os
import resource
import signal
import struct
import subprocess
import sys
import tempfile
import time
import unittest

BENCH, EVAL, MODEL_SEED, RELEASED = (sys.argv.pop(1) for _ in range(4))

# Small enough to compute with in a second, every mechanism still there.
SMALL = ["hidden_size=64", "moe_intermediate_size=32", "num_attention_heads=2", "head_dim=32", "qk_rope_head_dim=16",
         "q_lora_rank=32", "o_groups=2", "o_lora_rank=32", "n_routed_experts=4", "num_experts_per_tok=2",
         "index_n_heads=2", "index_head_dim=32", "engram_vocab_size=300", "engram_head_dim=32", "vocab_size=4096"]
SIZES = {"F32": 4, "BF16": 2, "F8_E4M3": 1, "F8_E8M0": 1, "I8": 1}


def e4m3(code):
    exponent, mantissa = code >> 3 & 15, code & 7
    size = (8 + mantissa) * 2.0 ** (exponent - 10) if exponent else mantissa * 2.0 ** -9
    return -size if code & 128 else size


def e2m1(code):
    size = (0, .5, 1, 1.5, 2, 3, 4, 6)[code & 7]
    return -size if code & 8 else size


def digest(folder):
    whole = hashlib.sha256()
    for name in sorted(os.listdir(folder)):
        with open(os.path.join(folder, name), "rb") as f:
            whole.update(name.encode() + f.read())
    return whole.hexdigest()


def header(path):
    with open(path, "rb") as f:
        (n,) = struct.unpack("<Q", f.read(8))
        return n, json.loads(f.read(n))


class Checkpoint(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def path(self, name):
        return os.path.join(self.folder, name)

    def command(self, *args, small=True):
        sets = [word for change in SMALL for word in ("--set", change)] if small else []
        return [BENCH, "make-checkpoint", "--tokenizer", os.path.join(MODEL_SEED, "tokenizer.json"), *sets, *args]

    def run_bench(self, *args, small=True, **kwargs):
        return subprocess.run(self.command(*args, small=small), capture_output=True, text=True, **kwargs)

    def make(self, name, *args):
        run = self.run_bench("--out", self.path(name), *args)
        self.assertEqual((run.returncode, run.stderr), (0, ""))
        return self.path(name)

    def refused(self, why, *args, small=True, **kwargs):
        run = self.run_bench(*args, small=small, **kwargs)
        self.assertEqual(run.returncode, 1, run.stderr)
        self.assertIn(why, run.stderr)
        self.assertEqual(os.listdir(self.folder), [])

    def logits(self, folder):
        run = subprocess.run([EVAL, "--model", folder, "--tokens", "-", "--generate", "4", "--json"], text=True,
                             input=json.dumps([0, *range(300, 340)]), stdout=subprocess.PIPE)
        self.assertEqual(run.returncode, 0)
        return json.loads(run.stdout)

    def test_the_same_seed_gives_the_same_bytes_on_any_number_of_threads(self):
        large = ("--set", "engram_vocab_size=30000")  # files of several pieces, which threads share
        one = digest(self.make("one", *large, "--threads", "1"))
        self.assertEqual(one, digest(self.make("three", *large, "--threads", "3")))
        self.assertNotEqual(one, digest(self.make("other", *large, "--seed", "1")))

    def test_any_part_of_a_tensor_depends_on_its_place_alone(self):
        # 2 x 5,760,384 bytes of codes, the first row repeated nowhere
        folder = self.make("one", "--set", "engram_vocab_size=15000")
        for name in os.listdir(folder):
            if name.endswith(".safetensors"):
                n, tensors = header(os.path.join(folder, name))
                codes = tensors.get("layers.1.engram.embed.weight")
                if codes:
                    with open(os.path.join(folder, name), "rb") as f:
                        f.seek(8 + n + codes["data_offsets"][0])
                        data = f.read(codes["data_offsets"][1] - codes["data_offsets"][0])
                    self.assertGreater(len(data), 1 << 22)
                    self.assertEqual(data.count(data[:32]), 1)
                    self.assertNotIn(0x7f, data)  # NaN
                    self.assertNotIn(0xff, data)

    def read(self, folder, name):
        with open(os.path.join(folder, "model.safetensors.index.json"), encoding="utf-8") as f:
            path = os.path.join(folder, json.load(f)["weight_map"][name])
        n, tensors = header(path)
        begin, end = tensors[name]["data_offsets"]
        with open(path, "rb") as f:
            f.seek(8 + n + begin)
            return f.read(end - begin), tensors[name]["shape"]

    def test_numbers_times_scales_have_the_size_that_sums_need(self):
        folder = self.make("one")
        for stem, inputs in (("layers.0.attn.wq_b", 32), ("layers.0.attn.wo_b", 64), ("layers.3.ffn.experts.2.w1", 64),
                             ("layers.3.ffn.experts.2.w2", 32), ("layers.1.engram.embed", 1)):
            codes, (rows, width) = self.read(folder, stem + ".weight")
            scales, (scale_rows, blocks) = self.read(folder, stem + ".scale")
            values = []
            for row in range(min(rows, 64)):
                for k in range(blocks * 32):
                    if ".experts." in stem:
                        value = e2m1(codes[row * width + k // 2] >> 4 * (k % 2))
                    else:
                        value = e4m3(codes[row * width + k])
                    scale_row = row // 32 if scale_rows < rows else row
                    values.append(value * 2.0 ** (scales[scale_row * blocks + k // 32] - 127))
            mean = sum(values) / len(values)
            deviation = (sum(v * v for v in values) / len(values) - mean * mean) ** .5
            with self.subTest(stem):
                self.assertLess(abs(mean) * inputs ** .5, 0.2)
                self.assertLess(0.5, deviation * inputs ** .5)
                self.assertLess(deviation * inputs ** .5, 2)

    def test_files_are_laid_out_as_readers_demand(self):
        folder = self.make("all", "--with-drafts", "--with-vision")
        with open(os.path.join(folder, "model.safetensors.index.json"), encoding="utf-8") as f:
            index = json.load(f)
        total, seen = 0, {}
        for shard in sorted(set(index["weight_map"].values())):
            n, tensors = header(os.path.join(folder, shard))
            self.assertEqual(n % 8, 0)
            del tensors["__metadata__"]
            end = 0
            for name, t in sorted(tensors.items(), key=lambda item: item[1]["data_offsets"]):
                begin, size = t["data_offsets"][0], SIZES[t["dtype"]]
                self.assertEqual(begin, end, "a gap before " + name)
                self.assertEqual(begin % size, 0, name)
                for dim in t["shape"]:
                    size *= dim
                end = begin + size
                self.assertEqual(t["data_offsets"][1], end, name)
                seen[name] = shard
            self.assertEqual(os.path.getsize(os.path.join(folder, shard)), 8 + n + end)
            total += end
        self.assertEqual(seen, index["weight_map"])
        self.assertEqual(total, index["metadata"]["total_size"])
        for name in ("mtp.0.main_proj.scale", "mtp.0.markov_head.embed.weight", "vision.blocks.1.mlp.w2.weight",
                     "aligner.w2.bias", "image_newline", "layers.1.engram.embed.scale"):
            self.assertIn(name, seen)

    def test_other_readers_open_it(self):
        try:
            import safetensors
        except ImportError:
            self.skipTest("the Python package safetensors is not installed")
        folder = self.make("all", "--with-drafts", "--with-vision")
        for name in os.listdir(folder):
            if name.endswith(".safetensors"):
                with safetensors.safe_open(os.path.join(folder, name), framework="np") as f:
                    self.assertGreater(len(list(f.keys())), 0)

    def test_the_engine_computes_with_each_format(self):
        for form in ("released", "fp8", "bf16"):
            with self.subTest(form):
                result = self.logits(self.make(form, "--format", form, "--with-drafts"))
                self.assertLess(abs(result["nll"] - 8.8), 1.5)  # near ln 4096: it knows nothing
                self.assertEqual(len(result["generated"]), 4)
                tops = {top["top"][0][0] for top in result["positions"]}
                self.assertGreater(len(tops), 10)  # and does not always say the same

    def describe(self, path):
        run = subprocess.run([EVAL, "--model", path, "--describe", "--json"], capture_output=True, text=True)
        self.assertEqual((run.returncode, run.stderr), (0, ""))
        return json.loads(run.stdout)

    def test_a_configuration_alone_is_described(self):
        released = self.describe(RELEASED)
        self.assertEqual(released["total"]["bytes"], 510286023000)
        self.assertEqual(released["components"]["engram_tables"]["bytes"], 202758032400)
        self.assertEqual(released["components"]["routed_experts"]["bytes"], 288777830400)
        self.assertEqual(released["components"]["attention"]["bytes"], 5069721600)
        self.assertEqual(released["kv_bytes_per_token"], 890)
        self.assertEqual([run["layers"] for run in released["layers"]][-1], [36, 39])
        self.assertIsNone(released["files"])
        fit = {row["device"]: row["kv_tokens"] for row in released["fit"]}
        self.assertIsNone(fit["96 GiB"]["without_engram_tables"])
        self.assertGreater(fit["24 GiB"]["without_experts"], 10**7)

    def test_a_folder_is_described_with_what_its_files_hold(self):
        folder = self.make("all", "--with-drafts")
        whole = self.describe(folder)
        self.assertEqual(whole["files"]["missing"], 0)
        self.assertEqual(whole["files"]["described"], whole["total"]["tensors"])
        self.assertEqual(whole["files"]["bytes"], whole["total"]["bytes"])
        self.assertGreater(whole["components"]["draft_layers"]["bytes"], 0)
        self.assertEqual((whole["dense_format"], whole["expert_format"]), ("FP8", "FP4"))
        with open(os.path.join(folder, "config.json"), encoding="utf-8") as f:
            config = json.load(f)
        config["text_config"]["n_routed_experts"] += 1
        with open(os.path.join(folder, "config.json"), "w", encoding="utf-8") as f:
            json.dump(config, f)
        self.assertEqual(self.describe(folder)["files"]["missing"], 6 * 12)  # one expert more in each layer

    def test_the_released_geometry_is_the_release_to_the_byte(self):
        run = self.run_bench("--like", "v4.1-flash", "--with-drafts", "--with-vision", "--dry-run", "--json", small=False)
        made = json.loads(run.stdout)
        self.assertEqual((made["files"], made["tensors"], made["data_bytes"]), (48, 96085, 510286023000))
        self.assertEqual(os.listdir(self.folder), [])

    def test_the_preset_is_the_released_configuration(self):
        run = self.run_bench("--like", RELEASED, "--with-drafts", "--with-vision", "--dry-run", "--json", small=False)
        self.assertEqual(json.loads(run.stdout)["data_bytes"], 510286023000)

    def test_a_shorter_schedule_follows_the_number_of_layers(self):
        for n in (1, 2, 5, 9, 12, 14):
            with self.subTest(n):
                run = self.run_bench("--set", f"num_hidden_layers={n}", "--dry-run", "--with-drafts")
                self.assertEqual((run.returncode, run.stderr), (0, ""))

    def test_what_cannot_be_is_refused_by_name(self):
        out = ("--out", self.path("x"))
        self.refused("vocab_size: 100, but the tokenizer has", *out, "--set", "vocab_size=100")
        self.refused("hidden_size is 65, quantised weights need", *out, "--set", "hidden_size=65")
        self.refused("text_config.no_such_field: unknown field", *out, "--set", "no_such_field=1")
        self.refused("num_hidden_layers", *out, "--set", "num_hidden_layers=0")
        self.refused("--set hidden_size: not field=value", *out, "--set", "hidden_size")
        self.refused("no-such-preset", *out, "--like", "no-such-preset")
        self.refused("text_config.engram_vocab_size", *out, "--set", "engram_vocab_size=-1")

    def test_a_full_disk_is_named_before_anything_is_written(self):
        # 25 TB of Engram rows
        self.refused("No space left on device", "--out", self.path("x"), "--like", "v4.1-flash", "--set",
                     "engram_vocab_size=2000000000", small=False)

    def test_a_failing_write_leaves_nothing(self):
        def limit():
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (100000, 100000))
        self.refused("File too large", "--out", self.path("x"), preexec_fn=limit, restore_signals=False)

    def test_a_folder_that_is_there_is_left_alone(self):
        folder = self.make("one")
        before = digest(folder)
        run = self.run_bench("--out", folder, "--seed", "3")
        self.assertEqual(run.returncode, 1)
        self.assertIn(folder, run.stderr)
        self.assertEqual(before, digest(folder))
        self.assertEqual(os.listdir(self.folder), ["one"])

    def test_an_interrupted_run_leaves_nothing(self):
        command = self.command("--out", self.path("x"), "--set", "engram_vocab_size=400000", "--threads", "1")
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            while process.poll() is None and not os.listdir(self.folder):
                time.sleep(0.001)
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate()
        if process.returncode != 0:  # it may have been quicker
            self.assertIn("interrupted", errors)
            self.assertEqual(os.listdir(self.folder), [])

    def test_a_killed_run_leaves_nothing_under_the_name(self):
        command = self.command("--out", self.path("x"), "--set", "engram_vocab_size=400000", "--threads", "1")
        with subprocess.Popen(command) as process:
            while process.poll() is None and not os.listdir(self.folder):
                time.sleep(0.001)
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        if process.returncode < 0:
            self.assertFalse(os.path.exists(self.path("x")))


if __name__ == "__main__":
    unittest.main()
