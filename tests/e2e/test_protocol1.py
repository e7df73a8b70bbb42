"""Protocol 1, rule by rule, by raw bytes against a real daemon: what clients written for 0.2 rely on."""

from __future__ import annotations

import json
import os
import shutil
import socket
import stat
import struct
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import support
from tests.bus import Daemon, Wire, daemon
from waitbus.events import EventInsert
from waitbus.producer import emit, emit_batch
from waitbus.store import shared
from waitbus.wire import V1_FIELDS

ZEROS = "0" * 26


@pytest.fixture(scope="module")
def bus() -> Iterator[Daemon]:
    """One daemon for the whole module; each test uses names of its own."""
    home = Path(tempfile.mkdtemp(prefix="wb-"))
    with daemon(home) as running:
        yield running
    shutil.rmtree(home, ignore_errors=True)


def say(bus: Daemon, **event: Any) -> str:
    """Emit one event; its id."""
    return emit(EventInsert(**{"source": "t", "event_type": "said", **event}), db_path=bus.log).event.event_id


def head(bus: Daemon) -> str:
    """The id of the newest event."""
    return shared(bus.log).cursor()


# -- what is accepted, and what is refused -----------------------------------------------------------------------------

ACCEPTED: dict[str, Any] = {
    "nothing": {},
    "proto": {"proto": 1},
    "proto null": {"proto": None},
    "everything null": {
        "proto": None,
        "filters": None,
        "event_types": None,
        "since": None,
        "envelope": None,
        "ext": None,
    },
    "no filters": {"filters": []},
    "filters": {"filters": ["octo/hello", "octo/*", "*", "A.b-c_9/x"]},
    "64 filters": {"filters": ["a/b"] * 64},
    "undeclared types": {"event_types": ["never_declared"]},
    "some impossible types": {"event_types": ["push", 3, None, "No-Name"]},
    "envelope": {"envelope": "diffs"},
    "since": {"since": ZEROS},
    "unknown keys": {"want_seq": True, "x": {"y": []}},
    "ext": {"ext": {}},
    "ext with keys of the future": {"ext": {"frobnicate": 1}},
    "spaces": b' {"proto" :  1}\n',
}


@pytest.mark.parametrize("frame", ACCEPTED.values(), ids=ACCEPTED)
def test_accepted(bus: Daemon, frame: Any) -> None:
    """The ack is the first frame."""
    with bus.connect().send(frame) as wire:
        ack = wire.frame()
    assert ack is not None
    assert ack["kind"] == "subscribe_ack"


@pytest.mark.parametrize("proto", [2, 0, 999, True, False, 1.0, "1", [], {}], ids=repr)
def test_another_version_is_told_so(bus: Daemon, proto: Any) -> None:
    """The one refusal that has a frame, byte for byte; then EOF. It comes before any other complaint."""
    with bus.subscribe(proto=proto, filters="wrong too") as wire:
        assert wire.body() == (
            b'{"reason":"version","remediation":"This daemon speaks broadcast wire protocol v1; send \'proto\': 1 '
            b'(or omit it) in the subscribe envelope.","supported":[1],"kind":"subscribe_rejected"}'
        )
        assert wire.body() is None


REFUSED: dict[str, Any] = {
    "no JSON": b"{",
    "no object": b"[1]",
    "null": b"null",
    "a string": b'"x"',
    "no UTF-8": b'{"a":"\xff"}',
    "UTF-16": '{"proto":1}'.encode("utf-16-le"),
    "deep": b'{"a":' + b"[" * 30000 + b"]" * 30000 + b"}",
    "filters no list": {"filters": "*"},
    "65 filters": {"filters": ["a/b"] * 65},
    "filter no string": {"filters": [1]},
    "filter without slash": {"filters": ["octo"]},
    "filter of owners": {"filters": ["*/hello"]},
    "filter half a star": {"filters": ["octo/he*"]},
    "filter with newline": {"filters": ["octo/hello\n"]},
    "filter empty": {"filters": [""]},
    "no event types": {"event_types": []},
    "event types no list": {"event_types": "push"},
    "impossible types only": {"event_types": ["No-Name", 3]},
    "type with newline": {"event_types": ["push\n"]},
    "since empty": {"since": ""},
    "since short": {"since": "0" * 25},
    "since long": {"since": "0" * 27},
    "since with newline": {"since": ZEROS + "\n"},
    "since with I": {"since": "0" * 25 + "I"},
    "since lower case": {"since": "0" * 25 + "a"},
    "since no string": {"since": 5},
    "envelope upsert": {"envelope": "upsert"},
    "envelope unknown": {"envelope": "full"},
    "envelope no string": {"envelope": 1},
    "ext no object": {"ext": []},
    "match no list": {"ext": {"match": "a=1"}},
    "match empty": {"ext": {"match": []}},
    "match no terms": {"ext": {"match": [["fields.a"]]}},
    "match too many": {"ext": {"match": [["a=1"]] * 65}},
    "match too many terms": {"ext": {"match": [["a=1"] * 65]}},
    "since without log": {"ext": {"since": {"seq": 4}}},
    "since negative": {"ext": {"since": {"time": -1}}},
}


@pytest.mark.parametrize("frame", REFUSED.values(), ids=REFUSED)
def test_refused_by_eof(bus: Daemon, frame: Any) -> None:
    """Silently, and without a reset, whatever lies unread behind the frame."""
    with bus.connect() as wire:
        wire.send(frame)
        wire.socket.sendall(b"x" * 20000)
        assert wire.body() is None


@pytest.mark.parametrize("length", [0, 65537, 0xFFFFFFFF])
def test_an_illegal_length_is_refused_by_eof(bus: Daemon, length: int) -> None:
    """0, and anything above 65536; as soon as the four bytes are there."""
    with bus.connect() as wire:
        wire.socket.sendall(struct.pack(">I", length))
        assert wire.body() is None


def test_a_frame_of_the_largest_length_is_taken(bus: Daemon) -> None:
    """65536 bytes, the prefix not counted."""
    body = json.dumps({"pad": "x" * (65536 - 11)}).encode()
    assert len(body) == 65536
    with bus.connect().send(body) as wire:
        assert wire.frames(1)[0]["kind"] == "subscribe_ack"


def test_a_frame_may_come_in_pieces(bus: Daemon) -> None:
    """Byte by byte, within the handshake's ten seconds."""
    with bus.connect() as wire:
        for byte in struct.pack(">I", 2) + b"{}":
            wire.socket.sendall(bytes([byte]))
        assert wire.frames(1)[0]["kind"] == "subscribe_ack"


def test_a_hang_up_before_the_frame_hurts_nobody(bus: Daemon) -> None:
    """With nothing, and with half a frame said."""
    for half in (b"", b"\0\0", b"\0\0\0\x0c{"):
        with bus.connect() as wire:
            wire.socket.sendall(half)
            wire.socket.shutdown(socket.SHUT_WR)
            assert wire.body() is None


def test_who_talks_behind_its_frame_is_heard_no_more(bus: Daemon) -> None:
    """Protocol 1 has the client silent from then on; a little noise changes nothing, a flood ends the connection."""
    with bus.armed() as wire:
        wire.socket.sendall(b"x" * 1000)
        say(bus, event_type="after_noise")
        assert wire.frames(1)[0]["event_type"] == "after_noise"
        with pytest.raises((BrokenPipeError, ConnectionResetError)):  # noqa: PT012 - each of the sends may be the one
            for _ in range(200):
                wire.socket.sendall(b"x" * 65536)


def test_who_closes_its_half_goes_on_listening(bus: Daemon) -> None:
    """As `printf ... | nc -U` does."""
    with bus.armed() as wire:
        wire.socket.shutdown(socket.SHUT_WR)
        say(bus, event_type="half_closed")
        assert wire.frames(1)[0]["event_type"] == "half_closed"


# -- the ack -----------------------------------------------------------------------------------------------------------


def test_the_ack_byte_for_byte(bus: Daemon) -> None:
    """Five keys, `kind` the last; nothing of the extension for who did not ask."""
    with bus.subscribe(proto=1) as wire:
        assert wire.body() == (
            b'{"proto":1,"caught_up_at":null,"heartbeat_sec":60,"max_frame_bytes":65536,"kind":"subscribe_ack"}'
        )


def test_caught_up_at_is_the_newest_event_of_a_resumed_subscription(bus: Daemon) -> None:
    """Null without `since`, though rows exist; else the id up to which is replayed, for any `since`."""
    say(bus)
    newest = say(bus)
    for since, told in ((None, None), (ZEROS, newest), (newest, newest), ("Z" * 26, newest)):
        with bus.subscribe(since=since) as wire:
            assert wire.frames(1)[0]["caught_up_at"] == told


def test_caught_up_at_is_null_in_an_empty_log(home: Path) -> None:
    """There is nothing to catch up with."""
    with daemon(home / "d") as bus, bus.subscribe(since=ZEROS) as wire:
        assert wire.frames(1)[0]["caught_up_at"] is None


def test_the_ack_in_the_extension(bus: Daemon) -> None:
    """Which log it is, where in it we begin, and which extensions are understood."""
    seq = shared(bus.log).head()
    facts = bus.log.stat()
    with bus.subscribe(ext={}) as wire:
        ack = wire.frames(1)[0]
    assert ack["ext"] == ["match", "since", "lean", "status"]
    assert ack["log"] == {"path": str(bus.log), "dev": facts.st_dev, "ino": facts.st_ino}
    assert (ack["log_id"], ack["seq"]) == (head(bus)[10:16], seq)
    assert (ack["heartbeat"], ack["pid"]) == (60.0, bus.pid)
    assert list(ack)[-1] == "kind"


# -- events ------------------------------------------------------------------------------------------------------------


def test_an_event_byte_for_byte(bus: Daemon) -> None:
    """Compact, raw UTF-8, `kind` last, all 23 keys in their order with nulls, ints as ints."""
    with bus.armed(filters=["octo/bytes"]) as wire:
        event_id = say(
            bus,
            source="agent",
            event_type="agent_message",
            owner="octo",
            repo="bytes",
            received_at=1795214738582613474,
            delivery_id="t:w1",
            summary='a → b: "hé"\n',
            ingest_method="test",
            run_id=7,
            msg_to="b",
            msg_body="hello",
        )
        body = wire.body()
    nulls = dict.fromkeys(V1_FIELDS)
    fields = nulls | {
        "source": "agent",
        "event_type": "agent_message",
        "owner": "octo",
        "repo": "bytes",
        "run_id": 7,
        "ingest_method": "test",
        "msg_to": "b",
        "msg_body": "hello",
    }
    event = {
        "event_id": event_id,
        "event_type": "agent_message",
        "owner": "octo",
        "repo": "bytes",
        "received_at": 1795214738582613474,
        "delivery_id": "t:w1",
        "summary": 'a → b: "hé"\n',
        "fields": fields,
        "kind": "event",
    }
    assert body == json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()


@pytest.mark.parametrize("own", [{}, {"exit_code": 1}, {"run_attempt": 2, "name": "x", "head_sha": "ab"}], ids=str)
def test_the_keys_of_a_source_come_behind_the_23(bus: Daemon, own: dict[str, Any]) -> None:
    """Which are always there; the source's own keep their types."""
    with bus.armed(event_types=["own_keys"]) as wire:
        say(bus, event_type="own_keys", fields=own)
        fields = wire.frames(1)[0]["fields"]
    extra = {key: value for key, value in own.items() if key not in V1_FIELDS}
    assert list(fields) == [*V1_FIELDS, *extra]
    assert {key: fields[key] for key in own} == own


def test_an_event_too_large_for_a_frame_travels_as_a_stub(bus: Daemon) -> None:
    """Byte for byte; the reader finds the whole in the log."""
    with bus.armed(event_types=["huge"]) as wire:
        event_id = say(bus, event_type="huge", msg_body="x" * 70000, msg_correlation_id="c4")
        body = wire.body()
    assert (
        body
        == (
            f'{{"event_id":"{event_id}","reason":"payload exceeds MAX_FRAME_BYTES","correlation_id":"c4",'
            '"max_frame_bytes":65536,"kind":"truncated"}'
        ).encode()
    )


def test_an_event_that_just_fits_is_whole(bus: Daemon) -> None:
    """65536 bytes; one more and it is a stub."""
    with bus.armed(event_types=["brim"]) as wire:
        say(bus, event_type="brim", delivery_id="brim 0", summary="", fields={"pad": "x"})
        room = 65536 - len(wire.body() or b"") + 1
        for more in (0, 1):
            say(bus, event_type="brim", delivery_id=f"brim+{more}", summary="", fields={"pad": "x" * (room + more)})
        assert [len(wire.body() or b""), wire.frames(1)[0]["kind"]] == [65536, "truncated"]


def test_names_nobody_declared_are_delivered(bus: Daemon) -> None:
    """Sources and types are open; 0.2 delivered only what its registry had."""
    with bus.armed() as wire:
        say(bus, source="nobody_knows", event_type="never_declared")
        assert wire.frames(1)[0]["event_type"] == "never_declared"


FILTERS: list[tuple[dict[str, Any], str]] = [
    ({"filters": ["*"]}, "abcd"),
    ({"filters": ["octo/*"]}, "abc"),
    ({"filters": ["octo/one"]}, "ab"),
    ({"filters": ["octo/two", "Octo/one"]}, "cd"),
    ({"filters": ["OCTO/ONE"]}, ""),
    ({"event_types": ["f_push"]}, "acd"),
    ({"event_types": ["f_push", "f_run"]}, "abcd"),
    ({"filters": ["octo/one", "octo/two"], "event_types": ["f_run"]}, "b"),
]


@pytest.mark.parametrize(("asked", "due"), FILTERS, ids=str)
def test_filters_or_each_other_and_and_types(bus: Daemon, asked: dict[str, Any], due: str) -> None:
    """Case-sensitive; the same live and on replay."""
    since = head(bus)
    with bus.armed(**asked) as live:
        for name, event_type, owner, repo in (
            ("a", "f_push", "octo", "one"),
            ("b", "f_run", "octo", "one"),
            ("c", "f_push", "octo", "two"),
            ("d", "f_push", "Octo", "one"),
        ):
            say(bus, event_type=event_type, owner=owner, repo=repo, summary=name)
        with bus.armed(**asked, since=since) as replay:
            for wire in (live, replay):
                assert "".join(frame["summary"] for frame in wire.frames(len(due))) == due


# -- since -------------------------------------------------------------------------------------------------------------


def test_since_is_strictly_behind_its_event(bus: Daemon) -> None:
    """The event itself was seen."""
    ids = [say(bus, event_type="counted") for _ in range(3)]
    with bus.armed(since=ids[0], event_types=["counted"]) as wire:
        assert [frame["event_id"] for frame in wire.frames(2)] == ids[1:]


@pytest.mark.parametrize("since", [ZEROS, "7" + "Z" * 25, "Z" * 26])
def test_since_unknown_is_the_beginning(home: Path, since: str) -> None:
    """As 0.2's clients expect; each id is at most `caught_up_at`, which is compared as text."""
    with daemon(home / "d") as bus:
        ids = [say(bus) for _ in range(3)]
        with bus.subscribe(since=since) as wire:
            ack, *frames = wire.frames(4)
    assert [frame["event_id"] for frame in frames] == ids
    assert all(event_id <= ack["caught_up_at"] for event_id in ids)


def test_a_replay_has_no_limit(bus: Daemon) -> None:
    """1,233 rows, all of them, in order, and then live; 0.2 stopped at 500 without a word."""
    since = head(bus)
    emit_batch(
        (EventInsert(source="t", event_type="many", summary=str(number)) for number in range(1233)), db_path=bus.log
    )
    with bus.subscribe(since=since, event_types=["many"]) as wire:
        ack, *frames = wire.frames(1234)
        assert [frame["summary"] for frame in frames] == [str(number) for number in range(1233)]
        ids = [frame["event_id"] for frame in frames]
        assert ids == sorted(ids)
        assert ids[-1] == ack["caught_up_at"]
        say(bus, event_type="many", summary="live")
        assert wire.frames(1)[0]["summary"] == "live"


def test_filters_come_before_limits(bus: Daemon) -> None:
    """One event of ours behind 2,000 of others is found; 0.2 looked at the first 500."""
    since = head(bus)
    emit_batch((EventInsert(source="t", event_type="hay") for _ in range(2000)), db_path=bus.log)
    needle = say(bus, event_type="needle")
    with bus.armed(since=since, event_types=["needle"]) as wire:
        assert wire.frames(1)[0]["event_id"] == needle


# -- heartbeat, rights -------------------------------------------------------------------------------------------------


def test_heartbeats(home: Path) -> None:
    """To everybody, whatever the filters; two keys and `kind`. An interval below 1 s is advertised as 1."""
    with daemon(home / "d", WAITBUS_HEARTBEAT_SEC="0.2") as bus, bus.subscribe(event_types=["never"]) as wire:
        assert wire.frames(1)[0]["heartbeat_sec"] == 1
        beat = wire.frame()
    assert beat is not None
    assert list(beat) == ["ts", "uptime_sec", "kind"]
    assert beat["kind"] == "daemon_heartbeat"
    assert abs(beat["ts"] - time.time()) < 30
    assert beat["uptime_sec"] in range(30)


def test_heartbeats_in_the_extension_say_how_far_we_are(home: Path) -> None:
    """Though the predicate let nothing through: so a waiter resumes from there, not from where it armed."""
    ext = {"lean": True, "match": [["fields.x=1"]]}
    with daemon(home / "d", WAITBUS_HEARTBEAT_SEC="0.2") as bus, bus.armed(ext=ext) as wire:
        emit_batch((EventInsert(source="t", event_type="other") for _ in range(300)), db_path=bus.log)
        seqs: list[int] = []
        while not seqs or seqs[-1] < 300:
            beat = wire.frame()
            assert beat is not None
            assert list(beat) == ["ts", "uptime_sec", "seq", "kind"]
            seqs.append(beat["seq"])
    assert seqs[-1] == 300


def test_the_socket_is_ours_alone(bus: Daemon) -> None:
    """Mode 0600, in a folder of mode 0700."""
    assert stat.S_IMODE(bus.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(bus.path.parent.stat().st_mode) == 0o700


STRANGER = """
import os, socket, sys
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
s = socket.socket(socket.AF_UNIX)
s.settimeout(5)
s.connect(sys.argv[1])
print(s.recv(100))
"""


def test_another_user_is_refused_before_a_byte_is_read(home: Path) -> None:
    """Even where the file's mode would let it in: EOF at once, though it has said nothing yet."""
    if os.getuid() != 0:
        pytest.skip("only root can become another user")
    with daemon(home / "d") as bus:
        for folder in (home, bus.home, bus.path.parent):
            folder.chmod(0o755)
        bus.path.chmod(0o666)
        done = support.run([sys.executable, "-I", "-S", "-c", STRANGER, str(bus.path)])
        assert done == (0, "b''\n", "")
        with bus.armed():
            pass


def test_a_connection_is_told_from_a_wire(bus: Daemon) -> None:
    """The helper's own bound: a silent daemon is silent."""
    with Wire(bus.path) as wire:
        assert wire.silent()
