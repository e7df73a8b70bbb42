"""Sources inside of `wait` and `on`: when one is run, what is said, and what a wait does with what it hears."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import attrs
import pytest

from tests import drops, support
from tests.bus import Daemon
from tests.drops import FOLDER, MAIN, SPEC, drop, watchers
from tests.logs import rows
from tests.schemas import checked
from tests.support import PYTHON, eventually, read_until
from waitbus import sources, verdict
from waitbus.cli import main, spelling, watching
from waitbus.ops.daemon_sources import Running, of_report
from waitbus.sources import known_sources, register_source
from waitbus.sources.contract import SourceSettings
from waitbus.store import Log

Call = Callable[..., support.Result]
Spawn = Callable[..., "subprocess.Popen[str]"]
ROOT = Path(__file__).parents[2]
SAID = "waitbus: no daemon watches drops; watching it here while this command waits"


@pytest.fixture
def folder(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where things are dropped."""
    folder = home / "d"
    folder.mkdir()
    monkeypatch.setenv(FOLDER, str(folder))
    return folder


@pytest.fixture
def waitbus(spawn: Spawn, folder: Path) -> Callable[..., Any]:
    """The command line of a program that knows the source."""
    return lambda *argv: spawn("-c", MAIN, *argv, program=(PYTHON,), cwd=ROOT)


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """The source is known in this process."""
    monkeypatch.setattr(sources, "_registered", {})
    monkeypatch.setattr(verdict, "_progress", dict(verdict._progress))
    register_source(SPEC)


def armed(child: Any) -> list[str]:
    return read_until(child.stderr, "armed").splitlines()


def end(child: Any) -> tuple[int, str, str]:
    out, err = child.communicate(timeout=20)
    return child.returncode, out, err


# -- a wait that runs its source ---------------------------------------------------------------------------------------


def test_a_wait_runs_the_source_that_nobody_runs(waitbus: Callable[..., Any], folder: Path, log: Log) -> None:
    child = waitbus("wait", "--source", "drops", "--match", "name=b", "--timeout", "20s", "--json")
    assert SAID in armed(child)
    assert [drop(folder, name) for name in ("a", "b")] == [1, 1]
    code, out, _ = end(child)
    assert (code, checked("wait", out)["fields"]["name"]) == (0, "b")
    assert [row.delivery_id for row in rows(log)] == ["drops:b"], "it writes what it waits for, and nothing else"
    assert watchers(folder) == []


@pytest.mark.parametrize(
    "options",
    [
        ("--all-of", "drops:name=b"),
        ("--all-of", "name=b", "--fail-on", "drops:name=x"),
        ("--match", "source=drops"),
    ],
    ids=" ".join,
)
def test_it_is_needed_where_a_term_names_it(
    known: None, options: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert [one.spec.name for one in _embedded(options, monkeypatch)] == ["drops"]


def _embedded(options: Sequence[str], monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The sources that `wait` with those options runs, or has on standby."""
    from waitbus.cli import wait as module

    found: list[Any] = []

    def stop(asked: Any, form: Any, agent: bool) -> int:
        found.extend(asked.embedded())
        return 0

    monkeypatch.setattr(module, "_wait", stop)
    assert main(["wait", *options], standalone=False) == 0
    return found


@pytest.mark.parametrize(
    "options", [("deploy_finished",), ("--source", "agent"), ("--match", "name=x"), ("--pid", "1")]
)
def test_it_is_not_needed_where_nothing_names_it(
    known: None, options: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "daemon_sources", _not_asked)
    assert _embedded(options, monkeypatch) == []


def _not_asked(*_: object) -> tuple[Running, ...]:
    raise AssertionError("nobody is to ask")


def test_what_the_daemon_runs_is_not_run_again(
    call: Call, known: None, monkeypatch: pytest.MonkeyPatch, folder: Path, bus: Daemon
) -> None:
    monkeypatch.setattr(watching, "daemon_sources", lambda: (Running("drops"),))
    monkeypatch.setattr("waitbus.sources.watched.make", _not_asked)
    result = call("wait", "--source", "drops", *BRIEF)
    assert (result.code, result.err.splitlines()[0]) == (124, "armed")


def test_where_the_daemon_is_gone_as_the_wait_begins_it_is_run(
    call: Call, known: None, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    monkeypatch.setattr(watching, "daemon_sources", lambda: (Running("drops"),))
    result = call("wait", "--source", "drops", *BRIEF)
    said = "waitbus: the daemon watches drops no longer; watching it here while this command waits"
    assert (result.code, result.err.splitlines()[1:3]) == (124, [said, "armed"])


def test_a_source_that_goes_down_is_said_and_the_wait_goes_on(waitbus: Callable[..., Any], folder: Path) -> None:
    child = waitbus("wait", "--source", "drops", "--timeout", "20s")
    armed(child)
    for said in ("down the socket refuses", "down it still refuses", "up"):
        drop(folder, said)
    assert read_until(child.stderr, "up again").splitlines() == [
        "warning: drops is down: the socket refuses; waiting on",
        "waitbus: drops is up again",
    ]
    drop(folder, "a")
    assert end(child)[:2] == (0, "dropped  a\n")


def test_a_source_that_fails_is_tried_again(waitbus: Callable[..., Any], folder: Path) -> None:
    child = waitbus("wait", "--source", "drops", "--timeout", "20s")
    armed(child)
    drop(folder, "fail")
    said = read_until(child.stderr, "up again").splitlines()
    assert said == ["warning: drops is down: RuntimeError: told to fail; waiting on", "waitbus: drops is up again"]
    drop(folder, "a")
    assert end(child)[:2] == (0, "dropped  a\n")


def test_time_runs_out_as_ever(waitbus: Callable[..., Any], folder: Path) -> None:
    child = waitbus("wait", "--source", "drops", "--timeout", "1s")
    armed(child)
    code, out, err = end(child)
    assert (code, out) == (124, "")
    assert err.startswith("timed out after ")
    assert watchers(folder) == []


def test_a_signal_ends_it_at_once(waitbus: Callable[..., Any], folder: Path) -> None:
    child = waitbus("wait", "--source", "drops", "--timeout", "20s")
    armed(child)
    begun = time.monotonic()
    child.send_signal(signal.SIGTERM)
    assert end(child)[0] == 143
    assert time.monotonic() - begun < 2
    assert watchers(folder) == []


def test_a_source_that_cannot_be_loaded_is_an_error(call: Call, known: None, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = attrs.evolve(SPEC, implementation="tests.drops:Nothing")
    monkeypatch.setattr(sources, "_registered", {"drops": spec})
    result = call("wait", "--source", "drops", "--timeout", "1s")
    assert result.code == 69
    assert result.err.splitlines()[0] == (
        "error: source drops cannot be loaded: module 'tests.drops' has no attribute 'Nothing'"
    )


def test_on_runs_it_too(waitbus: Callable[..., Any], folder: Path) -> None:
    child = waitbus("on", "--source", "drops", "--timeout", "20s", "--", "sh", "-c", "echo got $WAITBUS_SUMMARY")
    assert SAID in armed(child)
    drop(folder, "a")
    code, out, _ = end(child)
    assert (code, out) == (0, "got a\n")


def test_on_with_loop_misses_nothing_while_its_command_runs(waitbus: Callable[..., Any], folder: Path) -> None:
    script = 'echo got $WAITBUS_SUMMARY; test "$WAITBUS_SUMMARY" != a || read go'
    child = waitbus("on", "--source", "drops", "--loop", "--timeout", "20s", "--", "sh", "-c", script)
    assert armed(child).count(SAID) == 1
    drop(folder, "a")
    read_until(child.stdout, "got a")
    assert drop(folder, "b") == 1, "it is watched while the command runs"
    child.stdin.write("go\n")
    child.stdin.flush()
    read_until(child.stdout, "got b")
    child.terminate()
    end(child)


# -- two watchers of one thing (F16) -----------------------------------------------------------------------------------


def test_two_waits_and_a_third_watcher_make_one_row(waitbus: Callable[..., Any], folder: Path, log: Log) -> None:
    children = [waitbus("wait", "--source", "drops", "--timeout", "20s", "--json") for _ in range(3)]
    for child in children:
        armed(child)
    eventually(lambda: len(watchers(folder)) == 3)
    assert drop(folder, "a") == 3
    ends = [end(child) for child in children]
    assert [code for code, _, _ in ends] == [0, 0, 0]
    assert len({checked("wait", out)["event_id"] for _, out, _ in ends}) == 1
    assert [row.delivery_id for row in rows(log)] == ["drops:a"]


# -- folders -----------------------------------------------------------------------------------------------------------


class Files(drops.Drops):
    """In the place of the source of files."""

    asked: ClassVar[list[tuple[list[str], list[str]]]] = []

    def __init__(self, settings: FileSettings) -> None:
        self.asked.append((settings.roots, settings.globs))
        super().__init__(drops.DropSettings())


@attrs.frozen(kw_only=True)
class FileSettings(SourceSettings):
    roots: list[str] = attrs.field(factory=list)
    globs: list[str] = attrs.field(factory=list)

    def for_wait(self, roots: Sequence[str], globs: Sequence[str]) -> FileSettings:
        return FileSettings(roots=list(roots or self.roots or ["."]), globs=list(globs))


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch, folder: Path) -> list[tuple[list[str], list[str]]]:
    """The source of files is one of the tests'; the roots and patterns that it was made with."""
    here = f"{__name__}:"
    spec = attrs.evolve(known_sources()["fs"], implementation=f"{here}Files", settings=f"{here}FileSettings")
    monkeypatch.setattr(sources, "_registered", {"fs": spec})
    monkeypatch.setattr("waitbus.sources.loading._class", lambda _, place, what: globals()[place.partition(":")[2]])
    Files.asked.clear()
    return Files.asked


BRIEF = ("--timeout", "200ms")


def test_a_folder_and_a_pattern_are_the_sources_own(call: Call, files: list[Any], home: Path) -> None:
    result = call("wait", "--root", str(home), "--root", "/tmp", "--glob", "*.py", *BRIEF)
    assert (result.code, files) == (124, [([str(home), "/tmp"], ["*.py"])])
    assert (
        f"waitbus: no daemon watches {home} and /tmp; watching them here while this command waits"
        in result.err.splitlines()
    )


def test_a_folder_that_is_not_there_yet_is_said_to_be_that(call: Call, files: list[Any], home: Path) -> None:
    """It may be a slip of the pen; the others are watched."""
    result = call("wait", "--root", str(home), "--root", "dcos", *BRIEF)
    said = f"waitbus: no daemon watches {home} and dcos (not there yet); watching them here while this command waits"
    assert said in result.err.splitlines()


def test_without_a_folder_it_is_the_current_one_and_that_is_said(call: Call, files: list[Any]) -> None:
    result = call("wait", "--source", "fs", *BRIEF)
    assert files == [(["."], [])]
    said = "waitbus: no --root is given; watching the current directory here while this command waits"
    assert said in result.err.splitlines()


@pytest.mark.parametrize(
    "options", [("fs_change",), ("--all-of", "event_type=fs_change"), ("--fail-on", "fs:action=deleted")]
)
def test_it_is_needed_where_an_event_of_it_is_named(call: Call, files: list[Any], options: tuple[str, ...]) -> None:
    assert call("wait", *options, *BRIEF).code == 124
    assert files == [(["."], [])]


def configure(home: Path, text: str) -> None:
    (home / "c").mkdir(exist_ok=True)
    (home / "c" / "config.toml").write_text(text, encoding="utf-8")


LEFT: list[tuple[str, tuple[str, ...], bool]] = [
    ("", ("--root", "{home}/d"), True),
    ("", ("--root", "{home}"), True),
    ("", ("--source", "fs"), True),
    ("", ("--root", "/tmp"), False),
    ("", ("--root", "{home}/d", "--root", "/tmp"), False),
    ("", ("--glob", "*.py"), False),
    ('roots = ["{home}/d"]', ("--glob", "*.py"), True),
    ('include = ["*.txt"]', ("--root", "{home}/d"), True),
    ('include = ["*.txt"]', ("--root", "{home}/d", "--glob", "*.py"), False),
    ('include = ["*.py"]', ("--root", "{home}/d", "--glob", "*.py"), True),
    ("recursive = false", ("--root", "{home}/d"), False),
    ("recursive = false", ("--root", "{home}"), True),
    ('exclude = ["d/"]', ("--root", "{home}/d"), False),
    ('exclude = "e/"', ("--root", "{home}/d"), True),
    ("", ("--root", "{home}/ignored/in"), False),
    ("gitignore = false", ("--root", "{home}/ignored/in"), True),
]


@pytest.mark.parametrize(("table", "options", "is_left"), LEFT)
def test_what_the_daemon_tells_all_of_is_left_to_it(
    home: Path, monkeypatch: pytest.MonkeyPatch, table: str, options: tuple[str, ...], is_left: bool
) -> None:
    """Files elsewhere, of other names, or in folders that it does not look into: of those it would never tell."""
    configure(home, f"[sources.fs]\n{table}\n".replace("{home}", str(home)))
    subprocess.run(["git", "init", "-q", home], check=True)
    (home / ".gitignore").write_text("ignored/\n")
    monkeypatch.setattr(watching, "daemon_sources", lambda: (Running("fs", (str(home),)),))
    made = _embedded([option.format(home=home) for option in options], monkeypatch)
    assert [one.runs for one in made] == [not is_left]


def test_what_others_see_elsewhere_does_not_end_it(call: Call, files: list[Any], home: Path) -> None:
    from tests.logs import tell

    tell("fs_change", "fs", fields={"path": "/elsewhere/a.py", "action": "modified"})
    tell("fs_change", "fs", fields={"path": f"{home}/d/a.txt", "action": "modified"})
    past = ("--since", "1h")
    asked = ("--root", str(home / "d"), "--glob", "*.py")
    assert call("wait", *asked, *past, *BRIEF).code == 124
    assert call("wait", "--all-of", "fs:action=modified", *asked, *past, *BRIEF).code == 124
    assert call("wait", "fs_change", *asked, *past, *BRIEF).code == 124
    tell("fs_change", "fs", fields={"path": f"{home}/d/a.py", "action": "modified"})
    for options in (
        (),
        ("fs_change",),
        ("--source", "fs"),
        ("--match", "action=modified"),
        ("--all-of", "fs:action=modified"),
    ):
        assert call("wait", *options, *asked, *past, "--timeout", "5s").code == 0, options


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (("--source", "docker"), "--root is about files, and --source docker is not"),
        (("--source", "fs", "--source", "docker"), "--root is about files, and --source docker is not"),
        (("deploy_finished",), "--root is about files, and deploy_finished is no event of theirs"),
    ],
)
def test_a_folder_beside_something_else_is_refused(call: Call, options: tuple[str, ...], error: str) -> None:
    result = call("wait", *options, "--root", "src", *BRIEF)
    assert (result.code, result.err.splitlines()) == (
        2,
        [f"error: {error}", "hint: put the other one into a clause: --all-of SOURCE:KEY=VALUE"],
    )


# -- what its table says -----------------------------------------------------------------------------------------------


def test_the_table_of_a_source_holds_in_a_wait_too(
    waitbus: Callable[..., Any], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether the daemon is to run it or not."""
    monkeypatch.delenv(FOLDER)
    (home / "elsewhere").mkdir()
    configure(home, f'[sources.drops]\nenabled = false\nfolder = "{home}/elsewhere"\n')
    child = waitbus("wait", "--source", "drops", "--timeout", "20s")
    armed(child)
    assert drop(home / "elsewhere", "a") == 1
    assert end(child)[:2] == (0, "dropped  a\n")


def test_the_folders_of_the_table_are_meant_where_none_is_given(call: Call, files: list[Any], home: Path) -> None:
    configure(home, '[sources.fs]\nroots = ["/tmp", "/var/tmp"]\n')
    said = "waitbus: no daemon watches /tmp and /var/tmp; watching them here while this command waits"
    for options in (("--source", "fs"), ("--glob", "*.py"), ("fs_change",)):
        assert said in call("wait", *options, *BRIEF).err.splitlines(), options
    assert call("wait", "--root", str(home), *BRIEF).code == 124
    assert [roots for roots, _ in files] == [["/tmp", "/var/tmp"]] * 3 + [[str(home)]]


def test_with_a_glob_alone_what_lies_in_the_folders_of_the_table_ends_it(
    call: Call, files: list[Any], home: Path
) -> None:
    from tests.logs import tell

    configure(home, '[sources.fs]\nroots = ["/elsewhere"]\n')
    tell("fs_change", "fs", fields={"path": f"{home}/a.py", "action": "modified"})
    assert call("wait", "--glob", "*.py", "--since", "1h", *BRIEF).code == 124
    tell("fs_change", "fs", fields={"path": "/elsewhere/a.py", "action": "modified"})
    assert call("wait", "--glob", "*.py", "--since", "1h", *BRIEF).code == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[sources.drops]\nfoldr = 1\n", "unknown key 'sources.drops.foldr'"),
        ("[sources.drops]\nfolder = 1\n", "sources.drops.folder: 1 is not a text"),
        ('[sources.drops]\nenabled = "yes"\n', "sources.drops.enabled: 'yes' is neither true nor false"),
        ("[sources]\ndrops = 7\n", "sources.drops: 7 is not a table"),
        ("sources = 7\n", "sources.drops: 7 is not a table"),
        ("[sources", "config.toml is not TOML"),
    ],
)
def test_a_table_that_is_wrong_is_one_error(call: Call, known: None, home: Path, text: str, said: str) -> None:
    configure(home, text)
    result = call("wait", "--source", "drops", *BRIEF)
    assert (result.code, len(result.err.splitlines())) == (2, 2)
    assert said in result.err.splitlines()[0]


def test_what_else_is_wrong_in_the_configuration_is_no_business_of_a_wait(call: Call, known: None, home: Path) -> None:
    configure(home, 'log_level = "LOUD"\n[sources.other]\nnonsense = 1\n')
    assert call("wait", "--source", "drops", *BRIEF).code == 124


# -- what the daemon runs ----------------------------------------------------------------------------------------------

REPORTS: list[tuple[Any, tuple[Running, ...]]] = [
    ({}, ()),
    ({"sources": []}, ()),
    ({"sources": None}, ()),
    ({"sources": "fs"}, ()),
    ({"sources": [{"name": "fs", "state": "up", "scope": ["/w"]}]}, (Running("fs", ("/w",)),)),
    ({"sources": [{"name": "docker", "state": "starting", "reason": ""}]}, (Running("docker"),)),
    ({"sources": [{"name": "docker", "state": "down", "reason": "it refuses"}]}, ()),
    ({"sources": [{"name": "fs", "state": "up", "scope": [1, "/w", None]}]}, (Running("fs", ("/w",)),)),
    (
        {"sources": [None, 7, {}, {"name": 1, "state": "up"}, {"state": "up"}, {"name": "a", "state": "up"}]},
        (Running("a"),),
    ),
]


@pytest.mark.parametrize(("report", "running"), REPORTS)
def test_what_a_report_says(report: Any, running: tuple[Running, ...]) -> None:
    assert of_report(report) == running


def test_the_names_in_spelling_are_those_that_a_wait_may_run() -> None:
    others = {"process"}  # --pid
    assert set(spelling.EMBEDDED) == {spec.name for spec in known_sources().values() if spec.embeddable} - others
