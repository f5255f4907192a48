"""Debian's hv_storvsc, unmodified, finds its disks; the guest's root is a VHDX."""

import re

from boot import CMDLINE, REFERENCE_PAGE, check_log
from harness import Failure, tail, test

# What the storage drivers say when something is wrong.
COMPLAINTS = re.compile(r"(storvsc|hv_vmbus|scsi|sd |sr |I/O error|EXT4-fs|XFS).*"
                        r"(?i:error|fail|timed out|timeout|abort|reset|offline|corrupt|invalid)")

# Linux names its disks in any order; disk says which one a LUN is, once it is there.
DISK = r"""
disk() {
	until set -- "$1" /sys/bus/scsi/devices/0:0:0:$1/block/* && [ -b "/dev/${2##*/}" ]; do
		sleep 0.1
	done
	echo "/dev/${2##*/}"
}
"""

DISK_FACTS = """
fact root "$(findmnt -n -o SOURCE,FSTYPE /)"
fact scsi "$(lsscsi | tr '\\n' ';')"
fact discard "$(lsblk -n -d -b -o NAME,DISC-GRAN,DISC-MAX,DISC-ZERO /dev/sda | tr -s ' ')"
fact channels "$(ls -d /sys/bus/vmbus/devices/f8b3781a-*/channels/* | wc -l)"
"""


def start_root(context, job, *arguments, kernel="cloud", processors=2, modules=(), disk=None,
               cmdline="root=LABEL=partita-root"):
    """A machine that boots from a disk; it listens to partita disk attach-to by the folder's name."""
    return context.session(*context.root(job, kernel, modules), "--cmdline",
                           f"{CMDLINE} {REFERENCE_PAGE} {cmdline}", "--invariant-tsc",
                           "--name", context.folder.name, "--processors", processors,
                           "--disk", disk or context.root_disk(), *arguments)


def end_root(context, session, deadline=240, tolerated=()):
    """Wait for its end, and see that neither it nor the machine has anything to complain about."""
    result = session.wait(deadline)
    context.check(result.status == 0 and not result.errors,
                  f"status {result.status}, not 0\n{result.errors}{tail(result.console)}")
    check_log(result.console, tolerated)
    for line in result.console.splitlines():
        if COMPLAINTS.search(line) and not any(re.search(said, line) for said in tolerated):
            raise Failure(f"the log complains: {line}\n{tail(result.console)}")
    result.output()
    return result


def run_root(context, job, *arguments, deadline=240, **options):
    return end_root(context, start_root(context, job, *arguments, **options), deadline)


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
