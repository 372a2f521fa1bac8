#!/usr/bin/env python3
"""The systemd units, as far as systemd can judge them without running them. Usage: test_units.py SERVICE SOCKET SEEKD"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

SERVICE, SOCKET, SEEKD = sys.argv[1:4]
del sys.argv[1:4]

# Tenths of systemd's exposure level; 1.0 is what the most guarded services of a distribution reach.
EXPOSURE_MAX = 10


class Units(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="seekd-units-")
        self.addCleanup(shutil.rmtree, self.folder)
        self.service = os.path.join(self.folder, "seekd.service")
        self.socket = os.path.join(self.folder, "seekd.socket")
        with open(SERVICE, encoding="utf-8") as f:
            text = f.read()
        with open(self.service, "w", encoding="utf-8") as f:
            # The one that is built, since nothing is installed.
            f.write(re.sub(r"(?m)^ExecStart=\S+", f"ExecStart={os.path.abspath(SEEKD)}", text))
        shutil.copy(SOCKET, self.socket)

    def analyze(self, *args):
        return subprocess.run(["systemd-analyze", *args], capture_output=True, text=True,
                              env={**os.environ, "SYSTEMD_UNIT_PATH": self.folder + ":"})

    def test_systemd_understands_every_line(self):
        run = self.analyze("verify", "--man=no", self.service, self.socket)
        self.assertEqual((run.returncode, run.stderr), (0, ""))

    def test_the_service_is_guarded(self):
        run = self.analyze("security", "--offline=yes", f"--threshold={EXPOSURE_MAX}", self.service)
        self.assertEqual(run.returncode, 0, run.stdout)


if __name__ == "__main__":
    if not shutil.which("systemd-analyze"):
        sys.exit(77)  # meson: skipped
    unittest.main(verbosity=2)
