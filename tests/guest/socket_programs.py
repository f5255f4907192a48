"""Programs of the host and a guest: written with the names of the SDK and linked to libhvsocket, and
Debian's socat and ncat with libhvsocket preloaded."""

import os
import subprocess
from pathlib import Path

EVERYBODY = "00000000-0000-0000-0000-000000000000"
NOBODY = "11111111-2222-3333-4444-555555555555"
DEADLINE = 60


def service_of(port):
    return f"{port:08x}-facb-11e6-bd58-64006a7986d3"


class Programs:
    def __init__(self, context, guest):
        self.context, self.guest = context, guest
        self.build = Path(context.partita).resolve().parent
        self.vm, self.cid = guest.listed()[0]["id"], str(guest.listed()[0]["cid"])

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
    check, guest = programs.context.check, programs.guest
    programs.context.tool("service", "register", "vsock:7100", "--name", "echo")
    server = subprocess.Popen([programs.sample("echo_server"), service_of(7100), programs.vm],
                              stdout=subprocess.PIPE)
    try:
        check(server.stdout.readline() == b"ready\n", "the server did not start")
        guest.inside("head -c 300000 /dev/urandom >/tmp/data")
        same = guest.inside("socat -t 20 - VSOCK-CONNECT:2:7100 </tmp/data | cmp - /tmp/data"
                            " && echo same")
        check(same == "same", f"socat had other data back: {same}")
        caller = server.stdout.readline().decode().strip()
        check(caller == programs.vm, f"the server accepted {caller}")
        # Live: the next connection finds it disabled.
        programs.context.tool("service", "disable", "echo")
        said = guest.inside("socat - VSOCK-CONNECT:2:7100 </dev/null 2>&1")
        check("timed out" in said, f"a disabled service answers: {said}")
    finally:
        server.kill()
        server.communicate()


def programs(context, guest):
    both = Programs(context, guest)
    to_the_guest(both)
    from_the_guest(both)
