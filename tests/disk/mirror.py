"""partita disk mirror: a disk in use gets a copy that is the same to the last write."""

import os
import random
import signal

from attach import attached
from harness import MIB, SLOWNESS, Failure, test


class Mirror:
    """The command, from its start to its end."""

    def __init__(self, context, *arguments):
        self.context = context
        self.process = context.start("mirror", *arguments)
        self.device = self.line()

    def line(self):
        """The next line of its output."""
        line = self.process.stdout.readline().decode()
        if not line:
            raise Failure(f"it ended: {self.process.communicate()}")
        return line.strip()

    def ready(self):
        self.context.check(self.line() == "ready", "it is not ready")

    def __enter__(self):
        return self

    def wait(self, status=0):
        out, err = self.process.communicate(timeout=60 * SLOWNESS)
        self.context.check(self.process.returncode == status,
                           f"status {self.process.returncode}: {out} {err}")
        return err.decode()

    def __exit__(self, *failure):
        if self.process.poll() is None:
            self.process.terminate()
            self.process.communicate(timeout=60 * SLOWNESS)


def write(device, seed, count):
    """Random writes, durable."""
    generator = random.Random(seed)
    fd = os.open(device, os.O_RDWR)
    try:
        for _ in range(count):
            offset = generator.randrange(60 * MIB // 512) * 512
            os.pwrite(fd, generator.randbytes(generator.choice([512, 4096, 100 * 512, MIB])), offset)
        os.fsync(fd)
    finally:
        os.close(fd)


def sources(context):
    context.raw("contents.raw", 64 * MIB, (0, 5 * MIB), (40 * MIB, 20 * MIB))
    context.disk("convert", "contents.raw", "source.vhdx", "--block-size", "1M")
    context.disk("convert", "contents.raw", "source.vhd")


for source, target in (("source.vhdx", "target.vhd"), ("source.vhd", "target.vhdx"),
                       ("source.vhdx", "target.raw")):

    @test(f"mirror: {source} to {target} under writes, ended by detach", source=source,
          target=target)
    def _(context, source, target):
        sources(context)
        with Mirror(context, source, target) as mirror:
            write(mirror.device, 1, 50)
            mirror.ready()
            write(mirror.device, 2, 50)
            context.check(target not in context.files(), "it is there too early")
            context.disk("detach", source)
            context.check(target in context.files(), "it is not there when detach returns")
            mirror.wait()
        context.disk("compare", source, target, "--same-size")
        context.disk("check", target)
        context.check(not attached(context), "still attached")


@test("mirror: a signal ends it when it is ready")
def _(context):
    sources(context)
    with Mirror(context, "source.vhdx", "target.vhdx", "--file") as mirror:
        mirror.ready()
        write(mirror.device, 3, 20)
        mirror.process.send_signal(signal.SIGINT)
        mirror.wait()
    context.disk("compare", "source.vhdx", "target.vhdx")


@test("mirror: a disk in use moves to another file")
def _(context):
    """The device stays; what is written to it goes on in the target."""
    sources(context)
    for target in ("target.vhdx", "target.raw"):
        context.disk("convert", "source.vhdx", "moving.vhdx", "--overwrite")
        with Mirror(context, "moving.vhdx", target, "--move", "--file") as mirror:
            write(mirror.device, 5, 30)
            mirror.ready()
            context.check(mirror.line() == "moved", "it was not moved")
            before = context.path("moving.vhdx").read_bytes()
            write(mirror.device, 6, 30)
            contents = open(mirror.device, "rb").read()
            context.check([disk["image"] for disk in attached(context)]
                          == [str(context.path(target))], str(attached(context)))
            context.disk("detach", target)
            mirror.wait()
        context.check(context.path("moving.vhdx").read_bytes() == before, "SOURCE was written")
        context.path("expected.raw").write_bytes(contents)
        context.disk("compare", target, "expected.raw", "--same-size")
        context.disk("check", target)
        context.check(not attached(context), "still attached")


@test("mirror: SIGKILL leaves nothing under the target's name")
def _(context):
    sources(context)
    with Mirror(context, "source.vhdx", "target.vhdx", "--file") as mirror:
        mirror.ready()
        write(mirror.device, 4, 20)
        mirror.process.kill()
        mirror.process.communicate()
    attached(context)  # which clears away what the killed process left
    context.check("target.vhdx" not in context.files(), str(context.files()))
    context.disk("check", "source.vhdx")


@test("mirror: a target that fails does not harm the source")
def _(context):
    sources(context)
    context.refused("mirror", "source.vhdx", "source.vhd", words=["source.vhd"])
    context.refused("mirror", "source.vhdx", "missing/target.vhd", words=["missing/target.vhd"])
    context.check(not attached(context), "still attached")
    context.disk("compare", "source.vhdx", "contents.raw")
