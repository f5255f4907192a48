"""The agent in a Debian guest with systemd, where it was put by scripts/guest/agent: its units, its log,
the guest's logins, keys that are required.
"""

import contextlib
import re
import shutil
import subprocess
from pathlib import Path

from harness import Failure, tail, test, tool
from session import PASSWORD, Guest, Screen, users
from storage import start_root

NEW_PASSWORD = "close sesame"


@contextlib.contextmanager
def mounted(context, disk):
    """A disk's file system, in a folder of this host; needs to be root."""
    device = context.tool("disk", "attach", disk, "--device").strip()
    point = context.folder / "mount"
    point.mkdir()
    try:
        subprocess.run(["mount", device, point], check=True)
        try:
            yield point
        finally:
            subprocess.run(["umount", point], check=True)
    finally:
        context.tool("disk", "detach", device)


def put_modules(context, point):
    """What loads hv_sock when the guest's systemd asks for it."""
    files = [Path(pair.split("=")[1]) for pair in context.modules("cloud", "hv_sock")]
    version = subprocess.run(["modinfo", "-F", "vermagic", files[0]], stdout=subprocess.PIPE,
                             text=True, check=True).stdout.split()[0]
    folder = point / "usr/lib/modules" / version
    folder.mkdir(parents=True)
    for file in files:
        shutil.copy(file, folder)
    for name in ("modules.order", "modules.builtin", "modules.builtin.modinfo"):
        (folder / name).touch()
    subprocess.run(["depmod", "-b", point / "usr", version], check=True)


def start(context):
    """A guest with systemd; its agent is not started before somebody comes."""
    disk = context.root_disk()
    with mounted(context, disk) as point:
        tool("scripts/guest/agent", point)
        put_modules(context, point)
        subprocess.run(["chroot", point, "sh", "-c", users()], check=True)
    # There is no udev, which a login on the console would wait for.
    machine = start_root(context, "exec /lib/systemd/systemd", disk=disk,
                         cmdline="root=LABEL=partita-root systemd.mask=serial-getty@ttyS0.service")
    machine.expect("Listening on.*partita-agent", 240)
    return Guest(context, machine)


def lines(guest, *command, user="root"):
    return guest.exec(*command, user=user)[0].decode().splitlines()


def check_units(guest):
    """The first session starts the agent; one that is killed comes back, and takes nobody along."""
    check = guest.context.check
    out = lines(guest, "sh", "-c", "systemctl is-active partita-agent.socket partita-agent.service "
                "systemd-modules-load.service; systemd-analyze verify --man=no partita-agent.service "
                "partita-agent.socket 2>&1 | grep partita; systemd-detect-virt")
    check(out == ["active", "active", "active", "microsoft"], out)
    again = """
main() { systemctl show -P MainPID partita-agent; }
first=$(main)
kill -9 $first
until [ "$(main)" != 0 ] && [ "$(main)" != $first ]; do sleep 0.2; done
second=$(main)
systemctl restart partita-agent
[ "$(main)" != $second ] && systemctl show -P ActiveState -P NRestarts partita-agent
"""
    out = lines(guest, "sh", "-c", again)
    # The session that did that is still there. A restart that was asked for begins to count anew.
    check(sorted(out) == ["0", "active"], out)


def journal(guest):
    """What the agent has logged, all of it."""
    return "\n".join(lines(guest, "sh", "-c", "journalctl --sync; "
                           "journalctl --no-pager -o cat -u partita-agent"))


def check_log(guest):
    """What the guest's journal has of those who came."""
    for how in ({"password": "wrong"}, {"user": "nobody-here"}, {"user": "gone"}):
        guest.exec("true", status=254, **how)
    log = journal(guest)
    for line in (r"serving direct sessions; its key is sha256:[0-9a-f]{64}$",
                 r"accepted root from vsock:2:\d+$", r"failed login as tester from vsock:2:\d+: ",
                 r"failed login as nobody-here from vsock:2:\d+: User not known",
                 r"refused gone from vsock:2:\d+: "):
        guest.context.check(re.search(line, log, re.M), f"no line {line!r} in\n{log}")


def check_password_change(guest, screen):
    """All of PAM's questions at the terminal, which shows none of the answers."""
    command = " ".join(f"'{word}'" for word in guest.command("enter", guest.name, user="stale",
                                                             password=None))
    screen.keys(f"clear; {command}; echo status $?", "Enter")
    for prompt, answer in (("Password:$", PASSWORD), ("Current password:$", PASSWORD),
                           ("New password:$", NEW_PASSWORD),
                           ("Retype new password:$", NEW_PASSWORD)):
        screen.expect(prompt)
        screen.keys(answer, "Enter")
    shown = screen.expect(r"^\S*\$$")
    guest.context.check("sesame" not in shown and "required to change" in shown, shown)
    screen.keys("exit", "Enter")
    screen.expect("^status 0")
    guest.exec("true", user="stale", status=254)
    guest.exec("true", user="stale", password=NEW_PASSWORD)


def check_enter(guest, screen):
    """A login as others are, logind's, utmp's, wtmp's and lastlog's, up to its end by hanging up."""
    check = guest.context.check
    command = " ".join(f"'{word}'" for word in guest.command("enter", guest.name))
    screen.keys(f"clear; {command}; echo status $?", "Enter")
    screen.expect("^ready>$")
    screen.keys("echo $XDG_RUNTIME_DIR $XDG_SESSION_ID", "Enter")
    screen.expect(r"^/run/user/1000 \w+$")
    out = lines(guest, "sh", "-c", "/usr/bin/who; loginctl --no-legend list-sessions; "
                "/usr/bin/last -w tester; lastlog -u tester")
    text = "\n".join(out)
    for line in (r"^tester +pts/0 .*\(host\)$", r"^ *\w+ +1000 tester .*pts/0",
                 r"^tester +pts/0 +host .*still logged in", r"^tester +pts/0 +vsock:2:"):
        check(re.search(line, text, re.M), f"no line {line!r} in\n{text}")
    screen.keys("clear", "Enter", "~.")
    screen.expect("status 255")
    check(not lines(guest, "sh", "-c", "while /usr/bin/who | grep pts; do sleep 0.2; done >&2"),
          "utmp still has him")


def check_keys(guest):
    """The administrator says which host it must be."""
    context = guest.context
    known = context.tool("host-key", "--host-key", context.folder / "host.key").strip()
    other = context.tool("host-key", "--host-key", context.folder / "other.key").strip()
    shown = lines(guest, "partita-agent", "--fingerprint")[0]
    guest.exec("sh", "-c", "mkdir -p /etc/partita && echo require-host-key $0 "
               ">/etc/partita/agent.conf && systemctl restart partita-agent", known, user="root")
    guest.run("exec", "--agent-key", shown, guest.name, "--", "true")
    _, errors = guest.exec("true", key="other.key", status=255)
    context.check(f"it does not know this host's key {other}" in errors, errors)
    _, errors = guest.run("exec", "--agent-key", other, guest.name, "--", "true", status=255)
    context.check(f"its key {shown} is not the expected one" in errors, errors)
    log = journal(guest)
    context.check(f"its key {other} is not the expected one" in log, log)


def check_no_root(guest):
    """PAM's configuration says who may come: here, not root."""
    guest.exec("sh", "-c", "echo 'account required pam_succeed_if.so quiet uid ne 0' "
               ">>/etc/pam.d/partita", user="root")
    _, errors = guest.exec("true", user="root", status=254)
    guest.context.check("root is not let in: his account may not be used" in errors, errors)
    guest.exec("true")


@test("session: the agent's units under systemd, its journal and logins, keys that are required")
def systemd(context):
    guest = start(context)
    screen = Screen(context, ["sh"])
    try:
        check_units(guest)
        check_log(guest)
        check_password_change(guest, screen)
        check_enter(guest, screen)
        check_keys(guest)
        check_no_root(guest)
    except Failure as failure:
        raise Failure(f"{failure}\n{tail(guest.console())}") from None
    finally:
        screen.close()
