"""What tests of Hyper-V sockets between host programs are made with: a folder for each test, where
its sockets and its registry are, and programs that have libhvsocket preloaded or are linked to it.
"""

import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))

from suite import ROOT, SLOWNESS, Checks, Failure, outcome, test  # noqa: E402,F401

PATIENCE = 60 * SLOWNESS


@dataclass
class Context(Checks):
    """What a test works with."""

    build: Path
    folder: Path
    running: list = field(default_factory=list)

    @property
    def registry(self):
        return self.folder / "services.json"

    def environment(self, preload):
        added = {"PARTITA_RUN_DIR": str(self.folder / "run"),
                 "PARTITA_SERVICES": str(self.registry)}
        if preload:
            added["LD_PRELOAD"] = str(self.build / "src/hvsocket/libhvsocket.so")
        return {**os.environ, **added}

    def start(self, *command, preload=True, **how):
        process = subprocess.Popen([str(word) for word in command], cwd=self.folder,
                                   env=self.environment(preload),
                                   stdin=how.pop("stdin", subprocess.DEVNULL),
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, **how)
        self.running.append(process)
        return process

    def run(self, *command, status=0, stdin=b"", preload=True):
        """Run a program to its end; returns what it printed, bytes."""
        process = self.start(*command, stdin=subprocess.PIPE, preload=preload)
        try:
            out, err = process.communicate(stdin, timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            raise Failure(f"{command}: still running") from None
        self.errors = err.decode(errors="replace")
        self.check(status is None or process.returncode == status,
                   f"{command}: status {process.returncode}: {self.errors}")
        return out

    def service(self, *arguments, status=0):
        """Run `partita service`; returns what it printed, text."""
        out = self.run(self.build / "partita", "service", *arguments, status=status,
                       preload=False).decode()
        self.check(status or not self.errors, f"on stderr: {self.errors}")
        return out

    def program(self, name):
        return self.build / "tests/sockets" / name

    def listening(self, process):
        """Wait until a program that was just started listens."""
        until = time.monotonic() + PATIENCE
        while not self.accepting():
            self.check(process.poll() is None and time.monotonic() < until, "nobody listens")
            select.select([process.stderr], [], [], 0.02)
        return process

    def accepting(self):
        """Does anybody listen, as the kernel sees it? Its names of sockets may have other folders."""
        accepts = "00010000"
        lines = Path("/proc/net/unix").read_text().splitlines()
        return any(line.endswith(name) and line.split()[3] == accepts
                   for name in self.listeners() for line in lines)

    def listeners(self):
        try:
            return [name for name in os.listdir(self.folder / "run/sockets/listen")
                    if not name.startswith(".")]
        except FileNotFoundError:
            return []

    def ended(self, process):
        try:
            return process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            raise Failure(f"{process.args}: still running") from None


def run_test(test_, build):
    """Returns None, or what failed."""
    context = Context(build, Path(tempfile.mkdtemp(prefix="partita-sockets-")))
    try:
        return outcome(test_.function, context)
    finally:
        for process in context.running:
            if process.poll() is None:
                process.kill()
            process.communicate()
        shutil.rmtree(context.folder, ignore_errors=True)
