"""Which engine is listened to: the setting, DOCKER_HOST, a context, the usual sockets, in this order."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest

from waitbus.errors import ConfigError, ServiceMissing
from waitbus.sources.docker_endpoint import Endpoint, best, context_file, find, named_host, parsed, usual_places

CONFIG = "/h/.docker/config.json"
META = {"Name": "remote", "Endpoints": {"docker": {"Host": "unix:///c.sock", "SkipTLSVerify": False}}}


def file_of(context: str, folder: str = "/h/.docker") -> str:
    return context_file(folder, context)


@pytest.mark.parametrize(
    ("environ", "files", "named"),
    [
        ({}, {}, None),
        ({"DOCKER_HOST": "unix:///a.sock", "DOCKER_CONTEXT": "remote"}, {}, "unix:///a.sock"),
        ({"DOCKER_CONTEXT": "remote"}, {file_of("remote"): META}, "unix:///c.sock"),
        ({}, {CONFIG: {"currentContext": "remote"}, file_of("remote"): META}, "unix:///c.sock"),
        ({"DOCKER_CONTEXT": "default"}, {CONFIG: {"currentContext": "remote"}, file_of("remote"): META}, None),
        ({}, {CONFIG: {"currentContext": "default"}}, None),
        ({}, {CONFIG: {"currentContext": 5}}, None),
        ({}, {CONFIG: ["currentContext"]}, None),
        (
            {"DOCKER_CONFIG": "/d"},
            {"/d/config.json": {"currentContext": "remote"}, file_of("remote", "/d"): META},
            "unix:///c.sock",
        ),
    ],
)
def test_what_names_an_engine(environ: dict[str, str], files: dict[str, object], named: str | None) -> None:
    texts = {path: json.dumps(value) for path, value in files.items()}
    found = named_host({"HOME": "/h", **environ}, texts.get)
    assert (found and found[0]) == named


@pytest.mark.parametrize(
    "meta", [None, "", "{", "[]", "{}", '{"Endpoints": 5}', '{"Endpoints": {"docker": {"Host": 5}}}', "[" * 5000]
)
def test_a_context_that_is_not_there_is_named(meta: str | None) -> None:
    with pytest.raises(ConfigError, match="DOCKER_CONTEXT names the context 'gone', which has no engine here"):
        named_host({"HOME": "/h", "DOCKER_CONTEXT": "gone"}, {file_of("gone"): meta}.get)


@pytest.mark.parametrize(
    ("host", "endpoint"),
    [
        ("unix:///var/run/docker.sock", Endpoint(socket="/var/run/docker.sock")),
        ("/run/x.sock", Endpoint(socket="/run/x.sock")),
        ("tcp://localhost:2375", Endpoint(url="http://localhost:2375")),
        ("tcp://127.0.0.1", Endpoint(url="http://127.0.0.1:2375")),
        ("http://[::1]:99/", Endpoint(url="http://[::1]:99")),
    ],
)
def test_an_address_that_can_be_listened_to(host: str, endpoint: Endpoint) -> None:
    assert parsed(host, "DOCKER_HOST") == endpoint


@pytest.mark.parametrize(
    "host",
    [
        "ssh://me@there",
        "npipe:////./pipe/x",
        "unix://relative",
        "tcp://",
        "tcp://a:b",
        "tcp://localhost:1/x",
        "x" * 5000,
        "tcp://[",
        "https://localhost:1",
    ],
)
def test_an_address_that_cannot_is_refused_in_a_line(host: str) -> None:
    with pytest.raises(ConfigError, match=r"DOCKER_HOST is .*, which cannot be listened to") as caught:
        parsed(host, "DOCKER_HOST")
    assert len(caught.value.message) < 200


def test_another_machine_is_called_only_where_our_own_setting_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    assert parsed("tcp://build:2375", "[sources.docker] host", asked=True) == Endpoint(url="http://build:2375")
    with pytest.raises(ConfigError, match="DOCKER_HOST names an engine on another machine, 'tcp://build:2375'"):
        parsed("tcp://build:2375", "DOCKER_HOST")
    monkeypatch.setenv("WAITBUS_OFFLINE", "1")
    with pytest.raises(ConfigError, match="on another machine"):
        parsed("tcp://build:2375", "[sources.docker] host", asked=True)


PLACES = [
    "/run/user/7/docker.sock",
    "/h/.docker/run/docker.sock",
    "/var/run/docker.sock",
    "/run/user/7/podman/podman.sock",
    "/run/podman/podman.sock",
]


def test_the_usual_places() -> None:
    assert usual_places({"HOME": "/h"}, 7) == PLACES
    assert usual_places({"HOME": "/h", "XDG_RUNTIME_DIR": "/x"}, 7)[0] == "/x/docker.sock"
    assert len(usual_places({}, 7)) == len(PLACES) - 1


@pytest.mark.parametrize(
    ("ranks", "chosen"),
    [
        ({PLACES[0]: 2, PLACES[2]: 2}, PLACES[0]),
        ({PLACES[2]: 1, PLACES[3]: 2}, PLACES[3]),
        ({PLACES[2]: 1, PLACES[4]: 1}, PLACES[2]),
    ],
)
def test_a_socket_that_we_may_use_is_better_than_one_that_is_there(ranks: dict[str, int], chosen: str) -> None:
    assert best(PLACES, lambda place: ranks.get(place, 0)) == Endpoint(socket=chosen)


def test_no_socket_anywhere_is_said_with_where_it_was_looked_for() -> None:
    with pytest.raises(ServiceMissing, match=r"no container engine: no socket at /run/user/7/docker.sock, "):
        best(PLACES, lambda _: 0)


def test_real_sockets_and_a_real_context_are_found(home: Path) -> None:
    runtime, docker = home / "xr", home / ".docker"
    (runtime / "podman").mkdir()
    (runtime / "docker.sock").touch()  # a file, no socket
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(runtime / "podman" / "podman.sock"))
        environ = {"HOME": str(home), "XDG_RUNTIME_DIR": str(runtime)}
        if not os.path.exists("/var/run/docker.sock"):
            assert find(environ=environ) == Endpoint(socket=str(runtime / "podman" / "podman.sock"))
        assert find("/given.sock", environ) == Endpoint(socket="/given.sock")
    meta = Path(context_file(str(docker), "remote"))
    meta.parent.mkdir(parents=True)
    meta.write_text(json.dumps(META))
    (docker / "config.json").write_text('{"currentContext": "remote"}')
    assert find(environ=environ) == Endpoint(socket="/c.sock")
