"""The pytest plugin: tells waitbus how a test session ends, and of each failure as it happens.

It comes to a run in two ways. Where waitbus is installed it is the entry point `waitbus`, asleep until `--waitbus`,
`WAITBUS_PYTEST=1` or the ini key `waitbus` wake it. Under `waitbus run` a copy of this one file is on PYTHONPATH, so that it
works where waitbus is not importable: hence the standard library alone, Python 3.7 and pytest 7 or later, and nothing imported
before it is needed.

Nothing is written from here. Tests replace clocks, files, sockets and the environment of this very process; a row that was
written behind such a mock could be dated in the next century, and with it all that follow in the log. So what is told goes
as lines of JSON over a socket to a process that no test can reach: the `waitbus run` above us, or a writer that the installed
plugin starts.
Whatever fails here, the tests go on.
"""

from __future__ import annotations

import os
import sys

import pytest

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from typing import Any

VARIABLE = "WAITBUS_PYTEST"
"""0 turns it off, whatever else is said; 1 turns it on, all besides tells every outcome."""
OFF = ("0", "false", "no", "off")
ON = ("1", "true", "yes", "on", "all")

COPY = "waitbus_relay"
"""The name of the module below `waitbus run`."""

LINE_MAX = 64 * 1024
FAILURES_MAX = 20
ID_MAX, ARGS_MAX, REASON_MAX, SUBTEST_MAX = 400, 400, 300, 300
"""Characters of a test's id, of the arguments, of a reason and of a subtest's name: twenty such ids fit a line, whatever letters
they have."""
PENDING_MAX = 4 * 1024 * 1024
"""Bytes that are kept for a listener who takes nothing for now; tests beyond them are counted and not told one by one."""
CONNECT_MAX_S, FLUSH_MAX_S, ANSWER_MAX_S = 1.0, 7.0, 2.0
"""s to be let in; s that the end waits until all is taken, since who writes waits 5 s for a log that is busy; s that it waits
to hear that the row is written."""
PROGRESS_S = 1.0
"""s between two lines that only say how far it is: what is known of a session that is killed."""

BAD = ("failed", "error")
COUNTS = {
    "passed": "passed",
    "failed": "failed",
    "skipped": "skipped",
    "error": "errors",
    "xfailed": "xfailed",
    "xpassed": "xpassed",
}
"""Outcome of a test -> the count that it is counted in."""

NO_TESTS_ARE_RUN = ("collectonly", "showfixtures", "show_fixtures_per_test", "cacheshow", "setuponly", "setupplan")
"""Options that make a session of something else than running tests."""


def pytest_addoption(parser: Any) -> None:
    group = parser.getgroup("waitbus", "waitbus: tell whoever waits on this machine")
    group.addoption("--waitbus", action="store_true", help="Tell of the end of this session, and of each failure.")
    group.addoption("--waitbus-all", action="store_true", help="With it, tell of every test.")
    parser.addini("waitbus", "Tell waitbus of each session.", type="bool", default=False)
    parser.addini("waitbus_all", "With it, tell of every test.", type="bool", default=False)


def pytest_load_initial_conftests(early_config: Any) -> None:
    # The first moment at which the options are known; behind it conftest files are imported, and may fail.
    try:
        begin(early_config)
    except Exception as error:
        why = f"{type(error).__name__}: {error}"
        early_config.add_cleanup(lambda: complain(early_config, why))  # what is said by now is captured


def begin(config: Any) -> None:
    """Open the way to the log, if this session is to be told, and register what hears of it."""
    word = os.environ.get(VARIABLE, "").strip().lower()
    options = config.known_args_namespace
    asked = bool(getattr(options, "waitbus", False) or word in ON or config.getini("waitbus"))
    if word in OFF or not (asked or __name__ == COPY):
        return
    every = bool(getattr(options, "waitbus_all", False) or word == "all" or config.getini("waitbus_all"))
    way = runner() or (writer() if asked else None)
    if way is None:
        return
    reporter = Reporter(config, way, every)
    config.pluginmanager.register(reporter, "waitbus-reporter")
    config.add_cleanup(reporter.finish)
    # Workers of xdist, and sessions that tests start themselves, are part of this one.
    reporter.before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = "0"


def complain(config: Any, why: str) -> None:
    """The one line that says what went wrong: no warning, which `filterwarnings = error` would make a failure."""
    line = f"waitbus: this session is not wholly in the log: {why}"
    try:
        config.get_terminal_writer().line(line)
    except Exception:
        print(line, file=sys.stderr)


# -- the way to the log ------------------------------------------------------------------------------------------------


class Way:
    """A socket with somebody at its other end who writes; `answers` where he says at the end that he has."""

    def __init__(self, connection: socket.socket, answers: bool = False, starter: int = 0) -> None:
        connection.setblocking(False)
        self.connection = connection
        self.answers = answers
        self.starter = starter
        self.open = True
        self.why = "its writer is gone"
        self.pending = bytearray()
        self.untold = 0
        self.pid = os.getpid()
        self.identity = self._identity()

    def is_ours(self) -> bool:
        """Whether this is the process of the session; a child that a test forked is not."""
        return os.getpid() == self.pid

    def _identity(self) -> tuple[int, int]:
        facts = os.fstat(self.connection.fileno())
        return facts.st_dev, facts.st_ino

    def send(self, message: dict[str, Any]) -> None:
        """Say it, or never say anything again. The tests never wait for who listens: he may be waiting for a log that is busy."""
        if not self.open or not self.is_ours():
            return
        try:
            import json

            line = json.dumps(message, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n"
            if len(line) > LINE_MAX:
                return
            if self._identity() != self.identity:
                raise OSError("a test closed it, and the number may be another's by now")
            if len(self.pending) > PENDING_MAX and message["what"] == "test":
                self.untold += 1
                return
            self.pending += line
            self._push()
        except Exception:
            self.open = False

    def _push(self) -> None:
        try:
            while self.pending:
                del self.pending[: self.connection.send(self.pending)]
        except BlockingIOError:
            pass

    def flush(self) -> None:
        """Wait until all is taken, at the end of it all."""
        if not self.open or not self.pending:
            return
        try:
            self.connection.settimeout(FLUSH_MAX_S)
            self.connection.sendall(self.pending)
            self.pending.clear()
        except OSError:
            self.open = False
            self.why = f"its writer took nothing for {FLUSH_MAX_S:g} s"

    def answer(self) -> str:
        """Why something was not written; nothing if all was, or if nobody was to say."""
        if not self.answers:
            return ""
        if not self.open:
            return self.why
        try:
            self.connection.settimeout(ANSWER_MAX_S)
            said = b""
            while not said.endswith(b"\n"):
                part = self.connection.recv(4096)
                if not part:
                    return self.why
                said += part
            return said.decode("utf-8", "replace").strip()
        except OSError:
            return f"it was not written within {ANSWER_MAX_S:g} s; it may come yet"

    def shortage(self) -> str:
        """What was not told for want of room; nothing if all was."""
        return f"{self.untold} tests are in its counts alone: its writer was too slow" if self.untold else ""

    def close(self) -> None:
        self.open = False
        self.reap()
        try:
            self.connection.close()
        except OSError:
            pass

    def reap(self) -> None:
        """Take leave of the process that started the writer, so that no test meets a child that is none of its own."""
        starter, self.starter = self.starter, 0
        if starter and self.is_ours():
            try:
                os.waitpid(starter, 0)
            except OSError:
                pass


def runner() -> Way | None:
    """The way to the `waitbus run` above us: its socket lies beside the wheel that this copy came from."""
    if __name__ != COPY:
        return None
    import socket

    folder = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(CONNECT_MAX_S)
        try:
            handle = os.open(folder, os.O_RDONLY)
            try:
                # By the folder's handle: the kernel takes no more than a hundred bytes of a socket's path.
                short = f"/proc/self/fd/{handle}"
                connection.connect(os.path.join(short if os.path.isdir(short) else folder, "s"))
            finally:
                os.close(handle)
        except OSError:  # it has ended, as a `waitbus run` in the background may have
            connection.close()
            return None
        return Way(connection)
    except BaseException:
        connection.close()
        raise


def writer() -> Way:
    """The way to a writer of our own: waitbus in a process of its own."""
    import socket
    from importlib.util import find_spec

    places = []
    for name in ("waitbus", "attr"):
        spec = find_spec(name)
        if spec is None or spec.origin is None:
            raise ImportError(f"no module {name!r} here")
        place = os.path.dirname(os.path.dirname(os.path.abspath(spec.origin)))
        if place not in places:
            places.append(place)
    # The first process leaves at once, so that the writer is nobody's child here: tests may wait for any child of theirs.
    code = (
        "import os\nif os.fork(): os._exit(0)\nos.setsid()\n"
        f"import site, sys\nsite.main()\nsys.path += {places!r}\n"
        "from waitbus.sources.pytest_writer import main\nmain()\n"
    )
    ours, theirs = socket.socketpair()
    with theirs:
        devnull = (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)
        streams = [(os.POSIX_SPAWN_DUP2, theirs.fileno(), 0), devnull, (os.POSIX_SPAWN_DUP2, 1, 2)]
        try:
            words = [sys.executable, "-I", "-S", "-c", code]
            starter = os.posix_spawn(sys.executable, words, os.environ, file_actions=streams)
        except BaseException:
            ours.close()
            raise
    return Way(ours, answers=True, starter=starter)


# -- what is told ------------------------------------------------------------------------------------------------------


def outcome_of(report: Any) -> str | None:
    """What a report adds to the counts, as pytest's own last line counts: None for a phase that decides nothing."""
    outcome, when = report.outcome, report.when
    if outcome == "failed":
        return "error" if when in ("setup", "teardown") else "failed"
    if (outcome == "passed" and when != "call") or hasattr(report, "context"):
        return None  # of a subtest, which has a context, the test that it belongs to is counted
    expected = hasattr(report, "wasxfail")
    if outcome == "skipped":
        return "xfailed" if expected else "skipped"
    if outcome == "passed":
        return "xpassed" if expected else "passed"
    return None


def subtest_of(report: Any) -> str:
    """Which subtest of its test a report is about, as pytest shows it: `[message] (i=1)`; nothing of a whole test."""
    context = getattr(report, "context", None)
    message, values = getattr(context, "msg", None), getattr(context, "kwargs", None)
    parts = [] if message is None else [f"[{message}]"]
    if values and hasattr(values, "items"):
        parts.append(f"({', '.join(f'{key}={value}' for key, value in values.items())})")
    return " ".join(parts)[:SUBTEST_MAX]


class Reporter:
    """Counts, and tells. One for each session that is told."""

    def __init__(self, config: Any, way: Way, every: bool) -> None:
        import time

        self.config = config
        self.way = way
        self.every = every
        self.before: str | None = None
        self.counts = dict.fromkeys(COUNTS.values(), 0)
        self.failures: list[str] = []
        self.session: Any = None
        self.started = False
        self.interrupted = False
        self.reason = ""
        self.trouble = ""
        self.clock = time.perf_counter
        self.begun = self.said = self.clock()

    def safely(self, act: Callable[..., None], *given: Any) -> None:
        """A boundary: whatever fails in here, the tests go on, and the end says so."""
        try:
            act(*given)
        except Exception as error:
            self.trouble = self.trouble or f"{type(error).__name__}: {error}"

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self, session: Any) -> None:
        self.safely(self.begin, session)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self) -> None:
        self.way.reap()

    def pytest_collectreport(self, report: Any) -> None:
        self.safely(self.collected, report)

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report: Any) -> None:
        self.safely(self.heard, report)

    def pytest_keyboard_interrupt(self, excinfo: Any) -> None:
        self.safely(self.stopped, excinfo)

    def pytest_internalerror(self, excrepr: Any) -> None:
        self.safely(self.broken, excrepr)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, exitstatus: Any) -> None:
        # Others end the process here, by os._exit in their conftest.
        self.safely(self.say_end, "ending", exitstatus)

    def begin(self, session: Any) -> None:
        option = session.config.option
        if any(getattr(option, name, False) for name in NO_TESTS_ARE_RUN):
            self.way.close()
            return
        self.session = session
        self.start()

    def start(self) -> None:
        import shlex

        args = " ".join(map(shlex.quote, map(str, self.config.invocation_params.args)))
        root = os.fspath(self.config.rootpath)
        self.way.send({"what": "start", "session": os.urandom(8).hex(), "rootdir": root, "args": args[:ARGS_MAX]})
        self.started = True

    def collected(self, report: Any) -> None:
        if report.outcome == "failed":
            self.tell("error", report.nodeid, None)
        elif report.outcome == "skipped":
            self.counts["skipped"] += 1

    def heard(self, report: Any) -> None:
        outcome = outcome_of(report)
        if outcome is None:
            return
        if outcome in BAD or self.every:
            self.tell(outcome, report.nodeid, getattr(report, "duration", None), subtest_of(report))
            return
        self.counts[COUNTS[outcome]] += 1
        now = self.clock()
        if now - self.said > PROGRESS_S:
            self.said = now
            self.way.send({"what": "progress", "counts": self.counts})

    def tell(self, outcome: str, nodeid: str, duration: float | None, subtest: str = "") -> None:
        self.counts[COUNTS[outcome]] += 1
        whole, nodeid = nodeid, nodeid[:ID_MAX]
        if outcome in BAD and len(self.failures) < FAILURES_MAX and nodeid not in self.failures:
            self.failures.append(nodeid)
        message: dict[str, Any] = {"what": "test", "nodeid": nodeid, "outcome": outcome, "counts": self.counts}
        if whole != nodeid:
            import hashlib

            message["digest"] = hashlib.sha256(whole.encode("utf-8", "replace")).hexdigest()[:16]
        if subtest:
            message["subtest"] = subtest
        if isinstance(duration, (int, float)):
            message["duration_ms"] = max(0, round(duration * 1000))
        self.way.send(message)

    def stopped(self, excinfo: Any) -> None:
        # pytest makes a KeyboardInterrupt of errors in collection too, and xdist of -x: those are of a type below it.
        self.interrupted = excinfo.type is KeyboardInterrupt
        self.reason = "interrupted" if self.interrupted else str(excinfo.value)

    def broken(self, excrepr: Any) -> None:
        self.reason = "internal error: " + str(excrepr).strip().rpartition("\n")[2]

    def say_end(self, what: str, exitstatus: Any) -> None:
        session = self.session
        stopped = getattr(session, "shouldfail", "") or getattr(session, "shouldstop", "")
        reason = self.reason or (stopped if isinstance(stopped, str) else "")
        message: dict[str, Any] = {
            "what": what,
            "counts": self.counts,
            "duration_ms": max(0, round((self.clock() - self.begun) * 1000)),
            "first_failures": self.failures,
            "interrupted": self.interrupted,
            "reason": reason[:REASON_MAX],
        }
        if exitstatus is not None:
            message["exit_status"] = int(exitstatus)
        self.way.send(message)

    def finish(self) -> None:
        """The very end, behind what every plugin does to the exit status."""
        if self.before is None:
            os.environ.pop(VARIABLE, None)
        else:
            os.environ[VARIABLE] = self.before
        if self.way.is_ours():
            self.safely(self.say_last)
            if self.trouble:
                complain(self.config, self.trouble)
        self.way.close()

    def say_last(self) -> None:
        error = sys.exc_info()[1]
        if self.session is not None:
            if isinstance(error, pytest.UsageError):  # a file that is not there
                self.reason = str(error)
            self.say_end("end", self.session.exitstatus)
        elif self.way.open and error is not None:  # without one it is --help and the like: no session at all
            self.say_why_nothing_began(error)
        self.way.flush()
        if self.started:
            self.trouble = self.trouble or self.way.answer() or self.way.shortage()

    def say_why_nothing_began(self, error: BaseException) -> None:
        usage = isinstance(error, pytest.UsageError) or type(error).__name__ == "ConftestImportFailure"
        self.interrupted = isinstance(error, KeyboardInterrupt)
        self.reason = str(error).strip() or type(error).__name__
        self.start()
        self.say_end("end", 4 if usage else None)
