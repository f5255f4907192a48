"""The integration services, asked for by partita guest and seen inside a Debian guest.

The guest runs Debian's own daemons (hyperv-daemons). A shell in it does what the test says, so that
one guest serves for everything.
"""

import hashlib
import json
import os
import random
import re
import signal
import subprocess
import time

from harness import Failure, tail, test
from storage import start_root

MODULES = ("hv_utils", "dummy")
MIB = 1 << 20

# bash says the time without starting a program. The daemons return when they run.
SHELL = """
ifconfig dummy0 hw ether 00:15:5d:00:00:02
ifconfig dummy0 10.1.2.3 netmask 255.255.255.0 up
hv_kvp_daemon
hv_vss_daemon
hv_fcopy_daemon
exec bash -c 'echo STEP up; while read -r line; do eval "$line"; done'
"""


class Guest:
    """A machine whose console is a shell."""

    def __init__(self, context, *arguments):
        self.context = context
        self.name = context.folder.name
        self.session = start_root(context, SHELL, *arguments, modules=MODULES)
        self.session.expect("^STEP up", 120)
        self.marks = 0

    def inside(self, command, deadline=60):
        """Run a command in the guest; returns what it printed."""
        self.marks += 1
        start = len(self.session.read)
        self.session.send(f"{command}\necho MARK{self.marks}\n".encode())
        self.session.expect(f"^MARK{self.marks}\\b", deadline, start)
        text = self.session.read[start:].decode(errors="replace").replace("\r", "")
        lines = text.splitlines()
        return "\n".join(line for line in lines if not re.match(
            r"\[ *\d+\.\d+\]|.*echo MARK\d|MARK\d", line) and line != command)

    def ask(self, *arguments):
        """partita guest VM ... --json: what it printed."""
        command, rest = arguments[0], arguments[1:]
        return json.loads(self.context.tool("guest", self.name, command, "--json", *rest))

    def refused(self, *arguments):
        """The same, which must fail: what it said."""
        done = subprocess.run([self.context.partita, "guest", self.name, *map(str, arguments)],
                              stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        if done.returncode == 0:
            raise Failure(f"partita guest VM {' '.join(map(str, arguments))} did not fail")
        return done.stderr

    def start(self, *arguments):
        return subprocess.Popen([self.context.partita, "guest", self.name, *map(str, arguments)],
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def services(self):
        return {one["name"]: one for one in self.ask("services")["services"]}

    def await_ready(self, *names):
        for _ in range(600):
            services = self.services()
            if all(services[name]["state"] == "ready" for name in names):
                return services
            time.sleep(0.1)
        raise Failure(f"the services are not ready: {services}")

    def check(self, condition, *what):
        self.context.check(condition, f"{what}\n" + tail(self.session.text()))


def check_heartbeat(guest):
    beat = guest.ask("heartbeat")
    guest.check(beat["status"] == "ok" and beat["applications"] == "unknown" and abs(beat["since"] - time.time()) < 600, beat)
    guest.ask("disable", "heartbeat")
    guest.refused("disable", "no-such-service")
    gone = json.loads(subprocess.run([guest.context.partita, "guest", guest.name, "heartbeat",
                                      "--json"], stdout=subprocess.PIPE).stdout)
    guest.check(gone["status"] == "disabled", gone)
    guest.check(not guest.services()["heartbeat"]["enabled"], guest.services())
    guest.check("fd149e91" not in guest.inside("ls /sys/bus/vmbus/devices"), "still there")
    guest.ask("enable", "heartbeat")
    guest.await_ready("heartbeat")


def offset(guest):
    """The guest's clock minus the host's, and by how much that may be wrong; seconds."""
    best = (0, 1e9)
    for _ in range(20):
        start = len(guest.session.read)
        before = time.time()
        guest.session.send(b"echo TIME $EPOCHREALTIME\n")
        guest.session.expect(r"^TIME \d+\.\d+\s", 20, start)
        after = time.time()
        told = float(re.search(rb"^TIME (\d+\.\d+)", guest.session.read[start:], re.M).group(1))
        if (after - before) / 2 < best[1]:
            best = (told - (before + after) / 2, (after - before) / 2)
    return best


def check_time(guest):
    for step in ("started", "set"):
        apart, error = offset(guest)
        print(f"    time: {step}: {apart * 1000:+.2f} ms, +/- {error * 1000:.2f}")
        guest.check(abs(apart) < 0.005 + error, step, apart, error)
        if step == "started":
            guest.inside("date -s @1000000000")
            guest.check(offset(guest)[0] < -1e6, "the guest's clock was not changed")
            guest.ask("time")


ITEM = "printf %s KEY >/tmp/k; printf %s VALUE >/tmp/v; truncate -s 512 /tmp/k; " \
       "truncate -s 2048 /tmp/v; cat /tmp/k /tmp/v >>/var/lib/hyperv/.kvp_pool_1"


# A record is a key of 512 bytes and a value of 2048, each with a terminator and anything behind it.
POOL = "f=/var/lib/hyperv/.kvp_pool_%d; for ((i = 0; i * 2560 < $(stat -c %%s $f); i++)); do " \
       "for part in 1:512 513:2048; do tail -c +$((i * 2560 + ${part%%:*})) $f | " \
       "head -c ${part#*:} | tr '\\0' '\\n' | head -n 1; done; done"


def pool(guest, number):
    """The guest's pool as its file has it."""
    lines = guest.inside(POOL % number).splitlines()
    return dict(zip(lines[::2], lines[1::2]))


def check_kvp(guest):
    auto = guest.ask("kvp", "list", "--pool", "auto")["auto"]
    guest.check(auto["OSName"].startswith("Debian") and auto["ProcessorArchitecture"] == "x86_64"
                and len(auto) == 10, auto)
    guest.check(auto["OSVersion"] == guest.inside("uname -r | sed 's/-.*//'").strip(), auto)
    guest.check(guest.ask("kvp", "get", "OSName", "--pool", "auto")["value"] == auto["OSName"])
    host = pool(guest, 3)
    guest.check(host.get("VirtualMachineName") == guest.name
                and host.get("PhysicalHostName") == os.uname().nodename
                and re.fullmatch("[0-9a-f-]{36}", host.get("VirtualMachineId", "")), host)
    # From the host ...
    guest.ask("kvp", "set", "color", "blaugrün")
    guest.ask("kvp", "set", "shape", "round")
    guest.ask("kvp", "set", "color", "red ✓")
    guest.check(pool(guest, 0) == {"color": "red ✓", "shape": "round"}, pool(guest, 0))
    guest.check(guest.ask("kvp", "get", "color", "--pool", "external")
                == {"key": "color", "value": "red ✓"})
    guest.ask("kvp", "delete", "color")
    guest.check(pool(guest, 0) == {"shape": "round"}, pool(guest, 0))
    guest.check("no item" in guest.refused("kvp", "get", "color", "--pool", "external"))
    guest.refused("kvp", "delete", "color")
    # ... from the guest ...
    guest.inside(ITEM.replace("KEY", "answer").replace("VALUE", "42"))
    guest.check(guest.ask("kvp", "get", "answer")["value"] == "42")
    guest.check(guest.ask("kvp")["guest"] == {"answer": "42"})
    # ... and as long as can be. Linux returns one character less than it takes.
    key, value = "k" * 254, "v" * 1022
    guest.ask("kvp", "set", key, value)
    guest.check(guest.ask("kvp", "get", key, "--pool", "external")["value"] == value)
    guest.ask("kvp", "set", key + "k", value + "v")
    guest.check(pool(guest, 0)[key + "k"] == value + "v", "the longest item")
    guest.refused("kvp", "set", key + "kk", "v")
    guest.refused("kvp", "set", "k", value + "vv")
    guest.refused("kvp", "set", "", "v")
    many = {f"item {i}": "x" * 900 for i in range(60)}
    for name, text in many.items():
        guest.ask("kvp", "set", name, text, "--pool", "auto-external")
    guest.check(many.items() <= guest.ask("kvp", "list", "--pool", "auto-external")[
        "auto-external"].items(), "a pool longer than a reply")


def check_ip(guest):
    told = guest.ask("ip", "get", "00:15:5d:00:00:02")
    guest.check(told["addresses"].split(";")[0] == "10.1.2.3"
                and told["subnets"].split(";")[0] == "255.255.255.0" and not told["dhcp"], told)
    guest.refused("ip", "get", "00:15:5d:00:00:03")
    guest.refused("ip", "set", "{no such adapter}", "--dhcp")


# A process that writes is in state D while the file system is frozen.
WRITE = "sh -c 'echo $0 >/written' %s & until grep -q '^State:.D' /proc/$!/status; do :; done"


def check_frozen(guest, token):
    guest.inside(WRITE % token)
    guest.check(guest.inside("cat /written").strip() != token, "it was written")


def check_thawed(guest, token):
    guest.inside("wait")
    guest.check(guest.inside("cat /written").strip() == token, "it was not written")


def check_freeze(guest):
    guest.inside("echo none >/written; sync")
    guest.ask("freeze", "--check")
    guest.ask("freeze")
    check_frozen(guest, "plain")
    guest.refused("freeze")
    guest.refused("disable", "vss")
    guest.ask("thaw")
    check_thawed(guest, "plain")
    guest.refused("thaw")
    # By itself.
    guest.ask("freeze", "--limit", "2")
    guest.inside("sh -c 'echo itself >/written'")
    guest.check(guest.inside("cat /written").strip() == "itself", "it was not written")
    guest.refused("thaw")
    # Around a command, however that ends.
    done = guest.ask("freeze", "--", "true")
    guest.check(done == {"status": 0}, done)
    guest.inside("echo none >/written; sync")
    for command, status in (("exit 3", 3), ("kill -9 $$", 137)):
        command = f"echo running; read line; {command}"
        process = subprocess.Popen([guest.context.partita, "guest", guest.name, "freeze", "--",
                                    "sh", "-c", command], stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE, text=True)
        guest.check(process.stdout.readline() == "running\n", "the command")
        check_frozen(guest, str(status))
        process.communicate("go on\n")
        guest.check(process.returncode == status, process.returncode)
        check_thawed(guest, str(status))
    # The client is killed.
    process = guest.start("freeze", "--", "sh", "-c", "echo $$; exec sleep 600")
    child = int(process.stdout.readline())
    check_frozen(guest, "killed")
    process.kill()
    process.wait()
    os.kill(child, signal.SIGKILL)
    check_thawed(guest, "killed")


def check_copy(guest, size):
    file = guest.context.folder / "file"
    data = random.randbytes(MIB)
    file.write_bytes(data * (size // MIB) + data[:4321])
    digest = hashlib.md5(file.read_bytes()).hexdigest()

    def copied(path):
        return guest.inside(f"md5sum {path}", 900).split()[0] == digest

    began = time.monotonic()
    told = guest.ask("copy-file", file, "/root/")
    seconds = time.monotonic() - began
    print(f"    copy-file: {size / MIB / seconds:.1f} MiB/s")
    guest.check(told == {"size": size + 4321} and copied("/root/file"), told)
    if size > 100 * MIB:
        return  # the rest is not a matter of size
    guest.check("exists" in guest.refused("copy-file", file, "/root/file"))
    guest.inside("echo old >/root/file")
    guest.ask("copy-file", file, "/root/file", "--overwrite")
    guest.check(copied("/root/file"), "overwritten")
    guest.refused("copy-file", file, "/new/directory/file")
    guest.ask("copy-file", file, "/new/directory/file", "--create-directories")
    guest.check(copied("/new/directory/file"), "directories")
    guest.refused("copy-file", file, "no-directory")
    guest.refused("copy-file", file, "/root/" + "n" * 260)
    guest.refused("copy-file", guest.context.folder, "/root/folder")
    file.write_bytes(b"")
    guest.ask("copy-file", file, "/root/empty")
    guest.check(guest.inside("stat -c %s /root/empty").strip() == "0", "empty")


def check_cancel(guest):
    file = guest.context.folder / "big"
    with open(file, "wb") as big:
        big.truncate(1 << 30)
    process = guest.start("copy-file", file, "/root/cancelled")
    guest.inside("until [ -s /root/cancelled ]; do :; done")
    process.send_signal(signal.SIGINT)
    process.wait()
    guest.inside("while [ -e /root/cancelled ]; do :; done")
    # The next copy is no longer kept from beginning.
    while "another" in guest.start("copy-file", "/etc/hostname", "/root/next",
                                   "--overwrite").communicate()[1]:
        time.sleep(0.1)


@test("services: everything, by the host and in the guest", size=3 * MIB)
@test("services: everything, with a file of 1 GiB", long_only=True, size=1 << 30)
def everything(context, size):
    guest = Guest(context, *(("--disk", context.disk("space.vhdx", "--size", "3G"))
                             if size > 100 * MIB else ()))
    if size > 100 * MIB:
        guest.inside("mkfs.ext4 -q /dev/sdb; mount /dev/sdb /root", 120)
    services = guest.await_ready("heartbeat", "timesync", "shutdown", "kvp", "vss", "fcopy")
    guest.check({name: one["version"] for name, one in services.items()}
                == {"heartbeat": "3.0", "timesync": "4.0", "shutdown": "3.2", "kvp": "4.0",
                    "vss": "5.0", "fcopy": "1.1"}, services)
    check_time(guest)
    check_heartbeat(guest)
    check_kvp(guest)
    check_ip(guest)
    check_freeze(guest)
    check_copy(guest, size)
    check_cancel(guest)
    guest.ask("reboot")
    result = guest.session.wait(60)
    context.check(result.status == 1 and "reset" in result.errors,
                  tail(result.console + result.errors))


@test("services: disabled ones are not there; shutdown")
def disabled(context):
    guest = Guest(context, "--disable-service", "kvp", "--disable-service", "timesync")
    services = guest.await_ready("heartbeat", "shutdown", "vss", "fcopy")
    guest.check(not services["kvp"]["enabled"] and not services["timesync"]["enabled"], services)
    devices = guest.inside("ls /sys/bus/vmbus/devices")
    guest.check("242ff919" not in devices and "2dd1ce17" not in devices, devices)
    guest.check("disabled" in guest.refused("kvp", "list"))
    guest.inside("ls /dev/vmbus")
    guest.ask("shutdown")
    result = guest.session.wait(60)
    context.check(result.status == 0, tail(result.console + result.errors))
