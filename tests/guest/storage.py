"""Debian's hv_storvsc, unmodified, finds its disks; the guest's root is a VHDX."""

import re
import shutil
import subprocess

from boot import CMDLINE, REFERENCE_PAGE, check_log
from harness import Failure, tail, test

MIB = 1 << 20

# What the storage drivers say when something is wrong.
COMPLAINTS = re.compile(r"(storvsc|hv_vmbus|scsi|sd |sr |I/O error|EXT4-fs|XFS).*"
                        r"(?i:error|fail|timed out|timeout|abort|reset|offline|corrupt|invalid)")

# Linux names its disks in any order; disk says which one a LUN is, once it is there.
DISK = r"""
disk() {
	until set -- "$1" /sys/bus/scsi/devices/0:0:0:$1/block/* && [ -b "/dev/${2##*/}" ]; do
		sleep 0.1
	done
	echo "/dev/${2##*/}"
}
"""

DISK_FACTS = """
fact root "$(findmnt -n -o SOURCE,FSTYPE /)"
fact scsi "$(lsscsi | tr '\\n' ';')"
fact discard "$(lsblk -n -d -b -o NAME,DISC-GRAN,DISC-MAX,DISC-ZERO /dev/sda | tr -s ' ')"
fact vmbus "$(dmesg | sed -n 's/.*Vmbus version://p')"
fact channels "$(ls -d /sys/bus/vmbus/devices/f8b3781a-*/channels/* | wc -l)"
"""


def start_root(context, job, *arguments, kernel="cloud", processors=2, modules=(), disk=None,
               cmdline="root=LABEL=partita-root"):
    """A machine that boots from a disk; partita disk attach-to knows it by its folder's name."""
    return context.session(*context.root(job, kernel, modules), "--cmdline",
                           f"{CMDLINE} {REFERENCE_PAGE} {cmdline}", "--invariant-tsc",
                           "--name", context.folder.name, "--processors", processors,
                           "--disk", disk or context.root_disk(), *arguments)


def end_root(context, session, deadline=240, tolerated=()):
    """Wait for its end, and see that neither it nor the machine has anything to complain about."""
    result = session.wait(deadline)
    context.check(result.status == 0 and not result.errors,
                  f"status {result.status}, not 0\n{result.errors}{tail(result.console)}")
    check_log(result.console, tolerated)
    for line in result.console.splitlines():
        if COMPLAINTS.search(line) and not any(re.search(said, line) for said in tolerated):
            raise Failure(f"the log complains: {line}\n{tail(result.console)}")
    result.output()
    return result


def run_root(context, job, *arguments, deadline=240, **options):
    return end_root(context, start_root(context, job, *arguments, **options), deadline)


@test("storage: root on a VHDX, 1 processor", processors=1)
@test("storage: root on a VHDX, 2 processors", processors=2)
@test("storage: root on a VHDX, 4 processors", processors=4)
@test("storage: root on a VHDX, generic kernel", processors=2, kernel="generic")
@test("storage: root on a VHDX, generic kernel, 1 processor", long_only=True, processors=1,
      kernel="generic")
@test("storage: root on a VHDX, generic kernel, 4 processors", long_only=True, processors=4,
      kernel="generic")
@test("storage: root on a VHDX, Debian 13's kernel", processors=2, kernel="trixie")
def root(context, processors, kernel="cloud"):
    result = run_root(context, DISK_FACTS, processors=processors, kernel=kernel)
    facts = result.facts()

    def expect(name, pattern):
        context.check(re.search(pattern, facts.get(name, "")),
                      f"{name} is {facts.get(name)!r}\n{tail(result.console)}")

    expect("root", r"^/dev/sda +ext4$")
    expect("scsi", r"^\[0:0:0:0\] +disk +Msft +Virtual Disk +1\.0 +/dev/sda")
    expect("discard", r"sda (512|4096) \d{9,} 0")
    expect("channels", f"^{processors}$")
    expect("vmbus", "^5.3$")


XFS_COPY = DISK + """
target=$(disk 1)
mkfs.xfs -q -L xfs-root $target
mount -t xfs $target /mnt
# Without what is big and not needed to start.
tar -C / --one-file-system --exclude=./usr/share --exclude='./usr/lib/python*' \\
	--exclude=./usr/lib/valgrind --exclude='./usr/lib/*/libicu*' --exclude='*/perl*' -cf - . |
	tar -C /mnt -xf - || fact failed tar
umount /mnt
"""


@test("storage: root on XFS", kernel="cloud")
@test("storage: root on XFS, generic kernel", long_only=True, kernel="generic")
def xfs(context, kernel):
    disk = context.disk("xfs.vhdx", "--size", "512M")
    first = run_root(context, XFS_COPY, "--disk", disk, kernel=kernel, modules=("xfs",))
    context.check("failed" not in first.facts(), tail(first.console))
    second = run_root(context, DISK_FACTS, disk=disk, kernel=kernel, modules=("xfs",),
                      cmdline="root=LABEL=xfs-root rootfstype=xfs")
    context.check(re.search("^/dev/sda +xfs$", second.facts().get("root", "")),
                  tail(second.console))


KEXEC = DISK + """
kernel=$(disk 1) used=$(disk 2)
mount -o ro $kernel /mnt
kexec -s -l /mnt/kernel --initrd=/mnt/initrd --reuse-cmdline || fact failed kexec
umount /mnt
echo before >/kept
sync
while dd if=/dev/zero of=$used bs=64k oflag=direct; [ $? = 1 ]; do :; done 2>/dev/null &
sleep 0.5
kexec -e
"""

AFTER_KEXEC = DISK + DISK_FACTS + """
fact kept "$(cat /kept)"
dd if=/dev/zero of=$(disk 2) bs=64k count=16 oflag=direct 2>/dev/null || fact failed dd
"""


@test("storage: another kernel finds its disks after kexec in use")
def kexec(context):
    folder, payload = context.folder / "payload", context.folder / "payload.raw"
    folder.mkdir()
    shutil.copy(context.root(AFTER_KEXEC)[-1], folder / "initrd")
    shutil.copy(context.kernel("cloud"), folder / "kernel")
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-d", folder, payload, "48M"], check=True,
                   stdout=subprocess.DEVNULL)
    used = context.disk("used.vhdx", "--size", "32M")
    result = run_root(context, KEXEC, "--disk", f"{payload},ro", "--disk", used)
    facts = result.facts()
    context.check(result.console.count("Vmbus version:") == 2 and facts.get("kept") == "before"
                  and "failed" not in facts and re.search(" ext4$", facts.get("root", "")),
                  tail(result.console))


# all: every disk's place, and what it holds; and each gets an answer.
PLACES = """
count() {
	ls /sys/class/scsi_disk | wc -l
}
until [ "$(count)" = %d ]; do sleep 0.1; done
fact root "$(findmnt -n -o SOURCE /)"
for disk in /sys/class/scsi_disk/*; do
	name=/dev/$(ls $disk/device/block)
	until [ -b $name ]; do sleep 0.1; done
	place=$(readlink -f $disk | sed -E 's,.*/([0-9a-f-]{36})/host.*:([0-9]+)$,\\1 \\2,')
	said=$(head -c 32 $name | tr -cd 'a-z0-9.:')
	case $said in
	at:*) echo "at $place is $said"
		echo "seen $said" | dd of=$name bs=512 seek=1 conv=sync oflag=direct 2>/dev/null ;;
	*) fact rest "$name $place" ;;
	esac
done
"""

SCSI = "f8b3781{}-1e82-4818-a1c3-63d806ec15bb"
IDE = "0000000{}-000{}-8899-0000-000000000000"


@test("storage: a full controller, three more, IDE disks")
def places(context):
    """The root is an IDE disk."""
    luns = [(0, lun) for lun in range(64)] + [(1, 0), (1, 63), (2, 5), (3, 63)]
    expected = {f"{SCSI.format('abcd'[c])} {lun}": f"at:{c}.{lun}" for c, lun in luns}
    options = {f"at:{c}.{lun}": f"controller={c},lun={lun}" for c, lun in luns}
    for c, location in (0, 1), (1, 0), (1, 1):
        expected[f"{IDE.format(c, location)} 0"] = f"at:ide.{c}.{location}"
        options[f"at:ide.{c}.{location}"] = f"ide={c}.{location}"
    files, arguments = {}, []
    for said, option in options.items():
        files[said] = context.folder / f"{said[3:]}.raw"
        with open(files[said], "wb") as file:
            file.write(said.encode())
            file.truncate(MIB)
        arguments += ["--disk", f"{files[said]},{option}"]
    result = run_root(context, PLACES % (len(files) + 1), *arguments,
                      disk=f"{context.root_disk()},ide=0.0")
    found = dict(re.findall(r"^at (\S+ \d+) is (\S+)$", result.output(), re.M))
    context.check(found == expected, f"found {found}\n{tail(result.console)}")
    facts = result.facts()
    context.check(facts.get("rest", "") == f"{facts.get('root')} {IDE.format(0, 0)} 0",
                  f"root {facts.get('root')}, beside them {facts.get('rest')}")
    for said, path in files.items():
        answer = path.read_bytes()[512:1024].rstrip(b"\0").decode()
        context.check(answer == f"seen {said}\n", f"{path.name} holds {answer!r}")
