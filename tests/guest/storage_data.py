"""What the guest writes is what it reads, and what the host finds in the images afterwards.

The first MiBs of the disks get patterns that the host knows too: the guest copies them from a disk
of the host's making. In the rest fio writes, and verifies what it reads back.
"""

import random
import subprocess

from harness import tail, test
from storage import DISK, end_root, start_root

MIB = 1 << 20
PATTERN = 32 * MIB
SIZE = 128 * MIB

JOB = DISK + """
# copy TARGET SKIP SEEK COUNT: so many MiB of the patterns, by several at a time, in pieces of mixed
# sizes.
copy() {
	n=$(($4 / 4)) part=0
	for size in 512 4096 32768 262144; do
		dd if=$patterns of=$1 bs=$size oflag=direct conv=notrunc \\
			skip=$((($2 + part * n) * 1048576 / size)) \\
			seek=$((($3 + part * n) * 1048576 / size)) \\
			count=$((n * 1048576 / size)) 2>/dev/null || fact failed dd &
		part=$((part + 1))
	done
	wait
}
# verified DISK: fio's two kinds of load, each verified.
verified() {
	common="--filename=$1 --direct=1 --ioengine=libaio --offset=%(offset)d --group_reporting
		--verify=crc32c --verify_fatal=1 --loops=%(loops)d --eta=never --output=/tmp/fio"
	fio $common --name=random --rw=randwrite --bssplit=512/30:4k/30:16k/20:64k/15:256k/5 \\
		--iodepth=16 --numjobs=3 --size=8m --offset_increment=8m --randseed=%(seed)d || {
		cat /tmp/fio
		fact failed "fio at random"
	}
	fio $common --name=sequential --rw=write --bssplit=4k/40:64k/40:1m/20 \\
		--iodepth=4 --numjobs=2 --size=16m --offset_increment=16m || {
		cat /tmp/fio
		fact failed "fio in order"
	}
}
patterns=$(disk 1)
plain=$(disk 2) chain=$(disk 3)
copy $plain 0 0 32
verified $plain
copy $chain 0 8 12
echo 1 >/sys/block/${chain#/dev/}/device/delete
echo STEP middle
chain=$(disk 4)
copy $chain 32 16 12
verified $chain
"""


def flat(context, disk, name):
    """The bytes of a VHDX as QEMU reads them; and our reading must be the same."""
    raw = context.folder / name
    subprocess.run(["qemu-img", "convert", "-f", "vhdx", "-O", "raw", disk, raw], check=True)
    context.tool("disk", "compare", disk, raw)
    with open(raw, "rb") as file:
        return file.read(PATTERN)


@test("storage: what is written, to a disk and a chain of three", loops=1)
@test("storage: what is written, generic kernel", loops=1, kernel="generic")
@test("storage: what is written, 20 times", long_only=True, loops=20)
def written(context, loops, kernel="cloud"):
    seed = random.randrange(1 << 30)
    stream = random.Random(seed)
    first, second, below = (stream.randbytes(PATTERN) for _ in range(3))
    patterns, raw = context.folder / "patterns.raw", context.folder / "base.raw"
    patterns.write_bytes(first + second)
    with open(raw, "wb") as file:
        file.write(below)
        file.truncate(SIZE)
    plain = context.disk("plain.vhdx", "--size", SIZE)
    context.tool("disk", "convert", raw, context.folder / "base.vhdx")
    middle = context.disk("middle.avhdx", "--parent", context.folder / "base.vhdx")
    job = JOB % {"offset": PATTERN, "seed": seed, "loops": loops}
    session = start_root(context, job, "--disk", f"{patterns},ro", "--disk", plain,
                         "--disk", middle, kernel=kernel)
    session.expect("^STEP middle", 300 * loops)
    context.tool("disk", "detach-from", context.folder.name, middle)
    top = context.disk("top.avhdx", "--parent", middle)
    context.tool("disk", "attach-to", context.folder.name, top, "--lun", 4)
    result = end_root(context, session, 300 * loops)
    context.check("failed" not in result.facts(), f"seed {seed}\n{tail(result.console)}")

    context.check(flat(context, plain, "plain.raw") == first, f"plain disk, seed {seed}")
    context.tool("disk", "convert", top, context.folder / "top.vhdx")
    context.check(flat(context, context.folder / "top.vhdx", "top.raw")
                  == below[:8 * MIB] + first[:8 * MIB] + second[:12 * MIB] + below[28 * MIB:],
                  f"chain, seed {seed}")
    context.tool("disk", "compare", raw, context.folder / "base.vhdx")
