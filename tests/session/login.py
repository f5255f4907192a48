"""Who is let in: passwords, PAM's answers, keys; and what the host and the guest's log say of it."""

import os
import re
import subprocess

from harness import (HELLO, HELLO_1, LOGIN, PASSWORD, PATIENCE, PROOF, REFUSED, USER, message, sha,
                     test)
from hostile import FalseAgent

NOT_LET_IN, LOST = 254, 255
REFUSED_HOST = 5  # session_protocol.h


@test("login: a right password is accepted, and logged")
def right(context):
    agent = context.agent()
    out, _ = context.exec(agent, "sh", "-c", "echo $USER $HOME $LOGNAME; pwd")
    home = os.path.expanduser("~" + USER)
    context.check(out.decode() == f"{USER} {home} {USER}\n{home}\n", out)
    agent.logged(rf"accepted {USER} from a local socket")


@test("login: a wrong password")
def wrong(context):
    agent = context.agent()
    out, errors = context.exec(agent, "true", password="wrong", status=NOT_LET_IN)
    context.check(re.fullmatch(rf"partita: .*: {USER} is not let in: wrong user or password\n",
                               errors), errors)
    agent.logged(rf"failed login as {USER} from a local socket")


@test("login: an unknown user looks like a wrong password")
def unknown(context):
    agent = context.agent()
    said = []
    for user, password in ((USER, "wrong"), ("no-such-user", "wrong"), ("no-such-user", PASSWORD)):
        _, errors = context.run("exec", f"unix:{agent.path}", "--user", user, "--", "true",
                                password=password, status=NOT_LET_IN)
        said.append(errors.replace(user, "USER"))
    context.check(said[0] == said[1] == said[2], said)
    agent.logged("failed login as no-such-user")


@test("login: an account that is locked")
def locked(context):
    agent = context.agent(service="auth required pam_permit.so\naccount required pam_deny.so\n")
    _, errors = context.exec(agent, "true", status=NOT_LET_IN)
    context.check(f"{USER} is not let in: " in errors and "wrong" not in errors, errors)
    agent.logged(rf"refused {USER} from")


@test("login: several rounds, and what PAM says on the way")
def rounds(context):
    script = context.folder / "say"
    script.write_text("#!/bin/sh\nprintf 'Welcome\\033[2J back\\n'\n")
    script.chmod(0o755)
    context.pam()
    agent = context.agent(service=f"""
auth requisite pam_exec.so quiet expose_authtok {context.folder}/check
auth required pam_exec.so stdout {script}
auth required pam_permit.so
account required pam_permit.so
session required pam_permit.so
""")
    _, errors = context.exec(agent, "true")
    context.check("Welcome?[2J back\n" in errors, errors)


@test("login: PAM has no service")
def no_service(context):
    agent = context.agent(service="auth required no_such_module.so\n")
    _, errors = context.exec(agent, "true", status=NOT_LET_IN)
    context.check(errors.count("\n") == 1, errors)


@test("login: no agent, no socket, no machine")
def nobody(context):
    context.agent()
    for vm, text in ((f"unix:{context.folder}/none", "No such file"),
                     ("no-such-machine", "no machine 'no-such-machine' is running"),
                     ("b6c1a6a0-0000-4000-8000-000000000001", "is running")):
        _, errors = context.run("exec", vm, "--", "true", status=LOST)
        context.check(text in errors and errors.count("\n") == 1, errors)


def fingerprint(context, key):
    shown = subprocess.run([context.agent_program, "--fingerprint", "--key",
                            context.folder / key], stdout=subprocess.PIPE, text=True, check=True)
    return shown.stdout.strip()


@test("login: the agent's key is pinned")
def agent_key(context):
    agent = context.agent()
    right_key = fingerprint(context, "agent.key")
    context.run("exec", "--agent-key", right_key, f"unix:{agent.path}", "--", "true")
    wrong_key = fingerprint(context, "another.key")
    _, errors = context.run("exec", "--agent-key", wrong_key, f"unix:{agent.path}", "--", "true",
                            status=LOST)
    context.check(f"its key {right_key} is not the expected one" in errors, errors)
    agent.idle()
    context.check(agent.log().count("accepted") == 1, agent.log())


@test("login: an agent that proves nothing, or with another's proof")
def agent_proof(context):
    """The pinned key is there, but who says so has not signed this connection."""
    context.agent()
    key = fingerprint(context, "agent.key")
    public = subprocess.run(["openssl", "pkey", "-in", context.folder / "agent.key", "-pubout",
                             "-outform", "DER"], stdout=subprocess.PIPE, check=True).stdout[-32:]
    for number, proof in enumerate((b"", public, public + bytes(64), public + os.urandom(64))):
        def greet(peer, proof=proof):
            peer.expect(HELLO)
            peer.send(HELLO_1 + message(PROOF, proof))
        false = FalseAgent(context, greet, 300 + number)
        _, errors = context.run("exec", "--agent-key", key, f"unix:{false.path}", "--", "true",
                                status=LOST)
        false.thread.join()
        context.check("does not prove to have a key" in errors and errors.count("\n") == 1,
                      errors)


@test("login: the host's key is required")
def host_key(context):
    known = fingerprint(context, "host.key")
    file = context.folder / "hosts"
    file.write_text(f"# hosts\n{fingerprint(context, 'a.key')}  another\n{known}  this one\n")
    for config in (f"require-host-key {known}\n", f"# who may\nrequire-host-key {file}\n"):
        agent = context.agent(config=config)
        context.exec(agent, "true")
        _, errors = context.exec(agent, "true", key="other.key", status=LOST)
        other = fingerprint(context, "other.key")
        context.check(f"it does not know this host's key {other}" in errors, errors)
        agent.logged(f"its key {other} is not the expected one")
        check_false_hosts(context, agent, known)


def check_false_hosts(context, agent, known):
    """No key, and a known key that has not signed this connection: no word about any user."""
    public = subprocess.run(["openssl", "pkey", "-in", context.folder / "host.key", "-pubout",
                             "-outform", "DER"], stdout=subprocess.PIPE, check=True).stdout[-32:]
    for proof in (b"", public, public + bytes(64)):
        peer = agent.connect()
        peer.send(HELLO_1 + message(PROOF, proof) + message(LOGIN, USER.encode()))
        peer.expect(HELLO)
        peer.expect(PROOF)
        refusal = peer.expect(REFUSED)
        context.check(refusal[0] == REFUSED_HOST and known.encode() not in refusal, refusal)
        context.check(peer.ended(), "it is still served")
        peer.close()


@test("login: settings that are not understood let nobody in")
def settings(context):
    file = context.folder / "conf"
    for text in ("require-host-key\n", "require-host-key sha256:12\n", "no-such-word 1\n",
                 "sessions 0\n", f"require-host-key {context.folder}/none\n",
                 f"require-host-key {os.devnull}\n"):
        file.write_text(text)
        done = subprocess.run([context.agent_program, "--stderr", "--config", file, "--key",
                               context.folder / "key"], stderr=subprocess.PIPE, text=True,
                              timeout=PATIENCE)
        context.check(done.returncode == 1 and "serving" not in done.stderr, (text, done.stderr))
    file.write_text("")
    (context.folder / "key").chmod(0o644)
    done = subprocess.run([context.agent_program, "--stderr", "--config", file, "--key",
                           context.folder / "key"], stderr=subprocess.PIPE, text=True, timeout=PATIENCE)
    context.check(done.returncode == 1 and "others may read it" in done.stderr, done.stderr)
    fingerprint(context, "agent.key")
    right_key = (context.folder / "agent.key").read_bytes()
    for text in (b"", right_key[:-1], right_key + b"\n", b"x" + right_key[1:], b"x" * 119,
                 right_key.replace(b"MC4CAQ", b"MC4CAA")):
        (context.folder / "key").write_bytes(text)
        (context.folder / "key").chmod(0o600)
        done = subprocess.run([context.agent_program, "--fingerprint", "--key",
                               context.folder / "key"], stderr=subprocess.PIPE, text=True,
                              stdout=subprocess.PIPE, timeout=PATIENCE)
        context.check(done.returncode == 1 and "has no Ed25519 key" in done.stderr
                      and not done.stdout, (text, done.stderr))


@test("login: a key is made as OpenSSL has it, and read so")
def key_file(context):
    made = context.folder / "made.key"
    ours = fingerprint(context, "made.key")
    context.check(made.stat().st_mode & 0o777 == 0o600, oct(made.stat().st_mode))
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out",
                    context.folder / "openssl.key"], check=True)
    (context.folder / "openssl.key").chmod(0o600)
    for name in ("made.key", "openssl.key"):
        public = subprocess.run(["openssl", "pkey", "-in", context.folder / name, "-pubout",
                                 "-outform", "DER"], stdout=subprocess.PIPE, check=True).stdout
        shown = fingerprint(context, name)
        context.check(shown == "sha256:" + sha(public), (name, shown))
    context.check(fingerprint(context, "made.key") == ours, "it is made anew")
