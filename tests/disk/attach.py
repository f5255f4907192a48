"""Attached disks: what is written through the block device is in the image, come what may."""

import contextlib
import errno
import hashlib
import json
import os
import random
import shutil
import signal
import stat
import subprocess
import time
from pathlib import Path

from harness import MIB, SLOWNESS, Failure, test


def attached(context):
    """What of this test's is attached."""
    return [disk for disk in json.loads(context.disk("attach", "--list", "--json"))
            if disk["image"].startswith(str(context.folder) + "/")]


def await_true(condition, what):
    until = time.monotonic() + 60 * SLOWNESS
    while not condition():
        if time.monotonic() > until:
            raise Failure(f"{what} did not happen")
        time.sleep(0.01)


@contextlib.contextmanager
def attach(context, image, *options):
    """The device (or file); whatever happens, nothing stays attached."""
    try:
        yield context.disk("attach", image, *options).strip()
    finally:
        for disk in attached(context):
            subprocess.run([context.partita, "disk", "detach", disk["image"]],
                           stderr=subprocess.DEVNULL, check=False)


@contextlib.contextmanager
def mount(context, device, *options):
    point = context.path("mount")
    point.mkdir(exist_ok=True)
    context.run("mount", *options, device, point)
    try:
        yield point
    finally:
        if os.path.ismount(point):
            context.run("umount", point)


def fill(point, seed):
    """Files of all sizes; returns their digests."""
    generator = random.Random(seed)
    digests = {}
    for number in range(40):
        data = generator.randbytes(generator.choice([0, 1, 511, 4096, 70000, MIB + 3]))
        (point / f"file-{number}").write_bytes(data)
        digests[f"file-{number}"] = hashlib.sha256(data).digest()
    return digests


def digests_of(point):
    return {file.name: hashlib.sha256(file.read_bytes()).digest()
            for file in point.iterdir() if file.is_file()}


KINDS = {
    "raw": ["disk.raw", "--size", "256M"],
    "fixed VHD": ["disk.vhd", "--size", "256M", "--fixed"],
    "dynamic VHD": ["disk.vhd", "--size", "256M"],
    "dynamic VHDX": ["disk.vhdx", "--size", "256M", "--block-size", "1M"],
    "VHDX with sectors of 4 KiB": ["disk.vhdx", "--size", "256M", "--logical-sector", "4096"],
    "differencing VHDX": ["disk.avhdx", "--parent", "parent.vhdx"],
}


def create(context, kind):
    if "--parent" in KINDS[kind]:
        context.disk("create", "parent.vhdx", "--size", "256M")
    context.disk("create", *KINDS[kind])
    return KINDS[kind][0]


for kind_ in KINDS:

    @test(f"attach: {kind_}: a file system comes back as it was", kind=kind_)
    def _(context, kind):
        image = create(context, kind)
        with attach(context, image, "--device") as device:
            context.check(stat.S_ISBLK(os.stat(device).st_mode), f"{device} is no device")
            sector = context.run("blockdev", "--getss", device).strip()
            context.check(sector == ("4096" if "4 KiB" in kind else "512"), f"sectors: {sector}")
            context.run("mkfs.ext4", "-q", device)
            with mount(context, device) as point:
                digests = fill(point, kind)
            context.disk("detach", device)
            context.check(attached(context) == [], "still attached")
        context.disk("check", image)
        # Without the device in between, too.
        context.disk("convert", image, "contents.raw")
        context.run("e2fsck", "-fn", "contents.raw")
        with attach(context, image, "--read-only") as device:
            with mount(context, device, "-o", "ro") as point:
                context.check(digests_of(point) == digests, "other files than were written")


@test("attach: partitions are found, and keep the device")
def _(context):
    context.disk("create", "disk.vhdx", "--size", "64M")
    with attach(context, "disk.vhdx") as device:
        subprocess.run(["sfdisk", "-q", device], input=b"label: gpt\n,32M\n,\n", check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        context.disk("detach", "disk.vhdx")
    with attach(context, "disk.vhdx") as device:
        scans = Path("/sys/block", device[5:], "loop/partscan").read_text()
        context.check(scans == "1\n", "the kernel was not asked to look for partitions")
        # Not every kernel knows partition tables; this tells it, if it does not.
        context.run("partx", "--update", device)
        await_true(lambda: os.path.exists(device + "p2"), "a second partition")
        rows = context.run("lsblk", "-rnbo", "NAME,SIZE", device).splitlines()
        context.check(len(rows) == 3 and rows[1] == f"{device[5:]}p1 {32 * MIB}", str(rows))
        context.run("mkfs.ext4", "-q", device + "p1")
        with mount(context, device + "p1") as point:
            context.refused("detach", "disk.vhdx", words=[device, str(point), "unmount it"])
        context.disk("detach", device + "p1")
    with attach(context, "disk.vhdx", "--no-partitions") as device:
        scans = Path("/sys/block", device[5:], "loop/partscan").read_text()
        context.check(scans == "0\n", "the kernel was asked to look for partitions")
        context.check(not os.path.exists(device + "p1"), "a partition was found")


@test("attach: a partition alone, and a part of a disk")
def _(context):
    """By number, and the only one with data; as the kernel finds it on the whole disk."""
    table = "label: gpt\nsize=8MiB, type=uefi\nsize=16MiB, type=linux\n"
    context.disk("create", "disk.vhdx", "--size", "64M")
    with attach(context, "disk.vhdx", "--file") as file:
        subprocess.run(["sfdisk", "-q", file], input=table.encode(), check=True,
                       stdout=subprocess.DEVNULL)
        found = json.loads(context.run("sfdisk", "--json", file))["partitiontable"]["partitions"]
        with open(file, "r+b") as whole:
            whole.seek(found[1]["start"] * 512)
            whole.write(b"second")
    for option in ("--partition=2", "--partition=0", f"--offset={found[1]['start'] * 512}"):
        with attach(context, "disk.vhdx", "--file", "--read-only", option) as file:
            with open(file, "rb") as part:
                context.check(part.read(6) == b"second", f"{option}: another part")
            size = found[1]["size"] * 512
            if option.startswith("--part"):
                context.check(os.path.getsize(file) == size, f"{option}: {os.path.getsize(file)}")
    with attach(context, "disk.vhdx", "--file", "--offset", "8M", "--length", "1M") as file:
        context.check(os.path.getsize(file) == MIB, "the length")
    for options, word in ((("--partition", "3"), "no such partition"),
                          (("--offset", "64M"), "not one of whole sectors inside"),
                          (("--offset", "1M", "--length", "100"), "not one of whole sectors")):
        context.refused("attach", "disk.vhdx", "--file", *options, words=[word])


@test("attach: a read-only device is not written")
def _(context):
    context.raw("disk.raw", 8 * MIB, (0, 4 * MIB))
    before = context.path("disk.raw").read_bytes()
    with attach(context, "disk.raw", "--read-only") as device:
        context.check(context.run("blockdev", "--getro", device) == "1\n", "it is writable")
        context.run("dd", "if=/dev/zero", f"of={device}", "bs=4096", "count=1",
                    "oflag=direct", "conv=notrunc", status=1)
        context.check(attached(context)[0]["readOnly"], "not said to be read-only")
    context.check(context.path("disk.raw").read_bytes() == before, "it was written")


def write_until_killed(context, point, pid):
    """Files with a flush after each, until the disk is no more. Returns how many were flushed."""
    flushed = 0
    while True:
        try:
            with open(point / f"flushed-{flushed}", "wb") as file:
                file.write(random.Random(flushed).randbytes(10000))
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            return flushed
        flushed += 1
        if flushed == 200:
            os.kill(pid, signal.SIGKILL)


for kind_ in ("raw", "dynamic VHD", "dynamic VHDX", "differencing VHDX"):

    @test(f"attach: {kind_}: SIGKILL loses nothing that was flushed", kind=kind_)
    def _(context, kind):
        image = create(context, kind)
        with attach(context, image, "--device") as device:
            context.run("mkfs.ext4", "-q", device)
            with mount(context, device) as point:
                pid = attached(context)[0]["process"]
                flushed = write_until_killed(context, point, pid)
                await_true(lambda: attached(context)[0]["process"] is None, "the process's end")
                context.refused("detach", image, words=["killed", "unmount it"])
                context.run("umount", point)
            # Whoever looks next cleans up, as soon as the file system has let go.
            await_true(lambda: attached(context) == [], "the cleaning up")
        with attach(context, image, "--device") as device:
            with mount(context, device) as point:
                for number in range(flushed):
                    data = (point / f"flushed-{number}").read_bytes()
                    context.check(data == random.Random(number).randbytes(10000),
                                  f"file {number} of {flushed} is not as it was flushed")
            context.run("e2fsck", "-fn", device)
        context.check(flushed >= 200, f"only {flushed} files were written")
        context.disk("check", image)


@test("attach: an unmounted file system gets the time to let go")
def _(context):
    context.disk("create", "disk.vhdx", "--size", "64M")
    with attach(context, "disk.vhdx", "--device") as device:
        context.run("mkfs.ext4", "-q", device)
        with mount(context, device):
            # A mount namespace has a copy of each mount.
            holder = subprocess.Popen(["unshare", "--mount", "sh", "-c", "echo; exec sleep 600"],
                                      stdout=subprocess.PIPE)
            holder.stdout.readline()
        try:
            detaching = context.start("detach", "disk.vhdx")
            time.sleep(0.3)
        finally:
            holder.kill()
            holder.communicate()
        errors = detaching.communicate(timeout=60 * SLOWNESS)[1]
        context.check(detaching.returncode == 0, f"it is not detached: {errors}")
        context.check(attached(context) == [], "still attached")


UNPRIVILEGED = """
set -e
# The copies of other tests' mounts would keep their devices.
grep -o '/[^ ]*/partita-disk-[^ ]*' /proc/self/mounts | xargs -r umount --lazy
# The host's own node may be root's alone; this is what distributions have.
mknod fuse c 10 229
chmod 666 fuse
mount --bind fuse /dev/fuse
as_nobody() {
	setpriv --reuid=65534 --regid=65534 --clear-groups env XDG_RUNTIME_DIR="$PWD/run" "$@"
}
trap 'as_nobody "$0" disk detach disk.vhdx 2>/dev/null || true' EXIT
file=$(as_nobody "$0" disk attach disk.vhdx 2>warning)
grep -q 'no block device' warning
as_nobody test -f "$file"
as_nobody cp "$file" before.raw
as_nobody dd if=new.raw of="$file" conv=notrunc bs=64k status=none
as_nobody "$0" disk attach --list
as_nobody "$0" disk detach disk.vhdx
test ! -e "$file"
as_nobody "$0" disk attach --device disk.vhdx && exit 1
as_nobody "$0" disk attach --list
"""


@test("attach: without privilege there is the file alone")
def _(context):
    context.disk("create", "disk.vhdx", "--size", "8M")
    context.raw("new.raw", 8 * MIB, (0, MIB), (5 * MIB, 3 * MIB))
    context.path("run").mkdir(mode=0o700)
    context.folder.chmod(0o755)
    # Where the program was built may be closed to others.
    program = shutil.copy(context.partita, context.path("partita"))
    for path in (context.folder, *context.folder.iterdir()):
        os.chown(path, 65534, 65534)
    context.run("unshare", "--mount", "sh", "-c", UNPRIVILEGED, program)
    context.check(context.path("before.raw").read_bytes() == bytes(8 * MIB), "it was not empty")
    context.check(context.contents("disk.vhdx", 8 * MIB) == context.path("new.raw").read_bytes(),
                  "the image does not have what was written to the file")


@test("attach: discarded blocks are given back")
def _(context):
    context.disk("create", "disk.vhdx", "--size", "256M", "--block-size", "1M")
    with attach(context, "disk.vhdx") as device:
        context.run("mkfs.ext4", "-q", "-E", "nodiscard", device)
        with mount(context, device) as point:
            (point / "large").write_bytes(random.Random(1).randbytes(64 * MIB))
            os.sync()
            full = context.used("disk.vhdx")
            (point / "large").unlink()
            os.sync()
            context.run("fstrim", point)
            os.sync()
            used = context.used("disk.vhdx")
            context.check(full > 64 * MIB and used < full - 60 * MIB, f"{full} became {used}")


@test("attach: who uses a device keeps it")
def _(context):
    context.raw("disk.raw", 8 * MIB, (0, MIB))
    with attach(context, "disk.raw") as device:
        context.refused("attach", "disk.raw", words=["disk.raw"])
        context.refused("attach", "disk.raw", "--read-only", words=["disk.raw"])
        file = attached(context)[0]["file"]
        for path in (device, file):
            with open(path, "rb") as reader:
                context.refused("detach", "disk.raw", words=[path, "open in another program"])
                context.check(len(reader.read(4096)) == 4096, "it can no more be read")
            context.check(len(attached(context)) == 1, "it is no more attached")
        context.disk("detach", "disk.raw")
    context.refused("detach", "disk.raw", words=["not attached"])


def odd_bytes(context, path, file, expected):
    generator = random.Random(2)
    context.check(os.lseek(file, 0, os.SEEK_END) == 16 * MIB, "another size")
    for _ in range(300):
        offset = generator.randrange(4 * MIB)
        data = generator.randbytes(generator.choice([1, 100, 511, 512, 513, 100001]))
        context.check(os.pwrite(file, data, offset) == len(data), "a short write")
        expected[offset:offset + len(data)] = data
        context.check(os.pread(file, len(data) + 700, offset)
                      == expected[offset:offset + len(data) + 700], f"read at {offset}")
    os.fsync(file)
    at = 0
    while at < 5 * MIB:
        hole = os.lseek(file, at, os.SEEK_HOLE)
        try:
            at = os.lseek(file, hole, os.SEEK_DATA)
        except OSError as error:
            context.check(error.errno == errno.ENXIO, str(error))
            at = 16 * MIB
        context.check(not any(expected[hole:at]), f"there is data from {hole} to {at}")
    context.check(os.lseek(file, 10 * MIB, os.SEEK_HOLE) == 10 * MIB, "no hole")
    context.run("fallocate", "--punch-hole", "-o", 1000, "-l", MIB, path)
    expected[1000:1000 + MIB] = bytes(MIB)
    context.run("fallocate", "--zero-range", "-o", 2 * MIB + 1, "-l", 5, path)
    expected[2 * MIB + 1:2 * MIB + 6] = bytes(5)
    context.check(os.pread(file, 100, 16 * MIB) == b"", "something behind the end")
    for change in (lambda: os.pwrite(file, b"x", 16 * MIB), lambda: os.ftruncate(file, MIB)):
        try:
            change()
            raise Failure("the disk's end moved")
        except OSError as error:
            context.check(error.errno in (errno.ENOSPC, errno.EPERM), str(error))


@test("attach: the file takes any bytes, tells of holes, and keeps its size")
def _(context):
    context.disk("create", "disk.vhdx", "--size", "16M", "--block-size", "1M")
    expected = bytearray(16 * MIB)
    with attach(context, "disk.vhdx", "--file") as path:
        with open(path, "r+b", buffering=0) as opened:
            odd_bytes(context, path, opened.fileno(), expected)
        context.disk("detach", path)
    context.check(context.contents("disk.vhdx", 16 * MIB) == expected, "other bytes than written")


@test("attach: unmounting the file is detaching, too")
def _(context):
    context.raw("disk.raw", MIB)
    with attach(context, "disk.raw", "--file") as path:
        context.run("umount", path)
        await_true(lambda: attached(context) == [] and not os.path.exists(path), "the detaching")


@test("attach: in the foreground, a signal detaches")
def _(context):
    context.raw("disk.raw", MIB)
    process = context.start("attach", "disk.raw", "--foreground")
    device = process.stdout.readline().decode().strip()
    context.check(stat.S_ISBLK(os.stat(device).st_mode), f"{device} is no device")
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60 * SLOWNESS)
    context.check(process.returncode == 0, f"status {process.returncode}")
    context.check(attached(context) == [], "it is still attached")


@test("attach: what cannot be is said in one line")
def _(context):
    context.raw("disk.raw", MIB)
    context.refused("attach", "missing.raw", words=["missing.raw"])
    context.refused("attach", status=2, words=["FILE"])
    context.refused("attach", "disk.raw", "--file", "--device", status=2, words=["--device"])
    context.refused("detach", status=2, words=["FILE"])
    context.refused("detach", "disk.raw", words=["not attached"])
    context.refused("detach", "/", words=["not attached"])
