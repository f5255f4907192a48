"""What the tests of disk images are made with: Partita's driver, qemu's tools, and the raw file
beside an image that has what the image should have.

Everything raises Failure with one line when it goes wrong.
"""

import json
import os
import subprocess

DEADLINE = 300 * float(os.environ.get("PARTITA_TEST_SLOWNESS", "1"))
PIECE = 1 << 20
# Larger disks are compared where the reference has data, and here and there beside it.
WHOLE = 64 << 20
QEMU = {"vhd": "vpc", "vhdx": "vhdx", "raw": "raw"}


class Failure(Exception):
    pass


def run(*command):
    command = [str(word) for word in command]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, errors="replace",
                              timeout=DEADLINE)
    except subprocess.TimeoutExpired:
        raise Failure(f"{' '.join(command)}: did not end in {DEADLINE:.0f} s") from None
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise Failure(f"{' '.join(command)}: {said[-1] if said else done.returncode}")
    return done.stdout


class Reference:
    """A sparse raw file."""

    def __init__(self, path):
        self.path = path
        self.file = open(path, "a+b", buffering=0)
        self.fd = os.open(path, os.O_RDWR)

    def close(self):
        self.file.close()
        os.close(self.fd)

    @property
    def size(self):
        return os.fstat(self.fd).st_size

    def resize(self, size):
        os.ftruncate(self.fd, size)

    def write(self, offset, data):
        os.pwrite(self.fd, data, offset)

    def read(self, offset, length):
        return os.pread(self.fd, length, offset)

    def extents(self, start=0, end=None):
        """(offset, length) of what is not a hole."""
        end = self.size if end is None else end
        while start < end:
            try:
                data = os.lseek(self.fd, start, os.SEEK_DATA)
            except OSError:
                return
            if data >= end:
                return
            start = min(os.lseek(self.fd, data, os.SEEK_HOLE), end)
            yield data, start - data

    def windows(self, random, most):
        """Runs of at most @most bytes that are worth a look in a large disk."""
        size = self.size
        for offset, length in self.extents():
            for at in range(offset, offset + length, most):
                yield at, min(most, offset + length - at)
        for _ in range(8):
            length = min(most, size, 65536)
            yield random.randrange((size - length) // 512 + 1) * 512, length


# ---- Partita ------------------------------------------------------------------------------------


class Partita:
    def __init__(self, driver):
        self.driver = driver

    def __call__(self, command, *arguments):
        return run(self.driver, command, *arguments)

    def create(self, image, kind, path, size=0, block=0, logical=0, parent=None):
        self("create", image, kind, path, size, block, logical, logical,
             *([parent] if parent else []))

    def agrees(self, path, reference):
        self("check", path)
        self("compare", path, reference.path)


# ---- qemu ---------------------------------------------------------------------------------------


def qemu_info(path, image):
    return json.loads(run("qemu-img", "info", "--output=json", "-f", QEMU[image], path))


def qemu_size(path, image):
    return qemu_info(path, image)["virtual-size"]


def qemu_write(path, image, reference, random, count):
    """Write some of the disk by qemu-io, and the same to the reference."""
    commands = []
    size = reference.size
    for _ in range(count):
        length = min(random.choice((512, 4096, 65536, 200 * 512)), size // 512 * 512)
        offset = random.choice((0, size - length, random.randrange(size - length + 1)))
        offset = offset // 512 * 512
        if random.random() < 0.25:
            commands += ["-c", f"write -z {offset} {length}"]
            reference.write(offset, bytes(length))
        else:
            byte = random.randrange(256)
            commands += ["-c", f"write -P {byte} {offset} {length}"]
            reference.write(offset, bytes([byte]) * length)
    run("qemu-io", "-f", QEMU[image], *commands, "-c", "flush", path)


def window(path, image, offset, length):
    """A part of a disk, as qemu's --image-opts have it."""
    return f"driver=raw,offset={offset},size={length},file.driver={QEMU[image]}," \
        f"file.file.driver=file,file.file.filename={path}"


def qemu_agrees(path, image, reference, random):
    """qemu-img info, check, compare and map see what the reference has."""
    found = qemu_size(path, image)
    if found != reference.size:
        raise Failure(f"{path}: qemu sees {found} bytes, not {reference.size}")
    if image == "vhdx":
        run("qemu-img", "check", "-f", "vhdx", path)
    # qemu asks a VHDX for every byte, a VHD only for blocks that are there.
    if reference.size <= WHOLE or (image != "vhdx" and reference.size <= 64 * WHOLE):
        run("qemu-img", "compare", "-f", QEMU[image], "-F", "raw", path, reference.path)
    else:
        windows = list(reference.windows(random, PIECE))
        for offset, length in random.sample(windows, min(6, len(windows))):
            run("qemu-img", "compare", "--image-opts", window(path, image, offset, length),
                window(reference.path, "raw", offset, length))
    if image == "vhd":
        qemu_map_agrees(path, image, reference)


def qemu_map_agrees(path, image, reference):
    for run_ in json.loads(run("qemu-img", "map", "--output=json", "-f", QEMU[image], path)):
        if not run_["zero"]:
            continue
        start, end = run_["start"], min(run_["start"] + run_["length"], reference.size)
        for offset, length in reference.extents(start, end):
            if any(reference.read(offset, length)):
                raise Failure(f"{path}: qemu-img map has zeros at {offset}")


def qemu_convert(source, image, path, to, options=""):
    run("qemu-img", "convert", "-f", QEMU[image], "-O", QEMU[to],
        *(["-o", options] if options else []), source, path)
