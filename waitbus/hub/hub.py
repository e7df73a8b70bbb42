"""The hub: one order for everybody.

    head        the last seq that was fanned out        sub.floor   never send a seq at or below it
    sub.live    fed by the sweep; else its own writer reads the log, and joins again at the head

What stands between two awaits is one tick, in which nobody else runs; the order of the lines in `_catch_up` and `_fan_out` is
what keeps events from being lost or doubled, and `tests/hub` has runs against random stalls that fail if it is changed.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import time
from collections import OrderedDict
from typing import TYPE_CHECKING

import trio

from waitbus import __version__, wire
from waitbus.errors import InvalidPredicate, LogBusy, LogError, ProtocolError
from waitbus.events import log_id, make_event_id
from waitbus.hub.encoded import EncodedPage, Recent
from waitbus.hub.subscriber import Subscriber
from waitbus.predicate import Wanted
from waitbus.predicate_index import Index
from waitbus.store import Facts, Log, Page

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from waitbus.wire import Position, Subscribe

    Send = Callable[[bytes], Awaitable[None]]

log = logging.getLogger("waitbus.hub")

FREEZE_EVERY = 1000
"""A full collection with ten thousand subscribers takes 0.4 s; what is registered is not garbage."""

READ_PAGES = 16
"""Pages that laggards read lately: those who resume from one place read them once."""


class Hub:
    """Subscribers of one log. `heartbeat` and `stall_timeout` are in s; `how` says how the daemon was started."""

    def __init__(self, path: Path, *, heartbeat: float = 60.0, stall_timeout: float = 300.0, how: str = "") -> None:
        self.path = path
        self.heartbeat = heartbeat
        self.stall_timeout = stall_timeout
        self.how = how
        self.started = time.monotonic()
        self.subscribers: set[Subscriber] = set()
        self.rows_swept = 0
        # On the loop: rows just committed are in the page cache, and a thread hop costs more than the read. It never waits
        # for a lock. In threads: whatever reads the past.
        self._log = Log(path, busy_timeout=0.0)
        self._past = Log(path)
        facts = self._log.facts()
        self.tag = facts.tag
        self.head = facts.last
        self._identity = self._log.identity
        self._recent = Recent(self.head)
        self._read: OrderedDict[int, EncodedPage] = OrderedDict()
        self._index: Index[Subscriber] = Index()
        self._scan: set[Subscriber] = set()
        self._reading = trio.CapacityLimiter(1)
        self._sweeping = False
        self._again = False
        self._drain_to: int | None = None
        self._registered = 0
        self.wants_checkpoint = trio.Event()
        self._empty = trio.Event()

    # -- subscribers ---------------------------------------------------------------------------------------------------

    def register(self, asked: Subscribe, pid: int | None) -> tuple[Subscriber, bytes]:
        """A subscriber and what its writer sends first: the ack, which carries the position it begins at. One tick.

        Raises:
          ProtocolError: a predicate is not of the grammar.
          LogError: the log cannot be read now.
        """
        wanted = self._wanted(asked)
        facts = self._current_facts()
        floor, gap = self._begin(asked, facts)
        sub = Subscriber(asked, wanted, pid, floor, live=floor >= self.head, since_ns=time.time_ns())
        self.subscribers.add(sub)
        if wanted is not None:
            self._index.add(sub, wanted)
        else:
            self._scan.add(sub)
        self._registered += 1
        if self._registered % FREEZE_EVERY == 0:
            gc.freeze()
        return sub, self._greeting(sub, facts, gap)

    def unregister(self, sub: Subscriber) -> None:
        self.subscribers.discard(sub)
        self._scan.discard(sub)
        if sub.wanted is not None:
            self._index.discard(sub)
        if not self.subscribers:
            self._empty.set()

    def _wanted(self, asked: Subscribe) -> Wanted | None:
        if asked.match is None:
            return None
        try:
            return Wanted.from_wire([list(terms) for terms in asked.match]).prefilter()
        except InvalidPredicate as error:
            raise ProtocolError(error.message, hint=error.hint) from None

    def _begin(self, asked: Subscribe, facts: Facts) -> tuple[int, bytes]:
        """Where to begin, and the gap to tell first."""
        name = log_id(facts.tag)
        if asked.since_ns is not None:
            return self._log.seq_before(asked.since_ns // 1_000_000), b""
        if asked.position is not None:
            return _from_position(asked.position, facts, name)
        if asked.since is None:
            return facts.last, b""
        seq = self._seq_of(asked.since, facts)
        # A client of 0.2 expects an id that the log does not know to replay from its beginning.
        return (0, wire.gap("unknown", 0, facts.last, name)) if seq is None else (seq, _pruned(seq, facts, name))

    def _seq_of(self, event_id: str, facts: Facts) -> int | None:
        place = wire.position_of(event_id)
        if place is not None and place.tag == facts.tag and place.seq <= facts.last:
            row = self._log.row(place.seq)
            if place.seq == 0 or place.seq <= facts.pruned_to or (row is not None and row.at_ms == place.at_ms):
                return place.seq
        return self._log.alias(event_id)

    def _greeting(self, sub: Subscriber, facts: Facts, gap: bytes) -> bytes:
        asked = sub.asked
        resumed = asked.since is not None or asked.since_ns is not None or asked.position is not None
        extra = None
        if asked.extended:
            identity = self._identity
            extra = {
                "ext": list(wire.EXTENSIONS),
                "log_id": log_id(facts.tag),
                "seq": sub.floor,
                "heartbeat": self.heartbeat,
                "pid": os.getpid(),
                "version": __version__,
                "log": {"path": os.fspath(self.path), "dev": identity[0], "ino": identity[1]},
            }
        caught_up_at = make_event_id(facts.last_at_ms, facts.tag, facts.last) if resumed and facts.last else None
        first = wire.ack(caught_up_at=caught_up_at, heartbeat_sec=self.heartbeat, extra=extra)
        if sub.lean:
            first += gap
            if sub.live:
                sub.caught_up = True
                first += wire.replay_complete(sub.floor)
        return first

    # -- from the log to the subscribers -------------------------------------------------------------------------------

    async def sweep(self) -> None:
        """Read behind the head until the log is dry, and fan out. Called when a bell rang; calls in between are remembered."""
        self._again = True
        if self._sweeping or self._drain_to is not None:
            return
        self._sweeping = True
        try:
            while self._again:
                self._again = False
                await self._sweep()
        finally:
            self._sweeping = False

    async def _sweep(self) -> None:
        pause = 0.001
        while True:
            try:
                rows, more = self._log.page(self.head)
                self._notice_replacement()
            except LogError as error:
                # The head stands where it stood: nothing is lost, and everybody else is served meanwhile.
                if not isinstance(error, LogBusy) and pause == 0.001:
                    log.warning("%s; trying again", error.message)
                await trio.sleep(pause)
                pause = min(pause * 2, 0.05 if isinstance(error, LogBusy) else 5.0)
                continue
            pause = 0.001
            if rows:
                self._fan_out(EncodedPage(rows, self.tag))
            if not more:
                return
            await trio.lowlevel.checkpoint()

    def _fan_out(self, page: EncodedPage) -> None:
        head = self.head
        for sub in self._scan:
            if sub.live and (blob := sub.select(page)):
                sub.offer(blob, head)
        if len(self._index):
            for sub, indices in self._indexed(page).items():
                sub.offer(page.join(indices, sub.lean), head)
        self.head = page.last
        self.rows_swept += len(page.rows)
        self._recent.append(page)

    def _indexed(self, page: EncodedPage) -> dict[Subscriber, list[int]]:
        """For each live subscriber with a predicate, the rows it gets; only those that the index names are looked at."""
        chosen: dict[Subscriber, list[int]] = {}
        for index, row in enumerate(page.rows):
            for sub in self._index.matching(page.document(index)):
                if sub.live and row.seq > sub.floor and sub.asked.admits(row):
                    chosen.setdefault(sub, []).append(index)
        return chosen

    async def write(self, sub: Subscriber, first: bytes, send: Send) -> None:
        """A subscriber's writer: the greeting, then from the channel while it is live, else from the log."""
        await send(first)
        while not self._is_done(sub):
            if sub.live or sub.queued:
                try:
                    blob = sub.gather(await sub.receive.receive())
                except trio.EndOfChannel:
                    continue
            else:
                blob = await self._catch_up(sub)
            await send(blob)

    async def _catch_up(self, sub: Subscriber) -> bytes:
        """The next frames for a laggard, from the recent pages or from the log; moves its floor, and makes it live again."""
        head = self.head
        page, gap = self._recent.after(sub.floor), b""
        if page is None:
            page, gap = await self._read_past(sub)
        else:
            # A filter may leave nothing to send for many pages: others get their turn.
            await trio.lowlevel.checkpoint()
        # From here to the end is one tick.
        blob = gap
        if page is not None:
            blob += sub.select(page)
            sub.floor = max(sub.floor, page.last)
        else:
            # Nothing behind the floor when it was read: all up to the head of before is served, burnt seqs and pruned ones too.
            sub.floor = max(sub.floor, head)
        if sub.floor >= self.head:
            sub.live = True
            if sub.lean and not sub.caught_up:
                sub.caught_up = True
                blob += wire.replay_complete(sub.floor)
        return blob

    async def _read_past(self, sub: Subscriber) -> tuple[EncodedPage | None, bytes]:
        """A page behind the subscriber's floor and a gap to tell first. One reader at a time: without a pause between them they
        would keep the WAL from being reset."""
        async with self._reading:
            page = self._read.get(sub.floor)
            if page is not None:
                return page, b""
            (rows, more), facts = await self._past_page(sub.floor)
        gap = _pruned(sub.floor, facts, log_id(facts.tag)) if sub.lean else b""
        if not rows:
            return None, gap
        page = EncodedPage(rows, facts.tag)
        if more:
            self._read[sub.floor] = page
            if len(self._read) > READ_PAGES:
                self._read.popitem(last=False)
        return page, gap

    async def _past_page(self, floor: int) -> tuple[Page, Facts]:
        pause = 0.05
        while True:
            try:
                return await trio.to_thread.run_sync(lambda: (self._past.page(floor), self._past.facts()))
            except LogError as error:
                log.warning("%s; trying again", error.message)
                await trio.sleep(pause)
                pause = min(pause * 2, 5.0)

    # -- the log is another one ----------------------------------------------------------------------------------------

    def _current_facts(self) -> Facts:
        facts = self._log.facts()
        self._notice_replacement()
        return facts

    def _notice_replacement(self) -> None:
        """If the file was replaced, seqs mean something else now: everybody is sent away, and comes back with a position."""
        if self._log.identity == self._identity:
            return
        facts = self._log.facts()
        log.warning("the log %s was replaced by another one; subscribers are told", self.path)
        self._identity, self.tag, self.head = self._log.identity, facts.tag, 0
        self._recent = Recent(0)
        self._read.clear()
        for sub in self.subscribers:
            sub.scope.cancel()

    # -- the clock, and the end ----------------------------------------------------------------------------------------

    async def beat(self) -> None:
        """One heartbeat: events whose producer died before it rang, then a frame for everybody."""
        await self.sweep()
        gc.freeze()
        now, uptime = int(time.time()), int(time.monotonic() - self.started)
        plain = wire.heartbeat(now, uptime)
        lean = wire.heartbeat(now, uptime, self.head)
        for sub in self.subscribers:
            if not sub.lean:
                blob = plain
            elif sub.live and sub.floor <= self.head:
                blob = lean
            else:
                blob = wire.heartbeat(now, uptime, sub.floor)
            with contextlib.suppress(trio.WouldBlock, trio.ClosedResourceError):
                # A subscriber whose channel is full is not idle, and is watched by its own stall time-out.
                sub.send.send_nowait(blob)

    async def drain(self, stall: float = 1.0) -> None:
        """Serve everybody up to the newest row of now, then let go of each; one that takes no byte for `stall` s is cut."""
        with contextlib.suppress(LogError):
            last = self._current_facts().last
            while self.head < last:
                await self.sweep()
        self._drain_to = self.head
        self.stall_timeout = stall
        for sub in self.subscribers:
            sub.send.close()
            sub.hurry(stall)
        if self.subscribers:
            self._empty = trio.Event()
            await self._empty.wait()

    def _is_done(self, sub: Subscriber) -> bool:
        return self._drain_to is not None and not sub.queued and (sub.live or sub.floor >= self._drain_to)

    def close(self) -> None:
        self._log.close()
        self._past.close()


def _from_position(position: Position, facts: Facts, name: str) -> tuple[int, bytes]:
    if position.log_id != name:
        return 0, wire.gap("other_log", 0, facts.last, name)
    if position.seq > facts.last:
        return facts.last, wire.gap("unknown", facts.last + 1, position.seq, name)
    return position.seq, _pruned(position.seq, facts, name)


def _pruned(seq: int, facts: Facts, name: str) -> bytes:
    return wire.gap("pruned", seq + 1, facts.pruned_to, name) if seq < facts.pruned_to else b""
