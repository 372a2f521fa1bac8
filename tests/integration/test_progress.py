#!/usr/bin/env python3
"""What seek shows on a terminal while it waits: place in the queue, prompt, estimates; and nothing of it afterwards."""

import os
import re
import subprocess
import unittest

import harness
import terminal

ONE_PLACE = "[engine]\nrunning = 1\n"


class Progress(harness.DaemonTest):
    def hold(self, server, *options):
        """A request that has a place until it is killed."""
        with open(os.devnull, "wb") as nowhere:
            client = subprocess.Popen(server.seek_command("complete", "--max-tokens", "100000", *options),
                                      stdin=subprocess.PIPE, stdout=nowhere, stderr=subprocess.DEVNULL)
        client.stdin.write(harness.PROMPT)
        client.stdin.close()
        self.addCleanup(client.wait)
        self.addCleanup(client.kill)
        harness.wait_until(lambda: any(r["pid"] == client.pid and r["generated_tokens"] > 0
                                       for r in server.status()["requests"]), "the request runs")
        return client

    def file(self, text):
        path = os.path.join(self.folder, "prompt")
        with open(path, "wb") as f:
            f.write(text)
        return path

    def complete(self, server, *options, prompt=harness.PROMPT, **settings):
        command = server.seek_command("complete", *options, self.file(prompt))
        shown = terminal.Terminal(command, errors_too=True, **settings)
        self.addCleanup(shown.close)
        return shown

    def test_the_place_in_the_queue(self):
        server = self.ready_daemon(config=ONE_PLACE)
        expected = server.complete()
        holder = self.hold(server)
        first = self.complete(server, "--max-tokens", "40")
        first.wait_for(r"(?m)^waiting: place 1 in the queue, about [0-9]+ (s|min|h)$")
        second = self.complete(server, "--max-tokens", "40", "--class", "agent")
        second.wait_for(r"(?m)^waiting: place 2 in the queue, about [0-9]+ (s|min|h)$")
        holder.kill()
        for shown in (first, second):
            self.assertEqual(shown.wait_exit(), 0)
            self.assertNotIn("waiting", shown.screen.text())
            # The text begins where the line was cleared, and is followed by a line's end.
            self.assertEqual(shown.raw.split(b"\r\x1b[K")[-1].replace(b"\r\n", b"\n"), expected + b"\n")

    def test_the_place_behind_a_session(self):
        server = self.ready_daemon()
        session = server.seek("sessions", "open").stdout.decode().strip()
        holder = self.hold(server, "--session", session)
        shown = self.complete(server, "--max-tokens", "10", "--session", session)
        shown.wait_for(r"(?m)^waiting: place 1 in the queue$")
        later = self.complete(server, "--max-tokens", "10", "--session", session)
        later.wait_for(r"(?m)^waiting: place 2 in the queue$")
        holder.kill()
        for terminal_ in (shown, later):
            self.assertEqual(terminal_.wait_exit(), 0)
            self.assertNotIn("waiting", terminal_.screen.text())

    @unittest.skipIf(len(harness.MODELS) < 2, "nano reads any prompt at once")
    def test_the_prompt(self):
        server = self.ready_daemon(model=harness.MODEL_SEED)
        prompt = b"".join(b"int f%d(int x) { return x + %d; }\n" % (i, i) for i in range(400))
        shown = self.complete(server, "--max-tokens", "5", prompt=prompt)
        numbers = []
        while shown.process.poll() is None:
            shown.read(0.05)
            match = re.search(r"^reading the prompt: ([0-9]+) of ([0-9]+) tokens(, about [0-9]+ s)?$",
                              shown.screen.text(), re.MULTILINE)
            if match and (not numbers or numbers[-1] != (int(match[1]), int(match[2]))):
                numbers.append((int(match[1]), int(match[2])))
        self.assertEqual(shown.wait_exit(), 0)
        self.assertTrue(numbers)
        self.assertEqual(numbers, sorted(numbers))
        self.assertEqual({total for _, total in numbers}, {server.status()["totals"]["prompt_tokens"]})
        self.assertNotIn("reading", shown.screen.text())

    def test_a_narrow_terminal_is_not_wrapped(self):
        server = self.ready_daemon(config=ONE_PLACE)
        holder = self.hold(server)
        shown = self.complete(server, "--max-tokens", "5", columns=20)
        shown.wait_for(r"(?m)^waiting: place 1 in$")
        holder.kill()
        self.assertEqual(shown.wait_exit(), 0)
        self.assertNotIn("waiting", shown.screen.text())

    def test_a_terminal_that_cannot_clear_a_line_shows_none(self):
        server = self.ready_daemon(config=ONE_PLACE)
        holder = self.hold(server)
        shown = self.complete(server, "--max-tokens", "5", term="dumb")
        harness.wait_until(lambda: server.status()["now"]["queued"] == 1, "it waits")
        holder.kill()
        self.assertEqual(shown.wait_exit(), 0)
        self.assertNotIn(b"waiting", shown.raw)
        self.assertNotIn(b"\x1b", shown.raw)


if __name__ == "__main__":
    harness.main()
