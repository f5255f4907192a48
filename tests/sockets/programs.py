"""Programs of the host that talk to each other: written for the SDK, and socat and ncat as Debian
has them, with libhvsocket preloaded."""

import os
import signal

from harness import test

ECHO = "999e53d4-3d5c-4c3e-8779-bed06ec056e1"
PORT = "00001388-facb-11e6-bd58-64006a7986d3"  # vsock:5000
LOOPBACK = "e0e16197-dd56-4a10-9195-5ee7a155a838"
PARENT = "a42e7cda-d03f-480c-9cc2-a4de20abb878"
NOBODY = "11111111-2222-3333-4444-555555555555"


def server(context, *arguments):
    process = context.start(context.program("echo_server"), *arguments, preload=False)
    context.check(process.stdout.readline() == b"ready\n", "the server did not start")
    return process


def client(context, vm, service, size, connections=1, status=0):
    out = context.run(context.program("echo_client"), vm, service, str(size), str(connections),
                      status=status, preload=False)
    context.check(status or out == b"ok\n", f"the client said {out}")


@test("programs: an SDK server and an SDK client")
def sdk_programs(context):
    process = server(context, ECHO)
    client(context, LOOPBACK, ECHO, 3000000)
    client(context, PARENT, ECHO, 0)
    for _ in range(2):
        line = process.stdout.readline().decode().strip()
        context.check(line == LOOPBACK, f"the server accepted {line}")


@test("programs: 256 connections at once")
def at_once(context):
    server(context, ECHO)
    client(context, LOOPBACK, ECHO, 100000, 256)


@test("programs: errors of connecting")
def errors(context):
    for vm, service, words in ((LOOPBACK, ECHO, "Connection refused"),
                               (NOBODY, ECHO, "Network is unreachable"),
                               ("00000000-0000-0000-0000-000000000000", ECHO, "Cannot assign")):
        client(context, vm, service, 1, status=1)
        context.check(words in context.errors, f"{vm}: {context.errors}")


@test("programs: a server that was killed makes room for the next")
def killed(context):
    process = server(context, ECHO)
    context.run(context.program("echo_server"), ECHO, status=1, preload=False)
    context.check("Address already in use" in context.errors, context.errors)
    process.send_signal(signal.SIGKILL)
    process.wait()
    client(context, LOOPBACK, ECHO, 1, status=1)
    context.check("Connection refused" in context.errors, context.errors)
    server(context, ECHO)
    client(context, LOOPBACK, ECHO, 1)
    context.check(len(context.listeners()) == 1, f"left: {context.listeners()}")


@test("programs: C++, with the GUIDs from the library")
def cplusplus(context):
    context.run(context.program("header"), preload=False)


def socat_echo(context):
    return context.listening(context.start("socat", "VSOCK-LISTEN:5000,fork", "EXEC:cat"))


@test("programs: socat and socat")
def socat_socat(context):
    data = os.urandom(300000)
    socat_echo(context)
    for cid in (1, 2):
        got = context.run("socat", "-t60", "-", f"VSOCK-CONNECT:{cid}:5000", stdin=data)
        context.check(got == data, f"{len(got)} bytes came back from context {cid}")


@test("programs: ncat to socat")
def ncat_socat(context):
    data = os.urandom(300000)
    socat_echo(context)
    got = context.run("ncat", "--vsock", "1", "5000", stdin=data)
    context.check(got == data, f"{len(got)} bytes came back")


@test("programs: socat to ncat")
def socat_ncat(context):
    process = context.listening(context.start("ncat", "--vsock", "-l", "5000"))
    context.run("socat", "-u", "-", "VSOCK-CONNECT:1:5000", stdin=b"to ncat")
    got = process.stdout.read()
    context.check(got == b"to ncat", f"ncat got {got}")


@test("programs: vsock and SDK programs meet")
def families_meet(context):
    socat_echo(context)
    client(context, LOOPBACK, PORT, 300000, 8)


@test("programs: what socat and ncat say when it fails")
def vsock_errors(context):
    context.run("socat", "-", "VSOCK-CONNECT:1:5000", status=1)
    context.check("Connection refused" in context.errors, context.errors)
    context.run("socat", "-", "VSOCK-CONNECT:77:5000", status=1)
    context.check("No such device" in context.errors, context.errors)
    context.run("ncat", "--vsock", "1", "5000", status=1)
    context.check("Connection refused" in context.errors, context.errors)
    socat_echo(context)
    context.run("socat", "VSOCK-LISTEN:5000", "-", status=1)
    context.check("Address already in use" in context.errors, context.errors)


@test("programs: what has nothing to do with Hyper-V is left alone")
def left_alone(context):
    path = context.folder / "unix"
    process = context.start("socat", "-d", "-d", f"UNIX-LISTEN:{path}", "EXEC:cat")
    while b"listening" not in process.stderr.readline():
        context.check(process.poll() is None, "socat has ended")
    got = context.run("socat", "-t60", "-", f"UNIX-CONNECT:{path}", stdin=b"unix")
    context.check(got == b"unix", f"{got} came back")
