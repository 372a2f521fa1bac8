#!/usr/bin/env python3
"""What is kept changes time, never results: prompts that go on from memory, from disk and after kill -9 give the tokens
that they give when everything is computed."""

import json
import os
import random
import re
import signal
import unittest

import harness

SEED = int(os.environ.get("SEEKD_TEST_SEED", "1"))
CUTS = int(os.environ.get("SEEKD_TEST_CUTS", "17"))
NOTHING_KEPT = "[memory]\nhost_kv = 0\n"


def conversations(generator, n):
    """Texts with much in common, as an agent's prompts have."""
    with open(harness.__file__, encoding="utf-8") as f:
        text = f.read()
    system = text[:600]
    return [(system if generator.random() < 0.7 else "") + text[start:start + generator.randrange(300, 1500)]
            for start in (generator.randrange(len(text) - 1600) for _ in range(n))]


class Resume(harness.DaemonTest):
    def complete(self, server, text, seed, max_tokens=12):
        """Sampled, so that a difference in any logit can change the tokens."""
        run = server.seek("complete", "--json", "--max-tokens", str(max_tokens), "--temperature", "1",
                          "--seed", str(seed), stdin=text.encode())
        self.assertEqual(run.returncode, 0, run.stderr.decode() + server.log())
        return json.loads(run.stdout)

    def restart(self, server, number, **arguments):
        server.signal(number)
        server.wait()
        if os.path.exists(server.log_path):
            os.remove(server.log_path)
        return self.ready_daemon(**arguments)

    def check(self, model, host_kv):
        generator = random.Random(SEED)
        print(f"seed {SEED}, host_kv {host_kv}")
        texts = conversations(generator, 5)
        cuts = [(generator.choice(texts), generator.random(), i) for i in range(CUTS)]
        plain = self.ready_daemon(model=model, config=NOTHING_KEPT)
        expected = [self.complete(plain, text, i)["tokens"] for text, _, i in cuts]

        keeping = {"model": model, "config": f"[memory]\nhost_kv = {host_kv}\n",
                   "options": ("--state", os.path.join(self.folder, "state"))}
        server = self.restart(plain, signal.SIGKILL, **keeping)
        tiers = {}
        for (text, share, i), tokens in zip(cuts, expected):
            self.complete(server, text[:int(len(text) * share) + 1], i, max_tokens=1)
            if i % 5 == 0:
                server = self.restart(server, signal.SIGKILL if i % 2 else signal.SIGTERM, **keeping)
            answer = self.complete(server, text, i)
            self.assertEqual(answer["tokens"], tokens, f"prompt {i}: {answer['cache']}")
            usage = answer["usage"]
            self.assertEqual(usage["cached_tokens"] + usage["computed_tokens"], usage["prompt_tokens"])
            tiers[answer["cache"]["tier"]] = tiers.get(answer["cache"]["tier"], 0) + 1
        print(f"{os.path.basename(model)}: {tiers}")
        self.assertGreater(tiers.get("disk", 0), 0)
        self.assertGreater(tiers.get("host", 0), 0)

    def test_with_room(self):
        self.check(harness.MODEL_NANO, "64M")

    def test_with_little_memory(self):
        self.check(harness.MODEL_NANO, "128K")

    @unittest.skipIf(harness.MODEL_SEED not in harness.MODELS, "nano shows it as well")
    def test_the_larger_model(self):
        self.check(harness.MODEL_SEED, "16M")


class Verdict(harness.DaemonTest):
    def test_prompts_that_differ_in_one_early_token_say_where(self):
        server = self.ready_daemon()
        text = "static int count(const char *text) {\n        return 1;\n}\n" * 6
        server.complete(prompt=text.encode())
        run = server.seek("complete", "--json", "--max-tokens", "2", stdin=text.replace("int", "long", 1).encode())
        cache = json.loads(run.stdout)["cache"]
        self.assertEqual(cache["ended_by"], "different_prompt")
        self.assertGreater(cache["position"], 0)
        self.assertNotEqual(cache["prompt_ids"][0], cache["kept_ids"][0])

    def test_a_retry_is_not_computed_again(self):
        server = self.ready_daemon()
        text = ("a line of text\n" * 60).encode()
        first = json.loads(server.seek("complete", "--json", "--max-tokens", "2", stdin=text).stdout)
        again = json.loads(server.seek("complete", "--json", "--max-tokens", "2", stdin=text).stdout)
        self.assertEqual(first["usage"]["cached_tokens"], 0)
        self.assertGreaterEqual(again["usage"]["cached_tokens"], again["usage"]["prompt_tokens"] - 128)
        self.assertEqual(first["tokens"], again["tokens"])


class Device(harness.DaemonTest):
    """Memory on the device for one long request and a half."""

    CONFIG = "[memory]\ndevice_kv = 96K\nhot_rows = 8\n"
    TEXT = "a line of text\n" * 120

    def answer(self, server, text, *arguments):
        run = server.seek("complete", "--json", "--temperature", "1", "--seed", "1", *arguments, stdin=text.encode())
        self.assertEqual(run.returncode, 0, run.stderr.decode() + server.log())
        return json.loads(run.stdout)

    def with_plenty(self, texts, n_max):
        server = self.ready_daemon(config=NOTHING_KEPT)
        expected = [self.answer(server, text, "--max-tokens", str(n_max))["tokens"] for text in texts]
        server.stop()
        os.remove(server.log_path)
        return expected

    def test_what_stands_on_the_device_goes_on_there(self):
        expected = self.with_plenty([self.TEXT], 12)
        server = self.ready_daemon(config=self.CONFIG)
        begin = self.answer(server, self.TEXT[:900], "--max-tokens", "1")
        whole = self.answer(server, self.TEXT, "--max-tokens", "12")
        self.assertEqual(whole["cache"]["tier"], "device", whole["cache"])
        self.assertEqual(whole["usage"]["cached_tokens"], begin["usage"]["prompt_tokens"])
        self.assertEqual([whole["tokens"]], expected)

    def test_requests_that_do_not_fit_together_wait_for_each_other(self):
        texts = [f"{i}\n{self.TEXT}" for i in range(6)]
        expected = self.with_plenty(texts, 24)
        server = self.ready_daemon(config=self.CONFIG)
        clients = [server.start_seek("complete", "--json", "--temperature", "1", "--seed", "1", "--max-tokens", "24",
                                     stdin=text.encode()) for text in texts]
        for client, tokens in zip(clients, expected):
            out, err = client.communicate(timeout=harness.PATIENCE_S)
            self.assertEqual(client.returncode, 0, err)
            self.assertEqual(json.loads(out)["tokens"], tokens)

    def test_what_can_never_fit_is_refused_with_what_would(self):
        server = self.ready_daemon(config="[memory]\ndevice_kv = 64K\nhot_rows = 8\n")
        run = server.seek("complete", "--max-tokens", "1", stdin=(self.TEXT * 8).encode())
        self.assertNotEqual(run.returncode, 0)
        found = re.search(r"prompt: (\d+) tokens do not fit .*device_kv.* at most (\d+) ", run.stderr.decode())
        self.assertTrue(found, run.stderr)
        self.assertLess(int(found[2]), int(found[1]))
        self.answer(server, "a line of text\n")


if __name__ == "__main__":
    harness.main()
