#!/usr/bin/env python3
"""The shell tool against a daemon without a model. Usage: test_seek.py SEEK FAKE_SEEKD"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import unittest

SEEK, FAKE_SEEKD = sys.argv.pop(1), sys.argv.pop(1)


class Seek(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        self.socket = os.path.join(self.folder, "sock")

    @contextlib.contextmanager
    def daemon(self):
        with subprocess.Popen([FAKE_SEEKD, self.socket], stdout=subprocess.PIPE, text=True) as daemon:
            self.assertEqual(daemon.stdout.readline(), "ready\n")
            try:
                yield
            finally:
                daemon.kill()
                daemon.wait()
                with contextlib.suppress(FileNotFoundError):  # it may have removed it itself
                    os.unlink(self.socket)

    def seek(self, *args, stdin=b""):
        return subprocess.run([SEEK, *args, "--socket", self.socket], input=stdin, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE)

    def seek_with_daemon(self, *args, stdin=b""):
        with self.daemon():
            return self.seek(*args, stdin=stdin)

    def file(self, name, text):
        path = os.path.join(self.folder, name)
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
        return path

    def test_a_completion_goes_to_standard_output_and_nothing_else(self):
        run = self.seek_with_daemon("complete", "--max-tokens", "5", stdin=b"hello world")
        self.assertEqual((run.returncode, run.stdout, run.stderr), (0, b"hello", b""))

    def test_a_completion_reads_a_file(self):
        run = self.seek_with_daemon("complete", self.file("a.c", "int x;"))
        self.assertEqual((run.returncode, run.stdout), (0, b"int x;"))

    def test_stats_go_to_standard_error(self):
        run = self.seek_with_daemon("complete", "--stats", "-", stdin=b"abc")
        self.assertEqual((run.returncode, run.stdout), (0, b"abc"))
        for word in (b"prompt:", b"generated:", b"first token after", b"cache:", b"the prompt differs from token 3"):
            self.assertIn(word, run.stderr)

    def test_json_is_one_object(self):
        run = self.seek_with_daemon("complete", "--json", stdin=b"abc")
        self.assertEqual(run.returncode, 0)
        result = json.loads(run.stdout)
        self.assertEqual((result["text"], result["tokens"], result["finish"]), ("abc", [97, 98, 99], "length"))
        self.assertEqual(result["usage"]["prompt_tokens"], 5)
        self.assertEqual(result["seed"], "77")
        self.assertEqual(result["timings"]["first_token_ms"], 12.5)
        self.assertEqual(result["cache"]["position"], 3)

    def test_a_gap_is_found_by_line_and_column(self):
        path = self.file("a.c", "one\ntwo\nthree\n")
        for args, expected in ((["--line", "2"], b"7|7"), (["--line", "2", "--column", "1"], b"4|10"),
                               (["--line", "4"], b"14|0")):
            run = self.seek_with_daemon("fim", path, *args)
            self.assertEqual((run.returncode, run.stdout), (0, expected), args)
        run = self.seek("fim", path, "--line", "9")
        self.assertEqual((run.returncode, run.stderr), (1, f"seek: {path}: has 4 lines, not 9\n".encode()))
        self.assertEqual(self.seek("fim", path, "--line", "2", "--column", "5").returncode, 1)

    def test_a_gap_is_found_by_marker_or_between_files(self):
        run = self.seek_with_daemon("fim", stdin=b"ab<FILL>cde")
        self.assertEqual((run.returncode, run.stdout), (0, b"2|3"))
        run = self.seek_with_daemon("fim", "--marker", "@@", stdin=b"ab@@cde")
        self.assertEqual((run.returncode, run.stdout), (0, b"2|3"))
        run = self.seek_with_daemon("fim", "--prefix-file", self.file("p", "1234"), "--suffix-file", self.file("s", "1"))
        self.assertEqual((run.returncode, run.stdout), (0, b"4|1"))
        self.assertEqual(self.seek("fim", stdin=b"no marker").returncode, 1)
        self.assertIn(b"more than once", self.seek("fim", stdin=b"<FILL><FILL>").stderr)

    def test_tokens_there_and_back(self):
        run = self.seek_with_daemon("tokenize", stdin=b"abc")
        self.assertEqual((run.returncode, run.stdout), (0, b"97 98 99\n"))
        run = self.seek_with_daemon("tokenize", "--json", stdin=b"abc")
        self.assertEqual(json.loads(run.stdout), {"tokens": [97, 98, 99], "n": 3})
        run = self.seek_with_daemon("tokenize", "--decode", stdin=b"[97, 98,\n99]")
        self.assertEqual((run.returncode, run.stdout), (0, b"abc"))
        run = self.seek_with_daemon("tokenize", "--decode", stdin=b"97 x")
        self.assertEqual((run.returncode, run.stderr), (2, b"seek: input: no token id at byte 3\n"))

    def test_the_status_shows_requests(self):
        run = self.seek_with_daemon("status", "--json")
        self.assertEqual(run.returncode, 0)
        status = json.loads(run.stdout)
        self.assertEqual(status["requests"][0]["pid"], 7)
        self.assertEqual(status["requests"][0]["phase"], "decode")
        self.assertEqual(status["model"]["fim"], True)
        run = self.seek_with_daemon("status")
        self.assertEqual(run.returncode, 0)
        self.assertIn(b"seekd 0.0.0", run.stdout)

    def test_wrong_usage_is_exit_code_1(self):
        for args in (["complete", "--max-tokens", "x"], ["complete", "--top-p", "2"], ["complete", "--class", "x"],
                     ["complete", "--nonsense"], ["complete", "a", "b"], ["fim", "--column", "3"], ["nonsense"],
                     ["status", "x"], ["complete"] + 17 * ["--stop", "a"]):
            run = self.seek(*args)
            self.assertEqual(run.returncode, 1, args)
            self.assertIn(b"seek", run.stderr)
            self.assertEqual(run.stdout, b"")

    def test_bad_input_is_exit_code_2_and_named(self):
        run = self.seek_with_daemon("complete", stdin=b"refuse this")
        self.assertEqual((run.returncode, run.stderr), (2, b"seek: prompt: too long by 3 tokens\n"))
        run = self.seek_with_daemon("complete", stdin=17 * b"a" + b"\xff")
        self.assertEqual((run.returncode, run.stderr), (2, b"seek: prompt: invalid UTF-8 at byte 17\n"))
        run = self.seek_with_daemon("complete", stdin=bytes(4 << 20) + b"a")
        self.assertEqual(run.returncode, 2)
        self.assertIn(b"4194304", run.stderr)
        run = self.seek("complete", "/nonexistent")
        self.assertEqual((run.returncode, run.stderr), (2, b"seek: /nonexistent: No such file or directory\n"))

    def test_no_daemon_is_exit_code_3(self):
        run = self.seek("status", "--json")
        self.assertEqual(run.returncode, 3)
        self.assertIn(self.socket.encode(), run.stderr)
        self.assertEqual(json.loads(run.stdout)["error"]["name"], "no daemon")

    def test_a_daemon_that_dies_is_exit_code_4_after_its_last_token(self):
        run = self.seek_with_daemon("complete", stdin=b"die")
        self.assertEqual((run.returncode, run.stdout), (4, b"last"))
        self.assertIn(b"connection lost", run.stderr)

    def test_an_interrupt_is_exit_code_130_and_keeps_what_came(self):
        with self.daemon():
            with subprocess.Popen([SEEK, "complete", "--socket", self.socket], stdin=subprocess.PIPE,
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE) as seek:
                seek.stdin.write(b"endless")
                seek.stdin.close()
                self.assertEqual(seek.stdout.read(3), b"xxx")
                seek.send_signal(signal.SIGINT)
                rest = seek.stdout.read()
                self.assertEqual(rest, len(rest) * b"x")
                self.assertEqual(seek.stderr.read(), b"")
                self.assertEqual(seek.wait(), 130)


unittest.main()
