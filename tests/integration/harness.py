"""A private daemon and its clients, for the integration tests. Python's standard library only."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import unittest

# In this order on the command line of every test.
SEEKD, SEEK, HOSTILE, MODEL_NANO, MODEL_SEED = sys.argv[1:6]
# Under a thread checker every weight read is a call: the larger model takes minutes there and shows nothing that nano
# does not.
MODELS = [MODEL_NANO] if os.environ.get("SEEKD_TEST_NANO_ONLY") else [MODEL_NANO, MODEL_SEED]
del sys.argv[1:6]

# Far beyond what anything takes, also on a loaded machine: only a hang gets there. scripts/check gives more under
# sanitizers.
PATIENCE_S = int(os.environ.get("SEEKD_TEST_PATIENCE_S", "60"))

PROMPT = b"#include <stdio.h>\n\nint main(int argc, char **argv)\n{\n"


def wait_until(condition, what):
    """Polls until condition() is true and returns its value."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.01)
    raise AssertionError(f"never happened: {what}")


class Daemon:
    """A daemon of its own: socket, state and log in a temporary folder."""

    def __init__(self, folder, model=MODEL_NANO, options=(), environment=None, config=""):
        self.folder = folder
        self.socket = os.path.join(folder, "seekd.sock")
        self.log_path = os.path.join(folder, "log")
        config_path = os.path.join(folder, "seekd.conf")
        with open(config_path, "w", encoding="utf-8") as f:
            f.write(config)
        env = {k: v for k, v in os.environ.items() if k not in ("NOTIFY_SOCKET", "LISTEN_FDS", "JOURNAL_STREAM")}
        env.update(environment or {})
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                [SEEKD, "--config", config_path, "--model", model, "--socket", self.socket,
                 "--log-level", "debug", *options],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env)

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as f:
            return f.read()

    def wait_ready(self):
        def ready():
            if self.process.poll() is not None:
                raise AssertionError(f"the daemon ended with {self.process.returncode}:\n{self.log()}")
            return "MB of weights" in self.log()
        wait_until(ready, "the model is ready")

    def alive(self):
        return self.process.poll() is None

    def signal(self, number):
        self.process.send_signal(number)

    def wait(self):
        return self.process.wait(PATIENCE_S)

    def stop(self):
        if self.alive():
            self.process.kill()
            self.process.wait()

    # Clients.

    def seek_command(self, command, *args):
        return [SEEK, command, *args, "--socket", self.socket]

    def seek(self, command, *args, stdin=b"", user=None):
        """`user`: the uid to run as, which only root may choose."""
        return subprocess.run(self.seek_command(command, *args), input=stdin, capture_output=True, timeout=PATIENCE_S,
                              user=user)

    def start_seek(self, command, *args, stdin=b""):
        """A client in the background that has read its whole input."""
        client = subprocess.Popen(self.seek_command(command, *args), stdin=subprocess.PIPE,
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        client.stdin.write(stdin)
        client.stdin.close()
        client.stdin = None  # communicate() would flush it
        return client

    def complete(self, *args, prompt=PROMPT):
        run = self.seek("complete", "--max-tokens", "40", *args, stdin=prompt)
        if run.returncode != 0:
            raise AssertionError(f"seek complete: {run.returncode} {run.stderr}\n{self.log()}")
        return run.stdout

    def status(self):
        run = self.seek("status", "--json")
        if run.returncode != 0:
            raise AssertionError(f"seek status: {run.returncode} {run.stderr}\n{self.log()}")
        return json.loads(run.stdout)

    def hostile(self, deed):
        """What the daemon answered to the deed."""
        run = subprocess.run([HOSTILE, self.socket, deed], capture_output=True, timeout=PATIENCE_S, text=True)
        if run.returncode != 0:
            raise AssertionError(f"hostile {deed}: {run.returncode} {run.stderr}\n{self.log()}")
        return run.stdout.strip()

    @contextlib.contextmanager
    def hostile_running(self, deed):
        """The deed goes on in the background until the block ends."""
        with subprocess.Popen([HOSTILE, self.socket, deed], stdout=subprocess.PIPE, text=True) as client:
            try:
                if client.stdout.readline() != "waiting\n":
                    raise AssertionError(f"hostile {deed} did not start")
                yield client
            finally:
                client.kill()


class DaemonTest(unittest.TestCase):
    """A test that may start daemons."""

    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="seekd-test-")
        self.addCleanup(shutil.rmtree, self.folder)

    def daemon(self, **arguments):
        daemon = Daemon(self.folder, **arguments)
        self.addCleanup(daemon.stop)
        return daemon

    def ready_daemon(self, **arguments):
        daemon = self.daemon(**arguments)
        daemon.wait_ready()
        return daemon


def main():
    unittest.main(verbosity=2)
