"""partita disk changes and snapshot: what was written since, and what a disk was."""

import json

from attach import attach
from harness import MIB, test

GUID = "01234567-89ab-cdef-0123-456789abcdef"


# ---- changes

def changed(context, name, since):
    shown = json.loads(context.disk("changes", name, "--since", since, "--json"))
    context.check(shown["since"] == since, str(shown))
    return [(run["offset"], run["length"]) for run in shown["changed"]]


for ending in ("vhdx", "vhd", "raw"):

    @test(f"changes: a backup of what changed is whole, {ending}", ending=ending)
    def _(context, ending):
        name = f"disk.{ending}"
        context.disk("create", name, "--size", "256M")
        context.work(name, "reference.raw", 20)
        context.refused("changes", name, words=[name, "--enable"])
        first = context.disk("changes", name, "--enable").strip()
        context.check(changed(context, name, first) == [], "something changed")
        backup = bytearray(context.path("reference.raw").read_bytes())
        context.work(name, "reference.raw", 5)
        second = context.disk("changes", name).strip()
        context.check(second != first, "there is no new point")
        now = context.path("reference.raw").read_bytes()
        for offset, length in changed(context, name, first):
            backup[offset:offset + length] = now[offset:offset + length]
        context.check(backup == now, "the backup is not the disk")
        context.check(changed(context, name, second) == [], "something changed since")
        shown = json.loads(context.disk("changes", name, "--json"))
        context.check(shown["tracked"] and shown["id"] == second, str(shown))


@test("changes: the end of tracking")
def _(context):
    context.disk("create", "disk.vhdx", "--size", "256M")
    point = context.disk("changes", "disk.vhdx", "--enable").strip()
    context.disk("changes", "disk.vhdx", "--disable")
    context.refused("changes", "disk.vhdx", "--since", point, words=["disk.vhdx", "--enable"])
    context.check(json.loads(context.disk("changes", "disk.vhdx", "--json")) == {"tracked": False},
                  "json")


@test("changes: points that are none")
def _(context):
    context.disk("create", "disk.vhdx", "--size", "256M")
    point = context.disk("changes", "disk.vhdx", "--enable").strip()
    context.refused("changes", "disk.vhdx", "--since", "yesterday", words=["yesterday"])
    stranger = point[:-8] + "0000ffff"
    context.refused("changes", "disk.vhdx", "--since", stranger, words=[stranger])
    context.refused("changes", "disk.vhdx", "--enable", "--since", point, status=2,
                    words=["--enable"])


# ---- snapshot

def snapshots(context):
    return json.loads(context.disk("snapshot", "list", "set.vhds", "--json"))


def work(context):
    """Change the present state, and return what it reads as."""
    image = snapshots(context)["image"]
    context.work(image, "reference.raw", 10)
    return context.path("reference.raw").read_bytes()


def present(context):
    image = snapshots(context)["image"]
    return context.contents(image, 64 * MIB)


@test("snapshot: taken, applied and deleted")
def _(context):
    context.disk("create", "disk.vhdx", "--size", "64M")
    context.disk("snapshot", "new", "set.vhds", "disk.vhdx")
    before = work(context)
    taken = context.disk("snapshot", "take", "set.vhds").strip()
    after = work(context)
    context.check(after != before and present(context) == after, "the present state")
    kept = context.disk("snapshot", "apply", "set.vhds", taken, "--keep").strip()
    context.check(present(context) == before, "the snapshot was not applied")
    context.check([s["id"] for s in snapshots(context)["snapshots"]] == [taken, kept],
                  str(snapshots(context)))
    context.disk("snapshot", "apply", "set.vhds", kept)
    context.check(present(context) == after, "what was kept was not applied")
    context.disk("snapshot", "delete", "set.vhds", taken)
    context.check(present(context) == after, "deleting changed it")
    context.check(snapshots(context)["snapshots"] == [], str(snapshots(context)))
    context.check(len([f for f in context.files() if f.endswith("vhdx")]) == 1,
                  str(context.files()))


@test("snapshot: what changed since")
def _(context):
    """Since a snapshot, and since one that is deleted: its GUID is kept."""
    def places(guid):
        out = json.loads(context.disk("snapshot", "changes", "set.vhds", guid, "--json"))
        return [changed["offset"] // MIB for changed in out["changed"]]

    def write(at):
        with attach(context, snapshots(context)["image"], "--file") as name:
            with open(name, "r+b", buffering=0) as file:
                file.seek(at * MIB)
                file.write(b"x" * 4096)

    context.disk("create", "disk.vhdx", "--size", "64M", "--block-size", "1M")
    context.disk("snapshot", "new", "set.vhds", "disk.vhdx")
    context.disk("changes", "disk.vhdx", "--enable")
    first = context.disk("snapshot", "take", "set.vhds").strip()
    write(8)
    second = context.disk("snapshot", "take", "set.vhds").strip()
    write(16)
    context.check(places(first) == [8, 16], str(places(first)))
    context.check(places(second) == [16], str(places(second)))
    context.disk("snapshot", "delete", "set.vhds", first, "--reference")
    context.check(places(first) == [8, 16], f"reference: {places(first)}")
    context.disk("snapshot", "delete", "set.vhds", second)
    context.check(places(first) == [8, 16], f"after the second went: {places(first)}")
    context.check(snapshots(context)["references"] == [first], str(snapshots(context)))
    context.check(f"{first}  reference" in context.disk("snapshot", "list", "set.vhds"), "list")
    context.refused("snapshot", "changes", "set.vhds", second, words=["nothing is known"])


@test("snapshot: for people, and with what can be said")
def _(context):
    context.disk("create", "disk.vhdx", "--size", "64M")
    context.disk("snapshot", "new", "set.vhds", "disk.vhdx")
    out = context.disk("snapshot", "take", "set.vhds", "--id", GUID, "--writeable")
    context.check(out == GUID + "\n", out)
    lines = context.disk("snapshot", "list", "set.vhds").splitlines()
    context.check(len(lines) == 2 and lines[0].split()[:2] == [GUID, "writeable"]
                  and lines[1].startswith("(the present state)"), str(lines))


@test("snapshot: what is refused")
def _(context):
    context.disk("create", "disk.vhdx", "--size", "64M")
    context.disk("create", "disk.vhd", "--size", "64M")
    context.refused("snapshot", "new", "set.vhds", "disk.vhd", words=["disk.vhd"])
    context.refused("snapshot", "new", "set.vhds", "missing.vhdx", words=["missing.vhdx"])
    context.disk("snapshot", "new", "set.vhds", "disk.vhdx")
    context.refused("snapshot", "new", "set.vhds", "disk.vhdx", words=["set.vhds"])
    context.refused("snapshot", "list", "disk.vhdx", words=["disk.vhdx"])
    context.refused("snapshot", "take", "missing.vhds", words=["missing.vhds"])
    context.disk("snapshot", "take", "set.vhds", "--id", GUID)
    context.refused("snapshot", "take", "set.vhds", "--id", GUID, words=["set.vhds"])
    other = GUID.replace("0", "f")
    for verb in ("apply", "delete"):
        context.refused("snapshot", verb, "set.vhds", other, words=["set.vhds", "no such"])
        context.refused("snapshot", verb, "set.vhds", status=2, words=[verb, "GUID"])
        context.refused("snapshot", verb, "set.vhds", "x", status=2, words=["GUID"])
    context.refused("snapshot", "frobnicate", "set.vhds", status=2, words=["frobnicate"])
