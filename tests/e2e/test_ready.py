"""Readiness with real processes: a port that opens later, a file that a build makes, a server that starts slowly."""

from __future__ import annotations

import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support import PYTHON, read_until, run
from tests.web import free_port

Spawn = Callable[..., "subprocess.Popen[str]"]
LISTEN = """
import socket, sys
sys.stdin.readline()
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print("listening", flush=True)
sys.stdin.readline()
"""


def armed(child: Any) -> str:
    return read_until(child.stderr, "armed")


def end(child: Any) -> tuple[int, str, str]:
    out, err = child.communicate(timeout=20)
    return child.returncode, out, err


def test_a_port_that_a_process_opens_later(spawn: Spawn) -> None:
    port = free_port()
    server = spawn("-c", LISTEN, str(port), program=(PYTHON,))
    child = spawn("wait", "--port", f"localhost:{port}", "--timeout", "20s")
    assert armed(child).startswith(f"waitbus: asking localhost:{port} again and again while this command waits\n")
    assert server.stdin is not None
    server.stdin.write("open\n")
    server.stdin.flush()
    read_until(server.stdout, "listening")  # type: ignore[arg-type]
    begun = time.monotonic()
    assert end(child) == (0, f"port  localhost:{port} open\n", "")
    assert time.monotonic() - begun < 5


def test_a_file_that_is_made_and_one_that_goes(spawn: Spawn, tmp_path: Path) -> None:
    (tmp_path / "lock").touch()
    child = spawn("wait", "--exists", "out/done", "--gone", "lock", "--timeout", "20s", cwd=tmp_path)
    armed(child)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "done").touch()
    assert read_until(child.stderr, "1/2") == "  1/2  file      out/done is there\n"  # type: ignore[arg-type]
    (tmp_path / "lock").unlink()
    code, out, err = end(child)
    assert (code, out) == (0, "file  lock is gone\n")
    assert err.startswith("all 2 clauses met after ")


def test_a_real_web_server(spawn: Spawn, tmp_path: Path) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}/healthz"
    child = spawn("wait", "--http", url, "--timeout", "30s")
    armed(child)
    spawn("-m", "http.server", str(port), "--bind", "127.0.0.1", program=(PYTHON,), cwd=tmp_path)
    assert run([PYTHON, "-m", "waitbus", "wait", "--port", f"127.0.0.1:{port}", "-q", "--timeout", "20s"]).code == 0
    late = run([PYTHON, "-m", "waitbus", "wait", "--http", url, "--timeout", "1s"])
    assert late.code == 124
    assert late.err.splitlines()[-1].endswith(f": nothing of --http {url} (answered 404)")
    assert (
        run([PYTHON, "-m", "waitbus", "wait", "--http", url, "--http-status", "404", "-q", "--timeout", "20s"]).code
        == 0
    )
    (tmp_path / "healthz").write_text("well")
    assert end(child) == (0, f"http  {url} 200\n", "")


def test_the_states_of_a_start_up_all_together(spawn: Spawn, tmp_path: Path) -> None:
    """The transcript of UX.md, with a process in the place of the commit."""
    port = free_port()
    sleeper = spawn("1000", program=("sleep",))
    child = spawn(
        *(
            "wait",
            "--all-of",
            "pytest:event_type=pytest_session",
            "--pid",
            str(sleeper.pid),
            "--port",
            f"localhost:{port}",
        ),
        *("--timeout", "20m"),
    )
    armed(child)
    with socket.create_server(("127.0.0.1", port)):
        assert read_until(child.stderr, "1/3") == f"  1/3  port      localhost:{port} open\n"  # type: ignore[arg-type]
    run([PYTHON, "-m", "waitbus", "emit", "pytest_session", "--source", "pytest", "--conclusion", "success"])
    assert "  2/3  pytest    " in read_until(child.stderr, "2/3")  # type: ignore[arg-type]
    sleeper.kill()
    sleeper.wait()
    code, out, err = end(child)
    assert code in (0, 1)  # the kernel may tell that the sleeper was ended by a signal
    assert out.startswith("process_exited  sleep  ")
    assert "all 3 clauses met after " in err


def test_it_is_stopped_at_once_in_the_middle_of_an_attempt(spawn: Spawn) -> None:
    """A server that accepts and says nothing, so that an attempt is under way for nearly all of the time."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        child = spawn("wait", "--http", f"http://127.0.0.1:{listener.getsockname()[1]}/", "--timeout", "30s")
        armed(child)
        listener.settimeout(20)
        peer, _ = listener.accept()
        begun = time.monotonic()
        child.send_signal(signal.SIGINT)
        code, _, err = end(child)
        took = time.monotonic() - begun
        peer.close()
    assert (code, err.startswith("interrupted after ")) == (130, True)
    assert took < 2
