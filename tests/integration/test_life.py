#!/usr/bin/env python3
"""Starting, loading, ending and dying, of the daemon and of its clients."""

import os
import re
import signal
import socket
import stat
import subprocess
import sys
import unittest

import harness

# More than is generated before any test is through with it.
LONG = ("--max-tokens", "100000")


class LifeTest(harness.DaemonTest):
    def start_long(self, server):
        """A client whose request is being generated, with its text going nowhere."""
        client = server.start_seek("complete", *LONG, stdin=harness.PROMPT)
        self.addCleanup(client.communicate)
        self.addCleanup(client.kill)
        harness.wait_until(lambda: any(r["pid"] == client.pid and r["generated_tokens"] > 0
                                       for r in server.status()["requests"]), "the request runs")
        return client


class Clients(LifeTest):
    def test_killing_a_client_frees_its_request(self):
        server = self.ready_daemon()
        client = self.start_long(server)
        client.send_signal(signal.SIGKILL)
        client.wait()
        harness.wait_until(lambda: server.status()["requests"] == [], "its request is gone")
        status = server.status()
        self.assertEqual(status["now"]["running"], 0)
        self.assertEqual(status["now"]["kv_bytes"], 0)
        self.assertEqual(status["totals"]["requests_cancelled"], 1)
        self.assertTrue(server.complete())

    def test_a_client_stopped_by_its_user_frees_its_request(self):
        server = self.ready_daemon()
        client = self.start_long(server)
        client.send_signal(signal.SIGINT)
        harness.wait_until(lambda: server.status()["requests"] == [], "its request is gone")

    def test_killing_the_daemon_tells_every_client(self):
        server = self.ready_daemon()
        clients = [self.start_long(server) for _ in range(3)]
        server.signal(signal.SIGKILL)
        for client in clients:
            _, stderr = client.communicate(timeout=harness.PATIENCE_S)
            self.assertEqual(client.returncode, 4)  # seek(1): connection lost
            self.assertRegex(stderr.decode(), r"(?i)lost|gone|closed|died")
        server.wait()  # until then the kernel may still take connections for it
        run = server.seek("status")
        self.assertEqual(run.returncode, 3)  # seek(1): no daemon

    def test_a_new_daemon_takes_the_socket_of_a_killed_one(self):
        server = self.ready_daemon()
        expected = server.complete()
        server.signal(signal.SIGKILL)
        server.wait()
        self.assertTrue(os.path.exists(server.socket))
        os.remove(server.log_path)
        self.assertEqual(self.ready_daemon().complete(), expected)


    def test_a_user_holds_as_many_connections_as_configured(self):
        server = self.ready_daemon(config="[server]\nconnections_per_uid = 2\n")
        with server.hostile_running("never-read"), server.hostile_running("never-read"):
            run = server.seek("status")
            self.assertNotEqual(run.returncode, 0)
            self.assertIn("this user has 2 connections, the limit is 2 (connections_per_uid", run.stderr.decode())
        harness.wait_until(lambda: server.seek("status").returncode == 0, "there is room again")

    @unittest.skipUnless(os.geteuid() == 0, "needs root to become someone else")
    def test_nobody_is_refused(self):
        server = self.ready_daemon()
        os.chmod(self.folder, 0o755)
        os.chmod(server.socket, 0o666)

        # The credentials are those at connect(): they need not last until exec.
        script = ("import os, socket, sys; os.setgid(65534); os.setuid(65534); "
                  "s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET); s.connect(sys.argv[1]); "
                  "sys.stdout.buffer.write(s.recv(256))")
        run = subprocess.run([sys.executable, "-c", script, server.socket], capture_output=True,
                             timeout=harness.PATIENCE_S)
        self.assertIn(b"uid 65534", run.stdout, run.stderr)
        self.assertTrue(server.complete())


class Ending(LifeTest):
    def test_sigterm_lets_running_requests_finish(self):
        server = self.ready_daemon()
        expected = server.complete("--max-tokens", "400")
        client = server.start_seek("complete", "--max-tokens", "400", stdin=harness.PROMPT)
        harness.wait_until(lambda: server.status()["now"]["running"] > 0 or client.poll() is not None, "it runs")
        server.signal(signal.SIGTERM)
        stdout, stderr = client.communicate(timeout=harness.PATIENCE_S)
        self.assertEqual((client.returncode, stdout), (0, expected), stderr)
        self.assertEqual(server.wait(), 0)
        self.assertFalse(os.path.exists(server.socket))

    def test_requests_that_outlast_the_drain_end_with_a_reason(self):
        server = self.ready_daemon(config="[server]\ndrain_timeout_s = 0\n")
        client = self.start_long(server)
        server.signal(signal.SIGTERM)
        _, stderr = client.communicate(timeout=harness.PATIENCE_S)
        self.assertNotEqual(client.returncode, 0)
        self.assertRegex(stderr.decode(), r"(?i)shut|stop")
        self.assertEqual(server.wait(), 0)

    def test_a_second_signal_ends_at_once(self):
        server = self.ready_daemon(config="[server]\ndrain_timeout_s = 3600\n")
        client = self.start_long(server)
        server.signal(signal.SIGTERM)
        harness.wait_until(lambda: "draining" in server.log(), "it drains")
        self.assertTrue(server.alive())
        server.signal(signal.SIGINT)
        self.assertEqual(server.wait(), 0)
        client.communicate(timeout=harness.PATIENCE_S)
        self.assertNotEqual(client.returncode, 0)

    def test_an_idle_daemon_ends_at_once(self):
        server = self.ready_daemon()
        server.signal(signal.SIGINT)
        self.assertEqual(server.wait(), 0)


class Starting(harness.DaemonTest):
    def run_seekd(self, *args, **kwargs):
        return subprocess.run([harness.SEEKD, *args], capture_output=True, text=True, timeout=harness.PATIENCE_S, **kwargs)

    def test_check_judges_configuration_and_model(self):
        self.assertEqual(self.run_seekd("--check", "--model", harness.MODEL_NANO).returncode, 0)
        run = self.run_seekd("--check", "--model", self.folder)
        self.assertEqual(run.returncode, 1)
        self.assertIn("config.json", run.stderr)

    def test_mistakes_in_the_configuration_are_named_by_line(self):
        path = os.path.join(self.folder, "wrong.conf")
        with open(path, "w", encoding="utf-8") as f:
            f.write("[engine]\nthreats = 3\n")
        run = self.run_seekd("--config", path, "--check")
        self.assertEqual(run.returncode, 1)
        self.assertRegex(run.stderr, r"wrong\.conf:2: unknown key 'threats'")

    def test_cuda_is_refused_by_name(self):
        run = self.run_seekd("--backend", "cuda")
        self.assertEqual(run.returncode, 1)
        self.assertIn("built without CUDA", run.stderr)

    def test_wrong_usage(self):
        self.assertEqual(self.run_seekd("--no-such-option").returncode, 2)
        self.assertEqual(self.run_seekd("argument").returncode, 2)
        self.assertEqual(self.run_seekd("--help").returncode, 0)
        self.assertRegex(self.run_seekd("--version").stdout, r"^seekd \d+\.\d+\.\d+\n$")

    def test_a_model_that_cannot_be_read_ends_the_daemon_with_the_reason(self):
        server = self.daemon(model=self.folder)
        self.assertEqual(server.wait(), 1)
        self.assertIn("config.json", server.log())

    def test_a_second_daemon_does_not_take_the_socket(self):
        server = self.ready_daemon()
        run = self.run_seekd("--model", harness.MODEL_NANO, "--socket", server.socket)
        self.assertEqual(run.returncode, 3)
        self.assertIn("another seekd", run.stderr)
        self.assertTrue(server.complete())

    def test_a_file_that_is_no_socket_is_left_alone(self):
        path = os.path.join(self.folder, "file")
        with open(path, "w", encoding="utf-8"):
            pass
        run = self.run_seekd("--model", harness.MODEL_NANO, "--socket", path)
        self.assertEqual(run.returncode, 3)
        self.assertTrue(stat.S_ISREG(os.stat(path).st_mode))

    def test_the_socket_is_for_owner_and_group(self):
        server = self.ready_daemon()
        self.assertEqual(stat.S_IMODE(os.stat(server.socket).st_mode), 0o660)

    def test_a_state_folder_has_one_daemon(self):
        state = os.path.join(self.folder, "state")
        server = self.ready_daemon(options=("--state", state))
        self.assertEqual(stat.S_IMODE(os.stat(state).st_mode), 0o700)
        run = self.run_seekd("--model", harness.MODEL_NANO, "--socket", server.socket + "2", "--state", state)
        self.assertEqual(run.returncode, 3)
        self.assertIn("another seekd uses this state folder", run.stderr)


class Supervised(harness.DaemonTest):
    def notify_socket(self):
        path = os.path.join(self.folder, "notify")
        receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        receiver.bind(path)
        receiver.settimeout(harness.PATIENCE_S)
        self.addCleanup(receiver.close)
        return path, receiver

    def wait_for(self, receiver, pattern):
        seen = []
        while True:
            seen.append(receiver.recv(4096).decode())
            if re.search(pattern, seen[-1]):
                return seen

    def test_readiness_watchdog_and_stopping_are_announced(self):
        path, receiver = self.notify_socket()
        server = self.daemon(environment={"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "200000"})
        seen = self.wait_for(receiver, r"READY=1")
        self.assertRegex(seen[-1], r"STATUS=Serving nano on cpu")
        self.wait_for(receiver, r"WATCHDOG=1")
        self.assertTrue(server.complete())
        self.wait_for(receiver, r"WATCHDOG=1")
        server.signal(signal.SIGTERM)
        self.wait_for(receiver, r"STOPPING=1")
        self.assertEqual(server.wait(), 0)

    def test_a_model_that_cannot_be_read_is_told_to_the_supervisor(self):
        path, receiver = self.notify_socket()
        os.mkdir(os.path.join(self.folder, "empty"))
        server = self.daemon(model=os.path.join(self.folder, "empty"), environment={"NOTIFY_SOCKET": path})
        self.wait_for(receiver, r"ERRNO=2\nSTATUS=.*config\.json")
        self.assertEqual(server.wait(), 1)

    def test_a_socket_passed_by_the_supervisor_is_served_and_left_in_place(self):
        path = os.path.join(self.folder, "passed.sock")
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
            listener.bind(path)
            listener.listen(8)
            # As systemd does it: the socket is descriptor 3, LISTEN_PID is the daemon's own pid.
            start = (f"import os, sys; os.dup2({listener.fileno()}, 3); "
                     "os.environ['LISTEN_PID'] = str(os.getpid()); os.execv(sys.argv[1], sys.argv[1:])")
            with open(os.path.join(self.folder, "log"), "wb") as log:
                daemon = subprocess.Popen(
                    [sys.executable, "-c", start, harness.SEEKD, "--model", harness.MODEL_NANO],
                    env={**os.environ, "LISTEN_FDS": "1", "LISTEN_FDNAMES": "seekd"}, stderr=log,
                    pass_fds=(listener.fileno(),))
            self.addCleanup(daemon.wait)
            self.addCleanup(daemon.kill)
            run = subprocess.run([harness.SEEK, "complete", "--max-tokens", "8", "--socket", path],
                                 input=harness.PROMPT, capture_output=True, timeout=harness.PATIENCE_S)
            self.assertEqual(run.returncode, 0, run.stderr)
            daemon.send_signal(signal.SIGTERM)
            self.assertEqual(daemon.wait(harness.PATIENCE_S), 0)
            self.assertTrue(os.path.exists(path))


if __name__ == "__main__":
    harness.main()
