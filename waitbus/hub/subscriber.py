"""One subscription on the socket: what it asked for, how far it has been served, and the channel its writer empties."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import attrs
import trio

if TYPE_CHECKING:
    from collections.abc import Callable

    from waitbus.hub.encoded import EncodedPage
    from waitbus.predicate import Wanted
    from waitbus.wire import Subscribe

CHANNEL_PAGES = 16
CHANNEL_BYTES = 1024 * 1024
"""What a channel holds, whichever is reached first. The frames of a filtered subscriber are its own, not shared pages."""

BLOB_MAX = 256 * 1024
"""Bytes a writer joins into one send."""


@attrs.define(eq=False, weakref_slot=False)
class Subscriber:
    """`floor`: never send a seq at or below it. `live`: fed by the sweep; otherwise its writer reads the log from `floor`.

    A live subscriber's position is the hub's head, so ten thousand idle ones need no bookkeeping for an event.
    """

    asked: Subscribe
    wanted: Wanted | None
    pid: int | None
    floor: int
    live: bool
    replay_to: int
    """The log's last seq at registration: behind it `replay_complete` is said, and the sweep takes over."""
    channel_pages: int = CHANNEL_PAGES
    since_ns: int = attrs.field(factory=time.time_ns)
    """When it registered, in ns since the epoch."""
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    """Around the whole subscription."""
    stall: trio.CancelScope | None = None
    """Around a wait for room in the kernel's buffer: its deadline is moved when the daemon drains."""
    told: int = 0
    """Up to here, pruned events were reported as a gap."""
    caught_up: bool = False
    """Whether `replay_complete` was said."""
    queued: int = 0
    """Bytes in the channel."""
    resting: bool = False
    """Whether the writer waits for the channel, with all that it had before handed to the kernel."""
    send_now: Callable[[bytes], int] | None = None
    """Gives the kernel what it takes without waiting, and answers how many bytes that were; where there is a socket."""
    admits_all: bool = attrs.field(init=False)
    """Whether the filters and event types of protocol 1 let every event through."""
    _send: trio.MemorySendChannel[bytes] = attrs.field(init=False)
    _receive: trio.MemoryReceiveChannel[bytes] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._send, self._receive = trio.open_memory_channel[bytes](self.channel_pages)
        self.admits_all = self.asked.admits_all

    @property
    def lean(self) -> bool:
        return self.asked.lean

    def select(self, page: EncodedPage) -> bytes:
        """The frames of a page that this subscriber gets."""
        asked, wanted = self.asked, self.wanted
        if asked.unfiltered:
            return page.blob(asked.lean, self.floor)
        indices = list(range(page.begin(self.floor), len(page.rows)))
        if not self.admits_all:
            indices = [index for index in indices if asked.admits(page.rows[index])]
        if wanted is not None:
            indices = [index for index in indices if wanted.matches(page.document(index))]
        return page.join(indices, asked.lean)

    def hand_over(self, blob: bytes) -> bytes:
        """Past a writer that has nothing else to do, give frames to the kernel; what it did not take is left to `put`.

        The way through the channel and the writer's task costs an event more than its frame and its send together.
        """
        if self.send_now is None or not self.resting or self.queued:
            return blob
        return blob[self.send_now(blob) :]

    # -- the channel ---------------------------------------------------------------------------------------------------

    def put(self, blob: bytes) -> bool:
        """Queue frames for the writer; False, and nothing queued, where the channel is full or closed."""
        if self.queued and self.queued + len(blob) > CHANNEL_BYTES:
            return False
        try:
            self._send.send_nowait(blob)
        except (trio.WouldBlock, trio.ClosedResourceError):
            return False
        self.queued += len(blob)
        return True

    async def take(self) -> bytes:
        """What is queued, up to `BLOB_MAX` bytes as one blob; waits for something, and gives b"" once the channel is closed."""
        self.resting = True
        try:
            blobs = [await self._receive.receive()]
        except trio.EndOfChannel:
            return b""
        finally:
            self.resting = False
        size = len(blobs[0])
        while self.queued > size < BLOB_MAX:
            blobs.append(self._receive.receive_nowait())
            size += len(blobs[-1])
        self.queued -= size
        return b"".join(blobs)

    def finish(self, stall: float) -> None:
        """Nothing more is put; a writer that waits for room gets `stall` s from now."""
        self.send_now = None
        self._send.close()
        if self.stall is not None:
            self.stall.deadline = min(self.stall.deadline, trio.current_time() + stall)
