"""`waitbus db`: info, migrate, prune and import, beside a daemon and producers that go on."""

from __future__ import annotations

import contextlib
import json
import re
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import bus, logs, old_log, support
from tests.schemas import checked
from waitbus import EventInsert, errors, producer
from waitbus.ops import prune as pruning
from waitbus.ops.log_facts import facts
from waitbus.store import Log, migrations
from waitbus.store.migrations import Migration, migrate
from waitbus.store.retention import CHUNK, Retention

Cli = Callable[..., support.Result]
PRODUCER = """
import waitbus
count = 0
print('armed', flush=True)
while True:
    waitbus.emit(waitbus.EventInsert(source='agent', event_type='x', payload_json='{"a": "' + 'x' * 200 + '"}'))
    count += 1
    if count % 100 == 0:
        print(count, flush=True)
"""


@pytest.fixture
def log(home: Path) -> Path:
    """A log of ten events."""
    path = home / "s" / "events.db"
    fill(path, 10)
    return path


def fill(path: Path, count: int, payload: str = "{}") -> None:
    with Log(path) as log:
        log.append_many([logs.event(payload_json=payload) for _ in range(count)])


@contextlib.contextmanager
def attached(path: Path, spawn: Callable[..., subprocess.Popen[str]]) -> Iterator[None]:
    """Another process has the log open and does nothing."""
    code = (
        "import sys; from pathlib import Path; from waitbus.store import Log\n"
        "log = Log(Path(sys.argv[1])); log.head(); print('armed', flush=True); input()"
    )
    child = spawn("-c", code, str(path), program=(sys.executable,))
    support.read_until(child.stdout, "armed")  # type: ignore[arg-type]
    yield
    child.kill()
    child.wait(timeout=10)


# -- what is no log ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["info", "migrate", "prune"])
@pytest.mark.parametrize(
    ("make", "error", "hint"),
    [
        (None, "there is no log at {path}", "the first event makes it; `waitbus status` names the one in use"),
        ("folder", "{path} is a directory, not a log", "name the file of a log; `waitbus status` tells the one in use"),
        (
            "text",
            "{path} is not a log (file is not a database)",
            "name the file of a log; `waitbus status` tells the one in use",
        ),
        (
            "empty",
            "{path} is a database, but no waitbus log",
            "name the file of a log; `waitbus status` tells the one in use",
        ),
        (
            "other",
            "{path} is a database, but no waitbus log",
            "name the file of a log; `waitbus status` tells the one in use",
        ),
    ],
)
def test_a_file_that_is_no_log_is_refused_and_left_alone(
    call: Cli, home: Path, verb: str, make: str | None, error: str, hint: str
) -> None:
    """0.2 printed tracebacks; to advise moving somebody's own file away would be worse."""
    path = home / "file"
    if make == "folder":
        path.mkdir()
    elif make == "text":
        path.write_text("no log " * 200)
    elif make == "empty":
        path.touch()
    elif make == "other":
        with contextlib.closing(sqlite3.connect(path)) as db:
            db.execute("CREATE TABLE t(x)")
    before = path.read_bytes() if path.is_file() else None
    done = call("db", verb, "--db", str(path))
    assert (done.code, done.out) == (74, "")
    assert done.err == f"error: {error.format(path=path)}\nhint: {hint}\n"
    assert (path.read_bytes() if path.is_file() else None) == before
    assert not (home / "s" / "events.db").exists()


DURATION = "write 500ms, 30s, 10m, 1h30m, or none"
SEE = "see `waitbus db {} --help`"


@pytest.mark.parametrize(
    ("argv", "error", "hint"),
    [
        ("prune --max-age soon", "--max-age 'soon' is not a duration", DURATION),
        ("prune --max-age 0", "--max-age '0' must be longer than nothing", DURATION),
        ("prune --max-size big", "--max-size 'big' is not a size", "write 500k, 64MiB, 1GiB, or a number of bytes"),
        ("prune --max-rows 0", "--max-rows '0' is not a number from 1 on", "write 1, 2, 3, ..."),
        ("prune --max-rows x", "--max-rows 'x' is not a number from 1 on", "write 1, 2, 3, ..."),
        (
            "prune --vacuum --dry-run",
            "--vacuum and --dry-run are given",
            "a dry run changes nothing; leave one of them away",
        ),
        ("import /no/github.db", "there is no file /no/github.db", "0.2 kept its log as github.db in its state folder"),
        (
            "info x",
            "'x' is one word too many",
            "write waitbus db info [OPTIONS]; quote what has blanks in it",
        ),
        ("migrate --to 3", "no option '--to'", SEE.format("migrate")),
    ],
)
def test_bad_input(call: Cli, log: Path, argv: str, error: str, hint: str) -> None:
    """Two lines, exit 2, nothing written."""
    before = log.read_bytes()
    done = call("db", *argv.split())
    assert (done.code, done.out) == (2, "")
    assert done.err == f"error: {error}\nhint: {hint}\n"
    assert log.read_bytes() == before


# -- info --------------------------------------------------------------------------------------------------------------


def test_info_says_what_the_log_is(cli: Cli, log: Path) -> None:
    told = checked("db-info", cli("db", "info", "--json").out)
    with logs.look(log) as db:
        meta = dict(db.execute("SELECT key, value FROM meta").fetchall())
    assert told["path"] == str(log)
    assert (told["rows"], told["first_seq"], told["last_seq"], told["pruned_to"]) == (10, 1, 10, 0)
    assert (told["format"], told["min_reader"], told["min_writer"]) == (
        meta["format"],
        meta["min_reader"],
        meta["min_writer"],
    )
    assert told["log_id"] == cli("cursor").out[10:16]
    assert [one["number"] for one in told["migrations"]] == [1]
    assert told["journal_mode"] == "wal"
    assert told["check"] is None


def test_what_is_said_of_pruning_is_what_the_schema_says(cli: Cli, home: Path, log: Path) -> None:
    """Above the mark nothing is missing; up to it only imported events are left."""
    old_log.make(home / "github.db", 3)
    cli("db", "import", str(home / "github.db"))
    cli("emit", "x")
    cli("emit", "x")
    cli("db", "prune", "--max-age", "1ms")
    told = checked("db-info", cli("db", "info", "--json").out)
    with logs.look(log) as db:
        left = [seq for (seq,) in db.execute("SELECT seq FROM events ORDER BY seq")]
    assert left == [11, 12, 13, 15]
    assert (told["pruned_to"], told["first_seq"], told["last_seq"], told["rows"]) == (14, 11, 15, 4)
    about = json.loads((Path(__file__).parents[2] / "docs" / "schemas" / "db-info.json").read_text())["properties"]
    assert about["pruned_to"]["description"] == (
        "The newest seq that was pruned; 0: nothing was. Above it no event is missing;"
        " up to it there are only those that were imported, if any."
    )


def test_what_is_in_use_may_be_more_than_the_file_has(cli: Cli, log: Path) -> None:
    """The journal holds some of it."""
    producer.emit(EventInsert(source="agent", event_type="x", payload_json='"' + 50_000 * "x" + '"'))
    size = next(row for row in cli("db", "info").out.splitlines() if row.startswith("size"))
    assert re.fullmatch(r"size +[67]\d KiB in use; the file has 1\d KiB", size)


def test_info_for_people(cli: Cli, log: Path) -> None:
    labels = [line[:12].strip() for line in cli("db", "info", "--check").out.splitlines()]
    assert labels == [
        "path", "tag", "format", "migration", "rows", "pruned to", "oldest", "newest", "size", "journal", "check",
    ]  # fmt: skip


def leaf_aside(raw: bytes) -> tuple[int, int]:
    """Offset and length of a page of rows that neither a bound of the log nor its bisection meets.

    https://sqlite.org/fileformat.html#b_tree_pages
    """
    size = int.from_bytes(raw[16:18], "big")
    leaves = [at for at in range(size, len(raw), size) if raw[at] == 13]
    return leaves[len(leaves) // 3], size


def test_a_log_that_is_damaged_is_told_by_its_check(cli: Cli, home: Path) -> None:
    """A page of rows overwritten: what is there can still be told, and then exit 74."""
    path = home / "s" / "events.db"
    fill(path, 500, json.dumps("x" * 300))
    with logs.look(path) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    with open(path, "r+b") as file:
        start, size = leaf_aside(file.read())
        file.seek(start)
        file.write(b"\xff" * size)
    done = cli("db", "info", "--check", "--json")
    assert done.code == 74
    assert checked("db-info", done.out)["check"]["faults"]
    said = json.loads(done.err)
    assert said["error"].startswith(f"the log {path} is damaged: ")
    assert said["hint"] == "move it away, and a new log is begun with the next event"


def test_looking_changes_no_byte(cli: Cli, log: Path) -> None:
    before = log.read_bytes(), log.stat().st_mtime_ns
    for argv in (["info", "--check"], ["migrate", "--status"], ["migrate"], ["prune", "--dry-run", "--max-rows", "1"]):
        assert cli("db", *argv).code == 0
    assert (log.read_bytes(), log.stat().st_mtime_ns) == before


# -- migrate -----------------------------------------------------------------------------------------------------------


def _reverse(db: sqlite3.Connection) -> None:
    db.execute("UPDATE events SET summary = upper(summary)")
    db.execute("UPDATE meta SET value = 2 WHERE key IN ('format', 'min_reader')")


STEPS = (
    Migration(2, "loud", _reverse),
    Migration(3, "table", lambda db: db.execute("CREATE TABLE more(x)")),
)


def test_steps_run_in_order_once_and_are_recorded(log: Path) -> None:
    """Each with its name and the time."""
    begun = time.time_ns()
    assert migrate(log, STEPS[:1]) == [STEPS[0]]
    with logs.look(log) as db:
        assert {row[0] for row in db.execute("SELECT summary FROM events")} == {"DEPLOY_FINISHED"}
        done = migrations.applied(db)
        assert [(number, name) for number, (name, _) in done.items()] == [(1, "initial"), (2, "loud")]
        assert begun <= done[2][1] <= time.time_ns()
        assert migrations.pending(db, STEPS) == [STEPS[1]]


def test_a_log_that_needs_a_newer_reader_is_refused_from_then_on(log: Path) -> None:
    """The step said so by min_reader; both formats are named."""
    migrate(log, STEPS[:1])
    with pytest.raises(errors.LogVersionError, match=r"has format 2; .* knows format 1"):
        migrate(log, STEPS)
    with pytest.raises(errors.LogVersionError):
        facts(log)


def test_a_step_that_fails_leaves_the_log_as_it_was(log: Path) -> None:
    """Half of it was done already."""

    def half(db: sqlite3.Connection) -> None:
        db.execute("DELETE FROM events")
        raise sqlite3.OperationalError("no such table: nowhere")

    with pytest.raises(errors.LogIOError, match="nowhere"):
        migrate(log, [Migration(2, "half", half)])
    assert facts(log).rows == 10
    with logs.look(log) as db:
        assert list(migrations.applied(db)) == [1]


def test_nobody_may_be_attached(log: Path, spawn: Callable[..., subprocess.Popen[str]]) -> None:
    """Not even one that does nothing: it has read the format, and would go on by it."""
    with attached(log, spawn), pytest.raises(errors.LogInUse) as refused:
        migrate(log, STEPS[:1])
    assert refused.value.message == f"the log {log} is open in another process"
    assert refused.value.hint == "stop the daemon and what waits or emits; `waitbus status` lists them"
    assert refused.value.exit_code == 74
    assert migrate(log, STEPS[:1]) == [STEPS[0]]


def test_a_daemon_is_attached(log: Path, home: Path) -> None:
    with bus.daemon(home), pytest.raises(errors.LogInUse):
        migrate(log, STEPS[:1])


def test_nobody_comes_in_between(log: Path) -> None:
    """Whoever opens the log while a step runs is told that it is busy, and sees none of it."""

    def intruded(db: sqlite3.Connection) -> None:
        db.execute("UPDATE events SET summary = 'half'")
        with Log(log, busy_timeout=0.05) as other, pytest.raises(errors.LogBusy):
            other.head()

    migrate(log, [Migration(2, "intruded", intruded)])


def test_the_command_says_what_it_ran(
    cli: Cli, log: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the process, since no version has a step yet."""
    from waitbus.cli import main

    monkeypatch.setattr(migrations, "MIGRATIONS", STEPS[1:])

    def call(*argv: str) -> str:
        assert main(["db", "migrate", *argv], standalone=False) == 0
        return capsys.readouterr().out

    assert call("--dry-run") == "would run  3 table\n"
    assert call("--status").splitlines()[1:] == ["pending  3 table"]
    assert checked("db-migrate", call("--status", "--json"))["pending"] == [{"number": 3, "name": "table"}]
    assert checked("db-migrate", call("--json"))["run"] == [{"number": 3, "name": "table"}]
    assert call() == "nothing to do\n"
    assert call("--status").splitlines()[1].startswith("applied  3 table, ")


def test_with_nothing_to_do_nobody_is_in_the_way(cli: Cli, log: Path, home: Path) -> None:
    with bus.daemon(home):
        assert cli("db", "migrate") == support.Result(0, "nothing to do\n", "")


# -- prune -------------------------------------------------------------------------------------------------------------


def test_nothing_is_pruned_that_is_within_the_caps(cli: Cli, log: Path) -> None:
    done = cli("db", "prune")
    assert done.code == 0
    assert done.out.startswith("nothing to prune; 10 left, ")


def test_the_oldest_rows_beyond_n_go(cli: Cli, log: Path) -> None:
    """It prunes, and says so; `pruned_to` tells readers of the gap."""
    plan = checked("db-prune", cli("db", "prune", "--max-rows", "4", "--dry-run", "--json").out)
    assert (plan["dry_run"], plan["rows"], plan["left"]) == (True, 6, 4)
    done = cli("db", "prune", "--max-rows", "4")
    assert done.out.startswith("pruned 6 events, ")
    found = facts(log)
    assert (found.rows, found.first_seq, found.last_seq, found.pruned_to) == (4, 7, 10, 6)


def test_the_newest_event_always_stays(cli: Cli, log: Path) -> None:
    """seq goes on from it."""
    assert cli("db", "prune", "--max-size", "1").code == 0
    assert (facts(log).rows, facts(log).last_seq) == (1, 10)


def test_by_age(cli: Cli, log: Path) -> None:
    with logs.look(log) as db:
        db.execute("UPDATE events SET at_ms = at_ms - 8 * 86400000 WHERE seq <= 3")
    assert checked("db-prune", cli("db", "prune", "--max-age", "7d", "--json").out)["rows"] == 3


def test_caps_that_are_not_given_are_those_of_the_configuration(cli: Cli, log: Path, home: Path) -> None:
    """And `none` turns one off."""
    (home / "c").mkdir()
    (home / "c" / "config.toml").write_text('[retention]\nmax_age = "1d"\n')
    with logs.look(log) as db:
        db.execute("UPDATE events SET at_ms = at_ms - 2 * 86400000 WHERE seq <= 3")
    off = cli("db", "prune", "--max-age", "none", "--dry-run", "--json")
    assert checked("db-prune", off.out)["rows"] == 0
    assert checked("db-prune", cli("db", "prune", "--json").out)["rows"] == 3


def test_what_a_bookmark_has_not_passed_stays_by_age(cli: Cli, log: Path) -> None:
    with logs.look(log) as db:
        db.execute("UPDATE events SET at_ms = at_ms - 8 * 86400000 WHERE seq <= 6")
    with Log(log) as opened:
        row = opened.row(2)
        assert row is not None
        place = opened.event_id(row.seq, row.at_ms)
    assert cli("bookmark", "set", "reader", place).code == 0
    assert checked("db-prune", cli("db", "prune", "--max-age", "7d", "--dry-run", "--json").out)["rows"] == 2
    assert checked("db-prune", cli("db", "prune", "--max-age", "7d", "--json").out)["rows"] == 2


def test_the_dry_run_foretells(cli: Cli, home: Path) -> None:
    """By size it is an estimate, of rows alike a good one."""
    path = home / "s" / "events.db"
    fill(path, 4000, json.dumps("x" * 500))
    half = str(facts(path).live_bytes // 2)
    plan = checked("db-prune", cli("db", "prune", "--max-size", half, "--dry-run", "--json").out)
    done = checked("db-prune", cli("db", "prune", "--max-size", half, "--json").out)
    assert done["rows"] == pytest.approx(plan["rows"], abs=600)
    assert done["live_bytes"] <= int(half)
    assert facts(path).rows == done["left"] == 4000 - done["rows"]


def test_payloads_go_before_their_rows(home: Path) -> None:
    path = home / "s" / "events.db"
    fill(path, 10, '{"a": 1}')
    with logs.look(path) as db:
        db.execute("UPDATE events SET at_ms = at_ms - 5 * 86400000 WHERE seq <= 6")
    keep = Retention(payload_age=86400.0, max_rows=8)
    assert pruning.plan(path, keep).payloads == 4
    done = pruning.prune(path, keep)
    assert (done.rows, done.payloads) == (2, 4)
    with logs.look(path) as db:
        assert db.execute("SELECT count(*) FROM events WHERE payload IS NULL").fetchone() == (4,)


def test_vacuum_makes_the_file_smaller_and_the_log_stays_in_wal_mode(cli: Cli, home: Path) -> None:
    """0.2 left a file behind that its own read-only commands could not open."""
    path = home / "s" / "events.db"
    fill(path, 3000, json.dumps("x" * 500))
    before = path.stat().st_size
    done = cli("db", "prune", "--max-rows", "10", "--vacuum")
    assert done.code == 0
    assert "; the file has " in done.out
    assert path.stat().st_size < before / 10
    told = checked("db-info", cli("db", "info", "--check", "--json").out)
    assert (told["journal_mode"], told["check"]["ok"], told["rows"]) == ("wal", True, 10)
    assert cli("replay", "--since", "1h").code == 0


def test_whoever_writes_faster_than_it_prunes_does_not_keep_it_from_ending(home: Path) -> None:
    """What was there when it began is gone then; the rest is for the next one."""
    path = home / "s" / "events.db"
    fill(path, 1000)
    done = pruning.prune(path, Retention(max_age=None, max_rows=10), told=lambda _: fill(path, 500))
    assert 1000 <= done.rows < 1000 + CHUNK
    assert done.left > 500


def test_the_file_becomes_smaller_though_somebody_reads_for_a_while(
    home: Path, spawn: Callable[..., subprocess.Popen[str]]
) -> None:
    """Whoever reads what was there before keeps it from being cut; it is tried again."""
    path = home / "s" / "events.db"
    fill(path, 3000, json.dumps("x" * 500))
    before = path.stat().st_size
    with logs.look(path) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM events").fetchall()
        child = spawn("db", "prune", "--max-rows", "10", "--vacuum")
        support.eventually(lambda: rows_left(path) == 10)
        reader.execute("ROLLBACK")
        _, err = child.communicate(timeout=20)
    assert (child.returncode, err) == (0, "")
    assert path.stat().st_size < before / 10


def test_a_file_that_cannot_be_made_smaller_is_said(cli: Cli, home: Path) -> None:
    path = home / "s" / "events.db"
    fill(path, 300)
    with logs.look(path) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM events").fetchall()
        done = cli("db", "prune", "--max-rows", "10", "--vacuum")
    assert (done.code, done.out) == (74, "")
    assert done.err.splitlines()[0] == (
        f"error: the log {path} is locked by another process"
        " (which reads or writes it all the time, so the file was not made smaller)"
    )
    assert rows_left(path) == 10
    assert logs.is_sound(path)


def rows_left(path: Path) -> int:
    with logs.look(path) as db:
        return int(db.execute("SELECT count(*) FROM events").fetchone()[0])


def test_it_works_while_a_daemon_and_a_producer_go_on(
    cli: Cli, home: Path, spawn: Callable[..., subprocess.Popen[str]]
) -> None:
    """0.2 refused even the dry run while its daemon's socket file was there."""
    path = home / "s" / "events.db"
    fill(path, 20_000, json.dumps("x" * 100))
    with bus.daemon(home):
        child = spawn("-c", PRODUCER, program=(sys.executable,))
        support.read_until(child.stdout, "armed")  # type: ignore[arg-type]
        done = checked("db-prune", cli("db", "prune", "--max-rows", "1000", "--vacuum", "--json", timeout=60).out)
        support.read_until(child.stdout, "00", timeout=20)  # type: ignore[arg-type]
        assert child.poll() is None
        child.kill()
        child.wait(timeout=10)
    assert done["rows"] >= 19_000
    assert logs.is_sound(path)


def test_another_log_by_name(cli: Cli, home: Path, log: Path) -> None:
    other = home / "other.db"
    fill(other, 5)
    assert checked("db-prune", cli("db", "prune", "--db", str(other), "--max-rows", "2", "--json").out)["left"] == 2
    assert facts(log).rows == 10


# -- import ------------------------------------------------------------------------------------------------------------


def test_an_old_log_comes_over_once(cli: Cli, home: Path) -> None:
    """In its order, and a second call finds it here."""
    old_log.make(home / "github.db", 3)
    first = cli("db", "import", str(home / "github.db"))
    assert first == support.Result(0, "3 events brought over\n", "")
    again = checked("db-import", cli("db", "import", str(home / "github.db"), "--json").out)
    assert (again["read"], again["inserted"], again["known"], again["refused"]) == (3, 0, 3, [])
    assert logs.names(home / "s" / "events.db") == ["old-1", "old-2", "old-3"]


def test_an_old_id_goes_on_being_a_cursor(cli: Cli, home: Path) -> None:
    ids = old_log.make(home / "github.db", 3)
    cli("db", "import", str(home / "github.db"))
    done = cli("replay", "--since", ids[0], "--json")
    assert [json.loads(line)["delivery_id"] for line in done.out.splitlines()] == ["old-2", "old-3"]


def test_the_old_log_in_the_state_folder_is_the_default(cli: Cli, home: Path) -> None:
    (home / "s").mkdir(mode=0o700)
    old_log.make(home / "s" / "github.db", 1)
    assert cli("db", "import").out == "1 event brought over\n"


def test_whoever_waits_hears_of_an_import(cli: Cli, home: Path, spawn: Callable[..., subprocess.Popen[str]]) -> None:
    """It rings, like any producer."""
    old_log.make(home / "github.db", 2)
    code = (
        "import waitbus\nwith waitbus.subscribe() as events:\n"
        "  print('armed', flush=True)\n  print(next(events).delivery_id, flush=True)"
    )
    child = spawn("-c", code, program=(sys.executable,))
    support.read_until(child.stdout, "armed")  # type: ignore[arg-type]
    cli("db", "import", str(home / "github.db"))
    support.read_until(child.stdout, "old-1")  # type: ignore[arg-type]


def test_a_row_that_is_no_event_is_named_and_the_others_come(cli: Cli, home: Path) -> None:
    old_log.make(home / "github.db", 3, source="Not A Name")
    done = cli("db", "import", str(home / "github.db"))
    assert done.code == 1
    assert done.out == "2 events brought over, 1 left out\n"
    assert done.err.startswith("warning: row 3 was left out: ")


def test_a_log_of_this_waitbus_is_not_imported(cli: Cli, log: Path) -> None:
    done = cli("db", "import", str(log))
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f"error: {log} is a log of this waitbus already\n")


def test_a_real_old_program_wrote_it(cli: Cli, home: Path, old_venv: Path) -> None:
    """0.2 itself, from its own environment."""
    program = str(old_venv / "bin" / "waitbus")
    support.run([program, "init"])
    for number in (1, 2):
        words = f"--delivery-id d{number} --source pytest --event-type pytest_session --owner local --repo api"
        words += " --ingest-method cli --received-at 1763337600 --payload-json {}"
        done = support.run([program, "emit", *words.split()])
        assert done.code == 0, done
    assert cli("db", "import").out == "2 events brought over\n"


def test_the_shared_log_of_this_process_is_not_in_the_way(log: Path) -> None:
    """A producer's connection stays open between emits; prune works beside it in one process, too."""
    producer.emit(logs.event())
    assert pruning.prune(log, Retention(max_rows=3)).left == 3
    assert producer.emit(logs.event()).inserted
