"""A terminal for programs that draw, for the integration tests. Python's standard library only."""

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios

import harness


class Screen:
    """What a terminal shows that understands as much of "vt100" as ncurses uses of it."""

    TOKEN = re.compile(r"\x1b\[([?0-9;]*)([A-Za-z])|\x1b[()][A-Za-z0-9]|\x1b[78=>MDEc]|[\x00-\x1a\x1c-\x1f]|[^\x00-\x1f\x1b]+",
                       re.DOTALL)

    def __init__(self, lines, columns):
        self.resize(lines, columns)

    def resize(self, lines, columns):
        """Empty afterwards: programs draw all of it anew."""
        self.lines, self.columns = lines, columns
        self.cells = [[" "] * columns for _ in range(lines)]
        self.y = self.x = 0
        self.region = (0, lines - 1)  # what scrolls
        self.rest = ""

    def text(self):
        return "\n".join("".join(row).rstrip() for row in self.cells)

    def feed(self, data):
        self.rest += data.decode("ascii", "replace")
        # A sequence whose end has not come yet waits for it.
        cut = self.rest.rfind("\x1b")
        whole = self.rest if cut < 0 or self.TOKEN.match(self.rest, cut) else self.rest[:cut]
        self.rest = self.rest[len(whole):]
        for token in self.TOKEN.finditer(whole):
            if token[2]:
                self.control(token[1], token[2])
            elif token[0][0] >= " ":
                for c in token[0]:
                    self.put(c)
            else:
                self.move(token[0])

    def move(self, c):
        if c == "\r":
            self.x = 0
        elif c == "\n" and self.y == self.region[1]:
            self.scroll(self.region[0], self.region[1])
        elif c == "\n":
            self.y = min(self.y + 1, self.lines - 1)
        elif c == "\b":
            self.x = max(self.x - 1, 0)
        elif c == "\t":
            self.x = min(self.x // 8 * 8 + 8, self.columns - 1)
        elif c == "\x1bM" and self.y == self.region[0]:
            self.scroll(self.region[1], self.region[0])
        elif c == "\x1bM":
            self.y = max(self.y - 1, 0)

    def scroll(self, goes, comes):
        del self.cells[goes]
        self.cells.insert(comes, [" "] * self.columns)

    def put(self, c):
        if self.x == self.columns:
            self.x, self.y = 0, min(self.y + 1, self.lines - 1)
        self.cells[self.y][self.x] = c
        self.x += 1

    def control(self, arguments, name):
        numbers = [int(n) if n.isdigit() else 0 for n in arguments.split(";")]
        n = numbers[0] or 1
        self.x = min(self.x, self.columns - 1)
        if name == "H":
            second = numbers[1] if len(numbers) > 1 else 1
            self.y, self.x = min(n, self.lines) - 1, min(max(second, 1), self.columns) - 1
        elif name == "r":
            self.region = (n - 1, (numbers[1] if len(numbers) > 1 else self.lines) - 1)
            self.y = self.x = 0
        elif name == "A":
            self.y = max(self.y - n, 0)
        elif name == "B":
            self.y = min(self.y + n, self.lines - 1)
        elif name == "C":
            self.x = min(self.x + n, self.columns - 1)
        elif name == "D":
            self.x = max(self.x - n, 0)
        elif name == "K" and numbers[0] == 0:
            self.cells[self.y][self.x:] = [" "] * (self.columns - self.x)
        elif name == "K" and numbers[0] == 1:
            self.cells[self.y][:self.x + 1] = [" "] * (self.x + 1)
        elif name == "J":
            self.cells[self.y][self.x:] = [" "] * (self.columns - self.x)
            for row in self.cells[self.y + 1:]:
                row[:] = [" "] * self.columns


class Terminal:
    """A program in a terminal of its own."""

    def __init__(self, command, lines=24, columns=80, term="vt100", errors_too=False):
        self.master, self.slave = pty.openpty()
        self.screen = Screen(lines, columns)
        self.raw = b""
        self.resize(lines, columns)
        self.before = termios.tcgetattr(self.slave)
        environment = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES")}
        environment["TERM"] = term
        self.process = subprocess.Popen(
            command, stdin=self.slave, stdout=self.slave,
            stderr=self.slave if errors_too else subprocess.PIPE, env=environment, start_new_session=True)

    def close(self):
        self.process.kill()
        self.process.communicate()
        os.close(self.master)
        os.close(self.slave)

    def resize(self, lines, columns):
        self.screen.resize(lines, columns)
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def press(self, keys):
        os.write(self.master, keys)

    def read(self, patience_s):
        readable, _, _ = select.select([self.master], [], [], patience_s)
        if readable:
            data = os.read(self.master, 65536)
            self.raw += data
            self.screen.feed(data)
        return bool(readable)

    def wait_for(self, pattern):
        """Until the screen shows it; returns what is shown then."""
        def shown():
            self.read(0.05)
            return re.search(pattern, self.screen.text())
        try:
            harness.wait_until(shown, f"the screen shows {pattern}")
        except AssertionError as e:
            raise AssertionError(f"{e}; it shows:\n{self.screen.text()}") from e
        return self.screen.text()

    def wait_exit(self):
        """The exit status, with all that it wrote read."""
        harness.wait_until(lambda: (self.read(0.02), self.process.poll() is not None)[1], "the program ends")
        while self.read(0):
            pass
        return self.process.returncode
