"""Request and respond: a message to somebody by name, and the answer to it, over the same log as everything else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from waitbus.client.feed import Feed
from waitbus.client.plan import Plan
from waitbus.client.start import Start
from waitbus.client.subscription import AsyncSubscription, Subscription, path_of, refuse_in_loop, seconds_of
from waitbus.client.waits import run, run_sync
from waitbus.errors import InvalidEvent
from waitbus.event_checks import shown
from waitbus.events import EmitResult, EventFrame, EventInsert, new_delivery_id
from waitbus.paths import absolute, log_path
from waitbus.predicate import Predicate, Term
from waitbus.producer import aemit, emit

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def request(
    to: str,
    body: str,
    *,
    sender: str,
    timeout: float | None = None,
    reply_to: str | None = None,
    correlation_id: str | None = None,
    thread: str | None = None,
    socket_path: Path | str | None = None,
    db_path: Path | str | None = None,
    doorbell_path: object = None,
) -> EventFrame | None:
    """Send a message and wait for its answer: the answer's event, None after `timeout` s. A reply of any size arrives whole.

    A `correlation_id` that was used before waits for the answer to that first request; its body is the one that counts.
    `doorbell_path` is accepted and ignored.

    Raises:
      InvalidEvent: a name or the body is not a text.
      RunningLoopError: an event loop runs in this thread; `arequest` is what to call there.
      LogError: the request could not be written.
    """
    refuse_in_loop("request", "arequest")
    timeout = seconds_of(timeout)  # before anything is sent
    sent = emit(_request(to, body, sender, reply_to, correlation_id, thread), db_path=db_path).event
    plan, feed = _answer_to(sent, socket_path, db_path, object)
    subscription = Subscription(feed)
    try:
        return run_sync(plan, subscription, timeout=timeout).frame
    finally:
        subscription.close()


async def arequest(
    to: str,
    body: str,
    *,
    sender: str,
    timeout: float | None = None,
    reply_to: str | None = None,
    correlation_id: str | None = None,
    thread: str | None = None,
    socket_path: Path | str | None = None,
    db_path: Path | str | None = None,
) -> EventFrame | None:
    """`request`, for trio and asyncio."""
    from waitbus.client.drive import loop_key

    timeout = seconds_of(timeout)
    sent = (await aemit(_request(to, body, sender, reply_to, correlation_id, thread), db_path=db_path)).event
    plan, feed = _answer_to(sent, socket_path, db_path, loop_key)
    subscription = AsyncSubscription(feed)
    try:
        return (await run(plan, subscription, timeout=timeout)).frame
    finally:
        subscription.close()


def respond(
    request_frame: EventFrame,
    body: str,
    *,
    sender: str | None = None,
    thread: str | None = None,
    db_path: Path | str | None = None,
    doorbell_path: object = None,
) -> EmitResult:
    """Answer a request. `inserted` is False where this sender answered it before: the first answer stands.

    Raises:
      InvalidEvent: the event is no request.
      LogError: the answer could not be written.
    """
    if not isinstance(request_frame, EventFrame):
        raise InvalidEvent(f"{shown(request_frame)} is no event", hint="give the frame of the request, as it was read")
    asked = request_frame.fields
    correlation, asker, answerer = asked.get("msg_correlation_id"), asked.get("msg_from"), sender or asked.get("msg_to")
    if request_frame.event_type != "agent_message" or not correlation or not asker or not answerer:
        raise InvalidEvent(
            f"event {request_frame.event_id} is no request that could be answered",
            hint="a request is an agent_message with msg_from, msg_to and msg_correlation_id",
        )
    answer = EventInsert(
        source="agent",
        event_type="agent_message",
        repo="agents",
        delivery_id=f"agent:{answerer}:reply:{correlation}",
        msg_to=asker,
        msg_from=answerer,
        msg_correlation_id=correlation,
        msg_reply_to=asked.get("msg_reply_to"),
        msg_thread=thread or asked.get("msg_thread"),
        msg_body=body,
    )
    return emit(answer, db_path=db_path)


def _request(
    to: str, body: str, sender: str, reply_to: str | None, correlation_id: str | None, thread: str | None
) -> EventInsert:
    correlation = correlation_id or new_delivery_id()
    return EventInsert(
        source="agent",
        event_type="agent_message",
        repo="agents",
        delivery_id=f"agent:{sender}:request:{correlation}",
        msg_to=to,
        msg_from=sender,
        msg_correlation_id=correlation,
        msg_reply_to=reply_to or f"{sender}.{correlation}",
        msg_thread=thread,
        msg_body=body,
    )


def _answer_to(
    sent: EventFrame, socket_path: Path | str | None, db_path: Path | str | None, key: Callable[[], object]
) -> tuple[Plan, Feed]:
    fields = sent.fields
    predicate = Predicate(
        (
            Term("msg_correlation_id", "=", fields["msg_correlation_id"]),
            Term("msg_to", "=", fields["msg_from"]),
            Term("event_id", "!=", sent.event_id),
        )
    )
    plan = Plan.of(predicate, honour=False)
    feed = Feed(
        plan.wanted,
        Start(event_id=sent.event_id),
        path=path_of(socket_path),
        log=log_path() if db_path is None else absolute(db_path),
        key=key,
    )
    return plan, feed
