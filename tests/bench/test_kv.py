#!/usr/bin/env python3
"""What seekd-bench kv prints, on a model so small that its times mean nothing.
Usage: test_kv.py SEEKD_BENCH SEEKD MODEL_NANO MODEL_SEED"""

import json
import os
import subprocess
import sys
import tempfile
import unittest

BENCH, SEEKD, NANO, MODEL_SEED = (sys.argv.pop(1) for _ in range(4))

KEYS = {"name", "value", "unit", "runs", "spread", "reference", "reference_value", "ratio", "device"}
SOURCES = ("device", "host", "lmdb")
NAMES = ["kv.device_bytes.512", "kv.device_bytes.1k", "kv.device_bytes.idle", "kv.decode_ratio", "kv.decode",
         "kv.prefill_ratio", "kv.differing_logits", "kv.hot.hit_rate", "kv.hot.rows", "kv.hot.bytes", "kv.ttft.cold",
         *(f"kv.ttft.{source}" for source in SOURCES), *(f"kv.restore.{source}" for source in SOURCES),
         "kv.restore.lmdb_disk", "kv.restore.rate", "kv.restore.bytes", "kv.restore.cached"]


class Kv(unittest.TestCase):
    def setUp(self):
        # On a disk: in the build folder, since /tmp may be memory.
        folder = tempfile.TemporaryDirectory(dir=os.getcwd())
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def bench(self, *args, model=NANO, seekd=SEEKD):
        run = subprocess.run([BENCH, "kv", "--model", model, "--seekd", seekd, "--folder", self.folder, *args],
                             capture_output=True, text=True)
        self.assertEqual(os.listdir(self.folder), [], "something was left behind")
        return run

    def test_every_name_is_printed_with_its_reference(self):
        run = self.bench("--tokens", "512", "--pairs", "3", "--runs", "2", "--hot-rows", "16", "--threads", "1", "--json")
        self.assertEqual((run.returncode, run.stderr), (0, ""))
        results = {}
        for line in run.stdout.splitlines():
            result = json.loads(line)
            self.assertEqual(set(result), KEYS)
            results[result["name"]] = result
        self.assertEqual(list(results), NAMES)

        for name in ("kv.device_bytes.512", "kv.device_bytes.1k"):
            self.assertGreater(results[name]["value"], 0)
            self.assertLess(results[name]["ratio"], 1)
        self.assertEqual(results["kv.device_bytes.idle"]["value"], 0)
        self.assertGreater(results["kv.device_bytes.idle"]["reference_value"], 0)

        # All logits of both prompts, of the decodes, and of the token behind an idle session.
        with open(os.path.join(NANO, "config.json"), encoding="utf-8") as f:
            vocab_size = json.load(f)["text_config"]["vocab_size"]
        self.assertEqual(results["kv.differing_logits"]["value"], 0)
        self.assertEqual(results["kv.differing_logits"]["reference_value"], (1024 + 3 * 8 + 1) * vocab_size)

        self.assertEqual(results["kv.decode_ratio"]["runs"], 3)
        self.assertGreater(results["kv.hot.rows"]["reference_value"], results["kv.hot.rows"]["value"])
        for source in SOURCES:
            self.assertEqual(results[f"kv.ttft.{source}"]["runs"], 2)
            self.assertEqual(results[f"kv.ttft.{source}"]["reference_value"], results["kv.ttft.cold"]["value"])

    def test_what_cannot_be_measured_is_said(self):
        for args, status, why in (
                ({"model": os.path.join(NANO, "nothing")}, 1, "nothing"),
                ({"seekd": "/bin/false"}, 1, "the daemon did not start"),
        ):
            run = self.bench("--tokens", "128", "--pairs", "1", "--runs", "1", "--threads", "1", **args)
            self.assertEqual((run.returncode, run.stdout), (status, ""), args)
            self.assertIn(why, run.stderr)

    def test_wrong_options_are_named(self):
        for args in (("--tokens", "12"), ("--pairs", "0"), ("--runs", "many"), ("--hot-rows", "-1"), ("more",)):
            run = self.bench(*args)
            self.assertEqual((run.returncode, run.stdout), (2, ""))
            self.assertIn(args[0], run.stderr)

    def test_its_checkpoint_keeps_what_the_release_keeps(self):
        out = os.path.join(self.folder, "model")
        subprocess.run([BENCH, "make-checkpoint", "--out", out, "--like", "v4.1-kv", "--tokenizer",
                        os.path.join(MODEL_SEED, "tokenizer.json")], check=True, capture_output=True)
        check = subprocess.run([SEEKD, "--check", "--model", out], capture_output=True, text=True)
        self.assertEqual(check.returncode, 0, check.stderr)
        # Of 2^20 tokens, in units of 2^20 bytes: 890 bytes a token, and the windows.
        self.assertRegex(check.stdout, r"1048576 tokens: 892\.\d MB on the device")


if __name__ == "__main__":
    unittest.main(verbosity=2)
