"""Debian's hv_storvsc, unmodified, finds its disks; the guest's root is a VHDX."""

import re

from boot import CMDLINE, REFERENCE_PAGE, check_log
from harness import Failure, tail, test

# What the storage drivers say when something is wrong.
COMPLAINTS = re.compile(r"(storvsc|hv_vmbus|scsi|sd |sr |I/O error|EXT4-fs|XFS).*"
                        r"(?i:error|fail|timed out|timeout|abort|reset|offline|corrupt|invalid)")

DISK_FACTS = """
fact root "$(findmnt -n -o SOURCE,FSTYPE /)"
fact scsi "$(lsscsi | tr '\\n' ';')"
fact discard "$(lsblk -n -d -b -o NAME,DISC-GRAN,DISC-MAX,DISC-ZERO /dev/sda | tr -s ' ')"
fact channels "$(ls -d /sys/bus/vmbus/devices/f8b3781a-*/channels/* | wc -l)"
"""


def run_root(context, job, *arguments, kernel="cloud", processors=2, modules=(), deadline=240,
             disk=None):
    result = context.run(*context.root(job, kernel, modules), "--cmdline",
                         f"{CMDLINE} {REFERENCE_PAGE} root=/dev/sda", "--invariant-tsc",
                         "--processors", processors, "--disk", disk or context.root_disk(),
                         *arguments, deadline=deadline)
    context.check(result.status == 0,
                  f"status {result.status}, not 0\n{result.errors}{tail(result.console)}")
    check_log(result.console, ())
    for line in result.console.splitlines():
        if COMPLAINTS.search(line):
            raise Failure(f"the log complains: {line}\n{tail(result.console)}")
    result.output()
    return result


@test("storage: root on a VHDX, 1 processor", processors=1)
@test("storage: root on a VHDX, 2 processors", processors=2)
@test("storage: root on a VHDX, 4 processors", processors=4)
@test("storage: root on a VHDX, generic kernel", processors=2, kernel="generic")
def root(context, processors, kernel="cloud"):
    result = run_root(context, DISK_FACTS, processors=processors, kernel=kernel)
    facts = result.facts()

    def expect(name, pattern):
        context.check(re.search(pattern, facts.get(name, "")),
                      f"{name} is {facts.get(name)!r}\n{tail(result.console)}")

    expect("root", r"^/dev/sda +ext4$")
    expect("scsi", r"^\[0:0:0:0\] +disk +Msft +Virtual Disk +1\.0 +/dev/sda")
    expect("discard", r"sda (512|4096) \d{9,} 0")
    expect("channels", f"^{processors}$")
