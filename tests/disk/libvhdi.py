"""libvhdi's view of a chain of images, and where it is known to be another than ours.

libvhdi 20210425 (Debian 12) differs in five ways, each of them told by the file itself; what it
reads otherwise for any other reason is a failure. docs/disks.md explains them.
"""

import os
import struct
import uuid

import pyvhdi

from images import PIECE, WHOLE, Failure


def vhdi_agrees(chain, reference, random):
    """libvhdi reads, in the first of a chain of images, what the reference has."""
    files = []
    for path in chain:
        file = pyvhdi.file()
        try:
            file.open(str(path))
        except OSError as error:
            raise Failure(f"{path}: libvhdi: {error}") from None
        files.append(file)
    for child, parent in zip(files, files[1:]):
        child.set_parent(parent)
    try:
        vhdi_compare(chain, files[0], reference, random)
    finally:
        for file in files:
            file.close()


def vhdi_compare(chain, file, reference, random):
    size = file.get_media_size()
    if size != (vhd_original_size(chain[0]) or reference.size):
        raise Failure(f"{chain[0]}: libvhdi sees {size} bytes, not {reference.size}")
    size = min(size, reference.size)
    if size <= WHOLE:
        windows = [(at, min(PIECE, size - at)) for at in range(0, size, PIECE)]
    else:
        windows = [w for w in reference.windows(random, PIECE) if sum(w) <= size]
    for offset, length in windows:
        try:
            data = file.read_buffer_at_offset(length, offset)
        except OSError as error:
            raise Failure(f"{chain[0]}: libvhdi: reading at {offset}: {error}") from None
        expected = reference.read(offset, length)
        for at in range(0, length if data != expected else 0, 512):
            wanted = expected[at:at + 512]
            if data[at:at + 512] != wanted \
                    and not misreads(chain, offset + at, not any(wanted)) \
                    and not contradicts_itself(chain, file, offset + at, wanted):
                raise Failure(f"{chain[0]}: libvhdi reads other bytes at {offset + at}")


# ---- Where it differs ---------------------------------------------------------------------------


def vhd_original_size(path):
    """libvhdi 20210425 goes by the size that a VHD had when it was made. None: not a VHD."""
    with open(path, "rb") as file:
        file.seek(-512, os.SEEK_END)
        footer = file.read(512)
    return struct.unpack(">Q", footer[40:48])[0] if footer[:8] == b"conectix" else None


def misreads(chain, offset, zeros):
    return any(vhd_misreads(path, offset) or vhdx_misreads(path, offset, zeros) for path in chain)


def contradicts_itself(chain, file, offset, wanted):
    """Where a byte of a differencing VHD's bitmap begins with zeros and goes on with ones it makes
    many ranges of that, and then reads zeros in long reads, and the data in short ones."""
    return len(chain) > 1 and chain[0].endswith(".vhd") \
        and file.read_buffer_at_offset(512, offset) == wanted


def vhd_misreads(path, offset):
    """It takes all sectors behind the first of a differencing VHD's bitmap byte that is in the file
    for sectors in the file, too."""
    with open(path, "rb") as file:
        footer = file.read(512)
        if footer[:8] != b"conectix" or footer[60:64] != b"\0\0\0\4":
            return False
        file.seek(struct.unpack(">Q", footer[16:24])[0])
        table, _, _, block = struct.unpack(">QIII", file.read(36)[16:])
        number, inside = divmod(offset // 512, block // 512)
        file.seek(table + 4 * number)
        room = struct.unpack(">I", file.read(4))[0]
        if room == 0xffffffff:
            return False
        file.seek(room * 512 + inside // 8)
        bits = file.read(1)[0]
        return bool(bits >> (8 - inside % 8)) and not bits >> (7 - inside % 8) & 1


def vhdx_misreads(path, offset, zeros):
    """In a differencing VHDX it looks in the parent for a block that is said to be zeros; and where
    a chunk has no sector bitmap it takes the beginning of the file for one."""
    with open(path, "rb") as file:
        if file.read(8) != b"vhdxfile":
            return False
        table = regions(file)
        block, has_parent, sector = parameters(file, table[METADATA])
        if not has_parent:
            return False
        number = offset // block
        ratio = (1 << 23) * sector // block
        chunk, part = divmod(number, ratio)
        state = entry(file, table[BAT], number + chunk) & 7
        if state in (2, 3):
            return zeros
        if state or entry(file, table[BAT], (chunk + 1) * ratio + chunk) >> 20:
            return False
        bit = part * (block // sector) + offset % block // sector
        file.seek(bit // 8)
        return bool(file.read(1)[0] >> bit % 8 & 1)


def entry(file, bat, number):
    file.seek(bat + 8 * number)
    return struct.unpack("<Q", file.read(8))[0]


BAT = uuid.UUID("2dc27766-f623-4200-9d64-115e9bfd4a08")
METADATA = uuid.UUID("8b7ca206-4790-4b9a-b8fe-575f050f886e")
FILE_PARAMETERS = uuid.UUID("caa16737-fa36-4d43-b3b6-33f0aa44e76b")
LOGICAL_SECTOR = uuid.UUID("8141bf1d-a96f-4709-ba47-f233a8faab5f")


def regions(file):
    file.seek(192 << 10)
    table = file.read(64 << 10)
    return {uuid.UUID(bytes_le=table[at:at + 16]): struct.unpack("<Q", table[at + 16:at + 24])[0]
            for at in range(16, 16 + 32 * struct.unpack("<I", table[8:12])[0], 32)}


def parameters(file, metadata):
    """Block size, whether there is a parent, logical sector."""
    file.seek(metadata)
    table = file.read(64 << 10)
    found = {}
    for at in range(32, 32 + 32 * struct.unpack("<H", table[10:12])[0], 32):
        item = uuid.UUID(bytes_le=table[at:at + 16])
        file.seek(metadata + struct.unpack("<I", table[at + 16:at + 20])[0])
        found[item] = file.read(8)
    block, flags = struct.unpack("<II", found[FILE_PARAMETERS])
    return block, bool(flags & 2), struct.unpack("<I", found[LOGICAL_SECTOR][:4])[0]
