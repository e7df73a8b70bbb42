"""A session: from wherever events come, in order, each once. No task, no nursery, no waiting: `step()` says what to wait for.

    connect ──ack──> socket ──EOF, silence──> log ──hello──> connect
       └──nobody, busy too long, another log, 0.2──> log

On the log the order is: bind the bell, try the socket once more, read until dry, then wait for the bell. Whatever the
transport, a frame with a seq at or below the position is dropped, so that no change of transport can deliver twice.
"""

from __future__ import annotations

import errno
import os
import random
import socket
import time
from collections import deque
from typing import TYPE_CHECKING, Any

import attrs

from waitbus import wire
from waitbus.client.shared_bell import SharedBell
from waitbus.client.start import NOW, Start, position
from waitbus.errors import LogError, PathError, ProtocolError
from waitbus.events import EventFrame, Fields, log_id
from waitbus.paths import SOCKET_PATH_MAX, bells_dir, log_path, socket_path
from waitbus.store import Log, shared

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from waitbus.predicate import Wanted
    from waitbus.store import Facts

HANDSHAKE = 1.0
"""s for the daemon's ack; then the client reads the log."""

HEARTBEAT = 60.0
"""s between two looks at the log without a ring: for events whose producer died between commit and ring."""

PAGE_PAUSE = 0.001
"""s between two full pages: readers without a pause would keep the WAL from being reset."""

RECEIVE = 256 * 1024


@attrs.frozen
class Wait:
    """Nothing now. Step again when `fd` is readable (or `bell` rang), at `deadline` (s, `time.monotonic`) at the latest."""

    deadline: float
    fd: int | None = None
    bell: SharedBell | None = None


@attrs.frozen
class Gap:
    """Events that cannot be given: `pruned`, `other_log` or `unknown`; `first`..`last` are seqs. `initial`: of the place that the
    caller named, not of a resumed position."""

    reason: str
    first: int
    last: int
    log_id: str
    initial: bool


@attrs.frozen
class Note:
    """A change of transport that a person may want to know: `no_daemon`, `foreign`, `other_log`, `hung`, `lost`, `back`."""

    kind: str
    text: str


Step = EventFrame | Gap | Note | Wait


class Session:
    """Events behind `start` that `wanted` may match (None: all), as the daemon's prefilter lets them through.

    `key` tells sessions of one event loop, which share a doorbell; the default is a bell of its own.
    """

    def __init__(
        self,
        wanted: Wanted | None = None,
        start: Start = NOW,
        *,
        path: Path | None = None,
        log: Path | None = None,
        key: object = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._wanted = wanted
        self._prefilter = None if wanted is None else wanted.prefilter()
        self._start = start
        self._socket_path = socket_path() if path is None else path
        self._log_path = log_path() if log is None else log
        self._bells = bells_dir() if log is None else log.parent / "bells"
        self._key = object() if key is None else key
        self._clock = clock
        self._out: deque[EventFrame | Gap | Note] = deque()
        self._state: Callable[[], Wait | None] = self._begin
        self._connection: socket.socket | None = None
        self._decoder = wire.Decoder()
        self._bell: SharedBell | None = None
        self._rings = self._hellos = 0
        self._deadline = 0.0
        self._silence = 2.5 * HEARTBEAT
        self._heartbeat = HEARTBEAT
        self._log: Log | None = None
        self._tag = 0
        self.transport: str | None = None
        """`socket` or `log` once armed."""
        self.log_id: str | None = None
        self.seq = 0
        """With `log_id` the position: everything up to it was given, or was not wanted."""

    @property
    def armed(self) -> bool:
        """Whether nothing that is emitted from now on can be missed."""
        return self.log_id is not None

    @property
    def log(self) -> Log:
        """The log, for what does not travel: payloads and oversize events."""
        if self._log is None:
            self._log = shared(self._log_path)
        return self._log

    def step(self) -> Step:
        """The next event or notice, or what to wait for. Never blocks on anything but the log's own reads."""
        while not self._out:
            wait = self._state()
            if wait is not None and not self._out:
                return wait
        return self._out.popleft()

    def progress(self) -> Wait | None:
        """One state further, leaving what it brought for `step`; for arming."""
        return self._state()

    def notices(self) -> list[Gap | Note]:
        """What stands at the front of the queue and is no event, taken out of it."""
        found: list[Gap | Note] = []
        while self._out and not isinstance(self._out[0], EventFrame):
            found.append(self._out.popleft())  # type: ignore[arg-type]
        return found

    def close(self) -> None:
        """Close the socket and the bell; the session cannot be used again."""
        self._hang_up()
        self._release_bell()

    # -- the socket ----------------------------------------------------------------------------------------------------

    def _begin(self) -> Wait | None:
        self._deadline = self._clock() + HANDSHAKE
        self._state = self._connect
        return None

    def _connect(self) -> Wait | None:
        # trio and asyncio take EAGAIN (a full backlog) for a connection in progress; so this is done by hand.
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        connection.setblocking(False)
        try:
            if len(os.fsencode(self._socket_path)) > SOCKET_PATH_MAX:
                raise FileNotFoundError
            connection.connect(os.fspath(self._socket_path))
            connection.sendall(self._subscribe_frame())
        except OSError as error:
            connection.close()
            if error.errno in (errno.EAGAIN, errno.ENOTCONN) and self._clock() < self._deadline:
                return Wait(min(self._deadline, self._clock() + 0.02 + random.random() * 0.08))
            return self._without_daemon(Note("no_daemon", "no daemon running; reading the log directly"))
        self._connection = connection
        self._decoder = wire.Decoder()
        self._state = self._handshake
        return None

    def _subscribe_frame(self) -> bytes:
        ext: dict[str, Any] = {"lean": True}
        message: dict[str, Any] = {"proto": 1, "ext": ext}
        if self._prefilter is not None:
            ext["match"] = self._prefilter.wire()
        if self.log_id is not None:
            ext["since"] = {"seq": self.seq, "log_id": self.log_id}
        elif self._start.at_ns is not None:
            ext["since"] = {"time": self._start.at_ns}
        elif self._start.event_id is not None:
            message["since"] = self._start.event_id
        return wire.pack(message)

    def _handshake(self) -> Wait | None:
        messages = self._received()
        if messages is None:
            return self._without_daemon(Note("lost", "the daemon closed the connection; reading the log directly"))
        if messages:
            return self._acknowledged(messages)
        if self._clock() >= self._deadline:
            return self._without_daemon(Note("hung", f"the daemon does not answer within {HANDSHAKE:g} s; reading the log directly"))
        return self._wait_for_socket(self._deadline)

    def _acknowledged(self, messages: list[dict[str, Any]]) -> Wait | None:
        ack = messages[0]
        refusal = self._refusal(ack)
        if refusal is not None:
            return self._without_daemon(refusal)
        if self.log_id is not None and self.transport == "log":
            self._out.append(Note("back", "a daemon is running again"))
        initial = self.log_id is None
        # A position in another log is told as a gap behind the ack, and begins that log anew.
        self.log_id, self.seq = ack["log_id"], ack["seq"]
        self._heartbeat = float(ack.get("heartbeat", HEARTBEAT))
        self._silence = 2.5 * self._heartbeat
        self.transport = "socket"
        self._release_bell()
        self._heard()
        self._state = self._live
        self._take(messages[1:], initial)
        return None

    def _refusal(self, ack: dict[str, Any]) -> Note | None:
        if ack.get("kind") != "subscribe_ack" or not isinstance(ack.get("ext"), list):
            who = f"pid {self._peer_pid()}"
            return Note("foreign", f"another program's daemon ({who}) answers on {self._socket_path}; reading the log directly")
        if not self._is_our_log(ack.get("log")):
            return Note("other_log", f"the daemon on {self._socket_path} serves another log; reading {self._log_path} directly")
        return None

    def _is_our_log(self, about: Any) -> bool:
        if not isinstance(about, dict):
            return False
        try:
            facts = os.stat(self._log_path)
        except OSError:
            # A sandbox that cannot see the state folder: then it can only be the same by name.
            return os.fspath(self._log_path) == about.get("path")
        return (facts.st_dev, facts.st_ino) == (about.get("dev"), about.get("ino"))

    def _live(self) -> Wait | None:
        messages = self._received()
        if messages is None:
            return self._without_daemon(Note("lost", "the daemon went away; reading the log directly"), retry=True)
        if messages:
            self._heard()
            self._take(messages, initial=False)
            return None
        if self._clock() >= self._deadline:
            return self._without_daemon(Note("hung", "the daemon fell silent; reading the log directly"))
        return self._wait_for_socket(self._deadline)

    def _heard(self) -> None:
        self._deadline = self._clock() + self._silence

    def _wait_for_socket(self, deadline: float) -> Wait:
        assert self._connection is not None
        return Wait(deadline, fd=self._connection.fileno())

    def _received(self) -> list[dict[str, Any]] | None:
        """The messages that have come; None if the connection ended or is not of our protocol."""
        assert self._connection is not None
        try:
            data = self._connection.recv(RECEIVE)
        except BlockingIOError:
            return []
        except OSError:
            return None
        if not data:
            return None
        try:
            return list(self._decoder.feed(data))
        except ProtocolError:
            return None

    def _take(self, messages: list[dict[str, Any]], initial: bool) -> None:
        for message in messages:
            kind = message.get("kind")
            seq = message.get("seq", 0)
            if kind == "event" and seq > self.seq:
                self.seq = seq
                self._out.append(wire.frame_of_lean(message))
            elif kind == "truncated" and seq > self.seq:
                self.seq = seq
                self._out.append(self._whole(message))
            elif kind == "daemon_heartbeat":
                # A filter may have hidden all of it: the position moves all the same.
                self.seq = max(self.seq, seq)
            elif kind == "gap":
                if message["reason"] == "other_log":
                    self.seq = 0
                self._out.append(Gap(message["reason"], message["from"], message["to"], message["log_id"], initial))

    def _whole(self, message: dict[str, Any]) -> EventFrame:
        """An oversize event travels as a stub; its row is in the log."""
        try:
            row = self.log.row(message["seq"])
        except (LogError, PathError):
            row = None
        if row is not None:
            return wire.frame_of_row(row, self.log.tag)
        stub = Fields(msg_correlation_id=message.get("correlation_id"))
        return EventFrame(
            event_id=message["event_id"], event_type="", owner="", repo="", received_at=0, delivery_id="",
            summary=message.get("reason", ""), fields=stub, kind="truncated", seq=message["seq"],
        )  # fmt: skip

    def _peer_pid(self) -> str:
        import struct

        try:
            assert self._connection is not None
            return str(struct.unpack("3i", self._connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0])
        except (OSError, AttributeError):
            return "unknown"

    def _hang_up(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    # -- the log -------------------------------------------------------------------------------------------------------

    def _without_daemon(self, note: Note, *, retry: bool = False) -> Wait | None:
        """Go to the log. The bell stands before anything is read; a daemon that starts says hello to it."""
        self._hang_up()
        if self._bell is not None:
            # We were on the log already, and only asked whether a daemon is back.
            self._state = self._read
            return None
        self._bell = SharedBell.of(self._key, self._bells)
        self._rings, self._hellos = self._bell.rings, self._bell.hellos
        self._out.append(note)
        self._state = self._resume
        if retry or note.kind == "no_daemon":
            # It may have begun to listen between our first try and the bell.
            self._deadline = self._clock() + HANDSHAKE
            self._state = self._connect_once_more
        return None

    def _connect_once_more(self) -> Wait | None:
        self._state = self._resume
        wait = self._connect()
        if self._connection is None:
            self._state = self._resume if wait is None else self._connect_once_more
        return wait

    def _resume(self) -> Wait | None:
        """Find the position in the log as it is now."""
        facts = self.log.facts()
        name = log_id(facts.tag)
        initial = self.log_id is None
        if initial:
            self.seq = self._first_position(facts, name)
        elif self.log_id != name:
            self._out.append(Gap("other_log", 0, facts.last, name, initial=False))
            self.seq = 0
        elif self.seq > facts.last:
            self._out.append(Gap("unknown", facts.last + 1, self.seq, name, initial=False))
            self.seq = facts.last
        if self.seq < facts.pruned_to:
            self._out.append(Gap("pruned", self.seq + 1, facts.pruned_to, name, initial))
            self.seq = facts.pruned_to
        self.log_id, self._tag = name, facts.tag
        self.transport = "log"
        self._state = self._read
        return None

    def _first_position(self, facts: Facts, name: str) -> int:
        seq, reason = position(self.log, self._start, facts)
        if reason is not None:
            self._out.append(Gap(reason, 0, facts.last, name, initial=True))
        return seq

    def _read(self) -> Wait | None:
        bell = self._bell
        assert bell is not None
        # Drain first, read then: whoever rings after the drain has committed what this read may have missed.
        bell.listen()
        self._rings = bell.rings
        if bell.hellos != self._hellos:
            self._hellos = bell.hellos
            self._state = self._begin
            return None
        rows, more = self.log.page(self.seq)
        if self.log.tag != self._tag:
            self._state = self._resume
            return None
        if rows and rows[0].seq > self.seq + 1 and self.seq < self.log.facts().pruned_to:
            self._state = self._resume
            return None
        for row in rows:
            self.seq = row.seq
            self._out.append(wire.frame_of_row(row, self._tag))
        if more:
            return Wait(self._clock() + PAGE_PAUSE)
        return Wait(self._clock() + self._heartbeat, bell=bell) if not rows else None

    def heard(self, wait: Wait) -> bool:
        """Whether somebody else who shares the bell drained it since the last look at the log."""
        return wait.bell is not None and wait.bell.rings != self._rings

    def _release_bell(self) -> None:
        bell, self._bell = self._bell, None
        if bell is not None:
            bell.release()
