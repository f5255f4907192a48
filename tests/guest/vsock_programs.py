"""Programs of the host and a guest: written with the names of the SDK and linked to libhvsocket, and
Debian's socat and ncat with libhvsocket preloaded."""

import json
import os
import subprocess
import time
from pathlib import Path

from harness import SLOWNESS, test
from services import COMMANDS, Guest
from sockets import service_of
from storage import start_root

NOBODY = "11111111-2222-3333-4444-555555555555"
DEADLINE = 60 * SLOWNESS

SERVER = """
socat VSOCK-LISTEN:5000,fork,backlog=64 PIPE &
exec bash -c '%s'
""" % COMMANDS


class Programs(Guest):
    """A guest with an echo server, and programs of the host. Sockets and registry are the test's."""

    def __init__(self, context):
        self.context = context
        self.build = Path(context.partita).resolve().parent
        os.environ["PARTITA_RUN_DIR"] = str(context.folder / "run")
        os.environ["PARTITA_SERVICES"] = str(context.folder / "services.json")
        self.begin(start_root(context, SERVER, modules=("vsock", "hv_sock")))
        machine, = json.loads(context.tool("list", "--json"))
        self.vm, self.cid = machine["id"], str(machine["cid"])
        self.await_server()

    def await_server(self):
        until = time.monotonic() + DEADLINE
        command = [self.sample("echo_client"), self.vm, service_of(5000), "1"]
        while subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                             check=False).returncode:
            self.context.check(time.monotonic() < until, "the guest does not listen")

    def sample(self, name):
        return str(self.build / "tests/sockets" / name)

    def run(self, *command, stdin=b"", preload=True, status=0):
        """Returns what the program printed; on failure, what it said."""
        environment = dict(os.environ)
        if preload:
            environment["LD_PRELOAD"] = str(self.build / "src/hvsocket/libhvsocket.so")
        done = subprocess.run(command, input=stdin, env=environment, timeout=DEADLINE,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
        self.context.check(done.returncode == status,
                           f"{command}: status {done.returncode}: {done.stderr.decode()}")
        return done.stderr.decode() if status else done.stdout

    def client(self, vm, port, size, connections=1, status=0):
        return self.run(self.sample("echo_client"), vm, service_of(port), str(size),
                        str(connections), preload=False, status=status)


def to_the_guest(programs):
    check, data = programs.context.check, os.urandom(300000)
    programs.client(programs.vm, 5000, 300000, 16)
    got = programs.run("socat", "-t20", "-", f"VSOCK-CONNECT:{programs.cid}:5000", stdin=data)
    check(got == data, f"socat had {len(got)} bytes back")
    got = programs.run("ncat", "--vsock", programs.cid, "5000", stdin=data)
    check(got == data, f"ncat had {len(got)} bytes back")
    for vm, port, words in ((programs.vm, 5999, "Connection refused"),
                            (NOBODY, 5000, "Network is unreachable")):
        said = programs.client(vm, port, 1, status=1)
        check(words in said, f"port {port} of {vm}: {said}")
    said = programs.run("socat", "-", f"VSOCK-CONNECT:{programs.cid}:5999", status=1)
    check("Connection refused" in said, f"socat said {said}")


def from_the_guest(programs):
    check = programs.context.check
    programs.context.tool("service", "register", "vsock:7100", "--name", "echo")
    server = subprocess.Popen([programs.sample("echo_server"), service_of(7100), programs.vm],
                              stdout=subprocess.PIPE)
    try:
        check(server.stdout.readline() == b"ready\n", "the server did not start")
        programs.inside("head -c 300000 /dev/urandom >/tmp/data")
        same = programs.inside("socat -t 20 - VSOCK-CONNECT:2:7100 </tmp/data | cmp - /tmp/data"
                               " && echo same")
        check(same == "same", f"socat had other data back: {same}")
        caller = server.stdout.readline().decode().strip()
        check(caller == programs.vm, f"the server accepted {caller}")
        # Live: the next connection finds it disabled.
        programs.context.tool("service", "disable", "echo")
        said = programs.inside("socat - VSOCK-CONNECT:2:7100 </dev/null 2>&1")
        check("timed out" in said, f"a disabled service answers: {said}")
    finally:
        server.kill()
        server.communicate()


@test("vsock: the SDK's names, socat and ncat on the host; socat in the guest")
def both_ways(context):
    programs = Programs(context)
    to_the_guest(programs)
    from_the_guest(programs)
