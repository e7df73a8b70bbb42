"""A real container engine with Docker's API, for as long as a test module needs one: podman on a unix socket, run as root.

All of it (images, containers, events) lies in a folder of the test's own. Storage and cgroups are driven in the plainest way
(vfs, cgroupfs), which works inside of containers too; busybox alone is the image. `.ci/run` installs the three Debian packages.
"""

from __future__ import annotations

import http.client
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import attrs

from tests import support

IMAGE = "localhost/bb:latest"
COMMANDS = ("podman", "runc", "busybox")


class NoEngine(Exception):
    """Why none can be had here."""


@attrs.define
class RealEngine:
    """podman in `folder`; `start` and `stop` may be repeated: its containers stay."""

    folder: Path
    _server: subprocess.Popen[bytes] | None = None

    @property
    def socket(self) -> Path:
        return self.folder / "docker.sock"

    def podman(self, *argv: str) -> list[str]:
        """The command with this engine's folders."""
        folders = [f"--{name}={self.folder / name}" for name in ("root", "runroot")]
        plain = ["--cgroup-manager=cgroupfs", "--storage-driver=vfs", "--events-backend=file"]
        runtime = ["--runtime", shutil.which("runc") or "runc", f"--tmpdir={self.folder / 'tmp'}"]
        return ["podman", *runtime, *plain, *folders, *argv]

    def make_image(self) -> None:
        """An image with busybox and nothing else."""
        busybox = Path(shutil.which("busybox") or "busybox").read_bytes()
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as tar:
            program = tarfile.TarInfo("bin/busybox")
            program.size, program.mode = len(busybox), 0o755
            tar.addfile(program, io.BytesIO(busybox))
            for name in ("sh", "sleep"):
                link = tarfile.TarInfo(f"bin/{name}")
                link.type, link.linkname = tarfile.SYMTYPE, "busybox"
                tar.addfile(link)
        made = subprocess.run(
            self.podman("import", "-", "bb:latest"),
            input=packed.getvalue(),
            capture_output=True,
            timeout=60,
            check=False,
        )
        if made.returncode:
            raise NoEngine(f"podman makes no image: {made.stderr.decode(errors='replace').strip()[-200:]}")

    def start(self) -> None:
        """Serve the socket."""
        log = (self.folder / "log").open("ab")
        with log:
            self._server = subprocess.Popen(
                self.podman("system", "service", "--time=0", f"unix://{self.socket}"),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            support.eventually(self._answers, 20, "podman's socket answers")
        except AssertionError:
            raise NoEngine(f"podman does not serve: {(self.folder / 'log').read_text()[-200:]}") from None

    def stop(self) -> None:
        """End the server, at once."""
        server, self._server = self._server, None
        if server is not None:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait(timeout=10)
            self.socket.unlink(missing_ok=True)

    def remove(self) -> None:
        """Remove all that there was."""
        self.stop()
        subprocess.run(self.podman("rm", "--all", "--force", "--time=0"), capture_output=True, timeout=60, check=False)
        subprocess.run(self.podman("umount", "--all"), capture_output=True, timeout=60, check=False)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _answers(self) -> bool:
        try:
            return self.call("GET", "/_ping") == b"OK"
        except OSError:
            return False

    def call(self, method: str, path: str, body: Any = None) -> bytes:
        """Call the API."""
        connection = http.client.HTTPConnection("engine", timeout=30)
        connection.sock = socket.socket(socket.AF_UNIX)
        try:
            connection.sock.settimeout(30)
            connection.sock.connect(str(self.socket))
            headers = {"Content-Type": "application/json"}
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            told = answer.read()
            if answer.status >= 400:
                raise AssertionError(f"{method} {path}: {answer.status} {told.decode(errors='replace')}")
            return told
        finally:
            connection.close()

    def create(self, name: str, command: str, **host: Any) -> str:
        """A container that will run a shell command; its id."""
        limits = [{"Name": "nofile", "Soft": 1024, "Hard": 1024}, {"Name": "nproc", "Soft": 1000, "Hard": 1000}]
        body = {
            "Image": IMAGE,
            "Cmd": ["/bin/sh", "-c", command],
            "Labels": {"com.docker.compose.project": "demo", "com.docker.compose.service": name, "env": "test"},
            "HostConfig": {"NetworkMode": "none", "Ulimits": limits, **host},
        }
        return str(json.loads(self.call("POST", f"/v1.41/containers/create?name={name}", body))["Id"])

    def begin(self, container: str) -> None:
        """Start a container that was created."""
        self.call("POST", f"/v1.41/containers/{container}/start")

    def run(self, name: str, command: str, **host: Any) -> str:
        """Create and start; the id."""
        container = self.create(name, command, **host)
        self.begin(container)
        return container


def real_engine(folder: Path) -> RealEngine:
    """A running engine in `folder`.

    Raises:
      NoEngine: none can be had here; its text says why.
    """
    if os.getuid():
        raise NoEngine("only root can run a container engine here")
    missing = [name for name in COMMANDS if not shutil.which(name)]
    if missing:
        raise NoEngine(f"no {' '.join(missing)} here")
    for name in ("root", "runroot", "tmp"):
        (folder / name).mkdir()
    engine = RealEngine(folder)
    try:
        engine.make_image()
        engine.start()
        _try(engine)
    except (NoEngine, subprocess.TimeoutExpired, AssertionError) as error:
        engine.remove()
        raise NoEngine(f"this kernel runs no container: {error}") from None
    return engine


def _try(engine: RealEngine) -> None:
    container = engine.run("first", "exit 0")
    engine.call("POST", f"/v1.41/containers/{container}/wait")
