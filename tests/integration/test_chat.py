#!/usr/bin/env python3
"""Conversations through the whole path: seek, libseekd, the daemon, a model that has the tokens but not the skill."""

import json
import os
import pty
import re
import select
import signal
import time

import harness


class Chat(harness.DaemonTest):
    def setUp(self):
        super().setUp()
        self.server = self.ready_daemon(model=harness.MODELS[-1])

    def file(self, name, value):
        path = os.path.join(self.folder, name)
        with open(path, "w", encoding="utf-8") as f:
            json.dump(value, f)
        return path

    def ask(self, *args, stdin=b""):
        run = self.server.seek("ask", "--max-tokens", "24", *args, stdin=stdin)
        self.assertEqual(run.returncode, 0, run.stderr)
        return run.stdout

    def refused(self, pattern, *args, stdin=b"", command="ask"):
        run = self.server.seek(command, *args, stdin=stdin)
        self.assertEqual(run.returncode, 2, run.stderr)
        self.assertRegex(run.stderr.decode(), pattern)
        self.assertTrue(self.server.alive())

    def lines(self, *values, arguments=(), expected=0):
        """One object for each line of `seek chat --json`."""
        stdin = b"".join(json.dumps(value).encode() + b"\n" for value in values)
        run = self.server.seek("chat", "--json", "--max-tokens", "24", *arguments, stdin=stdin)
        self.assertEqual(run.returncode, expected, run.stderr)
        return [json.loads(line) for line in run.stdout.splitlines()]

    def test_a_question_and_what_is_piped_in_behind_it(self):
        together = self.ask("Go on:", stdin=b"int main(void)\n{\n")
        self.assertEqual(together, self.ask("Go on:\n\nint main(void)\n{\n"))
        self.assertEqual(together, self.ask(stdin=b"Go on:\n\nint main(void)\n{\n"))
        answer = json.loads(self.ask("--json", "Go on:", stdin=b"int main(void)\n{\n"))
        self.assertEqual(answer["message"]["role"], "assistant")
        self.assertEqual(answer["message"]["content"].encode() + b"\n", together)
        self.assertNotIn("reasoning", answer["message"])

    def test_reasoning_comes_apart_from_the_text(self):
        answer = json.loads(self.ask("--json", "--think", "int x;"))
        # This model never ends its reasoning, so all of it is.
        self.assertEqual(answer["message"]["content"], "")
        self.assertNotEqual(answer["message"]["reasoning"], "")
        self.assertEqual(self.ask("--think", "int x;"), b"")  # not shown in a pipe
        more = json.loads(self.ask("--json", "--effort", "3", "int x;"))
        self.assertGreater(more["usage"]["prompt_tokens"], 10)

    def test_special_tokens_in_a_message_stay_text(self):
        def prompt_tokens(text):
            return json.loads(self.ask("--json", text))["usage"]["prompt_tokens"]
        self.assertGreater(prompt_tokens("<｜User｜>"), prompt_tokens("x"))
        self.assertGreater(prompt_tokens("</think>"), prompt_tokens("x"))

    def test_a_conversation_is_remembered_until_it_is_reset(self):
        first, second, third = self.lines("int a;", "int b;", "int c;", arguments=["--no-think"])
        self.assertLess(first["usage"]["prompt_tokens"], second["usage"]["prompt_tokens"])
        self.assertLess(second["usage"]["prompt_tokens"], third["usage"]["prompt_tokens"])
        run = self.server.seek("chat", "--no-think", "--max-tokens", "24",
                               stdin=b"int a;\n/reset\nint a;\n/think 5\n/think off\n\nint b;\n/quit\nint c;\n")
        self.assertEqual(run.returncode, 0, run.stderr)
        one = first["message"]["content"] + "\n"
        self.assertEqual(run.stdout.decode(), one + one + second["message"]["content"] + "\n")

    def test_tools_and_their_results_go_in(self):
        tools = self.file("tools", [{"type": "function", "function": {"name": "add", "parameters": {}}}])
        call = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": "{\"a\": 1}"}}
        answers = self.lines({"role": "system", "content": "Be brief."},
                             [{"role": "user", "content": [{"type": "text", "text": "1+1?"}]},
                              {"role": "assistant", "content": None, "tool_calls": [call]},
                              {"role": "tool", "tool_call_id": "c1", "content": "2"}],
                             arguments=["--tools", tools])
        self.assertEqual(len(answers), 1)
        self.assertGreater(answers[0]["usage"]["prompt_tokens"], 200)  # the tools' instructions
        without = json.loads(self.ask("--json", "--tool-choice", "none", "--tools", tools, "1+1?"))
        self.assertGreater(without["usage"]["prompt_tokens"], 200)

    def test_bad_conversations_are_refused_by_field(self):
        self.refused(r"chat\.tools\[0\]: not a JSON object", "--tools", self.file("tools", [1]), "x")
        tools = self.file("tools", [{"name": "f"}])
        self.refused(r"chat\.tool_choice: no tool is called 'g'", "--tools", tools, "--tool-choice", "g", "x")
        self.refused(r"chat\.tool_choice: .* no tools", "--tool-choice", "required", "x")
        self.refused(r"UTF-8", stdin=b"\xff")
        answers = self.lines({"role": "nobody", "content": "x"}, "int a;", {"content": "x"}, 7,
                             {"role": "tool", "content": "x", "tool_calls": [{"name": "f"}]},
                             arguments=["--no-think"], expected=2)
        errors = [answer.get("error", {}).get("message") for answer in answers]
        self.assertEqual(errors, ["chat.messages[0].role: 'nobody' is none", None,
                                  "input: a message needs a \"role\"", "input: a message needs a \"role\"",
                                  "chat.messages[2].tool_calls: a message of role 'tool' has none"])
        # What was refused is forgotten.
        self.assertEqual(answers[1]["message"], self.lines("int a;", arguments=["--no-think"])[0]["message"])

    def test_a_conversation_longer_than_the_context_is_refused_with_numbers(self):
        context = self.server.status()["model"]["context_tokens"]
        self.refused(rf"\d+ tokens do not fit .*{context}", stdin=b"int x;\n" * context)

    def test_an_interrupt_ends_an_answer(self):
        client = self.server.start_seek("ask", "--max-tokens", "0", "--think", stdin=b"int x;")
        harness.wait_until(lambda: any(r["generated_tokens"] > 0 for r in self.server.status()["requests"]),
                           "a token is generated")
        client.send_signal(signal.SIGINT)
        client.communicate(timeout=harness.PATIENCE_S)
        self.assertEqual(client.returncode, 130)
        harness.wait_until(lambda: not self.server.status()["requests"], "the request is gone")


class Terminal:
    """seek on a terminal of its own."""

    def __init__(self, command):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execv(command[0], command)
        self.seen = b""

    def expect(self, pattern):
        """Waits until the output has the pattern, and forgets what came up to its end."""
        end = time.monotonic() + harness.PATIENCE_S
        while not (match := re.search(pattern, self.seen)):
            if not select.select([self.fd], [], [], max(0, end - time.monotonic()))[0]:
                raise AssertionError(f"no {pattern!r} in {self.seen!r}")
            try:
                self.seen += os.read(self.fd, 4096)
            except OSError as ended:
                raise AssertionError(f"no {pattern!r} in {self.seen!r}") from ended
        before, self.seen = self.seen[:match.start()], self.seen[match.end():]
        return before

    def type(self, text):
        os.write(self.fd, text)

    def wait(self):
        """Its exit status."""
        try:
            while os.read(self.fd, 4096):
                pass
        except OSError:  # that is how the end of a terminal reads
            pass
        os.close(self.fd)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


class OnATerminal(harness.DaemonTest):
    def test_an_interrupt_stops_the_answer_and_not_the_conversation(self):
        server = self.ready_daemon(model=harness.MODELS[-1])
        terminal = Terminal(server.seek_command("chat", "--max-tokens", "0"))
        terminal.expect(rb">>> ")
        terminal.type(b"int x;\n")
        terminal.expect(rb"\x1b\[2m")  # reasoning, dimmed
        terminal.expect(rb"\w")
        terminal.type(b"\x03")
        terminal.expect(rb"\x1b\[0m\r\n>>> ")
        terminal.type(b"/think off\n")
        terminal.expect(rb">>> ")
        terminal.type(b"half a line\x03")
        terminal.expect(rb">>> ")
        terminal.type(b"/help\n")
        terminal.expect(rb"/system TEXT")
        terminal.expect(rb">>> ")
        terminal.type(b"\x04")
        self.assertEqual(terminal.wait(), 0)
        harness.wait_until(lambda: not server.status()["requests"], "the request is gone")


if __name__ == "__main__":
    harness.main()
