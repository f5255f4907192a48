"""What the suites of tests (disk, guest, session, sockets) share: the registry, and running it.

A test is a function with the @test decorator; it gets its suite's context. It fails by raising
Failure, or what a program that is run or a file that is read raises. Each runs in a process of its
own, whose environment is its own, too; several run at once.
"""

import contextlib
import io
import multiprocessing
import multiprocessing.connection
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


def add_options(parser, jobs=os.cpu_count()):
    """The options that every suite has."""
    parser.add_argument("--jobs", type=int, default=jobs, help="how many tests run at once")
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


class Running:
    """A test that runs in a process of its own."""

    FORK = multiprocessing.get_context("fork")  # which knows the tests

    def __init__(self, name, one, argument):
        self.name = name
        self.began = time.monotonic()
        self.result, result = multiprocessing.Pipe(duplex=False)
        self.process = self.FORK.Process(target=self.work, args=(one, argument, result))
        self.process.start()
        result.close()

    @staticmethod
    def work(one, argument, result):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            failure = one(argument)
        result.send((printed.getvalue(), failure))

    def end(self):
        """When there is a result: show it. Returns whether the test failed."""
        seconds = time.monotonic() - self.began
        try:
            printed, failure = self.result.recv()
        except EOFError:
            printed, failure = "", "its process died"
        self.process.join()
        print(printed, end="")
        report(self.name, failure, seconds)
        return failure is not None


def run_all(options, tests):
    """Run, or list, those of the tests that are chosen: each a name, a function that returns its
    outcome, and the function's argument. Returns the exit status."""
    tests = [test for test in tests if chosen(options, test[0])]
    if options.list:
        print("\n".join(name for name, _, _ in tests))
        return 0
    waiting, running, failed = iter(tests), {}, 0
    while True:
        while len(running) < options.jobs and (test := next(waiting, None)):
            started = Running(*test)
            running[started.result] = started
        if not running:
            return end(len(tests) - failed, failed)
        for result in multiprocessing.connection.wait(running):
            failed += running.pop(result).end()


def run(options, one):
    """The same of the registered tests; one(test) returns a test's outcome."""
    return run_all(options, [(test.name, one, test) for test in TESTS
                             if not test.long_only or getattr(options, "long", False)])
