"""partita copy, both ways: what arrives is what was sent, or nothing is there."""

import os
import re
import signal
import stat
import time
from pathlib import Path

from harness import PATIENCE, Failure, test


def make_tree(folder):
    """A directory with what directories have."""
    (folder / "sub/empty").mkdir(parents=True)
    (folder / "file").write_bytes(os.urandom(300000))
    (folder / "nothing").write_bytes(b"")
    (folder / "sub/exact").write_bytes(os.urandom(128 << 10))
    (folder / "sub/two\nlines and 'quotes'").write_text("x")
    (folder / "sub/link").symlink_to("../file")
    (folder / "dangling").symlink_to("/nowhere/at all")
    os.chmod(folder / "file", 0o640)
    os.chmod(folder / "sub/exact", 0o755)
    os.chmod(folder / "sub/empty", 0o555)
    os.utime(folder / "file", ns=(0, 1000000000123456789))
    os.utime(folder / "sub", ns=(0, 1111111111000000000))
    return folder


def describe(path):
    """All of a tree that a copy keeps."""
    found = {}
    for at in [path, *sorted(path.rglob("*"))]:
        status = at.lstat()
        what = [stat.S_IFMT(status.st_mode), status.st_mtime_ns]
        if at.is_symlink():
            what.append(os.readlink(at))
        else:
            what.append(stat.S_IMODE(status.st_mode))
            what.append(at.read_bytes() if at.is_file() else None)
        found[str(at.relative_to(path))] = what
    return found


def copy(context, source, target, *options, **how):
    return context.run("copy", *options, source, target, **how)


@test("copy: a file into the guest and back")
def file(context):
    agent, folder = context.agent(), context.folder
    (folder / "a").write_bytes(os.urandom(70 << 20))
    os.chmod(folder / "a", 0o754)
    os.utime(folder / "a", ns=(0, 987654321123456789))
    copy(context, folder / "a", f"unix:{agent.path}:{folder}/b")
    context.check(describe(folder / "b") == describe(folder / "a"), "the guest's differs")
    copy(context, f"unix:{agent.path}:{folder}/b", folder / "c")
    context.check(describe(folder / "c") == describe(folder / "a"), "what came back differs")


@test("copy: a directory into the guest and back")
def tree(context):
    agent, folder = context.agent(), context.folder
    tree_ = make_tree(folder / "tree")
    os.mkfifo(tree_ / "fifo")
    _, errors = copy(context, tree_, f"unix:{agent.path}:{folder}/b", "-r")
    context.check("fifo: neither file nor directory: left out" in errors, errors)
    os.unlink(tree_ / "fifo")
    os.utime(tree_, ns=(0, (folder / "b").stat().st_mtime_ns))
    context.check(describe(folder / "b") == describe(tree_), "the guest's differs")
    (folder / "into").mkdir()
    copy(context, f"unix:{agent.path}:{folder}/b", folder / "into", "--recursive")
    context.check(describe(folder / "into/b") == describe(tree_), "what came back differs")


@test("copy: holes stay holes, also beyond 4 GiB")
def holes(context):
    agent, folder = context.agent(), context.folder
    parts = {0: b"first", 3 << 20: os.urandom(300000), (5 << 30) + 123: b"beyond 4 GiB"}
    for name, size in (("a", 6 << 30), ("none", 0), ("hollow", 1 << 33), ("full", None)):
        with open(folder / name, "wb") as f:
            for offset, data in parts.items() if name in ("a", "full") else ():
                f.seek(offset)
                f.write(data)
            if size is not None:
                f.truncate(size)
        copy(context, folder / name, f"unix:{agent.path}:{folder}/{name}-there")
        copy(context, f"unix:{agent.path}:{folder}/{name}-there", folder / f"{name}-back")
        for copied in (folder / f"{name}-there", folder / f"{name}-back"):
            was, status = (folder / name).stat(), copied.stat()
            context.check(status.st_size == was.st_size, (copied, status.st_size))
            context.check(status.st_blocks <= was.st_blocks + 256, (copied, status.st_blocks))
            with open(copied, "rb") as f:
                for offset, data in parts.items() if was.st_blocks else ():
                    f.seek(offset)
                    context.check(f.read(len(data)) == data, (copied, offset))
                    context.check(not any(f.read(4096)), (copied, offset, "no zeros follow"))


@test("copy: what the kernel makes up as it is read")
def made_up(context):
    agent, folder = context.agent(), context.folder
    for path in ("/proc/version", "/proc/sys/kernel/ostype", "/sys/devices/system/cpu/possible"):
        copy(context, f"unix:{agent.path}:{path}", folder / "out")
        context.check((folder / "out").read_bytes() == Path(path).read_bytes(), path)


@test("copy: into a directory, over a file, never over a directory")
def targets(context):
    agent, folder = context.agent(), context.folder
    vm = f"unix:{agent.path}"
    (folder / "a").write_text("new")
    (folder / "d/a").mkdir(parents=True)
    (folder / "d/b").write_text("old")
    (folder / "e").mkdir()
    os.symlink(folder / "d/b", folder / "link")
    copy(context, folder / "a", f"{vm}:{folder}/e/")
    context.check((folder / "e/a").read_text() == "new", "not in the directory")
    copy(context, folder / "a", f"{vm}:{folder}/e/b")
    copy(context, folder / "a", f"{vm}:{folder}/e/b")
    copy(context, folder / "a", f"{vm}:{folder}/link")
    context.check((folder / "d/b").read_text() == "old", "what a link points to was overwritten")
    for source, target, text in (
            (folder / "a", f"{vm}:{folder}/d", "a is a directory, which is not replaced"),
            (folder / "e", f"{vm}:{folder}/new", "is a directory; -r copies it"),
            (folder / "none", f"{vm}:{folder}/new", "No such file"),
            (folder / "a", f"{vm}:{folder}/none/a", "No such file"),
            (folder / "a", f"{vm}:{folder}/a/", "Not a directory"),
            (f"{vm}:{folder}/none", folder / "new", "guest: .*No such file"),
            (f"{vm}:{folder}/e", folder / "new", "guest: .*-r copies it"),
            (f"{vm}:{folder}/a", folder / "d", "a is a directory, which is not replaced")):
        _, errors = copy(context, source, target, status=1)
        context.check(text.split(".*")[-1] in errors, (source, target, errors))
        context.check(not (folder / "new").exists(), "something came")
    _, errors = copy(context, folder / "e", f"{vm}:{folder}/a", "-r", status=1)
    context.check("is there, and no directory" in errors, errors)
    context.run("copy", folder / "a", folder / "b", status=2)
    context.run("copy", f"{vm}:/", folder, status=2)


def wait_for(folder, pattern):
    until = time.monotonic() + PATIENCE
    while not any(folder.glob(pattern)):
        if time.monotonic() > until:
            raise Failure(f"{pattern} did not appear")
        time.sleep(0.005)


@test("copy: broken off, nothing is left", sends=True)
@test("copy: broken off on the way back, nothing is left", sends=False)
def broken(context, sends):
    agent, folder = context.agent(), context.folder
    with open(folder / "long", "wb") as f:
        for _ in range(512):
            f.write(bytes(1 << 20))
    for name in (signal.SIGINT, signal.SIGKILL):
        target = folder / f"target-{name}"
        target.mkdir()
        places = (folder / "long", f"unix:{agent.path}:{target}/x")
        if not sends:
            places = (f"unix:{agent.path}:{folder}/long", target / "x")
        process = context.start("copy", *places)
        wait_for(target, ".partita-*")
        process.send_signal(name)
        process.communicate(timeout=PATIENCE)
        context.check(process.returncode != 0, "it claims to have copied")
        agent.idle()
        until = time.monotonic() + PATIENCE
        while os.listdir(target) and time.monotonic() < until:
            time.sleep(0.01)
        context.check(not os.listdir(target), os.listdir(target))


@test("copy: the agent is killed: nothing is left, and the host says so", sends=True)
@test("copy: the agent is killed on the way back: nothing is left", sends=False)
def agent_killed(context, sends):
    agent, folder = context.agent(), context.folder
    with open(folder / "long", "wb") as f:
        for _ in range(512):
            f.write(bytes(1 << 20))
    (folder / "target").mkdir()
    places = (folder / "long", f"unix:{agent.path}:{folder}/target/x")
    if not sends:
        places = (f"unix:{agent.path}:{folder}/long", folder / "target/x")
    process = context.start("copy", *places)
    wait_for(folder / "target", ".partita-*")
    agent.kill_servers()
    _, errors = process.communicate(timeout=PATIENCE)
    context.check(process.returncode == 255 and errors.count(b"\n") == 1
                  and b"the session was lost" in errors, (process.returncode, errors))
    agent.idle()
    until = time.monotonic() + PATIENCE
    while os.listdir(folder / "target") and time.monotonic() < until:
        time.sleep(0.01)
    context.check(not os.listdir(folder / "target"), os.listdir(folder / "target"))


@test("copy: into a folder that may not be written")
def forbidden(context):
    # Not even root makes files there.
    target = "/proc/sys/kernel/a"
    (context.folder / "a").write_text("x")
    agent = context.agent()
    _, errors = copy(context, context.folder / "a", f"unix:{agent.path}:{target}", status=1)
    context.check(re.fullmatch(f"partita: guest: {target}: .+\n", errors), errors)
