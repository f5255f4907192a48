"""Work in the guest gives what the same work gives on the host."""

import os
import subprocess

from boot import CMDLINE, check_log
from harness import HERE, Failure, tail, test, tool


def on_host(context, rounds):
    """The job's output here, by the same busybox and nothing else."""
    busybox = tool("scripts/guest/busybox")
    applets = context.folder / "applets"
    applets.mkdir()
    for name in subprocess.run([busybox, "--list"], stdout=subprocess.PIPE, text=True,
                               check=True).stdout.split():
        os.symlink(busybox, applets / name)
    work = context.folder / "tmp"
    work.mkdir()
    script = (HERE / "jobs" / "work").read_text().replace("/tmp/", f"{work}/")
    return subprocess.run([applets / "sh", "-c", script], stdout=subprocess.PIPE, text=True,
                          check=True, env={"PATH": str(applets), "ROUNDS": str(rounds)}).stdout


def compare(context, rounds, processors, deadline):
    job = f"ROUNDS={rounds}\n" + (HERE / "jobs" / "work").read_text()
    result = context.run("--kernel", context.kernel("cloud"), "--initrd", context.initrd(job),
                         "--cmdline", CMDLINE, "--processors", processors, deadline=deadline)
    context.check(result.status == 0, f"status {result.status}\n{tail(result.console)}")
    check_log(result.console)
    guest = result.output().splitlines()
    host = on_host(context, rounds).splitlines()
    for number, (ours, theirs) in enumerate(zip(guest, host), 1):
        if ours != theirs:
            raise Failure(f"line {number} differs: guest {ours!r}, host {theirs!r}")
    context.check(len(guest) == len(host), f"{len(guest)} lines instead of {len(host)}")


@test("work: one round on 2 processors")
def short(context):
    compare(context, 1, 2, 240)


@test("work: ten rounds on 4 processors", long_only=True)
def long(context):
    compare(context, 10, 4, 1800)
