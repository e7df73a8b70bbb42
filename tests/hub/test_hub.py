"""The hub in process: where a subscription begins, what it is told, and what it costs."""

from __future__ import annotations

import gc
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from waitbus import wire
from waitbus.document import Document
from waitbus.errors import ProtocolError
from waitbus.events import EventInsert, log_id
from waitbus.hub.hub import Hub
from waitbus.hub.report import report
from waitbus.hub.subscriber import CHANNEL_BYTES, Subscriber
from waitbus.predicate import Predicate
from waitbus.store import Log
from waitbus.store.retention import Retention, prune_chunk

LEAN = {"ext": {"lean": True}}


@attrs.define
class Bus:
    """A hub, its log, and writers whose frames are collected."""

    path: Path
    log: Log
    hub: Hub

    def add(self, count: int = 1, **event: Any) -> int:
        """Append events that nobody is told of; the newest seq."""
        self.log.append_many(EventInsert(**{"source": "t", "event_type": "tick", **event}) for _ in range(count))
        return self.log.head()

    def register(self, **message: Any) -> tuple[Subscriber, list[dict[str, Any]]]:
        """A subscriber and the frames it is sent first."""
        sub, first = self.hub.register(wire.parse_subscribe(message), None)
        return sub, list(wire.Decoder().feed(first))

    def cursor(self, seq: int) -> str:
        row = self.log.row(seq)
        return self.log.event_id(seq, row.at_ms if row else 0)

    async def served(self, *subs: Subscriber, until: int) -> list[list[dict[str, Any]]]:
        """Run the writers until each was served up to `until`; what each sent besides what it was sent first."""
        sent: list[list[dict[str, Any]]] = [[] for _ in subs]

        async def write(number: int, sub: Subscriber) -> None:
            decoder = wire.Decoder()

            async def send(blob: bytes) -> None:
                sent[number].extend(decoder.feed(blob))

            await self.hub.write(sub, b"", send)

        with trio.fail_after(10):
            async with trio.open_nursery() as nursery:
                for number, sub in enumerate(subs):
                    nursery.start_soon(write, number, sub)
                while not all(sub.live and not sub.queued and self.hub.position(sub) >= until for sub in subs):
                    await trio.lowlevel.checkpoint()
                await trio.testing.wait_all_tasks_blocked()
                nursery.cancel_scope.cancel()
        return sent


@pytest.fixture
def bus(home: Path) -> Iterator[Bus]:
    path = home / "s" / "events.db"
    log = Log(path)
    log.head()
    made = Bus(path, log, Hub(path, page_rows=64))
    yield made
    made.hub.close()
    log.close()
    gc.unfreeze()  # what a thousand subscribers made the hub do


def seqs(frames: list[dict[str, Any]]) -> list[int]:
    return [frame["seq"] for frame in frames if frame["kind"] == "event"]


# -- registration ------------------------------------------------------------------------------------------------------


async def test_committed_before_the_ack_is_not_delivered_and_after_it_is(bus: Bus) -> None:
    """Though the hub had not yet looked: the ack's position is the log's, not the hub's."""
    before = bus.add(3)
    sub, (ack, done) = bus.register(**LEAN)
    assert (ack["seq"], done) == (before, {"seq": before, "kind": "replay_complete"})
    after = bus.add(2)
    await bus.hub.sweep()
    assert seqs((await bus.served(sub, until=after))[0]) == [before + 1, before + 2]


async def test_the_ack_is_first_with_an_event_in_the_window(bus: Bus) -> None:
    """Between registration and the first send there may be a sweep."""
    sub, first = bus.hub.register(wire.parse_subscribe(LEAN), None)
    seq = bus.add()
    await bus.hub.sweep()
    sent: list[bytes] = []

    async def send(blob: bytes) -> None:
        sent.append(blob)
        if len(sent) == 2:
            raise trio.BrokenResourceError

    with pytest.raises(trio.BrokenResourceError):
        await bus.hub.write(sub, first, send)
    kinds = [(frame["kind"], frame.get("seq")) for blob in sent for frame in wire.Decoder().feed(blob)]
    assert kinds == [("subscribe_ack", seq - 1), ("replay_complete", seq - 1), ("event", seq)]


async def test_replay_complete_waits_for_what_was_committed_before_the_ack(bus: Bus) -> None:
    """Not only for what the hub had fanned out: `replay` ends there."""
    since = bus.cursor(bus.add())
    await bus.hub.sweep()
    top = bus.add(200)
    sub, frames = bus.register(**LEAN, since=since)
    assert [frame["kind"] for frame in frames] == ["subscribe_ack"]
    (sent,) = await bus.served(sub, until=top)
    assert seqs(sent) == list(range(2, top + 1))
    assert sent[-1] == {"seq": top, "kind": "replay_complete"}


async def test_replay_complete_is_said_once(bus: Bus) -> None:
    """A laggard that catches up again has no replay behind it."""
    top = bus.add(10)
    sub, _ = bus.register(ext={"lean": True, "since": {"seq": 0, "log_id": bus.cursor(0)[10:16]}})
    (sent,) = await bus.served(sub, until=top)
    sub.live = False
    bus.add()
    await bus.hub.sweep()
    (more,) = await bus.served(sub, until=top + 1)
    assert [frame["kind"] for frame in [*sent, *more]].count("replay_complete") == 1


async def test_since_a_time_is_the_time_of_commit(bus: Bus) -> None:
    """Whatever producers say of when it was received."""
    bus.add(5, received_at=10**18)
    row = bus.log.row(3)
    assert row is not None
    bus.log.write(lambda db: db.execute("UPDATE events SET at_ms = at_ms + 5000 WHERE seq > 3"))
    sub, (ack, *_) = bus.register(ext={"lean": True, "since": {"time": (row.at_ms + 1) * 1_000_000}})
    assert ack["seq"] == 3
    assert seqs((await bus.served(sub, until=5))[0]) == [4, 5]


# -- gaps --------------------------------------------------------------------------------------------------------------


def prune(bus: Bus, keep: int) -> None:
    """Let go of all rows but the newest `keep`."""
    first = bus.log.head() - keep
    while prune_chunk(bus.log, Retention(max_age=0.001, keep_from=first + 1), now=4e9):
        pass
    assert bus.log.facts().pruned_to == first


@pytest.mark.parametrize("by_id", [True, False], ids=["by id", "by position"])
async def test_a_pruned_position_is_told_once(bus: Bus, by_id: bool) -> None:
    """The gap stands behind the ack, and then the first event that is left."""
    bus.add(300)
    cursor = bus.cursor(10)
    prune(bus, 20)
    ext: dict[str, Any] = {"lean": True}
    asked = {"since": cursor} if by_id else {}
    if not by_id:
        ext["since"] = {"seq": 10, "log_id": cursor[10:16]}
    sub, (_, gap) = bus.register(ext=ext, **asked)
    assert gap == {"reason": "pruned", "from": 11, "to": 280, "log_id": cursor[10:16], "kind": "gap"}
    (sent,) = await bus.served(sub, until=300)
    assert [frame["kind"] for frame in sent] == ["event"] * 20 + ["replay_complete"]


async def test_what_is_pruned_under_a_laggard_is_told(bus: Bus) -> None:
    """Its position was good when it came; the rows behind it went while it was slow."""
    bus.add(300)
    sub, _ = bus.register(ext={"lean": True, "since": {"seq": 0, "log_id": bus.cursor(0)[10:16]}})
    prune(bus, 20)
    (sent,) = await bus.served(sub, until=300)
    gap, *frames = sent
    assert (gap["kind"], gap["reason"], gap["from"], gap["to"]) == ("gap", "pruned", 1, 280)
    assert seqs(frames) == list(range(281, 301))


def age(bus: Bus, keep: range) -> None:
    """Let go of all that is old but `keep`, which was imported."""
    bus.log.write(lambda db: db.executemany("INSERT INTO aliases VALUES (?, ?)", [(f"{n:026d}", n) for n in keep]))
    while prune_chunk(bus.log, Retention(max_age=0.001), now=4e9):
        pass


async def test_rows_that_outlive_those_around_them_are_given_between_two_gaps(bus: Bus) -> None:
    """Imported ones: below the prune mark there are rows, and a gap ends where the next one stands."""
    bus.add(300)
    age(bus, range(41, 201))
    frames: list[list[dict[str, Any]]] = []
    subs = []
    for ext in ({"lean": True}, {"lean": True, "match": [["seq>=50"]]}):
        since = {"seq": 0, "log_id": bus.cursor(0)[10:16]}
        sub, (_, *first) = bus.register(ext={**ext, "since": since})
        subs.append(sub)
        frames.append(first)
    for said, more in zip(frames, await bus.served(*subs, until=300), strict=True):
        said += more
    everything, filtered = frames
    assert [frame.get("seq") or (frame["from"], frame["to"]) for frame in everything] == [
        (1, 40), *range(41, 201), (201, 299), 300, 300
    ]  # fmt: skip
    assert [frame for frame in filtered if frame["kind"] == "gap"] == [f for f in everything if f["kind"] == "gap"]
    assert seqs(filtered) == [*range(50, 201), 300]


async def test_rows_that_are_pruned_before_they_are_swept_are_told(bus: Bus) -> None:
    """By `db prune`, which waits for nobody, while the daemon was stopped."""
    bus.add(10)
    await bus.hub.sweep()
    live, _ = bus.register(**LEAN)
    full, _ = bus.register(**LEAN)
    plain, _ = bus.register()
    while full.put(b""):
        pass
    bus.add(90)
    prune(bus, 20)
    await bus.hub.sweep()
    late, (_, gap) = bus.register(ext={"lean": True, "since": {"seq": 5, "log_id": bus.cursor(0)[10:16]}})
    assert (gap["from"], gap["to"]) == (6, 80)
    sent = await bus.served(live, full, plain, late, until=100)
    kinds = ["event"] * 20
    assert [[frame["kind"] for frame in one] for one in sent] == [
        ["gap", *kinds], ["gap", *kinds], kinds, [*kinds, "replay_complete"]
    ]  # fmt: skip
    assert [(one[0]["from"], one[0]["to"]) for one in sent[:2]] == [(11, 80)] * 2


async def test_a_position_in_another_log_is_told(bus: Bus) -> None:
    """A seq means nothing without its log."""
    top = bus.add(3)
    sub, (ack, gap) = bus.register(ext={"lean": True, "since": {"seq": 2, "log_id": "ZZZZZZ"}})
    assert (ack["seq"], gap["reason"], gap["from"], gap["to"]) == (0, "other_log", 0, top)
    assert seqs((await bus.served(sub, until=top))[0]) == [1, 2, 3]


async def test_a_position_ahead_of_the_log_is_told(bus: Bus) -> None:
    """A backup was restored: we go on from its end."""
    top = bus.add(3)
    _, (ack, gap, done) = bus.register(ext={"lean": True, "since": {"seq": 9, "log_id": bus.cursor(3)[10:16]}})
    assert (ack["seq"], gap["reason"], gap["from"], gap["to"]) == (top, "unknown", 4, 9)
    assert done["kind"] == "replay_complete"


async def test_an_unknown_event_replays_all(bus: Bus) -> None:
    """As 0.2's clients expect; who asked for markers is told."""
    top = bus.add(3)
    for since, reason in (("0" * 26, "other_log"), ("Z" * 26, "unknown"), (bus.log.event_id(2, 7), "unknown")):
        sub, (ack, gap) = bus.register(**LEAN, since=since)
        assert (ack["seq"], gap["reason"], gap["to"]) == (0, reason, top)
        assert seqs((await bus.served(sub, until=top))[0]) == [1, 2, 3]
        _, frames = bus.register(since=since)
        assert [frame["kind"] for frame in frames] == ["subscribe_ack"]


async def test_protocol_1_is_told_of_no_gap(bus: Bus) -> None:
    """It knows no such frame."""
    bus.add(300)
    cursor = bus.cursor(10)
    prune(bus, 20)
    sub, frames = bus.register(since=cursor)
    (sent,) = await bus.served(sub, until=300)
    assert {frame["kind"] for frame in frames + sent} == {"subscribe_ack", "event"}
    assert len(sent) == 20


# -- the log is another one --------------------------------------------------------------------------------------------


def wipe(bus: Bus) -> None:
    bus.log.close()
    for suffix in ("", "-wal", "-shm"):
        Path(f"{bus.path}{suffix}").unlink(missing_ok=True)


@pytest.mark.parametrize("finds", ["sweep", "register", "beat"])
async def test_a_replaced_log_sends_everybody_away(bus: Bus, finds: str, caplog: pytest.LogCaptureFixture) -> None:
    """Their seqs mean something else now; whoever comes back with a position is told which log it was."""
    bus.add(50)
    await bus.hub.sweep()
    sub, (ack, _) = bus.register(**LEAN)
    wipe(bus)
    top = bus.add(7)
    if finds == "sweep":
        await bus.hub.sweep()
    elif finds == "beat":
        await bus.hub.beat()
    else:
        bus.register()
    assert sub.scope.cancel_called
    assert "was replaced" in caplog.text
    back, (_, gap) = bus.register(ext={"lean": True, "since": {"seq": 50, "log_id": ack["log_id"]}})
    assert (gap["reason"], gap["to"]) == ("other_log", top)
    assert seqs((await bus.served(back, until=top))[0]) == list(range(1, top + 1))
    again = bus.add()
    await bus.hub.sweep()
    assert seqs((await bus.served(back, until=again))[0]) == [again]


async def test_a_laggard_reads_no_other_log(bus: Bus) -> None:
    """It was reading the old one when the new one came; what it had kept is not mistaken for the new."""
    bus.add(500)
    await bus.hub.sweep()
    await bus.hub.beat()  # so that it has to read the file
    sub, _ = bus.register(ext={"lean": True, "since": {"seq": 0, "log_id": bus.cursor(0)[10:16]}})
    got: list[int] = []

    async def send(blob: bytes) -> None:
        got.extend(seqs(list(wire.Decoder().feed(blob))))
        if len(got) == 64:
            wipe(bus)
            bus.add(900)
            await trio.lowlevel.checkpoint()

    with sub.scope:
        await bus.hub.write(sub, b"", send)
    assert sub.scope.cancelled_caught
    assert got == list(range(1, 65))


async def test_a_backup_copied_over_the_log_is_another_log(bus: Bus) -> None:
    """The file's identity stays; its last seq does not."""
    bus.add(10)
    bus.log.write(lambda db: None)
    bus.log.use(lambda db: db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall())
    backup = bus.path.with_name("backup")
    shutil.copyfile(bus.path, backup)
    bus.add(5)
    await bus.hub.sweep()
    sub, _ = bus.register(**LEAN)
    bus.log.write(lambda db: db.execute("DELETE FROM events WHERE seq > 10"))
    await bus.hub.beat()
    assert sub.scope.cancel_called
    fresh, _ = bus.register(**LEAN)
    top = bus.add()
    await bus.hub.sweep()
    assert seqs((await bus.served(fresh, until=top))[0]) == [top]


# -- predicates --------------------------------------------------------------------------------------------------------


async def test_ten_thousand_waiters_cost_what_matches(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    """An event nobody waits for evaluates at most 2 predicates, whoever asks them; one for one of them writes one frame."""
    evaluated: list[Predicate] = []
    evaluate = Predicate.matches

    def counted(predicate: Predicate, document: Document) -> bool:
        evaluated.append(predicate)
        return evaluate(predicate, document)

    monkeypatch.setattr(Predicate, "matches", counted)
    subs = [
        bus.register(ext={"lean": True, "match": [[f"fields.job={number}", "event_type=tick"]]})[0]
        for number in range(10000)
    ]
    index = bus.hub._index
    bus.add(fields={"job": 99999})
    await bus.hub.sweep()
    assert len(evaluated) == index.evaluations <= 2
    bus.add(fields={"job": 4711})
    await bus.hub.sweep()
    assert len(evaluated) == index.evaluations <= 4
    assert [number for number, sub in enumerate(subs) if sub.queued] == [4711]
    assert [frame["fields"]["job"] for frame in wire.Decoder().feed(await subs[4711].take())] == [4711]
    for sub in subs:
        bus.hub.unregister(sub)
    assert not len(index)


async def test_the_daemon_lets_through_what_it_does_not_evaluate(bus: Bus) -> None:
    """Regular expressions and payloads are the client's; too much, never too little."""
    match = [["fields.name~=(a+)+$", "fields.level=high"], ["payload.deep.key=1", "fields.level=low"]]
    sub, _ = bus.register(ext={"lean": True, "match": match})
    for level in ("high", "low", "none"):
        bus.add(fields={"name": "b", "level": level})
    await bus.hub.sweep()
    frames = list(wire.Decoder().feed(await sub.take()))
    assert [frame["fields"]["level"] for frame in frames] == ["high", "low"]


async def test_the_daemon_lets_through_what_it_cannot_compare(bus: Bus) -> None:
    """It can tell nobody that a number and a text have no order; the client can, and then drops it."""
    sub, _ = bus.register(ext={"lean": True, "match": [["fields.size>10", "fields.state=done"]]})
    for size, state in (("12", "done"), ("12", "open"), (12, "done"), (9, "done"), (None, "done"), (True, "done")):
        bus.add(fields={"size": size, "state": state})
    await bus.hub.sweep()
    assert [frame["fields"]["size"] for frame in wire.Decoder().feed(await sub.take())] == ["12", 12]


async def test_predicates_are_evaluated_on_the_row(bus: Bus) -> None:
    """So an event that fits no frame matches like any other."""
    sub, _ = bus.register(ext={"lean": True, "match": [["fields.kind=big"]]})
    seq = bus.add(fields={"kind": "big", "text": "x" * 100_000})
    await bus.hub.sweep()
    (stub,) = wire.Decoder().feed(await sub.take())
    assert (stub["kind"], stub["seq"]) == ("truncated", seq)


@pytest.mark.parametrize("match", [[["a b"]], [[]] * 65, [["fields."]]], ids=str)
async def test_a_predicate_that_is_none_is_refused(bus: Bus, match: Any) -> None:
    """Before anything is registered."""
    with pytest.raises(ProtocolError):
        bus.register(ext={"match": match})
    assert not bus.hub.subscribers


async def test_filters_and_predicates_and_each_other(bus: Bus) -> None:
    """A client may give both."""
    sub, _ = bus.register(filters=["octo/*"], ext={"lean": True, "match": [["fields.n=1"]]})
    for owner, number in (("octo", 1), ("octo", 2), ("x", 1)):
        bus.add(owner=owner, fields={"n": number})
    await bus.hub.sweep()
    assert len(list(wire.Decoder().feed(await sub.take()))) == 1


async def test_with_nobody_there_nothing_is_read(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    """A flood while nobody listens costs one look; who comes with a position reads what is behind it."""
    monkeypatch.setattr(Hub, "_fan_out", None)
    top = bus.add(1000)
    await bus.hub.sweep()
    assert (bus.hub.head, bus.hub.rows_swept) == (top, top)
    monkeypatch.undo()
    sub, _ = bus.register(ext={"lean": True, "since": {"seq": 0, "log_id": bus.cursor(0)[10:16]}})
    assert seqs((await bus.served(sub, until=top))[0]) == list(range(1, top + 1))


# -- bounds ------------------------------------------------------------------------------------------------------------


async def test_a_channel_holds_a_bounded_number_of_bytes(bus: Bus) -> None:
    """The frames of a filtered subscriber are its own; past the bound it reads the log, at its own pace, and gets all."""
    sub, _ = bus.register(ext={"lean": True, "match": [["fields.n=1"]]})
    for _ in range(40):
        top = bus.add(2, fields={"n": 1, "text": "x" * 30_000})
        await bus.hub.sweep()
        assert sub.queued <= CHANNEL_BYTES
    assert not sub.live
    assert seqs((await bus.served(sub, until=top))[0]) == list(range(1, top + 1))


async def test_what_laggards_needed_is_forgotten(bus: Bus) -> None:
    """Recent pages and pages of the past are kept for laggards; without one they are memory for nothing."""
    bus.register()
    top = bus.add(500)
    await bus.hub.sweep()
    sub, _ = bus.register(ext={"lean": True, "since": {"seq": 0, "log_id": bus.cursor(0)[10:16]}})
    await bus.hub.beat()
    assert bus.hub._recent.after(0)
    await bus.served(sub, until=top)
    await bus.hub.beat()
    assert not bus.hub._recent.after(0)
    assert not bus.hub._past._kept


async def test_a_heartbeat_says_how_far_each_is(bus: Bus) -> None:
    """The head for who is live, the floor for a laggard: a client never resumes ahead of what it got."""
    live, _ = bus.register(**LEAN)
    behind, _ = bus.register(ext={"lean": True, "since": {"seq": 0, "log_id": bus.cursor(0)[10:16]}})
    filtered, _ = bus.register(ext={"lean": True, "match": [["fields.n=1"]]})
    plain, _ = bus.register()
    behind.live, behind.floor = False, 2
    bus.add(5)
    await bus.hub.sweep()
    await bus.hub.beat()
    last = {}
    for name, sub in (("live", live), ("behind", behind), ("filtered", filtered), ("plain", plain)):
        *_, last[name] = wire.Decoder().feed(await sub.take())
    assert {name: frame.get("seq") for name, frame in last.items()} == {
        "live": 5,
        "behind": 2,
        "filtered": 5,
        "plain": None,
    }
    assert {frame["kind"] for frame in last.values()} == {"daemon_heartbeat"}


def collected() -> list[Subscriber]:
    """The subscribers that a full collection would look at."""
    return [thing for thing in gc.get_objects() if isinstance(thing, Subscriber)]


async def test_each_thousand_subscribers_are_kept_from_the_collector(bus: Bus) -> None:
    """A full collection that had to walk over ten thousand would hold up everybody for 0.4 s."""
    gc.collect()
    before = len(collected())
    for due in [*range(1, 1000), 0, *range(1, 1000), 0]:
        bus.register()
        if due in (0, 1, 999):
            assert len(collected()) - before == due
    assert gc.get_freeze_count() > 2000


async def test_a_heartbeat_keeps_many_subscribers_from_the_collector(bus: Bus) -> None:
    """Whoever came since the last thousand, too, and what all of them made by waiting anew."""
    gc.collect()
    before = len(collected())
    for _ in range(1100):
        bus.register()
    assert len(collected()) - before == 100
    await bus.hub.beat()
    assert len(collected()) <= before


async def test_many_heartbeats_let_others_run(bus: Bus) -> None:
    """Ten thousand in one go would hold up an event for half a second."""
    for _ in range(1000):
        bus.register()
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await trio.lowlevel.checkpoint()
            ticks += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(tick)
        await bus.hub.beat()
        nursery.cancel_scope.cancel()
    assert ticks >= 50
    assert gc.isenabled()


async def test_the_report_fits_a_frame_whatever_subscribes(bus: Bus) -> None:
    """10,000 subscribers: the count is of all, the rows are those that fit, laggards first."""
    bus.add()
    await bus.hub.sweep()
    subs = [bus.register(ext={"match": [[f"fields.a={'é' * 300}{number}"]]})[0] for number in range(10000)]
    subs[5000].live, subs[5000].floor = False, 0
    for _ in range(2):  # whoever asked before, and was not seen to leave yet, is no subscriber either
        bus.register(ext={"status": True})
    (said,) = wire.Decoder().feed(report(bus.hub))
    assert (said["subscriber_count"], said["lagging_count"]) == (10000, 1)
    assert said["subscribers"][0]["lag"] == 1
    assert len(said["subscribers"]) > 50
    assert said["log"] == {"path": os.fspath(bus.path), "log_id": log_id(bus.log.tag), "seq": 1}


async def test_the_report_fits_a_frame_whatever_the_sources_say(bus: Bus) -> None:
    """A thousand of them, with reasons and roots of a megabyte, beside ten thousand subscribers."""
    row = {
        "name": "fs",
        "state": "down",
        "reason": "é" * 1_000_000,
        "since": 1,
        "retry_at": None,
        "events": 0,
        "heard": None,
    }
    bus.hub.sources = lambda: [{**row, "scope": ["é" * 1_000_000] * 100} for _ in range(1000)]
    for number in range(10000):
        bus.register(ext={"match": [[f"fields.a={'é' * 300}{number}"]]})
    (said,) = wire.Decoder().feed(report(bus.hub))
    assert len(said["sources"]) >= 2
    assert len(said["subscribers"]) > 50
    assert {len(one["reason"]) for one in said["sources"]} == {200}


async def test_what_a_wait_hears_aside_is_not_what_it_asked_for(bus: Bus) -> None:
    aside = sorted(wire.ASIDE)
    bus.register(ext={"match": [['@source="docker"'], [*aside, 'name="docker"']]})
    bus.register(ext={"match": [[*aside, 'name="docker"']]})
    (said,) = wire.Decoder().feed(report(bus.hub))
    asked = sorted(one["predicate"] for one in said["subscribers"])
    assert asked == ['@source="docker"', ", ".join([*aside, 'name="docker"'])]
