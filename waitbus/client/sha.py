"""`--sha X`: whether a commit is done, and how. A state, made of the workflow runs that webhooks told of; not one event.

- A run is open from its first event until the event with its conclusion. A job tells of its run: until that has a word of
  its own, the run is open. So a job that fails ends nothing; it may be one that is allowed to.
- Only the newest attempt of a run counts. A late event of an older attempt, or a late `in_progress` behind the conclusion,
  changes nothing: webhooks come in any order.
- The first run that failed ends it. Success is when every run has ended and none appeared, began anew or ended for `settle`
  seconds: the end of a run may be what starts the next one. What is in the log already counts from its time of commit, so
  that a commit that was done long ago is answered at once.
- With `job`, the jobs of that name stand in the place of the runs.
- Checks and statuses of other apps are events like any other and count for nothing here: many are opened and never ended.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import attrs

from waitbus import wire
from waitbus.client.plan import Answer
from waitbus.errors import InvalidCommit
from waitbus.events import parse_event_id
from waitbus.predicate import Predicate, Term
from waitbus.store import seen
from waitbus.verdict import verdict_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from waitbus.document import Document
    from waitbus.events import EventFrame
    from waitbus.store import Log

SETTLE = 3.0
"""s without a new run until a commit whose runs have all ended is done."""
FULL = 40
"""Digits of a whole commit id; fewer are a prefix."""

RUN, JOB = "workflow_run", "workflow_job"
Key = tuple[str, ...]


@attrs.define
class Run:
    """The newest attempt of a run (or of a job) that was heard of; `end` is the event with its conclusion."""

    attempt: int
    end: EventFrame | None = None


class CommitState:
    """The runs of the commit `sha` (hex digits, 7 or more). `wall` is the clock of commit times, in s since the epoch."""

    missing = ""

    def __init__(
        self,
        sha: str,
        *,
        repo: str | None = None,
        workflow: str | None = None,
        job: str | None = None,
        settle: float = SETTLE,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._sha = sha.lower()
        self._is_job = job is not None
        self._settle = settle
        self._wall = wall
        self._runs: dict[Key, Run] = {}
        self._commits: set[str] = set()
        self._moved_at = 0.0
        named = {"workflow_name": workflow, "job_name": job}
        self.predicate = Predicate(
            (
                Term("head_sha", "=" if len(sha) >= FULL else "^=", self._sha),
                *(Term("event_type", "=", name) for name in self._types),
                *(Term(key, "=", value) for key, value in named.items() if value is not None),
                *Predicate.parse(source="github", repo=repo).terms,
            )
        )

    @property
    def _types(self) -> tuple[str, ...]:
        return (JOB,) if self._is_job else (RUN, JOB)

    @property
    def alternatives(self) -> tuple[Predicate, ...]:
        return (self.predicate,)

    @property
    def wake_at(self) -> float | None:
        """When it will have been quiet for long enough; None while a run is open, or none was seen."""
        return self._moved_at + self._settle if self._runs and not self._is_open else None

    @property
    def _is_open(self) -> bool:
        return any(run.end is None for run in self._runs.values())

    def begin(self, log: Log, now: float) -> None:
        from waitbus.document import Document

        for row in seen.of_commit(log, self._sha, self._types):
            frame = wire.frame_of_row(row, log.tag)
            if self.predicate.matches(Document.of_frame(frame)):
                self._take(frame, now)

    def feed(self, frame: EventFrame, _document: Document, now: float) -> Answer | None:
        self._take(frame, now)
        return self.tick(now)

    def tick(self, now: float) -> Answer | None:
        ends = [run.end for run in self._runs.values() if run.end is not None]
        failed = [end for end in ends if verdict_of(end) == "failure"]
        if failed:
            return Answer("failure", min(failed, key=_seq))
        if len(ends) < len(self._runs) or not ends or now < self._moved_at + self._settle:
            return None
        good = any(verdict_of(end) == "success" for end in ends)
        return Answer("success" if good else "none", max(ends, key=_seq))

    def _take(self, frame: EventFrame, now: float) -> None:
        self._check_commit(str(frame.fields["head_sha"]))
        key = self._key(frame)
        attempt = frame.fields["run_attempt"] or 1
        # A job in the place of a run has a conclusion of its own; elsewhere it only says that there is a run.
        speaks = frame.event_type == RUN or self._is_job
        run = self._runs.get(key)
        if run is None or attempt > run.attempt:
            run = self._runs[key] = Run(attempt)
        elif attempt < run.attempt or run.end is not None or not (speaks and frame.conclusion):
            return
        if speaks and frame.conclusion:
            run.end = frame
        self._moved_at = max(self._moved_at, now - self._age(frame))

    def _key(self, frame: EventFrame) -> Key:
        fields = frame.fields
        own = fields["run_id"] if frame.event_type == RUN else fields["parent_run_id"] or fields["run_id"]
        run = str(own or f"{frame.owner}/{frame.repo}/{fields['workflow_name']}")
        return (run, str(fields["job_name"])) if self._is_job else (run,)

    def _age(self, frame: EventFrame) -> float:
        """s since the event was committed; 0 if the clock was set back since."""
        return max(0.0, self._wall() - parse_event_id(frame.event_id).at_ms / 1000)

    def _check_commit(self, sha: str) -> None:
        self._commits.add(sha)
        if len(self._commits) > 1:
            one, other = sorted(self._commits)
            raise InvalidCommit(
                f"--sha {self._sha!r} is the beginning of two commits: {one[:12]} and {other[:12]}",
                hint="give more of its digits",
            )


def _seq(frame: EventFrame) -> int:
    return frame.seq
