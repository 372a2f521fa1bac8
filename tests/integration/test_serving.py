#!/usr/bin/env python3
"""Generations through the whole path: files, many clients, parameters, errors, with both models."""

import json
import os
import tempfile

import harness

PROMPTS = [f"static int\nf{i}(const char *s, int n)\n{{\n".encode() * (1 + i) for i in range(8)]


class Serving(harness.DaemonTest):
    def test_eight_clients_at_once_get_the_bytes_that_each_gets_alone(self):
        for model in harness.MODELS:
            with self.subTest(os.path.basename(model)), tempfile.TemporaryDirectory() as folder:
                server = harness.Daemon(folder, model=model)
                self.addCleanup(server.stop)
                server.wait_ready()
                arguments = ["--max-tokens", "96", "--temperature", "0.8", "--top-p", "0.9", "--seed", "7"]
                alone = [server.seek("complete", *arguments, stdin=p).stdout for p in PROMPTS]
                self.assertEqual(len(set(alone)), len(PROMPTS))
                before = server.status()["totals"]
                for _ in range(2):
                    clients = [server.start_seek("complete", *arguments, stdin=p) for p in PROMPTS]
                    together = [c.communicate(timeout=harness.PATIENCE_S)[0] for c in clients]
                    self.assertEqual(together, alone)
                    self.assertEqual([c.returncode for c in clients], [0] * 8)
                after = server.status()["totals"]
                # Steps were shared: else each would have given one token at most.
                self.assertLess(after["steps"] - before["steps"],
                                (after["generated_tokens"] - before["generated_tokens"]) / 2)
                server.stop()

    def test_the_answer_does_not_depend_on_threads_backend_or_company(self):
        answers = set()
        for options in (["--threads", "1"], ["--threads", "2"], ["--backend", "reference"]):
            with tempfile.TemporaryDirectory() as folder:
                server = harness.Daemon(folder, options=options)
                self.addCleanup(server.stop)
                server.wait_ready()
                answers.add(server.complete("--temperature", "1", "--seed", "3"))
                server.stop()
        self.assertEqual(len(answers), 1)

    def test_golden_continuations_come_through_the_daemon(self):
        server = self.ready_daemon(model=harness.MODEL_SEED)
        golden = os.path.join(harness.MODEL_SEED, "golden", "plain_c.json")
        with open(golden, encoding="utf-8") as f:
            golden = json.load(f)
        prompt = golden["prompt"].removeprefix("<｜begin▁of▁sentence｜>").encode()
        answer = json.loads(server.seek("complete", "--max-tokens", "48", "--json", stdin=prompt).stdout)
        self.assertEqual(answer["usage"]["prompt_tokens"], len(golden["input_ids"]))
        self.assertEqual(answer["tokens"], golden["greedy_ids"])

    def test_fill_in_the_middle(self):
        server = self.ready_daemon(model=harness.MODEL_SEED)
        with open(os.path.join(self.folder, "prefix"), "wb") as f:
            f.write(b"int\nmax(int a, int b)\n{\n\tif (a > b)\n")
        with open(os.path.join(self.folder, "suffix"), "wb") as f:
            f.write(b"\treturn b;\n}\n")
        run = server.seek("fim", "--prefix-file", os.path.join(self.folder, "prefix"), "--suffix-file",
                          os.path.join(self.folder, "suffix"), "--max-tokens", "16", "--json")
        self.assertEqual(run.returncode, 0, run.stderr)
        self.assertGreater(json.loads(run.stdout)["usage"]["generated_tokens"], 0)

    def test_a_stop_string_ends_the_text_and_is_not_part_of_it(self):
        server = self.ready_daemon(model=harness.MODEL_SEED)
        whole = server.complete()
        stop = whole[10:14].decode()
        run = server.seek("complete", "--max-tokens", "40", "--stop", stop, "--json", stdin=harness.PROMPT)
        answer = json.loads(run.stdout)
        self.assertEqual(answer["finish"], "stop")
        self.assertEqual(answer["text"].encode(), whole[:whole.index(stop.encode())])

    def test_special_tokens_in_a_text_stay_text_unless_asked(self):
        server = self.ready_daemon()
        for token in (b"<think>", "<｜User｜>".encode()):  # of which the tokenizer marks only the second special
            self.assertGreater(json.loads(server.seek("tokenize", "--json", stdin=token).stdout)["n"], 1)
            self.assertEqual(json.loads(server.seek("tokenize", "--json", "--special", stdin=token).stdout)["n"], 1)

    def test_a_request_of_a_megabyte_travels_beside_the_ring(self):
        server = self.ready_daemon()
        run = server.seek("tokenize", "--json", stdin=b"int x;\n" * 150_000)
        self.assertEqual(run.returncode, 0, run.stderr)
        self.assertGreater(json.loads(run.stdout)["n"], 100_000)

    def test_more_clients_than_may_run_wait_their_turn(self):
        server = self.ready_daemon(config="[engine]\nrunning = 2\n")
        expected = server.complete()
        clients = [server.start_seek("complete", "--max-tokens", "40", stdin=harness.PROMPT) for _ in range(10)]
        for client in clients:
            self.assertEqual(client.communicate(timeout=harness.PATIENCE_S)[0], expected)
        totals = server.status()["totals"]
        self.assertEqual(totals["requests_done"], 11)
        self.assertEqual(totals["generated_tokens"], 11 * 40)


class Refusals(harness.DaemonTest):
    """Bad input costs the sender an error that names the thing and the place."""

    def setUp(self):
        super().setUp()
        self.server = self.ready_daemon()

    def refused(self, pattern, *args, stdin=harness.PROMPT, command="complete"):
        run = self.server.seek(command, *args, stdin=stdin)
        self.assertNotEqual(run.returncode, 0)
        self.assertRegex(run.stderr.decode(), pattern)
        self.assertTrue(self.server.alive())

    def test_invalid_utf8_with_its_offset(self):
        self.refused(r"invalid UTF-8 at byte 7", stdin=b"int x; \xff\xfe")

    def test_an_empty_prompt(self):
        self.refused(r"empty", stdin=b"")

    def test_a_prompt_longer_than_the_context_with_both_numbers(self):
        context = self.server.status()["model"]["context_tokens"]
        self.refused(rf"\d+ tokens do not fit .*{context}", stdin=b"int x;\n" * context)

    def test_sampling_out_of_range_with_its_field(self):
        self.refused(r"top.p", "--top-p", "1.5")
        self.refused(r"temperature", "--temperature", "-1")

    def test_too_many_stop_strings(self):
        self.refused(r"16", *[a for i in range(17) for a in ("--stop", f"s{i}")])


if __name__ == "__main__":
    harness.main()
