"""Where the engine listens: by our setting, by DOCKER_HOST, by a context of the docker command, or in one of the usual places.

The order is the docker command's own (its manual: "Environment variables", `docker context`): who works with one engine by
hand hears of that one. What is decided is decided from texts; `find` reads the files and looks at the sockets.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Callable, Iterable, Mapping
from urllib.parse import urlsplit

import attrs

from waitbus import whole
from waitbus.errors import ConfigError, ServiceMissing
from waitbus.event_checks import shown

FILE_MAX = 64 * 1024
"""Bytes that are read of a file of the docker command."""

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
PORT = 2375
SETTING = "[sources.docker] host"

Read = Callable[[str], str | None]


@attrs.frozen
class Endpoint:
    """An engine's address: a socket's path, else a URL."""

    socket: str = ""
    url: str = "http://engine"

    def __str__(self) -> str:
        return self.socket or self.url


def find(host: str = "", environ: Mapping[str, str] | None = None) -> Endpoint:
    """The engine to listen to: `host` (unix:///PATH, /PATH or tcp://HOST:PORT) where given, else as the docker command finds it.

    Raises:
      ConfigError: what was named is no address that can be listened to, or a context that is not there.
      ServiceMissing: nothing was named, and no socket is in any of the usual places.
    """
    environ = os.environ if environ is None else environ
    if host:
        return parsed(host, SETTING, asked=True)
    if named := named_host(environ, _read):
        return parsed(*named)
    return best(usual_places(environ, os.getuid()), _rank)


def named_host(environ: Mapping[str, str], read: Read) -> tuple[str, str] | None:
    """What names an engine, and who says so: DOCKER_HOST, DOCKER_CONTEXT, the docker command's current context."""
    if host := environ.get("DOCKER_HOST"):
        return host, "DOCKER_HOST"
    folder = environ.get("DOCKER_CONFIG") or os.path.join(environ.get("HOME", ""), ".docker")
    origin = "DOCKER_CONTEXT"
    context = environ.get(origin)
    if not context:
        origin = os.path.join(folder, "config.json")
        context = _text(_object(read(origin)).get("currentContext"))
    if not context or context == "default":
        return None
    return context_host(context, read(context_file(folder, context)), origin), f"the context {shown(context)}"


def context_file(folder: str, context: str) -> str:
    """Where the docker command keeps a context: by the SHA-256 of its name."""
    digest = hashlib.sha256(context.encode("utf-8", "surrogateescape")).hexdigest()
    return os.path.join(folder, "contexts", "meta", digest, "meta.json")


def context_host(context: str, meta: str | None, origin: str) -> str:
    """The host in a context's meta.json: {"Name": ..., "Endpoints": {"docker": {"Host": ...}}}."""
    endpoints = _object(meta).get("Endpoints")
    docker = endpoints.get("docker") if isinstance(endpoints, dict) else None
    host = _text(docker.get("Host")) if isinstance(docker, dict) else ""
    if not host:
        raise ConfigError(
            f"{origin} names the context {shown(context)}, which has no engine here",
            hint="`docker context ls` lists them; or name a socket in DOCKER_HOST",
        )
    return host


def parsed(host: str, origin: str, *, asked: bool = False) -> Endpoint:
    """The address in a text. Another machine is called only where our own setting asks for it."""
    path = host.removeprefix("unix://")
    if path.startswith("/"):
        return Endpoint(socket=path)
    try:
        parts = urlsplit(host)
        name, port = parts.hostname, parts.port or PORT
    except ValueError:
        raise _no_address(host, origin) from None
    if parts.scheme not in ("tcp", "http") or not name or parts.path not in ("", "/"):
        raise _no_address(host, origin)
    if name not in LOOPBACK and (not asked or os.environ.get("WAITBUS_OFFLINE") == "1"):
        raise ConfigError(
            f"{origin} names an engine on another machine, {shown(host)}",
            hint=f"another machine is called only where {SETTING} names it, and never under WAITBUS_OFFLINE=1",
        )
    return Endpoint(url=f"http://[{name}]:{port}" if ":" in name else f"http://{name}:{port}")


def _no_address(host: str, origin: str) -> ConfigError:
    return ConfigError(
        f"{origin} is {shown(host)}, which cannot be listened to",
        hint="name a socket, as in unix:///var/run/docker.sock, or tcp://localhost:2375; TLS and ssh are not spoken",
    )


def usual_places(environ: Mapping[str, str], uid: int) -> list[str]:
    """The sockets of docker (rootless, desktop, root's) and of podman (rootless, root's), the likeliest first."""
    runtime = environ.get("XDG_RUNTIME_DIR") or f"/run/user/{uid}"
    home = environ.get("HOME")
    return [
        f"{runtime}/docker.sock",
        *([f"{home}/.docker/run/docker.sock"] if home else []),
        "/var/run/docker.sock",
        f"{runtime}/podman/podman.sock",
        "/run/podman/podman.sock",
    ]


def best(places: Iterable[str], rank: Callable[[str], int]) -> Endpoint:
    """The first socket that we may use (rank 2), else the first that is there (rank 1)."""
    places = list(places)
    for wanted in (2, 1):
        for place in places:
            if rank(place) >= wanted:
                return Endpoint(socket=place)
    raise ServiceMissing(
        f"no container engine: no socket at {', '.join(places)}",
        hint=f"start docker or podman (`systemctl --user start podman.socket`), or name its socket in {SETTING}",
    )


def _rank(path: str) -> int:
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            return 0
    except OSError:
        return 0
    return 2 if os.access(path, os.R_OK | os.W_OK) else 1


def _read(path: str) -> str | None:
    try:
        return whole.read(path, FILE_MAX).decode("utf-8", "replace")
    except (OSError, ValueError):
        return None


def _object(text: str | None) -> dict[str, object]:
    try:
        value = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
