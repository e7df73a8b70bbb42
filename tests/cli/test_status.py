"""`waitbus status`: every state the daemon and the log can be in, told in time, exit 0, and nothing changed by looking."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests import bus, support
from tests.schemas import checked
from waitbus import instance, wire
from waitbus.cli import status as page
from waitbus.config import Config
from waitbus.ops import processes
from waitbus.ops import status as gathering
from waitbus.ops.question import ask
from waitbus.ops.status import Bus, Daemon, LogState, SourceState, Status, Waiting

Cli = Callable[..., support.Result]
SUBSCRIBER = (
    "import waitbus\nwith waitbus.subscribe({0}) as s:\n  print('armed', flush=True)\n  for frame in s: break\n"
)


def masked(text: str) -> str:
    """Times, pids, sizes and versions made equal."""
    text = re.sub(r"pid \d+", "pid PID", text)
    text = re.sub(r"\b[\d.]+ (ms|s|min|h|d)\b", "TIME", text)
    text = re.sub(r"\b[\d.]+ (B|KiB|MiB|GiB)\b", "SIZE", text)
    text = re.sub(r"[\d.]+ events/min", "RATE events/min", text)
    return re.sub(r"waitbus [\d.]+\w*", "waitbus VERSION", text)


@contextmanager
def subscriber(spawn: Callable[..., subprocess.Popen[str]], arguments: str = "") -> Iterator[subprocess.Popen[str]]:
    """A process that is armed."""
    child = spawn("-c", SUBSCRIBER.format(arguments), program=(sys.executable,))
    support.read_until(child.stdout, "armed")  # type: ignore[arg-type]
    yield child


@contextmanager
def listening(path: Path, answer: bytes | None) -> Iterator[None]:
    """Somebody on the socket who answers each connection with `answer`; with None, never."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.fspath(path))
        listener.listen()
        held: list[socket.socket] = []

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                held.append(connection)
                if answer is not None:
                    connection.recv(65536)
                    connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
            for connection in held:
                connection.close()


# -- the page ----------------------------------------------------------------------------------------------------------


def test_before_anything_was_done(cli: Cli, home: Path) -> None:
    """Exit 0, and looking makes nothing."""
    done = cli("status")
    assert (done.code, done.err) == (0, "")
    assert done.out == (
        "daemon    not running (start one with `waitbus serve`)\n"
        "log       ~/s/events.db, not there yet (the first event makes it)\n"
        "bus       nobody waits\n"
    )
    assert not (home / "s").exists()
    assert not (home / "r").exists()


def test_without_a_daemon(cli: Cli, spawn: Callable[..., subprocess.Popen[str]]) -> None:
    cli("emit", "deploy_finished")
    with subscriber(spawn):
        done = cli("status")
    assert (done.code, done.err) == (0, "")
    assert masked(done.out) == (
        "daemon    not running (start one with `waitbus serve`)\n"
        "log       ~/s/events.db, 1 event, SIZE, oldest now, RATE events/min, TIME or SIZE kept\n"
        "bus       1 waiting by the log itself\n"
    ).replace("oldest now", "oldest now" if "oldest now" in done.out else "oldest TIME ago")


def test_with_a_daemon_and_who_waits(cli: Cli, spawn: Callable[..., subprocess.Popen[str]], home: Path) -> None:
    """The shape of the transcript: daemon, log, bus, then who waits for what and for how long."""
    with bus.daemon(home) as daemon:
        cli("emit", "deploy_finished")
        with subscriber(spawn, "'name=build', source='process'") as child, subscriber(spawn):
            done = cli("status")
            told = checked("status", cli("status", "--json").out)
    assert (done.code, done.err) == (0, "")
    assert re.sub("oldest (now|TIME ago)", "oldest AGE", masked(done.out)) == (
        "daemon    running TIME, pid PID, by hand, waitbus VERSION\n"
        "log       ~/s/events.db, 1 event, SIZE, oldest AGE, RATE events/min, TIME or SIZE kept\n"
        "bus       2 subscribers, none lagging\n"
        'waiting   pid PID  python  name="build" on process  seq 1  for TIME\n'
        "          pid PID  python  everything  seq 1  for TIME\n"
    )
    assert told["daemon"]["state"] == "running"
    assert told["daemon"]["pid"] == daemon.pid
    assert told["bus"] == {"subscribers": 2, "lagging": 0, "by_log": 0}
    assert told["waiting"][0]["pid"] == child.pid
    assert told["waiting"][0]["seq"] == told["log"]["last_seq"] == 1


def test_waiters_beyond_twenty_are_counted() -> None:
    waiting = tuple(Waiting(n, "worker", "", 40 if n == 1 else 47, 7 if n == 1 else 0, 0) for n in range(1, 26))
    found = Status(0.0, Daemon("running", Path("/s")), LogState(Path("/l")), Bus(1234, 1), waiting, Config())
    lines = list(page.lines(found))
    assert "bus       1,234 subscribers, 1 lagging" in lines
    assert "waiting   pid 1  worker  everything  seq 40, 7 events behind  for 0 ms" in lines
    assert "          pid 2  worker  everything  seq 47  for 0 ms" in lines
    assert lines[-1] == "          and 1,214 more"


@pytest.mark.parametrize(
    ("terms", "said"),
    [
        ("", "everything"),
        ("*", "everything"),
        ("octo/hello", "octo/hello"),
        ('conclusion="failure"', 'conclusion="failure"'),
        ('@source="pytest"', "everything on pytest"),
        ('a=1, @source="pytest", @repo="o/r"', "a=1 on pytest in o/r"),
        ('@to="bob"', "everything to bob"),
        ('a=1, @source="x" | b=2', "a=1 on x or b=2"),
        (f'head_sha="7f3a1b2{"0" * 33}"', 'head_sha="7f3a1b2…"'),
        (f'head_sha^="7f3a1b2{"0" * 32}"', f'head_sha^="7f3a1b2{"0" * 32}"'),
    ],
)
def test_what_is_waited_for_reads_like_the_wait(terms: str, said: str) -> None:
    found = Waiting(1, "", terms, 0, 0, 0)
    status = Status(0.0, Daemon("running", Path("/s")), LogState(Path("/l")), Bus(1), (found,), Config())
    assert list(page.lines(status))[-1] == f"waiting   pid 1  {said}  seq 0  for 0 ms"


def test_hostile_names_are_shown_and_not_obeyed() -> None:
    """A process may call itself anything, and a predicate may hold anything."""
    found = Waiting(1, "a\x1b[2J", "x=\u202e", 0, 0, 0)
    status = Status(0.0, Daemon("running", Path("/s")), LogState(Path("/l\n")), Bus(1), (found,), Config())
    text = "".join(page.lines(status))
    assert "a\\x1b[2J  x=\\u202e" in text
    assert text.isprintable()


# -- a daemon that is not as it should be ------------------------------------------------------------------------------


def test_a_daemon_that_hangs_is_said_within_a_second_or_so(cli: Cli, home: Path) -> None:
    """SIGSTOP: the kernel goes on accepting for it."""
    with bus.daemon(home) as daemon:
        os.kill(daemon.pid, signal.SIGSTOP)
        begun = time.monotonic()
        done = cli("status")
        took = time.monotonic() - begun
        told = checked("status", cli("status", "--json").out)
        os.kill(daemon.pid, signal.SIGCONT)
    assert done.code == 0
    first = done.out.splitlines()[0]
    assert f"daemon    does not answer, pid {daemon.pid}, by hand, waitbus " in first
    assert first.endswith("; waits read the log themselves")
    assert 1.0 <= took < 5
    assert told["daemon"]["state"] == "hung"
    assert told["daemon"]["pid"] == daemon.pid


@pytest.mark.parametrize("instead", ["folder", "nothing", "database"])
def test_a_daemon_whose_log_cannot_be_read_answers_all_the_same(cli: Cli, home: Path, instead: str) -> None:
    """It does not hang: its log is gone, and that is what is said."""
    with bus.daemon(home) as daemon, daemon.armed():
        # In one step where that can be: a daemon that has just begun prunes, and would make a log where none is.
        if instead != "database":
            (home / "s/events.db").rename(home / "s/away.db")
        if instead == "folder":
            (home / "s/events.db").mkdir()
        elif instead == "database":
            with contextlib.closing(sqlite3.connect(home / "s/other.db")) as db:
                db.execute("CREATE TABLE diary(page)")
            (home / "s/other.db").replace(home / "s/events.db")
        else:
            (home / "s/events.db").symlink_to(home / "nowhere")
        done = cli("status")
        told = checked("status", cli("status", "--json").out)
    assert (done.code, done.err) == (74, "")
    assert done.out.startswith("daemon    running ")
    assert (told["daemon"]["state"], told["daemon"]["pid"], told["bus"]["subscribers"]) == ("running", daemon.pid, 1)
    assert told["log"]["error"]


def test_another_program_on_the_socket_is_said_with_its_pid(cli: Cli, home: Path) -> None:
    """0.2's daemon acknowledges, and knows nothing of our question."""
    with listening(home / "r" / "broadcast.sock", wire.ack(caught_up_at=None, heartbeat_sec=60)):
        done = cli("status")
        told = checked("status", cli("status", "--json").out)
    assert done.code == 0
    assert f"daemon    another program answers on ~/r/broadcast.sock, pid {os.getpid()}; waits read" in done.out
    assert told["daemon"]["state"] == "foreign"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: to become another user")
def test_another_user_on_the_socket_is_not_asked(cli: Cli, home: Path) -> None:
    """What he would answer is not to be believed."""
    with bus.stranger(home / "r" / "broadcast.sock") as other:
        (home / "r").chmod(0o755)
        done = cli("status")
        heard = support.read_until(other.stdout, "b")  # type: ignore[arg-type]
    assert done.code == 0
    assert f"daemon    another program answers on ~/r/broadcast.sock, pid {other.pid}; waits read" in done.out
    assert heard == "b''\n"


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400\r\n\r\n", b"\0\0\0\2[]", b"\0\0\0\2{}"])
def test_an_answer_that_is_none_of_ours_is_another_program(home: Path, answer: bytes) -> None:
    path = home / "r" / "broadcast.sock"
    with listening(path, answer):
        assert ask(path).state == "foreign"


@pytest.mark.parametrize(
    ("frames", "state"),
    [
        (wire.ack(caught_up_at=None, heartbeat_sec=60, extra={"ext": ["match", "status"]}), "hung"),
        (wire.ack(caught_up_at=None, heartbeat_sec=60, extra={"ext": ["match"]}), "foreign"),
        (wire.version_rejected(), "foreign"),
        (b"\0\0\0\x40half", "hung"),
    ],
)
def test_all_of_it_has_one_deadline(home: Path, frames: bytes, state: str) -> None:
    """An ack without its report, a version of ours without `status`, half a frame."""
    path = home / "r" / "broadcast.sock"
    with listening(path, frames):
        begun = time.monotonic()
        assert ask(path, 0.3).state == state
        assert time.monotonic() - begun < 3


def test_a_socket_that_nobody_listens_on_is_no_daemon(home: Path) -> None:
    """0.2 took the file for the daemon."""
    path = home / "stale.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(os.fspath(path))
    assert ask(path).state == "absent"
    assert ask(home / "none.sock").state == "absent"
    assert ask(home / ("x" * 200)).state == "absent"


def test_a_daemon_on_another_socket_holds_our_log(cli: Cli, home: Path) -> None:
    """cron has no XDG_RUNTIME_DIR: it sees the log and not the socket."""
    with bus.daemon(home) as daemon:
        done = cli("status", env={"WAITBUS_RUNTIME_DIR": str(home / "other")})
    assert done.code == 0
    assert f", pid {daemon.pid}, by hand, waitbus " in done.out
    assert "but not on ~/other/broadcast.sock (another WAITBUS_RUNTIME_DIR?)" in done.out


GARBAGE = [b"", b"garbage", b"\xff\0\x1b[2J", b"[" * 100_000, b'{"pid": "x", "since": 1e999, "how": [], "version": {}}']


@pytest.mark.parametrize("garbage", GARBAGE, ids=range(len(GARBAGE)))
def test_a_lock_file_of_garbage_that_nobody_holds_is_no_daemon(cli: Cli, home: Path, garbage: bytes) -> None:
    (home / "s").mkdir(mode=0o700)
    (home / "s" / "daemon.lock").write_bytes(garbage)
    done = cli("status")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("daemon    not running (start one with `waitbus serve`)\n")


@pytest.mark.parametrize("garbage", GARBAGE, ids=range(len(GARBAGE)))
def test_a_daemon_whose_lock_file_is_garbage_is_said_to_run(cli: Cli, home: Path, garbage: bytes) -> None:
    (home / "s").mkdir(mode=0o700)
    lock = instance.Lock(home / "s" / "daemon.lock", how="by hand")
    (home / "s" / "daemon.lock").write_bytes(garbage)
    done = cli("status")
    told = checked("status", cli("status", "--json").out)["daemon"]
    lock.release()
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines()[0] == (
        "daemon    running, pid unknown (~/s/daemon.lock cannot be read),"
        " but not on ~/r/broadcast.sock (another WAITBUS_RUNTIME_DIR?)"
    )
    assert (told["state"], told["pid"], told["version"]) == ("elsewhere", None, None)


def test_a_daemon_that_serves_another_log(cli: Cli, home: Path) -> None:
    with bus.daemon(home):
        cli("emit", "x", env={"WAITBUS_STATE_DIR": str(home / "s2")})
        done = cli("status", env={"WAITBUS_STATE_DIR": str(home / "s2")})
    assert done.code == 0
    assert ", but for another log: ~/s/events.db\n" in done.out


def test_looking_does_not_keep_a_daemon_from_starting(home: Path) -> None:
    """Whether the lock is held is asked with a lock of one's own: for a moment only, and a daemon tries for longer."""
    path = home / "s" / "daemon.lock"
    instance.Lock(path, how="").release()
    stop = threading.Event()

    def look() -> None:
        while not stop.is_set():
            instance.is_held(path)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        for _ in range(200):
            instance.Lock(path, how="").release()
    finally:
        stop.set()
        thread.join()


# -- the log -----------------------------------------------------------------------------------------------------------


def test_a_log_that_is_damaged_is_said_and_left_where_it_is(cli: Cli, home: Path) -> None:
    """Setting it aside is for whoever writes; a look changes nothing."""
    (home / "s").mkdir(mode=0o700)
    log = home / "s" / "events.db"
    log.write_bytes(b"no log at all" * 500)
    done = cli("status")
    assert done.code == 74
    assert done.out.splitlines()[1] == f"log       {log} is not a log (file is not a database)"
    told = cli("status", "--json")
    assert told.code == 74
    assert checked("status", told.out)["log"]["error"]
    assert [path.name for path in (home / "s").iterdir()] == ["events.db"]


def test_logs_that_were_set_aside_are_shown(cli: Cli, home: Path) -> None:
    cli("emit", "x")
    (home / "s" / "events.db.corrupt-20260131T120000Z-ab12").write_bytes(b"x" * 2048)
    (home / "s" / "events.db.corrupt-20260131T120000Z-ab12-wal").touch()
    done = cli("status")
    assert done.code == 0
    assert "damaged   ~/s/events.db.corrupt-20260131T120000Z-ab12, 2 KiB, set aside\n" in done.out
    assert [one["bytes"] for one in checked("status", cli("status", "--json").out)["log"]["damaged"]] == [2048]


def test_rows_are_counted_without_reading_them(home: Path, cli: Cli) -> None:
    """Above the prune mark no seq is left out, so the bounds tell the number."""
    for _ in range(7):
        cli("emit", "x")
    cli("emit", "x", "--delivery-id", "twice")
    cli("emit", "x", "--delivery-id", "twice")
    cli("db", "prune", "--max-rows", "5")
    told = checked("status", cli("status", "--json").out)["log"]
    with contextlib.closing(sqlite3.connect(home / "s" / "events.db", isolation_level=None)) as db:
        assert told["rows"] == db.execute("SELECT count(*) FROM events").fetchone()[0] == 5


def test_who_keeps_the_wal_from_shrinking_is_named(
    cli: Cli, home: Path, monkeypatch: pytest.MonkeyPatch, spawn: Callable[..., subprocess.Popen[str]]
) -> None:
    """A process in the middle of a read transaction; one that only has the log open is not named."""
    cli("emit", "x")
    log = home / "s" / "events.db"
    reader = (
        "import sqlite3, sys, waitbus\n"
        f"db = sqlite3.connect({str(log)!r}, isolation_level=None)\n"
        "if sys.argv[1] == 'reads': db.execute('BEGIN')\n"
        "db.execute('SELECT * FROM events').fetchall()\n"
        "print('armed', flush=True)\n"
        "sys.stdin.read()\n"
    )
    children = {}
    for part in ("reads", "idle"):
        cli("emit", "x")  # so that what is read is in the WAL
        children[part] = spawn("-c", reader, part, program=(sys.executable,))
        support.read_until(children[part].stdout, "armed")  # type: ignore[arg-type]
    monkeypatch.setattr(gathering, "WAL_LARGE", 0)
    found = gathering.gather()
    if sys.platform == "linux":
        assert [holder.pid for holder in found.log.holders] == [children["reads"].pid]
        lines = list(page.lines(found))
        assert f"          the WAL is kept from shrinking by pid {children['reads'].pid}  python" in lines
    else:
        assert found.log.holders == ()


def test_what_proc_locks_says() -> None:
    """Read marks of the WAL on this very file, held and not waited for."""
    lines = [
        "1: POSIX  ADVISORY  READ 11 fd:01:77 124 124",
        "2: POSIX  ADVISORY  READ 12 fd:01:77 123 123",  # reads the file alone
        "3: POSIX  ADVISORY  READ 13 fd:01:78 124 124",  # another file
        "4: POSIX  ADVISORY  READ 14 fd:02:77 125 125",  # another disk
        "5: -> POSIX  ADVISORY  WRITE 15 fd:01:77 124 124",
        "6: FLOCK  ADVISORY  WRITE 16 fd:01:77 0 EOF",
        "7: POSIX  ADVISORY  READ 17 fd:01:77 120 127",
    ]
    assert processes._readers(lines, 77, 0xFD, 1) == [11, 17]


@pytest.mark.parametrize(
    ("argv", "name"),
    [
        (["/usr/bin/make", "-j4"], "make"),
        (["/venv/bin/python3.11", "/venv/bin/waitbus", "wait", "x"], "waitbus wait"),
        (["/venv/bin/waitbus", "on", "x"], "waitbus on"),
        (["/venv/bin/waitbus", "--version"], "waitbus"),
        (["python", "-m", "waitbus", "wait"], "waitbus wait"),
        (["python", "-X", "dev"], "dev"),
        (["python3", "-u", "src/worker.py", "--fast"], "worker.py"),
        (["python3", "-c", "print()"], "python3"),
        (["-bash"], "-bash"),
        (["python3"], "python3"),
        ([""], ""),
    ],
)
def test_what_a_process_is_called(argv: list[str], name: str) -> None:
    assert processes.name_of(argv) == name


def test_nobody_is_behind_a_pid_that_is_gone() -> None:
    assert processes.command_name(None) == processes.command_name(2**22 + 1) == ""


# -- around it ---------------------------------------------------------------------------------------------------------


def test_a_wrong_configuration_is_a_warning(cli: Cli, home: Path) -> None:
    """Whoever looks after it is to see all the rest."""
    (home / "c").mkdir()
    (home / "c" / "config.toml").write_text("log_level = 3\n")
    done = cli("status")
    assert done.code == 0
    assert done.err == (
        f"warning: {home}/c/config.toml: log_level: 3 is not a text (`waitbus config validate` says more)\n"
    )
    assert checked("status", cli("status", "--json").out)["config_error"]


def test_a_wrong_directory_is_an_error(cli: Cli) -> None:
    done = cli("status", env={"WAITBUS_RUNTIME_DIR": "relative"})
    assert (done.code, done.out) == (2, "")
    assert done.err == (
        "error: WAITBUS_RUNTIME_DIR 'relative' is not an absolute path\nhint: write it from / or from ~/\n"
    )


def test_it_needs_no_event_loop() -> None:
    """trio alone would take longer than the answer."""
    code = (
        "import sys\nfrom waitbus.cli import main\nmain(['status'], standalone=False)\n"
        "assert not {'trio', 'anyio', 'cattrs', 'asyncio'} & set(sys.modules), sorted(sys.modules)\n"
    )
    done = support.run([sys.executable, "-c", code])
    assert done.code == 0, done.err


# -- sources -----------------------------------------------------------------------------------------------------------

NOW = 1_800_000_000.0


def ns(seconds_ago: float) -> int:
    return int((NOW - seconds_ago) * 1e9)


def state(name: str = "fs", state: str = "up", **given: Any) -> SourceState:
    row = {"reason": "", "since": ns(180), "retry_at": None, "events": 0, "heard": None, **given}
    return SourceState(name=name, state=state, **row)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (state("github", reason="webhook", heard=ns(40)), "github ok (webhook, 40 s ago)"),
        (state("pytest", heard=ns(120)), "pytest ok (2 min ago)"),
        (state("fs"), "fs ok (nothing yet)"),
        (state("fs", scope=("/src", "/lib", "/etc"), heard=ns(0.1)), "fs ok (/src and 2 more, now)"),
        (state("fs", "starting"), "fs starting"),
        (
            state("docker", "down", reason="socket /var/run/docker.sock refused", retry_at=ns(-20)),
            "docker down 3 min: socket /var/run/docker.sock refused (retry in 20 s)",
        ),
        (state("docker", "down", reason="no such key"), "docker down 3 min: no such key"),
        (state("docker", "down", retry_at=ns(5)), "docker down 3 min (retry in 0 ms)"),
        (state("docker", "down", reason="\x1b[2J\n" + "x" * 1000), f"docker down 3 min: \\x1b[2J {'x' * 111}…"),
    ],
)
def test_how_a_source_is_in_words(source: SourceState, said: str) -> None:
    assert page.source_in_words(source, NOW) == said


def test_sources_stand_side_by_side_where_there_is_room() -> None:
    sources = tuple(state(f"s{number}", heard=ns(60)) for number in range(9))
    found = Status(NOW, Daemon("running", Path("/s")), LogState(Path("/l")), Bus(0), (), Config(), sources=sources)
    told = [line for line in page.lines(found) if "ok (1 min ago)" in line]
    assert told[0].startswith("sources   s0 ok (1 min ago)   s1 ok (1 min ago)")
    assert told[1].startswith("          s")
    assert max(map(len, told)) <= 130
    assert sum(line.count("ok (") for line in told) == 9


def test_a_daemon_of_an_older_version_has_no_sources_to_tell_of() -> None:
    assert gathering.sources_in({}) == ()
