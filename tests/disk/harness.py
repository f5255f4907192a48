"""What tests of `partita disk` are made with: a folder for each test, and the program.

See tests/suite.py for what a test is.
"""

import os
import pty
import random
import select
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))

from suite import ROOT, SLOWNESS, Checks, Failure, outcome, test  # noqa: E402,F401

KIB, MIB, GIB, TIB = 1 << 10, 1 << 20, 1 << 30, 1 << 40

# What `partita disk` has.
COMMANDS = ("create", "info", "check", "convert", "resize", "compact", "merge", "mirror", "compare",
            "map", "changes", "snapshot", "metadata", "set", "attach", "detach", "attach-to",
            "detach-from", "resize-in", "serve")


@dataclass
class Context(Checks):
    """What a test works with."""

    partita: str
    driver: str
    folder: Path

    def start(self, *arguments, **how):
        return subprocess.Popen([self.partita, "disk", *map(str, arguments)], cwd=self.folder,
                                stdin=how.pop("stdin", subprocess.DEVNULL),
                                stdout=how.pop("stdout", subprocess.PIPE),
                                stderr=how.pop("stderr", subprocess.PIPE), **how)

    def disk(self, *arguments, status=0, stdin=b"", text=True):
        """Run `partita disk` to its end; returns what it printed."""
        process = self.start(*arguments, stdin=subprocess.PIPE)
        try:
            out, err = process.communicate(stdin, timeout=60 * SLOWNESS)
        except subprocess.TimeoutExpired:
            process.kill()
            raise Failure(f"{' '.join(map(str, arguments))}: still running") from None
        err = err.decode(errors="replace")
        self.check(process.returncode == status,
                   f"{' '.join(map(str, arguments))}: status {process.returncode}, not {status}: "
                   f"{err or out!r}")
        self.check(status != 0 or err == "", f"on stderr: {err}")
        self.errors = err
        return out.decode() if text else out

    def refused(self, *arguments, status=1, words=(), says=""):
        """A failure says why in one line on stderr, which has the words."""
        out = self.disk(*arguments, status=status)
        self.check(out == says, f"on stdout: {out}")
        lines = self.errors.splitlines()
        self.check(len(lines) == 1 and lines[0].startswith("partita: "),
                   f"not one line of partita: {self.errors!r}")
        for word in words:
            self.check(word in lines[0], f"no {word!r} in: {lines[0]}")

    def run(self, *command, status=0):
        """Run another program to its end; returns all that it printed."""
        done = subprocess.run([str(word) for word in command], cwd=self.folder,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, timeout=120 * SLOWNESS)
        self.check(done.returncode == status,
                   f"{' '.join(map(str, command))}: status {done.returncode}: {done.stdout}")
        return done.stdout

    def work(self, image, reference, changes):
        """Random changes of an image, and the same in a raw file beside it."""
        done = subprocess.run([self.driver, "work", image, reference,
                               str(random.Random(image).randrange(1 << 32)), str(changes)],
                              cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True, timeout=60 * SLOWNESS)
        self.check(done.returncode == 0, f"driver: {done.stdout}")

    def path(self, name):
        return self.folder / name

    def raw(self, name, size, *places):
        """A sparse raw disk with some random data at these places."""
        generator = random.Random(name)
        with open(self.path(name), "wb") as file:
            file.truncate(size)
            for offset, length in places:
                file.seek(offset)
                file.write(generator.randbytes(length))

    def contents(self, image, size):
        """What a disk reads as."""
        self.disk("convert", image, "contents.raw", "--overwrite")
        data = self.path("contents.raw").read_bytes()
        self.check(len(data) == size, f"{image} has {len(data)} bytes, not {size}")
        return data

    def used(self, name):
        return os.stat(self.path(name)).st_blocks * 512

    def files(self):
        return sorted(os.listdir(self.folder))


class Terminal:
    """The program with a terminal as its stderr."""

    def __init__(self, context, *arguments):
        self.fd, slave = pty.openpty()
        self.process = context.start(*arguments, stderr=slave)
        os.close(slave)
        self.read = b""

    def expect(self, pattern, deadline=60):
        """Wait until the text was shown."""
        until = time.monotonic() + deadline * SLOWNESS
        while pattern not in self.read:
            ready, _, _ = select.select([self.fd], [], [], max(0, until - time.monotonic()))
            if not ready:
                raise Failure(f"{pattern!r} did not come: {self.read!r}")
            try:
                self.read += os.read(self.fd, 65536)
            except OSError:
                raise Failure(f"{pattern!r} never came: {self.read!r}") from None

    def wait(self, deadline=60):
        until = time.monotonic() + deadline * SLOWNESS
        while time.monotonic() < until:
            if select.select([self.fd], [], [], 0.1)[0]:
                try:
                    self.read += os.read(self.fd, 65536)
                except OSError:
                    break
        self.process.wait(max(0.1, until - time.monotonic()))
        os.close(self.fd)
        return self.process.returncode


def run_test(test_, partita, driver):
    """Returns None, or what failed."""
    folder = tempfile.mkdtemp(prefix="partita-disk-")
    try:
        return outcome(test_.function, Context(partita, driver, Path(folder)))
    finally:
        # A process that ends meanwhile removes its own files.
        shutil.rmtree(folder, ignore_errors=True)
