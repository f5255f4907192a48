"""Bad input: one clear line on stderr that names the thing, status 2, nothing started."""

import os
import subprocess

from harness import test

CASES = []


def case(name, *words):
    """The function returns the arguments after `run`; the line must contain the words."""

    def register(function):
        test(f"bad input: {name}")(lambda context: refuse(context, function(context), words))
        return function

    return register


def refuse(context, arguments, words):
    done = subprocess.run([context.partita, *map(str, arguments)], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=20)
    context.check(done.returncode == 2, f"status {done.returncode}, not 2: {done.stderr}")
    context.check(done.stdout == "", f"stdout: {done.stdout}")
    lines = done.stderr.splitlines()
    context.check(len(lines) == 1 and lines[0].startswith("partita: "),
                  f"not one line of partita: {done.stderr!r}")
    for word in words:
        context.check(word in lines[0], f"no {word!r} in: {lines[0]}")


def run(context, *arguments):
    return ["run", "--kernel", context.kernel("cloud"), *arguments]


@case("no command", "--help")
def _(context):
    return []


@case("unknown command", "frobnicate")
def _(context):
    return ["frobnicate"]


@case("unknown option", "--frobnicate")
def _(context):
    return run(context, "--frobnicate")


@case("option without value", "--memory", "needs a value")
def _(context):
    return run(context, "--memory")


@case("stray argument", "stray")
def _(context):
    return run(context, "stray")


@case("no kernel", "--kernel")
def _(context):
    return ["run"]


@case("kernel that is not there", "/nonexistent/kernel", "No such file")
def _(context):
    return ["run", "--kernel", "/nonexistent/kernel"]


@case("kernel that is a folder", "Is a directory")
def _(context):
    return ["run", "--kernel", context.folder]


def file_of(context, content):
    path = context.folder / "file"
    path.write_bytes(content)
    return path


@case("not a kernel", "file")
def _(context):
    return ["run", "--kernel", file_of(context, b"just some text\n" * 1000)]


@case("empty kernel", "file")
def _(context):
    return ["run", "--kernel", file_of(context, b"")]


@case("random bytes as kernel", "file")
def _(context):
    return ["run", "--kernel", file_of(context, os.urandom(1 << 20))]


# What follows the image proper, a signature of some KiB, is of no use to a loader.
for length in (1, 512, 1024, 20000, 1 << 20, -65536):

    @case(f"bzImage truncated to {length} bytes" if length > 0
          else f"bzImage without its last {-length} bytes", "file")
    def _(context, length=length):
        content = open(context.kernel("cloud"), "rb").read()
        return ["run", "--kernel", file_of(context, content[:length])]


for length in (52, 4096, 1 << 20):

    @case(f"ELF kernel truncated to {length} bytes", "file")
    def _(context, length=length):
        content = open(context.kernel("vmlinux"), "rb").read(length)
        return ["run", "--kernel", file_of(context, content)]


@case("Multiboot kernel, truncated", "multiboot.elf")
def _(context):
    kernel = context.assemble("multiboot")
    content = kernel.read_bytes()
    kernel.write_bytes(content[:200])
    return ["run", "--kernel", kernel]


@case("kernel that does not fit the memory", "linux-image-cloud")
def _(context):
    return run(context, "--memory", "8M")


@case("initrd that is not there", "/nonexistent/initrd")
def _(context):
    return run(context, "--initrd", "/nonexistent/initrd")


@case("initrd that does not fit the memory", "file")
def _(context):
    path = context.folder / "file"
    with open(path, "wb") as initrd:
        initrd.truncate(300 << 20)
    return run(context, "--initrd", path, "--memory", "256M")


@case("command line that is too long", "command line")
def _(context):
    return run(context, "--cmdline", "x" * 100000)


for count in ("0", "65", "1000000000000", "-1", "two", "", "1x"):

    @case(f"{count or 'empty'} processors", "--processors", "from 1 to 64")
    def _(context, count=count):
        return run(context, "--processors", count)


for size in ("0M", "512", "M", "1", "-1G", "5X", "1.5G", "99999999999999999999G", "1000000T",
             "16777216T", "3K", "2049K", "", "512MM"):

    @case(f"memory of {size or 'nothing'}", "--memory")
    def _(context, size=size):
        return run(context, "--memory", size)


@case("unwritable serial file", "/nonexistent/log", "No such file")
def _(context):
    return run(context, "--serial", "file:/nonexistent/log")


@case("serial file that is a folder", "directory")
def _(context):
    return run(context, "--serial", f"file:{context.folder}")


@case("serial socket that cannot be", "/nonexistent/socket")
def _(context):
    return run(context, "--serial", "unix:/nonexistent/socket")


@case("serial socket with too long a path", "longer")
def _(context):
    return run(context, "--serial", "unix:/" + "x" * 200)


@case("serial socket where a file is", "file")
def _(context):
    return run(context, "--serial", f"unix:{file_of(context, b'precious')}")


for serial in ("", "stdio:", "file", "file:", "unix:", "tcp:1234", "STDIO"):

    @case(f"serial {serial or 'nothing'}", "--serial")
    def _(context, serial=serial):
        return run(context, "--serial", serial)


@case("unknown engine", "--engine", "magic")
def _(context):
    return run(context, "--engine", "magic")
