"""What the log says of the sources: the newest change of each, however many there were."""

from __future__ import annotations

from tests.logs import event
from waitbus.store import Log
from waitbus.store.seen import sources_down


def change(log: Log, word: str, name: object, reason: str | None = None, source: str = "waitbus") -> None:
    log.append(event(source=source, event_type=f"source_{word}", fields={"name": name, "reason": reason}))


def test_nothing_is_down_in_an_empty_log(log: Log) -> None:
    assert sources_down(log) == {}


def test_the_newest_change_of_each_source_counts(log: Log) -> None:
    change(log, "down", "docker", "the engine is gone")
    change(log, "down", "fs", "the root is gone")
    change(log, "up", "docker")
    change(log, "down", "pytest")
    assert sources_down(log) == {"fs": "the root is gone", "pytest": ""}


def test_what_others_say_does_not_count(log: Log) -> None:
    change(log, "down", "docker", source="agent")
    change(log, "down", 7)
    log.append(event(source="waitbus", event_type="source_renamed", fields={"name": "docker"}))
    assert sources_down(log) == {}
