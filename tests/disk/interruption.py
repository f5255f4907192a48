"""Interrupted conversions leave no half target; a terminal gets a progress bar."""

import resource
import signal
import time

from harness import MIB, SLOWNESS, Failure, Terminal, test

def large(context):
    """A disk whose conversion takes its time: what it holds are zeros, but it does hold them."""
    with open(context.path("source.raw"), "wb") as file:
        for _ in range(768):
            file.write(bytes(MIB))
    return ["convert", "source.raw", "target.vhdx", "--keep-zeros", "--parallel", "1"]


def await_partial(context, process):
    """Until the target grows under its other name."""
    until = time.monotonic() + 60 * SLOWNESS
    while time.monotonic() < until and process.poll() is None:
        for name in context.files():
            if name.startswith(".partita-") and context.path(name).stat().st_size > 16 * MIB:
                return
        time.sleep(0.01)
    raise Failure(f"it ended too early: {process.returncode}")


for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):

    @test(f"interruption: {number.name} removes what was begun", number=number)
    def _(context, number):
        process = context.start(*large(context))
        await_partial(context, process)
        process.send_signal(number)
        out, err = process.communicate(timeout=60 * SLOWNESS)
        context.check(process.returncode == -number, f"status {process.returncode}")
        context.check((out, err) == (b"", b""), f"{out} {err}")
        context.check(context.files() == ["source.raw"], str(context.files()))


@test("interruption: SIGKILL leaves nothing under the target's name")
def _(context):
    process = context.start(*large(context))
    await_partial(context, process)
    process.kill()
    process.communicate()
    context.check("target.vhdx" not in context.files(), str(context.files()))


@test("interruption: what was there before stays")
def _(context):
    context.path("target.vhdx").write_bytes(b"precious")
    process = context.start(*large(context), "--overwrite")
    await_partial(context, process)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60 * SLOWNESS)
    context.check(context.path("target.vhdx").read_bytes() == b"precious", "it is gone")
    context.check(context.files() == ["source.raw", "target.vhdx"], str(context.files()))


@test("interruption: a full file system")
def _(context):
    context.raw("source.raw", 64 * MIB, (0, 64 * MIB))
    done = context.start("convert", "source.raw", "target.vhdx", preexec_fn=limit_file_size)
    out, err = done.communicate(timeout=60 * SLOWNESS)
    context.check(done.returncode == 1, f"status {done.returncode}")
    context.check(err.startswith(b"partita: target.vhdx: ") and err.count(b"\n") == 1, str(err))
    context.check(context.files() == ["source.raw"], str(context.files()))


def limit_file_size():
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (32 * MIB, 32 * MIB))


@test("terminal: convert shows a bar, and takes it away")
def _(context):
    terminal = Terminal(context, *large(context))
    terminal.expect(b"converting  [")
    terminal.expect(b"%")
    context.check(terminal.wait() == 0, "status")
    context.check(terminal.read.endswith(b"\r\x1b[K"), str(terminal.read[-100:]))


@test("terminal: no bar where there is none")
def _(context):
    context.raw("source.raw", 64 * MIB, (0, 64 * MIB))
    context.check(context.disk("convert", "source.raw", "target.vhdx") == "", "it says something")
