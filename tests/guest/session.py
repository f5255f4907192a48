"""The direct session into a Debian guest that has no network: partita-agent with the guest's PAM."""

import hashlib
import os
import re
import subprocess
import time

from harness import ROOT, SLOWNESS, Failure, tail, test, tool
from storage import DISK, start_root

PASSWORD = "open sesame"

# Passwords are hashed with few rounds: the processor is a program. The account "gone" has expired, "stale"
# has a password that must be changed.
USERS = """
hash='%s'
echo "tester:x:1000:1000::/home/tester:/bin/bash" >>/etc/passwd
echo "tester:x:1000:" >>/etc/group
echo "helpers:x:1001:tester" >>/etc/group
echo "gone:x:1002:1002::/home:/bin/bash" >>/etc/passwd
echo "stale:x:1003:1002::/home:/bin/bash" >>/etc/passwd
echo "tester:$hash:19000:0:99999:7:::" >>/etc/shadow
echo "gone:$hash:19000:0:99999:7::1:" >>/etc/shadow
echo "stale:$hash:0:0:99999:7:::" >>/etc/shadow
sed -i "s,^root:[^:]*:,root:$hash:," /etc/shadow
mkdir -p /home/tester
chown 1000:1000 /home/tester
echo 'PS1="ready> "' >/home/tester/.bash_profile
"""

# The agent comes on a disk.
JOB = DISK + """
mkdir -p /dev/pts
mount -t devpts devpts /dev/pts
payload=$(disk 1)
mount -o ro $payload /mnt
cp -rn /mnt/. /
umount /mnt
%s
partita-agent --stderr &
echo $! >/run/agent.pid
wait
echo STEP the agent has ended
sleep 600
"""


def payload(context):
    """A disk with the agent and its libraries."""
    folder, disk = context.folder / "payload", context.folder / "payload.raw"
    folder.mkdir()
    tool("scripts/guest/agent", folder)
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-E", "root_owner=0:0", "-d", folder, disk,
                    "32M"], check=True, stdout=subprocess.DEVNULL)
    return disk


def users():
    """Shell commands that make the users of the tests."""
    salted = subprocess.run(["openssl", "passwd", "-6", "-salt", "rounds=1000$salt", PASSWORD],
                            stdout=subprocess.PIPE, text=True, check=True)
    return USERS % salted.stdout.strip()


class Guest:
    """A guest whose agent serves; @session is its machine."""

    def __init__(self, context, session):
        self.context = context
        self.session = session
        self.name = context.folder.name

    def command(self, verb, *arguments, password=PASSWORD, user="tester", key="host.key"):
        """A command of partita; without a password it asks at the terminal."""
        words = [self.context.partita, verb, "--user", user, "--host-key",
                 self.context.folder / key]
        if password is not None:
            file = self.context.folder / "password"
            file.write_text(password + "\n")
            words += ["--password-file", file]
        return list(map(str, words + list(arguments)))

    def run(self, verb, *arguments, status=0, data=b"", **login):
        done = subprocess.run(self.command(verb, *arguments, **login), input=data,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              timeout=120 * SLOWNESS)
        if done.returncode != status:
            raise Failure(f"{verb} {arguments}: status {done.returncode}, not {status}\n"
                          f"{done.stderr.decode()}{tail(self.console())}")
        return done.stdout, done.stderr.decode()

    def exec(self, *command, **how):
        return self.run("exec", self.name, "--", *command, **how)

    def console(self):
        self.session.receive(0)
        return self.session.text()


def check_login(guest):
    """Who is let in, and the guest's log of it."""
    check = guest.context.check
    for login, text in (({"password": "wrong"}, "tester is not let in: wrong user or password"),
                        ({"user": "nobody-here"}, "nobody-here is not let in: wrong user or "
                                                  "password"),
                        ({"user": "gone"}, "gone is not let in: his account may not be used")):
        _, errors = guest.exec("true", status=254, **login)
        check(text in errors, errors)
    guest.session.expect("failed login as tester from vsock:2:")
    guest.session.expect("failed login as nobody-here from vsock:2:")
    guest.session.expect("refused gone from vsock:2:")


def check_exec(guest):
    check = guest.context.check
    out, _ = guest.exec("sh", "-c", "id; pwd; cat /proc/self/loginuid; echo; echo $HOME $SHELL; "
                        "ls /sys/class/net; grep -c ^Cap.*0000000000000000 /proc/self/status")
    lines = out.decode().splitlines()
    check(lines[:4] == ["uid=1000(tester) gid=1000(tester) groups=1000(tester),1001(helpers)",
                        "/home/tester", "1000", "/home/tester /bin/bash"]
          and set(lines[4:-1]) <= {"lo"}, lines)
    guest.session.expect("accepted tester from vsock:2:")
    out, errors = guest.exec("sh", "-c", "cat; echo error >&2; exit 9", status=9, data=b"x" * 500000)
    check((len(out), errors) == (500000, "error\n"), (len(out), errors))
    out, _ = guest.exec("id", "-u", user="root")
    check(out == b"0\n", out)


def check_copy(guest):
    context = guest.context
    source, back = context.folder / "source", context.folder / "back"
    source.write_bytes(os.urandom(3 << 20))
    guest.run("copy", source, f"{guest.name}:target")
    out, _ = guest.exec("sha256sum", "target")
    context.check(out.split()[0].decode() == hashlib.sha256(source.read_bytes()).hexdigest(),
                  "the guest's copy differs")
    guest.run("copy", f"{guest.name}:target", back)
    context.check(back.read_bytes() == source.read_bytes(), "what came back differs")
    _, errors = guest.run("copy", source, f"{guest.name}:/etc/passwd", status=1)
    context.check("Permission denied" in errors, errors)


class Screen:
    """A terminal of tmux with a program in it."""

    def __init__(self, context, command):
        self.socket = context.folder / "tmux"
        self.tmux("new-session", "-d", "-x", "90", "-y", "30", *command, ";", "set-option", "-g",
                  "remain-on-exit", "on")

    def tmux(self, *arguments):
        return subprocess.run(["tmux", "-S", self.socket, "-f", "/dev/null", *arguments],
                              stdout=subprocess.PIPE, text=True, check=True,
                              env={**os.environ, "TERM": "xterm"}).stdout

    def keys(self, *keys):
        self.tmux("send-keys", *keys)

    def expect(self, pattern):
        """Wait until the screen shows it."""
        until = time.monotonic() + 60 * SLOWNESS
        while not re.search(pattern, shown := self.tmux("capture-pane", "-p"), re.M):
            if time.monotonic() > until:
                raise Failure(f"the screen does not show {pattern!r}:\n{shown}")
            time.sleep(0.1)
        return shown

    def close(self):
        self.tmux("kill-server")


def use_programs(guest, screen):
    screen.expect("^ready>$")
    screen.keys("stty size; tty; echo $TERM", "Enter")
    screen.expect("^30 90\n/dev/pts/0\n(screen|tmux)")
    screen.keys("vi text", "Enter")
    screen.expect("^~\n~\n~\n")
    screen.keys("i", "written in vi", "Enter", "two lines")
    screen.expect("^written in vi\ntwo lines\n~\n")
    # Alone: with a key right behind it, it would be another key.
    screen.keys("Escape")
    screen.expect("^- text")
    screen.keys("k", "0", "d", "w")
    screen.expect("^in vi\ntwo lines\n~\n")
    screen.keys(":wq", "Enter")
    screen.expect("ready>$")
    out, _ = guest.exec("cat", "text")
    guest.context.check(out == b"in vi\ntwo lines\n", out)
    screen.keys("clear; top", "Enter")
    screen.expect("Load average:[^$]* partita-agent")
    # A smaller window: top's next picture has fewer lines.
    screen.tmux("resize-window", "-x", "70", "-y", "20")
    screen.keys("q")
    screen.expect("ready>$")
    screen.keys("clear; stty size", "Enter")
    screen.expect("^20 70$")
    screen.keys("sleep 1000", "Enter", "C-c")
    screen.expect("\\^C\nready>$")
    screen.keys("exit 5", "Enter")
    screen.expect("status 5")


def check_enter(guest):
    command = " ".join(f"'{word}'" for word in guest.command("enter", guest.name))
    screen = Screen(guest.context, [f"stty -a >{guest.context.folder}/before; {command}; "
                                    f"echo status $?; stty -a >{guest.context.folder}/after; cat"])
    try:
        use_programs(guest, screen)
    finally:
        screen.close()
    before, after = ((guest.context.folder / name).read_text() for name in ("before", "after"))
    modes = [text[text.index("intr"):] for text in (before, after)]
    guest.context.check(modes[0] == modes[1], "the terminal's modes were changed")


def check_no_agent(guest):
    guest.exec("sh", "-c", "kill $(cat /run/agent.pid)", user="root")
    guest.session.expect("STEP the agent has ended")
    _, errors = guest.exec("true", status=255)
    guest.context.check("runs no partita-agent" in errors and errors.count("\n") == 1, errors)


@test("session: exec, copy, and enter with vi and top, by the guest's PAM")
def session(context):
    machine = start_root(context, JOB % users(), "--disk", f"{payload(context)},ro",
                         modules=("hv_sock",))
    machine.expect("serving direct sessions", 180)
    guest = Guest(context, machine)
    check_login(guest)
    check_exec(guest)
    check_copy(guest)
    check_enter(guest)
    check_no_agent(guest)
