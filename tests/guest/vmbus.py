"""Debian's hv_vmbus, unmodified, finds its host at every version that it knows."""

from boot import CMDLINE, REFERENCE_PAGE, check_log
from harness import tail, test

# What the driver's parameter max_version allows, and what it says then.
VERSIONS = ("5.3", "5.2", "5.1", "5.0", "4.1", "4.0", "3.0", "2.4")

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


@test("vmbus: another kernel makes contact after kexec")
def kexec(context):
    modules = context.modules("cloud", "hv_vmbus")
    second = context.folder / "second"
    context.initrd(JOB.format(number=5 << 16 | 3), *modules).rename(second)
    job = """
insmod /lib/modules/*hv_vmbus.ko
fact first "$(dmesg | sed -n 's/.*Vmbus version://p')"
/kexec /vmlinuz /second "$(cat /proc/cmdline)"
"""
    kernel = context.kernel("cloud")
    initrd = context.initrd(job, *modules, f"vmlinuz={kernel}", f"second={second}",
                            f"kexec={context.compile('kexec')}")
    result = context.run("--kernel", kernel, "--initrd", initrd, "--cmdline",
                         f"{CMDLINE} {REFERENCE_PAGE}", "--invariant-tsc", "--processors", 2,
                         deadline=120)
    context.check(result.status == 0 and not result.errors,
                  f"status {result.status}\n{result.errors}{tail(result.console)}")
    facts = result.facts()
    context.check(facts.get("first") == "5.3" and facts.get("version") == "5.3",
                  tail(result.console))
