"""A log as 0.2 wrote it, made by hand: its program is not needed to test that its rows come over."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from typing import Any

_COLUMNS = (
    "delivery_id TEXT NOT NULL UNIQUE, source TEXT NOT NULL, event_type TEXT NOT NULL, owner TEXT NOT NULL, repo TEXT NOT NULL,"
    " run_id INTEGER, workflow_name TEXT, head_branch TEXT, head_sha TEXT, status TEXT, conclusion TEXT,"
    " received_at INTEGER NOT NULL, payload_json TEXT NOT NULL, ingest_method TEXT NOT NULL, job_id INTEGER, job_name TEXT,"
    " parent_run_id INTEGER, alert_name TEXT, alert_severity TEXT, alert_fingerprint TEXT, msg_to TEXT, msg_from TEXT,"
    " msg_correlation_id TEXT, msg_reply_to TEXT, msg_thread TEXT, msg_body TEXT, event_id TEXT"
)
FIRST_AT = 1_763_337_600_000_000_000
"""ns; November 2025."""


def make(path: Path, count: int = 3, **columns: Any) -> list[str]:
    """A log of `count` workflow runs at `path`; gives their event ids. `columns` are the last row's."""
    ids = [f"01KA7XJ6140000000000000{number:03}" for number in range(1, count + 1)]
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA journal_mode=WAL").fetchall()
        db.execute(f"CREATE TABLE events(seq INTEGER PRIMARY KEY AUTOINCREMENT, {_COLUMNS})")
        for number, event_id in enumerate(ids, 1):
            row: dict[str, Any] = {
                "delivery_id": f"old-{number}",
                "source": "github",
                "event_type": "workflow_run",
                "owner": "octo",
                "repo": "hello",
                "run_id": number,
                "workflow_name": "CI",
                "status": "completed",
                "conclusion": "success",
                "received_at": FIRST_AT + number * 10**9,
                "payload_json": '{"action": "completed"}',
                "ingest_method": "webhook",
                "event_id": event_id,
            }
            row |= columns if number == count else {}
            db.execute(
                f"INSERT INTO events({', '.join(row)}) VALUES ({', '.join('?' * len(row))})", tuple(row.values())
            )
        db.commit()
    return ids
