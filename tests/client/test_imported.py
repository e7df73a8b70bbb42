"""A history that was imported outlives the events around it: every row that is there is given, and what is missing is told.

Rows 1-3 and 7-9 are our own and too old, 4-6 and 10-12 are imported and stay, 13-15 are new.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from tests import support
from tests.client.conftest import Bus
from tests.client.faces import Face, emit, event
from waitbus.client import bookmarks
from waitbus.client.history import History
from waitbus.client.start import Start
from waitbus.client.steps import Gap, Note
from waitbus.errors import CursorGap
from waitbus.store import Page, shared
from waitbus.store.retention import Pruner, Retention

OLD_MS = int((time.time() - 400 * 86400) * 1000)


def bring(numbers: Iterable[int], *, imported: bool, at_ms: int = OLD_MS) -> None:
    batch = [(event(n), at_ms, f"{n:026d}" if imported else None) for n in numbers]
    shared().write_events(batch)


def prune() -> None:
    pruner = Pruner(shared(), Retention())
    while pruner.step():
        pass


def place(seq: int) -> str:
    row = shared().row(seq)
    return shared().event_id(seq, row.at_ms if row else OLD_MS)


@pytest.fixture
def mixed() -> None:
    for first, imported in ((1, False), (4, True), (7, False), (10, True)):
        bring(range(first, first + 3), imported=imported)
    emit(13, 14, 15)
    prune()


def gaps(said: list[Note | Gap]) -> list[tuple[str, int, int]]:
    return [(one.reason, one.first, one.last) for one in said if isinstance(one, Gap)]


@pytest.mark.parametrize(
    ("behind", "given", "missing"),
    [
        (0, [4, 5, 6, 10, 11, 12, 13, 14, 15], [("pruned", 1, 3), ("pruned", 7, 9)]),
        (2, [4, 5, 6, 10, 11, 12, 13, 14, 15], [("pruned", 3, 3), ("pruned", 7, 9)]),
        (3, [4, 5, 6, 10, 11, 12, 13, 14, 15], [("pruned", 7, 9)]),
        (4, [5, 6, 10, 11, 12, 13, 14, 15], [("pruned", 7, 9)]),
        (8, [10, 11, 12, 13, 14, 15], [("pruned", 9, 9)]),
        (9, [10, 11, 12, 13, 14, 15], []),
        (11, [12, 13, 14, 15], []),
    ],
)
@pytest.mark.usefixtures("mixed")
def test_every_row_that_is_there_is_given_and_what_is_missing_is_told(
    transport: str, face: Face, behind: int, given: list[int], missing: list[tuple[str, int, int]]
) -> None:
    said: list[Note | Gap] = []
    assert face.collect(len(given), since=place(behind), told=said.append) == given
    assert gaps(said) == missing


def test_a_history_that_only_was_imported_has_no_gap(transport: str, face: Face) -> None:
    """The commonest one: `db import` into a fresh log. Retention has looked at all of it, and has deleted nothing."""
    bring(range(1, 700), imported=True)
    emit(700)
    prune()
    said: list[Note | Gap] = []
    assert face.collect(700, since=place(0), strict=True, told=said.append) == list(range(1, 701))
    assert gaps(said) == []
    assert shared().facts().pruned_to == 0


@pytest.mark.usefixtures("mixed")
def test_a_place_that_was_imported_with_an_id_of_its_own(transport: str, face: Face) -> None:
    said: list[Note | Gap] = []
    assert face.collect(6, since=f"{6:026d}", told=said.append) == [10, 11, 12, 13, 14, 15]
    assert gaps(said) == [("pruned", 7, 9)]


@pytest.mark.usefixtures("mixed")
def test_a_predicate_hides_rows_and_no_gap(transport: str, face: Face) -> None:
    said: list[Note | Gap] = []
    assert face.collect(2, ["n>=6", "n<11"], since=place(0), told=said.append) == [6, 10]
    assert gaps(said) == [("pruned", 1, 3), ("pruned", 7, 9)]


@pytest.mark.usefixtures("mixed")
def test_strict_gives_what_stands_before_the_gap_and_then_the_error(transport: str, face: Face) -> None:
    got: list[int] = []

    def each(_: int, events: Any) -> None:
        got.append(events.session.seq)

    with pytest.raises(CursorGap, match="events 7 to 9 were pruned; going on with event 10") as caught:
        face.collect(9, since=place(3), strict=True, each=each)
    assert caught.value.missing == (7, 9)
    assert len(got) == 4, "armed, and three events"


@pytest.mark.parametrize(
    ("behind", "given", "missing"),
    [(0, [], (1, 3)), (2, [], (3, 3)), (3, [4, 5, 6], (7, 9)), (5, [6], (7, 9)), (8, [], (9, 9))],
)
@pytest.mark.usefixtures("mixed")
def test_strict_meets_the_first_of_several_gaps(
    transport: str, face: Face, behind: int, given: list[int], missing: tuple[int, int]
) -> None:
    """With its own bounds, on either transport, whatever gaps there are behind it."""
    got: list[int] = []

    def each(count: int, events: Any) -> None:
        if count:
            got.append(events.session.seq)

    with pytest.raises(CursorGap) as caught:
        face.collect(9, since=place(behind), strict=True, each=each)
    assert (len(got), caught.value.missing, caught.value.exit_code) == (len(given), missing, 75)


@pytest.mark.parametrize(
    ("behind", "argv", "code", "said"),
    [
        (0, "wait --match n=14", 75, "events 1 to 3 were pruned"),
        (2, "wait --match n=14", 75, "events 3 to 3 were pruned"),
        (3, "wait --match n=14", 75, "events 7 to 9 were pruned"),
        (3, "wait --match n=5", 0, ""),
        (9, "wait --match n=14", 0, ""),
        (0, "wait --all-of n=14 --all-of n=15", 75, "events 1 to 3 were pruned"),
        (4, "wait --all-of n=14 --all-of n=15", 75, "events 7 to 9 were pruned"),
        (3, "on --match n=14 -- true", 75, "events 7 to 9 were pruned"),
        (3, "broadcast tap", 75, "events 7 to 9 were pruned"),
        (3, "replay", 75, "events 7 to 9 were pruned"),
        (0, "replay", 75, "events 1 to 3 were pruned"),
    ],
)
@pytest.mark.usefixtures("mixed")
def test_strict_since_exits_75_at_the_first_gap_that_it_meets(
    transport: str, call: Callable[..., support.Result], behind: int, argv: str, code: int, said: str
) -> None:
    command, dashes, rest = argv.partition(" --")
    timeout = [] if command == "replay" else ["--timeout", "10s"]
    done = call(*command.split(), "--since", place(behind), "--strict-since", *timeout, *f"{dashes}{rest}".split())
    assert (done.code, said in done.err) == (code, True), done
    assert done.err.count("were pruned") == bool(code)


@pytest.mark.usefixtures("mixed")
def test_a_reader_that_stands_among_them_when_its_daemon_dies(bus: Bus, face: Face) -> None:
    """From the socket to the log in the middle: nothing twice, no gap twice."""
    said: list[Note | Gap] = []
    bus.start()

    def each(count: int, _: object) -> None:
        if count == 1:
            bus.kill()
        elif count == 9:
            emit(16)

    assert face.collect(10, since=place(0), each=each, told=said.append) == [4, 5, 6, 10, 11, 12, 13, 14, 15, 16]
    assert gaps(said) == [("pruned", 1, 3), ("pruned", 7, 9)]


def test_a_moment_behind_all_that_was_pruned_misses_nothing(transport: str, face: Face) -> None:
    """A log that was not used for a month: what left is older than the hour that is asked for."""
    bring([1, 2, 3], imported=False)
    emit(4, 5)
    prune()
    said: list[Note | Gap] = []
    assert face.collect(2, since="1h", strict=True, told=said.append) == [4, 5]
    assert gaps(said) == []
    assert face.collect(2, since="300d", strict=True, told=said.append) == [4, 5]
    assert face.collect(2, since="500d", told=said.append) == [4, 5]
    assert gaps(said) == [("pruned", 1, 3)]


def test_what_was_pruned_since_that_moment_is_told_though_older_rows_are_left(transport: str, face: Face) -> None:
    bring([1, 2, 3], imported=True)
    bring([4, 5, 6], imported=False, at_ms=OLD_MS + 300 * 86_400_000)
    emit(7)
    prune()
    said: list[Note | Gap] = []
    assert face.collect(1, since="200d", told=said.append) == [7]
    assert gaps(said) == [("pruned", 4, 6)]
    assert face.collect(1, since="90d", strict=True, told=said.append) == [7]


# -- the log by itself -------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("mixed")
def test_the_history_has_them_in_both_directions() -> None:
    said: list[Note | Gap] = []
    kept = [4, 5, 6, 10, 11, 12, 13, 14, 15]
    history = History(shared(), told=said.append)
    assert [row.seq for row in history.forwards()] == kept
    assert [row.seq for row in history.backwards()] == kept[::-1]
    assert not said, "nobody asked for what was before the beginning"
    history = History(shared(), Start(event_id=place(2)), told=said.append)
    assert [row.seq for row in history.forwards()] == kept
    assert gaps(said) == [("pruned", 3, 3), ("pruned", 7, 9)]
    assert [row.seq for row in history.backwards()] == kept[::-1]


@pytest.mark.usefixtures("mixed")
def test_a_strict_history_ends_at_the_gap() -> None:
    rows = History(shared(), Start(event_id=place(4)), strict=True).forwards()
    assert [next(rows).seq, next(rows).seq] == [5, 6]
    with pytest.raises(CursorGap) as caught:
        next(rows)
    assert caught.value.missing == (7, 9)


def test_a_wide_hole_is_crossed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Backwards goes by seq: millions that were pruned are not gone through in windows of a page."""
    bring([1, 2], imported=True)
    bring([3], imported=False)
    log = shared()
    log.write(lambda db: db.execute("UPDATE events SET seq = 5000000 WHERE seq = 3"))
    bring([4], imported=False)
    emit(5)
    prune()
    history = History(log)
    reads = 0
    page = log.page

    def counted(*args: int) -> Page:
        nonlocal reads
        reads += 1
        return page(*args)

    monkeypatch.setattr(log, "page", counted)
    assert [row.seq for row in history.backwards()] == [5000002, 2, 1]
    assert reads < 10


@pytest.mark.usefixtures("mixed")
def test_replay_prints_them_and_says_what_is_missing(cli: Callable[..., support.Result]) -> None:
    done = cli("replay")
    assert [line.count('"n"') for line in done.out.splitlines()] == [1] * 9
    assert "warning" not in done.err
    done = cli("replay", place(2), "--text")
    assert len(done.out.splitlines()) == 9
    assert done.err.splitlines()[:2] == [
        "warning: events 3 to 3 were pruned; going on with event 4 (gap)",
        "warning: events 7 to 9 were pruned; going on with event 10 (gap)",
    ]
    assert len(cli("read-events", "list", "--last-n", "20", "--all-events").out.splitlines()) == 9


@pytest.mark.usefixtures("mixed")
def test_a_bookmark_among_them_counts_what_is_left(cli: Callable[..., support.Result]) -> None:
    gap = "8 events to come; events behind it were pruned (gap)"
    for name, seq, said in (("a", 4, gap), ("b", 9, "6 events to come")):
        bookmarks.write(name, place(seq))
        (line,) = [line for line in cli("bookmark", "list").out.splitlines() if line.startswith(name)]
        assert said in line, line
