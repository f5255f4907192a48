"""Disks that come and go while the guest uses them, and controllers that the guest lets go of."""

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
    job = DVD % (sums[0], sums[1], sums[0], sums[1])
    session = start_root(context, job, "--dvd", images[0], modules=("sr_mod",))

    def insert(number):
        context.tool("disk", "attach-to", name, images[number], "--dvd", "--lun", 1)

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
    result = end_root(context, session)
    context.check("failed" not in result.facts(), tail(result.console))
