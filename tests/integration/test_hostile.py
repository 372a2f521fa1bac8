#!/usr/bin/env python3
"""Clients that break the rules: each loses its connection or gets an error, and nobody else notices."""

import re
import signal

import harness

# What the daemon must say to each deed (a regular expression over the whole answer).
VIOLATIONS = {
    "huge-record": r"error -\d+: .*(len|long|bytes).*",
    "record-over-a-quarter": r"error -\d+: .*",
    "half-record": r"error -\d+: .*",
    "must-understand": r"error -\d+: record type 99 is unknown and marked MUST_UNDERSTAND",
    "head-backwards": r"error -\d+: .*head.*",
    "head-beyond-the-ring": r"error -\d+: .*head.*",
    "head-unaligned": r"error -\d+: .*head.*",
    "wrong-sequence": r"error -\d+: .*seq.*",
    "false-pad": r"error -\d+: .*(?i:pad).*",
    "fragment-without-first": r"error -\d+: .*",
    "tail-beyond-what-was-sent": r"error -\d+: .*tail.*",
    "bulk-that-is-not-sealed": r"error -\d+: .*seal.*",
    "bulk-of-another-size": r"error -\d+: .*(size|bytes).*",
    "bulk-that-is-a-pipe": r"error -\d+: .*",
    "second-hello": r"error -\d+: .*",
    "unknown-frame": r"error -\d+: .*",
}

REFUSALS = {
    "short-hello": r"refused 2 .*",
    "garbage-hello": r"refused 2 .*",
    "future-version": r"refused 1 1 0 0: .*",
    "silence": r"refused 2 .*",
    "record-before-hello": r"refused 2 .*",
}

# One bad message among good ones: an Error, and the connection goes on.
ANSWERS = {
    "unknown-type": r"answered 3: record type 99 is not known",
    "daemons-own-type": r"answered 3: .*131.*",
    "malformed-message": r"answered 1: .*byte \d+.*",
    "deep-nesting": r"answered 1: .*",
    "many-fields": r"answered 1: .*fields.*",
    "id-of-another-stream": r"answered 1: request_id: is 6.*\(5\)",
    "same-id-twice": r"answered 7: request_id: 5 is in use.*",
    "session-of-nobody": r"answered 6: session: this user has none with the id ffffffffffffffff",
    "more-sessions-than-one-user-may-have": r"answered 4: this user has 1024 sessions, the limit: .*",
    "more-requests-than-slots": r"answered 4: 32 requests are queued or running on this connection.*",
}


class Hostile(harness.DaemonTest):
    def setUp(self):
        super().setUp()
        self.server = self.ready_daemon()
        self.expected = self.server.complete()
        self.assertTrue(self.expected)

    def tearDown(self):
        # In peace: under a sanitizer, this is when leaks are told.
        self.server.signal(signal.SIGTERM)
        self.assertEqual(self.server.wait(), 0, self.server.log())

    def assert_unharmed(self, deed):
        self.assertTrue(self.server.alive(), f"the daemon died of {deed}:\n{self.server.log()}")
        self.assertEqual(self.server.complete(), self.expected, deed)

    def commit(self, deeds):
        for deed, answer in deeds.items():
            with self.subTest(deed):
                said = self.server.hostile(deed)
                self.assertTrue(re.fullmatch(answer, said), f"{deed}: {said!r} is not {answer!r}")
                self.assert_unharmed(deed)

    def test_a_broken_handshake_is_refused_with_the_supported_versions(self):
        self.commit(REFUSALS)

    def test_a_broken_ring_closes_the_connection_and_says_why(self):
        self.commit(VIOLATIONS)
        self.assertRegex(self.server.log(), r"warning: connection closed: .* PEER_UID=\d+ PEER_PID=\d+")
        harness.wait_until(lambda: self.server.status()["now"]["connections"] == 1, "the closed connections are gone")

    def test_violations_of_one_user_are_logged_once_a_second(self):
        for _ in range(20):
            self.server.hostile("head-unaligned")
        lines = self.server.log().count("warning: connection closed")
        self.assertLess(lines, 20)
        self.assertGreaterEqual(lines, 1)

    def test_a_bad_message_is_answered_with_an_error(self):
        self.commit(ANSWERS)

    def test_memory_changed_while_it_is_read(self):
        for _ in range(5):
            said = self.server.hostile("memory-flipped-while-read")
            self.assertTrue(said.startswith("error -") or said == "survived", said)
            self.assert_unharmed("memory-flipped-while-read")

    def test_death_with_half_a_record(self):
        self.assertEqual(self.server.hostile("die-holding-half-a-record"), "died")
        self.assert_unharmed("die-holding-half-a-record")

    def test_a_client_that_never_reads_is_paused_and_nobody_else(self):
        with self.server.hostile_running("never-read") as client:
            def all_paused():
                phases = [r["phase"] for r in self.server.status()["requests"] if r["pid"] == client.pid]
                return len(phases) == 32 and set(phases) == {"paused"}
            # As many as may run at once.
            harness.wait_until(all_paused, "its 32 streams are paused")
            self.assert_unharmed("never-read")
        harness.wait_until(lambda: self.server.status()["requests"] == [], "its requests are gone")
        self.assert_unharmed("never-read")

    def test_floods_do_not_stop_others(self):
        for deed in ("flood-with-kicks", "flood-with-requests"):
            with self.subTest(deed), self.server.hostile_running(deed):
                for _ in range(3):
                    self.assert_unharmed(deed)


if __name__ == "__main__":
    harness.main()
