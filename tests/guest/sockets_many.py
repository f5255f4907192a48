"""Hyper-V sockets by the thousand, at once, in both directions: programs with the SDK's names on the
host, one process on AF_VSOCK in the guest (vsock_many.c)."""

import json
import os
import subprocess
import threading
import time
from pathlib import Path

from boot import CMDLINE, REFERENCE_PAGE, check_log
from harness import SLOWNESS, Failure, tail, test
from services import COMMANDS, Guest
from sockets import service_of

DEADLINE = 120 * SLOWNESS
TO_GUEST, TO_HOST = 5000, 7000

# Init itself is the shell: a line that it does not understand is its end, and the machine's.
JOB = """
for module in /lib/modules/*.ko; do insmod $module; done
mkdir -p /dev/pts
/vsock_many serve %d %d &
%s
"""


class Many(Guest):
    """A guest without a disk. Places and registry are the test's."""

    def __init__(self, context, buffer, memory):
        self.context = context
        self.build = Path(context.partita).resolve().parent
        os.environ["PARTITA_RUN_DIR"] = str(context.folder / "run")
        os.environ["PARTITA_SERVICES"] = str(context.folder / "services.json")
        initrd = context.initrd(JOB % (TO_GUEST, buffer, COMMANDS),
                                f"vsock_many={context.compile('vsock_many')}",
                                *context.modules("cloud", "vsock", "hv_sock"))
        self.begin(context.session(
            "--kernel", context.kernel("cloud"), "--initrd", initrd, "--name", context.folder.name,
            "--cmdline", f"{CMDLINE} {REFERENCE_PAGE}", "--invariant-tsc", "--processors", 2,
            "--memory", memory))
        self.session.expect(r"^STEP serving\r*\n", 120)
        self.vm = json.loads(context.tool("list", "--json"))[0]["id"]

    def sample(self, name):
        return str(self.build / "tests/sockets" / name)

    def holds(self):
        """What the machine's process has open and mapped."""
        process = Path(f"/proc/{self.session.process.pid}")
        return len(os.listdir(process / "fd")), len((process / "maps").read_text().splitlines())

    def settle(self, before):
        """Wait until it has given back what connections took."""
        until = time.monotonic() + DEADLINE
        # Threads that serve channels stay, with their descriptors and stacks; of the rings 32 stay
        # mapped, in three pieces each.
        most = [was + more for was, more in zip(before, (16, 16 + 3 * 32))]
        while any(now > allowed for now, allowed in zip(self.holds(), most)):
            if time.monotonic() > until:
                raise Failure(f"descriptors and mappings: {self.holds()}, before: {before}")
            time.sleep(0.1)
        # And the guest the numbers of their channels, of which there are 2047.
        self.inside("while ls /sys/bus/vmbus/drivers/hv_sock 2>/dev/null | grep -q -e -;"
                    " do usleep 100000; done", 120)


def to_the_guest(guest, count, size):
    done = subprocess.run([guest.sample("echo_client"), guest.vm, service_of(TO_GUEST), str(size),
                           str(count)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          check=False)
    guest.check(done.stdout == "ok\n", f"{count} connections to the guest: {done.stderr}")


def to_the_host(guest, count, size):
    guest.context.tool("service", "register", f"vsock:{TO_HOST}", "--name", "echo", "--replace")
    server = subprocess.Popen([guest.sample("echo_server"), service_of(TO_HOST), guest.vm],
                              stdout=subprocess.PIPE)
    try:
        guest.check(server.stdout.readline() == b"ready\n", "the server did not start")
        # It says who connects, and waits when nobody reads that.
        threading.Thread(target=server.stdout.read, daemon=True).start()
        said = guest.inside(f"/vsock_many connect {TO_HOST} {count} {size}", 120)
        guest.check(f"FACT connected {count}" in said and f"FACT echoed {count}" in said, said)
    finally:
        server.kill()
        server.wait()


@test("sockets: 1000 at once, each way", count=1000, size=3000, buffer=4096, memory="512M")
@test("sockets: 1900 at once, each way", long_only=True, count=1900, size=100000, buffer=0,
      memory="2G")
def at_once(context, count, size, buffer, memory):
    guest = Many(context, buffer, memory)
    before = guest.holds()
    for way in to_the_guest, to_the_host:
        started = time.monotonic()
        way(guest, count, size)
        print(f"    {way.__name__}: {count} in {time.monotonic() - started:.1f} s")
        guest.settle(before)
    check_log(guest.session.text())
    errors = guest.session.error_text()
    context.check(not errors, f"{errors}{tail(guest.session.text())}")
