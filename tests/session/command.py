"""partita exec: streams, statuses, signals, and the end of either side."""

import os
import signal
import subprocess
import time

from harness import PATIENCE, Failure, kill, sha, test


@test("exec: output, errors and status are apart")
def apart(context):
    agent = context.agent()
    out, errors = context.exec(agent, "sh", "-c", "echo out; echo error >&2; exit 7", status=7)
    context.check((out, errors) == (b"out\n", "error\n"), (out, errors))
    agent.idle()


@test("exec: arguments arrive as they are")
def arguments(context):
    words = ["it's", 'a"b', "$HOME", "", "`x`", "two words", "\\", "new\nline", "*", "--", "-t"]
    out, _ = context.exec(context.agent(), "printf", "%s\\0", *words)
    context.check(out.decode() == "".join(word + "\0" for word in words), out)


@test("exec: a command that is not there, one that a signal ends")
def endings(context):
    agent = context.agent()
    context.exec(agent, "no-such-command", status=127)
    context.exec(agent, "sh", "-c", "kill -TERM $$", status=128 + signal.SIGTERM)


@test("exec: a hundred megabytes there and back")
def much(context):
    data = os.urandom(1 << 20) * 100
    out, _ = context.exec(context.agent(), "cat", data=data)
    context.check(sha(out) == sha(data), f"{len(out)} bytes came back")


@test("exec: output of both streams at once, complete after the command's end")
def both(context):
    job = "head -c 3000000 /dev/zero & head -c 2000000 /dev/zero >&2; wait"
    out, errors = context.exec(context.agent(), "sh", "-c", job)
    context.check((len(out), len(errors)) == (3000000, 2000000), (len(out), len(errors)))


@test("exec: the end of input reaches the command, which goes on")
def half_close(context):
    out, _ = context.exec(context.agent(), "sh", "-c", "wc -c; echo after", data=b"x" * 100000)
    context.check(out.split() == [b"100000", b"after"], out)


@test("exec: a command that does not read")
def unread(context):
    context.exec(context.agent(), "true", data=b"x" * 5000000)
    out, _ = context.exec(context.agent(), "sh", "-c", "exec <&-; echo done",
                          data=b"x" * 5000000)
    context.check(out == b"done\n", out)


@test("exec: nobody reads the output any more")
def closed(context):
    agent = context.agent()
    process = context.start("exec", f"unix:{agent.path}", "--", "yes")
    process.stdout.read(1000)
    process.stdout.close()
    context.check(process.wait(PATIENCE) == 128 + signal.SIGPIPE, process.returncode)
    agent.idle()


@test("exec: output that finds no room")
def no_room(context):
    agent = context.agent()
    for stream, redirection in ("output", ">/dev/full"), ("error", "2>/dev/full"):
        command = context.command("exec", f"unix:{agent.path}", "--", "sh", "-c",
                                  "echo out; echo err >&2")
        done = subprocess.run(["sh", "-c", f'"$@" {redirection}', "sh", *command],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=PATIENCE)
        context.check(done.returncode == 255, (stream, done))
        context.check(stream == "error" or b"not complete: standard output: No space" in done.stderr,
                      done)
    context.exec(agent, "true")
    agent.idle()


def wait_for(path):
    until = time.monotonic() + PATIENCE
    while not path.exists():
        if time.monotonic() > until:
            raise Failure(f"{path} did not appear")
        time.sleep(0.01)


@test("exec: signals reach the command")
def signals(context):
    agent = context.agent()
    for name in ("INT", "TERM", "HUP", "QUIT"):
        ready = context.folder / f"ready-{name}"
        job = f"trap 'echo {name}; exit 3' {name}; touch {ready}; while :; do sleep 0.05; done"
        process = context.start("exec", f"unix:{agent.path}", "--", "bash", "-c", job)
        wait_for(ready)
        process.send_signal(getattr(signal, "SIG" + name))
        out, _ = process.communicate(timeout=PATIENCE)
        context.check((process.returncode, out) == (3, f"{name}\n".encode()),
                      (name, process.returncode, out))


@test("exec: a signal arrives while the output is not read")
def signal_while_full(context):
    agent = context.agent()
    ready = context.folder / "ready"
    process = context.start("exec", f"unix:{agent.path}", "--", "sh", "-c",
                            f"trap 'touch {ready}' TERM; yes & touch {ready}-first; wait; wait")
    wait_for(context.folder / "ready-first")
    # Its output fills every buffer on the way; memory must not grow meanwhile.
    time.sleep(0.5)
    process.send_signal(signal.SIGTERM)
    wait_for(ready)
    process.kill()
    process.communicate()
    agent.idle()


def alive(pid):
    try:
        os.kill(pid, 0)
        return True
    except ProcessLookupError:
        return False


@test("exec: the host is killed: so is the command, even one that ignores it")
def host_gone(context):
    agent = context.agent()
    for trap in ("", "trap '' HUP TERM; "):
        pid_file = context.folder / "pid"
        pid_file.unlink(missing_ok=True)
        process = context.start("exec", f"unix:{agent.path}", "--", "sh", "-c",
                                f"{trap}echo $$ >{pid_file}.new; mv {pid_file}.new {pid_file}; "
                                "while :; do sleep 0.1; done")
        wait_for(pid_file)
        process.kill()
        process.communicate()
        agent.idle()
        context.check(not alive(int(pid_file.read_text())), "the command lives on")


@test("exec: the agent is killed: one line, and 255")
def agent_gone(context):
    agent = context.agent()
    pid_file = context.folder / "pid"
    process = context.start("exec", f"unix:{agent.path}", "--", "sh", "-c",
                            f"echo $$ >{pid_file}.new; mv {pid_file}.new {pid_file}; "
                            "exec sleep 1000")
    wait_for(pid_file)
    agent.kill_servers()
    kill(int(pid_file.read_text()))  # perhaps nobody else is left to end it
    _, errors = process.communicate(timeout=PATIENCE)
    context.check(process.returncode == 255 and errors.count(b"\n") == 1
                  and b"the session was lost" in errors, errors)


@test("exec: 15 at once")
def many(context):
    agent = context.agent()
    waves = [context.start("exec", f"unix:{agent.path}", "--", "sh", "-c", f"cat; echo {n}")
             for n in range(15)]
    for n, process in enumerate(waves):
        out, errors = process.communicate(timeout=PATIENCE)
        context.check(out == f"{n}\n".encode(), (out, errors))
    agent.idle()


def begin(context, agent):
    """A session whose command runs: it repeats its input."""
    process = context.start("exec", f"unix:{agent.path}", "--", "cat", stdin=subprocess.PIPE)
    process.stdin.write(b"x")
    process.stdin.flush()
    context.check(process.stdout.read(1) == b"x", "it does not run")
    return process


@test("exec: 64 sessions at once, by default, and not one more", config="", sessions=64, rounds=1)
@test("exec: 3 sessions at once, as configured; then again", config="sessions 3\n", sessions=3,
      rounds=2)
def limit(context, config, sessions, rounds):
    agent = context.agent(config=config)
    for _ in range(rounds):
        running = [begin(context, agent) for _ in range(sessions)]
        out, errors = context.exec(agent, "true", status=255)
        context.check(not out and errors.count("\n") == 1 and "turned the connection away" in errors
                      and "too many sessions" in errors, errors)
        agent.logged(f"{sessions} sessions and logins: more are turned away")
        for process in running:
            out, errors = process.communicate(b"rest", timeout=PATIENCE)
            context.check((out, errors, process.returncode) == (b"rest", b"", 0), (out, errors))
        agent.idle()


@test("exec: every byte there and back, from a pipe, a file and nothing")
def inputs(context):
    agent = context.agent()
    data = bytes(range(256)) * 300
    (context.folder / "input").write_bytes(data)
    with open(context.folder / "input", "rb") as file:
        for how in ({"stdin": file}, {"stdin": subprocess.DEVNULL}):
            process = context.start("exec", f"unix:{agent.path}", "--", "cat", **how)
            out, errors = process.communicate(timeout=PATIENCE)
            wanted = data if "stdin" in how and how["stdin"] is file else b""
            context.check((out, errors) == (wanted, b""), (len(out), errors))
    # Without any standard input at all, and without output.
    command = context.command("exec", f"unix:{agent.path}", "--", "cat")
    for closed in ("<&-", ">&-", "2>&-"):
        status = subprocess.run(["sh", "-c", f'"$@" {closed}', "sh", *command],
                                stdin=subprocess.DEVNULL, timeout=PATIENCE).returncode
        context.check(status == 0, (closed, status))
    agent.idle()


@test("exec: 20,000 lines to each of output and errors, none torn, to a reader that is slow")
def lines(context):
    job = "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); echo out $i; echo error $i >&2; done"
    process = context.start("exec", f"unix:{context.agent().path}", "--", "sh", "-c", job)
    first = b""
    while len(first) < 20000:
        first += os.read(process.stdout.fileno(), 500)
    out, errors = process.communicate(timeout=PATIENCE)
    for name, text in (("out", first + out), ("error", errors)):
        wanted = "".join(f"{name} {i}\n" for i in range(1, 20001)).encode()
        context.check(text == wanted, f"{len(text)} bytes of {name}, not {len(wanted)}")


@test("exec -t: a terminal, its size, and ^D at the end of input")
def terminal(context):
    out, _ = context.run("exec", "-t", f"unix:{context.agent().path}", "--", "sh", "-c",
                         "tty >/dev/null && stty size; cat", data=b"typed\n")
    context.check(out == b"24 80\r\ntyped\r\ntyped\r\n" or out == b"typed\r\n24 80\r\ntyped\r\n",
                  out)
