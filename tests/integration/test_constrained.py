#!/usr/bin/env python3
"""Outputs that are held to a JSON schema or to the tools of a conversation, through the whole path."""

import json
import os
import tempfile

import harness

SCHEMA = {
    "type": "object",
    "properties": {
        "file": {"type": "string", "maxLength": 8},
        "line": {"type": "integer", "minimum": 1, "maximum": 500},
        "kind": {"enum": ["bug", "style", None]},
        "tags": {"type": "array", "items": {"type": "string", "pattern": "^[a-z]{1,4}$"}, "maxItems": 2},
    },
    "required": ["file", "line", "kind"],
    "additionalProperties": False,
}

TOOLS = [
    {"name": "read", "parameters": {"type": "object", "properties": {"line": {"type": "integer", "minimum": 1},
                                                                     "mode": {"enum": ["text", "raw"]}},
                                    "required": ["line"], "additionalProperties": False}},
    {"name": "list", "parameters": {"type": "object", "properties": {}, "additionalProperties": False}},
]


def valid(document):
    tags = document.get("tags", [])
    return (set(document) <= set(SCHEMA["properties"]) and isinstance(document["file"], str) and
            len(document["file"]) <= 8 and type(document["line"]) is int and 1 <= document["line"] <= 500 and
            document["kind"] in ("bug", "style", None) and len(tags) <= 2 and
            all(0 < len(tag) <= 4 and tag.isalpha() and tag.islower() for tag in tags))


class Constrained(harness.DaemonTest):
    def file(self, name, content):
        path = os.path.join(self.folder, name)
        with open(path, "w", encoding="utf-8") as f:
            json.dump(content, f)
        return path

    def ask(self, server, *arguments, text="x"):
        return server.seek("ask", "--json", "--max-tokens", "400", "--temperature", "1", *arguments, text)

    def servers(self):
        """A daemon for each model, one after the other."""
        for model in harness.MODELS:
            with tempfile.TemporaryDirectory() as folder:
                server = harness.Daemon(folder, model=model)
                self.addCleanup(server.stop)
                server.wait_ready()
                yield server
                server.stop()

    def test_what_is_written_under_a_schema_is_a_document_of_it(self):
        schema = self.file("schema", SCHEMA)
        for server in self.servers():
            whole = 0
            for seed in range(12):
                arguments = ["--schema", schema, "--seed", str(seed)] + (["--think"] if seed % 4 == 3 else [])
                run = self.ask(server, *arguments)
                self.assertEqual(run.returncode, 0, run.stderr)
                answer = json.loads(run.stdout)
                if answer["finish"] == "eos":
                    whole += 1
                    self.assertTrue(valid(json.loads(answer["message"]["content"])), answer)
            self.assertGreater(whole, 4)

    def test_a_call_that_is_required_comes_and_fits_its_tool(self):
        tools = self.file("tools", TOOLS)
        strict = self.file("strict", [{**tool, "strict": True} for tool in TOOLS])
        for server in self.servers():
            n_calls = 0
            for seed in range(6):
                choice = "read" if seed % 2 else "required"
                run = self.ask(server, "--tools", tools, "--tool-choice", choice, "--seed", str(seed))
                self.assertEqual(run.returncode, 0, run.stderr)
                answer = json.loads(run.stdout)
                self.assertEqual(answer["message"]["content"], "")
                for call in answer["message"]["tool_calls"]:  # whole ones, also when the last was cut off
                    n_calls += 1
                    arguments = json.loads(call["function"]["arguments"])
                    self.assertIn(call["function"]["name"], ["read"] if seed % 2 else ["read", "list"])
                    if call["function"]["name"] == "read":
                        self.assertGreaterEqual(arguments["line"], 1)
                        self.assertIn(arguments.get("mode", "raw"), ["text", "raw"])
                        self.assertLessEqual(set(arguments), {"line", "mode"})
                    else:
                        self.assertEqual(arguments, {})
            self.assertGreater(n_calls, 2)
            run = self.ask(server, "--tools", strict, "--seed", "1")
            self.assertEqual(run.returncode, 0, run.stderr)

    def test_a_schema_that_cannot_be_compiled_costs_that_request_only(self):
        server = self.ready_daemon()
        for broken, place in (({"properties": {"a": {"$ref": "#/$defs/b"}}}, "json_schema: #/properties/a/$ref: "),
                              ({"items": 3}, "json_schema: #/items: "),
                              ({"type": "string", "minLength": 2, "maxLength": 1}, "json_schema: #: nothing matches")):
            run = self.ask(server, "--schema", self.file("schema", broken))
            self.assertNotEqual(run.returncode, 0)
            self.assertIn(place, (run.stdout + run.stderr).decode())
        broken = [TOOLS[0], {"name": "x", "strict": True, "parameters": {"properties": {"p": 1}}}]
        run = self.ask(server, "--tools", self.file("tools", broken))
        self.assertNotEqual(run.returncode, 0)
        self.assertIn("chat.tools[1].parameters: #/properties/p: ", (run.stdout + run.stderr).decode())
        server.complete()

    def test_neighbours_get_what_they_get_alone(self):
        server = self.ready_daemon()
        free = ["--max-tokens", "200", "--temperature", "0.9", "--seed", "5"]
        held = ["--json", "--max-tokens", "200", "--temperature", "1", "--seed", "5", "--schema", self.file("schema", SCHEMA)]
        alone = server.seek("complete", *free, stdin=harness.PROMPT).stdout
        held_alone = json.loads(server.seek("ask", *held, "x").stdout)["message"]
        clients = [server.start_seek("complete", *free, stdin=harness.PROMPT) for _ in range(3)]
        clients += [server.start_seek("ask", *held, stdin=b"x") for _ in range(3)]
        outputs = [client.communicate(timeout=harness.PATIENCE_S)[0] for client in clients]
        self.assertEqual(outputs[:3], [alone] * 3)
        self.assertEqual([json.loads(output)["message"] for output in outputs[3:]], [held_alone] * 3)


if __name__ == "__main__":
    harness.main()
