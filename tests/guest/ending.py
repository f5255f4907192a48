"""How machines end: power off, reset, panic, triple fault, and what the user does."""

import signal

from boot import CMDLINE
from harness import SLOWNESS, crashed, tail, test


def linux(context, job, *arguments, cmdline=CMDLINE):
    return context.session("--kernel", context.kernel("cloud"), "--initrd", context.initrd(job),
                           "--cmdline", cmdline, "--processors", 2, *arguments)


def check_status(context, result, status):
    context.check(result.status == status, f"status {result.status}, not {status}\n"
                  f"{result.errors}{tail(result.console)}")


@test("ending: reboot is status 1, and a line says so")
def reboot(context):
    result = linux(context, "reboot -f\nsleep 60").wait(90)
    check_status(context, result, 1)
    context.check("--restart" in result.errors, f"stderr: {result.errors}")
    context.check(result.errors.count("\n") == 1, f"stderr: {result.errors}")


@test("ending: --restart starts the machine again")
def restart(context):
    session = linux(context, "reboot -f\nsleep 60", "--restart")
    first = session.expect(r"FACT uptime", 90)
    session.expect(r"Linux version", 90, first)
    session.expect(r"FACT uptime", 90, first)
    session.process.send_signal(signal.SIGTERM)
    result = session.wait(10)
    check_status(context, result, -signal.SIGTERM)


@test("ending: a panic with panic=-1 resets")
def panic(context):
    result = linux(context, "echo c >/proc/sysrq-trigger\nsleep 60").wait(90)
    context.check("Kernel panic - not syncing: sysrq triggered crash" in result.console,
                  tail(result.console))
    check_status(context, result, 1)


@test("ending: a panic without panic= stays for the user to see")
def panic_stays(context):
    session = linux(context, "echo c >/proc/sysrq-trigger\nsleep 60", cmdline="console=ttyS0")
    session.expect(r"---\[ end Kernel panic", 90)
    session.receive(2)
    context.check(session.process.poll() is None, "the machine ended by itself")
    session.process.send_signal(signal.SIGTERM)
    check_status(context, session.wait(10), -signal.SIGTERM)


@test("ending: a reset through the FADT's register")
def reset_register(context):
    result = context.run("--kernel", context.assemble("reset"), "--memory", "16M", deadline=20)
    check_status(context, result, 1)
    context.check("about to reset" in result.console, tail(result.console))


@test("ending: a triple fault says so with registers and bytes")
def triple_fault(context):
    result = context.run("--kernel", context.assemble("triple"), "--name", "guinea-pig",
                         "--memory", "16M", deadline=20)
    check_status(context, result, 1)
    context.check("about to fault" in result.console, tail(result.console))
    lines = result.errors.splitlines()
    context.check(len(lines) == 1, f"not one line: {result.errors}")
    for text in ("guinea-pig", "triple fault", "rax=deadbeef", "bytes at rip: 0f 0b"):
        context.check(text in lines[0], f"no {text!r} in: {lines[0]}")


@test("ending: signals end a halted and a spinning guest", words=("halt", "spin"))
def signals(context, words):
    kernel = context.assemble("hang")
    for word in words:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            session = context.session("--kernel", kernel, "--cmdline", word, "--memory", "16M",
                                      "--processors", 2)
            session.expect("here", 10)
            session.process.send_signal(number)
            result = session.wait(5)
            context.check(not crashed(result.status), result.errors)
            check_status(context, result, -number)


@test("ending: --stats leaves figures")
def stats(context):
    figures = context.folder / "figures"
    result = context.run("--kernel", context.assemble("multiboot"), "--memory", "16M",
                         "--processors", 3, "--stats", figures, deadline=20)
    check_status(context, result, 0)
    values = dict(line.split() for line in figures.read_text().splitlines())
    context.check(values.get("processors") == "3" and values.get("memory_bytes") == str(16 << 20)
                  and int(values.get("exits", 0)) > 10 and 0 < float(values.get("seconds", 0)) < 20 * SLOWNESS,
                  f"figures: {values}")
