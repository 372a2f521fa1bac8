#!/usr/bin/env python3
"""Hints through the whole path: what was announced is cached when it is asked, and nothing else is different."""

import contextlib
import json
import os
import signal

import harness

TEXT = "static int count(const char *text) {\n        return 1;\n}\n" * 20
MORE = "int main(void)\n{\n"


class Hints(harness.DaemonTest):
    def json(self, server, *args, stdin=b"", code=0):
        run = server.seek(*args, "--json", stdin=stdin)
        self.assertEqual(run.returncode, code, run.stderr.decode() + server.log())
        return json.loads(run.stdout)

    def hint(self, server, *args, text="", code=0):
        return self.json(server, "hint", *args, stdin=text.encode(), code=code)

    def ask(self, server, *args, text=""):
        return self.json(server, "complete", "--max-tokens", "12", "--temperature", "1", "--seed", "1", *args,
                         stdin=text.encode())

    def hints(self, server):
        return server.status()["hints"]

    def wait_done(self, server, n=1):
        harness.wait_until(lambda: self.hints(server)["done"] == n, f"{n} hints are done")

    def n_tokens(self, server, text, *args):
        return len(self.json(server, "tokenize", *args, stdin=text.encode())["tokens"])

    def end(self, server):
        server.signal(signal.SIGTERM)
        server.wait()
        os.remove(server.log_path)

    def cold(self, model):
        """What is answered where nothing was announced."""
        server = self.ready_daemon(model=model)
        answer = self.ask(server, text=TEXT + MORE)
        self.end(server)
        self.assertEqual(answer["usage"]["cached_tokens"], 0)
        return answer

    @contextlib.contextmanager
    def busy(self, server):
        """A long answer is being written."""
        client = server.start_seek("complete", "--max-tokens", "0", stdin=b"int x;")
        harness.wait_until(lambda: any(r["generated_tokens"] > 0 for r in server.status()["requests"]), "an answer begins")
        yield
        self.assertIsNone(client.poll(), "it has lasted")
        client.send_signal(signal.SIGINT)
        client.communicate(timeout=harness.PATIENCE_S)

    def test_what_was_announced_is_cached(self):
        for model in harness.MODELS:
            with self.subTest(model=os.path.basename(model)):
                cold = self.cold(model)
                server = self.ready_daemon(model=model)
                self.assertEqual(self.hint(server, text=TEXT), {"noted": True})
                self.wait_done(server)
                n = self.n_tokens(server, TEXT, "--bos")
                self.assertEqual(self.hints(server)["tokens"], n)
                warm = self.ask(server, text=TEXT + MORE)
                # All but a token or two at the seam, where the text goes on: from the last page's end then.
                self.assertGreaterEqual(warm["usage"]["cached_tokens"], n // 128 * 128)
                self.assertEqual(warm["text"], cold["text"])
                self.assertIn("hints:    1 noted, 1 done", server.seek("status").stdout.decode())
                self.end(server)

    def test_a_session_is_announced_with_what_comes_next(self):
        server = self.ready_daemon(options=("--state", os.path.join(self.folder, "state")))
        session = self.json(server, "sessions", "open")["session"]
        self.ask(server, "--session", session, text=TEXT)
        self.hint(server, "--session", session, text=MORE)
        self.wait_done(server)
        tokens = self.json(server, "sessions", "append", session, stdin=MORE.encode())["tokens"]
        answer = self.ask(server, "--session", session, text=TEXT)
        self.assertEqual(answer["usage"]["cached_tokens"], tokens)  # to the token
        self.assertEqual(answer["cache"]["tier"], "host")
        # Without a text: what is kept of it is brought to memory, and nothing is left to do.
        harness.wait_until(lambda: self.json(server, "sessions", "list")["sessions"][0]["durable"], "it is on disk")
        self.end(server)
        server = self.ready_daemon(options=("--state", os.path.join(self.folder, "state")))
        self.hint(server, "--session", session)
        self.wait_done(server)
        self.assertLessEqual(self.hints(server)["tokens"], 1)
        again = self.ask(server, "--session", session, text=MORE)
        self.assertEqual(again["cache"]["tier"], "host")

    def test_nothing_is_done_before_a_request_and_the_newest_counts(self):
        server = self.ready_daemon()
        with self.busy(server):
            self.hint(server, text=TEXT)
            self.hint(server, text=MORE + TEXT)
            hints = self.hints(server)
            self.assertEqual((hints["noted"], hints["replaced"], hints["waiting"], hints["tokens"]), (2, 1, 1, 0))
        self.wait_done(server)
        self.assertEqual(self.hints(server)["tokens"], self.n_tokens(server, MORE + TEXT, "--bos"))

    def test_bad_hints_are_refused_by_field(self):
        server = self.ready_daemon()
        context = server.status()["model"]["context_tokens"]
        for text, args, message in (("", (), "text: is empty"), ("x", ("--session", "1234"), "session: this user"),
                                    ("int x;\n" * context, (), "tokens do not fit")):
            with self.subTest(message=message):
                error = self.hint(server, *args, text=text, code=2)["error"]["message"]
                self.assertIn(message, error)
        self.assertEqual(self.hints(server)["noted"], 0)

    def test_a_purge_takes_what_was_announced(self):
        server = self.ready_daemon()
        with self.busy(server):
            self.hint(server, text=TEXT)
            self.json(server, "cache", "purge")
            self.assertEqual(self.hints(server)["waiting"], 0)
        self.assertEqual(self.hints(server)["tokens"], 0)


if __name__ == "__main__":
    harness.main()
