"""A session: from wherever events come, in order, each once. No task, no nursery, no waiting: `step()` says what to wait for.

    connect ──ack──> live ──EOF, silence──> to_log ──> resume ──> read ──hello──> connect
       └──nobody, busy, hung, another log, 0.2──┘

Who was armed on a socket and can have no bell, or cannot read the log, is stranded instead: it tries both again, ever less often.
On the way to the log the bell is bound, then the socket is tried once more, and only then is the log read until it is dry.
A frame with a seq at or below the position is dropped, whatever the transport, so that no change of it can deliver twice.
"""

from __future__ import annotations

import os
import random
import time
from collections import deque
from typing import TYPE_CHECKING, Any

from waitbus import wire
from waitbus.client.connection import Connection, Unusable, garbled, request
from waitbus.client.start import NOW, Start
from waitbus.client.steps import Gap as Gap
from waitbus.client.steps import Note as Note
from waitbus.client.steps import Wait as Wait
from waitbus.client.tail import Tail, heartbeat
from waitbus.errors import LogError, PathError, ProtocolError
from waitbus.events import EventFrame, Fields, log_id, parse_event_id
from waitbus.paths import log_path, socket_path
from waitbus.wire import Position

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from waitbus.predicate import Wanted
    from waitbus.store import Log

HANDSHAKE = 1.0
"""s for the daemon's ack; then the client reads the log."""

SILENCE = 2.5
"""Heartbeats that a daemon may miss."""

PAGE_PAUSE = 0.001
"""s between two full pages: readers without a pause would keep the WAL from being reset."""

LOSSES = 3
"""Connections that end within `HANDSHAKE` of their ack, after which the log is read until a daemon says hello."""

RETRY, RETRY_MAX = 0.05, 5.0
"""s between two tries of who is stranded: from about the first, for a daemon that is restarted, doubling up to the second."""

Step = EventFrame | Gap | Note | Wait


class Session:
    """Events behind `start` that `wanted` may match (None: all), as the daemon's prefilter lets them through.

    `key` answers what the sessions of one event loop share a doorbell by; without it the session has a bell of its own.
    """

    def __init__(
        self,
        wanted: Wanted | None = None,
        start: Start = NOW,
        *,
        path: Path | None = None,
        log: Path | None = None,
        key: Callable[[], object] = object,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._prefilter = None if wanted is None else wanted.prefilter()
        self._start = start
        self._socket_path = socket_path() if path is None else path
        self._tail = Tail(log_path() if log is None else log, key)
        self._clock = clock
        self._out: deque[EventFrame | Gap | Note] = deque()
        # Functions, not methods of this object: those would make a cycle of it, for the garbage collector to find.
        self._state: Callable[[Session], Wait | None] = Session._begin
        self._connection: Connection | None = None
        self._pid = os.getpid()
        self._deadline = self._look_at = 0.0
        self._heartbeat = heartbeat()
        self._acked = 0.0
        self._losses = 0
        self._retry = RETRY
        self._greeting = False
        self._why: Unusable | None = None
        self._again = False
        self._said = ""
        self._patience = HANDSHAKE
        self.transport: str | None = None
        """`socket` or `log` once armed."""
        self.log_id: str | None = None
        self.seq = 0
        """With `log_id` the position: everything up to it was given, or was not wanted."""
        self._dry = False
        self._heard_ns = 0
        self._leaving: list[Callable[[], None]] = []
        self.left_ns: int | None = None
        """When the first daemon that it left, or did not find, was heard last: ns since the epoch, or 0. None: it left none."""

    @property
    def armed(self) -> bool:
        """Whether nothing that is emitted from now on can be missed."""
        return self.log_id is not None

    @property
    def caught_up(self) -> bool:
        """Whether all that was committed before the session was armed has been given."""
        return self._dry and not self._out

    @property
    def log(self) -> Log:
        """The log, for what does not travel: payloads and oversize events."""
        return self._tail.log

    @property
    def closed(self) -> bool:
        """Whether it holds no descriptor: before its first step, and after `close`."""
        return self._connection is None and self._tail.bell is None

    def step(self) -> Step:
        """The next event or notice, or what to wait for. Never blocks on anything but the log's own reads.

        Raises:
          LogError, PathError: there is no daemon, and the log cannot be read; a later step tries again. Not once it was armed on
            the socket: then it waits for a daemon.
        """
        if not self._out:
            if self._pid != os.getpid():
                self._leave_to_parent()
            while not self._out:
                wait = self._state(self)
                if wait is not None and not self._out:
                    return wait
        return self._out.popleft()

    def arm(self) -> Wait | None:
        """Go on towards being armed, leaving what comes with it for `step`; None when it is so.

        Raises:
          LogError, PathError: as `step`.
        """
        while not self.armed:
            wait = self._state(self)
            if wait is not None:
                return wait
        return None

    def notices(self) -> list[Gap | Note]:
        """What stands at the front of the queue and is no event, taken out of it."""
        found: list[Gap | Note] = []
        while self._out and not isinstance(self._out[0], EventFrame):
            found.append(self._out.popleft())  # type: ignore[arg-type]
        return found

    def hurry(self, seconds: float | None) -> None:
        """The caller has so long for everything: the daemon may use half of it for its ack, and the log the other half."""
        if seconds is not None:
            self._patience = min(HANDSHAKE, seconds / 2)

    def when_it_leaves(self, call: Callable[[], None]) -> None:
        """Call this when it leaves a daemon, or finds none, for the first time, and before it says a word of it."""
        self._leaving.append(call)

    def heard(self, wait: Wait) -> bool:
        """Whether somebody else who shares the bell drained it since the last look at the log."""
        return wait.bell is not None and self._tail.heard(wait.bell)

    def close(self) -> None:
        """Close the socket and the bell; the session cannot be used again."""
        self._hang_up()
        self._tail.stop()

    def _leave_to_parent(self) -> None:
        # A forked child: the connection and the bell are its parent's, and two readers of one stream would halve it.
        self._pid = os.getpid()
        self.close()
        self._state = Session._begin

    def _hang_up(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    # -- the socket ----------------------------------------------------------------------------------------------------

    def _begin(self) -> Wait | None:
        self._deadline = self._clock() + self._patience
        self._state = Session._connect
        return None

    def _connect(self) -> Wait | None:
        position = None if self.log_id is None else Position(self.log_id, self.seq)
        try:
            connection = Connection.open(self._socket_path, request(self._prefilter, position, self._start))
        except Unusable as why:
            return self._leave(why, again=True)
        if connection is not None:
            self._connection = connection
            self._state = Session._handshake
            return None
        now = self._clock()
        if now >= self._deadline:
            return self._leave(Unusable("hung", "the daemon accepts nobody; reading the log directly"))
        return Wait(min(self._deadline, now + 0.02 + random.random() * 0.08))

    def _handshake(self) -> Wait | None:
        connection = self._connection
        assert connection is not None
        try:
            messages = connection.receive()
            if messages:
                return self._acknowledged(connection, messages)
        except Unusable as why:
            return self._leave(why, again=why.kind == "lost")
        if self._clock() >= self._deadline:
            return self._leave(Unusable("hung", "the daemon does not answer; reading the log directly"))
        return Wait(self._deadline, fd=connection.fileno())

    def _acknowledged(self, connection: Connection, messages: list[dict[str, Any]]) -> Wait | None:
        ack = connection.ack(messages[0], self._tail.path)
        self._why = None
        if self.transport == "log" or self._said == "stranded":
            self._tell(Note("back", "a daemon is running again"))
        self._greeting = self.log_id is None
        # A position in another log is told as a gap behind the ack, and begins that log anew.
        self.log_id, self.seq = ack.log_id, ack.seq
        self._heartbeat = ack.heartbeat
        self.transport = "socket"
        self._tail.stop()
        self._acked = self._clock()
        self._heard_ns = time.time_ns() - round(HANDSHAKE * 1e9)  # it said so since we asked it
        self._deadline = self._acked + SILENCE * self._heartbeat
        self._state = Session._live
        self._take(messages[1:])
        return None

    def _live(self) -> Wait | None:
        connection = self._connection
        assert connection is not None
        try:
            messages = connection.receive()
            self._take(messages)
        except Unusable as why:
            return self._leave(why, again=why.kind == "lost" and self._is_worth_another_try())
        now = self._clock()
        if messages:
            self._deadline = now + SILENCE * self._heartbeat
            return None
        if now >= self._deadline:
            return self._leave(Unusable("hung", "the daemon fell silent; reading the log directly"))
        return Wait(self._deadline, fd=connection.fileno())

    def _is_worth_another_try(self) -> bool:
        # A daemon that hangs up on everybody would be asked for ever.
        if self._clock() - self._acked < HANDSHAKE:
            self._losses += 1
        else:
            self._losses, self._retry = 0, RETRY
        return self._losses < LOSSES

    def _take(self, messages: list[dict[str, Any]]) -> None:
        try:
            for message in messages:
                self._take_one(message)
        except ProtocolError as error:
            raise garbled(error) from None

    def _take_one(self, message: dict[str, Any]) -> None:
        kind = message.get("kind")
        if kind == "gap":
            self._take_gap(message)
            return
        self._greeting = False
        if kind in ("event", "truncated"):
            seq = wire.integer(message, "seq")
            if seq > self.seq:
                self._out.append(wire.frame_of_lean(message) if kind == "event" else self._whole(message, seq))
                self.seq = seq
        elif kind == "daemon_heartbeat":
            self._take_heartbeat(message)
        elif kind == "replay_complete":
            self._dry = True

    def _take_heartbeat(self, message: dict[str, Any]) -> None:
        if "seq" in message:
            # A filter may have hidden all of it: the position moves all the same.
            self.seq = max(self.seq, wire.integer(message, "seq"))
        if "ts" in message:
            # Its own time and not that of the reading: while a command of `on` runs nobody reads.
            self._heard_ns = wire.integer(message, "ts") * 1_000_000_000

    def _take_gap(self, message: dict[str, Any]) -> None:
        assert self.log_id is not None
        reason, first, last = message.get("reason"), wire.integer(message, "from"), wire.integer(message, "to")
        initial = self._greeting
        if reason == "pruned":
            if last <= self.seq:
                return
            self.seq = last
        elif reason == "unknown" and initial and self._is_of_other_log(self._start.event_id):
            reason = "other_log"
        self._out.append(Gap(str(reason), first, last, self.log_id, initial))

    def _is_of_other_log(self, event_id: str | None) -> bool:
        return event_id is not None and log_id(parse_event_id(event_id).tag) != self.log_id

    def _whole(self, message: dict[str, Any], seq: int) -> EventFrame:
        """An oversize event travels as a stub; its row is in the log."""
        try:
            row = self.log.row(seq)
        except (LogError, PathError):
            row = None
        if row is not None and (whole := wire.frame_of_row(row, self.log.tag)).event_id == message.get("event_id"):
            return whole
        stub = Fields(msg_correlation_id=message.get("correlation_id"))
        return EventFrame(
            event_id=str(message.get("event_id")), event_type="", owner="", repo="", received_at=0, delivery_id="",
            summary=str(message.get("reason")), fields=stub, kind="truncated", seq=seq,
        )  # fmt: skip

    # -- the log -------------------------------------------------------------------------------------------------------

    def _leave(self, why: Unusable, *, again: bool = False) -> Wait | None:
        """The daemon is not to be used: on to the log; `again`: but ask once more when the bell stands."""
        self._hang_up()
        self._dry = False
        if self._why is None or why.kind != "no_daemon":
            self._why = why
        self._again = again
        self._state = Session._to_log
        if self.left_ns is None:
            self.left_ns = self._heard_ns
            for call in self._leaving:
                call()
        return None

    def _to_log(self) -> Wait | None:
        # The bell stands before anything is read; a daemon that starts says hello to it. One may have begun to listen between
        # our attempt and the bell, so there is a second attempt. With the bell there already, this was the second, or a hello.
        if self._tail.bell is None:
            try:
                self._tail.listen()
            except (LogError, PathError) as error:
                return self._strand(error)
            if self._again:
                return self._begin()
        self._state = Session._resume
        return None

    def _strand(self, error: LogError | PathError) -> Wait | None:
        """Neither a daemon nor the log. A reader that was armed on a socket (in a sandbox it may have nothing else) waits for the
        daemon's return, by trying, since no hello can reach it; to anybody else it is an error."""
        if self.transport != "socket":
            raise error
        self._tail.stop()
        if self._retry > HANDSHAKE:
            text = f"there is no daemon, and the log cannot be read ({error.message}); trying again"
            self._tell(Note("stranded", text))
        # With jitter: those who lost one daemon are not to come back all at once.
        self._deadline = self._clock() + self._retry * (1 + random.random()) / 2
        self._retry = min(self._retry * 2, RETRY_MAX)
        self._state = Session._stranded
        return None

    def _stranded(self) -> Wait | None:
        return Wait(self._deadline) if self._clock() < self._deadline else self._begin()

    def _resume(self) -> Wait | None:
        """Find the position in the log as it is now."""
        place = self._start if self.log_id is None else Position(self.log_id, self.seq)
        try:
            found, gaps = self._tail.find(place)
        except (LogError, PathError) as error:
            return self._strand(error)
        if self._why is not None:
            self._tell(Note(self._why.kind, self._why.text))
            self._why = None
        self._out.extend(gaps)
        self.log_id, self.seq = found.log_id, found.seq
        self.transport, self._retry = "log", RETRY
        self._heartbeat = heartbeat()
        self._deadline, self._look_at = 0.0, self._clock() + self._heartbeat
        self._state = Session._read
        return None

    def _tell(self, note: Note) -> None:
        if note.kind != self._said:
            self._said = note.kind
            self._out.append(note)

    def _read(self) -> Wait | None:
        now = self._clock()
        if now < self._deadline:
            return Wait(self._deadline)
        if self._tail.hello():
            self._state = Session._begin
            return None
        page = self._tail.page(self.seq)
        if page is None:
            self._state = Session._resume
            return None
        for row in page.rows:
            self._out.append(wire.frame_of_row(row, self._tail.tag))
            self.seq = row.seq
        if page.more:
            self._deadline = now + PAGE_PAUSE
            return None
        self._dry = True
        return None if page.rows else self._wait_for_ring(now)

    def _wait_for_ring(self, now: float) -> Wait:
        if now >= self._look_at:
            self._tail.listen_anew()
            self._look_at = now + self._heartbeat
        return Wait(self._look_at, bell=self._tail.bell)
