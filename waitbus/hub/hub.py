"""The hub: one order for everybody.

    head        the last seq that was fanned out        sub.floor   never send a seq at or below it
    sub.live    fed by the sweep; else its own writer reads the log, and joins again at the head

What stands between two awaits is one tick, in which nobody else runs. The order of the lines in `register`, `_fan_out` and
`_catch_up` is what keeps events from being lost or doubled: tests/hub/test_exactly_once.py has runs against random stalls, and
shows that they catch the versions that seem just as good.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import time
from typing import TYPE_CHECKING, Any

import trio

from waitbus import wire
from waitbus.errors import InvalidPredicate, ProtocolError
from waitbus.events import log_id
from waitbus.hub.begin import ack, begin
from waitbus.hub.encoded import EncodedPage, Recent
from waitbus.hub.past import Past
from waitbus.hub.patience import UNREADABLE, Episode, Patience
from waitbus.hub.subscriber import CHANNEL_PAGES, Subscriber
from waitbus.predicate import Wanted
from waitbus.predicate_index import Index
from waitbus.store import PAGE_ROWS, Facts, Log
from waitbus.store.rows import page as page_behind

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

    from waitbus.wire import Subscribe

    Send = Callable[[bytes], Awaitable[None]]

log = logging.getLogger("waitbus.hub")

BEATS_AT_ONCE = 16
"""Heartbeats between which others run: ten thousand in a row would hold up an event for half a second."""


AT_ONCE = 64
"""Subscribers of a page that are sent to from the sweep itself. The others' writers do it, and let others run between them."""

MANY = 1000
"""Subscribers from which on the garbage collector is kept away from them: a full collection with ten thousand takes 0.4 s, and
has nothing to find, since a subscription leaves no cycles behind."""


class Hub:
    """Subscribers of the log at `path`. `heartbeat` and `stall_timeout` are in s; `how` says how the daemon was started.

    `page_rows` and `channel_pages` bound what is read and queued at once; tests make them small.
    """

    def __init__(
        self,
        path: Path,
        *,
        heartbeat: float = 60.0,
        stall_timeout: float = 300.0,
        how: str = "",
        page_rows: int = PAGE_ROWS,
        channel_pages: int = CHANNEL_PAGES,
    ) -> None:
        self.path = path
        self.heartbeat = heartbeat
        self.stall_timeout = stall_timeout
        self.how = how
        self.page_rows = page_rows
        self.channel_pages = channel_pages
        self.started = time.monotonic()
        self.sources: Callable[[], list[dict[str, Any]]] = list
        """How the sources are that run beside it, for the report."""
        self.subscribers: set[Subscriber] = set()
        self.registrations = 0
        self.rows_swept = 0
        self.swept: Callable[[int], object] = lambda _: None
        """Is told how many rows a sweep came by."""
        self.deserted = False
        """Whether somebody left before the ack came: it took us too long, and nobody but us can call them back."""
        # On the loop: rows just committed are in the page cache, and a thread hop costs more than the read. It never waits
        # for a lock. In threads (Past): whatever reads further back.
        self._log = Log(path, busy_timeout=0.0)
        self.unreadable = Episode()
        self._past = Past(path, self.unreadable, page_rows)
        facts = self._log.facts()
        self.tag, self.head = facts.tag, facts.last
        self._identity = self._log.identity
        self._recent = Recent(self.head)
        self._index: Index[Subscriber] = Index()
        self._scan: dict[Subscriber, None] = {}
        self._at_once = 0
        self._again = self._sweeping = False
        self._rested = trio.lowlevel.ParkingLot()
        self._patience = Patience(self.unreadable)
        self._last: int | None = None
        self._finishing = False
        self._left = trio.Event()

    # -- subscribers ---------------------------------------------------------------------------------------------------

    def register(self, asked: Subscribe, pid: int | None) -> tuple[Subscriber, bytes]:
        """A subscriber and what its writer sends first: the ack, which carries the position it begins at. One tick.

        Raises:
          ProtocolError: a predicate is not of the grammar.
          LogError: the log cannot be read now.
        """
        wanted = _wanted(asked)
        facts = self._facts()
        floor, gap = begin(self._log, asked, facts)
        sub = Subscriber(asked, wanted, pid, floor, floor >= facts.last, facts.last, self.channel_pages)
        self.subscribers.add(sub)
        if wanted is not None:
            self._index.add(sub, wanted)
        else:
            self._scan[sub] = None
        self.registrations += 1
        if not self.registrations % MANY and len(self.subscribers) >= MANY:
            gc.collect()
            gc.freeze()
        first = ack(asked, facts, floor, self.heartbeat, self.path, self._identity)
        if sub.lean and gap is not None:
            first += wire.gap(*gap, log_id(facts.tag))
            sub.told = gap[2] if gap[0] == "pruned" else 0
        return sub, first + self._replayed(sub)

    def ack_of_status(self, asked: Subscribe) -> bytes:
        """The ack for who only asks how we are, while the log cannot be read: by what was known of it last, and no identity."""
        return ack(asked, Facts(self.tag, 0, self.head, 0, 0), self.head, self.heartbeat, self.path, (0, 0))

    def unregister(self, sub: Subscriber) -> None:
        self.subscribers.discard(sub)
        self._scan.pop(sub, None)
        if sub.wanted is not None:
            self._index.discard(sub)
        if not self.subscribers:
            self._left.set()

    def _replayed(self, sub: Subscriber) -> bytes:
        """`replay_complete`, once, when it is so."""
        if not sub.lean or sub.caught_up or not sub.live:
            return b""
        sub.caught_up = True
        return wire.replay_complete(sub.floor)

    # -- from the log to the subscribers -------------------------------------------------------------------------------

    # Few functions on this way: each costs an event 8 µs where caches are cold, as they are when events come one by one.
    async def sweep(self) -> None:
        """Read behind the head until the log is dry, and fan out. Where another call is at it, it is told to look again."""
        self._again = True
        if self._sweeping:
            return
        self._sweeping = True
        before = self.rows_swept
        try:
            more = False
            while (more or self._again) and (self._last is None or self.head < self._last):
                self._again = False
                try:
                    more = self._sweep_page()
                except UNREADABLE as error:
                    # The head stays where it is: nothing is lost, and everybody else is served meanwhile.
                    self._again = True
                    await self._patience.wait(error)
                else:
                    self._patience.over()
                    if more:
                        await trio.lowlevel.checkpoint()
        finally:
            self._sweeping = False
            self._rested.unpark_all()
            self.swept(self.rows_swept - before)

    def _sweep_page(self) -> bool:
        """Fan out one page; whether there may be more."""
        if not self.subscribers:
            self._skip()
            return False
        # The look whether the file was replaced is part of it, and comes before anything is sent: a producer that has the old one
        # open writes there once more, rings, notices, and writes the same event into the new one.
        rows, more = self._log.use(page_behind, self.head, self.page_rows)
        if self._log.identity != self._identity:
            self._begin_anew()
            return True
        if rows:
            page = EncodedPage(rows, self.tag)
            if page.first > self.head + 1:
                self._skip_hole(page)
            self._fan_out(page)
        return more

    def _skip_hole(self, page: EncodedPage) -> None:
        """Rows before `page` were pruned before they were swept, by somebody who did not wait for us: those who are live are told
        here, those who are behind when they come to it."""
        last = page.first - 1
        for sub in self.subscribers:
            if sub.live and sub.lean and sub.floor < last:
                self._offer(sub, wire.gap("pruned", max(self.head, sub.floor) + 1, last, log_id(self.tag)), page)
        self.head = last
        self._recent.clear(last)

    def _skip(self) -> None:
        """With nobody there, nothing need be read: who comes begins at the log's end, or reads what is behind it."""
        last = self._facts().last
        self.rows_swept += last - self.head
        self.head = last
        self._recent.clear(last)

    def _fan_out(self, page: EncodedPage) -> None:
        self._at_once = AT_ONCE
        for sub in self._scan:
            if sub.live:
                self._offer(sub, sub.select(page), page)
        if self._index.by_token:
            for sub, indices in self._indexed(page).items():
                self._offer(sub, page.join(indices, sub.lean), page)
        self.head = page.last
        self.rows_swept += len(page.rows)
        self._recent.append(page)

    def _indexed(self, page: EncodedPage) -> dict[Subscriber, list[int]]:
        """For each live subscriber with a predicate, the rows it gets; only those that the index names are looked at."""
        chosen: dict[Subscriber, list[int]] = {}
        for index, row in enumerate(page.rows):
            for sub in self._index.matching(page.document(index)):
                if sub.live and row.seq > sub.floor and (sub.admits_all or sub.asked.admits(row)):
                    chosen.setdefault(sub, []).append(index)
        return chosen

    def _offer(self, sub: Subscriber, blob: bytes, page: EncodedPage) -> None:
        """Hand frames of `page` to the writer; a full channel makes a laggard of it, which goes on from the head of before."""
        if blob and self._at_once:
            self._at_once -= 1
            blob = sub.hand_over(blob)
        if blob and not sub.put(blob):
            sub.live = False
            sub.floor = max(sub.floor, self.head)

    async def write(self, sub: Subscriber, first: bytes, send: Send) -> None:
        """A subscriber's writer: the greeting, then from the channel while it is live, else from the log."""
        try:
            await send(first)
        except OSError:
            self.deserted = True
            raise
        while not self._is_done(sub):
            blob = await (sub.take() if sub.live or sub.queued else self._catch_up(sub))
            if blob:
                await send(blob)

    async def _catch_up(self, sub: Subscriber) -> bytes:
        """The next frames for a laggard; moves its floor, and makes it live again where it reached the head."""
        head, gap = self.head, b""
        pages = self._recent.after(sub.floor)
        if pages:
            # A filter may leave nothing to send for many pages: others get their turn.
            await trio.lowlevel.checkpoint()
        else:
            pages, gap = await self._read_past(sub)
        # From here to the end is one tick.
        blob = gap + b"".join([sub.select(page) for page in pages])
        self._advance(sub, pages, head)
        return blob + self._replayed(sub)

    def _advance(self, sub: Subscriber, pages: list[EncodedPage], head: int) -> None:
        """Move the floor over what was read; `head` is the one of before the reading.

        Where nothing was found, all up to that head is served: seqs that were burnt or pruned, too.
        """
        sub.floor = max(sub.floor, pages[-1].last if pages else head)
        sub.live = sub.floor >= max(self.head, sub.replay_to)

    async def _read_past(self, sub: Subscriber) -> tuple[list[EncodedPage], bytes]:
        """A page from the log, and the gap to tell before it."""
        page, pruned_to, identity = await self._past.after(sub.floor)
        while identity != self._identity:
            # Another log by now: whoever is in this one is sent away.
            self._past.clear()
            self._facts()
            await trio.lowlevel.checkpoint()
            page, pruned_to, identity = await self._past.after(sub.floor)
        first = max(sub.floor, sub.told) + 1
        last = pruned_to if page is None else min(pruned_to, page.first - 1)
        if not sub.lean or first > last:
            gap = b""
        else:
            gap = wire.gap("pruned", first, last, log_id(self.tag))
            sub.told = last
        return ([] if page is None else [page]), gap

    # -- the log is another one ----------------------------------------------------------------------------------------

    def _facts(self) -> Facts:
        facts = self._log.facts()
        # A backup that was copied over the file leaves its identity, and a lower `last`.
        if self._log.identity == self._identity and facts.last >= self.head:
            return facts
        self._begin_anew()
        return self._log.facts()

    def _begin_anew(self) -> None:
        """The log is not the one that was swept until now, so seqs mean something else: everybody is sent away, and comes back
        with a position."""
        facts = self._log.facts()
        log.warning("the log %s was replaced by another one; its subscribers are told", self.path)
        self._identity, self.tag, self.head = self._log.identity, facts.tag, facts.last
        self._recent.clear(self.head)
        self._past.clear()
        for sub in self.subscribers:
            sub.scope.cancel()

    # -- the clock, and the end ----------------------------------------------------------------------------------------

    async def beat(self) -> None:
        """A heartbeat for everybody. What only laggards needed is forgotten if there are none."""
        with contextlib.suppress(*UNREADABLE):
            self._facts()
            self._log.use(lambda db: db.execute("PRAGMA shrink_memory"))
        if all(sub.live for sub in self.subscribers):
            self._recent.clear(self.head)
            self._past.clear()
        with _collector_kept_away(len(self.subscribers) >= MANY):
            await self._beat()

    async def _beat(self) -> None:
        now, uptime = int(time.time()), int(time.monotonic() - self.started)
        plain = wire.heartbeat(now, uptime)
        for number, sub in enumerate(list(self.subscribers)):
            if number % BEATS_AT_ONCE == BEATS_AT_ONCE - 1:
                await trio.lowlevel.checkpoint()
            # A subscriber whose channel is full is not idle, and is watched by its own stall time-out.
            sub.put(wire.heartbeat(now, uptime, self.position(sub)) if sub.lean else plain)

    def position(self, sub: Subscriber) -> int:
        """The seq up to which a subscriber has been served, though a filter may have hidden all of it."""
        return max(self.head, sub.floor) if sub.live else sub.floor

    async def drain(self, stall: float = 1.0) -> None:
        """Serve everybody up to the newest row of now, then let go of each; one that takes no byte for `stall` s is cut."""
        try:
            self._last = self._facts().last
        except UNREADABLE as error:
            log.warning("%s; leaving without a last look", error.message)
            self._last = self.head
        while not self._is_swept():
            if self._sweeping:
                await self._rested.park()
            await self.sweep()
        self._finishing = True
        self.stall_timeout = min(self.stall_timeout, stall)
        for sub in self.subscribers:
            sub.finish(stall)
        while self.subscribers:
            self._left = trio.Event()
            await self._left.wait()

    def _is_swept(self) -> bool:
        return self._last is not None and self.head >= self._last

    def _is_done(self, sub: Subscriber) -> bool:
        return self._finishing and not sub.queued and (sub.live or sub.floor >= self.head)

    def close(self) -> None:
        self._log.close()
        self._past.close()


def _wanted(asked: Subscribe) -> Wanted | None:
    if asked.match is None:
        return None
    try:
        return Wanted.from_wire([list(terms) for terms in asked.match]).prefilter()
    except InvalidPredicate as error:
        raise ProtocolError(error.message, hint=error.hint) from None


@contextlib.contextmanager
def _collector_kept_away(wanted: bool) -> Iterator[None]:
    """While everybody is woken everybody waits anew: ten thousand times some objects that live on, and no garbage among them."""
    if not wanted:
        yield
        return
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
