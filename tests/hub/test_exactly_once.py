"""Each subscriber gets exactly its events, in order, once: random runs, and proof that they would notice.

A run has 24 subscribers that join at random moments with or without `since`, filter, stall and leave, and a producer that rolls
back and forgets to ring. The hub's versions that look just as good and lose or double events (`MUTANTS`) are run by the same
code, which has to catch each of them.
"""

from __future__ import annotations

import os
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import attrs
import pytest
import trio
import trio.testing

from tests import logs
from waitbus import wire
from waitbus.events import EventInsert, Row, parse_event_id
from waitbus.hub.encoded import EncodedPage
from waitbus.hub.hub import Hub
from waitbus.hub.subscriber import Subscriber
from waitbus.store import Log

SUBSCRIBERS = 24
EVENTS = 1500
TYPES = ("tick", "tock", "boom")


class Wrong(Exception):
    """A subscriber got something else than its events."""


@attrs.define
class Reader:
    """One subscriber of a run: what it asks for, what it got, and how it stalls."""

    number: int
    rng: random.Random
    asked: wire.Subscribe
    wants: Callable[[Row], bool]
    begins: int = -1
    got: list[int] = attrs.field(factory=list)
    decoder: wire.Decoder = attrs.field(factory=wire.Decoder)
    stalls: float = 0.0
    leaves: bool = False
    socket: bool = False

    async def send(self, blob: bytes) -> None:
        """What the socket would do: take it at once, or let the writer wait."""
        if self.rng.random() < self.stalls:
            await trio.sleep(self.rng.choice((0.001, 0.01, 0.3)))
        self.take(blob)
        if self.leaves and len(self.got) > 200:
            raise trio.BrokenResourceError

    def send_now(self, blob: bytes) -> int:
        """What the kernel takes without waiting: all, nothing, or some of it, which need not end with a frame."""
        size = self.rng.choice((len(blob), len(blob), 0, self.rng.randint(0, len(blob))))
        self.take(blob[:size])
        return size

    def take(self, data: bytes) -> None:
        for frame in self.decoder.feed(data):
            if frame["kind"] == "event":
                self.got.append(parse_event_id(frame["event_id"]).seq)


def reader(number: int, rng: random.Random, log: Log) -> Reader:
    """A subscriber as chance has it."""
    since: dict[str, Any] = {}
    if rng.random() < 0.5:
        event_id = log.event_id(seq := rng.randint(0, log.head()), row.at_ms if (row := log.row(seq)) else 0)
        since = {"since": event_id}
    lean = rng.random() < 0.5
    kind = rng.choice(TYPES)
    value = rng.randint(0, 9)
    asks: list[tuple[dict[str, Any], Callable[[Row], bool]]] = [
        ({}, lambda row: True),
        ({"event_types": [kind]}, lambda row: row.event_type == kind),
        ({"filters": ["local/a", "x/*"]}, lambda row: row.repo == "a"),
        ({"ext": {"match": [[f"fields.n={value}"]]}}, lambda row: f'"n":{value}' in row.fields),
        (
            {"ext": {"match": [["n<5", f"event_type={kind}"]]}},
            lambda row: row.event_type == kind and row.fields < '{"n":5',
        ),
    ]
    frame, wants = rng.choice(asks)
    if lean:
        frame = {**frame, "ext": {**frame.get("ext", {}), "lean": True}}
    asked = wire.parse_subscribe({**frame, **since})
    stalls = rng.choice((0.0, 0.0, 0.1, 0.9))
    return Reader(number, rng, asked, wants, stalls=stalls, leaves=rng.random() < 0.1, socket=rng.random() < 0.6)


async def subscribe(hub: Hub, log: Log, one: Reader) -> None:
    """Register and write until the hub lets go, as `hub.connection` does."""
    await trio.sleep(one.rng.random() * 0.5)
    top = log.head()
    sub, first = hub.register(one.asked, None)
    one.begins = top if one.asked.since is None else parse_event_id(one.asked.since).seq
    if one.socket:
        sub.send_now = one.send_now
    try:
        await hub.write(sub, first, one.send)
    except trio.BrokenResourceError:
        one.got.clear()
        one.begins = -1  # it left: nothing more is promised
    finally:
        hub.unregister(sub)


async def produce(hub: Hub, log: Log, rng: random.Random) -> None:
    """Transactions of many sizes; some are rolled back, some nobody is told of."""
    made = 0
    while made < EVENTS:
        count = rng.choice((1, 1, 1, 2, 7, 40, 300))
        events = [
            EventInsert(
                source="t", event_type=rng.choice(TYPES), repo=rng.choice("ab"), fields={"n": rng.randint(0, 9)}
            )
            for _ in range(count)
        ]
        if rng.random() < 0.1:
            with pytest.raises(ZeroDivisionError):
                log.write(lambda db: [db.execute("DELETE FROM events WHERE seq = -1"), 1 / 0])
            continue
        log.append_many(events)
        made += count
        if rng.random() < 0.8:
            await hub.sweep()
        await trio.sleep(rng.choice((0.0, 0.0, 0.0005, 0.01)))


@asynccontextmanager
async def reads(threads: bool, rng: random.Random) -> AsyncIterator[None]:
    """How laggards read: in threads as they do, or inline with a pause behind it, in which the world goes on."""

    async def inline(work: Callable[..., Any], *args: Any) -> Any:
        answer = work(*args)
        await trio.sleep(rng.choice((0.0, 0.001, 0.02)))
        return answer

    if threads:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(tick)
            yield
            nursery.cancel_scope.cancel()
    else:
        with mock.patch("waitbus.hub.past.trio.to_thread.run_sync", inline):
            yield


async def tick() -> None:
    """Time goes on while threads read, 1 ms whenever nobody has anything to do: a clock that jumps would not wait for them."""
    clock = trio.lowlevel.current_clock()
    assert isinstance(clock, trio.testing.MockClock)
    while True:
        await trio.testing.wait_all_tasks_blocked()
        clock.jump(0.001)


async def one_run(seed: int, kind: type[Hub], *, page_rows: int, channel_pages: int, threads: bool) -> None:
    """Raise Wrong if anybody got anything but its events, in order, once."""
    rng = random.Random(seed)
    path = Path(os.getcwd(), f"{seed}-{kind.__name__}.db")
    log = Log(path)
    log.append_many(
        EventInsert(source="t", event_type="tick", fields={"n": n % 10}) for n in range(rng.choice((0, 50, 400)))
    )
    hub = kind(path, page_rows=page_rows, channel_pages=channel_pages)
    readers = [reader(number, random.Random(seed * 1000 + number), log) for number in range(SUBSCRIBERS)]
    try:
        async with reads(threads, rng), trio.open_nursery() as nursery:
            for one in readers:
                nursery.start_soon(subscribe, hub, log, one)
            await produce(hub, log, rng)
            await trio.sleep(1)
            await hub.drain(stall=1e9)
        rows = logs.rows(log)
        for one in readers:
            check(one, rows)
    finally:
        hub.close()
        log.close()


def check(one: Reader, rows: list[Row]) -> None:
    if one.begins < 0:
        return
    due = [row.seq for row in rows if row.seq > one.begins and one.wants(row)]
    if one.got != due:
        lost, extra = sorted(set(due) - set(one.got)), sorted(set(one.got) - set(due))
        doubled = len(one.got) - len(set(one.got))
        raise Wrong(f"reader {one.number} {one.asked}: lost {lost[:5]}, extra {extra[:5]}, doubled {doubled}")


# -- the hub as it is --------------------------------------------------------------------------------------------------

SHAPES = [(1, 1), (3, 1), (7, 2), (32, 8), (100, 3), (256, 1), (256, 16), (1024, 8)]


@pytest.fixture(autouse=True)
def folder(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home)


@pytest.mark.parametrize(("page_rows", "channel_pages"), SHAPES)
async def test_each_subscriber_gets_exactly_its_events(
    page_rows: int, channel_pages: int, autojump_clock: trio.abc.Clock
) -> None:
    """Whatever the sizes of pages and channels; the reads of laggards end when chance wants it."""
    for seed in range(2):
        await one_run(seed + 10 * page_rows, Hub, page_rows=page_rows, channel_pages=channel_pages, threads=False)


@pytest.mark.parametrize(("page_rows", "channel_pages"), [(32, 2), (256, 1), (256, 16)])
async def test_each_subscriber_gets_exactly_its_events_by_threads(
    page_rows: int, channel_pages: int, mock_clock: trio.abc.Clock
) -> None:
    """The same with the threads that a daemon has."""
    await one_run(page_rows, Hub, page_rows=page_rows, channel_pages=channel_pages, threads=True)


# -- hubs that seem just as good ---------------------------------------------------------------------------------------


class ShortPageIsLive(Hub):
    """A page that is not full means caught up. But the head has moved while it was read."""

    def _advance(self, sub: Subscriber, pages: list[EncodedPage], head: int) -> None:
        super()._advance(sub, pages, head)
        sub.live = sub.live or sum(len(page.rows) for page in pages) < self.page_rows


class RemembersTheOverflow(Hub):
    """A laggard goes on behind the page that did not fit. But that page was not delivered."""

    def _offer(self, sub: Subscriber, blob: bytes, page: EncodedPage) -> None:
        super()._offer(sub, blob, page)
        if not sub.live:
            sub.floor = page.last


class LiveWithoutFloor(Hub):
    """Who is live gets each page whole. But its own reading may have been ahead of the sweep."""

    def _fan_out(self, page: EncodedPage) -> None:
        floors = {sub: sub.floor for sub in self.subscribers if sub.live}
        for sub in floors:
            sub.floor = -1
        super()._fan_out(page)
        for sub, floor in floors.items():
            sub.floor = max(floor, sub.floor)


class LiveAfterTheSend(Hub):
    """A laggard joins when its page was sent. But what was swept during the send has passed it by."""

    async def _catch_up(self, sub: Subscriber) -> bytes:
        blob = await super()._catch_up(sub)
        if sub.live:
            sub.live = False
            await trio.sleep(0.001)
            sub.live = True
        return blob


class BeginsAtTheHead(Hub):
    """Who comes begins at what was fanned out so far. But more may be committed, and was before the ack."""

    def register(self, asked: wire.Subscribe, pid: int | None) -> tuple[Subscriber, bytes]:
        sub, first = super().register(asked, pid)
        if asked.since is None:
            sub.floor = self.head
        return sub, first


MUTANTS = [ShortPageIsLive, RemembersTheOverflow, LiveWithoutFloor, LiveAfterTheSend, BeginsAtTheHead]


@pytest.mark.parametrize("mutant", MUTANTS)
async def test_the_runs_catch_what_loses_or_doubles(mutant: type[Hub], autojump_clock: trio.abc.Clock) -> None:
    """Within a few runs each of them is found out; so the runs above can fail."""
    for seed in range(12):
        page_rows, channel_pages = SHAPES[seed % 6]
        try:
            await one_run(seed, mutant, page_rows=page_rows, channel_pages=channel_pages, threads=False)
        except Wrong:
            return
    pytest.fail(f"{mutant.__name__} was not noticed")
