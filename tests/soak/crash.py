#!/usr/bin/env python3
"""kill -9 of the daemon at any moment, under load: every start after it is clean, no client ever gets a wrong token, and
little work is lost. SEEKD_TEST_KILLS says how often, SEEKD_TEST_SEED which."""

import concurrent.futures
import json
import os
import random
import re
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "integration"))
import harness  # noqa: E402: takes its arguments from the command line

CLIENT = sys.argv.pop(1)
KILLS = int(os.environ.get("SEEKD_TEST_KILLS", "20"))
SEED = int(os.environ.get("SEEKD_TEST_SEED", "1"))

CONVERSATIONS = 6
AT_ONCE = 4
# Seconds of work for nano, so that there is more to lose than what is kept each second.
GENERATED = 3000

# What each of the daemon's processes may say above "info"; the rest is a complaint about what it found.
COMPLAINT = re.compile(r"^seekd: (warning|error|critical): .*$", re.MULTILINE)


def run_client(server, ids, seed, n, subject):
    client = subprocess.run([CLIENT, server.socket, str(seed), str(n), subject], input=" ".join(map(str, ids)),
                            capture_output=True, text=True, check=True)
    return json.loads(client.stdout)


class Conversation:
    """A prompt, the tokens that must follow, and how far it got."""

    def __init__(self, number, prompt, expected):
        self.number, self.prompt, self.expected = number, prompt, expected
        self.begin_anew(0)

    def begin_anew(self, life):
        self.subject = f"{self.number}.{life}"
        self.life = life
        self.n = 0            # tokens that a client has
        self.sights = []      # of the last run: milliseconds, tokens computed

    def go_on(self, server):
        """As a client does that was cut off: what it has is its prompt."""
        ids = self.prompt + self.expected[:self.n]
        return run_client(server, ids, self.number, GENERATED - self.n, self.subject)


def together(conversations, server):
    with concurrent.futures.ThreadPoolExecutor(len(conversations)) as pool:
        return list(pool.map(lambda c: c.go_on(server), conversations))


class Crash(harness.DaemonTest):
    def setUp(self):
        super().setUp()
        self.random = random.Random(SEED)
        self.runs = self.tokens = self.wrong = self.regressions = 0
        self.lost_ms = self.lost_tokens = 0
        self.complaints = []

    def make_conversations(self):
        """What a daemon says of which nothing is kept and that nobody kills."""
        with open(harness.__file__, encoding="utf-8") as f:
            text = f.read()
        server = self.ready_daemon(config="[memory]\nhost_kv = 0\n")
        prompts = []
        for _ in range(CONVERSATIONS):
            start = self.random.randrange(len(text) // 2)
            piece = text[:500] + text[start:start + self.random.randrange(200, 2500)]
            run = server.seek("tokenize", "--bos", "--json", stdin=piece.encode())
            prompts.append(json.loads(run.stdout)["tokens"])
        found = [Conversation(number, prompt, []) for number, prompt in enumerate(prompts)]
        for conversation, answer in zip(found, together(found, server)):
            self.assertEqual(answer["code"], 0)
            conversation.expected = answer["tokens"]
        server.signal(signal.SIGTERM)
        server.wait()
        os.remove(server.log_path)
        return found

    def judge(self, conversation, answer):
        """What came of a run that the daemon's death may have ended."""
        expected = conversation.expected[conversation.n:conversation.n + len(answer["tokens"])]
        self.wrong += answer["tokens"] != expected
        self.tokens += len(answer["tokens"])
        if answer["cached"] < 0:
            return
        if conversation.sights:
            self.count_lost(conversation.sights, answer["cached"])
        conversation.n += len(answer["tokens"])
        first_ms = answer["sights"][0][0] if answer["sights"] else 0
        conversation.sights = [[first_ms, answer["cached"]], *answer["sights"]]
        if conversation.n == len(conversation.expected):
            conversation.begin_anew(conversation.life + 1)

    def count_lost(self, before, kept):
        """The time between the last work that a client saw and the work that was still there."""
        self.runs += 1
        end_ms, end = before[-1]
        if kept >= end:
            return
        self.regressions += kept < before[0][1]
        kept_ms = max((ms for ms, n in before if n <= kept), default=before[0][0])
        self.lost_ms = max(self.lost_ms, end_ms - kept_ms)
        self.lost_tokens = max(self.lost_tokens, end - kept)

    def start(self):
        """A daemon on what the last one left."""
        return self.daemon(config="[memory]\nhost_kv = 16M\n", options=("--state", os.path.join(self.folder, "state")))

    def end(self, server):
        server.signal(signal.SIGKILL)
        server.wait()
        self.complaints += COMPLAINT.findall(server.log())
        os.remove(server.log_path)

    def one_life(self, conversations):
        server = self.start()
        if self.random.random() < 0.1:
            time.sleep(self.random.uniform(0, 0.2))  # it may not have got to its socket
        else:
            server.wait_ready()
            chosen = self.random.sample(conversations, AT_ONCE)
            with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
                runs = [pool.submit(c.go_on, server) for c in chosen]
                concurrent.futures.wait(runs, timeout=self.random.uniform(0.01, 1.5))
                self.end(server)
                for conversation, run in zip(chosen, runs):
                    self.judge(conversation, run.result())
            return
        self.end(server)

    def test_kill(self):
        print(f"seed {SEED}, {KILLS} kills")
        conversations = self.make_conversations()
        for i in range(1, KILLS + 1):
            self.one_life(conversations)
            if i % 10 == 0:
                print(f"{i} of {KILLS} kills", file=sys.stderr, flush=True)
        server = self.start()
        server.wait_ready()
        for conversation, answer in zip(conversations, together(conversations, server)):
            self.assertEqual(answer["code"], 0)
            self.judge(conversation, answer)
        self.end(server)
        print("result " + json.dumps({
            "kills": KILLS, "resumed": self.runs, "tokens": self.tokens, "wrong_outputs": self.wrong,
            "complaints": len(self.complaints), "kept_work_lost": self.regressions,
            "lost_ms_max": round(self.lost_ms), "lost_tokens_max": self.lost_tokens}))
        self.assertEqual(self.complaints, [])
        self.assertEqual(self.wrong, 0)
        self.assertEqual(self.regressions, 0)
        self.assertGreater(self.runs, KILLS)


if __name__ == "__main__":
    harness.main()
