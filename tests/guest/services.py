"""The integration services, asked for by partita guest and seen inside a Debian guest."""

import json

from harness import tail, test
from storage import end_root, start_root

MODULES = ("hv_utils",)


def guest(context, *arguments):
    """partita guest of this test's machine, with --json: what it printed."""
    return json.loads(context.tool("guest", context.folder.name, *arguments, "--json"))


def services(context):
    return {one["name"]: one for one in guest(context, "services")["services"]}


# A systemd of three lines: what the kernel calls when it is asked to shut down.
WAIT = """
echo STEP up
sleep 600
"""


@test("services: heartbeat and shutdown")
def shutdown(context):
    session = start_root(context, WAIT, modules=MODULES)
    session.expect("^STEP up", 120)
    session.expect("Heartbeat IC version 3.0", 60)
    until = services(context)
    context.check(until["heartbeat"]["version"] == "3.0", until)
    beat = guest(context, "heartbeat")
    context.check(beat["status"] == "ok" and beat["applications"] == "unknown", beat)
    guest(context, "shutdown")
    result = session.wait(60)
    context.check(result.status == 0, tail(result.console + result.errors))
