"""Hyper-V sockets between programs of the host and Debian's socat and ncat in a guest."""

import hashlib
import json
import os
import random
import re
import select
import signal
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path

from harness import SLOWNESS, Failure, test
from services import COMMANDS, Guest
from storage import start_root

MODULES = ("vsock", "hv_sock")
EVERYBODY = "00000000-0000-0000-0000-000000000000"
DEADLINE = 60 * SLOWNESS  # seconds; only a test that fails waits so long

SERVERS = """
head -c 100000 /dev/urandom >/tmp/half
socat VSOCK-LISTEN:5000,fork,backlog=512 PIPE &
ncat --vsock -l 5001 --keep-open --exec /bin/cat &
socat -t 60 VSOCK-LISTEN:5002,fork,backlog=64 SYSTEM:sha256sum &
socat -u OPEN:/dev/zero VSOCK-LISTEN:5004,fork &
socat -t 200 VSOCK-LISTEN:5005,fork SYSTEM:'sleep $(cat /tmp/pause); sha256sum' &
echo 0 >/tmp/pause
exec bash -c '%s'
""" % COMMANDS


def service_of(port):
    return f"{port:08x}-facb-11e6-bd58-64006a7986d3"


class SocketGuest(Guest):
    """A guest with servers, whose machine has places and a registry of its own."""

    def __init__(self, context, *arguments):
        self.context = context
        self.name = context.folder.name
        self.path = str(context.folder / "vsock")
        self.run = context.folder / "run"
        self.registry = context.folder / "services.json"
        os.environ["PARTITA_RUN_DIR"] = str(self.run)
        os.environ["PARTITA_SERVICES"] = str(self.registry)
        self.register()
        self.begin(start_root(context, SERVERS, "--vsock", self.path, *arguments,
                              modules=MODULES))
        for port in 5000, 5001, 5002, 5004, 5005:
            self.await_server(port)

    def await_server(self, port):
        until = time.monotonic() + DEADLINE
        while not (s := self.connect(port)):
            self.context.check(time.monotonic() < until, f"nobody listens at port {port}")
        s.close()

    def register(self, *services):
        self.registry.write_text(json.dumps({"services": list(services)}))

    def listed(self):
        return json.loads(self.context.tool("list", "--json"))

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.session.process.pid}/fd"))

    def settle(self, descriptors):
        """Wait until the machine has no more descriptors than that."""
        until = time.monotonic() + DEADLINE
        while self.descriptors() > descriptors:
            if time.monotonic() > until:
                raise Failure(f"{self.descriptors()} descriptors are open, not {descriptors}")
            time.sleep(0.1)

    def connect(self, port):
        """A connection in the hybrid form; None: there is none."""
        s = socket.socket(socket.AF_UNIX)
        s.settimeout(DEADLINE)
        s.connect(self.path)
        s.sendall(b"CONNECT %d\n" % port)
        line = b""
        while not line.endswith(b"\n"):
            byte = s.recv(1)
            if not byte:
                s.close()
                return None
            line += byte
        self.context.check(re.fullmatch(rb"OK \d+\n", line), f"the answer is {line!r}")
        return s

    def listen(self, path):
        s = socket.socket(socket.AF_UNIX)
        s.settimeout(DEADLINE)
        # The whole path may be longer than an address has room for.
        folder = os.open(os.path.dirname(path), os.O_PATH)
        s.bind(f"/proc/self/fd/{folder}/{os.path.basename(path)}")
        os.close(folder)
        s.listen(64)
        return s


def receive_all(s):
    data = b""
    while part := s.recv(1 << 16):
        data += part
    return data


def exchange(s, data):
    """Send it, end that direction, and return what comes back meanwhile and after."""
    def send():
        s.sendall(data)
        s.shutdown(socket.SHUT_WR)

    sender = threading.Thread(target=send)
    sender.start()
    answer = receive_all(s)
    sender.join()
    return answer


def forms_of_connecting(context, guest):
    data = os.urandom(1 << 20)
    s = guest.connect(5000)
    context.check(s and exchange(s, data) == data, "socat's echo is another")
    s.close()
    # ncat ends when its client has sent all, whatever its program has to say.
    s = guest.connect(5001)
    s.sendall(data[:20000])
    echo = b""
    while len(echo) < 20000 and (part := s.recv(20000)):
        echo += part
    context.check(echo == data[:20000], "ncat's echo is another")
    s.close()
    machine = guest.listed()[0]
    context.check(machine["name"] == guest.name and machine["cid"] >= 3, f"list: {machine}")
    context.check(machine["process"] == guest.session.process.pid, f"list: {machine}")
    place = guest.run / "sockets" / machine["id"]
    s = socket.socket(socket.AF_UNIX)
    s.connect(str(place))
    s.sendall(b"HVCONNECT %s 1000 20000\n" % service_of(5000).encode() + bytes(1000))
    context.check(exchange(s, data) == data, "the echo at the machine's socket is another")
    s.close()
    s = socket.socket(socket.AF_UNIX)
    s.connect(str(place))
    s.sendall(b"HVCONNECT %s 0 20000\n" % service_of(6000).encode())
    context.check(s.recv(64) == b"E111\n", "a port that nobody listens at is not refused")
    s.close()
    context.check(guest.connect(6000) is None, "nor in the hybrid form")


def host_ends_first(guest, s):
    """The guest has all before it answers."""
    data = os.urandom(200000)
    answer = exchange(s, data).split()[0].decode()
    guest.context.check(answer == hashlib.sha256(data).hexdigest(), "the guest did not get all")
    s.close()


def guest_ends_first(guest, connect, address):
    """A program that says /tmp/half, ends its direction, and hears what the host says after that."""
    data = os.urandom(200000)
    guest.inside(f"socat -t 200 - {address} </tmp/half >/tmp/heard &")
    s = connect()
    said = hashlib.sha256(receive_all(s)).hexdigest()
    s.sendall(data)
    s.shutdown(socket.SHUT_WR)
    sums = guest.inside("wait $!; sha256sum /tmp/half /tmp/heard").split()
    guest.context.check(said in sums, "the host did not get all")
    guest.context.check(hashlib.sha256(data).hexdigest() in sums, "the guest did not get all")
    # Both have ended: nothing is left to be said.
    guest.context.check(s.recv(1) == b"", "something comes after the end")
    s.close()


def half_close(context, guest):
    """Either side may end first, whichever began the connection."""
    def connect():
        until = time.monotonic() + DEADLINE
        while not (s := guest.connect(5006)):
            context.check(time.monotonic() < until, "nobody listens at port 5006")
        return s

    def accept():
        s, _ = listener.accept()
        s.settimeout(DEADLINE)
        return s

    guest.register({"id": "vsock:7010", "name": "half", "enabled": True})
    listener = guest.listen(guest.run / "sockets/listen" / f"{EVERYBODY}.{service_of(7010)}")
    host_ends_first(guest, guest.connect(5002))
    guest_ends_first(guest, connect, "VSOCK-LISTEN:5006")
    guest.inside("socat -t 200 VSOCK-CONNECT:2:7010 EXEC:sha256sum &")
    host_ends_first(guest, accept())
    guest.inside("wait $!")
    guest_ends_first(guest, accept, "VSOCK-CONNECT:2:7010")
    listener.close()


def many_at_once(context, guest, count):
    wrong = []

    def one(i):
        data = os.urandom(20000 + i)
        try:
            s = guest.connect(5000)
            if exchange(s, data) != data:
                wrong.append(f"{i}: another echo")
            s.close()
        except (OSError, AttributeError, Failure) as failure:
            wrong.append(f"{i}: {failure!r}")

    threads = [threading.Thread(target=one, args=(i,)) for i in range(count)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    context.check(not wrong, f"{len(wrong)} of {count} failed: {wrong[:3]}")


def others_say_nothing(context, guest, count):
    """Programs that connect and never send their line keep nobody out; as few as can be are closed."""
    silent = []
    for _ in range(count):
        s = socket.socket(socket.AF_UNIX)
        s.connect(guest.path)
        silent.append(s)
    s = guest.connect(5000)
    context.check(s and exchange(s, b"heard") == b"heard", "the echo is another")
    s.close()
    closed, _, _ = select.select(silent, [], [], 0)
    context.check(len(closed) < count - 200, f"{len(closed)} of {count} were closed")
    for s in silent:
        s.close()


def one_after_the_other(context, guest, count):
    for i in range(count):
        s = guest.connect(5000)
        context.check(s, f"connection {i} is refused")
        # Or the guest's queue fills: connecting is faster than forking.
        s.sendall(b"?")
        context.check(s.recv(1) == b"?", f"connection {i} has no echo")
        s.close()


def readers_that_stop(context, guest, seconds):
    s = guest.connect(5004)
    time.sleep(seconds)
    total = 0
    while total < 4 << 20:
        part = s.recv(1 << 16)
        context.check(part and not part.strip(b"\0"), "the stream broke while nobody read")
        total += len(part)
    s.close()
    guest.inside(f"echo {seconds} >/tmp/pause")
    data = os.urandom(2 << 20)
    s = guest.connect(5005)
    s.settimeout(seconds + DEADLINE)
    answer = exchange(s, data).split()[0].decode()
    context.check(answer == hashlib.sha256(data).hexdigest(), "the guest did not get all")
    s.close()


def peers_that_die(context, guest):
    """In the midst of data: the other side's stream ends, in either direction."""
    guest.inside("children() { busybox ps | grep LISTEN:$1, | grep -v grep | tail -n +2 |"
                 " while read -r process rest; do echo $process; done; }")
    for port in 5004, 5000:
        s = guest.connect(port)
        if port == 5004:
            s.recv(1 << 16)
        guest.inside(f"kill -9 $(children {port})")
        until = time.monotonic() + DEADLINE
        try:
            while s.recv(1 << 16):
                context.check(time.monotonic() < until, "a dead program goes on sending")
        except ConnectionResetError:
            pass
        s.close()
    s = guest.connect(5004)
    s.recv(1 << 16)
    s.close()
    guest.inside("while children 5004 | grep -q .; do sleep 0.1; done")


def talk_until_killed(guest):
    """In a process of its own: connect, send and receive, for ever."""
    while s := guest.connect(5000):
        s.setblocking(False)
        data = bytes(65536)
        for _ in range(100):
            readable, writable, _ = select.select([s], [s], [])
            if writable:
                s.send(data)
            if readable:
                s.recv(65536)
        s.close()


def killed_at_any_moment(context, guest, rounds):
    """A program of the host, while it connects or data is in flight both ways."""
    for _ in range(rounds):
        process = os.fork()
        if process == 0:
            try:
                talk_until_killed(guest)
            finally:
                os._exit(1)
        time.sleep(random.random() * 0.2)
        os.kill(process, signal.SIGKILL)
        _, status = os.waitpid(process, 0)
        context.check(os.WIFSIGNALED(status), "the program ended by itself")
    guest.inside("while children 5000 | grep -q .; do sleep 0.1; done")
    s = guest.connect(5000)
    context.check(s and exchange(s, b"still there") == b"still there", "no echo any more")
    s.close()


def guest_connects(context, guest):
    guest.register({"id": "vsock:7000", "name": "listens", "enabled": True},
                   {"id": "vsock:7001", "name": "starts", "enabled": True,
                    "command": ["/bin/sh", "-c", "echo $PARTITA_VM_ID; cat"]},
                   {"id": "vsock:7002", "name": "hybrid", "enabled": True},
                   {"id": "vsock:7003", "name": "disabled", "enabled": False})
    places = {7000: guest.run / "sockets/listen" / f"{EVERYBODY}.{service_of(7000)}",
              7002: f"{guest.path}_7002", 7003: f"{guest.path}_7003",
              7004: guest.run / "sockets/listen" / f"{EVERYBODY}.{service_of(7004)}"}
    listeners = {port: guest.listen(path) for port, path in places.items()}
    for port in 7000, 7002:
        guest.inside(f"echo hello {port} | socat -t 20 - VSOCK-CONNECT:2:{port} >/tmp/answer &")
        s, peer = listeners[port].accept()
        s.settimeout(DEADLINE)
        vm = guest.listed()[0]["id"]
        context.check(peer.startswith(f"\0partita/hv/{vm}/".encode()), f"the peer is {peer!r}")
        context.check(receive_all(s) == b"hello %d\n" % port, "the guest's data is another")
        s.sendall(b"welcome\n")
        s.close()
        # A server's complaint may come in between.
        said = guest.inside("wait $!; cat /tmp/answer")
        context.check("welcome" in said, f"the guest did not get the answer: {said}")
    answer = guest.inside("echo echo | socat -t 20 - VSOCK-CONNECT:2:7001").split()
    for word in guest.listed()[0]["id"], "echo":
        context.check(word in answer, f"the program said {answer}")
    for port in 7003, 7004:
        said = guest.inside(f"socat - VSOCK-CONNECT:2:{port} </dev/null 2>&1")
        context.check("timed out" in said, f"port {port} is not refused: {said}")
        listeners[port].setblocking(False)
        try:
            listeners[port].accept()
            raise Failure(f"a guest reached port {port}")
        except BlockingIOError:
            pass
    for listener in listeners.values():
        listener.close()


# A service as systemd starts it: the socket it accepts from is its descriptor 3.
ACTIVATED = """
import os, socket
assert os.environ["LISTEN_FDS"] == "1" and os.environ["LISTEN_PID"] == str(os.getpid())
connection, peer = socket.socket(fileno=3).accept()
connection.sendall(b"activated: " + connection.recv(100))
"""


def activated(context, guest):
    """Socket units: at a place of their own that the registry names, and where listeners lie."""
    own = str(context.folder / "unit.sock")
    guest.register({"id": "vsock:7005", "name": "a", "enabled": True, "socket": own},
                   {"id": "vsock:7006", "name": "b", "enabled": True})
    # Paths of units must fit an address, as /run/partita/sockets/listen/... does.
    with tempfile.TemporaryDirectory(prefix="p") as short:
        os.symlink(guest.run / "sockets/listen", f"{short}/l")
        for port, path in (7005, own), (7006, f"{short}/l/{EVERYBODY}.{service_of(7006)}"):
            unit = subprocess.Popen(["systemd-socket-activate", "-l", path, "python3", "-c",
                                     ACTIVATED], stderr=subprocess.PIPE)
            try:
                context.check(b"Listening" in unit.stderr.readline(), "no socket unit")
                said = guest.inside(f"echo {port} | socat -t 20 - VSOCK-CONNECT:2:{port}")
                context.check(f"activated: {port}" in said, f"port {port}: {said}")
            finally:
                unit.kill()
                unit.communicate()
            os.unlink(path)


def children(process):
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if f"PPid:\t{process}\n" in (path / "status").read_text():
                found.append(path.name)
        except (FileNotFoundError, ProcessLookupError):
            pass
    return found


def broker_killed(context, guest):
    """Nobody finds services for the guest any more; the machine and its connections go on."""
    s = guest.connect(5000)
    guest.register({"id": "vsock:7001", "name": "x", "enabled": True, "command": ["/bin/cat"]})
    broker, = map(int, children(guest.session.process.pid))
    os.kill(broker, signal.SIGKILL)
    said = guest.inside("socat - VSOCK-CONNECT:2:7001 </dev/null 2>&1")
    context.check("timed out" in said, f"without a broker: {said}")
    context.check(exchange(s, b"open before") == b"open before", "a connection broke")
    s.close()
    s = guest.connect(5000)
    context.check(exchange(s, b"and after") == b"and after", "the owner cannot connect")
    s.close()


def killed(context, guest):
    """What a machine leaves that was killed with its broker is removed by who looks next."""
    flowing, connecting = guest.connect(5004), socket.socket(socket.AF_UNIX)
    connecting.connect(guest.path)
    connecting.sendall(b"CONNECT 6000\n")
    machine = guest.session.process.pid
    os.kill(machine, signal.SIGKILL)
    guest.session.process.wait()
    for s in flowing, connecting:
        try:
            while s.recv(1 << 16):
                pass
        except ConnectionResetError:
            pass
        try:
            s.send(b"x")
            raise Failure("one can send to a killed machine")
        except BrokenPipeError:
            pass
        s.close()
    context.check(len(list((guest.run / "sockets").iterdir())) == 4, "nothing was left")
    context.check(guest.listed() == [], "a killed machine is listed")
    left = [path.name for path in (guest.run / "sockets").iterdir()]
    context.check(left == ["listen"], f"a killed machine left {left}")


def everything(context, churn, pause, kills):
    guest = SocketGuest(context)
    before = guest.descriptors()
    forms_of_connecting(context, guest)
    half_close(context, guest)
    guest_connects(context, guest)
    activated(context, guest)
    many_at_once(context, guest, 256)
    others_say_nothing(context, guest, 600)
    one_after_the_other(context, guest, churn)
    readers_that_stop(context, guest, pause)
    peers_that_die(context, guest)
    killed_at_any_moment(context, guest, kills)
    # A serving thread more or two.
    guest.settle(before + 6)
    broker_killed(context, guest)
    killed(context, guest)


@test("sockets: both ways, by socat and ncat")
def short(context):
    everything(context, 300, 2, 20)


@test("sockets: 10,000 connections, a reader that stops for a minute", long_only=True)
def long(context):
    everything(context, 10000, 60, 500)
