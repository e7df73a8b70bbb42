"""Every option of 0.2's `emit wait on replay read-events events-query broadcast-tap` is taken, with values that worked there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests import support
from waitbus.events import EventInsert
from waitbus.producer import emit

NEEDED = "--source agent --event-type agent_message --owner o --repo r --payload-json {} --ingest-method api"
OLD: list[tuple[str, int]] = [
    (f"emit --delivery-id d1 --received-at 1738324800 {NEEDED}", 0),
    (f"emit --delivery-id d2 --received-at 1738324800.5 {NEEDED}", 0),
    (f"emit --delivery-id d3 --received-at 1738324800000000000 {NEEDED}", 0),
    (f"emit --delivery-id d4 --received-at 2025-01-31 {NEEDED}", 0),
    (f"emit --delivery-id d5 --received-at 2025-01-31T12:00:00z {NEEDED}", 0),
    (f"emit --delivery-id d6 --received-at 2025-01-31T12:00:00+01:00 {NEEDED}", 0),
    (f"emit --delivery-id d7 --received-at 2025-01-31T12:00:00 {NEEDED} --format json", 0),
    (f"emit --delivery-id d8 --received-at 2025-01-31 {NEEDED} --format cloudevent", 0),
    (f"emit --delivery-id d9 --received-at 2025-01-31 {NEEDED} --db {{home}}/x.db", 0),
    ("emit --source Docker --event-type docker_container --owner o --repo r --received-at 1738324800 --ingest-method x"
     " --delivery-id d11 --payload-json @{home}/p.json", 0),
    ("wait --source agent --since {first} --timeout 5s", 0),
    ('wait --match fields.source="agent" --since {first} --timeout 5', 0),
    ('wait --match fields.source="agent" --match event_type="agent_message" --since {first} --timeout 5S', 0),
    ("wait --match fields.run_id=null --source agent --since {first} --timeout 0.05", 124),
    ("wait --source agent --repo o/r --since {first} --timeout 1m", 0),
    ("wait --source agent --repo o/* --since {first} --timeout 1h", 0),
    ("wait --sha c0ffee0 --repo o/r --timeout 0.05", 124),
    ("wait --sha C0FFEE0123456789C0FFEE0123456789C0FFEE01 --source github --repo o/r --timeout 0.05", 124),
    ("wait --cond nope --timeout 0.05", 2),
    ("wait --match-cel a==1 --timeout 0.05", 2),
    ("wait --match-jmespath a --timeout 0.05", 2),
    ('wait --all-of agent:fields.source="agent" --since {first} --timeout 5s', 0),
    ('wait --all-of agent:fields.owner="o" --all-of agent:fields.repo="r" --since {first} --timeout 5s', 0),
    ('wait --first-of agent:fields.source="agent" --first-of fs:fields.source="fs" --since {first} --timeout 5s', 0),
    ("wait --source agent --since {first} --timeout 5s --exit-status", 0),
    ("wait --source agent --since {first} --timeout 5s --no-exit-status", 0),
    ("on --source alertmanager --timeout 0.05 -- true", 124),
    ('on --match fields.source="nobody" --timeout 0.05 -- true', 124),
    ("on --sha c0ffee0 --repo o/r --timeout 0.05 -- true", 124),
    ("on --source agent --loop --timeout 0.05 -- true", 124),
    ("on --source alertmanager --once --timeout 0.05 -- true", 124),
    ("on --source agent --loop --restart --timeout 0.05 -- true", 124),
    ("on --source agent --loop --restart --stop-timeout 10s --timeout 0.05 -- true", 124),
    ("on --source alertmanager --stop-timeout 10s --timeout 0.05 -- true", 124),
    ("on --cond nope --timeout 0.05 -- true", 2),
    ("on --match-cel a==1 --timeout 0.05 -- true", 2),
    ("on --match-jmespath a --timeout 0.05 -- true", 2),
    ("replay {first}", 0),
    ("replay {first} --filters o/r --filters o/* --filters *", 0),
    ("replay {first} --event-types workflow_run --event-types agent_message", 0),
    ("replay {first} --json", 0),
    ("replay {first} --text", 0),
    ("replay {first} --timeout 0.5", 0),
    ("replay {first} --timeout 0", 0),
    ("replay {first} --timeout 30", 0),
    ("replay {first} --bookmark my-subscriber", 0),
    ("replay --bookmark my-subscriber", 0),
    ("replay {first} --coalesce", 0),
    ("replay {first} --faithful", 0),
    ("broadcast tap --since {first} --count 1", 0),
    ("broadcast tap --since {first} --count 1 --filters o/r --filters *", 0),
    ("broadcast tap --since {first} --count 1 --event-types agent_message", 0),
    ("broadcast tap --since {first} --count 1 --bookmark b", 0),
    ("broadcast tap --since {first} --count 1 --json", 0),
    ("broadcast tap --since {first} --count 1 --text", 0),
    ("read-events list --owner o --repo r", 0),
    ("read-events list --owner o --repo r --event-type workflow_run", 0),
    ("read-events list --owner o --repo r --include-jobs", 0),
    ("read-events list --owner o --repo r --latest", 0),
    ("read-events list --owner o --repo r --last-n 5", 0),
    ("read-events list --owner o --repo r --text", 0),
    ("read-events list --owner o --repo r --json", 0),
    ("read-events watch --owner o --repo r --timeout 10ms", 0),
    ("read-events watch --event-type agent_message --timeout 10ms", 0),
    ("read-events watch --include-jobs --timeout 10ms", 0),
    ("read-events watch --all-events --since {first} --text --timeout 10ms", 0),
    ("read-events watch --json --timeout 10ms", 0),
    ("events query SELECT\xa01", 0),
    ("events query SELECT\xa01 --limit 5", 0),
    ("events query SELECT\xa01 -n 5", 0),
    ("events query SELECT\xa01 --no-limit", 0),
    ("events query SELECT\xa01 --json", 0),
    ("events query SELECT\xa01 --text", 0),
    ("events query SELECT\xa01 --db {home}/s/events.db", 0),
]  # fmt: skip


@pytest.mark.parametrize(("line", "code"), OLD, ids=[line for line, _ in OLD])
def test_the_options_of_0_2_are_taken(
    call: Callable[..., support.Result], home: Path, monkeypatch: pytest.MonkeyPatch, line: str, code: int
) -> None:
    monkeypatch.chdir(home)
    (home / "p.json").write_text("{}")
    first = emit(EventInsert(source="agent", event_type="agent_message", owner="o", repo="r")).event.event_id
    emit(EventInsert(source="agent", event_type="agent_message", owner="o", repo="r"))
    argv = line.replace("{first}", first).replace("{home}", str(home)).split(" ")
    done = call(*(word.replace("\xa0", " ") for word in argv))
    assert done.code == code, done
    assert "Traceback" not in done.err
