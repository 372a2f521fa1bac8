#!/usr/bin/env python3
"""Engram tables in the state folder, through the whole path: made, read, damaged, of another model."""

import json
import os
import shutil
import struct
import subprocess
import tempfile

import harness


class Engram(harness.DaemonTest):
    def serve(self, options=None, **arguments):
        """What a daemon of its own answers, and what it logs."""
        options = ["--state", self.state] if options is None else options
        with tempfile.TemporaryDirectory() as folder:
            server = harness.Daemon(folder, options=options, **arguments)
            self.addCleanup(server.stop)
            server.wait_ready()
            text = server.complete("--temperature", "1", "--seed", "5")
            server.stop()
            return text, server.log()

    def run_seekd(self, *what, model=harness.MODEL_NANO):
        return subprocess.run([harness.SEEKD, *what, "--state", self.state, "--model", model],
                              capture_output=True, text=True, timeout=harness.PATIENCE_S, check=False)

    def import_tables(self, model=harness.MODEL_NANO):
        return self.run_seekd("--import", model=model)

    def changed_model(self, change):
        """A copy of the model; `change` gets its weight file, header and where the tensors' bytes begin."""
        model = os.path.join(self.folder, "changed")
        shutil.copytree(harness.MODEL_NANO, model)
        with open(os.path.join(model, "model.safetensors"), "r+b") as file:
            (n,) = struct.unpack("<Q", file.read(8))
            change(file, file.read(n), 8 + n)
        return model

    @staticmethod
    def hide_tables(file, header, _start):
        file.seek(8)
        file.write(header.replace(b".engram.embed.", b".elsewhere..12"))

    def setUp(self):
        super().setUp()
        self.state = os.path.join(self.folder, "state")
        self.file = os.path.join(self.state, "engram.mdb")
        self.expected, _ = self.serve(options=[])

    def test_a_first_start_makes_it_and_the_next_reads_it(self):
        for _ in range(2):
            text, log = self.serve()
            self.assertEqual(text, self.expected)
            self.assertTrue(os.path.exists(self.file))
        self.assertIn("of Engram tables, read by", log)

    def test_it_is_not_made_when_the_configuration_says_never(self):
        text, _ = self.serve(config="[engram]\nimport = never\n")
        self.assertEqual(text, self.expected)
        self.assertFalse(os.path.exists(self.file))

    def test_an_import_by_hand(self):
        for _ in range(2):
            run = self.import_tables()
            self.assertEqual(run.returncode, 0, run.stderr)
            self.assertIn("engram.mdb holds the Engram tables", run.stdout)
            self.assertIn("reading back", run.stderr)
        other = self.import_tables(harness.MODEL_SEED)
        self.assertEqual(other.returncode, 1)
        self.assertIn("made for another model", other.stderr)
        self.assertEqual(self.serve()[0], self.expected)

    def test_an_import_for_programs(self):
        lines = [json.loads(line) for line in self.run_seekd("--import", "--json").stdout.splitlines()]
        self.assertEqual([line["progress"]["what"] for line in lines[:-1]][:1], ["importing"])
        self.assertEqual(lines[-2]["progress"]["done"], lines[-2]["progress"]["total"])
        self.assertTrue(lines[-1]["engram"]["has_tables"])
        self.assertEqual(lines[-1]["engram"]["path"], self.file)
        os.truncate(self.file, 5000)
        run = self.run_seekd("--import", "--json")
        self.assertEqual(run.returncode, 1)
        self.assertIn("engram.mdb", json.loads(run.stdout.splitlines()[-1])["error"]["message"])
        self.assertEqual(self.run_seekd("--json").returncode, 2)

    def test_a_running_daemon_keeps_the_folder(self):
        self.ready_daemon(options=["--state", self.state])
        run = self.import_tables()
        self.assertEqual(run.returncode, 3)
        self.assertIn("another seekd uses this state folder", run.stderr)

    def test_a_broken_file_is_said_and_not_used(self):
        self.assertEqual(self.import_tables().returncode, 0)
        os.truncate(self.file, 5000)
        self.assertEqual(self.import_tables().returncode, 1)
        text, log = self.serve()
        self.assertEqual(text, self.expected)
        self.assertIn("Engram rows are read from the checkpoint", log)


    def test_a_checkpoint_without_its_tables_needs_the_file(self):
        model = self.changed_model(self.hide_tables)
        check = self.run_seekd("--check", model=model)
        self.assertEqual(check.returncode, 1)
        self.assertIn("engram.mdb", check.stderr)
        self.assertEqual(self.import_tables().returncode, 0)
        check = self.run_seekd("--check", model=model)
        self.assertEqual(check.returncode, 0, check.stderr)
        self.assertIn("configuration and model are fine", check.stdout)
        self.assertEqual(self.serve(model=model)[0], self.expected)

    def test_a_scale_that_is_no_number_is_not_imported(self):
        def spoil(file, header, start):
            tensor = json.loads(header)["layers.1.engram.embed.scale"]
            file.seek(start + tensor["data_offsets"][0] + 7)
            file.write(b"\xff")

        model = self.changed_model(spoil)
        run = self.import_tables(model)
        self.assertEqual(run.returncode, 1)
        self.assertIn("of Engram table 0 is 255 (NaN)", run.stderr)
        self.assertFalse(os.path.exists(self.file))
        check = self.run_seekd("--check", model=model)
        self.assertEqual(check.returncode, 1)
        self.assertIn("layers.1.engram.embed.scale", check.stderr)


if __name__ == "__main__":
    harness.main()
