"""A worker has given up what it does not need before its guest runs, in every thread."""

import os
from pathlib import Path

from harness import test

NOBODY = "65534"
SECCOMP_FILTER = "2"


@test("confinement: no privileges, no capabilities, a system call filter")
def confinement(context):
    session = context.session("--kernel", context.assemble("hang"), "--cmdline", "echo",
                              "--memory", "16M", "--processors", 4)
    session.expect("here", 10)
    threads = list(Path(f"/proc/{session.process.pid}/task").iterdir())
    context.check(len(threads) >= 5, f"{len(threads)} threads: no processor has its own?")
    for thread in threads:
        status = dict(line.split(":\t", 1)
                      for line in (thread / "status").read_text().splitlines())
        where = f"thread {status['Name'].strip()}"
        if os.getuid() == 0:
            context.check(set(status["Uid"].split()) == {NOBODY}, f"{where}: uid {status['Uid']}")
            context.check(set(status["Gid"].split()) == {NOBODY}, f"{where}: gid {status['Gid']}")
            context.check(not status["Groups"].split(), f"{where}: groups {status['Groups']}")
        for name in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
            context.check(int(status[name], 16) == 0, f"{where}: {name} is {status[name]}")
        context.check(status["NoNewPrivs"].strip() == "1", f"{where}: may gain privileges")
        context.check(status["Seccomp"].strip() == SECCOMP_FILTER, f"{where}: no filter")
    session.send(b"q")
    result = session.wait(5)
    context.check(result.status == 0, f"status {result.status}: {result.errors}")
