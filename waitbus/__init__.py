"""Wait for anything that happens on this machine, and tell others that something happened.

Everything that happens is one row in one local log; `emit` writes a row, everything else reads. No set-up and no daemon are
needed; with `waitbus serve` running, waiting is shared and cheaper, and nothing else changes.

Tell:

    >>> import waitbus
    >>> result = waitbus.emit(waitbus.EventInsert(source="agent", event_type="deploy_finished", conclusion="success"))
    >>> result.inserted, result.event.event_type
    (True, 'deploy_finished')

Wait, in a script; `since` makes "is it so already?" and "when will it be so?" one question:

    >>> frame = waitbus.wait_for("event_type=deploy_finished", since="1h", timeout=5)
    >>> frame.conclusion
    'success'

Wait for several things, and learn how it ended:

    >>> clauses, bad = ["agent:conclusion=success"], ["pytest:conclusion=failure"]
    >>> outcome = waitbus.decide(all_of=clauses, fail_on=bad, since="1h", timeout=5)
    >>> outcome.kind, outcome.exit_code
    ('matched', 0)

Wait for what nobody writes into the log: a port, a URL, a file, a process, changes of files. The wait itself looks:

    >>> waitbus.decide(sources=[waitbus.ready_gone("build.lock")], timeout=5).said
    'build.lock is gone'

Read everything that comes, in order, each event once, over restarts of the daemon and of this program (`bookmark`):

    >>> with waitbus.subscribe(source="agent", since="1h", bookmark="docs") as events:
    ...     first = next(events)
    >>> first.summary
    'deploy_finished success'

The same under trio or asyncio: `aemit`, `await_for`, `adecide`, `asubscribe`, `arequest`. Ask somebody, and answer:

    >>> waitbus.request("bob", "is main green?", sender="alice", timeout=0.1) is None
    True

Terms: `KEY OP VALUE` with `= != < <= > >= ^= *= ~=` or `KEY?`, as in `"conclusion=failure"`, `"fields.exit_code>0"`. A clause
is `[source:]term[,term...]`. Times in events are ns since the epoch; time-outs are s. Errors are `waitbus.errors.WaitbusError`,
each with `.message` and `.hint`. The command line is `waitbus --help`; the contracts are in docs/CONTRACTS.md.
"""

from __future__ import annotations

TYPE_CHECKING = False  # `typing` itself costs as much as `waitbus --version`

__version__ = "0.3.0.dev0"

if TYPE_CHECKING:
    from typing import Any

    from waitbus.client.messages import arequest as arequest
    from waitbus.client.messages import request as request
    from waitbus.client.messages import respond as respond
    from waitbus.client.plan import Outcome as Outcome
    from waitbus.client.subscription import asubscribe as asubscribe
    from waitbus.client.subscription import subscribe as subscribe
    from waitbus.client.waits import adecide as adecide
    from waitbus.client.waits import await_for as await_for
    from waitbus.client.waits import decide as decide
    from waitbus.client.waits import wait_for as wait_for
    from waitbus.conditions import register_condition as register_condition
    from waitbus.conditions import register_evaluator as register_evaluator
    from waitbus.errors import BroadcastConnectionError as BroadcastConnectionError
    from waitbus.errors import EvaluatorUnavailableError as EvaluatorUnavailableError
    from waitbus.errors import WaitbusError as WaitbusError
    from waitbus.events import EmitResult as EmitResult
    from waitbus.events import EventFrame as EventFrame
    from waitbus.events import EventInsert as EventInsert
    from waitbus.predicate import Clause as Clause
    from waitbus.predicate import Predicate as Predicate
    from waitbus.producer import aemit as aemit
    from waitbus.producer import emit as emit
    from waitbus.producer import emit_batch as emit_batch
    from waitbus.sources import SourceSpec as SourceSpec
    from waitbus.sources import register_source as register_source
    from waitbus.sources.handed import ready_file as ready_file
    from waitbus.sources.handed import ready_gone as ready_gone
    from waitbus.sources.handed import ready_http as ready_http
    from waitbus.sources.handed import ready_port as ready_port
    from waitbus.sources.handed import watch_containers as watch_containers
    from waitbus.sources.handed import watch_files as watch_files
    from waitbus.sources.handed import watch_process as watch_process
    from waitbus.sources.handed import watch_source as watch_source

_HOMES = {
    "waitbus.client.messages": ("arequest", "request", "respond"),
    "waitbus.client.plan": ("Outcome",),
    "waitbus.client.subscription": ("asubscribe", "subscribe"),
    "waitbus.client.waits": ("adecide", "await_for", "decide", "wait_for"),
    "waitbus.conditions": ("register_condition", "register_evaluator"),
    "waitbus.errors": ("BroadcastConnectionError", "EvaluatorUnavailableError", "WaitbusError"),
    "waitbus.events": ("EmitResult", "EventFrame", "EventInsert"),
    "waitbus.predicate": ("Clause", "Predicate"),
    "waitbus.producer": ("aemit", "emit", "emit_batch"),
    "waitbus.sources": ("SourceSpec", "register_source"),
    "waitbus.sources.handed": (
        "ready_file",
        "ready_gone",
        "ready_http",
        "ready_port",
        "watch_containers",
        "watch_files",
        "watch_process",
        "watch_source",
    ),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}

__all__ = ["__version__", *sorted(_HOME)]


def __getattr__(name: str) -> Any:
    # Resolved when touched: a hook that only emits must not pay for trio.
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
