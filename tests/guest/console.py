"""The console: terminal keys, pipes, files and sockets."""

import os
import signal
import socket
import termios
import time

from boot import CMDLINE
from harness import ROOT, SLOWNESS, Failure, tail, test, tool

ESCAPE = b"\x01"


def echo_guest(context, *arguments, terminal=False):
    """A guest that sends back what it gets, and powers off at a q."""
    return context.session("--kernel", context.assemble("hang"), "--cmdline", "echo", "--memory",
                           "16M", *arguments, terminal=terminal)


def modes(session):
    return termios.tcgetattr(session.slave)


@test("console: Ctrl-A x quits and gives the terminal back")
def quit_key(context):
    session = echo_guest(context, terminal=True)
    session.expect("here", 10)
    context.check(not modes(session)[3] & termios.ICANON, "the terminal is not in raw mode")
    session.send(b"a")
    session.expect("a", 5)
    session.send(ESCAPE + b"x")
    result = session.wait(5)
    context.check(result.status == 0, f"status {result.status}: {result.errors}")
    context.check(modes(session) == session.modes_before, "the terminal was not given back")


@test("console: Ctrl-A h helps, Ctrl-A Ctrl-A sends itself")
def other_keys(context):
    session = echo_guest(context, terminal=True)
    session.expect("here", 10)
    session.send(ESCAPE + b"h")
    session.expect("Ctrl-A x", 5)
    session.send(ESCAPE + ESCAPE + b"<")
    session.expect("\x01<", 5)
    session.send(b"q")
    result = session.wait(5)
    context.check(result.status == 0, f"status {result.status}: {result.errors}")


@test("console: the terminal is given back after a signal, also SIGSEGV")
def terminal_after_signals(context):
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGSEGV, signal.SIGABRT):
        session = echo_guest(context, terminal=True)
        session.expect("here", 10)
        session.process.send_signal(number)
        result = session.wait(5)
        context.check(result.status == -number, f"status {result.status} after signal {number}")
        context.check(modes(session) == session.modes_before,
                      f"not given back after signal {number}")


@test("console: pipes carry every byte, Ctrl-A too, and their end ends nothing")
def pipes(context):
    session = echo_guest(context)
    end = session.expect("here\n", 10)
    sent = bytes(b for b in range(256) if b != ord("q")) * 8
    session.send(sent)
    until = time.monotonic() + 20 * SLOWNESS
    while len(session.read) < end + len(sent):
        if time.monotonic() > until or not session.receive(1):
            raise Failure(f"{len(session.read) - end} of {len(sent)} bytes came back")
    context.check(session.read[end:] == sent, "other bytes came back")
    session.process.stdin.close()
    session.receive(1)
    context.check(session.process.poll() is None, "the end of stdin ended the machine")
    session.process.send_signal(signal.SIGTERM)
    session.wait(5)
    session.process.stdin = open(os.devnull)


@test("console: a reader that goes away ends the machine as it ends other programs")
def broken_pipe(context):
    session = echo_guest(context)
    session.expect("here", 10)
    session.process.stdout.close()
    session.send(b"xx")
    status = session.process.wait(5 * SLOWNESS)
    context.check(status == -signal.SIGPIPE, f"status {status}")
    session.process.stdout = open(os.devnull)


@test("console: stdin from a file")
def stdin_file(context):
    import subprocess

    keys = context.folder / "keys"
    keys.write_bytes(b"0123456789" * 500 + b"q")
    done = subprocess.run([context.partita, "run", "--engine", context.engine, "--kernel",
                           context.assemble("hang"), "--cmdline", "echo", "--memory", "16M"],
                          stdin=open(keys, "rb"), stdout=subprocess.PIPE, timeout=30 * SLOWNESS)
    context.check(done.returncode == 0, f"status {done.returncode}")
    context.check(done.stdout == b"here\n" + keys.read_bytes(), "other bytes came back")


@test("console: a shell at the guest's prompt")
def shell(context):
    initrd = context.folder / "initrd"
    tool("scripts/guest/initramfs", initrd, ROOT / "scripts/guest/init.demo")
    session = context.session("--kernel", context.kernel("cloud"), "--initrd", initrd, "--cmdline",
                              CMDLINE + " PARTITA_DEMO=shell", "--processors", 2, terminal=True)
    start = session.expect("# ", 90, session.expect("report of the guest", 90))
    session.send(b"echo $((6 * 7)) is the answer\r")
    start = session.expect("^42 is the answer", 20, start)
    session.send(b"(echo asleep; sleep 100)\r")
    session.expect("^asleep", 20, start)
    session.send(b"\x03")  # Ctrl-C reaches the guest, not the machine
    session.send(b"tty\r")
    session.expect("^/dev/ttyS0", 20, start)
    session.send(b"poweroff -f\r")
    result = session.wait(30)
    context.check(result.status == 0, f"status {result.status}: {result.errors}")


@test("console: a slow reader slows the guest down and loses nothing")
def slow_reader(context):
    session = context.session("--kernel", context.kernel("cloud"), "--initrd",
                              context.initrd("dmesg -n 1; seq 1 40000"), "--cmdline", CMDLINE)
    session.expect("FACT uptime", 90)
    time.sleep(3)  # more than pipe and buffer hold is on its way by now
    result = session.wait(60)
    context.check(result.status == 0, f"status {result.status}: {result.errors}")
    context.check(result.output() == "\n".join(str(n) for n in range(1, 40001)),
                  "what came is not what was sent")


@test("console: serial output to a file")
def serial_file(context):
    log = context.folder / "log"
    result = context.run("--kernel", context.kernel("cloud"), "--initrd", context.initrd(":"),
                         "--cmdline", CMDLINE, "--serial", f"file:{log}")
    context.check(result.status == 0, f"status {result.status}: {result.errors}")
    context.check(result.console == "", "something is on stdout: " + result.console)
    text = log.read_text(errors="replace")
    context.check("Linux version" in text and "END" in text, tail(text))


def connect(path):
    deadline = 10 * SLOWNESS
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(deadline)
    until = time.monotonic() + deadline
    while True:
        try:
            client.connect(str(path))
            return client
        except OSError:
            if time.monotonic() > until:
                raise Failure(f"nobody listens at {path}")
            time.sleep(0.02)


def talk(client, data):
    client.sendall(data)
    got = b""
    while len(got) < len(data):
        part = client.recv(100)
        if not part:
            raise Failure(f"closed after {got!r}")
        got += part
    return got


@test("console: a socket serves one client after another")
def serial_socket(context):
    path = context.folder / "socket"
    session = echo_guest(context, "--serial", f"unix:{path}")
    first = connect(path)
    # Nobody may have been there when the guest said that it is ready.
    data = talk(first, b"z")
    context.check(data[-1:] == b"z" or b"here" in data, repr(data))
    second = connect(path)
    second.sendall(b"2")
    first.close()
    context.check(second.recv(1) == b"2", "the second client was not served")
    second.sendall(b"q")
    result = session.wait(5)
    context.check(result.status == 0, f"status {result.status}: {result.errors}")
    second.close()


@test("console: a socket in use is refused, a stale one replaced")
def socket_in_use(context):
    path = context.folder / "socket"
    first = echo_guest(context, "--serial", f"unix:{path}")
    connect(path).close()
    result = echo_guest(context, "--serial", f"unix:{path}").wait(10)
    context.check(result.status == 2, f"status {result.status}: {result.errors}")
    context.check(str(path) in result.errors, result.errors)
    first.process.kill()
    first.wait(5)
    third = echo_guest(context, "--serial", f"unix:{path}")
    client = connect(path)
    client.sendall(b"q")
    context.check(third.wait(10).status == 0, "the machine with the replaced socket failed")
    client.close()
