"""Debian's cloud kernel boots, recognises Hyper-V, and has nothing to complain about."""

import re

from harness import SLOWNESS, Failure, tail, test

CMDLINE = "console=ttyS0 panic=-1"
# With an invariant TSC Linux prefers the counter to Hyper-V's reference page.
REFERENCE_PAGE = "clocksource=hyperv_clocksource_tsc_page"
BOOTS = 20

# What must not be in a log.
COMPLAINTS = re.compile(
    r"WARNING|\bBUG\b|(?i:\bstall|unstable|\bmce\b|soft lockup|hung.task|segfault)"
    r"|Call Trace|\bOops\b|general protection|Kernel panic|\bERROR\b")

# In a partition that does not let its guest make the TSC invariant, the kernel says this always
# (arch/x86/kernel/cpu/mshyperv.c); Hyper-V's own guests have it, and the clock source they use is
# the reference TSC page all the same.
ALWAYS_SAID = (
    "tsc: Marking TSC unstable due to running on Hyper-V",
)


def check_log(console, tolerated=ALWAYS_SAID):
    for line in console.replace("\r", "").splitlines():
        if COMPLAINTS.search(line) and not any(said in line for said in tolerated):
            raise Failure(f"the log complains: {line}\n{tail(console)}")


def check_boot(context, kernel, processors, memory="512M", invariant_tsc=True):
    """An invariant TSC is offered, and the log must be without any complaint; or it is not."""
    cmdline = f"{CMDLINE} {REFERENCE_PAGE}" if invariant_tsc else CMDLINE
    result = context.run("--kernel", context.kernel(kernel), "--initrd", context.initrd("facts"),
                         "--cmdline", cmdline, "--processors", processors, "--memory", memory,
                         *(["--invariant-tsc"] if invariant_tsc else []), deadline=120)
    context.check(result.status == 0,
                  f"status {result.status}, not 0\n{result.errors}{tail(result.console)}")
    facts = result.facts()

    def expect(name, value):
        context.check(facts.get(name) == value,
                      f"{name} is {facts.get(name)}, not {value}\n{tail(result.console)}")

    result.output()
    check_log(result.console, () if invariant_tsc else ALWAYS_SAID)
    expect("hyperv", "Microsoft Hyper-V")
    expect("clocksource", "hyperv_clocksource_tsc_page")
    expect("processors", str(processors))
    for n in range(processors):
        slept = float(facts.get(f"slept-{n}", "0"))
        context.check(0.45 <= slept < 3 * SLOWNESS,
                      f"processor {n} slept {slept} s instead of 0.5")
    return result


@test("boot: 1 processor", processors=1)
@test("boot: 2 processors", processors=2)
@test("boot: 4 processors", processors=4)
def cloud(context, processors):
    check_boot(context, "cloud", processors)


for number in (1, 2, 4):
    for attempt in range(2, BOOTS + 1):
        test(f"boot: {number} processors, time {attempt} of {BOOTS}", long_only=True,
             processors=number)(cloud)


@test("boot: a partition without invariant TSC, as it is by default")
def by_default(context):
    check_boot(context, "cloud", 2, invariant_tsc=False)


@test("boot: 5 GiB, of which 2 lie above the hole for devices")
def high_memory(context):
    result = check_boot(context, "cloud", 2, memory="5G")
    kib = int(result.facts()["memory"])
    context.check(kib > 4.7 * 2**20, f"the guest has only {kib} KiB")


@test("boot: generic kernel")
def generic(context):
    check_boot(context, "generic", 2)
