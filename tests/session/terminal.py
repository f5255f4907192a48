"""partita enter, exec and copy at a terminal: what is shown there, what is typed, and its size."""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time

from harness import PASSWORD, PATIENCE, USER, Failure, test



class Terminal:
    """A program of partita that has a terminal of its own."""

    def __init__(self, context, *arguments, password=PASSWORD, rows=24, columns=80, **how):
        self.master, slave = pty.openpty()
        self.resize(rows, columns)
        self.modes = termios.tcgetattr(slave)
        command = context.command(*arguments)
        if password is None:
            at = command.index("--password-file")
            del command[at:at + 2]
        self.process = subprocess.Popen(
            command, stdin=how.get("stdin", slave), stdout=how.get("stdout", slave), stderr=slave,
            start_new_session=True, preexec_fn=lambda: fcntl.ioctl(2, termios.TIOCSCTTY, 0),
            env={**os.environ, "PS1": "ready> ", "TERM": "dumb"})
        self.slave = slave
        self.shown = b""

    def resize(self, rows, columns):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, text):
        os.write(self.master, text.encode())

    def expect(self, pattern):
        """Wait until it shows that; it is not looked at again."""
        until = time.monotonic() + PATIENCE
        while not (match := re.search(pattern.encode(), self.shown, re.M)):
            ready, _, _ = select.select([self.master], [], [], max(0, until - time.monotonic()))
            if not ready:
                raise Failure(f"the terminal does not show {pattern!r}: {self.shown!r}")
            self.shown += os.read(self.master, 65536)
        before, self.shown = self.shown[:match.end()], self.shown[match.end():]
        return before.decode()

    def end(self, status):
        """It ends with that status, and its terminal is as it was. Returns what it still showed."""
        if self.process.wait(PATIENCE) != status:
            raise Failure(f"status {self.process.returncode}, not {status}: {self.shown!r}")
        while select.select([self.master], [], [], 0)[0]:
            self.shown += os.read(self.master, 65536)
        if termios.tcgetattr(self.slave) != self.modes:
            raise Failure("the terminal's modes were changed")
        os.close(self.master)
        os.close(self.slave)
        return self.shown.decode()


def shell(context, agent, **how):
    """A terminal at which a shell asks for commands."""
    terminal = Terminal(context, "exec", "-t", f"unix:{agent.path}", "--", "env", "PS1=ready> ",
                        "bash", "--norc", "--noprofile", **how)
    terminal.expect("ready> $")
    return terminal


@test("terminal: a password is not shown; one that is wrong may be typed again")
def password(context):
    agent = context.agent()
    terminal = Terminal(context, "exec", f"unix:{agent.path}", "--", "echo", "it runs",
                        password=None)
    shown = terminal.expect("Password: $")
    terminal.type("wrong\n")
    shown += terminal.expect(f"{USER} is not let in: wrong user or password\r\n")
    shown += terminal.expect("Password: $")
    terminal.type(PASSWORD + "\n")
    shown += terminal.expect("it runs\r\n") + terminal.end(0)
    context.check(PASSWORD not in shown and "wrong\r\n" not in shown, shown)


@test("terminal: an interrupted prompt leaves the terminal as it was")
def interrupted(context):
    agent = context.agent()
    terminal = Terminal(context, "exec", f"unix:{agent.path}", "--", "true", password=None)
    terminal.expect("Password: $")
    terminal.type("secr\3")
    context.check("secr" not in terminal.end(-signal.SIGINT), "it was shown")
    agent.idle()


@test("terminal: ~. hangs up, ~~ is a tilde, ~? shows them, only where a line begins")
def escapes(context):
    agent = context.agent()
    terminal = shell(context, agent)
    terminal.type("echo a~.b\r")
    terminal.expect("\na~.b\r\nready> $")
    terminal.type("~?")
    terminal.expect("~.  hang up\r\n~~  send one ~")
    terminal.type("~~.\r")
    terminal.expect("ready> $")
    terminal.type("~x\r")
    terminal.expect("~x: command not found\r\nready> $")
    terminal.type("cat; echo not reached\r~")
    terminal.type(".")
    terminal.end(255)
    agent.idle()


# One process: a shell that is just starting another cannot be stopped.
WAITS = """
import os, signal
signal.signal(signal.SIGCONT, lambda number, frame: os.write(1, b"goes on\\n"))
os.write(1, b"waits\\n")
while True:
    signal.pause()
"""


@test("terminal: its size follows; ^C, ^Z and ^\\ are the command's")
def keys(context):
    agent = context.agent()
    terminal = shell(context, agent, rows=31, columns=97)
    terminal.type("stty size\r")
    terminal.expect("\n31 97\r\nready> $")
    # The command hears of it, too.
    terminal.type("""bash -c 'trap "stty size" WINCH; trap "echo got INT; exit" INT; echo loops; """
                  """while :; do sleep 0.05; done'\r""")
    terminal.expect("^loops\r\n")
    terminal.resize(40, 120)
    terminal.expect("^40 120\r\n")
    terminal.type("\3")
    terminal.expect(r"got INT\r\n")
    terminal.expect("ready> $")
    (context.folder / "waits").write_text(WAITS)
    terminal.type(f"python3 {context.folder}/waits\r")
    terminal.expect("^waits\r\n")
    terminal.type("\x1a")
    terminal.expect(r"Stopped +python3 .*\r\nready> $")
    terminal.type("fg; echo status $?\r")
    # Not before that is the terminal the command's again.
    terminal.expect("^goes on\r\n")
    terminal.type("\x1c")
    terminal.expect("^status 131\r\nready> $")
    terminal.type("exit 9\r")
    terminal.end(9)


@test("terminal: a shell that a signal ends, a command that is killed")
def killed(context):
    terminal = shell(context, context.agent())
    terminal.type("kill -KILL $$\r")
    terminal.end(128 + signal.SIGKILL)


@test("terminal: copy shows progress there, and nothing elsewhere or with -q")
def progress(context):
    agent, folder = context.agent(), context.folder
    (folder / "a").write_bytes(bytes(3 << 20))
    place = f"unix:{agent.path}:{folder}/b"
    shown = Terminal(context, "copy", folder / "a", place).end(0)
    context.check(shown.endswith("a  3 of 3 MiB, 100%\r\n"), shown)
    shown = Terminal(context, "copy", place, folder / "c").end(0)
    context.check(shown.endswith("b  3 of 3 MiB, 100%\r\n"), shown)
    context.check(Terminal(context, "copy", "-q", place, folder / "c").end(0) == "", "with -q")
    out, errors = context.run("copy", place, folder / "c")
    context.check((out, errors) == (b"", ""), (out, errors))
