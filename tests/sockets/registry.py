"""partita service: what it does, what it says of bad input, and the registry that it keeps."""

import json
import os

from harness import test

VM = "11111111-2222-3333-4444-555555555555"
ECHO = "999e53d4-3d5c-4c3e-8779-bed06ec056e1"


def file(context):
    return json.loads(context.registry.read_text())["services"]


@test("service: register, list, show, disable, enable, unregister")
def life(context):
    context.service("register", "vsock:5000", "--name", "Agent", "--connect", "*", "--serve",
                    "nobody", "--machine", VM, "--disabled")
    context.check(file(context) == [{"id": "vsock:5000", "name": "Agent", "enabled": False,
                                     "connect": ["*"], "serve": ["nobody"], "machines": [VM]}],
                  f"the file has {file(context)}")
    context.service("register", ECHO, "--name", "Echo", "--", "/bin/cat", "-u")
    context.check(json.loads(context.service("list", "--json")) == file(context), "list --json")
    context.check(json.loads(context.service("show", "Echo", "--json")) ==
                  {"id": ECHO, "name": "Echo", "enabled": True, "command": ["/bin/cat", "-u"]},
                  "show --json")
    listed = context.service("list").splitlines()
    context.check(len(listed) == 2 and "vsock:5000" in listed[0] and "disabled" in listed[0]
                  and "/bin/cat" in listed[1] and "enabled" in listed[1], f"listed: {listed}")
    shown = context.service("show", "vsock:5000")
    for words in ("00001388-facb-11e6-bd58-64006a7986d3", "everybody", "nobody", VM, "no"):
        context.check(words in shown, f"no {words} in {shown}")
    context.service("enable", "Agent")
    context.check(file(context)[0]["enabled"], "not enabled")
    context.service("disable", "00001388-FACB-11E6-BD58-64006A7986D3")
    context.check(not file(context)[0]["enabled"], "not disabled")
    context.service("register", "vsock:5000", "--name", "Other", "--replace")
    context.check({"id": "vsock:5000", "name": "Other", "enabled": True} in file(context),
                  f"not replaced: {file(context)}")
    for name in ("Echo", "Other"):
        context.service("unregister", name)
    context.check(file(context) == [] and context.service("list") == "", "something is left")


@test("service: a new GUID is printed")
def new_guid(context):
    ids = [context.service("register", "new", "--name", "x").strip() for _ in range(2)]
    context.check([s["id"] for s in file(context)] == ids and ids[0] != ids[1], f"{ids}")
    # A name that two have says nothing.
    refused(context, "show", "x", status=1, words=("x", "two services"))


@test("service: nothing is registered at first")
def empty(context):
    context.check(context.service("list") == "" and json.loads(context.service("list", "--json")) == [],
                  "not empty")
    context.check(not os.path.exists(context.registry), "a file was made")


def refused(context, *arguments, status=2, words=()):
    """One line on stderr that has the words."""
    out = context.service(*arguments, status=status)
    lines = context.errors.splitlines()
    context.check(out == "" and len(lines) == 1 and lines[0].startswith("partita: "),
                  f"not one line: {out!r} {context.errors!r}")
    for word in words:
        context.check(word in lines[0], f"no {word!r} in: {lines[0]}")


def case(name, *words, status=2):
    """The function returns the arguments; the line must contain the words."""

    def register(function):
        def run(context):
            context.registry.write_text('{"services": [{"id": "vsock:1", "name": "One",'
                                        ' "enabled": true}]}')
            before = context.registry.read_text()
            refused(context, *function(), status=status, words=words)
            context.check(context.registry.read_text() == before, "the file was changed")

        test(f"service: bad input: {name}")(run)
        return function

    return register


CASES = {
    "no command": ([], "--help"),
    "unknown command": (["frobnicate"], "frobnicate", "--help"),
    "list with too much": (["list", "x"], "x"),
    "show nothing": (["show"], "SERVICE"),
    "show two": (["show", "a", "b"], "b"),
    "enable nothing": (["enable"], "SERVICE"),
    "register nothing": (["register", "--name", "x"], "SERVICE"),
    "register without a name": (["register", "vsock:2"], "--name"),
    "an empty name": (["register", "vsock:2", "--name", ""], "--name"),
    "a name of two lines": (["register", "vsock:2", "--name", "a\nb"], "--name"),
    "a long name": (["register", "vsock:2", "--name", "x" * 128], "--name", "127"),
    "no such service form": (["register", "ssh", "--name", "x"], "ssh", "vsock:PORT"),
    "a port that is none": (["register", "vsock:4294967295", "--name", "x"], "vsock:4294967295"),
    "the zero GUID": (["register", "00000000-0000-0000-0000-000000000000", "--name", "x"], "GUID"),
    "no such user": (["register", "vsock:2", "--name", "x", "--connect", "no such"], "--connect",
                     "no such"),
    "a negative user": (["register", "vsock:2", "--name", "x", "--serve", "-1"], "--serve", "-1"),
    "no machine's ID": (["register", "vsock:2", "--name", "x", "--machine", "vm1"], "--machine",
                        "vm1"),
    "a constant as machine": (["register", "vsock:2", "--name", "x", "--machine",
                               "90db8b89-0d35-4f79-8ce9-49ea0ac8b7cd"], "--machine"),
    "a relative program": (["register", "vsock:2", "--name", "x", "--", "cat"], "cat", "absolute"),
    "a relative socket": (["register", "vsock:2", "--name", "x", "--socket", "s"], "absolute"),
    "a program and a socket": (["register", "vsock:2", "--name", "x", "--socket", "/s", "--",
                                "/bin/cat"], "--socket", "PROGRAM"),
    "an unknown option": (["register", "vsock:2", "--nmae", "x"], "--nmae", "--help"),
}

for case_name, (arguments, *expected) in CASES.items():

    @case(case_name, *expected)
    def _(arguments=arguments):
        return arguments


FAILURES = {
    "registered already": (["register", "vsock:1", "--name", "x"], "vsock:1", "One", "--replace"),
    "show what is not there": (["show", "vsock:2"], "vsock:2", "not registered"),
    "enable what is not there": (["enable", "Two"], "Two", "not registered"),
    "unregister what is not there": (["unregister", "Two"], "Two", "not registered"),
}

# What is written must be read again.
for case_name, added, words in (
        ("a name that is no text", ["--name", "caf\udce9"], ("not changed", "utf-8")),
        ("a word that is no text", ["--name", "x", "--", "/bin/cat", "\udcff"], ("utf-8",)),
        ("a program with 300 words", ["--name", "x", "--", "/bin/cat", *"x" * 300],
         ("services[1].command", "256"))):
    FAILURES[case_name] = (["register", "vsock:2", *added], *words)

for case_name, (arguments, *expected) in FAILURES.items():

    @case(case_name, *expected, status=1)
    def _(arguments=arguments):
        return arguments


@test("service: a program with an empty word")
def empty_word(context):
    context.service("register", "vsock:1", "--name", "x", "--", "/bin/echo", "", "y")
    shown = json.loads(context.service("show", "x", "--json"))
    context.check(shown["command"] == ["/bin/echo", "", "y"], shown)


@test("service: a registry that is no file")
def no_file(context):
    context.registry.mkdir()
    refused(context, "list", status=1, words=(str(context.registry), "is no file"))


@test("service: a damaged registry is refused and stays")
def damaged(context):
    text = '{"services": [\n{"id": "vsock:1", "name": "One", "enabled": 1}]}'
    context.registry.write_text(text)
    for arguments in (["list"], ["show", "One"], ["enable", "One"],
                      ["register", "vsock:2", "--name", "x"]):
        refused(context, *arguments, status=1,
                words=(str(context.registry), "services[0].enabled", "correct the file"))
    context.check(context.registry.read_text() == text, "the file was changed")


@test("service: help of every command")
def help_texts(context):
    for command in ("register", "unregister", "enable", "disable", "list", "show"):
        out = context.service(command, "--help")
        context.check(out.startswith(f"Usage: partita service {command}")
                      and all(len(line) <= 90 for line in out.splitlines()), out)
