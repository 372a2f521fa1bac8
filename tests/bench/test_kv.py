#!/usr/bin/env python3
"""What seekd-bench kv prints, on a model so small that its times mean nothing.
Usage: test_kv.py SEEKD_BENCH SEEKD MODEL_NANO MODEL_SEED"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import unittest

BENCH, SEEKD, NANO, MODEL_SEED = (sys.argv.pop(1) for _ in range(4))

KEYS = {"name", "value", "unit", "runs", "spread", "reference", "reference_value", "ratio", "device"}
SOURCES = ("device", "host", "lmdb")
DEVICE = ["kv.device_bytes.512", "kv.device_bytes.1k", "kv.prefill_ratio", "kv.decode_ratio", "kv.decode",
          "kv.hot.hit_rate", "kv.hot.rows", "kv.hot.bytes", "kv.device_bytes.idle", "kv.differing_logits"]
RESUME = ["kv.ttft.cold", *(name for source in SOURCES for name in (f"kv.ttft.{source}", f"kv.restore.{source}")),
          "kv.restore.lmdb_disk", "kv.restore.rate", "kv.restore.bytes", "kv.restore.cached"]
QUICK = ("--tokens", "512", "--pairs", "3", "--runs", "2", "--hot-rows", "16", "--threads", "1")


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
        run = self.bench(*QUICK, "--json")
        self.assertEqual((run.returncode, run.stderr), (0, ""))
        results = {}
        for line in run.stdout.splitlines():
            result = json.loads(line)
            self.assertEqual(set(result), KEYS)
            results[result["name"]] = result
        self.assertEqual(list(results), DEVICE + RESUME)

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

    def test_parts_are_measured_alone(self):
        for part, names in (("device", DEVICE), ("resume", RESUME)):
            run = self.bench(*QUICK, "--parts", part)
            self.assertEqual((run.returncode, run.stderr), (0, ""))
            lines = run.stdout.splitlines()
            self.assertTrue(lines[0].startswith("on "))
            self.assertEqual([line.split()[0] for line in lines[1:]], ["name", *names])
            if part == "resume":  # the first token of a new prompt has a reference of its own
                cold = next(line.split() for line in lines if line.startswith("kv.ttft.cold"))
                self.assertGreater(float(cold[4]), 0)

    def test_nothing_is_left_behind_by_one_that_is_ended(self):
        for signal_ in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
            run = subprocess.Popen([BENCH, "kv", "--model", NANO, "--seekd", SEEKD, "--folder", self.folder, *QUICK,
                                    "--parts", "resume", "--runs", "1000", "--json"], stdout=subprocess.PIPE)
            with run.stdout:
                self.assertIn(b"kv.ttft.cold", run.stdout.readline())  # the daemon runs
                run.send_signal(signal_)
                run.stdout.read()
            self.assertEqual(run.wait(), -signal_)
            end = time.monotonic() + 60
            while os.listdir(self.folder) and time.monotonic() < end:
                time.sleep(0.05)
            self.assertEqual(os.listdir(self.folder), [])

    def test_what_cannot_be_measured_is_said(self):
        for args, status, why in (
                ({"model": os.path.join(NANO, "nothing")}, 1, "nothing"),
                ({"seekd": "/bin/false"}, 1, "the daemon did not start"),
        ):
            run = self.bench("--tokens", "128", "--runs", "1", "--threads", "1", "--parts", "resume", **args)
            self.assertEqual((run.returncode, run.stdout), (status, ""), args)
            self.assertIn(why, run.stderr)

    def test_wrong_options_are_named(self):
        for args in (("--tokens", "12"), ("--pairs", "0"), ("--runs", "many"), ("--hot-rows", "-1"), ("more",),
                     ("--parts", "devices"), ("--parts", "device,"), ("--parts", "")):
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
