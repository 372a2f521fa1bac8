#!/usr/bin/env python3
"""What seekd-bench agents prints, on a model so small that its times mean nothing.
Usage: test_agents.py SEEKD_BENCH SEEKD MODEL_NANO MODEL_SEED"""

import json
import math
import os
import subprocess
import sys
import tempfile
import unittest

BENCH, SEEKD, NANO, MODEL_SEED = (sys.argv.pop(1) for _ in range(4))

KEYS = {"name", "value", "unit", "runs", "spread", "reference", "reference_value", "ratio", "device"}
CLASSES = ("interactive", "turn", "agent", "background")
COUNTS = (1, 3)


def of_count(n):
    return [f"agents.{n}.throughput", *(f"agents.{n}.ttft.{service}.{p}" for service in CLASSES for p in ("p50", "p95"))]


HIT_RATE, QUEUE = "agents.hit_rate", "agents.speedup_vs_queue"
NAMES = [*(name for n in COUNTS for name in of_count(n)), HIT_RATE, QUEUE, "agents.jain", "agents.interactive_p95_ratio",
         "agents.flood_p95_change", "agents.cancel.p99", "agents.cancel.recomputed"]
QUICK = ("--agents", ",".join(map(str, COUNTS)), "--seconds", "2", "--scale", "8", "--pause", "20", "--completions", "5",
         "--cancels", "3", "--threads", "1")


class Agents(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def bench(self, *args, model=NANO, seekd=SEEKD):
        run = subprocess.run([BENCH, "agents", "--model", model, "--seekd", seekd, "--folder", self.folder, *args],
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
            self.assertTrue(math.isfinite(result["value"]) and math.isfinite(result["reference_value"]), result)
            results[result["name"]] = result
        self.assertEqual(list(results), NAMES)

        for name in NAMES:
            if ".ttft." in name or name.endswith(".throughput"):
                self.assertGreater(results[name]["value"], 0, name)
                self.assertGreater(results[name]["reference_value"], 0, name)
        for n in COUNTS:
            for service in CLASSES:
                self.assertLessEqual(results[f"agents.{n}.ttft.{service}.p50"]["value"],
                                     results[f"agents.{n}.ttft.{service}.p95"]["value"])
        # Nothing can be kept that was never sent, and requests that go on find something.
        rate = results["agents.hit_rate"]
        self.assertGreater(rate["value"], 0.5)
        self.assertLessEqual(rate["value"], rate["reference_value"])
        self.assertLess(rate["reference_value"], 1)
        self.assertGreaterEqual(results["agents.jain"]["value"], 1 / max(COUNTS))
        self.assertLessEqual(results["agents.jain"]["value"], 1.000001)

    def test_parts_are_measured_alone(self):
        for parts, names in (("cancel", ["agents.cancel.p99", "agents.cancel.recomputed"]),
                             ("queue,cancel", [*of_count(COUNTS[-1]), HIT_RATE, QUEUE, "agents.cancel.p99",
                                               "agents.cancel.recomputed"])):
            run = self.bench(*QUICK, "--parts", parts)
            self.assertEqual((run.returncode, run.stderr), (0, ""))
            lines = run.stdout.splitlines()
            self.assertTrue(lines[0].startswith("on "))
            self.assertEqual([line.split()[0] for line in lines[1:]], ["name", *names])

    def test_what_cannot_be_measured_is_said(self):
        for args, why in (
                ({"model": os.path.join(NANO, "nothing")}, "nothing"),
                ({"seekd": "/bin/false"}, "the daemon did not start"),
        ):
            run = self.bench(*QUICK, **args)
            self.assertEqual((run.returncode, run.stdout), (1, ""), args)
            self.assertIn(why, run.stderr)

    def test_wrong_options_are_named(self):
        for args in (("--agents", "2,1"), ("--agents", "0"), ("--agents", "1,"), ("--agents", "49"), ("--seconds", "0"),
                     ("--scale", "-1"), ("more",), ("--parts", "count"), ("--parts", "counts,")):
            run = self.bench(*args)
            self.assertEqual((run.returncode, run.stdout), (2, ""))
            self.assertIn(args[0], run.stderr)

    def test_its_checkpoint_is_larger_than_a_cache(self):
        run = subprocess.run([BENCH, "make-checkpoint", "--dry-run", "--json", "--out", os.path.join(self.folder, "model"),
                              "--like", "v4.1-agents", "--format", "bf16", "--tokenizer",
                              os.path.join(MODEL_SEED, "tokenizer.json")], check=True, capture_output=True, text=True)
        self.assertGreater(json.loads(run.stdout)["data_bytes"], 1e9)


if __name__ == "__main__":
    unittest.main(verbosity=2)
