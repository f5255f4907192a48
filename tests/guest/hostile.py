"""A guest that does what it can to hurt its host (hostile.c), against a machine as it is."""

import random
import re

from harness import tail, test

CANARY = "this disk is only ever read"
# The machine may complain of its guest, and of nothing else.
COMPLAINT = re.compile(r"^partita: warning: \S+: (VMBus: |.*(the guest|its guest))")


@test("hostile: a driver without manners", rounds=400)
@test("hostile: a driver without manners, for long", long_only=True, rounds=40000)
def driver(context, rounds):
    canary, victim = context.folder / "canary.raw", context.disk("victim.vhdx", "--size", "64M")
    contents = CANARY.encode().ljust(1 << 20, b"\0")
    canary.write_bytes(contents)
    iso = context.folder / "dvd.iso"
    iso.write_bytes(random.randbytes(1 << 20))
    seed = random.randrange(1 << 32)
    result = context.run("--kernel", context.freestanding("hostile"), "--cmdline",
                         f"{seed} {rounds}", "--memory", "64M", "--processors", 2,
                         "--disk", f"{canary},ro", "--disk", victim, "--dvd", iso,
                         "--disk", f"{canary},ro,ide=1.0",
                         deadline=60 + rounds)
    context.check(result.status == 0,
                  f"seed {seed}: status {result.status}\n{tail(result.errors)}{tail(result.console)}")
    facts = result.facts()
    context.check(facts.get("rounds") == str(rounds) and facts.get("sector") == CANARY,
                  f"seed {seed}\n{tail(result.console)}")
    for line in result.errors.splitlines():
        context.check(COMPLAINT.search(line), f"seed {seed}: {line}")
    context.check(canary.read_bytes() == contents, f"seed {seed}: a read-only disk was written to")
    context.tool("disk", "check", victim)
