"""Peers that do not keep to the protocol: the agent lets go of them, the host says so, and both go on."""

import os
import socket
import ssl
import struct
import subprocess
import threading

import harness
from harness import (ACCEPTED, ANSWER, BOUND, COMMAND, CREDIT, DATA, EOF, EXIT, GREETING, HELLO,
                     HELLO_1, LOGIN, MAGIC, NOTE, PAYLOAD, PROMPT, PROOF, RECEIVE, REFUSED, SHELL,
                     SIGNAL, START, STARTED, WINDOW, Failure, Peer, message, start, test)


@test("hostile host: no TLS, old TLS, half a handshake")
def no_tls(context):
    agent = context.agent()
    for data in (b"GET / HTTP/1.0\r\n\r\n", b"\0" * 100000, os.urandom(5000),
                 b"\x16\x03\x01\xff\xff" + b"\1" * 70000):
        peer = agent.connect(tls=False)
        try:
            peer.send(data)
        except ConnectionError:
            pass
        context.check(peer.ended(), "it is still served")
    old = harness.client_context()
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    try:
        agent.connect(context=old)
        raise Failure("TLS 1.2 was accepted")
    except (ssl.SSLError, ConnectionError):
        pass
    agent.connect(tls=False).close()
    agent.idle()
    context.exec(agent, "true")


BEFORE_LOGIN = {
    "no hello": message(LOGIN, b"root"),
    "another magic": message(HELLO, struct.pack("<IHH", 1, 1, 1)),
    "a later version": message(HELLO, struct.pack("<IHH", MAGIC, 2, 9)),
    "a start": GREETING + start(SHELL),
    "data": GREETING + message(DATA, b"x"),
    "an answer": GREETING + message(ANSWER, b"x"),
    "an agent's message": GREETING + message(ACCEPTED),
    "no proof": HELLO_1 + message(LOGIN, b"root"),
    "a proof too long": HELLO_1 + message(PROOF, bytes(97)),
    "two proofs": GREETING + message(PROOF),
    "the relay's messages": GREETING + message(BOUND, bytes(32)),
    "a type that is not there": GREETING + message(99),
    "no user": GREETING + message(LOGIN, b""),
    "a user with a zero": GREETING + message(LOGIN, b"ro\0ot"),
    "a user too long": GREETING + message(LOGIN, b"r" * 256),
    "a length too big": GREETING + struct.pack("<IBBH", 0xffffffff, LOGIN, 0, 0),
    "reserved bits": GREETING + struct.pack("<IBBH", 4, LOGIN, 0, 1) + b"root",
    "a stream": GREETING + struct.pack("<IBBH", 4, LOGIN, 1, 0) + b"root",
}


@test("hostile host: nonsense before it has logged in")
def before_login(context):
    agent = context.agent()
    for name, data in BEFORE_LOGIN.items():
        peer = agent.connect()
        peer.send(data)
        context.check(peer.ended(), name)
        peer.close()
    agent.idle()
    context.check("accepted" not in agent.log(), agent.log())
    context.exec(agent, "true")


@test("hostile host: no more than three tries")
def tries(context):
    agent = context.agent()
    peer = agent.connect()
    peer.send(GREETING)
    peer.expect(HELLO)
    peer.expect(PROOF)
    for _ in range(3):
        peer.send(message(LOGIN, b"root"))
        peer.expect(PROMPT)
        peer.send(message(ANSWER, b"wrong"))
        peer.expect(REFUSED)
    context.check(peer.ended(), "a fourth try is let in")


CAT = start(COMMAND, "cat")
DURING = {
    "more than the window": CAT + message(DATA, b"x" * PAYLOAD) * (WINDOW // PAYLOAD) * 40,
    "data for output": CAT + message(DATA, b"x", stream=1),
    "data for no stream": CAT + message(DATA, b"x", stream=3),
    "no data": CAT + message(DATA, b""),
    "data after the end": CAT + message(EOF) + message(DATA, b"x"),
    "credit for input": CAT + message(CREDIT, struct.pack("<I", 1), stream=0),
    "credit beyond the window": CAT + message(CREDIT, struct.pack("<I", 1 << 31), stream=1),
    "a second start": CAT + CAT,
    "a signal that is none": CAT + message(SIGNAL, b"\x09"),
    "a resize without a terminal": CAT + message(14, bytes(8)),
    "a start that lacks its strings": message(START, struct.pack("<BBHHHHH", 1, 0, 5, 0, 0, 0, 0)
                                              + b"\0a\0"),
    "a start whose strings do not end": message(
        START, struct.pack("<BBHHHHH", 1, 0, 1, 0, 0, 0, 0) + b"\0a"),
    "an unknown kind": message(START, struct.pack("<BBHHHHH", 9, 0, 1, 0, 0, 0, 0) + b"\0"),
    "unknown flags": message(START, struct.pack("<BBHHHHH", 1, 128, 1, 0, 0, 0, 0) + b"\0"),
    "a command without words": start(COMMAND),
    "a transfer without a path": start(RECEIVE),
    "a hello": CAT + HELLO_1,
}


@test("hostile host: nonsense after it has logged in")
def during(context):
    agent = context.agent()
    for name, data in DURING.items():
        peer = agent.logged_in()
        # The window is refused at the first byte too many; cat's output is not read meanwhile.
        sender = threading.Thread(target=try_send, args=(peer, data))
        sender.start()
        sender.join(harness.PATIENCE)
        context.check(peer.ended(), name)
        peer.close()
    agent.idle()
    context.exec(agent, "true")


def try_send(peer, data):
    try:
        peer.send(data)
    except (OSError, ssl.SSLError):
        pass


@test("hostile host: newcomers who say nothing leave room for none, and go")
def newcomers(context):
    agent = context.agent()
    silent = [agent.connect(tls=False) for _ in range(16)]
    agent.logged(".*")
    late = agent.connect(tls=False)
    context.check(late.ended(), "the 17th is served")
    agent.logged("more are turned away")
    for peer in silent:
        peer.close()
    agent.idle()
    context.exec(agent, "true")


# ---- Agents ------------------------------------------------------------------------------------


class FalseAgent:
    """An agent that answers the host's login, then says what it likes."""

    def __init__(self, context, says, number):
        certificate = context.folder / "false.pem"
        if not certificate.exists():
            subprocess.run(["openssl", "req", "-x509", "-newkey", "ed25519", "-nodes", "-subj",
                            "/CN=false", "-keyout", certificate, "-out", f"{certificate}.crt"],
                           check=True, stderr=subprocess.DEVNULL)
            with open(certificate, "ab") as out:
                out.write((context.folder / "false.pem.crt").read_bytes())
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.tls.load_cert_chain(certificate)
        self.path = context.folder / f"false{number}.sock"
        self.listening = socket.socket(socket.AF_UNIX)
        self.listening.bind(str(self.path))
        self.listening.listen(1)
        self.says = says
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()

    def serve(self):
        stream, _ = self.listening.accept()
        stream.settimeout(harness.PATIENCE)
        try:
            peer = Peer(self.tls.wrap_socket(stream, server_side=True))
            self.says(peer)
            while peer.receive():
                pass
            peer.close()
        except (OSError, ssl.SSLError, Failure):
            stream.close()
        self.listening.close()


def greet(peer):
    peer.expect(HELLO)
    peer.send(GREETING)
    peer.expect(PROOF)
    peer.expect(LOGIN)


def begin(peer):
    greet(peer)
    peer.send(message(ACCEPTED))
    peer.expect(START)
    peer.send(message(STARTED))


def says(before, data):
    def script(peer):
        if before:
            before(peer)
        peer.send(data)
    return script


FALSE_AGENTS = {
    "another version": says(None, message(HELLO, struct.pack("<IHH", MAGIC, 7, 7))),
    "a login in place of a proof": says(None, HELLO_1 + message(ACCEPTED)),
    "a proof too long": says(None, HELLO_1 + message(PROOF, bytes(97))),
    "a host's message": says(None, message(LOGIN, b"root")),
    "a length too big": says(greet, struct.pack("<IBBH", 0xffffffff, PROMPT, 0, 0)),
    "a prompt of no kind": says(greet, message(PROMPT, b"\7Password: ")),
    "a note too long": says(greet, message(NOTE, b"\0" + b"x" * 1025)),
    "an exit before the start": says(greet, message(EXIT, b"\0\0")),
    "more than the window": says(begin, message(DATA, b"x" * PAYLOAD, 1) * 200),
    "data for input": says(begin, message(DATA, b"x", 0)),
    "an exit of no kind": says(begin, message(EXIT, b"\7\0")),
    "credit beyond the window": says(begin, message(CREDIT, struct.pack("<I", 1 << 31), 0)),
    "a login in the middle": says(begin, message(ACCEPTED)),
}


@test("hostile agent: the host says so in one line, status 255")
def agents(context):
    context.agent()
    for number, (name, script) in enumerate(FALSE_AGENTS.items()):
        agent = FalseAgent(context, script, number)
        # Its output is not read, so that too much of it is.
        process = context.start("exec", f"unix:{agent.path}", "--", "x")
        status = process.wait(harness.PATIENCE)
        errors = process.stderr.read().decode()
        process.communicate()
        agent.thread.join()
        context.check(status == 255 and errors.count("\n") == 1, (name, status, errors))


def entry(kind, name=b"", size=0, mode=0o644):
    return struct.pack("<BBHHHqIIQ", kind, 0, mode, len(name), 0, 0, 0, 0, size) + name


FILE, DIRECTORY, LINK, UP, END = range(1, 6)
HEAD = struct.pack("<II", 0x58465450, 1)


def chunk(offset, length, data=b""):
    return struct.pack("<QI", offset, length) + data


EMPTY = chunk(0, 0)

FALSE_TRANSFERS = {
    "a name that climbs": entry(DIRECTORY, b"d") + entry(FILE, b"../out") + EMPTY,
    "a name of the parent": entry(DIRECTORY, b"d") + entry(DIRECTORY, b"..") + entry(UP),
    "an absolute name": entry(DIRECTORY, b"d") + entry(FILE, b"/tmp/out") + EMPTY,
    "no name": entry(DIRECTORY, b"d") + entry(FILE) + EMPTY,
    "a name with a zero": entry(DIRECTORY, b"d") + entry(FILE, b"a\0b") + EMPTY,
    "a link, then through it": entry(DIRECTORY, b"d") + entry(LINK, b"l", 2) + b".."
    + entry(DIRECTORY, b"l") + entry(FILE, b"out") + EMPTY,
    "a link, then over it": entry(DIRECTORY, b"d") + entry(LINK, b"l", 6) + b"../out"
    + entry(FILE, b"l") + EMPTY,
    "a link first": entry(LINK, b"l", 6) + b"../out" + entry(END),
    "too deep": entry(DIRECTORY, b"d") * 300,
    "a chunk too big": entry(FILE, b"f") + chunk(0, 0xffffffff),
    "a chunk before the last one": entry(FILE, b"f") + chunk(4, 4, b"data") + chunk(7, 1, b"x")
    + chunk(8, 0) + entry(END),
    "an end before the last byte": entry(FILE, b"f") + chunk(4, 4, b"data") + chunk(7, 0)
    + entry(END),
    "an offset beyond all files": entry(FILE, b"f") + chunk((1 << 63) - 3, 4, b"data")
    + chunk((1 << 63) + 1, 0) + entry(END),
    "a size beyond all files": entry(FILE, b"f") + chunk((1 << 64) - 1, 0) + entry(END),
    "a size beyond the disk's largest": entry(FILE, b"f") + chunk((1 << 63) - 1, 0) + entry(END),
    "a mode too big": entry(FILE, b"f", mode=0o4755) + EMPTY + entry(END),
    "up at the top": entry(UP),
    "no end": entry(FILE, b"f") + EMPTY,
    "something after the directory": entry(DIRECTORY, b"d") + entry(UP) + entry(FILE, b"out")
    + EMPTY + entry(END),
}


@test("hostile agent: a transfer that reaches elsewhere leaves nothing")
def transfers(context):
    context.agent()
    (context.folder / "box").mkdir()
    for number, (name, data) in enumerate(FALSE_TRANSFERS.items()):
        def script(peer, data=data):
            begin(peer)
            peer.send(message(DATA, HEAD + data, 1) + message(EOF, stream=1)
                      + message(EXIT, b"\0\0"))
        agent = FalseAgent(context, script, 100 + number)
        context.run("copy", "-r", f"unix:{agent.path}:/some/target", context.folder / "box",
                    status=1)
        agent.thread.join()
        context.check(not os.listdir(context.folder / "box")
                      and not (context.folder / "out").exists(), name)


@test("hostile agent: a file keeps the name that the host asked for")
def renamed(context):
    context.agent()
    (context.folder / "box").mkdir()

    def script(peer):
        begin(peer)
        peer.send(message(DATA, HEAD + entry(FILE, b".bashrc") + EMPTY + entry(END), 1)
                  + message(EOF, stream=1) + message(EXIT, b"\0\0"))
    agent = FalseAgent(context, script, 200)
    context.run("copy", f"unix:{agent.path}:/etc/motd", context.folder / "box")
    agent.thread.join()
    context.check(os.listdir(context.folder / "box") == ["motd"], "under another name")
