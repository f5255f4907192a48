"""Disks at random, and what Partita, qemu and libvhdi each say they hold.

A disk is a function of its number and the seed. It is made by one of them, written by one after the
other, and after each step all that can read it must see the same bytes, those of the reference.
What qemu and libvhdi cannot do, or see otherwise by design, is said where it is left out, and in
docs/disks.md.
"""

import os
import random
import shutil
import tempfile

from images import (QEMU, Failure, Partita, Reference, qemu_agrees, qemu_convert, qemu_size,
                    qemu_write, run)
from libvhdi import vhdi_agrees

KIB, MIB, GIB, TIB = 1 << 10, 1 << 20, 1 << 30, 1 << 40


class Disk:
    """One test: its folder, its random numbers, its reference."""

    def __init__(self, seed, number, folder, driver):
        self.random = random.Random(f"{seed}:{number}")
        self.folder = folder
        self.partita = Partita(driver)
        self.reference = Reference(os.path.join(folder, "reference"))
        self.images = []
        self.says = ""

    def path(self, name):
        return os.path.join(self.folder, name)

    def close(self):
        self.reference.close()

    # ---- Steps

    def work(self, path, count, *allowed):
        self.partita("work", path, self.reference.path, self.random.randrange(1 << 62), count,
                     *allowed)

    def all_agree(self, path, image, *parents, qemu=True, vhdi=True):
        self.partita.agrees(path, self.reference)
        if qemu:
            qemu_agrees(path, image, self.reference, self.random)
        if vhdi and image != "raw":
            vhdi_agrees([path, *parents], self.reference, self.random)

    def size(self, image, kind):
        """Bytes, of the classes that the name of the disk tells."""
        pick = self.random
        name = pick.choice(("tiny", "odd", "odd", "odd", "2 GiB", "huge"))
        if kind == "fixed" and image == "vhdx" and name in ("2 GiB", "huge"):
            name = "odd"  # the whole table is written
        most = 64 * TIB if image == "vhdx" else 2040 * GIB
        size = {
            "tiny": pick.randrange(1, 129) * 512,
            "odd": pick.randrange(1, 40 * 2048) * 512,
            "2 GiB": 2 * GIB + pick.randrange(1, 3 * 1024 * 2048) * 512,
            "huge": most - pick.choice((0, 512, pick.randrange(most // 1024 // 2) * 512)),
        }[name]
        return name, self.possible(size)

    def possible(self, size):
        """What the file system can have as a sparse file: the reference is one."""
        while True:
            try:
                self.reference.resize(size)
                self.reference.resize(0)
                return size
            except OSError:
                size = size // 2 // MIB * MIB

    def block(self, image, size):
        pick = self.random
        if image == "vhd":
            blocks = [512 * KIB, 2 * MIB, 2 * MIB, 4 * MIB]
            if size <= GIB:
                blocks += [4 * KIB, 64 * KIB]
        else:
            blocks = [32 * MIB, 64 * MIB, 256 * MIB] if size > 8 * GIB else \
                [MIB, 2 * MIB, 8 * MIB, 32 * MIB]
        return pick.choice(blocks)


def describe(disk, *words):
    disk.says = "".join(f", {word}" for word in words)


# ---- Partita makes it ---------------------------------------------------------------------------


def ours(disk, image, kind, logical=512):
    size_name, size = disk.size(image, kind)
    size = max(size // logical, 1) * logical
    block = disk.block(image, size) if kind == "dynamic" else 0
    describe(disk, size_name, f"{size} bytes", f"blocks of {block}")
    path = disk.path(f"disk.{image}")
    qemu = logical == 512  # qemu 7.2 opens no other
    disk.partita.create(image, kind, path, size, block, logical)
    allowed = ["resize"] if size_name == "odd" else []
    if kind == "dynamic":
        allowed.append("compact")
    disk.work(path, 60, *allowed)
    disk.all_agree(path, image, qemu=qemu)
    if not qemu:
        return
    qemu_write(path, image, disk.reference, disk.random, 8)
    disk.all_agree(path, image)
    disk.work(path, 20, *allowed)
    disk.all_agree(path, image)


# ---- qemu makes it ------------------------------------------------------------------------------


def by_qemu(disk, image, kind):
    size_name, size = disk.size(image, kind)
    options = [f"subformat={kind}"]
    if image == "vhd":
        if disk.random.randrange(2) or size_name == "huge":
            options.append("force_size=on")
    else:
        options.append(f"block_size={disk.block(image, size)}")
        if kind == "dynamic" and disk.random.randrange(4) == 0:
            options.append("block_state_zero=off")
    describe(disk, size_name, f"{size} bytes", *options)
    path = disk.path(f"disk.{image}")
    run("qemu-img", "create", "-q", "-f", QEMU[image], "-o", ",".join(options), path, size)
    disk.reference.resize(qemu_size(path, image))
    disk.all_agree(path, image)
    qemu_write(path, image, disk.reference, disk.random, 12)
    disk.all_agree(path, image)
    disk.work(path, 40, *(["compact"] if kind == "dynamic" else []))
    disk.all_agree(path, image)
    qemu_write(path, image, disk.reference, disk.random, 4)
    disk.all_agree(path, image)


# ---- Converted, both ways -----------------------------------------------------------------------


def converted(disk, image, kind):
    size = disk.random.randrange(1, 24 * 2048) * 512
    other = disk.random.choice([f for f in ("vhd", "vhdx", "raw") if f != image])
    describe(disk, f"over {other}", f"{size} bytes")
    raw = disk.path("start.raw")
    disk.partita.create("raw", "fixed", raw, size)
    disk.work(raw, 50)
    by_partita, by_qemu_ = disk.path(f"partita.{image}"), disk.path(f"qemu.{image}")
    disk.partita("convert", raw, by_partita, image, kind, 0)
    disk.all_agree(by_partita, image)
    options = f"subformat={kind}" if image != "raw" else ""
    if image == "vhd":
        options += ",force_size=on"
    qemu_convert(raw, "raw", by_qemu_, image, options)
    disk.all_agree(by_qemu_, image)
    # And on, each from the other's.
    disk.partita("convert", by_qemu_, disk.path(f"on.{other}"), other,
                 "fixed" if other == "raw" else "dynamic", 0)
    disk.all_agree(disk.path(f"on.{other}"), other)
    qemu_convert(by_partita, image, disk.path(f"back.{other}"), other,
                 "force_size=on" if other == "vhd" else "")
    disk.all_agree(disk.path(f"back.{other}"), other)


# ---- Chains -------------------------------------------------------------------------------------


def chain(disk, image, logical=512):
    """qemu knows no parents of VHDs and VHDXs: it gets the chain flattened by us."""
    size_name, size = disk.size(image, "dynamic")
    size = max(size // logical, 1) * logical
    depth = disk.random.randrange(1, 6)
    base = disk.random.choice(("fixed", "dynamic")) if size_name in ("tiny", "odd") else "dynamic"
    describe(disk, f"{depth} on {base}", size_name, f"{size} bytes")
    paths = [disk.path(f"0.{image}")]
    disk.partita.create(image, base, paths[0], size,
                        disk.block(image, size) if base == "dynamic" else 0, logical)
    disk.work(paths[0], 30)
    for level in range(1, depth + 1):
        path = disk.path(f"{level}.{image}")
        disk.partita.create(image, "differencing", path, 0, disk.block(image, size), 0, paths[0])
        paths.insert(0, path)
        disk.work(path, 30, "compact")
        disk.all_agree(path, image, *paths[1:], qemu=False)
    if logical == 512 and size <= 64 * MIB:
        flat = disk.random.choice(("vhd", "vhdx"))
        disk.partita("convert", paths[0], disk.path(f"flat.{flat}"), flat, "dynamic", 0)
        disk.all_agree(disk.path(f"flat.{flat}"), flat)


# ---- All of them --------------------------------------------------------------------------------

SORTS = [
    ("VHD fixed", lambda d: ours(d, "vhd", "fixed")),
    ("VHD dynamic", lambda d: ours(d, "vhd", "dynamic")),
    ("VHD chain", lambda d: chain(d, "vhd")),
    ("VHDX fixed", lambda d: ours(d, "vhdx", "fixed")),
    ("VHDX dynamic", lambda d: ours(d, "vhdx", "dynamic")),
    ("VHDX chain", lambda d: chain(d, "vhdx")),
    ("VHDX dynamic, 4 KiB sectors", lambda d: ours(d, "vhdx", "dynamic", 4096)),
    ("VHDX chain, 4 KiB sectors", lambda d: chain(d, "vhdx", 4096)),
    ("VHD fixed by qemu", lambda d: by_qemu(d, "vhd", "fixed")),
    ("VHD dynamic by qemu", lambda d: by_qemu(d, "vhd", "dynamic")),
    ("VHDX fixed by qemu", lambda d: by_qemu(d, "vhdx", "fixed")),
    ("VHDX dynamic by qemu", lambda d: by_qemu(d, "vhdx", "dynamic")),
    ("VHD fixed converted", lambda d: converted(d, "vhd", "fixed")),
    ("VHD dynamic converted", lambda d: converted(d, "vhd", "dynamic")),
    ("VHDX fixed converted", lambda d: converted(d, "vhdx", "fixed")),
    ("VHDX dynamic converted", lambda d: converted(d, "vhdx", "dynamic")),
    ("raw", lambda d: ours(d, "raw", "fixed")),
]
COUNT, LONG_COUNT = 2 * len(SORTS), 32 * len(SORTS)


def name(number):
    return f"disk {number}: {SORTS[number % len(SORTS)][0]}"


def test(seed, number, driver, keep):
    """Returns what the disk was, and None or what is wrong."""
    # Sparse files of 64 TiB, and many flushes: memory is the place for both.
    place = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    folder = tempfile.mkdtemp(prefix="partita-disk-", dir=place)
    disk = Disk(seed, number, folder, driver)
    failure = None
    try:
        SORTS[number % len(SORTS)][1](disk)
    except Failure as error:
        failure = str(error)
    finally:
        disk.close()
        if not (failure and keep):
            shutil.rmtree(folder)
    return disk.says, failure
