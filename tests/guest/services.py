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
from pathlib import Path

from harness import SLOWNESS, Failure, tail, test
from storage import start_root

MODULES = ("hv_utils", "dummy")
MIB = 1 << 20

MAC, ADAPTER = "00:15:5d:00:00:02", "{5ac2bd64-0d0e-4e1c-9a5b-0123456789ab}"

# hv_kvp_daemon looks for adapters in /sys/class/net. It is shown a dummy one with the device ID that a
# network adapter of Hyper-V has.
KVP_DAEMON = f"unshare -m sh -c 'd=/sys/class/net; mount -t tmpfs net $d; d=$d/dummy0; " \
             f"mkdir -p $d/device; echo {MAC} >$d/address; " \
             f"echo {ADAPTER} >$d/device/device_id; exec hv_kvp_daemon'"

# A shell at the console. The terminal is silent about what it is sent, and so from one mark to the next
# comes what commands print, and nothing else.
COMMANDS = """
stty -echo
echo STEP up
while read -r line; do eval "$line"; done
"""

# bash says the time without starting a program. The daemons return when they run. The kernel is silent,
# lest it speak in the middle of what is asked for.
SHELL = f"""
dmesg -n 1
ifconfig dummy0 hw ether {MAC}
ifconfig dummy0 10.1.2.3 netmask 255.255.255.0 up
{KVP_DAEMON}
hv_vss_daemon
hv_fcopy_daemon
exec bash -c '{COMMANDS}'
"""


class Guest:
    """A machine whose console is a shell."""

    def __init__(self, context, *arguments):
        self.context = context
        self.name = context.folder.name
        self.begin(start_root(context, SHELL, *arguments, modules=MODULES))

    def begin(self, session):
        """The machine is this one, which goes on to COMMANDS."""
        self.session = session
        self.marks = self.seen = 0
        self.await_up()

    def await_up(self):
        """Wait until it has started, or started again."""
        self.seen = self.session.expect(r"^STEP up\r*\n", 120, self.seen)

    def inside(self, command, deadline=60):
        """Run a command in the guest; returns what it printed."""
        self.marks += 1
        self.session.send(f"{command}\necho MARK{self.marks}\n".encode())
        start = self.seen
        self.seen = self.session.expect(rf"^MARK{self.marks}\r*\n", deadline, start)
        text = self.session.read[start:self.seen].decode(errors="replace").replace("\r", "")
        return "\n".join(line for line in text.splitlines()[:-1]
                         if not re.match(r"\[ *\d+\.\d+\]", line))

    def ask(self, *arguments):
        """partita guest VM ... --json: what it printed."""
        command, rest = arguments[0], arguments[1:]
        return json.loads(self.context.tool("guest", self.name, command, "--json", *rest))

    def ask_daemon(self, *arguments):
        """The same of a daemon that may not be there yet."""
        until = time.monotonic() + 60 * SLOWNESS
        while True:
            try:
                return self.ask(*arguments)
            except Failure as failure:
                if "daemon is not running" not in str(failure) or time.monotonic() > until:
                    raise
                time.sleep(0.1)

    def refused(self, *arguments):
        """What partita guest VM ... must fail with: what it said."""
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
        until = time.monotonic() + 60 * SLOWNESS
        while time.monotonic() < until:
            services = self.services()
            if all(services[name]["state"] == "ready" for name in names):
                return services
            time.sleep(0.1)
        raise Failure(f"the services are not ready: {services}")

    def check(self, condition, *what):
        self.context.check(condition, f"{what}\n" + tail(self.session.text()))


def check_heartbeat(guest):
    beat = guest.ask("heartbeat")
    guest.check(beat["status"] == "ok" and beat["applications"] == "unknown"
                and abs(beat["since"] - time.time()) < 600, beat)


# Where the guest has each service, and the daemon that ends with it.
DEVICES = {"heartbeat": ("fd149e91", ""), "timesync": ("2dd1ce17", ""),
           "shutdown": ("b6650ff7", ""), "kvp": ("242ff919", KVP_DAEMON),
           "vss": ("2450ee40", "hv_vss_daemon"), "fcopy": ("eb765408", "hv_fcopy_daemon")}


def check_changes(guest):
    """Each service is taken away and given back while the guest runs."""
    guest.refused("disable", "no-such-service")
    for name, (device, daemon) in DEVICES.items():
        guest.ask("disable", name)
        guest.check(not guest.services()[name]["enabled"], guest.services())
        guest.inside(f"while ls /sys/bus/vmbus/devices | grep -q {device}; do :; done")
        if name == "heartbeat":
            gone = subprocess.run([guest.context.partita, "guest", guest.name, "heartbeat",
                                   "--json"], stdout=subprocess.PIPE)
            guest.check(gone.returncode and json.loads(gone.stdout)["status"] == "disabled", gone)
        else:
            guest.check("disabled" in guest.refused(*ASKED[name]), name)
        guest.ask("enable", name)
        guest.ask("enable", name)  # changes nothing
        guest.inside(f"until ls /sys/bus/vmbus/devices | grep -q {device}; do :; done")
        guest.inside(daemon)
        guest.await_ready(name)
        if name == "shutdown":
            # A machine has no S4 state, and so the guest refuses.
            guest.check("0x80004005" in guest.refused(*ASKED[name]), "hibernation")
        else:
            guest.ask_daemon(*ASKED[name])


def offset(guest):
    """The guest's clock minus the host's, and by how much that may be wrong; seconds."""
    best = (0, 1e9)
    for _ in range(20):
        before = time.time()
        told = float(guest.inside("echo $EPOCHREALTIME", 20))
        after = time.time()
        if (after - before) / 2 < best[1]:
            best = (told - (before + after) / 2, (after - before) / 2)
    return best


def put_off(guest, seconds):
    """Change the guest's clock."""
    guest.inside(f"date -s @$(awk \"BEGIN {{ printf \\\"%.6f\\\", $EPOCHREALTIME + {seconds} }}\")")
    apart, error = offset(guest)
    guest.check(abs(apart - seconds) < 1, "the clock was not changed", apart, error)


def waited(guest):
    """For how many seconds, in all, the machine's threads were ready to run and had no processor."""
    def of(task):
        try:
            return int((task / "schedstat").read_text().split()[1])
        except FileNotFoundError:  # it has ended, or the host does not count
            return 0

    return sum(map(of, Path(f"/proc/{guest.session.process.pid}/task").iterdir())) / 1e9


def check_clock(guest, when, waited_before=0):
    """The guest's clock is right, within 5 ms: and as long as the machine has waited for processors since,
    for then the guest may have been about to set it."""
    apart, error = offset(guest)
    error += waited(guest) - waited_before
    print(f"    time: {when}: {apart * 1000:+.2f} ms, +/- {error * 1000:.2f}")
    guest.check(abs(apart) < 0.005 + error, when, apart, error)


# The time of the PTP clock, which follows the host's samples whatever the guest's own clock says.
PTP = """perl -e 'open(F, "<", "/dev/ptp0") or die; $t = pack("qq"); """ \
      """syscall(228, (~fileno(F) << 3) | 3, $t); printf("PTP %d.%09d\\n", unpack("qq", $t))'"""


def check_time(guest):
    check_clock(guest, "started")
    for seconds in 2, -3, 86400 * 3650:
        put_off(guest, seconds)
        before = waited(guest)
        guest.ask("time")
        check_clock(guest, f"set, from {seconds:+} s", before)
    # A sample sets no clock.
    put_off(guest, -7)
    guest.ask("time", "--sample")
    guest.check(offset(guest)[0] < -6, "it was set")
    before = time.time()
    told = float(re.search(r"PTP (\d+\.\d+)", guest.inside(PTP)).group(1))
    guest.check(before - 0.005 < told < time.time() + 0.005, before, told)
    # A machine that did not run has its guest set the clock, and what is asked meanwhile waits.
    worker = guest.session.process.pid
    os.kill(worker, signal.SIGSTOP)
    waiting = guest.start("heartbeat")
    # This takes 11 s.
    done = subprocess.run([guest.context.partita, "exec", guest.name, "--", "true"],
                          stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    guest.check(done.returncode == 255 and "does not answer" in done.stderr, done)
    guest.check(waiting.poll() is None, "a machine that is stopped answered")
    before = waited(guest)
    os.kill(worker, signal.SIGCONT)
    guest.check(waiting.wait(60 * SLOWNESS) is not None)
    until = time.monotonic() + 20 * SLOWNESS
    while abs(offset(guest)[0]) > 1 and time.monotonic() < until:
        time.sleep(0.1)
    check_clock(guest, "after a stop", before)


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


# What Debian leaves to the administrator: the program that puts what hv_kvp_daemon wrote down into
# effect. hv_get_dhcp_info looks for it under /etc/sysconfig.
SET_IFCONFIG = r"""d=/etc/sysconfig/network-scripts; mkdir -p $d; f=/usr/libexec/hypervkvpd/hv_set_ifconfig
echo '#!/bin/sh' >$f; echo "cp \$1 $d; . \$1; [ \$BOOTPROTO = none ] || exit 0" >>$f
echo 'ifconfig $DEVICE $IPADDR0 netmask $NETMASK0; echo nameserver $DNS1 >/etc/resolv.conf' >>$f
chmod +x $f"""

SET_TO = """HWADDR=00:15:5D:00:00:02
DEVICE=dummy0
BOOTPROTO=none
IPADDR0=10.9.8.7
IPADDR1=10.9.8.8
IPV6ADDR=fd00:0000:0000:0000:0000:0000:0000:0007
NETMASK0=255.255.0.0
NETMASK1=255.255.255.0
IPV6NETMASK=64
GATEWAY=10.9.0.1
DNS1=10.9.0.2"""


def check_ip(guest):
    told = guest.ask("ip", "get", MAC)
    guest.check(told["addresses"].split(";")[0] == "10.1.2.3"
                and told["subnets"].split(";")[0] == "255.255.255.0" and not told["dhcp"], told)
    guest.refused("ip", "get", "00:15:5d:00:00:03")
    guest.refused("ip", "set", "{no such adapter}", "--dhcp")
    addresses = ("--address", "10.9.8.7;10.9.8.8;fd00::7", "--subnet",
                 "255.255.0.0;255.255.255.0;64", "--gateway", "10.9.0.1", "--dns", "10.9.0.2")
    guest.refused("ip", "set", ADAPTER, *addresses)  # as Debian has no hv_set_ifconfig
    for line in SET_IFCONFIG.splitlines():
        guest.inside(line)
    guest.ask("ip", "set", ADAPTER, *addresses)
    given = guest.inside("cat /etc/sysconfig/network-scripts/ifcfg-dummy0").strip()
    guest.check(given == SET_TO, given)
    told = guest.ask("ip", "get", MAC)
    guest.check(told["addresses"].split(";")[0] == "10.9.8.7"
                and told["subnets"].split(";")[0] == "255.255.0.0"
                and told["dns"] == "10.9.0.2;" and not told["dhcp"], told)
    guest.ask("ip", "set", ADAPTER, "--dhcp")
    given = guest.inside("cat /etc/sysconfig/network-scripts/ifcfg-dummy0").strip()
    guest.check(given == "HWADDR=00:15:5D:00:00:02\nDEVICE=dummy0\nBOOTPROTO=dhcp", given)
    guest.check(guest.ask("ip", "get", MAC)["dhcp"], "the guest does not say that it uses DHCP")
    for wrong in (("--address", "10.1"), ("--address", "10.0.0.1"), ("--dns", "name")):
        guest.check("a subnet for each" in guest.refused("ip", "set", ADAPTER, *wrong), wrong)


# Something to ask each service for.
ASKED = {"heartbeat": ("heartbeat",), "timesync": ("time",), "shutdown": ("shutdown", "--hibernate"),
         "kvp": ("kvp", "list"), "vss": ("freeze", "--check"),
         "fcopy": ("copy-file", "/etc/hostname", "/root/asked", "--overwrite")}

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
    check_thawed(guest, "killed")
    # And its command with it: what it does is no copy of a frozen disk.
    until = time.monotonic() + 20 * SLOWNESS
    while alive(child):
        guest.check(time.monotonic() < until, "the command goes on")
        time.sleep(0.1)


def alive(process):
    try:
        return "State:\tZ" not in Path(f"/proc/{process}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


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
    process.terminate()
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
    check_changes(guest)
    guest.ask("shutdown", "--force")
    result = guest.session.wait(60)
    context.check(result.status == 0, tail(result.console + result.errors))


@test("services: disabled ones are not there, also after a reboot; shutdown")
def disabled(context):
    guest = Guest(context, "--disable-service", "kvp", "--disable-service", "timesync", "--restart")
    for start in range(2):
        services = guest.await_ready("heartbeat", "shutdown", "vss", "fcopy")
        guest.check(not services["kvp"]["enabled"] and not services["timesync"]["enabled"],
                    services)
        devices = guest.inside("ls /sys/bus/vmbus/devices")
        guest.check("242ff919" not in devices and "2dd1ce17" not in devices, devices)
        guest.check("disabled" in guest.refused("kvp", "list"))
        if start == 0:
            guest.ask("reboot")
            guest.await_up()
    guest.ask("shutdown")
    result = guest.session.wait(60)
    context.check(result.status == 0, tail(result.console + result.errors))


@test("services: a machine dies while its guest is frozen: its file systems are whole")
def dies_frozen(context):
    disk = context.folder / "data.raw"
    with open(disk, "wb") as file:
        file.truncate(64 * MIB)
    subprocess.run(["mkfs.ext4", "-q", "-L", "data", disk], check=True)
    os.chmod(disk, 0o666)  # the machine need not be root
    guest = Guest(context, "--disk", disk, "--restart")
    guest.await_ready("shutdown", "vss")
    guest.ask("reboot", "--force")
    guest.await_up()
    guest.await_ready("vss")
    guest.inside("mount LABEL=data /mnt")
    guest.inside("seq 100000 >/mnt/before")
    guest.ask("freeze")
    guest.inside("sh -c 'echo written >/mnt/after' &")
    guest.session.process.kill()
    guest.session.process.wait()
    # As after an unmount: nothing to replay, what was written before is there, and nothing else.
    header = subprocess.run(["dumpe2fs", "-h", disk], stdout=subprocess.PIPE,
                            stderr=subprocess.DEVNULL, text=True).stdout
    context.check("Filesystem features" in header and "needs_recovery" not in header, header)
    done = subprocess.run(["e2fsck", "-f", "-n", disk], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True)
    context.check(done.returncode == 0, done.stdout)
    before = subprocess.run(["debugfs", "-R", "cat /before", disk], stdout=subprocess.PIPE,
                            stderr=subprocess.DEVNULL, text=True).stdout
    context.check(before == "".join(f"{i}\n" for i in range(1, 100001)), before[-100:])
    context.check("after" not in subprocess.run(["debugfs", "-R", "ls /", disk],
                                                stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                                                text=True).stdout, "a write came through")
