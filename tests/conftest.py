"""Every test lives in folders of its own; `async def` tests run on trio."""

from __future__ import annotations

import functools
import inspect
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import trio
import trio.testing

from tests import support
from tests.bus import Daemon, daemon
from waitbus.cli import main
from waitbus.store import Log

pytest_plugins = ["tests.gate"]

OLD_VENV = os.environ.get("WAITBUS_OLD_VENV")
"""Where the session put the 0.2 program; read before the fixture below clears WAITBUS_*."""

FULL_SCALE = os.environ.get("WAITBUS_FULL_SCALE") == "1"

# Most of what the tests cost is processes that start; one that may keep no bytecode compiles all that it imports, each time.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# A shared 2-core machine makes any deadline for one example a coin toss; pytest-timeout bounds the whole test.
hypothesis.settings.register_profile("waitbus", deadline=None, print_blob=True)
hypothesis.settings.load_profile("waitbus")


@pytest.fixture(autouse=True)
def home() -> Iterator[Path]:
    """A home of its own for each test, removed afterwards; short, since a socket path has 107 bytes."""
    home = Path(tempfile.mkdtemp(prefix="wb-"))
    folders = {
        "HOME": home,
        "WAITBUS_STATE_DIR": home / "s",
        "WAITBUS_RUNTIME_DIR": home / "r",
        "WAITBUS_CONFIG_DIR": home / "c",
        "XDG_STATE_HOME": home / "xs",
        "XDG_RUNTIME_DIR": home / "xr",
        "XDG_CONFIG_HOME": home / "xc",
        "XDG_CACHE_HOME": home / "xk",
        "XDG_DATA_HOME": home / "xd",
    }
    with pytest.MonkeyPatch.context() as patch:  # not the fixture: Hypothesis would complain of its scope
        for name in [*os.environ]:
            if name.startswith("WAITBUS_") or name in {"NO_COLOR", "FORCE_COLOR", "NOTIFY_SOCKET", "LISTEN_FDS"}:
                patch.delenv(name)
        for name, folder in folders.items():
            patch.setenv(name, str(folder))
        folders["XDG_RUNTIME_DIR"].mkdir(mode=0o700)  # whoever sets it promises that it exists
        yield home
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def cli() -> Callable[..., support.Result]:
    """`cli("emit", "deploy", env={...}, input="...", timeout=30)` runs the command and answers (code, out, err)."""

    def call(*argv: str, **kwargs: Any) -> support.Result:
        return support.run([*support.WAITBUS, *argv], **kwargs)

    return call


@pytest.fixture
def call(capfd: pytest.CaptureFixture[str]) -> Callable[..., support.Result]:
    """`call("emit", "deploy")` answers (code, out, err) too, in this process: the same code without 100 ms of start."""

    def invoke(*argv: str) -> support.Result:
        capfd.readouterr()
        code = main(argv, standalone=False)
        sys.stdout.flush()
        return support.Result(code, *capfd.readouterr())

    return invoke


@pytest.fixture
def log(home: Path) -> Iterator[Log]:
    """The usual log, by a connection of the test's own."""
    with Log() as log:
        yield log


@pytest.fixture
def bus(home: Path) -> Iterator[Daemon]:
    """A daemon in the test's folders."""
    with daemon(home) as running:
        yield running


@pytest.fixture
def spawn() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """`spawn("wait", "deploy", env={...})` starts the command in a session of its own, killed when the test ends.

    The three streams are unbuffered text pipes; `program=[...]` starts something else than waitbus.
    """
    children: list[subprocess.Popen[str]] = []

    def start(*argv: str, program: tuple[str, ...] = support.WAITBUS, **kwargs: Any) -> subprocess.Popen[str]:
        kwargs["env"] = {**os.environ, **(kwargs.get("env") or {})}
        for stream in ("stdin", "stdout", "stderr"):
            kwargs.setdefault(stream, subprocess.PIPE)
        kwargs.setdefault("start_new_session", True)
        child = subprocess.Popen([*program, *argv], text=True, **kwargs)
        children.append(child)
        return child

    yield start
    for child in children:
        _end(child)


def _end(child: subprocess.Popen[str]) -> None:
    try:
        os.killpg(child.pid, signal.SIGKILL)  # its own children too
    except (ProcessLookupError, PermissionError):
        if child.poll() is None:
            child.kill()
    child.wait(timeout=10)
    for stream in (child.stdin, child.stdout, child.stderr):
        if stream is not None:
            try:
                stream.close()
            except BrokenPipeError:  # what a test left in the buffer of a dead child's stdin
                pass


@pytest.fixture
def scaled(request: pytest.FixtureRequest) -> int:
    """How much of it: `usual` or, in `nox -s faults`, `full` of the test's mark `scaled(usual=..., full=...)`."""
    mark = request.node.get_closest_marker("scaled")
    return int(mark.kwargs["full" if FULL_SCALE else "usual"])


@pytest.fixture
def old_venv() -> Path:
    """The virtual environment that holds the 0.2 program (the nox session makes it)."""
    if OLD_VENV is None:
        pytest.skip("WAITBUS_OLD_VENV names no virtual environment with 0.2 in it")
    return Path(OLD_VENV)


@pytest.fixture
def mock_clock() -> trio.testing.MockClock:
    """Time that moves only when the test says so; the `async def` test that asks for it runs by this clock."""
    return trio.testing.MockClock()


@pytest.fixture
def autojump_clock() -> trio.testing.MockClock:
    """Time that jumps to the next deadline as soon as every task is waiting."""
    return trio.testing.MockClock(autojump_threshold=0)


REAL_LIMIT = 30.0
VIRTUAL_LIMIT = 10 * 365 * 86400.0  # with a jumping clock a deadlock gets there at once


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> None:
    """Turn an `async def` test into one that runs under `trio.run`, for at most 30 s of real time.

    A hook of ours rather than pytest-trio (unmaintained) or anyio's plugin (no time limit, no clock by fixture).
    """
    test = pyfuncitem.obj
    given = getattr(test, "hypothesis", None)
    clocks = [value for value in pyfuncitem.funcargs.values() if isinstance(value, trio.abc.Clock)]
    if given is not None and inspect.iscoroutinefunction(given.inner_test):
        given.inner_test = _on_trio(given.inner_test, clocks)
    elif inspect.iscoroutinefunction(test):
        pyfuncitem.obj = _on_trio(test, clocks)


def _on_trio(test: Callable[..., Any], clocks: list[trio.abc.Clock]) -> Callable[..., None]:
    clock = clocks[0] if clocks else None

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        async def bounded() -> None:
            with trio.fail_after(VIRTUAL_LIMIT if clock else REAL_LIMIT):
                await test(*args, **kwargs)

        trio.run(bounded, clock=clock)

    return run
