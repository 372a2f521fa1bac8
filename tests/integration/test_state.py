#!/usr/bin/env python3
"""State folders that something is wrong with: what the daemon does, and that its message names file, reason and remedy.
The table is in seekd(8)."""

import fcntl
import json
import os
import shutil
import signal
import struct
import subprocess
import tempfile

import harness

SOMEBODY = 12345  # a user without rights
TEXT = ("static int count(const char *text) {\n        return 1;\n}\n" * 20).encode()


def crc32c(data):
    crc = 0xffffffff
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82f63b78 if crc & 1 else 0)
    return crc ^ 0xffffffff


class State(harness.DaemonTest):
    def setUp(self):
        super().setUp()
        self.state = os.path.join(self.folder, "state")
        self.file = os.path.join(self.state, "kv.mdb")

    def start(self, **arguments):
        """A daemon with a log of its own."""
        folder = tempfile.mkdtemp(dir=self.folder)
        server = harness.Daemon(folder, options=("--state", self.state), **arguments)
        self.addCleanup(server.stop)
        return server

    def serve(self, **arguments):
        server = self.start(**arguments)
        server.wait_ready()
        return server

    def end(self, server):
        server.signal(signal.SIGTERM)
        self.assertEqual(server.wait(), 0)

    def refuses(self, status, *texts, **arguments):
        server = self.start(**arguments)
        self.assertEqual(server.wait(), status, server.log())
        for text in texts:
            self.assertIn(text, server.log())

    def verdict(self, server):
        run = server.seek("complete", "--json", "--max-tokens", "2", stdin=TEXT)
        self.assertEqual(run.returncode, 0, run.stderr)
        return json.loads(run.stdout)["cache"]

    def other_model(self):
        """One weight differs."""
        model = os.path.join(self.folder, "other")
        shutil.copytree(harness.MODEL_NANO, model)
        with open(os.path.join(model, "model.safetensors"), "r+b") as file:
            (n,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(n))
            at = 8 + n + header["norm.weight"]["data_offsets"][0]
            file.seek(at)
            byte = file.read(1)[0]
            file.seek(at)
            file.write(bytes([byte ^ 1]))
        return model

    def test_another_models_file_is_put_aside_and_found_again(self):
        other = self.other_model()
        server = self.serve()
        self.assertEqual(self.verdict(server)["ended_by"], "cold")
        self.end(server)

        server = self.serve(model=other)
        self.assertIn("kv.mdb was of another model", server.log())
        self.assertEqual(self.verdict(server)["ended_by"], "different_model")
        self.assertNotEqual(self.verdict(server)["ended_by"], "different_model")
        self.end(server)
        self.assertEqual(len([name for name in os.listdir(self.state) if name.startswith("kv.mdb.other-")]), 1)

        server = self.serve()
        self.assertEqual(self.verdict(server)["tier"], "disk")
        self.assertEqual(server.seek("cache", "purge").returncode, 0)
        self.assertEqual([name for name in os.listdir(self.state) if name.startswith("kv.mdb.other-")], [])

    def test_a_damaged_file_is_put_aside(self):
        server = self.serve()
        self.verdict(server)
        self.end(server)
        os.truncate(self.file, os.path.getsize(self.file) // 2)
        server = self.serve()
        self.assertIn("kv.mdb: damaged", server.log())
        self.assertIn("moved to kv.mdb.damaged, starting empty", server.log())
        self.verdict(server)
        self.assertTrue(server.status()["kv"]["disk"]["moved_aside"])
        self.end(server)
        self.assertEqual(self.verdict(self.serve())["tier"], "disk")

    def test_a_later_format_is_refused_and_left_alone(self):
        server = self.serve()
        self.verdict(server)
        self.end(server)
        with open(self.file, "rb") as file:
            data = bytearray(file.read())
        at = -1
        while (at := data.find(b"store", at + 1)) >= 0:
            entry = data[at + 5:at + 5 + 72]
            if struct.unpack_from("<I", entry)[0] == 2:
                entry[:4] = struct.pack("<I", 99)
                data[at + 5:at + 5 + 76] = entry + struct.pack("<I", crc32c(b"store" + entry))
        with open(self.file, "wb") as file:
            file.write(data)
        self.refuses(1, "kv.mdb: written in format 99", "use the later one, or name another state folder")
        with open(self.file, "rb") as file:
            self.assertEqual(file.read(), data)

    def test_another_daemon_has_the_folder(self):
        self.serve()
        self.refuses(3, f"{self.state}: another seekd uses this state folder")

    def test_another_process_has_the_file(self):
        self.end(self.serve())
        with open(os.path.join(self.state, "kv.lock"), "rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self.refuses(1, "kv.mdb: another process uses this store")

    def test_a_secret_that_others_can_read(self):
        self.end(self.serve())
        secret = os.path.join(self.state, "secret")
        os.chmod(secret, 0o644)
        self.refuses(1, f"{secret}: others may use it (mode 644, not 600)")

    def test_a_folder_that_cannot_be_written(self):
        os.mkdir(self.state, 0o500)
        who = {}
        if os.getuid() == 0:  # who may write everywhere
            who = {"user": SOMEBODY, "group": SOMEBODY, "extra_groups": []}
            os.chown(self.state, SOMEBODY, SOMEBODY)
            os.chown(self.folder, SOMEBODY, SOMEBODY)
        try:
            run = subprocess.run([harness.SEEKD, "--state", self.state, "--model", harness.MODEL_NANO, "--socket",
                                  os.path.join(self.folder, "sock")], capture_output=True, text=True,
                                 timeout=harness.PATIENCE_S, check=False, **who)
        except PermissionError:
            self.skipTest("other users cannot run this build")
        self.assertEqual(run.returncode, 1, run.stderr)
        self.assertRegex(run.stderr, f"{self.state}/secret.*: Permission denied")

    def test_engram_tables_of_another_model(self):
        subprocess.run([harness.SEEKD, "--import", "--state", self.state, "--model", harness.MODEL_SEED],
                       check=True, capture_output=True, timeout=harness.PATIENCE_S)
        server = self.serve()
        self.assertIn("engram.mdb: made for another model", server.log())
        self.assertIn("remove it, or name another state folder; Engram rows are read from the checkpoint", server.log())


if __name__ == "__main__":
    harness.main()
