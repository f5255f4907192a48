"""Bad input to partita disk: one clear line that names the thing, status 2, nothing made."""

import os

from harness import COMMANDS, MIB, test


def case(name, *words, status=2):
    """The function returns the arguments; the line must contain the words."""

    def register(function):
        def run(context):
            arguments = function(context)
            before = context.files()
            context.refused(*arguments, status=status, words=words)
            context.check(context.files() == before, f"left: {context.files()}")

        test(f"bad input: {name}")(run)
        return function

    return register


@case("no command", "--help")
def _(context):
    return []


@case("unknown command", "frobnicate", "--help")
def _(context):
    return ["frobnicate"]


for command in COMMANDS:

    @case(f"{command}: no arguments", command, "--help")
    def _(context, command=command):
        return [command]

    @case(f"{command}: unknown option", "--frobnicate", "--help")
    def _(context, command=command):
        return [command, "--frobnicate"]

    @case(f"{command}: unknown letter", "-x", "--help")
    def _(context, command=command):
        return [command, "-xyz"]

    @case(f"{command}: too many arguments", "d", "--help")
    def _(context, command=command):
        return [command, "a", "b", "c", "d"]


for size in ("", "0", "-1G", "+1G", "1X", "G", "1.G", ".5G", "1.5", "ten", "1 G", "0x10G",
             "16777216T", "18446744073709551616", "1e9", "10GX", "1,5G"):

    @case(f"create --size {size or 'nothing'}", "--size")
    def _(context, size=size):
        return ["create", "disk.vhdx", "--size", size]

    @case(f"resize to {size or 'nothing'}", size)
    def _(context, size=size):
        context.raw("disk.raw", MIB)
        return ["resize", "--", "disk.raw", f"+{size}" if size == "+1G" else size]


@case("create without a size", "--size", "--parent")
def _(context):
    return ["create", "disk.vhdx"]


@case("create of an unknown format", "disk.qcow2", "--format")
def _(context):
    return ["create", "disk.qcow2", "--size", "1G"]


@case("create --format unknown", "--format", "qcow2", "vhdx")
def _(context):
    return ["create", "disk", "--format", "qcow2", "--size", "1G"]


@case("create --fixed --parent", "--fixed", "--parent")
def _(context):
    return ["create", "disk.vhdx", "--fixed", "--parent", "base.vhdx"]


@case("create raw --parent", "raw")
def _(context):
    return ["create", "disk.raw", "--parent", "base.raw"]


@case("create --sparse of a dynamic disk", "--sparse")
def _(context):
    return ["create", "disk.vhdx", "--size", "1G", "--sparse"]


for sector in ("0", "1024", "8K", "x", "513"):

    @case(f"create --logical-sector {sector}", "--logical-sector", "512")
    def _(context, sector=sector):
        return ["create", "disk.vhdx", "--size", "1G", "--logical-sector", sector]


for block in ("0", "3M", "1000000", "8G", "x"):

    @case(f"create --block-size {block}", "--block-size")
    def _(context, block=block):
        return ["create", "disk.vhdx", "--size", "1G", "--block-size", block]


@case("create --id that is none", "--id", "01234567")
def _(context):
    return ["create", "disk.vhdx", "--size", "1G", "--id", "01234567"]


for count in ("0", "65", "-1", "x", "", "99999999999999999999"):

    @case(f"convert --parallel {count or 'nothing'}", "--parallel", "64")
    def _(context, count=count):
        context.raw("disk.raw", MIB)
        return ["convert", "disk.raw", "disk.vhdx", "--parallel", count]


@case("convert to an unknown format", "target", "--format")
def _(context):
    context.raw("disk.raw", MIB)
    return ["convert", "disk.raw", "target"]


@case("convert --fixed --parent", "fixed")
def _(context):
    return ["convert", "disk.raw", "disk.vhdx", "--fixed", "--parent", "base.vhdx"]


@case("resize to two things", "--minimum")
def _(context):
    return ["resize", "disk.vhdx", "2G", "--minimum"]


for depth in ("0", "-1", "x", "", "4294967297"):

    @case(f"merge --depth {depth or 'nothing'}", "--depth", "65535")
    def _(context, depth=depth):
        return ["merge", "disk.vhdx", "--depth", depth]


@case("merge --into and --depth", "--into", "--depth")
def _(context):
    return ["merge", "disk.vhdx", "--into", "base.vhdx", "--depth", "1"]


@case("set of nothing", "nothing")
def _(context):
    return ["set", "disk.vhdx"]


@case("set --force alone", "--force", "--parent")
def _(context):
    return ["set", "disk.vhdx", "--force", "--id", "new"]


@case("metadata, unknown verb", "frobnicate", "list")
def _(context):
    return ["metadata", "frobnicate", "disk.vhdx"]


@case("metadata get without a GUID", "GUID")
def _(context):
    return ["metadata", "get", "disk.vhdx"]


@case("metadata get of what is no GUID", "GUID", "x")
def _(context):
    return ["metadata", "get", "disk.vhdx", "x"]


# What only the disk, or the file system, can refuse: status 1.

for command in ("info", "check", "compact", "map"):

    @case(f"{command}: no such file", "missing.vhdx", "No such file", status=1)
    def _(context, command=command):
        return [command, "missing.vhdx"]

    @case(f"{command}: a folder", "folder", status=1)
    def _(context, command=command):
        context.path("folder").mkdir()
        return [command, "folder"]


@case("info: damaged VHDX", "disk.vhdx", status=1)
def _(context):
    context.path("disk.vhdx").write_bytes(b"vhdxfile" + os.urandom(4 << 20))
    return ["info", "disk.vhdx"]


@case("info --format that it is not", "disk.raw", status=1)
def _(context):
    context.raw("disk.raw", MIB, (0, MIB))
    return ["info", "disk.raw", "--format", "vhdx"]


@case("create where there is no folder", "missing", status=1)
def _(context):
    return ["create", "missing/disk.vhdx", "--size", "1G"]


@case("create --parent that is not there", "missing.vhdx", status=1)
def _(context):
    return ["create", "disk.vhdx", "--parent", "missing.vhdx"]


for name, size in (("disk.vhd", "3T"), ("disk.vhdx", "65T"), ("disk.vhdx", "1000")):

    @case(f"create {name} of {size}", name, status=1)
    def _(context, name=name, size=size):
        return ["create", name, "--size", size]


@case("convert onto a file", "target.vhdx", "--overwrite", status=1)
def _(context):
    context.raw("disk.raw", MIB)
    context.raw("target.vhdx", MIB)
    return ["convert", "disk.raw", "target.vhdx"]


@case("convert onto a parent", "base.vhdx", "child.vhdx", status=1)
def _(context):
    context.disk("create", "base.vhdx", "--size", "1G")
    context.disk("create", "child.vhdx", "--parent", "base.vhdx")
    return ["convert", "child.vhdx", "base.vhdx", "--overwrite"]


@case("convert of 4096-byte sectors to VHD", "disk.vhd", status=1)
def _(context):
    context.disk("create", "disk.vhdx", "--size", "1G", "--logical-sector", "4096")
    return ["convert", "disk.vhdx", "disk.vhd"]


@case("convert of what is too large", "disk.vhd", status=1)
def _(context):
    context.disk("create", "disk.vhdx", "--size", "4T")
    return ["convert", "disk.vhdx", "disk.vhd"]


@case("a chain that comes back to itself", "a.vhdx", status=1)
def _(context):
    context.disk("create", "a.vhdx", "--size", "1G")
    context.disk("create", "b.vhdx", "--parent", "a.vhdx")
    context.path("a.vhdx").unlink()
    context.path("b.vhdx").rename(context.path("a.vhdx"))
    return ["check", "a.vhdx"]
