#!/usr/bin/env python3
"""Sessions: exactly the tokens that were sent, whatever happens to the daemon."""

import json
import os
import signal
import subprocess
import unittest

import harness

NOTHING_KEPT = "[memory]\nhost_kv = 0\n"
TEXTS = ["static int count(const char *text)\n{\n", "\n}\n\nint main(void)\n{\n", "}\n"]


class Sessions(harness.DaemonTest):
    def sessions(self, server, *args, stdin=b"", expect=0):
        run = server.seek("sessions", *args, "--json", stdin=stdin)
        self.assertEqual(run.returncode, expect, run.stderr.decode() + server.log())
        return json.loads(run.stdout)

    def refused(self, server, *args, stdin=b""):
        """What the daemon has against it."""
        return self.sessions(server, *args, stdin=stdin, expect=2)["error"]["message"]

    def open(self, server, *args):
        return self.sessions(server, "open", *args)["session"]

    def forget(self, server, session):
        self.sessions(server, "close", session, "--forget")

    def listed(self, server, session):
        entries = [s for s in self.sessions(server, "list")["sessions"] if s["session"] == session]
        return entries[0] if entries else None

    def length(self, server, session):
        return self.listed(server, session)["tokens"]

    def wait_durable(self, server, session):
        harness.wait_until(lambda: self.listed(server, session)["durable"], "the session is on disk")

    def turn(self, server, session, text, seed=1, max_tokens=12):
        """Sampled, so that a difference in any logit can change the tokens."""
        run = server.seek("complete", "--session", session, "--json", "--max-tokens", str(max_tokens),
                          "--temperature", "1", "--seed", str(seed), stdin=text.encode())
        self.assertEqual(run.returncode, 0, run.stderr.decode() + server.log())
        return json.loads(run.stdout)

    def tokenize(self, server, text):
        run = server.seek("tokenize", "--json", stdin=text.encode())
        self.assertEqual(run.returncode, 0, run.stderr)
        return json.loads(run.stdout)["tokens"]

    def append_ids(self, server, session, ids):
        return self.sessions(server, "append", session, "--ids", stdin=json.dumps(ids).encode())

    def answer_to_ids(self, server, ids, seed):
        """What the model writes behind exactly these."""
        session = self.open(server)
        self.append_ids(server, session, ids)
        answer = self.turn(server, session, "", seed=seed)
        self.forget(server, session)
        return answer["tokens"]

    def conversation(self, server, before_turn=lambda i, session: None):
        """Takes turns; returns session, all of its ids, and of each turn the ids before and the answer."""
        session = self.open(server)
        ids = [server.status()["model"]["bos_token"]]
        turns = []
        for i, text in enumerate(TEXTS):
            server = before_turn(i, session) or server
            answer = self.turn(server, session, text, seed=i)
            ids += self.tokenize(server, text)
            self.assertEqual(answer["usage"]["prompt_tokens"], len(ids))
            self.assertEqual(answer["usage"]["generated_tokens"], len(answer["tokens"]))
            turns.append((list(ids), answer["tokens"]))
            ids += answer["tokens"]
            self.assertEqual(self.length(server, session), len(ids))
        return server, session, ids, turns

    def assert_as_computed_anew(self, turns, model):
        """The same daemon's folder, but nothing kept: each answer again, from all its ids at once."""
        plain = self.ready_daemon(model=model, config=NOTHING_KEPT)
        for i, (ids, answer) in enumerate(turns):
            self.assertEqual(self.answer_to_ids(plain, ids, i), answer, f"turn {i}")
        self.finish(plain)

    def finish(self, server, number=signal.SIGTERM):
        server.signal(number)
        status = server.wait()
        if number == signal.SIGTERM:
            self.assertEqual(status, 0, server.log())
        os.remove(server.log_path)


class Turns(Sessions):
    def test_turns_equal_one_prompt(self):
        for model in harness.MODELS:
            with self.subTest(model=os.path.basename(model)):
                server, _, _, turns = self.conversation(self.ready_daemon(model=model))
                self.finish(server)
                self.assert_as_computed_anew(turns, model)

    def test_a_session_survives_kill_9(self):
        arguments = {"options": ("--state", os.path.join(self.folder, "state"))}

        def kill_and_start(i, session):
            if i == 0:
                return None
            self.wait_durable(self.server, session)
            self.finish(self.server, signal.SIGKILL)
            self.server = self.ready_daemon(**arguments)
            return self.server

        self.server = self.ready_daemon(**arguments)
        server, _, _, turns = self.conversation(self.server, kill_and_start)
        self.finish(server)
        self.assert_as_computed_anew(turns, harness.MODEL_NANO)

    def test_a_session_survives_a_stop_at_once(self):
        arguments = {"options": ("--state", os.path.join(self.folder, "state"))}
        server = self.ready_daemon(**arguments)
        session = self.open(server, "--subject", "the tenant")
        answer = self.turn(server, session, TEXTS[0])
        gone = self.open(server)
        self.forget(server, gone)
        self.finish(server)
        server = self.ready_daemon(**arguments)
        entry = self.listed(server, session)
        self.assertEqual(entry["tokens"], answer["usage"]["prompt_tokens"] + len(answer["tokens"]))
        self.assertEqual(entry["subject"], "the tenant")
        self.assertTrue(entry["durable"])
        self.assertIsNone(self.listed(server, gone))
        again = self.turn(server, session, TEXTS[1])
        self.assertGreater(again["usage"]["cached_tokens"], 0)

    def test_without_a_state_folder_a_session_ends_with_the_daemon(self):
        server = self.ready_daemon()
        session = self.open(server)
        self.turn(server, session, TEXTS[0])
        self.assertFalse(self.listed(server, session)["durable"])
        self.finish(server)
        server = self.ready_daemon()
        self.assertIn("this user has none", self.refused(server, "append", session, stdin=b"x"))


class Order(Sessions):
    def start(self, server, session, max_tokens):
        """A long answer under way."""
        client = server.start_seek("complete", "--session", session, "--json", "--max-tokens", str(max_tokens),
                                   stdin=TEXTS[0].encode())
        harness.wait_until(lambda: self.listed(server, session)["running"], "the session is in use")
        return client

    def test_what_is_sent_meanwhile_waits(self):
        server = self.ready_daemon()
        session = self.open(server)
        client = self.start(server, session, 300)
        tokens = self.sessions(server, "append", session, stdin=b"int")["tokens"]
        output, _ = client.communicate()
        answer = json.loads(output)
        before = answer["usage"]["prompt_tokens"] + len(answer["tokens"])
        self.assertEqual(tokens, before + len(self.tokenize(server, "int")))

    def test_what_waits_for_a_session_that_is_forgotten_is_told(self):
        server = self.ready_daemon()
        session = self.open(server)
        client = self.start(server, session, 0)

        def start_waiting(*args, stdin=b""):
            waiting = server.start_seek("sessions", *args, stdin=stdin)
            harness.wait_until(lambda: any(c["pid"] == waiting.pid and c["queued"] == 1
                                           for c in server.status()["clients"]), "it waits")
            return waiting
        close = start_waiting("close", session, "--forget")
        append = start_waiting("append", session, stdin=b"int")
        client.send_signal(signal.SIGINT)
        client.communicate()
        self.assertEqual(close.communicate()[1], b"")
        self.assertEqual(close.returncode, 0)
        self.assertIn(b"this user has none with the id", append.communicate()[1])
        self.assertEqual(append.returncode, 2)
        self.assertIsNone(self.listed(server, session))

    def test_a_cancelled_answer_is_kept_as_far_as_it_came(self):
        server = self.ready_daemon()
        session = self.open(server)
        client = self.start(server, session, 0)
        harness.wait_until(lambda: any(r["generated_tokens"] > 3 for r in server.status()["requests"]), "it writes")
        client.send_signal(signal.SIGINT)
        output, _ = client.communicate()
        answer = json.loads(output)
        self.assertEqual(answer["finish"], "cancelled")
        self.assertGreater(len(answer["tokens"]), 3)
        tokens = self.sessions(server, "append", session, stdin=b"int")["tokens"]
        self.assertEqual(tokens, answer["usage"]["prompt_tokens"] + len(answer["tokens"]) +
                         len(self.tokenize(server, "int")))

    def test_a_client_that_dies_leaves_what_was_written(self):
        server = self.ready_daemon()
        session = self.open(server)
        client = self.start(server, session, 0)
        client.kill()
        client.communicate()
        tokens = self.sessions(server, "append", session, stdin=b"int")["tokens"]
        self.assertGreater(tokens, len(self.tokenize(server, TEXTS[0])))
        self.assertFalse(self.listed(server, session)["running"])


class Changes(Sessions):
    def test_forks_and_rewinds(self):
        server, session, ids, turns = self.conversation(self.ready_daemon())
        before, answer = turns[1]
        fork = self.sessions(server, "fork", session, "--at", str(len(before)))
        self.assertEqual(fork["tokens"], len(before))
        self.assertEqual(self.turn(server, fork["session"], "", seed=1)["tokens"], answer)
        whole = self.sessions(server, "fork", session)
        self.assertEqual(whole["tokens"], len(ids))
        self.assertEqual(self.length(server, session), len(ids))
        rewound = self.sessions(server, "rewind", session, "--at", str(len(before)))
        self.assertEqual(rewound["tokens"], len(before))
        self.assertEqual(self.turn(server, session, "", seed=1)["tokens"], answer)
        self.assertEqual(self.length(server, whole["session"]), len(ids))

    def test_pins_are_remembered(self):
        server = self.ready_daemon()
        session = self.open(server)
        self.sessions(server, "append", session, stdin=b"int")
        self.sessions(server, "pin", session)
        self.assertTrue(self.listed(server, session)["pinned"])
        self.sessions(server, "unpin", session)
        self.assertFalse(self.listed(server, session)["pinned"])

    def check_pinned(self, server, restart=None):
        """Of two sessions, the pinned one is still kept after prompts that need all the room."""
        texts = [f"/* {name} */\n" + TEXTS[0] * 12 for name in ("pinned", "other")]
        pinned, other = (self.open(server) for _ in texts)
        for session, text in zip((pinned, other), texts):
            self.turn(server, session, text)
        self.sessions(server, "pin", pinned)
        for session in (pinned, other):
            self.turn(server, session, TEXTS[1])
        server = restart(server, pinned) if restart else server
        for i in range(40):
            server.complete(prompt=(f"/* {i} */\n" + TEXTS[1] * 16).encode())
        reused = [self.turn(server, session, "x")["cache"]["tokens_reused"] for session in (pinned, other)]
        tokens = self.length(server, pinned)
        print(f"of {tokens} tokens reused: {reused[0]} pinned, {reused[1]} not pinned")
        self.assertGreater(reused[0], tokens - 128 - 40)
        self.assertLess(reused[1], reused[0])
        return server, pinned

    def test_what_is_pinned_stays_in_memory(self):
        server = self.ready_daemon(config="[memory]\nhost_kv = 512K\n")
        server, pinned = self.check_pinned(server)
        self.sessions(server, "unpin", pinned)
        self.sessions(server, "pin", pinned)
        self.forget(server, pinned)
        self.finish(server)

    def test_what_is_pinned_stays_on_disk_over_a_restart(self):
        arguments = {"config": "[memory]\nhost_kv = 128K\ndisk_kv = 256K\n",
                     "options": ("--state", os.path.join(self.folder, "state"))}

        def restart(server, session):
            self.wait_durable(server, session)
            self.finish(server, signal.SIGKILL)
            return self.ready_daemon(**arguments)
        self.check_pinned(self.ready_daemon(**arguments), restart)

    def test_closing_keeps_and_forgetting_deletes(self):
        server = self.ready_daemon()
        session = self.open(server)
        self.sessions(server, "close", session)
        self.assertIsNotNone(self.listed(server, session))
        self.forget(server, session)
        self.assertIsNone(self.listed(server, session))
        self.assertIn(f"none with the id {session}", self.refused(server, "pin", session))


@unittest.skipIf(os.geteuid() != 0, "only root can be two users")
class TwoUsers(Sessions):
    OTHER = 12345

    def as_other(self, server, *args, stdin=b""):
        run = subprocess.run(server.seek_command(*args), input=stdin, capture_output=True, user=self.OTHER,
                             group=self.OTHER, extra_groups=[], timeout=harness.PATIENCE_S)
        if run.returncode == 3:
            self.skipTest("the other user cannot reach the socket")
        return run

    def test_another_users_sessions_do_not_exist(self):
        server = self.ready_daemon()
        os.chmod(self.folder, 0o711)
        os.chmod(server.socket, 0o666)
        mine = self.open(server)
        self.turn(server, mine, TEXTS[0])
        self.sessions(server, "remember", "key", stdin=b"5 6")
        never = f"{int(mine, 16) ^ 1:016x}"
        try:
            said = [self.as_other(server, "sessions", "pin", session) for session in (mine, never)]
        except PermissionError:
            self.skipTest("the other user cannot run seek")
        for run, session in zip(said, (mine, never)):
            self.assertEqual(run.returncode, 2)
            self.assertEqual(run.stderr.decode(), f"seek: session: this user has none with the id {session}\n")
        self.assertEqual(self.as_other(server, "complete", "--session", mine, stdin=b"x").returncode, 2)
        self.assertIn(b"nothing is remembered", self.as_other(server, "sessions", "recall", "key").stderr)
        theirs = json.loads(self.as_other(server, "sessions", "open", "--json").stdout)["session"]
        listed = json.loads(self.as_other(server, "sessions", "list", "--all", "--json").stdout)["sessions"]
        self.assertEqual([s["session"] for s in listed], [theirs])
        self.assertEqual(len(self.sessions(server, "list")["sessions"]), 1)
        everybodys = self.sessions(server, "list", "--all")["sessions"]
        self.assertEqual({s["session"]: s["uid"] for s in everybodys}, {mine: 0, theirs: self.OTHER})


class Remembering(Sessions):
    IDS = [5, 6, 7, 300] * 100

    def remember(self, server, key, ids, *args):
        self.sessions(server, "remember", key, *args, stdin=json.dumps(ids).encode())

    def recall(self, server, key, *args):
        return self.sessions(server, "recall", key, *args)["tokens"]

    def test_exactly_the_ids_come_back(self):
        arguments = {"options": ("--state", os.path.join(self.folder, "state"))}
        server = self.ready_daemon(**arguments)
        self.remember(server, "call-17", self.IDS)
        self.remember(server, "call-17", [9], "--subject", "other")
        self.remember(server, "key", [1])
        self.remember(server, "key", [2, 3])
        for number in (signal.SIGTERM, None):
            self.assertEqual(self.recall(server, "call-17"), self.IDS)
            self.assertEqual(self.recall(server, "call-17", "--subject", "other"), [9])
            self.assertEqual(self.recall(server, "key"), [2, 3])
            self.assertIn("key: nothing is remembered under it", self.refused(server, "recall", "call"))
            self.assertEqual(self.sessions(server, "list")["sessions"], [])
            if number:
                self.finish(server, number)
                server = self.ready_daemon(**arguments)

    def test_with_its_session_it_is_forgotten(self):
        server = self.ready_daemon()
        session = self.open(server)
        self.remember(server, "tied", self.IDS, "--with", session)
        self.remember(server, "free", self.IDS)
        self.assertEqual(self.recall(server, "tied"), self.IDS)
        self.forget(server, session)
        self.assertIn("nothing is remembered", self.refused(server, "recall", "tied"))
        self.assertEqual(self.recall(server, "free"), self.IDS)

    def test_what_cannot_be_is_refused(self):
        server = self.ready_daemon()
        self.assertIn("key: 257 bytes", self.refused(server, "recall", "k" * 257))
        self.assertIn("key: 0 bytes", self.refused(server, "remember", "", stdin=b"1"))
        self.assertIn("tokens.ids: is empty", self.refused(server, "remember", "k", stdin=b""))
        self.assertIn("is unknown", self.refused(server, "remember", "k", stdin=b"4294967295"))
        self.assertIn("none with the id", self.refused(server, "remember", "k", "--with", "12", stdin=b"1"))


class Refusals(Sessions):
    def test_each_says_what_is_wrong(self):
        server = self.ready_daemon()
        model = server.status()["model"]
        bos, context = model["bos_token"], model["context_tokens"]
        session = self.open(server)
        refused = lambda *args, **kw: self.refused(server, *args, **kw)  # noqa: E731
        self.assertIn("none with the id", refused("fork", "1"))
        self.assertIn("starts with BOS", refused("append", session, "--ids", stdin=b"[5, 6]"))
        self.assertIn("token id 4294967295 is unknown", refused("append", session, "--ids", stdin=b"4294967295"))
        self.assertIn("text: is empty", refused("append", session, stdin=b""))
        self.assertIn("position: is 0", refused("rewind", session, "--at", "0"))
        self.append_ids(server, session, [bos, 5, 6])
        self.append_ids(server, session, [5])  # no BOS any more
        self.assertIn("position: is 5, the session has 4 tokens", refused("rewind", session, "--at", "5"))
        self.assertIn("position: is 18446744073709551615", refused("fork", session, "--at", "18446744073709551615"))
        self.assertIn(f"context of {context}", refused("append", session, "--ids",
                                                         stdin=json.dumps([5] * (context - 3)).encode()))
        self.append_ids(server, session, [5] * (context - 4))
        run = server.seek("complete", "--session", session, "--json")
        self.assertEqual(run.returncode, 2)
        self.assertIn("context", run.stderr.decode())
        self.assertEqual(self.length(server, session), context)
        self.assertIn("subject: 129 bytes", refused("open", "--subject", "x" * 129))

    def test_an_empty_session_has_nothing_to_go_on_with(self):
        server = self.ready_daemon()
        session = self.open(server)
        run = server.seek("complete", "--session", session, "--json")
        self.assertEqual(run.returncode, 2)
        self.assertIn("prompt: one of text", run.stderr.decode())


if __name__ == "__main__":
    harness.main()
