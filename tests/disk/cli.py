"""partita disk: each command does what it says, on every format."""

import json
import re

from harness import COMMANDS, GIB, KIB, MIB, TIB, test

FORMATS = ("vhdx", "vhd", "raw")
GUID = "01234567-89ab-cdef-0123-456789abcdef"


def info(context, name):
    return json.loads(context.disk("info", name, "--json"))


# ---- create

for size, expected in (("10M", 10 * MIB), ("1.5G", 3 * GIB // 2), ("64MiB", 64 * MIB),
                       ("2gb", 2 * GIB), ("5242880", 5 * MIB), ("1T", TIB)):

    @test(f"cli: create --size {size}", size=size, expected=expected)
    def _(context, size, expected):
        for name in FORMATS:
            context.disk("create", f"disk.{name}", "--size", size)
            context.check(info(context, f"disk.{name}")["size"] == expected, name)
            context.check(context.used(f"disk.{name}") < 4 * MIB, f"{name} takes room")


for name, kind in (("disk.vhdx", "dynamic"), ("disk.vhd", "dynamic"), ("disk.raw", "fixed"),
                   ("disk.img", "fixed"), ("DISK.VHDX", "dynamic"), ("disk.avhdx", "dynamic")):

    @test(f"cli: create {name}", name=name, kind=kind)
    def _(context, name, kind):
        context.disk("create", name, "--size", "64M")
        context.check(info(context, name)["kind"] == kind, info(context, name)["kind"])


@test("cli: create --fixed takes the space")
def _(context):
    for name in FORMATS:
        context.disk("create", f"disk.{name}", "--size", "20M", "--fixed")
        context.check(info(context, f"disk.{name}")["kind"] == "fixed", name)
        context.check(context.used(f"disk.{name}") >= 20 * MIB, f"{name} is sparse")


@test("cli: create --fixed --sparse does not")
def _(context):
    for name in FORMATS:
        context.disk("create", f"disk.{name}", "--size", "20M", "--fixed", "--sparse")
        context.check(info(context, f"disk.{name}")["kind"] == "fixed", name)
        context.check(context.used(f"disk.{name}") < 8 * MIB, f"{name} is not")


@test("cli: create with all that can be said")
def _(context):
    context.disk("create", "odd", "--format", "vhdx", "--size", "1G", "--block-size", "1M",
                 "--logical-sector", "4096", "--physical-sector", "4K", "--id", GUID)
    shown = info(context, "odd")
    for key, value in (("format", "vhdx"), ("block_size", MIB), ("logical_sector", 4096),
                       ("physical_sector", 4096), ("id", GUID)):
        context.check(shown[key] == value, f"{key}: {shown[key]}")


@test("cli: create --parent")
def _(context):
    for ending in ("vhdx", "vhd"):
        context.disk("create", f"base.{ending}", "--size", "1G")
        context.disk("create", f"child.{ending}", "--parent", f"base.{ending}")
        context.disk("create", f"leaf.a{ending}", "--parent", f"child.{ending}")
        shown = info(context, f"leaf.a{ending}")
        context.check(shown["kind"] == "differencing" and shown["size"] == GIB, str(shown))
        context.check([p["file"].split("/")[-1] for p in shown["parents"]]
                      == [f"child.{ending}", f"base.{ending}"], str(shown["parents"]))


@test("cli: create --overwrite")
def _(context):
    context.disk("create", "disk.raw", "--size", "1M")
    context.refused("create", "disk.raw", "--size", "2M", words=["disk.raw", "--overwrite"])
    context.check(info(context, "disk.raw")["size"] == MIB, "it was changed")
    context.disk("create", "disk.raw", "--size", "2M", "--overwrite")
    context.check(info(context, "disk.raw")["size"] == 2 * MIB, "it was not replaced")


# ---- info

@test("cli: info for people")
def _(context):
    context.disk("create", "base.vhdx", "--size", "10G")
    context.disk("create", "child.vhdx", "--parent", "base.vhdx")
    shown = context.disk("info", "child.vhdx")
    for line in (r"^File: +child\.vhdx$", r"^Format: +VHDX, differencing$",
                 r"^Size: +10 GiB \(10737418240 bytes\)$", r"^Block size: +2 MiB$",
                 r"^Sectors: +512 bytes logical, 4096 bytes physical$",
                 r"^Identifier: +[0-9a-f-]{36}$", r"^Chain: +child\.vhdx \(VHDX, differencing\)$",
                 r"^ +\./base\.vhdx \(VHDX, dynamic\)$"):
        context.check(re.search(line, shown, re.M), f"no {line} in\n{shown}")


@test("cli: info of a disk whose parent is gone")
def _(context):
    context.disk("create", "base.vhdx", "--size", "1G")
    context.disk("create", "child.vhdx", "--parent", "base.vhdx")
    context.path("base.vhdx").unlink()
    context.check("base.vhdx" in info(context, "child.vhdx")["broken"], "not said")
    context.check("broken: " in context.disk("info", "child.vhdx"), "not said to people")


# ---- check

@test("cli: check")
def _(context):
    context.raw("disk.raw", 40 * MIB, (0, 3 * MIB), (30 * MIB, 4096))
    for name in ("vhdx", "vhd"):
        context.disk("convert", "disk.raw", f"disk.{name}")
        context.check("is well" in context.disk("check", f"disk.{name}"), name)
    context.disk("check", "disk.raw")


@test("cli: check finds damage, and --repair mends it")
def _(context):
    context.raw("disk.raw", 40 * MIB, (0, 3 * MIB))
    context.disk("convert", "disk.raw", "disk.vhd")
    with open(context.path("disk.vhd"), "r+b") as file:  # the footer's copy
        file.seek(64)
        file.write(b"damage")
    before = context.path("disk.vhd").read_bytes()
    out = context.disk("check", "disk.vhd", status=1)
    context.check("damage: " in out and "--repair" in context.errors, out + context.errors)
    context.check(context.path("disk.vhd").read_bytes() == before, "it was written")
    context.check("repaired: " in context.disk("check", "disk.vhd", "--repair"), "not repaired")
    context.check("damage" not in context.disk("check", "disk.vhd"), "still damaged")
    context.disk("compare", "disk.raw", "disk.vhd")


@test("cli: check of a chain that is broken")
def _(context):
    context.disk("create", "base.vhdx", "--size", "1G")
    context.disk("create", "child.vhdx", "--parent", "base.vhdx")
    context.path("base.vhdx").unlink()
    context.refused("check", "child.vhdx", words=["child.vhdx", "base.vhdx"])


# ---- convert and compare

@test("cli: convert, any to any")
def _(context):
    context.raw("source.raw", 40 * MIB, (0, MIB + 512), (20 * MIB, 64 * KIB), (40 * MIB - 512, 512))
    wanted = context.path("source.raw").read_bytes()
    previous = "source.raw"
    for number, target in enumerate(("vhdx", "vhd", "vhd --fixed", "vhdx --fixed", "raw", "vhdx")):
        ending, *fixed = target.split()
        name = f"{number}.{ending}"
        context.disk("convert", previous, name, *fixed, "--parallel", number + 1)
        shown = info(context, name)
        context.check(shown["format"] == ending, str(shown))
        context.check(shown["kind"] == ("fixed" if fixed or ending == "raw" else "dynamic"),
                      str(shown))
        context.check(context.contents(name, 40 * MIB) == wanted, f"{name} differs")
        context.check("have the same contents" in context.disk("compare", name, "source.raw"), name)
        previous = name


@test("cli: convert of a chain, and of one layer")
def _(context):
    context.raw("base.raw", 30 * MIB, (0, 4 * MIB))
    context.disk("convert", "base.raw", "base.vhdx")
    context.disk("create", "child.vhdx", "--parent", "base.vhdx")
    context.disk("convert", "child.vhdx", "flat.vhd")
    context.disk("compare", "flat.vhd", "base.raw")
    context.disk("convert", "base.raw", "base.vhd")
    context.disk("convert", "child.vhdx", "child.vhd", "--parent", "base.vhd")
    context.check(info(context, "child.vhd")["kind"] == "differencing", "not differencing")
    context.disk("compare", "child.vhd", "child.vhdx", "--same-size")
    context.check(context.used("child.vhd") < MIB, "it has its parent's data")


@test("cli: convert of zeros takes no room")
def _(context):
    with open(context.path("zeros.raw"), "wb") as file:
        file.write(bytes(20 * MIB))
    context.disk("convert", "zeros.raw", "zeros.vhdx")
    context.check(context.used("zeros.vhdx") < 2 * MIB, str(context.used("zeros.vhdx")))
    context.disk("convert", "zeros.raw", "kept.vhdx", "--keep-zeros")
    context.check(context.used("kept.vhdx") >= 20 * MIB, str(context.used("kept.vhdx")))


@test("cli: convert of a terabyte with little in it")
def _(context):
    context.raw("source.raw", TIB, (0, 4096), (TIB - 4096, 4096), (TIB // 2, 4096))
    context.disk("convert", "source.raw", "disk.vhdx")
    context.disk("convert", "disk.vhdx", "back.raw")
    context.check(context.used("back.raw") < MIB, str(context.used("back.raw")))
    context.disk("compare", "back.raw", "source.raw", "--same-size")


@test("cli: compare")
def _(context):
    context.raw("a.raw", 4 * MIB, (0, MIB))
    with open(context.path("b.raw"), "wb") as file:
        file.write(context.path("a.raw").read_bytes())
    context.disk("compare", "a.raw", "b.raw")
    with open(context.path("b.raw"), "r+b") as file:
        file.truncate(5 * MIB)
    context.disk("compare", "a.raw", "b.raw")
    context.check("differ at byte 4194304"
                  in context.disk("compare", "a.raw", "b.raw", "--same-size", status=1), "the size")
    with open(context.path("b.raw"), "r+b") as file:
        file.seek(3 * MIB + 7)
        file.write(b"x")
    context.check("differ at byte 3145735" in context.disk("compare", "a.raw", "b.raw", status=1),
                  "the place")
    context.refused("compare", "a.raw", "missing.raw", status=2, words=["missing.raw"])


# ---- resize and compact

@test("cli: resize")
def _(context):
    context.raw("source.raw", 8 * MIB, (0, MIB))
    wanted = context.path("source.raw").read_bytes()
    for ending, block in (("vhdx", "1M"), ("vhd", "512K")):
        name = f"disk.{ending}"
        context.disk("convert", "source.raw", name, "--block-size", block)
        context.disk("resize", name, "16M")
        context.check(context.contents(name, 16 * MIB) == wanted + bytes(8 * MIB), name)
        context.disk("resize", name, "+1.5M")
        context.check(info(context, name)["size"] == 35 * MIB // 2, "grown by so much")
        context.disk("resize", name, "--minimum")
        size = info(context, name)["size"]
        context.check(MIB <= size < 35 * MIB // 2, f"{name}: {size}")
        context.check(context.contents(name, size)[:MIB] == wanted[:MIB], name)
        context.disk("check", name)


@test("cli: resize does not lose data unless told to")
def _(context):
    context.raw("source.raw", 64 * MIB, (0, MIB), (63 * MIB, MIB))
    context.disk("convert", "source.raw", "disk.vhdx")
    context.refused("resize", "disk.vhdx", "2M", words=["disk.vhdx"])
    context.disk("compare", "disk.vhdx", "source.raw", "--same-size")
    context.disk("resize", "disk.vhdx", "2M", "--lose-data")
    context.check(context.contents("disk.vhdx", 2 * MIB)
                  == context.path("source.raw").read_bytes()[:2 * MIB], "contents")


@test("cli: compact")
def _(context):
    with open(context.path("source.raw"), "wb") as file:
        file.write(b"x" * MIB + bytes(31 * MIB))
    for ending, block in (("vhdx", "1M"), ("vhd", "512K")):
        name = f"disk.{ending}"
        context.disk("convert", "source.raw", name, "--keep-zeros", "--block-size", block)
        before = context.used(name)
        context.disk("compact", name, "--keep-zeros")
        context.check(context.used(name) >= 32 * MIB, f"{name}: zeros were looked for")
        length = context.path(name).stat().st_size
        context.disk("compact", name, "--keep-places")
        context.check(context.used(name) < 4 * MIB, f"{name}: {context.used(name)}")
        context.check(context.path(name).stat().st_size <= length, f"{name} grew")
        context.disk("compare", name, "source.raw", "--same-size")
        context.disk("compact", name)
        context.check(context.used(name) < 4 * MIB < before, f"{name}: {context.used(name)}")
        context.disk("compare", name, "source.raw", "--same-size")
        context.disk("check", name)


# ---- parts of a disk

@test("cli: convert --above")
def _(context):
    """Several levels become one; without a parent there is nothing else in it."""
    chain(context, "vhdx")
    context.disk("convert", "leaf.vhdx", "flat.vhdx", "--above", "base.vhdx", "--parent",
                 "base.vhdx")
    context.disk("compare", "flat.vhdx", "leaf.raw", "--same-size")
    context.disk("convert", "leaf.vhdx", "all.vhdx", "--above", "one.vhdx")
    context.disk("convert", "leaf.vhdx", "level.vhdx", "--parent", "two.vhdx")
    context.disk("compare", "level.vhdx", "leaf.raw", "--same-size")
    context.refused("convert", "one.vhdx", "no.vhdx", "--above", "two.vhdx",
                    words=["is no parent of"])
    context.check(not context.path("no.vhdx").exists(), "something was made")


@test("cli: convert --since")
def _(context):
    """A backup is a chain of copies: each holds what changed since the one before."""
    context.disk("create", "disk.vhdx", "--size", "256M")
    context.disk("changes", "disk.vhdx", "--enable")
    parent = []
    for number in range(4):
        context.work("disk.vhdx", "reference.raw", 20)
        context.disk("convert", "disk.vhdx", f"backup-{number}.vhdx", *parent)
        context.disk("compare", "disk.vhdx", f"backup-{number}.vhdx", "--same-size")
        context.disk("compare", f"backup-{number}.vhdx", "reference.raw", "--same-size")
        point = context.disk("changes", "disk.vhdx").split()[0]
        parent = ["--parent", f"backup-{number}.vhdx", "--since", point]
    context.refused("convert", "disk.vhdx", "no.vhdx", "--since", "nonsense",
                    words=["no identifier of a point", "nonsense"])
    context.check(not context.path("no.vhdx").exists(), "something was made")


# ---- merge

def chain(context, ending):
    """base, one, two, leaf with random contents; after each, what it reads as is a raw disk."""
    parent = ["--size", "16M"]
    for name in ("base", "one", "two", "leaf"):
        context.disk("create", f"{name}.{ending}", *parent)
        parent = ["--parent", f"{name}.{ending}"]
        context.work(f"{name}.{ending}", "reference.raw", 20)
        context.path(f"{name}.raw").write_bytes(context.path("reference.raw").read_bytes())


for ending in ("vhdx", "vhd"):

    @test(f"cli: merge one level, {ending}", ending=ending)
    def _(context, ending):
        chain(context, ending)
        context.disk("merge", f"leaf.{ending}")
        context.disk("compare", f"leaf.{ending}", "leaf.raw")
        context.disk("compare", f"two.{ending}", "leaf.raw")
        context.disk("compare", f"one.{ending}", "one.raw")

    @test(f"cli: merge --into --remove, {ending}", ending=ending)
    def _(context, ending):
        chain(context, ending)
        context.disk("merge", f"leaf.{ending}", "--into", f"base.{ending}", "--remove")
        context.check([f for f in context.files() if f.endswith(ending)] == [f"base.{ending}"],
                      str(context.files()))
        context.disk("compare", f"base.{ending}", "leaf.raw")

    @test(f"cli: merge --depth, {ending}", ending=ending)
    def _(context, ending):
        chain(context, ending)
        context.disk("merge", f"two.{ending}", "--leaf", f"leaf.{ending}", "--depth", 2,
                     "--remove")
        context.check([f for f in context.files() if f.endswith(ending)]
                      == [f"base.{ending}", f"leaf.{ending}"], str(context.files()))
        context.disk("compare", f"base.{ending}", "two.raw")
        context.disk("compare", f"leaf.{ending}", "leaf.raw")

    @test(f"cli: merge --leaf, {ending}", ending=ending)
    def _(context, ending):
        chain(context, ending)
        context.disk("merge", f"two.{ending}", "--leaf", f"leaf.{ending}", "--into",
                     f"base.{ending}", "--remove")
        context.check([f for f in context.files() if f.endswith(ending)]
                      == [f"base.{ending}", f"leaf.{ending}"], str(context.files()))
        context.disk("compare", f"base.{ending}", "two.raw")
        context.disk("compare", f"leaf.{ending}", "leaf.raw")


@test("cli: merge into what is not below")
def _(context):
    chain(context, "vhdx")
    context.refused("merge", "one.vhdx", "--into", "two.vhdx", words=["two.vhdx", "one.vhdx"])
    context.refused("merge", "base.vhdx", words=["base.vhdx"])
    context.refused("merge", "leaf.vhdx", "--depth", 4, words=["leaf.vhdx", "4 disks"])
    context.disk("compare", "leaf.vhdx", "leaf.raw")


# ---- map

@test("cli: map")
def _(context):
    context.raw("disk.raw", 8 * MIB, (MIB, MIB), (4 * MIB, 4096))
    runs = json.loads(context.disk("map", "disk.raw", "--json"))
    context.check([(r["offset"], r["length"], r["data"]) for r in runs]
                  == [(0, MIB, False), (MIB, MIB, True), (2 * MIB, 2 * MIB, False),
                      (4 * MIB, 4096, True), (4 * MIB + 4096, 4 * MIB - 4096, False)], str(runs))
    shown = context.disk("map", "disk.raw").splitlines()
    context.check(len(shown) == 3 and shown[1].split()[:2] == [str(MIB), str(MIB)], str(shown))


@test("cli: map tells the image of a chain")
def _(context):
    chain(context, "vhdx")
    runs = json.loads(context.disk("map", "leaf.vhdx", "--json"))
    context.check(sum(r["length"] for r in runs) == 16 * MIB, "not the whole disk")
    context.check({r["image"] for r in runs} >= {0, 1, 2, 3}, str(runs))
    for image, name in enumerate(("leaf", "two", "one", "base")):
        wanted = context.path(f"{name}.raw").read_bytes()
        seen = context.path("leaf.raw").read_bytes()
        for run in runs:
            part = slice(run["offset"], run["offset"] + run["length"])
            if run["image"] == image:
                context.check(wanted[part] == seen[part], f"{name} at {run}")
            if not run["data"]:
                context.check(not any(seen[part]), f"not zeros at {run}")


# ---- metadata and set

@test("cli: metadata")
def _(context):
    context.disk("create", "disk.vhdx", "--size", "1G")
    context.check(context.disk("metadata", "list", "disk.vhdx") == "", "a new disk has some")
    data = bytes(range(256)) * 100
    context.disk("metadata", "set", "disk.vhdx", GUID, stdin=data)
    context.check(re.fullmatch(rf"{GUID} +25600 bytes\n",
                               context.disk("metadata", "list", "disk.vhdx")), "list")
    context.check(context.disk("metadata", "get", "disk.vhdx", GUID, text=False) == data, "get")
    context.disk("metadata", "set", "disk.vhdx", GUID, stdin=b"other")
    context.check(context.disk("metadata", "get", "disk.vhdx", GUID) == "other", "set again")
    context.disk("metadata", "set", "disk.vhdx", GUID, stdin=bytes(MIB + 1), status=1)
    context.check("1 MiB" in context.errors, context.errors)
    context.check(context.disk("metadata", "get", "disk.vhdx", GUID) == "other", "it was changed")
    context.disk("metadata", "delete", "disk.vhdx", GUID)
    context.refused("metadata", "get", "disk.vhdx", GUID, words=["disk.vhdx", "no such item"])
    context.disk("create", "disk.vhd", "--size", "1G")
    context.refused("metadata", "list", "disk.vhd", words=["disk.vhd", "VHDX"])


@test("cli: set --parent")
def _(context):
    context.disk("create", "base.vhdx", "--size", "1G")
    context.disk("create", "child.vhdx", "--parent", "base.vhdx")
    context.path("other").mkdir()
    context.path("base.vhdx").rename(context.path("other/moved.vhdx"))
    context.refused("check", "child.vhdx", words=["base.vhdx"])
    context.disk("set", "child.vhdx", "--parent", "other/moved.vhdx")
    context.disk("check", "child.vhdx")
    context.disk("create", "stranger.vhdx", "--size", "1G")
    context.refused("set", "child.vhdx", "--parent", "stranger.vhdx", words=["stranger.vhdx"])
    context.disk("check", "child.vhdx")
    context.disk("set", "child.vhdx", "--parent", "stranger.vhdx", "--force")
    context.check(info(context, "child.vhdx")["parents"][0]["file"].endswith("stranger.vhdx"),
                  "not forced")


@test("cli: set --id and --physical-sector")
def _(context):
    context.disk("create", "disk.vhdx", "--size", "1G")
    context.disk("set", "disk.vhdx", "--id", GUID, "--physical-sector", "512")
    shown = info(context, "disk.vhdx")
    context.check(shown["id"] == GUID and shown["physical_sector"] == 512, str(shown))
    context.disk("set", "disk.vhdx", "--id", "new")
    context.check(info(context, "disk.vhdx")["id"] != GUID, "not new")


# ---- help

for command in COMMANDS:

    @test(f"cli: {command} --help", command=command)
    def _(context, command):
        out = context.disk(command, "--help")
        context.check(out.startswith(f"Usage: partita disk {command}"), out)
        context.check(all(len(line) <= 84 for line in out.splitlines()), "a line is too long")
        context.check(context.disk("help", command) == out, "'help COMMAND' says another thing")
        context.check(f"  {command} " in context.disk("--help"), "not in the list")
