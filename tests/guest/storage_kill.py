"""A worker that is killed at any moment: what the guest had made durable is in the image, and the
rest is what a journal repairs."""

import random
import re
import subprocess
import time

from boot import CMDLINE, REFERENCE_PAGE
from harness import Failure, tail, test

WRITERS = 3

JOB = f"""
for module in /lib/modules/*.ko; do
	insmod $module
done
until [ -b /dev/sda ]; do usleep 10000; done
mkdir -p /mnt
mount -t ext4 /dev/sda /mnt || fact failed mount
# Some more load on the journal, of which nothing is promised.
while :; do
	cp /bin/busybox /mnt/copy
	mv /mnt/copy /mnt/other
done &
/fsyncs /mnt {WRITERS}
"""

# What e2fsck says when it only replays a journal and ends the removals that it tells of.
REPAIRS = re.compile(r"recovering journal|Clearing orphaned inode|: clean|files \(|^$|"
                     r"Setting free (inodes|blocks) count")


def examine(context, disk, said):
    """Every file that was reported is whole, in a file system that its journal repairs."""
    context.tool("disk", "check", disk)
    raw, folder = context.folder / "flat.raw", context.folder / "files"
    context.tool("disk", "convert", disk, raw, "--overwrite")
    for arguments in ("-p",), ("-f", "-n"):
        done = subprocess.run(["e2fsck", *arguments, raw], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True)
        strange = [line for line in done.stdout.splitlines() if not REPAIRS.search(line)]
        context.check(done.returncode <= (arguments == ("-p",))
                      and (arguments != ("-p",) or not strange),
                      f"e2fsck {' '.join(arguments)}: status {done.returncode}\n{done.stdout}")
    folder.mkdir(exist_ok=True)
    subprocess.run(["debugfs", "-R", f"rdump / {folder}", raw], check=True,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    removed = set(re.findall(r"^REMOVING (\S+)", said, re.M))
    synced = re.findall(r"^SYNCED (\S+) (\d+)\r*\n", said, re.M)
    for name, size in synced:
        if name in removed:
            continue
        size = int(size)
        path = folder / name
        context.check(path.exists(), f"{name} was durable, and is not there")
        expected = (f"{name} " * (size // (len(name) + 1) + 1))[:size]
        context.check(path.read_text(errors="replace") == expected,
                      f"{name} was durable, and has other contents")
    subprocess.run(["rm", "-r", folder], check=True)
    return len(synced)


def run_and_kill(context, arguments, disk, seconds):
    """Returns what the guest had said until then."""
    session = context.session(*arguments, "--disk", disk)
    session.expect(r"^SYNCED 1-1 ", 120)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        context.check(session.receive(until - time.monotonic()),
                      f"ended by itself\n{session.error_text()}{tail(session.text())}")
    session.process.kill()
    said = session.wait(60).console
    context.check("FACT failed" not in said, tail(said))
    return said


@test("storage: killed, and what was durable is there", kills=3)
@test("storage: killed 200 times", long_only=True, kills=200)
def killed(context, kills):
    raw, base = context.folder / "base.raw", context.folder / "base.vhdx"
    subprocess.run(["mke2fs", "-q", "-t", "ext4", raw, "160M"], check=True,
                   stdout=subprocess.DEVNULL)
    context.tool("disk", "convert", raw, base, "--block-size", "1M")
    modules = context.modules("cloud", "sd_mod", "hv_storvsc", "ext4")
    arguments = ["--kernel", context.kernel("cloud"), "--initrd",
                 context.initrd(JOB, *modules, f"fsyncs={context.compile('fsyncs')}"),
                 "--cmdline", f"{CMDLINE} {REFERENCE_PAGE} quiet", "--invariant-tsc",
                 "--processors", 2]
    synced = 0
    for kill in range(kills):
        # A new disk now and then; in between the next kernel, too, starts from what a kill left.
        if kill % 10 == 0:
            disk = context.disk(f"{kill}.avhdx", "--parent", base)
        seconds = random.uniform(0, 4)
        try:
            synced += examine(context, disk, run_and_kill(context, arguments, disk, seconds))
        except Failure as failure:
            raise Failure(f"kill {kill + 1}, after {seconds:.3f} s: {failure}") from failure
    context.check(synced > 2 * kills, f"only {synced} files were durable in all")
