"""What the suites of tests (disk, guest, session, sockets) share: the registry, and running it.

A test is a function with the @test decorator; it gets its suite's context. It fails by raising
Failure, or what a program that is run or a file that is read raises.
"""

import os
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

# Who runs the tests in the background, with nohup or from a shell without job control, has some signals
# ignored, and whatever a program is started from that way goes on to ignore them.
for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
    if signal.getsignal(number) == signal.SIG_IGN:
        signal.signal(number, signal.SIG_DFL)

# All deadlines, which are those of a machine with nothing else to do, are multiplied by this: a machine
# that builds and tests other things beside takes several times as long, and no test passes sooner for
# a short deadline.
SLOWNESS = float(os.environ.get("PARTITA_TEST_SLOWNESS", "5"))


class Failure(Exception):
    pass


@dataclass
class Test:
    name: str
    function: object
    long_only: bool


TESTS = []


def test(name, /, *, long_only=False, **parameters):
    """Register a test; the parameters are given to the function beside the context."""

    def register(function):
        TESTS.append(Test(name, lambda context: function(context, **parameters), long_only))
        return function

    return register


class Checks:
    """What every context can do."""

    def check(self, condition, message):
        if not condition:
            raise Failure(message)


def outcome(function, *arguments):
    """Run a test's function. Returns None, or what failed."""
    try:
        function(*arguments)
        return None
    except Failure as failure:
        return str(failure)
    except (subprocess.SubprocessError, OSError, ValueError, KeyError, IndexError) as failure:
        return f"{type(failure).__name__}: {failure}"


def add_options(parser):
    """The options that every suite has."""
    parser.add_argument("--list", action="store_true", help="say which tests there are")
    parser.add_argument("patterns", nargs="*", help="only tests whose name contains one of them")


def chosen(options, name):
    return not options.patterns or any(pattern in name for pattern in options.patterns)


def report(name, failure, seconds):
    print(f"{'ok' if failure is None else 'FAILED'}  {name} ({seconds:.1f} s)"
          + (f": {failure}" if failure else ""), flush=True)


def end(passed, failed):
    """The last line. Returns the exit status."""
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


def run(options, one):
    """Run, or list, the tests that are chosen, one after the other; one(test) runs it and returns its
    outcome. Returns the exit status."""
    tests = [t for t in TESTS if chosen(options, t.name)
             and (not t.long_only or getattr(options, "long", False))]
    if options.list:
        print("\n".join(t.name for t in tests))
        return 0
    failed = 0
    for test_ in tests:
        began = time.monotonic()
        failure = one(test_)
        failed += failure is not None
        report(test_.name, failure, time.monotonic() - began)
    return end(len(tests) - failed, failed)
