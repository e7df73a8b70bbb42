"""The full list of errors, each provoked for real: which value it names, and what it says to do.

Most are met again, from more sides, in the tests of the modules that raise them; here nothing may be left out.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import fcntl
import json
import os
import re
import shlex
import signal
import sqlite3
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import attrs
import pytest
import trio

import waitbus
from tests import wheels
from tests.logs import event, look, python
from tests.support import WAITBUS, run
from waitbus import conditions, config, errors, instance, paths, quantities, sources, wire
from waitbus.client import bookmarks, git
from waitbus.errors import WaitbusError
from waitbus.events import make_event_id, parse_event_id
from waitbus.ops.stage import Stage
from waitbus.paths import log_path
from waitbus.predicate import Predicate
from waitbus.sources import attested, declaration, docker_endpoint, index, loading, pidfd, pins, plugins, trusted
from waitbus.sources.command import command_table
from waitbus.sources.supervision import Supervised
from waitbus.store import Log, migrations, query
from waitbus.store.retention import Retention, prune_chunk

PROVOKED: dict[type[WaitbusError], tuple[Callable[[Path], object], str, str]] = {}
"""Class -> (what provokes it, what its message has, what its hint has). `{home}` stands for the test's folder."""

ABSTRACT = {errors.WaitbusError, errors.InvalidValue, errors.LogError}
"""Bases, for `except` clauses; something more precise is raised."""

FOR_PROGRAMS_OF_0_2 = {errors.BroadcastConnectionError}
"""Never raised here, where a client without a daemon reads the log; the name is in `except` clauses of theirs."""


def provokes(
    kind: type[WaitbusError], message: str, hint: str
) -> Callable[[Callable[[Path], object]], Callable[[Path], object]]:
    def put(work: Callable[[Path], object]) -> Callable[[Path], object]:
        assert kind not in PROVOKED
        PROVOKED[kind] = (work, message, hint)
        return work

    return put


def classes() -> list[type[WaitbusError]]:
    return [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, WaitbusError)]


# -- what the caller wrote ---------------------------------------------------------------------------------------------


@provokes(errors.InvalidEvent, "event_type 'Deploy Done' is not a name", "deploy_finished")
def _event(home: Path) -> object:
    return event(event_type="Deploy Done")


@provokes(errors.InvalidPredicate, "'conclusion failure'", "KEY")
def _predicate(home: Path) -> object:
    return Predicate.parse("conclusion failure")


@provokes(errors.InvalidCursor, "'yesterday-ish' is not an event id", "26 characters")
def _cursor(home: Path) -> object:
    return parse_event_id("yesterday-ish")


@provokes(errors.InvalidName, "'a/b'", "letters, digits")
def _name(home: Path) -> object:
    return bookmarks.read("a/b")


@provokes(errors.InvalidDuration, "--timeout 'soon' is not a duration", "write 500ms, 30s")
def _duration(home: Path) -> object:
    return quantities.parse_duration("soon", what="--timeout")


@provokes(errors.InvalidSize, "--max-size 'big' is not a size", "write 500k")
def _size(home: Path) -> object:
    return quantities.parse_size("big", what="--max-size")


@provokes(errors.InvalidTime, "'noon' is not a time", "write now")
def _time(home: Path) -> object:
    return quantities.parse_time("noon")


@provokes(errors.InvalidWait, "nothing to wait for", "give match")
def _wait(home: Path) -> object:
    return waitbus.wait_for(timeout=1)


@provokes(errors.InvalidCommit, "--sha 'no-such-name' is no commit", "7 to 40 hex digits")
def _commit(home: Path) -> object:
    return git.rev_parse("no-such-name")


@provokes(errors.EvaluatorUnavailableError, "no evaluator 'nosuch' is installed", "a package adds one")
def _evaluator_missing(home: Path) -> object:
    return conditions.check_evaluator("nosuch:1 = 1")


@provokes(errors.EvaluatorError, "'broken' failed on event", "handle every event")
def _evaluator_broken(home: Path) -> object:
    def explode(frame: object) -> bool:
        raise ZeroDivisionError("by its own fault")

    waitbus.register_condition("broken", lambda: explode)
    waitbus.emit(event())
    return waitbus.wait_for("@cond=broken", since="1h", timeout=5)


@provokes(errors.UnknownSource, "no source 'pytset'", "known are")
def _source(home: Path) -> object:
    return sources.source("pytset")


@provokes(errors.SourceUnavailable, "source agent has nothing to run", "just wait for them")
def _source_without_code(home: Path) -> object:
    return loading.load(sources.source("agent"))


@provokes(errors.PinsDamaged, "{home}/c/plugins.toml: it holds something else than pins", "waitbus allowlist repair")
def _pins(home: Path) -> object:
    (home / "c").mkdir(mode=0o700)
    (home / "c/plugins.toml").write_text("plugin = 1")
    return pins.read()


@provokes(errors.UnknownPlugin, "no installed package brings a source 'timer'", "no plugin is installed")
def _plugin_missing(home: Path) -> object:
    return trusted.add("timer")


@provokes(errors.PluginRefused, "plugin 'timer' of waitbus-timer 1.0 is not used: plugins.deny", "config show")
def _plugin_refused(home: Path) -> object:
    return _with_timer(home, lambda: plugins.check("timer"), '[plugins]\ndeny = ["timer"]')


@provokes(errors.PluginBroken, "plugin 'timer' of waitbus-timer 1.0 cannot be used: ", "report it to its author")
def _plugin_broken(home: Path) -> object:
    return _with_timer(home, lambda: declaration.ask(attrs.evolve(index.installed()[0], value="no_such_module:x")))


def _with_timer(home: Path, work: Callable[[], object], settings: str = "") -> object:
    wheels.unpacked(wheels.contents(wheels.TIMER), home / "site")
    (home / "c").mkdir(mode=0o700)
    (home / "c/config.toml").write_text(settings)
    sys.path.insert(0, str(home / "site"))
    try:
        return work()
    finally:
        sys.path.remove(str(home / "site"))


@provokes(errors.ChildFailed, "it ended with exit code 3", "run it by hand")
def _child_failed(home: Path) -> object:
    return trio.run(_child(1))


@provokes(errors.SourceGaveUp, "it failed 5 times within 10 min and stays down", "waitbus source run x")
def _source_gave_up(home: Path) -> object:
    return trio.run(_child(5))


def _child(times: int) -> Callable[[], Awaitable[None]]:
    table = {"command": ["sh", "-c", "exit 3"]}
    source = plugins.source_for(command_table("x", table).spec(), table)

    async def work() -> None:
        for _ in range(times - 1):
            with contextlib.suppress(errors.ChildFailed):
                await source.run(Supervised("x", source))
        await source.run(Supervised("x", source))

    return work


@provokes(errors.ConfigError, "{home}/c/config.toml: unknown key 'heartbeat_secs'", "did you mean 'heartbeat_sec'?")
def _config(home: Path) -> object:
    (home / "c").mkdir()
    (home / "c/config.toml").write_text("heartbeat_secs = 5")
    return config.load()


@provokes(errors.PathError, "{home}/open may be written by others", "chmod go-w {home}/open")
def _path(home: Path) -> object:
    (home / "open").mkdir()
    (home / "open").chmod(0o777)
    return paths.own_directory(home / "open")


@provokes(errors.QueryRefused, "DELETE events is refused", "SELECT")
def _query(home: Path) -> object:
    with Log() as log:
        log.append(event())
    return query.query(log_path(), "DELETE FROM main.events")


@provokes(errors.RunningLoopError, "wait_for() would block the event loop", "use waitbus.await_for(...)")
def _loop(home: Path) -> object:
    async def inside() -> None:
        waitbus.wait_for("conclusion=failure", timeout=0.1)

    return trio.run(inside)


# -- the log -----------------------------------------------------------------------------------------------------------


@provokes(errors.LogBusy, "the log {home}/s/events.db is locked by another process", "holds the log's write lock")
def _busy(home: Path) -> object:
    with Log(busy_timeout=0.05) as log:
        log.head()
        with look(log_path()) as other:
            other.execute("BEGIN IMMEDIATE")
            return log.append(event())


@provokes(errors.LogFull, "no space is left for the log {home}/s/events.db", "make space")
def _full(home: Path) -> object:
    with Log() as log:
        log.use(lambda db: db.execute("PRAGMA max_page_count = 1").fetchall())
        while True:
            log.append(event(payload_json='"' + "x" * 4000 + '"'))


@provokes(errors.LogReadOnly, "the log {home}/s/events.db may not be written", "set WAITBUS_STATE_DIR")
def _read_only(home: Path) -> object:
    with Log() as log:
        log.use(lambda db: db.execute("PRAGMA query_only = 1").fetchall())
        return log.append(event())


@provokes(errors.LogUnavailable, "the log {home}/s/events.db cannot be opened", "set WAITBUS_STATE_DIR")
def _unavailable(home: Path) -> object:
    log_path().mkdir(parents=True)
    with Log() as log:
        return log.append(event())


@provokes(errors.LogCorrupt, "{home}/s/events.db is a database, but no waitbus log", "move it away")
def _corrupt(home: Path) -> object:
    log_path().parent.mkdir()
    with look(log_path()) as db:
        db.execute("CREATE TABLE diary(page)")
    with Log() as log:
        return log.append(event())


@provokes(errors.LogIOError, "the log {home}/s/events.db could not be used (no such table: events)", "waitbus db info")
def _broken(home: Path) -> object:
    with Log() as log:
        log.append(event())
        with look(log_path()) as db:
            db.execute("DROP TABLE events")
        return log.append(event())


@provokes(errors.LogVersionError, "has format 9; to read it a waitbus must know format 8", "upgrade this waitbus")
def _version(home: Path) -> object:
    with Log() as log:
        log.append(event())
    with look(log_path()) as db:
        db.execute("UPDATE meta SET value = 9 WHERE key = 'format'")
        db.execute("UPDATE meta SET value = 8 WHERE key = 'min_reader'")
    return log.head()


@provokes(errors.LogInUse, "the log {home}/s/events.db is open in another process", "stop the daemon")
def _in_use(home: Path) -> object:
    with Log() as log:
        log.append(event())
        return migrations.migrate(log_path())


@provokes(errors.SQLiteTooOld, "this Python has SQLite 3.34.1", "use a newer Python")
def _old_sqlite(home: Path) -> object:
    with pytest.MonkeyPatch.context() as patch, Log() as log:
        patch.setattr(sqlite3, "sqlite_version_info", (3, 34, 1))
        patch.setattr(sqlite3, "sqlite_version", "3.34.1")
        return log.head()


# -- cursors -----------------------------------------------------------------------------------------------------------


@provokes(errors.CursorGap, "events 1 to 4 were pruned; going on with event 5", "--strict-since")
def _gap(home: Path) -> object:
    with Log() as log:
        log.append_many(event(str(number)) for number in range(5))
        while prune_chunk(log, Retention(max_age=None, max_bytes=1), chunk=100):
            pass
        begin = log.event_id(0, 0)
    with waitbus.subscribe(source="agent", since=begin, strict=True) as found:
        return next(found)


@provokes(errors.OtherLog, "the cursor {cursor} belongs to another log", "`waitbus cursor` prints one")
def _other_log(home: Path) -> object:
    waitbus.emit(event())
    return waitbus.wait_for("conclusion=failure", since=CURSOR, timeout=5)


@provokes(errors.UnknownEvent, "names an event that this log never had", "`waitbus cursor` prints one")
def _unknown_event(home: Path) -> object:
    with Log() as log:
        log.append(event())
        ahead = log.event_id(99, 10**12)
    return waitbus.wait_for("conclusion=failure", since=ahead, timeout=5)


CURSOR = make_event_id(10**12, 77, 5)

# -- the bus -----------------------------------------------------------------------------------------------------------


@provokes(errors.ProtocolError, "a frame of 65537 bytes", "1 to 65536 bytes")
def _protocol(home: Path) -> object:
    return list(wire.Decoder().feed((65537).to_bytes(4, "big")))


@provokes(errors.DaemonRunning, "a waitbus daemon is already running (pid {pid}", "`waitbus status` shows it")
def _running(home: Path) -> object:
    first = instance.Lock(home / "daemon.lock", how="by hand")
    try:
        return instance.Lock(home / "daemon.lock", how="by hand")
    finally:
        first.release()


@provokes(errors.SocketUnavailable, "{home}/file is there and is no socket", "move it away")
def _socket(home: Path) -> object:
    (home / "file").write_text("")
    return instance.bind(home / "file")


@provokes(errors.VersionRefused, "proto 2", "speaks protocol 1")
def _wire_version(home: Path) -> object:
    return wire.parse_subscribe({"proto": 2})


@provokes(errors.ServiceMissing, "no container engine: no socket at {home}/docker.sock", "start docker or podman")
def _service(home: Path) -> object:
    return docker_endpoint.best([f"{home}/docker.sock"], lambda path: int(os.path.exists(path)))


@provokes(errors.FileUnwritable, "cannot open {home}/c/plugins.lock: Is a directory", "mend its rights")
def _file(home: Path) -> object:
    (home / "c").mkdir(mode=0o700)
    (home / "c/plugins.lock").mkdir()
    return trusted.remove("timer")


@provokes(errors.DemoFailed, "no folder for the demo: No such file or directory", "set TMPDIR")
def _demo(home: Path) -> object:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tempfile.tempdir", f"{home}/nowhere")
        return Stage()


@provokes(errors.InvalidPid, "0 is not a process id", "a positive number")
def _pid(home: Path) -> None:
    pidfd.check_pid(0)


@provokes(errors.ExtraMissing, "attestations are verified by packages that are not installed", "[plugin-verify]")
def _extra(home: Path) -> object:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "pypi_attestations", None)
        return attested.look([], attested.Where(""))


@provokes(errors.Offline, "--port db.example:80 would ask db.example", "unset WAITBUS_OFFLINE")
def _offline(home: Path) -> object:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WAITBUS_OFFLINE", "1")
        return waitbus.ready_port("db.example:80")


@provokes(errors.TrioNeeded, "sources of a wait run under trio", "in a thread")
def _other_loop(home: Path) -> object:
    return asyncio.run(waitbus.adecide(sources=[waitbus.ready_file(home)]))


IN_A_PROCESS = {
    errors.CommandNotFound: ("run -- no-such-command", 127, "error: no command 'no-such-command'", "hint: "),
    errors.CommandNotExecutable: ("run -- /", 126, "error: cannot run '/': it is a directory", "hint: name a program"),
    errors.OutputUnwritable: (
        "cursor >/dev/full",
        74,
        "error: cannot write to standard output: No space left on device",
        "hint: free space there",
    ),
}
"""What can only be met by a process that starts another."""


# -- the tests ---------------------------------------------------------------------------------------------------------


def test_every_error_is_provoked_somewhere_here() -> None:
    """Whoever adds a class adds what provokes it; whoever raises one no more removes it."""
    listed = {*PROVOKED, *ABSTRACT, *FOR_PROGRAMS_OF_0_2, *IN_A_PROCESS}
    assert {kind.__name__ for kind in classes()} == {kind.__name__ for kind in listed}


def test_no_error_is_declared_elsewhere() -> None:
    """Whoever looks for what may go wrong looks in one place."""
    ours = {kind.__name__ for kind in classes()}
    found = [
        (path.name, node.name)
        for path in Path(waitbus.__file__).parent.rglob("*.py")
        if path.name != "errors.py"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef) and any(ast.unparse(base).rpartition(".")[2] in ours for base in node.bases)
    ]
    assert found == []


def test_every_error_is_raised_by_something() -> None:
    """A class that nobody raises is a promise that nobody keeps."""
    code = "\n".join(
        path.read_text() for path in Path(waitbus.__file__).parent.rglob("*.py") if path.name != "errors.py"
    )
    used = {kind.__name__ for kind in classes() if re.search(rf"\b{kind.__name__}\b(?! as)", code)}
    assert {kind.__name__ for kind in classes() if kind not in ABSTRACT | FOR_PROGRAMS_OF_0_2} <= used


@pytest.mark.parametrize("kind", PROVOKED, ids=lambda kind: kind.__name__)
def test_an_error_names_the_value_and_the_remedy(
    kind: type[WaitbusError], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(home)
    monkeypatch.setattr(conditions, "_conditions", dict(conditions._conditions))  # what is registered here stays here
    work, message, hint = PROVOKED[kind]
    with pytest.raises(WaitbusError) as caught:
        work(home)
    error = caught.value
    assert type(error) is kind
    values = {"{home}": str(home), "{pid}": str(os.getpid()), "{cursor}": CURSOR}
    for name, value in values.items():
        message, hint = message.replace(name, value), hint.replace(name, value)
    assert message in error.message
    assert hint in error.hint
    assert str(error) == error.message
    assert error.remediation == error.hint, "as programs written for 0.2 read it"
    assert error.message[0] not in " \n"
    assert "\n" not in error.message + error.hint
    assert not error.hint.endswith(".")


@pytest.mark.parametrize("kind", IN_A_PROCESS, ids=lambda kind: kind.__name__)
def test_a_process_says_it_on_stderr_and_by_its_code(kind: type[WaitbusError], home: Path) -> None:
    line, code, message, hint = IN_A_PROCESS[kind]
    done = run(["bash", "-c", f"{shlex.join(WAITBUS)} {line}"], cwd=home)
    assert (done.code, done.out) == (code, "")
    assert done.err.splitlines()[0].startswith(message)
    assert done.err.splitlines()[1].startswith(hint)
    assert kind.exit_code == code


def test_invalid_values_are_value_errors_and_loops_runtime_errors() -> None:
    """So that a caller who knows nothing of ours catches them."""
    assert issubclass(errors.InvalidValue, ValueError)
    assert issubclass(errors.RunningLoopError, RuntimeError)
    assert issubclass(errors.BroadcastConnectionError, OSError)
    assert all(
        issubclass(kind, errors.LogError) == (kind.exit_code == 74)
        for kind in classes()
        if kind not in (errors.SQLiteTooOld, errors.FileUnwritable, errors.OutputUnwritable)
    )


@pytest.fixture
def pruned(home: Path) -> Iterator[Log]:
    with Log() as log:
        log.append_many(event(str(number)) for number in range(5))
        prune_chunk(log, Retention(max_age=None, max_bytes=1), chunk=2)
        yield log


def test_a_pruned_cursor_is_a_gap_with_its_bounds(pruned: Log) -> None:
    """`missing` is what a program needs to know to ask somebody else."""
    first = pruned.page(0).rows[0].seq
    with (
        pytest.raises(errors.CursorGap) as caught,
        waitbus.subscribe(source="agent", since=pruned.event_id(1, 0), strict=True) as found,
    ):
        next(found)
    assert caught.value.missing == (2, first - 1)
    assert caught.value.exit_code == 75


DISK = """
import resource, sys
from waitbus.errors import LogError
from waitbus.events import EventInsert
from waitbus.store import Log
with Log() as log:
    log.append(EventInsert(source="agent", event_type="x", delivery_id="before"))
    size = 64 * 1024
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    try:
        for _ in range(200): log.append(EventInsert(source="agent", event_type="x", payload_json='"' + "x" * 1000 + '"'))
    except LogError as error:
        print(type(error).__name__, error.message)
"""


def test_a_write_that_the_kernel_refuses_is_typed() -> None:
    """A file that may not grow any further, by `ulimit -f`: not a disk that is full, and not a lock."""
    child = python(DISK)
    out, err = child.communicate(timeout=30)
    assert child.returncode == 0, err
    assert out.split()[0] in {"LogIOError", "LogFull"}
    assert str(log_path()) in out
    with Log() as log:
        assert log.by_delivery_id("before") is not None


def test_the_lock_of_a_daemon_that_was_killed_is_free(home: Path) -> None:
    child = python(
        "import sys, os\nfrom pathlib import Path\nfrom waitbus import instance\n"
        "lock = instance.Lock(Path(sys.argv[1]), how='by hand')\nprint('locked', flush=True)\nsys.stdin.read()",
        home / "daemon.lock",
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "locked\n"
    with pytest.raises(errors.DaemonRunning, match=f"pid {child.pid}"):
        instance.Lock(home / "daemon.lock", how="by hand")
    child.send_signal(signal.SIGKILL)
    child.communicate(timeout=10)
    assert json.loads((home / "daemon.lock").read_bytes())["pid"] == child.pid, "it left its name behind"
    instance.Lock(home / "daemon.lock", how="by hand").release()
    with (home / "daemon.lock").open() as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
