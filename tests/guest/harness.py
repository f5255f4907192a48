"""What guest tests are made with: machines with a deadline, and checks.

See tests/suite.py for what a test is. The end of the machine's console is shown with a failure.
"""

import os
import pty
import re
import select
import signal
import subprocess
import sys
import tempfile
import termios
import time
from dataclasses import dataclass, field
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))

from suite import ROOT, SLOWNESS, Checks, Failure, outcome, test  # noqa: E402,F401

HERE = Path(__file__).resolve().parent
TAIL_LINES = 30
COMPLAINT = re.compile(r"Kernel panic - not syncing|BUG: |Oops: |general protection fault")

# What the test guests' root has beside Debian's essential packages.
ROOT_PACKAGES = ("dbus", "e2fsprogs", "fio", "hyperv-daemons", "kexec-tools", "libpam-systemd",
                 "lsscsi", "mount", "ncat", "sg3-utils", "socat", "systemd", "util-linux",
                 "xfsprogs")


def tail(text):
    """A console's last lines; or those before the kernel's first complaint, which say why, and after."""
    lines = text.replace("\r", "").splitlines()
    end = next((n for n, line in enumerate(lines) if COMPLAINT.search(line)), len(lines))
    shown = lines[max(end - TAIL_LINES, 0):end + 2 * TAIL_LINES]
    return "\n".join("    | " + line for line in shown)


@dataclass
class Result:
    """A machine that ended."""

    status: int
    console: str
    errors: str
    seconds: float

    def facts(self):
        return dict(re.findall(r"^FACT (\S+) (.*?)\r*$", self.console, re.M))

    def output(self):
        """What the guest's job printed."""
        match = re.search(r"^BEGIN\r*\n(.*?)^END\r*$", self.console, re.M | re.S)
        if not match:
            raise Failure("the guest's job did not run to its end\n" + tail(self.console))
        # The kernel's own messages may come in between.
        lines = match.group(1).replace("\r", "").splitlines()
        return "\n".join(line for line in lines if not re.match(r"\[ *\d+\.\d+\]", line))


class Session:
    """A machine that runs, its console a pseudo-terminal or a pipe."""

    def __init__(self, command, terminal):
        self.read = b""
        self.started = time.monotonic()
        self.terminal = None
        self.errors = tempfile.TemporaryFile()
        if terminal:
            self.terminal, slave = pty.openpty()
            self.modes_before = termios.tcgetattr(slave)
            self.process = subprocess.Popen(command, stdin=slave, stdout=slave,
                                            stderr=self.errors, start_new_session=True,
                                            preexec_fn=lambda: own_terminal(slave))
            self.slave = slave
            self.input = self.output = self.terminal
        else:
            self.process = subprocess.Popen(command, stdin=subprocess.PIPE,
                                            stdout=subprocess.PIPE, stderr=self.errors)
            self.input = self.process.stdin.fileno()
            self.output = self.process.stdout.fileno()

    def text(self):
        return self.read.decode(errors="replace")

    def error_text(self):
        self.errors.seek(0)
        return self.errors.read().decode(errors="replace")

    def receive(self, seconds):
        """Take what comes within so many seconds; false at the end of the output."""
        ready, _, _ = select.select([self.output], [], [], seconds)
        if not ready:
            return self.process.poll() is None
        try:
            data = os.read(self.output, 65536)
        except OSError:  # a terminal whose other side is closed
            data = b""
        self.read += data
        return bool(data)

    def expect(self, pattern, deadline=60, start=0):
        """Wait for the pattern; returns where it ended."""
        until = time.monotonic() + deadline * SLOWNESS
        while True:
            match = re.compile(pattern.encode(), re.M).search(self.read, start)
            if match:
                return match.end()
            left = until - time.monotonic()
            if left <= 0 or not self.receive(min(left, 1)):
                why = "did not come in time" if left <= 0 else "never came"
                raise Failure(f"{pattern!r} {why}\n{tail(self.text() + self.error_text())}")

    def send(self, data):
        os.write(self.input, data)

    def wait(self, deadline):
        until = time.monotonic() + deadline * SLOWNESS
        while self.process.poll() is None:
            left = until - time.monotonic()
            if left <= 0:
                raise Failure(f"still running after {deadline * SLOWNESS:.0f} s\n"
                              + tail(self.text() + self.error_text()))
            self.receive(min(left, 0.2))
        while not self.terminal and self.receive(0):
            pass
        return Result(self.process.returncode, self.text(), self.error_text(),
                      time.monotonic() - self.started)

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        if self.terminal:
            os.close(self.terminal)
            os.close(self.slave)
        else:
            self.process.stdin.close()
            self.process.stdout.close()
        self.errors.close()


def own_terminal(slave):
    import fcntl

    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)


@dataclass
class Context(Checks):
    """What a test works with: the program, a folder of its own, and guests."""

    partita: str
    folder: Path
    engine: str
    sessions: list = field(default_factory=list)

    def session(self, *arguments, terminal=False):
        session = Session([self.partita, "run", "--engine", self.engine, *map(str, arguments)],
                          terminal)
        self.sessions.append(session)
        return session

    def run(self, *arguments, deadline=90, stdin=b""):
        """Run a machine to its end."""
        session = self.session(*arguments)
        if stdin:
            session.send(stdin)
        return session.wait(deadline)

    def close(self):
        for session in self.sessions:
            session.close()

    def kernel(self, kind):
        return tool("scripts/guest/kernel", kind)

    def modules(self, kind, *names):
        """Modules of a kernel and what they need, as files of an initramfs in /lib/modules."""
        return tool("scripts/guest/modules", kind, *names).split()

    def initrd(self, job, *files):
        """An initramfs whose /init runs a job of jobs/, or the given commands."""
        job_file = HERE / "jobs" / job
        if not re.fullmatch(r"\w+", job):
            job_file = self.folder / "job"
            job_file.write_text(job)
        out = self.folder / "initrd"
        tool("scripts/guest/initramfs", out, HERE / "init", f"job={job_file}", *files)
        return out

    def root(self, job, kernel="cloud", modules=()):
        """A Debian on a disk, which runs a job: arguments for a machine, up to the disk itself."""
        job_file = self.folder / "job"
        job_file.write_text(job)
        initrd = self.folder / "root-initrd"
        tool("scripts/guest/initramfs", initrd, ROOT / "scripts/guest/init.root",
             f"job={job_file}", *self.modules(kernel, "sd_mod", "hv_storvsc", "crc32c_generic", "ext4",
                           *modules))
        return ["--kernel", self.kernel(kernel), "--initrd", initrd]

    def disk(self, name, *arguments):
        """Make a disk in the test's folder with partita disk create."""
        path = self.folder / name
        self.tool("disk", "create", path, *arguments)
        return path

    def root_disk(self, name="root.avhdx"):
        """A differencing disk on the test guests' root."""
        base = tool("scripts/guest/root", "test", "2G", HERE / "init", *ROOT_PACKAGES)
        return self.disk(name, "--parent", base)

    def tool(self, *arguments):
        """Run a command of partita; returns what it printed."""
        done = subprocess.run([self.partita, *map(str, arguments)], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
        if done.returncode:
            raise Failure(f"partita {' '.join(map(str, arguments))}: status {done.returncode}: "
                          + done.stderr)
        return done.stdout

    def refuses(self, why, *arguments):
        """Run a command of partita that must fail and say, by the pattern, why."""
        try:
            self.tool(*arguments)
        except Failure as failure:
            self.check(re.search(why, str(failure)), f"{failure}\nwithout {why!r}")
        else:
            raise Failure(f"partita {' '.join(map(str, arguments))} was not refused")

    def compile(self, name):
        """A C program for guests, with no libraries beside it."""
        out = self.folder / name
        subprocess.run(["gcc", "-O", "-static", "-o", out, HERE / f"{name}.c"], check=True)
        return out

    def freestanding(self, name):
        """A guest in C and assembly without a kernel, as an ELF file with a PVH entry."""
        out = self.folder / f"{name}.elf"
        subprocess.run(["gcc", "-std=gnu17", "-O2", "-Wall", "-Wextra", "-Werror",
                        "-Wno-unused-parameter", "-ffreestanding", "-fno-pic", "-no-pie",
                        "-fno-stack-protector", "-fno-tree-loop-distribute-patterns",
                        "-mno-red-zone", "-mgeneral-regs-only", "-static", "-nostdlib",
                        "-Wl,-Ttext=0x200000,--build-id=none", "-I", ROOT / "src", "-I",
                        ROOT / "include", "-o", out, HERE / f"{name}.S", HERE / f"{name}.c"],
                       check=True)
        return out

    def assemble(self, name):
        """An assembly guest of asm/, as a Multiboot kernel."""
        out = self.folder / f"{name}.elf"
        parts = self.folder / f"{name}.o"
        subprocess.run(["nasm", "-f", "elf32", "-I", f"{HERE}/asm/", "-o", parts,
                        HERE / "asm" / f"{name}.asm"], check=True)
        subprocess.run(["ld", "-m", "elf_i386", "-N", "--no-warn-rwx-segments", "-Ttext",
                        "0x100000", "-o", out, parts], check=True)
        return out


def tool(script, *arguments):
    done = subprocess.run([ROOT / script, *map(str, arguments)], stdout=subprocess.PIPE,
                          stdin=subprocess.DEVNULL, text=True)
    if done.returncode:
        raise Failure(f"{script} failed")
    return done.stdout.strip()


def run_test(test_, partita, engine):
    """Returns None, or what failed."""
    with tempfile.TemporaryDirectory(prefix="partita-test-") as folder:
        # The worker may have given up being root.
        os.chmod(folder, 0o777)
        context = Context(partita, Path(folder), engine)
        try:
            return outcome(test_.function, context)
        finally:
            context.close()


def crashed(status):
    """Whether the program itself died of a signal such as SIGSEGV."""
    return status < 0 and -status in (signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT,
                                      signal.SIGILL, signal.SIGFPE, signal.SIGSYS)
