#!/usr/bin/env python3
"""seek top: on a terminal, as a stream, as one frame; and the terminal as it was before, however it ends."""

import json
import os
import signal
import subprocess
import termios

import harness
import terminal

# More than is generated before any test is through with it.
LONG = ("--max-tokens", "100000")
RATES = ("seconds", "prefill_tokens_per_second", "decode_tokens_per_second", "steps_per_second",
         "requests_per_second")


class TopTest(harness.DaemonTest):
    def start_long(self, server, *options):
        """A client whose request is being generated, with its text going nowhere."""
        with open(os.devnull, "wb") as nowhere:
            client = subprocess.Popen(server.seek_command("complete", *LONG, *options), stdin=subprocess.PIPE,
                                      stdout=nowhere, stderr=subprocess.DEVNULL)
        client.stdin.write(harness.PROMPT)
        client.stdin.close()
        self.addCleanup(client.wait)
        self.addCleanup(client.kill)
        harness.wait_until(lambda: any(r["pid"] == client.pid and r["generated_tokens"] > 0
                                       for r in server.status()["requests"]), "the request runs")
        return client

    def start_held(self, server, *options):
        """One that is not read, so that it stays until it is killed, however fast the machine."""
        client = self.start_long(server, *options)
        client.send_signal(signal.SIGSTOP)
        return client

    def top(self, server, *options, **size):
        top = terminal.Terminal(server.seek_command("top", "--interval", "0.1", *options), **size)
        self.addCleanup(top.close)
        return top


class OnATerminal(TopTest):
    def assert_restored(self, top):
        self.assertEqual(termios.tcgetattr(top.slave), top.before)
        # The cursor is visible and keys mean what they meant: the last that was said of each.
        for on, off in ((b"\x1b[?25h", b"\x1b[?25l"), (b"\x1b[?1l", b"\x1b[?1h"), (b"\x1b[?1049l", b"\x1b[?1049h")):
            self.assertGreaterEqual(top.raw.rfind(on), top.raw.rfind(off))

    def test_a_running_request_is_shown_and_q_restores_the_terminal(self):
        server = self.ready_daemon()
        client = self.start_long(server, "--class", "agent")
        top = self.top(server)
        frame = top.wait_for(rf"(?m)^ *{client.pid} .* agent .*decode .*\[######\]")
        frame = top.wait_for(r"(?m)^agent +1 +0 +100 % ")  # from the second reading on
        self.assertRegex(frame, r"(?m)^seekd [0-9.]+, up [0-9:]+, nano on ")
        self.assertRegex(frame, r"(?m)^requests: 1 running, 0 queued")
        for row in ("device", "host", "disk", "hits"):
            self.assertRegex(frame, rf"(?m)^{row} ")
        self.assertRegex(frame.splitlines()[-1], r"^q quit  s sort: age ")
        top.wait_for(r"decode [0-9.]+ ")  # from the second reading on
        self.assertNotEqual(termios.tcgetattr(top.slave), top.before)
        top.press(b"q")
        self.assertEqual(top.wait_exit(), 0)
        self.assert_restored(top)

    def test_signals_restore_the_terminal(self):
        server = self.ready_daemon()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
            with self.subTest(number):
                top = self.top(server)
                top.wait_for("no requests")
                top.process.send_signal(number)
                self.assertEqual(top.wait_exit(), 130)
                self.assert_restored(top)

    def test_keys(self):
        server = self.ready_daemon()
        first, second = self.start_held(server), self.start_held(server, "--class", "interactive")
        top = self.top(server)
        top.wait_for(rf"(?s)\b{first.pid} .*\b{second.pid} ")  # the oldest first
        top.press(b"c")
        top.wait_for(rf"(?ms)^interactive: 1 request, .*\b{second.pid} .*^turn: 1 request, .*\b{first.pid} ")
        top.press(b"c")
        for order in ("tok/s", "prompt", "generated", "user", "pid", "age"):
            top.press(b"s")
            top.wait_for(rf"sort: {order} ")
        top.press(b"+")
        top.wait_for(r"every 0.2 s")
        top.press(b"--")
        top.wait_for(r"every 0.1 s")  # and not less
        top.press(b"h")
        top.wait_for(r"(?m)^q +quit")
        top.press(b"q")  # quits, from here too
        self.assertEqual(top.wait_exit(), 0)

    def test_pause_keeps_what_is_shown(self):
        server = self.ready_daemon()
        top = self.top(server)
        top.wait_for("no requests")
        top.press(b"p")
        top.wait_for("PAUSED")
        client = self.start_held(server)
        for _ in range(5):
            top.read(0.1)
        self.assertIn("no requests", top.screen.text())
        top.press(b"p")
        top.wait_for(rf"\b{client.pid} ")

    def test_the_requests_scroll(self):
        server = self.ready_daemon()
        clients = [self.start_held(server) for _ in range(3)]
        top = self.top(server, lines=11)  # 9 lines are above the table, and one below
        top.wait_for(rf"\b{clients[0].pid} ")
        self.assertNotIn(str(clients[1].pid), top.screen.text())
        top.press(b"\x1bOB")
        top.wait_for(rf"\b{clients[1].pid} ")
        top.press(b"\x1bOB\x1bOB\x1bOB\x1bOB")
        top.wait_for(rf"\b{clients[2].pid} ")
        top.press(b"\x1bOA")
        top.wait_for(rf"\b{clients[1].pid} ")

    def test_any_size(self):
        server = self.ready_daemon()
        client = self.start_held(server)
        top = self.top(server)
        top.wait_for(rf"(?m)^ *{client.pid} .*\[######\]")
        for lines, columns in ((24, 40), (40, 200), (3, 20), (1, 1), (2, 5), (24, 80)):
            top.resize(lines, columns)
            top.process.send_signal(signal.SIGWINCH)
            top.wait_for("^s" if lines > 2 else r"\S")
            self.assertTrue(all(len(line) <= columns for line in top.screen.text().splitlines()))
        top.wait_for(rf"(?m)^ *{client.pid} .*\[######\]")
        top.press(b"q")
        self.assertEqual(top.wait_exit(), 0)

    def test_a_terminal_without_a_cursor_to_move_is_refused(self):
        server = self.ready_daemon()
        top = terminal.Terminal(server.seek_command("top"), term="dumb", errors_too=True)
        self.addCleanup(top.close)
        self.assertEqual(top.wait_exit(), 1)
        self.assertIn(b"cursor cannot be moved", top.raw)

    def test_a_daemon_that_goes_away_is_waited_for(self):
        server = self.ready_daemon()
        top = self.top(server)
        top.wait_for("no requests")
        server.stop()
        top.wait_for("NO ANSWER, trying again: ")
        server = self.ready_daemon()
        top.wait_for("(?s)^seekd .*no requests")
        client = self.start_held(server)
        top.wait_for(rf"\b{client.pid} ")

    def test_a_daemon_that_hangs_delays_no_key(self):
        server = self.ready_daemon()
        top = self.top(server)
        top.wait_for("no requests")
        server.signal(signal.SIGSTOP)
        self.addCleanup(server.signal, signal.SIGCONT)
        top.press(b"h")
        top.wait_for(r"(?m)^q +quit")
        top.press(b"q")
        self.assertEqual(top.wait_exit(), 0)
        self.assert_restored(top)


class Elsewhere(TopTest):
    def test_one_frame(self):
        server = self.ready_daemon()
        client = self.start_long(server)
        run = server.seek("top", "--once", "--interval", "0.2")
        self.assertEqual((run.returncode, run.stderr), (0, b""))
        self.assertRegex(run.stdout.decode(), rf"(?s)^seekd [^\n]*\ntokens/s: .*decode [0-9.]+ .*\n *{client.pid} ")
        self.assertTrue(all(len(line) <= 80 for line in run.stdout.decode().splitlines()))

    def test_a_stream_of_objects(self):
        server = self.ready_daemon()
        client = self.start_long(server)
        with subprocess.Popen(server.seek_command("top", "--json", "--interval", "0.1"), stdout=subprocess.PIPE) as top:
            objects = [json.loads(top.stdout.readline()) for _ in range(4)]
            top.kill()
        status = server.status()
        for i, o in enumerate(objects):
            self.assertEqual(set(o), set(status) | {"rates"})
            self.assertEqual(set(o["rates"]), set(RATES))
            self.assertEqual([r["pid"] for r in o["requests"]], [client.pid])
            self.assertEqual(i > 0, all(o["rates"][name] is not None for name in RATES))
            classes = {c["class"]: c for c in o["classes"]}
            self.assertEqual(list(classes), ["interactive", "turn", "agent", "background"])
            self.assertEqual((classes["turn"]["running"], classes["agent"]["first_token"]["p50_ms"]), (1, None))
            if i > 0:
                self.assertIn(classes["turn"]["share"], (1, None))  # None: no step in between
                self.assertGreaterEqual(classes["turn"]["token"]["p95_ms"], classes["turn"]["token"]["p50_ms"])
        # The rates are the differences of the totals.
        for before, now in zip(objects, objects[1:]):
            seconds = (now["uptime_ms"] - before["uptime_ms"]) / 1000
            self.assertAlmostEqual(now["rates"]["seconds"], seconds, places=3)
            generated = now["totals"]["generated_tokens"] - before["totals"]["generated_tokens"]
            self.assertAlmostEqual(now["rates"]["decode_tokens_per_second"], generated / seconds, delta=0.01 * generated)
        self.assertTrue(any(o["requests"][0]["tokens_per_second"] for o in objects[1:]))

    def test_a_stream_outlives_the_daemon(self):
        server = self.ready_daemon()
        with subprocess.Popen(server.seek_command("top", "--json", "--interval", "0.1"), stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL) as top:
            self.assertIn("rates", json.loads(top.stdout.readline()))
            server.stop()
            harness.wait_until(lambda: "error" in json.loads(top.stdout.readline()), "the stream says so")
            self.ready_daemon()
            harness.wait_until(lambda: json.loads(top.stdout.readline()).get("model_ready"), "it goes on")
            top.kill()

    def test_one_object(self):
        run = self.ready_daemon().seek("top", "--once", "--json", "--interval", "0.1")
        self.assertIsNotNone(json.loads(run.stdout)["rates"]["steps_per_second"])

    def test_refusals(self):
        server = self.ready_daemon()
        for options, words in (((), b"needs a terminal"), (("--once", "--interval", "0.05"), b"--interval"),
                               (("--interval", "3601"), b"--interval"), (("--interval", "x"), b"--interval"),
                               (("more",), b"'more'")):
            run = server.seek("top", *options)
            self.assertEqual((run.returncode, run.stdout), (1, b""))
            self.assertIn(words, run.stderr)
        server.stop()
        self.assertEqual(server.seek("top", "--once").returncode, 3)


if __name__ == "__main__":
    harness.main()
