#!/usr/bin/env python3
"""Clients that want too much: each is told the limit, by number, and a neighbour of another user notices nothing."""

import os
import re
import subprocess
import threading
import unittest

import harness

FLOODER = os.environ["FLOODER"]

# Of no user on any machine that matters; the kernel does not ask. Two, so that one's quota is not the other's.
FLOOD_UID, NEIGHBOUR_UID = 54321, 54322

# More than fit the largest rings: else their limit would never be met.
CONFIG = "[server]\nconnections_per_uid = 150\n"

# What a deed is told (a regular expression over the whole of it).
REFUSALS = {
    "connections": r".*: this user has 150 connections, the limit is 150 \(connections_per_uid in seekd\.conf\).*",
    "half-open": r"this user has 16 connections without HELLO, the limit is 16",
    "large-rings": r"this user's connections have rings of \d+ bytes, at most 67108864",
    "requests": r"128 requests are queued or running for this user, the limit",
    "request-bytes": r"requests of \d+ bytes wait for this user, at most 67108864 may",
    "million-tokens": r"prompt: \d+ tokens do not fit the model's context of \d+, at most \d+ leave room for an answer",
    "forks": r"this user has 1024 sessions, the limit: close some with `forget`",
    "sessions": r"this user has 1024 sessions, the limit: close some with `forget`",
}

# What goes on until it is killed.
FLOODS = ["long-prompts", "agents", "keystrokes", "absurd-class", "everything"]
HOSTILE_FLOODS = ["never-read", "flood-with-kicks", "flood-with-requests"]


class Neighbour(threading.Thread):
    """Asks again and again for the same, as another user, until stopped: notes every answer that is not as expected."""

    def __init__(self, server, user, expected):
        super().__init__()
        self.server, self.user, self.expected = server, user, expected
        self.ending = threading.Event()
        self.n_answers, self.complaints = 0, []

    def run(self):
        while not self.ending.is_set():
            run = self.server.seek("complete", "--max-tokens", "40", stdin=harness.PROMPT, user=self.user)
            if run.returncode != 0 or run.stdout != self.expected:
                self.complaints.append(run)
            self.n_answers += 1

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *exception):
        self.ending.set()
        self.join()


def can_be_reached_by_others():
    """Root may be anybody, but nobody else may get at a build below a closed folder."""
    if os.geteuid() != 0:
        return False
    probe = subprocess.run([harness.SEEK, "--help"], capture_output=True, user=FLOOD_UID, check=False)
    return probe.returncode == 0


# Under a thread checker, ten times slower, two CPUs do not bring a neighbour's hello through a flood within its second;
# other tests run the same threads.
@unittest.skipIf(len(harness.MODELS) == 1, "needs a daemon at its usual speed")
@unittest.skipUnless(can_be_reached_by_others(), "needs root, and programs that other users may run")
class Flood(harness.DaemonTest):
    def setUp(self):
        super().setUp()
        self.server = self.ready_daemon(model=harness.MODEL_SEED, config=CONFIG)
        self.expected = self.server.complete()
        os.chmod(self.folder, 0o755)
        os.chmod(self.server.socket, 0o666)

    def flooder(self, deed, program=FLOODER):
        return subprocess.Popen([program, self.server.socket, deed], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                text=True, user=FLOOD_UID)

    def refused(self, deed):
        with self.flooder(deed) as client:
            said, complaint = client.communicate(timeout=harness.PATIENCE_S)
        self.assertEqual(client.returncode, 0, f"{deed}: {complaint}\n{self.server.log()}")
        return said.strip()

    def assert_unharmed(self, neighbour, deed):
        """Three answers from now on."""
        enough = neighbour.n_answers + 3
        harness.wait_until(lambda: neighbour.n_answers >= enough or neighbour.complaints, f"answers during {deed}")
        self.assertEqual(neighbour.complaints, [], f"{deed}\n{self.server.log()}")

    def test_a_refusal_names_the_limit_and_the_neighbour_is_never_refused(self):
        with Neighbour(self.server, NEIGHBOUR_UID, self.expected) as neighbour:
            for deed, words in REFUSALS.items():
                with self.subTest(deed):
                    said = self.refused(deed)
                    self.assertTrue(re.fullmatch(words, said), f"{deed}: {said!r} is not {words!r}")
                    self.assert_unharmed(neighbour, deed)

    def test_a_flood_stops_no_neighbour(self):
        programs = [(FLOODER, deed) for deed in FLOODS] + [(harness.HOSTILE, deed) for deed in HOSTILE_FLOODS]
        with Neighbour(self.server, NEIGHBOUR_UID, self.expected) as neighbour:
            for program, deed in programs:
                with self.subTest(deed), self.flooder(deed, program) as client:
                    try:
                        self.assertEqual(client.stdout.readline(), "waiting\n")
                        self.assert_unharmed(neighbour, deed)
                        self.assertIsNone(client.poll(), f"{deed} ended by itself")
                    finally:
                        client.kill()
                harness.wait_until(lambda: self.n_requests_of(client.pid) == 0, f"the requests of {deed} are gone")

    def n_requests_of(self, pid):
        return sum(r["pid"] == pid for r in self.server.status()["requests"])

    def test_refused_connections_do_not_fill_the_log(self):
        for _ in range(10):
            self.refused("large-rings")
        lines = self.server.log().count("connection refused")
        self.assertGreaterEqual(lines, 1)
        self.assertLess(lines, 20)


if __name__ == "__main__":
    harness.main()
