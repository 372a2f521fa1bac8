#!/usr/bin/env python3
"""seek metrics: valid, the numbers of seek status, and in a file that others read."""

import os
import signal
import stat

import exposition
import harness
from exposition import value

CLASSES = ("interactive", "turn", "agent", "background")


class Metrics(harness.DaemonTest):
    def read(self, server):
        run = server.seek("metrics")
        self.assertEqual((run.returncode, run.stderr), (0, b""))
        return exposition.read(run.stdout.decode())

    def wait_finished(self, server, class_, reason, n):
        return harness.wait_until(
            lambda: (m := self.read(server)) and
            value(m, "seekd_requests_finished_total", **{"class": class_}, reason=reason) == n and m,
            f"{n} {class_} {reason}")

    def test_before_the_first_request(self):
        server = self.ready_daemon(config="[memory]\nhost_kv = 64M\ndevice_kv = 32M\n")
        metrics = self.read(server)
        self.assertEqual(value(metrics, "seekd_up"), 1)
        self.assertEqual(value(metrics, "seekd_model_ready"), 1)
        self.assertEqual(value(metrics, "seekd_kv_limit_bytes", tier="host"), 64 << 20)
        self.assertEqual(value(metrics, "seekd_kv_limit_bytes", tier="device"), 32 << 20)
        for class_ in CLASSES:
            self.assertEqual(value(metrics, "seekd_first_token_seconds_count", **{"class": class_}), 0)
        kv = server.status()["kv"]
        self.assertEqual((kv["host"]["bytes_max"], kv["device"]["bytes_limit"]), (64 << 20, 32 << 20))

    def test_the_numbers_are_those_of_status(self):
        server = self.ready_daemon(options=["--state", os.path.join(self.folder, "state")])
        for class_, n in (("interactive", 1), ("agent", 2)):
            for _ in range(n):
                server.complete("--class", class_)
        server.complete("--class", "agent", "--max-tokens", "30")
        metrics = self.wait_finished(server, "agent", "length", 3)
        status = server.status()
        for class_, n, tokens in (("interactive", 1, 40), ("turn", 0, 0), ("agent", 3, 110), ("background", 0, 0)):
            of = {"class": class_}
            self.assertEqual(value(metrics, "seekd_requests_finished_total", **of, reason="length"), n)
            self.assertEqual(value(metrics, "seekd_generated_tokens_total", **of), tokens)
            self.assertEqual(value(metrics, "seekd_queue_seconds_count", **of), n)
            self.assertEqual(value(metrics, "seekd_first_token_seconds_count", **of), n)
            self.assertEqual(value(metrics, "seekd_token_seconds_count", **of), tokens - n)
            self.assertEqual(value(metrics, "seekd_engine_seconds_total", **of) > 0, n > 0)
            self.assertGreaterEqual(value(metrics, "seekd_first_token_seconds_sum", **of),
                                    value(metrics, "seekd_queue_seconds_sum", **of))
            for state in ("running", "queued"):
                self.assertEqual(value(metrics, "seekd_requests", **of, state=state), 0)
        totals, kv = status["totals"], status["kv"]
        self.assertEqual(sum(value(metrics, "seekd_prompt_tokens_total", **{"class": c}) for c in CLASSES),
                         totals["prompt_tokens"])
        self.assertEqual(value(metrics, "seekd_steps_total"), totals["steps"])
        self.assertEqual(value(metrics, "seekd_kv_asked_tokens_total"), kv["asked_tokens"])
        self.assertEqual(value(metrics, "seekd_kv_reused_tokens_total"), kv["reused_tokens"])
        self.assertEqual(sum(value(metrics, "seekd_kv_hits_total", tier=t) for t in ("device", "host", "disk", "none")), 4)
        self.assertEqual(value(metrics, "seekd_kv_limit_bytes", tier="disk"), kv["disk"]["bytes_max"])
        # The same series in each reading, and no counter falls.
        server.complete()
        later = self.wait_finished(server, "turn", "length", 1)
        self.assertEqual(metrics.keys(), later.keys())
        for name, family in metrics.items():
            self.assertEqual(family.samples.keys(), later[name].samples.keys())
            if family.type == "counter":
                for key, n in family.samples.items():
                    self.assertGreaterEqual(later[name].samples[key], n)

    def test_refusals_by_reason(self):
        server = self.ready_daemon()
        self.assertEqual(server.seek("sessions", "append", "1234", stdin=b"x").returncode, 2)
        metrics = self.read(server)
        self.assertEqual(value(metrics, "seekd_requests_refused_total", reason="not_found"), 1)
        self.assertEqual(value(metrics, "seekd_requests_refused_total", reason="busy"), 0)

    def test_one_that_vanishes_is_cancelled(self):
        server = self.ready_daemon()
        client = server.start_seek("complete", "--max-tokens", "100000", "--class", "agent", stdin=harness.PROMPT)
        harness.wait_until(lambda: value(self.read(server), "seekd_requests", **{"class": "agent"}, state="running"),
                           "it runs")
        client.send_signal(signal.SIGKILL)
        client.communicate()
        self.wait_finished(server, "agent", "cancelled", 1)

    def test_a_file_is_replaced_for_others_to_read(self):
        server = self.ready_daemon()
        path = os.path.join(self.folder, "seekd.prom")
        with open(path, "w", encoding="ascii") as f:
            f.write("old")
        before = os.stat(path).st_ino
        run = server.seek("metrics", "--output", path)
        self.assertEqual((run.returncode, run.stdout, run.stderr), (0, b"", b""))
        self.assertNotEqual(os.stat(path).st_ino, before)  # never half of it
        self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o644)
        self.assertEqual([n for n in os.listdir(self.folder) if "prom" in n], ["seekd.prom"])
        with open(path, encoding="utf-8") as f:
            self.assertEqual(value(exposition.read(f.read()), "seekd_up"), 1)
        run = server.seek("metrics", "--output", os.path.join(self.folder, "no", "file"))
        self.assertEqual(run.returncode, 5)
        self.assertIn(b"No such file", run.stderr)
        # A directory cannot be replaced: nothing is left beside it.
        os.mkdir(os.path.join(self.folder, "folder"))
        self.assertEqual(server.seek("metrics", "--output", os.path.join(self.folder, "folder")).returncode, 5)
        self.assertEqual([n for n in os.listdir(self.folder) if "folder" in n], ["folder"])

    def test_without_a_daemon_only_that_is_said(self):
        server = self.ready_daemon()
        path = os.path.join(self.folder, "seekd.prom")
        server.seek("metrics", "--output", path)
        server.stop()
        run = server.seek("metrics", "--output", path)
        self.assertEqual((run.returncode, run.stdout), (3, b""))
        self.assertIn(b"no daemon", run.stderr)
        with open(path, encoding="utf-8") as f:
            families = exposition.read(f.read())
        self.assertEqual((list(families), value(families, "seekd_up")), (["seekd_up"], 0))
        self.assertEqual(exposition.read(server.seek("metrics").stdout.decode()).keys(), {"seekd_up"})


class TheReader(harness.DaemonTest):
    """What the tests above rely on."""

    GOOD = ("# HELP a_total Of a.\n# TYPE a_total counter\na_total{x=\"1\",y=\"a\\\"\\\\\\n\"} 2\na_total{x=\"2\",y=\"\"} 0.5\n"
            "# HELP h_seconds Of h.\n# TYPE h_seconds histogram\nh_seconds_bucket{le=\"1.0\"} 1\n"
            "h_seconds_bucket{le=\"+Inf\"} 3\nh_seconds_sum 7.5\nh_seconds_count 3\n")

    def test_it_refuses_what_is_wrong(self):
        self.assertEqual(value(exposition.read(self.GOOD), "h_seconds_count"), 3)
        for old, new in (("# TYPE a_total counter\n", ""), ("# HELP a_total Of a.\n", ""), ("counter", "gauge"),
                         ("} 2", "} -2"), ("} 2", "}  2"), ("} 2", "} 2,5"), ("} 2", "} 2 1700000000"), ("x=\"2\"", "x=2"),
                         ("x=\"2\",", "x=\"2\",,"), ("x=\"2\",y=\"\"", "x=\"1\",y=\"a\\\"\\\\\\n\""), ("1.0\"} 1", "1.0\"} 4"),
                         ("+Inf\"} 3", "+Inf\"} 4"), ("h_seconds_sum 7.5\n", ""), ("le=\"+Inf\"", "le=\"0.5\""),
                         ("h_seconds_count 3\n", "h_seconds_count 3"), ("a_total", "a_ms_total"), ("7.5\n", "7.5\n\n")):
            with self.subTest((old, new)):
                self.assertIn(old, self.GOOD)
                self.assertRaises(AssertionError, exposition.read, self.GOOD.replace(old, new))


if __name__ == "__main__":
    harness.main()
