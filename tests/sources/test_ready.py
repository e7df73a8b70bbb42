"""Readiness by real sockets, files and servers: what is ready, what is not, and what is said of it."""

from __future__ import annotations

import os
import socket
import threading
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from tests.web import Server, answer, free_port, serving, untrusted
from waitbus.client.plan import Answer
from waitbus.client.steps import Note
from waitbus.errors import InvalidWait, Offline
from waitbus.predicate import Clause, Wanted
from waitbus.sources import ready
from waitbus.sources.offline import is_loopback, is_offline
from waitbus.sources.ready import FIRST_PAUSE, LAST_PAUSE, Look, Readiness, Target, asking, attempt, pauses
from waitbus.sources.ready_file import Exists, Gone
from waitbus.sources.ready_http import REDIRECTS_MAX, Http, parse_status, parse_url, without_password
from waitbus.sources.ready_port import Port, _of_open, parse_place

HINT_PLACE = "write HOST:PORT, as in localhost:5432 or [::1]:5432"


class Scripted:
    """A target whose looks are given, the last one again and again."""

    kind, name, option, asking = "port", "db:1", "--port db:1", "asking db:1"

    def __init__(self, *looks: Look) -> None:
        self.looks = list(looks)
        self.times: list[float] = []

    async def look(self) -> Look:
        self.times.append(trio.current_time())
        await trio.lowlevel.checkpoint()
        return self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]


async def met(target: Target, notes: list[Note] | None = None) -> Answer:
    """What the clause of a target is met by."""
    found: list[tuple[Clause, Answer]] = []
    readiness = Readiness(target)
    source = readiness.source(Wanted(), (notes if notes is not None else []).append)
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(source, lambda clause, answer: found.append((clause, answer))))
    assert [clause for clause, _ in found] == [readiness.clause]
    return found[0][1]


# -- when it asks ------------------------------------------------------------------------------------------------------

NOT_YET, NOW = Look(False, "connection refused"), Look(True, "open")


def test_pauses_grow_from_50_ms_to_a_second() -> None:
    assert list(islice(pauses(), 7)) == [FIRST_PAUSE, 0.1, 0.2, 0.4, 0.8, LAST_PAUSE, LAST_PAUSE]
    assert (FIRST_PAUSE, LAST_PAUSE) == (0.05, 1.0)


async def test_it_asks_at_once_and_then_less_and_less_often(autojump_clock: MockClock) -> None:
    target = Scripted(*[NOT_YET] * 8, NOW)
    assert await met(target) == Answer("success", said="db:1 open")
    between = [round(b - a, 6) for a, b in zip(target.times, target.times[1:], strict=False)]
    assert between == [0.05, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0, 1.0]


async def test_an_attempt_has_two_seconds(autojump_clock: MockClock) -> None:
    class Silent(Scripted):
        async def look(self) -> Look:
            await trio.sleep_forever()
            raise AssertionError

    begun = trio.current_time()
    assert await attempt(Silent(NOW)) == Look(False, "no answer in 2 s")
    assert trio.current_time() - begun == 2.0


async def test_what_is_odd_is_told_once_and_it_goes_on_trying(autojump_clock: MockClock) -> None:
    odd = Look(False, "name or service not known", odd=True)
    notes: list[Note] = []
    await met(Scripted(odd, NOT_YET, odd, odd, NOW), notes)
    assert notes == [Note("odd", "--port db:1: name or service not known; trying on")]


async def test_what_changes_with_each_attempt_is_not_told_for_ever(autojump_clock: MockClock) -> None:
    notes: list[Note] = []
    await met(Scripted(*[Look(False, f"error {number}", odd=True) for number in range(50)], NOW), notes)
    assert len(notes) == ready.ODD_MAX


async def test_what_is_missing_is_the_last_answer(autojump_clock: MockClock) -> None:
    readiness = Readiness(Scripted(NOT_YET, Look(False, "no answer in 2 s"), Look(False, "connection refused")))
    source = readiness.source(Wanted(), lambda _: None)
    with trio.move_on_after(0.06):
        async with trio.open_nursery() as nursery:
            await nursery.start(partial(source, lambda *_: None))
    assert readiness.missing == "no answer in 2 s"


def test_what_is_asked_again_and_again_is_one_sentence() -> None:
    targets = [Readiness(Port("localhost:1")), Readiness(Exists("a")), Readiness(Gone("b"))]
    assert asking([]) == ""
    assert asking(targets[:1]) == "asking localhost:1 again and again while this command waits"
    assert asking(targets) == (
        "asking localhost:1, looking for a and looking whether b is gone again and again while this command waits"
    )


# -- ports -------------------------------------------------------------------------------------------------------------

PLACES = [
    ("localhost:5432", ("localhost", 5432)),
    ("127.0.0.1:1", ("127.0.0.1", 1)),
    ("[::1]:65535", ("::1", 65535)),
    ("[fe80::1%eth0]:80", ("fe80::1%eth0", 80)),
    ("my_db:05432", ("my_db", 5432)),
    ("bücher.example:80", ("bücher.example", 80)),
]


@pytest.mark.parametrize(("text", "place"), PLACES)
def test_a_place(text: str, place: tuple[str, int]) -> None:
    assert parse_place(text, "--port") == place


NO_PLACES = [
    ("", "--port '' is not HOST:PORT"),
    ("5432", "--port '5432' is not HOST:PORT"),
    ("localhost", "--port 'localhost' is not HOST:PORT"),
    ("localhost:", "--port 'localhost:' is not HOST:PORT"),
    ("localhost:pg", "--port 'localhost:pg' is not HOST:PORT"),
    ("localhost:-1", "--port 'localhost:-1' is not HOST:PORT"),
    ("localhost:1\n", "--port 'localhost:1\\n' is not HOST:PORT"),
    ("::1:80", "--port '::1:80' is not HOST:PORT"),
    (":80", "--port ':80' names no host"),
    ("[]:80", "--port '[]:80' names no host"),
    ("a b:80", "--port 'a b:80' names no host"),
    ("http//a:80", "--port 'http//a:80' names no host"),
    ("me@host:80", "--port 'me@host:80' names no host"),
    (f"{'a' * 254}:80", f"--port '{'a' * 70}...' names no host"),
    ("a\u202eb:80", "--port 'a\\u202eb:80' names no host"),
]


@pytest.mark.parametrize(("text", "said"), NO_PLACES)
def test_what_is_no_place(text: str, said: str) -> None:
    with pytest.raises(InvalidWait) as caught:
        parse_place(text, "--port")
    assert (caught.value.message, caught.value.hint) == (said, HINT_PLACE)


@pytest.mark.parametrize("port", ["0", "65536", "9999999999"])
def test_a_port_has_bounds(port: str) -> None:
    with pytest.raises(InvalidWait) as caught:
        parse_place(f"a:{port}", "--port")
    assert caught.value.message == f"--port 'a:{port}': {int(port)} is no port"


@given(st.text(max_size=300))
def test_any_text_is_a_place_or_refused(text: str) -> None:
    try:
        host, port = parse_place(text, "--port")
    except InvalidWait:
        pass
    else:
        assert host
        assert 1 <= port <= 65535


async def test_a_port_that_opens_later() -> None:
    port = free_port()
    target = Port(f"127.0.0.1:{port}")
    assert await target.look() == Look(False, "connection refused")
    notes: list[Note] = []
    listeners: list[socket.socket] = []

    async def open_it() -> None:
        listeners.append(socket.create_server(("127.0.0.1", port)))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(open_it)
        assert await met(target, notes) == Answer("success", said=f"127.0.0.1:{port} open")
    listeners[0].close()
    assert notes == []


async def test_a_port_that_accepts_and_says_nothing_is_open() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        assert await Port(f"localhost:{listener.getsockname()[1]}").look() == NOW


async def test_a_port_of_the_other_family_is_found_by_name() -> None:
    try:
        listener = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        pytest.skip("no IPv6 here")
    with listener:
        port = listener.getsockname()[1]
        assert await Port(f"[::1]:{port}").look() == NOW


async def test_who_is_connected_with_himself_has_found_nobody() -> None:
    """A port of the range that clients get theirs from may be given to the one who asks for it."""
    with trio.socket.socket() as one:
        await one.bind(("127.0.0.1", 0))
        await one.connect(one.getsockname())
        assert _of_open(one) == Look(False, "connection refused")


async def test_a_name_that_nobody_knows_is_told() -> None:
    look = await attempt(Port("nowhere.invalid:80"))
    assert not look.ready
    assert look.odd or look.said == "no answer in 2 s"


async def test_a_resolver_that_hangs_holds_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ready, "LIMIT", 0.05)
    gate = threading.Event()

    class Resolver(trio.abc.HostnameResolver):
        async def getaddrinfo(self, *_: Any) -> Any:
            await trio.to_thread.run_sync(gate.wait, 20, abandon_on_cancel=True)

        async def getnameinfo(self, *_: Any) -> Any:
            raise NotImplementedError

    trio.socket.set_custom_hostname_resolver(Resolver())
    try:
        assert await attempt(Port("somewhere.example:80")) == Look(False, "no answer in 0.05 s")
    finally:
        gate.set()


# -- files -------------------------------------------------------------------------------------------------------------


async def test_a_file_that_appears_and_one_that_goes(tmp_path: Path) -> None:
    path = tmp_path / "build" / "done"
    there, gone = Exists(str(path)), Gone(str(path))
    assert (await there.look(), await gone.look()) == (Look(False, "is not there"), Look(True, "is gone"))
    path.parent.mkdir()
    assert (await there.look(), await gone.look()) == (Look(False, "is not there"), Look(True, "is gone"))
    path.touch()
    assert (await there.look(), await gone.look()) == (Look(True, "is there"), Look(False, "is still there"))


async def test_a_link_that_leads_nowhere_is_there_only_for_who_waits_that_it_goes(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    lock.symlink_to("host:4242")
    assert (await Exists(str(lock)).look()).ready is False
    assert (await Gone(str(lock)).look()).ready is False


async def test_what_cannot_be_looked_at_is_neither_there_nor_gone(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("a")
    path = str(tmp_path / "a" / "b")
    odd = Look(False, "cannot be looked at: Too many levels of symbolic links", odd=True)
    assert (await Exists(path).look(), await Gone(path).look()) == (odd, odd)


async def test_a_file_below_a_file_is_gone(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    assert (await Gone(str(tmp_path / "a" / "b")).look()).ready


async def test_it_is_the_file_of_the_folder_in_which_it_was_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "done").touch()
    target = Exists("done")
    monkeypatch.chdir("/")
    assert (await target.look()).ready
    assert target.name == "done"


@pytest.mark.parametrize("text", ["", " ", "a\0b"])
def test_what_names_no_file(text: str) -> None:
    for made, option in ((Exists, "--exists"), (Gone, "--gone")):
        with pytest.raises(InvalidWait) as caught:
            made(text)
        assert caught.value.message == f"{option} {text!r} names no file"


# -- HTTP --------------------------------------------------------------------------------------------------------------


async def look_at(*answers: bytes | None, statuses: tuple[str, ...] = ("2xx",), **given: Any) -> tuple[Look, Server]:
    async with serving(Server(*answers, **given)) as server:
        return await attempt(Http(server.url(), statuses)), server


STATUSES = [
    ("200 OK", ("2xx",), Look(True, "200")),
    ("204 No Content", ("2xx",), Look(True, "204")),
    ("299 Odd", ("2xx",), Look(True, "299")),
    ("300 Choices", ("2xx",), Look(False, "answered 300")),
    ("404 Not Found", ("2xx",), Look(False, "answered 404")),
    ("503 Unavailable", ("2xx",), Look(False, "answered 503")),
    ("401 Unauthorized", ("2xx", "401"), Look(True, "401")),
    ("200 OK", ("401",), Look(False, "answered 200")),
    ("404 Not Found", ("200-404",), Look(True, "404")),
]


@pytest.mark.parametrize(("status", "statuses", "look"), STATUSES)
async def test_the_status_decides(status: str, statuses: tuple[str, ...], look: Look) -> None:
    assert (await look_at(answer(status), statuses=statuses))[0] == look


async def test_it_asks_as_itself_and_with_what_the_url_says() -> None:
    async with serving(Server(answer("200 OK"))) as server:
        url = f"http://me:secret@localhost:{server.port}/a%20b?c=d"
        target = Http(url)
        assert (await attempt(target)).ready
        assert "secret" not in target.option + target.name + target.asking
    head = server.asked[0].lower()
    assert head.startswith(b"get /a%20b?c=d http/1.1\r\n")
    assert b"\r\nauthorization: basic bwu6c2vjcmv0\r\n" in head
    assert b"\r\nuser-agent: waitbus/" in head


async def test_of_an_endless_answer_the_head_is_enough() -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-length: 100000000000\r\n\r\n"
    look, server = await look_at(head, endless=b"x" * 65536)
    assert look == Look(True, "200")
    assert server.sent < 50_000_000


async def test_a_redirect_is_followed() -> None:
    moved = answer("302 Found", "location: /other", body=b"moved")
    look, server = await look_at(moved, answer("200 OK"))
    assert look == Look(True, "200")
    assert [head.split()[1] for head in server.asked] == [b"/", b"/other"]


async def test_a_redirect_that_was_asked_for_is_the_answer() -> None:
    look, server = await look_at(answer("302 Found", "location: /other"), statuses=("302",))
    assert (look, len(server.asked)) == (Look(True, "302"), 1)


async def test_redirects_have_an_end() -> None:
    look, server = await look_at(answer("302 Found", "location: /"))
    assert look == Look(False, f"redirects more than {REDIRECTS_MAX} times", odd=True)
    assert len(server.asked) == REDIRECTS_MAX + 1


@pytest.mark.parametrize("where", ["ftp://localhost/", "http://[", "http://a b/"])
async def test_a_redirect_to_nowhere_is_told(where: str) -> None:
    look, _ = await look_at(answer("302 Found", f"location: {where}"))
    assert (look.ready, look.odd) == (False, True)


async def test_a_redirect_leaves_this_machine_only_where_that_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAITBUS_OFFLINE", "1")
    look, _ = await look_at(answer("302 Found", "location: http://example.invalid/"))
    assert look == Look(False, "redirects to example.invalid, which WAITBUS_OFFLINE forbids to ask", odd=True)


@pytest.mark.parametrize(
    "garbage",
    [b"\x00\x01\x02\r\n\r\n", b"220 mail ready\r\n", b"HTTP/1.1 abc\r\n\r\n", b"HTTP/1.1 200 OK\r\nbad header\r\n\r\n"],
)
async def test_who_speaks_something_else_is_told(garbage: bytes) -> None:
    look, _ = await look_at(garbage)
    assert not look.ready
    assert look.said.startswith("does not answer as HTTP: ")
    assert look.odd


async def test_a_head_without_end_is_no_answer() -> None:
    look, server = await look_at(b"HTTP/1.1 200 OK\r\n", endless=b"x-more: " + b"y" * 1000 + b"\r\n")
    assert look.ready is False
    assert server.sent < 50_000_000


async def test_a_server_that_says_nothing_has_no_more_than_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(Server(None)) as server:
        target = Http(server.url())
        await attempt(target)  # what it costs to begin is not to be measured
        monkeypatch.setattr(ready, "LIMIT", 0.2)
        begun = trio.current_time()
        assert await attempt(target) == Look(False, "no answer in 0.2 s")
        assert trio.current_time() - begun < 1.5


async def test_a_server_that_hangs_up_is_told() -> None:
    look, _ = await look_at(b"")
    assert (look.ready, look.odd) == (False, True)


async def test_nobody_listens() -> None:
    assert await attempt(Http(f"http://localhost:{free_port()}/")) == Look(False, "connection refused")


async def test_a_certificate_that_nobody_trusts_is_told_in_words(tmp_path: Path) -> None:
    context, _ = untrusted(tmp_path)
    async with serving(Server(answer("200 OK")), context) as server:
        look = await attempt(Http(server.url(scheme="https")))
    assert look.said.startswith("its certificate is not trusted: self")
    assert (look.ready, look.odd) == (False, True)
    assert server.asked == []


async def test_a_certificate_that_is_trusted_by_name_is_good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context, certificate = untrusted(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    async with serving(Server(answer("200 OK")), context) as server:
        assert await attempt(Http(server.url(scheme="https"))) == Look(True, "200")
        other = await attempt(Http(f"https://127.0.0.1:{server.port}/"))
    assert other.said.startswith("its certificate is not trusted: ip address mismatch")


async def test_tls_where_none_is_spoken_is_told() -> None:
    class Plain(Server):
        async def handle(self, stream: trio.abc.Stream) -> None:
            await stream.receive_some(1)
            await stream.send_all(answer("400 Bad Request"))

    async with serving(Plain()) as server:
        assert await attempt(Http(server.url(scheme="https"))) == Look(
            False, "TLS fails there: wrong version number", odd=True
        )


async def test_a_proxy_is_not_asked_for_what_is_here(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    monkeypatch.delenv("no_proxy", raising=False)
    assert (await look_at(answer("200 OK")))[0] == Look(True, "200")


async def test_a_proxy_that_is_none_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.setenv("http_proxy", "gopher://proxy.invalid")
    look = await attempt(Http("http://example.invalid/"))
    assert look.said.startswith("the proxy of the environment cannot be used: ")


NO_URLS = [
    ("", "--http '' is not a URL of http or https"),
    ("localhost:80", "--http 'localhost:80' is not a URL of http or https"),
    ("ftp://a/", "--http 'ftp://a/' is not a URL of http or https"),
    ("file:///etc/passwd", "--http 'file:///etc/passwd' is not a URL of http or https"),
    ("http://a b/", "--http 'http://a b/' is not a URL of http or https"),
    ("http://", "--http 'http://' names no host"),
    ("http:///x", "--http 'http:///x' names no host"),
    ("http://:80/", "--http 'http://:80/' names no host"),
    ("http://a:0/", "--http 'http://a:0/' names no host"),
    ("http://a:65536/", "--http 'http://a:65536/' is not a URL"),
    ("http://[::1/", "--http 'http://[::1/' is not a URL"),
]


@pytest.mark.parametrize(("text", "said"), NO_URLS)
def test_what_is_no_url(text: str, said: str) -> None:
    with pytest.raises(InvalidWait) as caught:
        parse_url(text, "--http")
    assert caught.value.message == said


@given(st.text(max_size=200) | st.text(max_size=50).map("http://".__add__))
def test_any_text_is_a_url_or_refused(text: str) -> None:
    try:
        parts = parse_url(text, "--http")
    except InvalidWait:
        pass
    else:
        assert parts.scheme in ("http", "https")
        assert parts.hostname
        assert not parts.password or "***" in without_password(parts)


def test_a_url_has_a_length() -> None:
    with pytest.raises(InvalidWait, match="a URL of 2058 characters"):
        parse_url("http://a/" + "x" * 2049, "--http")


@pytest.mark.parametrize(
    ("text", "codes"), [("200", (200, 200)), ("200-204", (200, 204)), ("2xx", (200, 299)), ("5XX", (500, 599))]
)
def test_a_status(text: str, codes: tuple[int, int]) -> None:
    assert parse_status(text) == codes


@pytest.mark.parametrize(
    "text", ["", "2", "20x", "xx", "600", "099", "200-", "-200", "200-2xx", "200 ", "\uff12\uff10\uff10"]
)
def test_what_is_no_status(text: str) -> None:
    with pytest.raises(InvalidWait) as caught:
        parse_status(text)
    assert (caught.value.message, caught.value.hint) == (
        f"--http-status {text!r} is no status",
        "write 200, 200-299 or 2xx",
    )


def test_a_range_that_ends_before_it_begins_is_refused() -> None:
    with pytest.raises(InvalidWait) as caught:
        parse_status("299-200")
    assert caught.value.hint == "write 200-299"


# -- offline -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "here"),
    [
        ("localhost", True),
        ("LOCALHOST.", True),
        ("api.localhost", True),
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("localhost.example", False),
        ("notlocalhost", False),
        ("127.0.0.1.example", False),
        ("0.0.0.0", False),
        ("10.0.0.1", False),
        ("::2", False),
        ("example.com", False),
        ("", False),
    ],
)
def test_what_is_this_machine_by_its_name(host: str, here: bool) -> None:
    assert is_loopback(host) is here


@pytest.mark.parametrize(("value", "offline"), [("1", True), ("yes", True), ("0", False), ("", False), (None, False)])
def test_what_offline_is(value: str | None, offline: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if value is not None:
        monkeypatch.setenv("WAITBUS_OFFLINE", value)
    assert is_offline() is offline


def test_offline_refuses_other_machines_by_name_and_not_this_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAITBUS_OFFLINE", "1")
    assert [Port("localhost:80").host, Http("http://127.0.0.1/").name, Exists(os.devnull).name]
    for made, text, option in ((Port, "db.example:80", "--port"), (Http, "https://db.example/x", "--http")):
        with pytest.raises(Offline) as caught:
            made(text)
        assert caught.value.message == (
            f"{option} {text} would ask db.example, and WAITBUS_OFFLINE forbids to ask another machine"
        )
