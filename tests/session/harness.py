"""What tests of the direct session are made with: an agent without a guest, and peers that misbehave.

The agent runs on this host: it is given a listening socket as systemd would, and PAM's service in a
folder of the test's, whose passwords a script checks. `partita` reaches it as "unix:SOCKET".
"""

import contextlib
import hashlib
import os
import pwd
import re
import select
import signal
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))

from suite import ROOT, SLOWNESS, Checks, Failure, outcome, test  # noqa: E402,F401

USER = pwd.getpwuid(os.getuid()).pw_name
PASSWORD = "open sesame"
PATIENCE = 60 * SLOWNESS

# session_protocol.h
(HELLO, LOGIN, PROMPT, ANSWER, NOTE, ACCEPTED, REFUSED, START, STARTED, DATA, EOF, CREDIT, CLOSE,
 RESIZE, SIGNAL, EXIT, PROOF, BOUND) = range(1, 19)
MAGIC = 0x54525050
WINDOW, PAYLOAD = 256 << 10, 32768
SHELL, COMMAND, SEND, RECEIVE = range(4)


def sha(data):
    return hashlib.sha256(data).hexdigest()


def message(kind, payload=b"", stream=0):
    return struct.pack("<IBBH", len(payload), kind, stream, 0) + payload


def start(kind, *strings, flags=0, term=""):
    text = b"".join(s.encode() + b"\0" for s in (term, *strings))
    return message(START, struct.pack("<BBHHHHH", kind, flags, 1 + len(strings), 24, 80, 0, 0)
                   + text)


HELLO_1 = message(HELLO, struct.pack("<IHH", MAGIC, 1, 1))
# A host without a key. An agent without one only passes where nobody asks for its key.
GREETING = HELLO_1 + message(PROOF)


class Peer:
    """One end of the protocol, which says what it likes."""

    def __init__(self, stream):
        self.stream = stream
        self.got = b""

    def send(self, data):
        self.stream.sendall(data)

    def receive(self):
        """The next message as (type, stream, payload); None at the end."""
        while True:
            if len(self.got) >= 8:
                length, kind, stream, _ = struct.unpack_from("<IBBH", self.got)
                if len(self.got) >= 8 + length:
                    payload, self.got = self.got[8:8 + length], self.got[8 + length:]
                    return kind, stream, payload
            try:
                data = self.stream.recv(65536)
            except (ConnectionError, ssl.SSLError):
                data = b""
            if not data:
                return None
            self.got += data

    def expect(self, kind):
        while (got := self.receive()) and got[0] == NOTE:
            pass
        if not got or got[0] != kind:
            raise Failure(f"not message {kind} but {got}")
        return got[2]

    def ended(self):
        """The other side hangs up, whatever it still says."""
        while self.receive():
            pass
        return True

    def close(self):
        self.stream.close()


@dataclass
class Agent:
    """partita-agent on this host."""

    context: object
    process: object
    path: Path
    log_file: Path

    def log(self):
        return self.log_file.read_text()

    def logged(self, pattern):
        """Wait until it has logged that."""
        until = time.monotonic() + PATIENCE
        while not re.search(pattern, self.log()):
            if time.monotonic() > until:
                raise Failure(f"the agent did not log {pattern!r}:\n{self.log()}")
            time.sleep(0.01)

    def connect(self, tls=True, context=None):
        peer = socket.socket(socket.AF_UNIX)
        peer.settimeout(PATIENCE)
        peer.connect(str(self.path))
        if tls:
            context = context or client_context()
            peer = context.wrap_socket(peer)
        return Peer(peer)

    def logged_in(self):
        """A peer whose user was accepted."""
        peer = self.connect()
        peer.send(GREETING)
        peer.expect(HELLO)
        peer.expect(PROOF)
        peer.send(message(LOGIN, USER.encode()))
        peer.expect(PROMPT)
        peer.send(message(ANSWER, PASSWORD.encode()))
        peer.expect(ACCEPTED)
        return peer

    def children_of(self, parent):
        listing = subprocess.run(["ps", "-e", "-o", "pid=,ppid="], stdout=subprocess.PIPE,
                                 text=True, check=True).stdout
        return [int(line.split()[0]) for line in listing.splitlines()
                if int(line.split()[1]) == parent]

    def children(self):
        """A process for each connection."""
        return self.children_of(self.process.pid)

    def kill_servers(self):
        """Kill what each connection's process has started: its relay, and who is the user."""
        for pid in self.children():
            for child in self.children_of(pid):
                kill(child)

    def idle(self):
        """Wait until it serves nobody."""
        until = time.monotonic() + PATIENCE
        while self.children():
            if time.monotonic() > until:
                raise Failure(f"the agent still serves {self.children()}:\n{self.log()}")
            time.sleep(0.01)


def kill(pid):
    """Kill a process, which may have ended by itself by now."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def client_context(certificate=None):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if certificate:
        context.load_cert_chain(certificate)
    return context


@dataclass
class Context(Checks):
    """What a test works with: the programs, a folder of its own, and an agent."""

    partita: str
    agent_program: str
    folder: Path
    agents: list = field(default_factory=list)

    def pam(self, service=None):
        """PAM's service in a folder: the password is checked by a script, and may be typed."""
        folder = self.folder / "pam.d"
        folder.mkdir(exist_ok=True)
        script = self.folder / "check"
        script.write_text(f"#!/bin/sh\nread -r password\n[ \"$password\" = '{PASSWORD}' ]\n")
        script.chmod(0o755)
        (folder / "partita").write_text(service or f"""
auth requisite pam_exec.so quiet expose_authtok {script}
auth required pam_permit.so
account required pam_permit.so
session required pam_permit.so
password required pam_deny.so
""")
        return folder

    def agent(self, config="", service=None):
        number = len(self.agents)
        path, log = self.folder / f"agent{number}.sock", self.folder / f"agent{number}.log"
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(str(path))
        listening.listen(64)
        config_file = self.folder / f"agent{number}.conf"
        config_file.write_text(config)
        command = [self.agent_program, "--stderr", "--config", config_file, "--key",
                   self.folder / "agent.key", "--pam-dir", self.pam(service)]
        with open(log, "w") as out:
            process = subprocess.Popen(
                ["bash", "-c", f"exec 3<&{listening.fileno()}; "
                 'LISTEN_FDS=1 LISTEN_PID=$$ exec "$@"', "bash", *map(str, command)],
                stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                pass_fds=[listening.fileno()])
        listening.close()
        agent = Agent(self, process, path, log)
        self.agents.append(agent)
        agent.logged("serving direct sessions")
        return agent

    def command(self, verb, *arguments, password=PASSWORD, key="host.key"):
        file = self.folder / f"password-{sha(password.encode())[:8]}"
        if not file.exists():
            file.write_text(password + "\n")
        options = ["--password-file", file, "--host-key", self.folder / key]
        return [self.partita, verb, *map(str, options), *map(str, arguments)]

    def start(self, *arguments, **how):
        how.setdefault("stdin", subprocess.DEVNULL)
        program = {name: how.pop(name) for name in ("password", "key") if name in how}
        return subprocess.Popen(self.command(*arguments, **program), stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, **how)

    def run(self, *arguments, status=0, data=b"", **how):
        """Run partita to its end; returns what it wrote (stdout, stderr)."""
        process = self.start(*arguments, stdin=subprocess.PIPE, **how)
        try:
            out, errors = process.communicate(data, timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            raise Failure(f"{arguments} did not end in time") from None
        if process.returncode != status:
            raise Failure(f"{arguments}: status {process.returncode}, not {status}\n"
                          f"{errors.decode(errors='replace')}{self.agents[-1].log()}")
        return out, errors.decode(errors="replace")

    def exec(self, agent, *command, **how):
        return self.run("exec", f"unix:{agent.path}", "--", *command, **how)

    def close(self):
        for agent in self.agents:
            agent.process.terminate()
            agent.process.wait()


def run_test(test_, partita, agent):
    """Returns None, or what failed."""
    with tempfile.TemporaryDirectory(prefix="partita-session-") as folder:
        context = Context(partita, agent, Path(folder))
        try:
            return outcome(test_.function, context)
        finally:
            context.close()
