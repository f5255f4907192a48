"""Disks served to NBD clients: libnbd's tools, qemu and nbdkit read what is there, and what they
write stays."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import time

from harness import MIB, SLOWNESS, Failure, test


def connect(context):
    """A connection, as soon as somebody listens."""
    until = time.monotonic() + 60 * SLOWNESS
    while True:
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(60 * SLOWNESS)
        try:
            client.connect(str(context.path("socket")))
            return client
        except OSError:
            client.close()
            if time.monotonic() > until:
                raise Failure("nobody listens at the socket") from None
            time.sleep(0.01)


@contextlib.contextmanager
def serve(context, image, *options):
    """The disk's URI; at the end the server has closed the image, and found nothing wrong."""
    process = context.start("serve", image, "--socket", "socket", *options)
    try:
        connect(context).close()
        yield f"nbd+unix:///?socket={context.path('socket')}", process
        process.terminate()
        errors = process.communicate(timeout=60 * SLOWNESS)[1]
        context.check(process.returncode == 0 and errors == b"",
                      f"the server: status {process.returncode}: {errors.decode()}")
        context.check(not context.path("socket").exists(), "the socket is still there")
    finally:
        process.kill()
        process.communicate()


KINDS = {
    "raw": ["disk.raw", "--size", "64M"],
    "VHD": ["disk.vhd", "--size", "64M"],
    "VHDX": ["disk.vhdx", "--size", "64M", "--block-size", "1M"],
    "differencing VHDX": ["disk.avhdx", "--parent", "parent.vhdx"],
}


def create(context, kind):
    if "--parent" in KINDS[kind]:
        context.disk("create", "parent.vhdx", "--size", "64M")
    context.disk("create", *KINDS[kind])
    return KINDS[kind][0]


for kind_ in KINDS:

    @test(f"nbd: {kind_}: copied in and out with nbdcopy, qemu-img and nbdkit", kind=kind_)
    def _(context, kind):
        image = create(context, kind)
        context.raw("source.raw", 64 * MIB, (0, 100000), (7 * MIB + 512, 5 * MIB), (63 * MIB, MIB))
        source = context.path("source.raw").read_bytes()
        with serve(context, image) as (uri, _):
            context.run("nbdcopy", "source.raw", uri)
            context.run("qemu-img", "compare", "-f", "raw", "-F", "raw", "source.raw", uri)
            context.run("nbdcopy", "--connections=4", uri, "nbdcopy.raw")
            context.run("qemu-img", "convert", "-f", "raw", "-O", "raw", uri, "qemu.raw")
            context.run("nbdkit", "-U", "-", "nbd", f"uri={uri}", "--run",
                        'nbdcopy "$uri" nbdkit.raw')
            for copy in ("nbdcopy.raw", "qemu.raw", "nbdkit.raw"):
                context.check(context.path(copy).read_bytes() == source, f"{copy} is different")
        context.check(context.contents(image, 64 * MIB) == source, "the image is different")
        context.disk("check", image)
        context.check(context.used(image) < 16 * MIB, f"{context.used(image)} bytes used")


@test("nbd: what nbdinfo and qemu-img say of a disk")
def _(context):
    context.disk("create", "disk.vhdx", "--size", "64M", "--logical-sector", "4096",
                 "--block-size", "1M")
    with serve(context, "disk.vhdx", "--name", "a name") as (uri, _):
        info = json.loads(context.run("nbdinfo", "--json", uri))["exports"][0]
        expected = {"export-size": 64 * MIB, "is_read_only": False, "can_multi_conn": True,
                    "can_flush": True, "can_fua": True, "can_trim": True, "can_zero": True,
                    "can_cache": True, "can_df": True, "block_size_minimum": 4096,
                    "block_size_maximum": 32 * MIB}
        context.check(expected.items() <= info.items(), str(info))
        listed = json.loads(context.run("nbdinfo", "--json", "--list", uri))["exports"]
        context.check([export["export-name"] for export in listed] == ["a name"], str(listed))
        context.run("nbdinfo", "--size", uri.replace("///", "///a%20name"))
        context.run("nbdinfo", "--size", uri.replace("///", "///another"), status=1)
        context.run("qemu-io", "-f", "raw", "-c", "write 8M 2M", uri)
        mapped = json.loads(context.run("nbdinfo", "--json", "--map", uri))
        context.check([(extent["offset"], extent["length"], extent["type"]) for extent in mapped]
                      == [(0, 8 * MIB, 3), (8 * MIB, 2 * MIB, 0), (10 * MIB, 54 * MIB, 3)],
                      str(mapped))
        mapped = json.loads(context.run("qemu-img", "map", "-f", "raw", "--output=json", uri))
        context.check([extent["data"] for extent in mapped] == [False, True, False], str(mapped))


@test("nbd: qemu writes, zeroes, discards and flushes, many at once")
def _(context):
    context.disk("create", "disk.vhdx", "--size", "64M", "--block-size", "1M")
    with serve(context, "disk.vhdx") as (uri, _):
        writes = [f"aio_write -P {1 + i % 250} {i * 12288} 8192" for i in range(500)]
        commands = [*writes, "aio_flush", "flush", "write -z -u 1M 1M", "write -z 3M 512",
                    "discard 4M 1M", "write -f -P 9 20M 3M"]
        context.run("qemu-io", "-f", "raw", *sum((["-c", c] for c in commands), []), uri)
        reads = ["read -P 1 0 8k", "read -P 0 8k 4k", "read -P 2 12k 8k", "read -P 0 1M 1M",
                 "read -P 0 3M 512", "read -P 0 4M 1M", "read -P 9 20M 3M",
                 "read -P 250 3059712 8k"]
        found = context.run("qemu-io", "-f", "raw", *sum((["-c", c] for c in reads), []), uri)
        context.check("verification failed" not in found, found)
    context.disk("check", "disk.vhdx")


for kind_ in ("VHD", "VHDX"):

    @test(f"nbd: {kind_}: written zeros take no room", kind=kind_)
    def _(context, kind):
        image = create(context, kind)
        empty = context.path(image).stat().st_size
        with serve(context, image) as (uri, _):
            context.run("qemu-io", "-f", "raw", "-c", "write -P 0 512 20M", "-c", "write -P 0 0 64M",
                        "-c", "write -f -P 0 33M 4k", uri)
        context.check(context.path(image).stat().st_size == empty, "the file has grown")
        context.raw("zeros.raw", 64 * MIB)
        format_ = {"VHD": "vpc", "VHDX": "vhdx"}[kind]
        context.run("qemu-img", "compare", "-f", format_, "-F", "raw", image, "zeros.raw")
        if kind == "VHD":  # of a VHDX qemu tells nothing, and checks it instead
            mapped = json.loads(context.run("qemu-img", "map", "-f", "vpc", "--output=json", image))
            context.check(all(extent["zero"] for extent in mapped), str(mapped))
        else:
            context.run("qemu-img", "check", "-f", "vhdx", image)
        context.disk("check", image)


@test("nbd: SIGKILL loses nothing that was flushed")
def _(context):
    context.disk("create", "disk.vhdx", "--size", "64M", "--block-size", "1M")
    with contextlib.suppress(Failure), serve(context, "disk.vhdx") as (uri, process):
        context.run("qemu-io", "-f", "raw", "-c", "write -P 5 10M 5M", "-c", "flush",
                    "-c", "write -P 6 30M 1M", "-c", f"sigraise {int(signal.SIGKILL)}", uri,
            status=-signal.SIGKILL)
        process.kill()
    data = context.contents("disk.vhdx", 64 * MIB)
    context.check(data[10 * MIB:15 * MIB] == bytes([5]) * 5 * MIB, "what was flushed is not there")
    context.disk("check", "disk.vhdx")


@test("nbd: a read-only disk is not written")
def _(context):
    context.raw("disk.raw", 8 * MIB, (0, 4 * MIB))
    before = context.path("disk.raw").read_bytes()
    context.path("disk.raw").chmod(0o444)
    with serve(context, "disk.raw", "--read-only") as (uri, _):
        context.run("nbdcopy", "disk.raw", uri, status=1)
        context.run("nbdcopy", uri, "copy.raw")
        info = json.loads(context.run("nbdinfo", "--json", uri))["exports"][0]
        context.check(info["is_read_only"], str(info))
    context.check(context.path("copy.raw").read_bytes() == before, "the copy is different")
    context.check(context.path("disk.raw").read_bytes() == before, "it was written")


@test("nbd: a client that sends rubbish disturbs nobody")
def _(context):
    context.raw("disk.raw", 8 * MIB, (0, 4 * MIB))
    with serve(context, "disk.raw") as (uri, _):
        clients = [connect(context) for _ in range(30)]
        for number, client in enumerate(clients):
            client.sendall([b"GET / HTTP/1.0\r\n\r\n", b"\0\0\0\1IHAVEOPT\0\0\0\7\xff\xff\xff\xff",
                            b"\0\0\0\1", os.urandom(4096), b"\xff" * 100][number % 5])
        context.run("nbdcopy", uri, "copy.raw")
        for client in clients:
            client.close()
    context.check(context.path("copy.raw").read_bytes() == context.path("disk.raw").read_bytes(),
                  "the copy is different")


@test("nbd: a socket that is in use is refused, one that was left is replaced")
def _(context):
    context.raw("disk.raw", MIB)
    context.raw("other.raw", MIB)
    with serve(context, "disk.raw") as (_, process):
        context.refused("serve", "other.raw", "--socket", "socket", words=["NBD socket", "socket"])
        context.refused("serve", "disk.raw", "--socket", "other", words=["disk.raw"])
    context.refused("serve", "disk.raw", status=2, words=["--socket"])
    context.refused("serve", "missing.raw", "--socket", "socket", words=["missing.raw"])
    with contextlib.suppress(Failure), serve(context, "disk.raw") as (_, process):
        process.kill()
        process.wait()
    context.check(context.path("socket").is_socket(), "the killed server's socket is not there")
    with serve(context, "disk.raw") as (uri, _):
        context.run("nbdinfo", uri)


@test("nbd: the server's end waits for no idle client")
def _(context):
    context.raw("disk.raw", MIB)
    with serve(context, "disk.raw"):
        clients = [connect(context) for _ in range(3)]
    for client in clients:
        client.close()
