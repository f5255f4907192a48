"""Disks that come and go while the guest uses them, and controllers that the guest lets go of."""

import json
import random
import subprocess
import time

from harness import tail, test
from storage import DISK, end_root, start_root

MIB = 1 << 20
DISKS = (1, 2, 3)

# What Linux says of a disk that goes while it is in use; only in tests in which that happens.
SURPRISES = (
    r"\[sd[b-z]\] .*Result: hostbyte=DID_NO_CONNECT driverbyte=DRIVER_OK",
    r"\[sd[b-z]\] Asking for cache data failed",
    r"I/O error, dev sd[b-z], sector \d+ op 0x[01]:\((READ|WRITE)\)",
    r"Buffer I/O error on dev(ice)? sd[b-z],",
    r"rejecting I/O to (offline|dead) device",
)

# use DISK: read and write until it is gone; the processes that do are in $users.
USE = """
use() {
	while dd if=$1 of=/dev/null bs=64k iflag=direct; do :; done 2>/dev/null &
	users="$users $!"
	while dd if=/dev/zero of=$1 bs=64k count=128 oflag=direct conv=notrunc,nocreat; do
		:
	done 2>/dev/null &
	users="$users $!"
}
"""

COME_AND_GO = DISK + USE + """
while dd if=/dev/zero of=/always bs=64k count=64 conv=fsync; do :; done 2>/dev/null &
always=$!
round=0
while [ $round -lt %d ]; do
	users=
	first=$(disk 1) second=$(disk 2) third=$(disk 3)
	use $first
	use $second
	use $third
	echo STEP used $round
	if [ $((round %% 3)) = 2 ]; then
		sleep 0.2
		echo 1 >/sys/block/${second#/dev/}/device/delete
		echo STEP deleted $round
	fi
	while [ -b $first ] || [ -b $second ] || [ -b $third ]; do sleep 0.1; done
	wait $users
	echo STEP gone $round
	round=$((round + 1))
done
kill $always
"""


@test("storage: disks come and go in use", rounds=4)
@test("storage: disks come and go in use, 60 times", long_only=True, rounds=60)
def come_and_go(context, rounds):
    name = context.folder.name
    disks = {lun: context.disk(f"{lun}.vhdx", "--size", "8M", "--block-size", "1M")
             for lun in DISKS}
    session = start_root(context, COME_AND_GO % rounds)
    session.expect("^BEGIN", 120)
    for turn in range(rounds):
        for lun, disk in disks.items():
            context.tool("disk", "attach-to", name, disk, "--lun", lun)
        session.expect(f"^STEP used {turn}\\b", 60)
        if turn % 3 == 2:
            session.expect(f"^STEP deleted {turn}\\b", 60)
        time.sleep(random.uniform(0, 0.5))
        for lun in random.sample(DISKS, len(DISKS)):
            context.tool("disk", "detach-from", name, disks[lun])
            context.tool("disk", "check", disks[lun])
        session.expect(f"^STEP gone {turn}\\b", 60)
    end_root(context, session, tolerated=SURPRISES)


CONTROLLER = "f8b3781b-1e82-4818-a1c3-63d806ec15bb"  # the second one
CLOSE = USE + f"""
driver=/sys/bus/vmbus/drivers/hv_storvsc
second() {{
	until set -- /sys/bus/vmbus/devices/{CONTROLLER}/host*/target*/*/block/* &&
		[ -b "/dev/${{1##*/}}" ]; do
		sleep 0.1
	done
	echo "/dev/${{1##*/}}"
}}
round=0
while [ $round -lt %d ]; do
	users=
	use $(second)
	sleep 0.3
	echo {CONTROLLER} >$driver/unbind
	wait $users
	echo {CONTROLLER} >$driver/bind
	round=$((round + 1))
done
fact closed $round $(blockdev --getsize64 $(second))
"""


@test("storage: the guest closes a controller in use", rounds=3)
@test("storage: the guest closes a controller in use, 60 times", long_only=True, rounds=60)
def close(context, rounds):
    disk = context.disk("second.vhdx", "--size", "16M", "--block-size", "1M")
    session = start_root(context, CLOSE % rounds, "--disk", f"{disk},controller=1")
    result = end_root(context, session, 120 + 5 * rounds, SURPRISES)
    context.check(result.facts().get("closed") == f"{rounds} {16 * MIB}", tail(result.console))
    context.tool("disk", "check", disk)


DVD = """
sum() {
	[ -b /dev/sr0 ] && dd if=/dev/sr0 bs=64k 2>/dev/null | cksum
}
# becomes STEP CKSUM: when told so, wait until the drive has these contents. A drive that is open is
# locked, so it must be left alone while the host changes the medium.
becomes() {
	read -r _
	until [ "$(sum)" = "$2" ]; do sleep 0.1; done
	echo STEP $1
}
nothing=$(cksum </dev/null)
becomes first '%s'
becomes none "$nothing"
becomes second '%s'
becomes again '%s'
sg_start --readonly --eject /dev/sr0 || fact failed eject
becomes ejected "$nothing"
becomes last '%s'
dd if=/dev/zero of=/dev/sr0 bs=2k count=1 2>/dev/null && fact failed "wrote to a DVD"
# locked STEP: until told so, have the drive open, by which Linux locks it.
locked() {
	exec 9</dev/sr0
	echo STEP $1
	read -r _
	exec 9<&-
}
locked locked
becomes forced "$nothing"
becomes back '%s'
locked locked-again
becomes replaced '%s'
"""


def cksum(path):
    return subprocess.run(f"cksum <{path}", shell=True, check=True, stdout=subprocess.PIPE,
                          text=True).stdout.strip()


@test("storage: DVDs come and go")
def dvd(context):
    name = context.folder.name
    images = []
    for number in range(2):
        images.append(context.folder / f"{number}.iso")
        images[number].write_bytes(random.randbytes(MIB + number * 2048))
    sums = [cksum(image) for image in images]
    job = DVD % (sums[0], sums[1], sums[0], sums[1], sums[0], sums[1])
    session = start_root(context, job, "--dvd", images[0], modules=("sr_mod",))

    def insert(number, *options):
        context.tool("disk", "attach-to", name, images[number], "--dvd", "--lun", 1, *options)

    def shows(step):
        session.send(b"\n")
        session.expect(f"^STEP {step}\\b", 60)

    session.expect("^BEGIN", 120)
    shows("first")
    context.tool("disk", "detach-from", name, images[0])
    shows("none")
    insert(1)
    shows("second")
    insert(0)
    shows("again")
    shows("ejected")
    insert(1)
    shows("last")
    session.expect("^STEP locked\\b", 60)
    context.refuses("locked the drive", "disk", "detach-from", name, images[1])
    context.tool("disk", "detach-from", name, images[1], "--force")
    session.send(b"\n")
    shows("forced")
    insert(0)
    shows("back")
    session.expect("^STEP locked-again\\b", 60)
    insert(1, "--force")
    session.send(b"\n")
    shows("replaced")
    result = end_root(context, session)
    context.check("failed" not in result.facts(), tail(result.console))


RESIZE = DISK + f"""
disk=$(disk 1) raw=$(disk 2)
# becomes DISK MIB: Linux looks by itself, on the unit attention that the next command gets.
becomes() {{
	until [ "$(cat /sys/block/${{1#/dev/}}/size)" = $(($2 * 2048)) ]; do sleep 0.1; done
	[ "$(blockdev --getsize64 $1)" = $(($2 * {MIB})) ] || fact failed "size $2"
}}
mke2fs -q -t ext4 -E nodiscard $disk
mount $disk /mnt
dd if=/dev/urandom of=/mnt/kept bs=1M count=8 conv=fsync 2>/dev/null
sum=$(cksum </mnt/kept)
while dd if=/mnt/kept of=/mnt/copy bs=64k iflag=direct oflag=direct; do :; done 2>/dev/null &
load=$!
echo STEP mounted
becomes $disk 112
resize2fs $disk >/dev/null 2>&1 || fact failed resize2fs
kill $load
wait $load
dd if=/dev/urandom of=/mnt/filling bs=1M count=64 conv=fsync 2>/dev/null || fact failed dd
filling=$(cksum </mnt/filling)
umount /mnt
mount $disk /mnt
[ "$(cksum </mnt/kept)$(cksum </mnt/filling)" = "$sum$filling" ] || fact failed contents
rm /mnt/filling /mnt/copy
umount /mnt
e2fsck -f -p $disk >/dev/null || fact failed e2fsck
resize2fs $disk 48M >/dev/null 2>&1 || fact failed "resize2fs, smaller"
echo STEP smaller
read -r _
blkdiscard -f -o $((48 * {MIB})) $disk || fact failed blkdiscard
echo STEP discarded
becomes $disk 48
e2fsck -f -n $disk >/dev/null || fact failed "e2fsck, at the end"
mount $disk /mnt
[ "$(cksum </mnt/kept)" = "$sum" ] || fact failed "contents, at the end"
umount /mnt
becomes $raw 24
dd if=/dev/urandom of=$raw bs=1M seek=16 count=8 oflag=direct 2>/dev/null || fact failed "dd, raw"
"""


@test("storage: disks change their size in use")
def resize(context):
    name = context.folder.name
    base = context.disk("base.vhdx", "--size", "64M", "--block-size", "1M")
    disk = context.disk("1.avhdx", "--parent", base)
    raw = context.disk("2.raw", "--size", "16M")
    session = start_root(context, RESIZE, "--disk", disk, "--disk", raw)
    session.expect("^STEP mounted", 120)
    context.tool("disk", "resize-in", name, disk, "112M")
    session.expect("^STEP smaller", 120)
    context.refuses("holds data", "disk", "resize-in", name, disk, "48M")
    session.send(b"\n")
    session.expect("^STEP discarded", 60)
    context.tool("disk", "resize-in", name, disk, "48M")
    context.tool("disk", "resize-in", name, "+8M", "--lun", 2)
    context.refuses("cuts off|holds data", "disk", "resize-in", name, raw, "16M")
    result = end_root(context, session)
    context.check("failed" not in result.facts(), tail(result.console))
    context.tool("disk", "check", disk)
    size = json.loads(context.tool("disk", "info", "--json", disk))["size"]
    context.check((size, raw.stat().st_size) == (48 * MIB, 24 * MIB),
                  f"sizes {size} and {raw.stat().st_size}")
