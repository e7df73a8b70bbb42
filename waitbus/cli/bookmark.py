"""`waitbus bookmark list|set|delete`: names for how far a reader has come."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from waitbus.cli import output
from waitbus.cli.command import group
from waitbus.cli.completing import bookmark_names
from waitbus.cli.options import SINCE, argument, json_option
from waitbus.client import bookmarks
from waitbus.client.start import NOW
from waitbus.errors import EXIT_NO, InvalidCursor, LogError
from waitbus.quantities import say_count
from waitbus.store import shared

if TYPE_CHECKING:
    from waitbus.client.start import Start
    from waitbus.store import Log


@group("bookmark")
def bookmark() -> None:
    """Keep a reader's place in the log under a name.

    A bookmark is moved by whoever reads with `--bookmark NAME`, after an event was handled; so it may be handled twice,
    and is never left out.
    """


@bookmark.command(
    "list", examples=[("waitbus bookmark list", 0), ("waitbus bookmark set ci && waitbus bookmark list --json", 0)]
)
@json_option
def bookmark_list(as_json: bool) -> None:
    """List the bookmarks, and how many events are behind each."""
    names = bookmarks.names()
    if not names:
        output.talk("no bookmarks; `waitbus bookmark set NAME` makes one")
        return
    width = max(map(len, names))
    log = shared()
    for name in names:
        place = _place(log, name)
        if as_json:
            output.record({"name": name, **place}, flush=False)
        else:
            output.data(f"{name:<{width}}  {place['cursor'] or '-':<26}  {_in_words(place)}", flush=False)


@bookmark.command(
    "set",
    examples=[("waitbus bookmark set ci", 0), ("waitbus bookmark set ci 1h --json", 0, "deploy")],
)
@argument("name", shell_complete=bookmark_names, note="letters, digits, _ . and -")
@argument("since", type=SINCE, default="now", note="now, an event id, 10m or a time [default: now]")
@json_option
def bookmark_set(name: str, since: Start, as_json: bool) -> None:
    """Put a bookmark at an event, at a moment, or at the end of the log."""
    from waitbus.client.history import locate

    log = shared()
    cursor = log.cursor() if since is NOW else locate(log, since).cursor
    bookmarks.write(name, cursor)
    place = _place(log, name)
    if as_json:
        output.record({"name": name, **place})
    else:
        output.data(f"{name}  {cursor}  {_in_words(place)}")


@bookmark.command(
    "delete",
    examples=[
        ("waitbus bookmark set old && waitbus bookmark delete old", 0),
        ("waitbus bookmark delete never-made --json", 1),
    ],
)
@argument("name", shell_complete=bookmark_names, note="letters, digits, _ . and -")
@json_option
def bookmark_delete(name: str, as_json: bool) -> int:
    """Forget a bookmark; exit 1 if there is none of that name."""
    deleted = bookmarks.delete(name)
    if as_json:
        output.record({"name": name, "deleted": deleted})
        return 0 if deleted else EXIT_NO
    if not deleted:
        return output.fail(f"no bookmark {name!r}", "`waitbus bookmark list` lists them", EXIT_NO)
    output.talk(f"deleted {name}")
    return 0


def _place(log: Log, name: str) -> dict[str, Any]:
    """Where a bookmark stands, and how many events are behind it; `state` is `ok gap other_log unknown` or `damaged`."""
    from waitbus.client.start import Start, position
    from waitbus.ops.log_facts import count

    try:
        cursor = bookmarks.read(name)
    except (InvalidCursor, LogError):
        cursor = None
    if cursor is None:
        return {"cursor": None, "seq": None, "behind": None, "state": "damaged"}
    facts = log.facts()
    seq, reason = position(log, Start(event_id=cursor), facts)
    if reason is not None:
        return {"cursor": cursor, "seq": None, "behind": None, "state": reason}
    state = "gap" if seq < facts.pruned_to else "ok"
    behind = log.use(lambda db: count(db, seq, facts.pruned_to, facts.last))
    return {"cursor": cursor, "seq": seq, "behind": behind, "state": state}


def _in_words(place: dict[str, Any]) -> str:
    behind = place["behind"]
    count = "up to date" if not behind else f"{say_count(behind, 'event')} to come"
    return {
        "ok": count,
        "gap": f"{count}; events behind it were pruned (gap)",
        "other_log": "of another log (other_log)",
        "unknown": "at no event of this log (unknown)",
        "damaged": "no cursor in its file (damaged)",
    }[place["state"]]
