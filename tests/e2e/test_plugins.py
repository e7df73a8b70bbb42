"""The example plugin, installed into a Python of its own: every process knows its type, and none imports its code."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import support, wheels
from tests.support import eventually, read_until, run
from waitbus.events import EventInsert
from waitbus.store import Log

pytestmark = wheels.needs_pip

TRIPWIRE = b"import os, pathlib; (pathlib.Path.home() / f'%s-{os.getpid()}').touch()\n"


@pytest.fixture(scope="module")
def venv(tmp_path_factory: pytest.TempPathFactory) -> wheels.Venv:
    """A Python with the example, whose modules leave a file in the home folder where they are imported."""
    folder = tmp_path_factory.mktemp("plugin")
    made = wheels.Venv(folder / "venv")
    files = dict(wheels.contents(wheels.TIMER))
    for name, word in (("__init__", b"declared"), ("run", b"imported")):
        files[f"waitbus_timer/{name}.py"] += TRIPWIRE % word
    made.install(rerecorded(files), folder)
    return made


def rerecorded(files: dict[str, bytes]) -> dict[str, bytes]:
    record = next(name for name in files if name.endswith("/RECORD"))
    rest = {name: data for name, data in files.items() if name != record}
    return {**rest, record: wheels.record(rest, record.partition("/")[0])}


@pytest.fixture
def waitbus(venv: wheels.Venv, home: Path) -> Callable[..., support.Result]:
    return lambda *argv, **kwargs: run([*venv.waitbus, *argv], cwd=home, **kwargs)


def left(home: Path, word: str) -> int:
    return len(list(home.glob(f"{word}-*")))


def tick(number: int) -> EventInsert:
    return EventInsert(source="timer", event_type="timer_tick", status="in_progress", fields={"number": number})


SDK = """
import waitbus
print(waitbus.wait_for(source="timer", since="1h", timeout=5).event_type)
"""
DECLARED = """
from waitbus.sources import known_sources
print(*known_sources()["timer"].event_types)
"""


def test_its_type_is_known_to_emit_wait_list_and_sdk_and_its_code_is_imported_in_none(
    venv: wheels.Venv, waitbus: Callable[..., support.Result], home: Path, log: Log
) -> None:
    told = []
    done = waitbus("emit", "timer_tick", "--source", "timer", "--status", "in_progress", "--field", "number=1")
    assert done.code == 0
    told.append(done.err)
    done = waitbus("wait", "--source", "timer", "--since", "1h", "--timeout", "200ms")
    assert done.code == 124, "a tick is progress"
    told.append(done.err)
    assert waitbus("emit", "timer_alarm", "--source", "timer", "--conclusion", "success").code == 0
    done = waitbus("wait", "--source", "timer", "--since", "1h", "--timeout", "5s")
    assert (done.code, "timer_alarm" in done.out) == (0, True)
    told.append(done.err)
    for script, answer in ((SDK, "timer_alarm\n"), (DECLARED, "timer_tick timer_alarm\n")):
        done = run([str(venv.python), "-P", "-c", script], cwd=home)
        assert (done.code, done.out) == (0, answer), done.err
        told.append(done.err)
    assert waitbus("wait", "timer_tick", "--since", "1h", "--timeout", "5s").code == 0
    assert left(home, "imported") == 0
    assert 1 <= left(home, "declared") <= 2, "a child read the declaration, and then the index has it"
    assert sum(text.count("is used for the first time") for text in told) == 1


def test_a_second_process_needs_no_child_for_the_declaration(
    venv: wheels.Venv, waitbus: Callable[..., support.Result], home: Path
) -> None:
    for _ in range(4):
        assert run([str(venv.python), "-P", "-c", DECLARED], cwd=home).code == 0
    assert left(home, "declared") <= 2


OWNER = """
import trio
from waitbus.sources import source
from waitbus.sources.plugins import source_for
from waitbus.sources.supervision import Supervised
made = source_for(source("timer"), {"enabled": True, "every": 0.05, "alarm_each": 3})
trio.run(Supervised("timer", made).run)
"""


def test_it_runs_in_a_child_of_its_own_and_a_wait_hears_it(
    venv: wheels.Venv, waitbus: Callable[..., support.Result], spawn: Callable[..., Any], home: Path
) -> None:
    owner = spawn("-P", "-c", OWNER, program=(str(venv.python),), cwd=home)
    done = waitbus("wait", "--source", "timer", "--timeout", "20s", "--json")
    assert done.code == 0, done.err
    event = json.loads(done.out.splitlines()[0])
    assert (event["event_type"], event["fields"]["number"] % 3) == ("timer_alarm", 0)
    assert left(home, f"imported-{owner.pid}") == 0
    assert left(home, "imported") == 1


def test_settings_that_are_not_its_own_are_named(
    venv: wheels.Venv, spawn: Callable[..., Any], home: Path, log: Log
) -> None:
    spawn("-P", "-c", OWNER.replace("every", "evry"), program=(str(venv.python),), cwd=home)
    eventually(lambda: [row for row in log.page(0).rows if "unknown key 'evry' in its settings" in row.summary])


def test_its_conditions_are_found_by_name(waitbus: Callable[..., support.Result], log: Log) -> None:
    log.append_many([tick(4), tick(6)])
    ticks = ("wait", "timer_tick", "--since", "1h", "--timeout", "2s", "--json")
    done = waitbus(*ticks, "--eval", "multiple:3")
    assert (done.code, json.loads(done.out.splitlines()[0])["fields"]["number"]) == (0, 6)
    log.append(EventInsert(source="timer", event_type="timer_tick", fields={"number": 1, "late_ms": 1500}))
    done = waitbus(*ticks, "--cond", "late")
    assert (done.code, json.loads(done.out.splitlines()[0])["fields"]["late_ms"]) == (0, 1500)
    done = waitbus(*ticks, "--eval", "multiple:0")
    assert (done.code, "--eval 'multiple:0' is refused: write a number from 1 on" in done.err) == (2, True)


# -- entry points of conditions that are none --------------------------------------------------------------------------

HOSTILE = """
import sys
raises = None
def nonsense():
    return 5
def later():
    return lambda event: 1 / 0
def explodes():
    raise RuntimeError("boom")
def leaves():
    sys.exit(0)
number = 7
"""
POINTS = {
    "missing": "no_such_module_here:x",
    "absent": "hostile:absent",
    "nonsense": "hostile:nonsense",
    "later": "hostile:later",
    "explodes": "hostile:explodes",
    "leaves": "hostile:leaves",
    "number": "hostile:number",
    "raising": "raising:x",
    "leaving": "leaving:x",
}


@pytest.fixture
def hostile(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modules = {
        "hostile.py": HOSTILE.encode(),
        "raising.py": b"raise RuntimeError('at import')\n",
        "leaving.py": b"import sys; sys.exit(0)\n",
    }
    groups = {"waitbus.conditions.v1": POINTS, "waitbus.evaluators.v1": POINTS}
    wheels.unpacked(wheels.with_info("hostile", "1.0", groups, modules), home / "site")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(home / "site"), str(wheels.ROOT)]))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("missing", "cannot be loaded from no_such_module_here:x: ModuleNotFoundError"),
        ("absent", "cannot be loaded from hostile:absent: AttributeError"),
        ("nonsense", "is 5, which is no function of an event"),
        ("later", "failed on event"),
        ("explodes", "RuntimeError: boom"),
        ("leaves", "SystemExit: 0"),
        ("number", "is 7, which is no function"),
        ("raising", "cannot be loaded from raising:x: RuntimeError: at import"),
        ("leaving", "cannot be loaded from leaving:x: SystemExit: 0"),
    ],
)
def test_a_condition_of_a_hostile_package_is_one_clear_error(
    hostile: None, cli: Callable[..., support.Result], log: Log, name: str, said: str
) -> None:
    log.append(EventInsert(source="ci", event_type="x"))
    done = cli("wait", "x", "--since", "1h", "--timeout", "2s", "--cond", name)
    lines = [line for line in done.err.splitlines() if line.startswith(("error:", "hint:"))]
    assert (done.code, [line.partition(":")[0] for line in lines]) == (2, ["error", "hint"]), done
    assert said in lines[0]
    assert "Traceback" not in done.err


# -- trust, from the command line --------------------------------------------------------------------------------------


@pytest.fixture
def other(tmp_path: Path) -> wheels.Venv:
    """A Python whose packages a test may spoil."""
    made = wheels.Venv(tmp_path / "venv")
    made.install(wheels.contents(wheels.TIMER), tmp_path)
    return made


def newer(venv: wheels.Venv, folder: Path) -> None:
    files = {
        name.replace("-1.0.", "-1.1."): data.replace(b"Version: 1.0", b"Version: 1.1")
        for name, data in wheels.contents(wheels.TIMER).items()
    }
    files["waitbus_timer/run.py"] += b"# 1.1\n"
    venv.install(rerecorded(files), folder)


def test_what_pip_installs_is_trusted_over_versions_and_not_when_it_was_changed(
    other: wheels.Venv, tmp_path: Path, home: Path
) -> None:
    def call(*argv: str) -> support.Result:
        return run([*other.waitbus, *argv], cwd=home)

    def known() -> support.Result:
        return run([str(other.python), "-P", "-c", DECLARED], cwd=home)

    assert json.loads(call("allowlist", "list", "--json").out)["state"] == "new"
    assert "used for the first time" in known().err
    assert json.loads(call("allowlist", "list", "--json").out)["state"] == "pinned"
    newer(other, tmp_path)
    assert "is used in a new version" in known().err
    assert known().err == ""
    rows = [json.loads(line) for line in call("allowlist", "list", "--json").out.splitlines()]
    assert [(row["version"], row["state"]) for row in rows] == [("1.0", "not_installed"), ("1.1", "pinned")]

    module = other.site / "waitbus_timer" / "run.py"
    module.write_text(module.read_text() + "import os\n")
    done = call("allowlist", "verify", "timer")
    assert (done.code, "waitbus_timer/run.py is not the file that was installed" in done.out) == (1, True)
    assert known().code == 1
    assert call("emit", "timer_alarm", "--source", "timer").code == 0
    done = call("allowlist", "add", "timer")
    assert (done.code, "cannot be trusted" in done.err) == (2, True)


# -- a daemon ----------------------------------------------------------------------------------------------------------


def test_a_daemon_runs_it_in_a_child(
    venv: wheels.Venv, waitbus: Callable[..., support.Result], spawn: Callable[..., subprocess.Popen[str]], home: Path
) -> None:

    (home / "c").mkdir(mode=0o700)
    (home / "c" / "config.toml").write_text("[sources.timer]\nenabled = true\nevery = 0.05\nalarm_each = 3\n")
    daemon = spawn("serve", program=venv.waitbus, cwd=home)
    assert daemon.stderr is not None
    read_until(daemon.stderr, "serving ", 20)
    done = waitbus("wait", "--source", "timer", "--timeout", "20s", "--json")
    assert (done.code, json.loads(done.out.splitlines()[0])["event_type"]) == (0, "timer_alarm"), done
    listed = waitbus("source", "list", "--json")
    assert "timer" in listed.out
    assert left(home, f"imported-{daemon.pid}") == 0
    assert left(home, "imported") == 1
    daemon.terminate()
    assert daemon.wait(15) == 0
