#!/usr/bin/env python3
"""What is kept, as its owners see it: listed, verified, purged, bounded; and Engram tables imported by request."""

import json
import os
import random
import signal

import harness

TEXT = ("static int count(const char *text) {\n        return 1;\n}\n" * 30).encode()


class Cache(harness.DaemonTest):
    def setUp(self):
        super().setUp()
        self.state = os.path.join(self.folder, "state")
        self.file = os.path.join(self.state, "kv.mdb")

    def serve(self, config="", **arguments):
        return self.ready_daemon(options=("--state", self.state), config=config, **arguments)

    def restart(self, server, number=signal.SIGTERM, **arguments):
        server.signal(number)
        server.wait()
        os.remove(server.log_path)
        return self.serve(**arguments)

    def ask(self, server, *args, code=0):
        run = server.seek(*args, "--json")
        self.assertEqual(run.returncode, code, run.stderr.decode() + server.log())
        return json.loads(run.stdout)

    def cache(self, server, *args, code=0):
        return self.ask(server, "cache", *args, code=code)

    def mine(self, server):
        owners = [o for o in self.cache(server, "list")["owners"] if o["uid"] == os.getuid()]
        return owners[0] if owners else None

    def reused(self, server, text=TEXT):
        run = server.seek("complete", "--json", "--max-tokens", "2", stdin=text)
        self.assertEqual(run.returncode, 0, run.stderr)
        return json.loads(run.stdout)["usage"]["cached_tokens"]

    def on_disk(self, server):
        """What is kept, once all of it is on disk."""
        def settled():
            mine = self.mine(server)
            return mine if mine and mine["disk_pages"] > 0 and mine["disk_states"] > 0 else None
        return harness.wait_until(settled, "something is on disk")


class Listing(Cache):
    def test_what_is_kept_is_listed(self):
        server = self.serve()
        self.assertIsNone(self.mine(server))
        server.complete(prompt=TEXT)
        mine = self.on_disk(server)
        self.assertGreater(mine["host_bytes"], 0)
        self.assertGreater(mine["disk_bytes"], 0)
        self.assertEqual(mine["disk_tokens"], 128 * mine["disk_pages"])
        text = server.seek("cache").stdout.decode()
        self.assertIn("tokens on disk", text)
        exported = self.cache(server, "export")
        self.assertEqual(exported["cache"]["owners"], self.cache(server, "list")["owners"])
        self.assertEqual(exported["kv"]["disk"]["pages"], mine["disk_pages"])

    def test_status_counts_what_is_reused_from_where(self):
        server = self.serve()
        self.reused(server)
        self.assertGreater(self.reused(server), 0)
        self.on_disk(server)
        server = self.restart(server)
        self.assertIn("index rebuilt in", server.log())
        self.assertGreater(self.reused(server), 0)
        kv = server.status()["kv"]
        self.assertEqual(kv["disk"]["hits"], 1)
        self.assertGreater(kv["reused_tokens"], 0)
        self.assertLess(kv["reused_tokens"], kv["asked_tokens"])
        self.assertGreater(kv["disk"]["load_ms"], 0)
        self.assertIsNone(kv["disk"]["suspended"])
        self.assertIn("kept KV:", server.seek("status").stdout.decode())

    def test_without_a_state_folder_nothing_is_on_disk(self):
        server = self.ready_daemon()
        server.complete(prompt=TEXT)
        self.assertEqual(self.mine(server)["disk_bytes"], 0)
        self.assertEqual(self.cache(server, "list")["disk_bytes_max"], 0)
        self.assertIsNone(server.status()["kv"]["disk"])
        self.assertEqual(self.cache(server, "verify")["values"], 0)


class Verifying(Cache):
    def damage(self, n=40):
        """Flips bits all over the file's later part, where values lie."""
        generator = random.Random(1)
        with open(self.file, "r+b") as file:
            size = os.fstat(file.fileno()).st_size
            for _ in range(n):
                at = generator.randrange(size // 4, size)
                file.seek(at)
                byte = file.read(1)[0]
                file.seek(at)
                file.write(bytes([byte ^ 0x40]))

    def test_sound_values_and_tables_are_found_sound(self):
        server = self.serve()
        server.complete(prompt=TEXT)
        self.on_disk(server)
        verified = self.cache(server, "verify")
        self.assertTrue(verified["complete"])
        self.assertGreater(verified["values"], 0)
        self.assertEqual(verified["damaged"], 0)
        self.assertEqual(verified["engram"]["damaged"], 0)
        self.assertGreater(verified["engram"]["bytes"], 0)
        self.assertIn("all sound", server.seek("cache", "verify").stdout.decode())

    def test_damage_is_found_said_and_gone(self):
        server = self.serve()
        for i in range(8):
            server.complete(prompt=TEXT + b"/* %d */" % i * 40)
        self.on_disk(server)
        server = self.restart(server)  # and from now on nothing is written
        self.damage()
        verified = self.cache(server, "verify", code=6)
        self.assertGreater(verified["damaged"], 0)
        self.assertIn("is damaged", server.log())
        self.assertGreater(server.status()["kv"]["disk"]["quarantined"], 0)
        self.assertEqual(self.cache(server, "verify")["damaged"], 0)
        server.complete(prompt=TEXT)


class Purging(Cache):
    def test_nothing_is_left_of_a_user(self):
        server = self.serve()
        session = self.ask(server, "sessions", "open")["session"]
        server.seek("sessions", "append", session, stdin=TEXT)
        self.reused(server)
        self.assertGreater(self.reused(server), 0)
        self.on_disk(server)
        purged = self.cache(server, "purge")
        self.assertEqual(purged["uid"], os.getuid())
        self.assertEqual(purged["sessions"], 1)
        self.assertTrue(purged["gone_from_disk"])
        self.assertGreater(purged["host_bytes"], 0)
        self.assertGreater(purged["disk_bytes"], 0)
        self.assertIsNone(self.mine(server))
        self.assertEqual(self.ask(server, "sessions", "list")["sessions"], [])
        self.assertEqual(self.reused(server), 0)
        self.cache(server, "purge")
        server = self.restart(server, signal.SIGKILL)
        self.assertIsNone(self.mine(server))
        self.assertEqual(self.reused(server), 0)

    def test_who_runs_is_answered_and_leaves_nothing(self):
        server = self.serve()
        expected = server.complete("--max-tokens", "400", "--temperature", "1", "--seed", "3", prompt=TEXT)
        self.cache(server, "purge")
        client = server.start_seek("complete", "--max-tokens", "400", "--temperature", "1", "--seed", "3", stdin=TEXT)
        harness.wait_until(lambda: server.status()["requests"], "it runs")
        self.cache(server, "purge")
        out, _ = client.communicate(timeout=harness.PATIENCE_S)
        self.assertEqual(client.returncode, 0)
        self.assertEqual(out, expected)

    def test_only_of_a_user_that_there_is(self):
        server = self.serve()
        run = server.seek("cache", "purge", "--user", "no such user")
        self.assertEqual(run.returncode, 1)
        self.assertEqual(self.cache(server, "purge", "--user", "12345")["uid"], 12345)


class Quotas(Cache):
    def test_a_days_writing_ends_and_is_said_once(self):
        server = self.serve(config="[memory]\ndisk_writes_per_day = 300K\n")
        for i in range(12):
            server.complete(prompt=b"/* %d */" % i + TEXT)
        harness.wait_until(lambda: "may be written in a day" in server.log(), "the day's bytes are written")
        server.complete(prompt=TEXT)
        self.assertEqual(server.log().count("may be written in a day"), 1)
        disk = server.status()["kv"]["disk"]
        self.assertLessEqual(disk["day_bytes"], disk["day_bytes_max"])
        self.assertEqual(disk["day_bytes_max"], 300 << 10)

    def test_a_user_has_his_share_and_it_is_said_once(self):
        server = self.serve(config="[memory]\ndisk_kv = 2M\nhost_kv = 2M\nuser_kv = 20\n")
        for i in range(16):
            server.complete(prompt=b"/* %d */" % i + TEXT)
        harness.wait_until(lambda: "that one user may have" in server.log(), "his share is used up")
        mine = self.mine(server)
        limits = self.cache(server, "list")
        self.assertEqual(limits["disk_bytes_max"], (2 << 20) // 100 * 20 + (2 << 20) % 100 * 20 // 100)
        self.assertLessEqual(mine["disk_bytes"], limits["disk_bytes_max"])
        self.assertLessEqual(mine["host_bytes"], limits["host_bytes_max"])
        self.assertEqual(server.log().count("that one user may have"), 1)
        last = b"/* 15 */" + TEXT
        self.assertGreater(self.reused(server, last), 0)


class Importing(Cache):
    def test_the_daemon_imports_and_uses_it_from_the_next_start(self):
        never = "[engram]\nimport = never\n"
        server = self.serve(config=never)
        expected = server.complete()
        self.assertIsNone(server.status()["engram"])
        imported = self.ask(server, "import")
        self.assertTrue(imported["complete"])
        self.assertFalse(imported["already"])
        self.assertFalse(imported["in_use"])
        self.assertTrue(os.path.exists(imported["path"]))
        self.assertTrue(self.ask(server, "import")["already"])
        self.assertIn("next start", server.seek("import").stdout.decode())
        server = self.restart(server, config=never)
        self.assertEqual(server.complete(), expected)
        self.assertGreater(server.status()["engram"]["rows_requested"], 0)
        self.assertTrue(self.ask(server, "import")["in_use"])

    def test_without_a_state_folder_it_is_refused(self):
        server = self.ready_daemon()
        run = server.seek("import")
        self.assertEqual(run.returncode, 2)
        self.assertIn(b"state folder", run.stderr)


if __name__ == "__main__":
    harness.main()
