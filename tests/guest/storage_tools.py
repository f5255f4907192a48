"""Linux's tools show of the disks what they show in Hyper-V; what is discarded leaves the image."""

import json
import re

from harness import tail, test
from storage import DISK, run_root

MIB = 1 << 20
SIZE = 96 * MIB
FILE = 24 * MIB

JOB = DISK + f"""
b=$(disk 1) c=$(disk 2) d=$(disk 3) e=$(disk 4)
for name in b c d; do
	eval disk=\\$$name
	fact sizes-$name $(blockdev --getsize64 --getss --getpbsz --getro $disk)
	fact discard-$name $(lsblk -n -d -b -o DISC-ALN,DISC-GRAN,DISC-MAX,ROTA $disk)
done
echo ==inquiry
sg_inq $b
for page in 0x00 0x83 0xb0 0xb1 0xb2; do
	echo ==$page
	sg_vpd --page=$page $b || echo failed
done
echo ==end

fill() {{
	mke2fs -q -t ext4 -E nodiscard $1
	mount $1 /mnt
	dd if=/dev/urandom of=/mnt/file bs=1M count={FILE // MIB} conv=fsync 2>/dev/null
	rm /mnt/file
	sync
}}
fill $b
fstrim /mnt || fact failed fstrim
umount /mnt
fill $e
umount /mnt
dd if=/dev/urandom of=$c bs=1M count=8 oflag=direct 2>/dev/null
blkdiscard $c || fact failed blkdiscard
fact zeros "$(cmp -n {8 * MIB} $c /dev/zero && echo yes)"
dd if=/dev/urandom of=$c bs=1M count=4 oflag=direct 2>/dev/null
blkdiscard -z -o {MIB} -l {2 * MIB} $c || fact failed "blkdiscard -z"
fact zeroed "$(cmp -i {MIB} -n {2 * MIB} $c /dev/zero && echo yes)"
blkdiscard $d 2>/dev/null && fact failed "blkdiscard of a read-only disk"
"""

# What each section of the output must have.
SECTIONS = {
    "inquiry": (r"Vendor identification: Msft", r"Product identification: Virtual Disk",
                r"Product revision level: 1\.0", r"version=0x05", r"CmdQue=1"),
    "0x00": (r"Device identification", r"Block limits", r"Block device characteristics",
             r"Logical block provisioning"),
    # The vendor's designator, which holds the disk's GUID, and Microsoft's NAA.
    "0x83": (r"T10 vendor identification", r"Msft", r"NAA", r"0x60022480[0-9a-f]{24}"),
    "0xb0": (r"Maximum unmap LBA count: (-1|4294967295|unbounded)",
             r"Maximum unmap block descriptor count: 4096",
             r"Optimal unmap granularity: 8 blocks", r"Unmap granularity alignment: 0"),
    "0xb1": (r"Non-rotating medium",),
    "0xb2": (r"\(LBPU\): 1", r"\(LBPWS\): 1", r"\(LBPWS10\): 1", r"\(LBPRZ\): 1",
             r"thin provisioned"),
}

FACTS = {
    "sizes-b": rf"^{SIZE} 512 4096 0$",
    "sizes-c": rf"^{64 * MIB} 4096 4096 0$",
    "sizes-d": rf"^{16 * MIB} 512 \d+ 1$",
    "discard-b": r"^0 4096 \d{8,} 0$",
    "discard-c": r"^0 4096 \d{8,} 0$",
    "discard-d": r"^0 0 0 0$",
    "zeros": "^yes$",
    "zeroed": "^yes$",
}


def allocated(context, disk):
    """Bytes of the disk that its image holds."""
    runs = json.loads(context.tool("disk", "map", "--json", disk))
    return sum(run["length"] for run in runs if run["data"])


@test("storage: what the tools show; discarding")
@test("storage: what the tools show, generic kernel", long_only=True, kernel="generic")
def tools(context, kernel="cloud"):
    trimmed, discarded, read_only, kept = (
        context.disk("b.vhdx", "--size", SIZE, "--block-size", "1M"),
        context.disk("c.vhdx", "--size", "64M", "--block-size", "1M",
                     "--logical-sector", 4096, "--physical-sector", 4096),
        context.disk("d.vhd", "--size", "16M"),
        context.disk("e.vhdx", "--size", SIZE, "--block-size", "1M"))
    result = run_root(context, JOB, "--disk", trimmed, "--disk", discarded, "--disk",
                      f"{read_only},ro", "--disk", kept, kernel=kernel)
    facts = result.facts()
    context.check("failed" not in facts, f"{facts.get('failed')}\n{tail(result.console)}")
    for name, pattern in FACTS.items():
        context.check(re.search(pattern, facts.get(name, "")),
                      f"{name} is {facts.get(name)!r}, not {pattern}")
    shown = dict(re.findall(r"^==(\w+)\n(.*?)(?=^==)", result.output(), re.M | re.S))
    for name, patterns in SECTIONS.items():
        for pattern in patterns:
            context.check(re.search(pattern, shown.get(name, "")),
                          f"{name} has no {pattern}:\n{shown.get(name)}")
    context.check(allocated(context, kept) >= FILE, "what was written is not in the image")
    context.check(allocated(context, trimmed) < FILE // 2,
                  f"{allocated(context, trimmed)} bytes are left after fstrim")
    context.check(allocated(context, discarded) <= 4 * MIB,
                  f"{allocated(context, discarded)} bytes are left after blkdiscard")
