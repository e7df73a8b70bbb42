"""One subscription on the socket: what it asked for, how far it has been served, and the channel its writer empties."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import trio

if TYPE_CHECKING:
    from waitbus.hub.encoded import EncodedPage
    from waitbus.predicate import Wanted
    from waitbus.wire import Subscribe

CHANNEL_PAGES = 16
BLOB_MAX = 256 * 1024
"""Bytes a writer joins into one send."""


@attrs.define(eq=False)
class Subscriber:
    """`floor`: never send a seq at or below it. `live`: fed by the sweep; otherwise its writer reads the log from `floor`.

    A live subscriber's position is the hub's head, so ten thousand idle ones need no bookkeeping for an event.
    """

    asked: Subscribe
    wanted: Wanted | None
    pid: int | None
    floor: int
    live: bool
    since_ns: int
    send: trio.MemorySendChannel[bytes] = attrs.field(init=False)
    receive: trio.MemoryReceiveChannel[bytes] = attrs.field(init=False)
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    """Around the whole subscription."""
    stall: trio.CancelScope | None = None
    """Around the send in progress: its deadline is moved when the daemon drains."""
    caught_up: bool = False
    """Whether `replay_complete` was said."""

    def __attrs_post_init__(self) -> None:
        self.send, self.receive = trio.open_memory_channel[bytes](CHANNEL_PAGES)

    @property
    def lean(self) -> bool:
        return self.asked.lean

    @property
    def queued(self) -> int:
        return self.receive.statistics().current_buffer_used

    def matches(self, page: EncodedPage, index: int) -> bool:
        if not self.asked.admits(page.rows[index]):
            return False
        return self.wanted is None or self.wanted.matches(page.document(index))

    def select(self, page: EncodedPage) -> bytes:
        """The frames of a page that this subscriber gets."""
        if self.asked.unfiltered:
            return page.blob(self.lean, self.floor)
        chosen = (i for i, row in enumerate(page.rows) if row.seq > self.floor and self.matches(page, i))
        return page.join(chosen, self.lean)

    def offer(self, blob: bytes, head: int) -> None:
        """Hand frames to the writer; a full channel makes a laggard of it, which goes on from `head` by the log."""
        try:
            self.send.send_nowait(blob)
        except trio.WouldBlock:
            self.live = False
            self.floor = max(self.floor, head)

    def gather(self, blob: bytes) -> bytes:
        """The blob and what else is queued, as one send."""
        blobs, size = [blob], len(blob)
        while size < BLOB_MAX:
            try:
                blob = self.receive.receive_nowait()
            except (trio.WouldBlock, trio.EndOfChannel):
                break
            blobs.append(blob)
            size += len(blob)
        return b"".join(blobs)

    def hurry(self, seconds: float) -> None:
        """Give a send in progress at most this long."""
        if self.stall is not None:
            self.stall.deadline = min(self.stall.deadline, trio.current_time() + seconds)
