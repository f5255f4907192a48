"""Debian's hv_vmbus, unmodified, finds its host at every version that it knows."""

from boot import CMDLINE, REFERENCE_PAGE, check_log
from harness import tail, test

# What the driver's parameter max_version allows, and what it says then.
VERSIONS = ("5.3", "5.0", "4.1", "3.0", "2.4")

JOB = """
insmod /lib/modules/*hv_vmbus.ko max_version={number} || fact failed yes
fact version "$(dmesg | sed -n 's/.*Vmbus version://p')"
"""


def check_version(context, version):
    major, minor = map(int, version.split("."))
    job = JOB.format(number=major << 16 | minor)
    initrd = context.initrd(job, *context.modules("cloud", "hv_vmbus"))
    result = context.run("--kernel", context.kernel("cloud"), "--initrd", initrd, "--cmdline",
                         f"{CMDLINE} {REFERENCE_PAGE}", "--invariant-tsc", "--processors", 2)
    context.check(result.status == 0 and not result.errors,
                  f"status {result.status}\n{result.errors}{tail(result.console)}")
    check_log(result.console, ())
    context.check(result.facts().get("version") == version, tail(result.console))


for number in VERSIONS:
    test(f"vmbus: contact at version {number}", version=number)(check_version)
