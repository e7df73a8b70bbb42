"""When a path is due, what is said of it then, and which names look temporary: by table, no file is touched."""

from __future__ import annotations

import pytest

from waitbus.sources.fs_changes import AGAIN, HOLD, Changes, judge, looks_temporary
from waitbus.sources.fs_events import moment, path_key
from waitbus.sources.fs_tree import Seen

OLD = Seen(1, 5, 1000, 1000)
WRITTEN = Seen(1, 9, 2000, 2000)
TOUCHED = Seen(1, 5, 1000, 9000)
OTHER = Seen(2, 5, 1000, 1000)


@pytest.mark.parametrize(
    ("before", "now", "origin", "action"),
    [
        (None, OLD, None, "created"),
        (OLD, WRITTEN, None, "modified"),
        (OLD, OTHER, None, "modified"),
        (OLD, None, None, "deleted"),
        (None, None, None, None),
        (OLD, OLD, None, None),
        (OLD, TOUCHED, None, None),
        (None, OLD, OLD, "moved"),
        (OTHER, OLD, OLD, "moved"),
        (None, WRITTEN, OLD, "moved"),
        (None, OLD, OTHER, "created"),
        (None, None, OLD, None),
        (OLD, None, OTHER, "deleted"),
    ],
)
def test_what_happened(before: Seen | None, now: Seen | None, origin: Seen | None, action: str | None) -> None:
    assert judge(before, now, origin) == action


@pytest.mark.parametrize(
    ("name", "temporary"),
    [
        *[
            (name, True)
            for name in ("a.txt~", ".a.swp", "a.tmp", "x.tmp.4711", "4913", "sedXk2p9q", "tmpab12cd34", "#a#")
        ],
        *[(name, True) for name in ("a.py.tmp.123", "a.part", "a.crdownload", ".goutputstream-AB", "x___jb_tmp___")],
        *[
            (name, False)
            for name in ("a.txt", "models.py", "Makefile", "tmp", "sed.py", "template.html", "a.tmpl", "x1")
        ],
    ],
)
def test_which_names_look_temporary(name: str, temporary: bool) -> None:
    assert looks_temporary(name) is temporary


def due(changes: Changes, now: float) -> list[str]:
    return [path for path, _ in changes.due(now)]


@pytest.mark.parametrize(
    ("what", "path", "known", "hold"),
    [
        ("closed", "a.txt", True, 0),
        ("closed", "a.txt", False, 0),
        ("closed", "a.txt~", False, HOLD),
        ("closed", "a.txt~", True, 0),
        ("created", "a.txt", False, HOLD),
        ("gone", "a.txt", True, HOLD),
        ("touched", "a.txt", True, HOLD),
        ("arrived", "a.txt", False, 0),
        ("found", "a.txt", False, 0),
    ],
)
def test_what_is_held(what, path: str, known: bool, hold: float) -> None:
    changes = Changes()
    changes.note(path, what, 10.0, known=known)
    assert changes.next_due() == 10.0 + hold
    assert due(changes, 10.0 + hold) == [path]
    assert changes.next_due() == float("inf")


def test_a_file_written_over_is_due_though_it_was_removed_before() -> None:
    changes = Changes()
    changes.note("a", "gone", 1.0, known=True)
    changes.note("a", "created", 1.0, known=True)
    changes.note("a", "closed", 1.01, known=True)
    assert due(changes, 1.01) == ["a"]
    assert due(changes, 2.0) == []


def test_a_file_that_was_moved_is_looked_at_before_the_place_it_came_from() -> None:
    changes = Changes()
    changes.note("a", "gone", 1.0, known=True)
    changes.note("b", "arrived", 1.0, known=False, origin="a")
    assert due(changes, 1.0 + HOLD) == ["b", "a"]


def test_a_name_that_was_had_for_a_moment_is_not_where_a_file_comes_from() -> None:
    changes = Changes()
    changes.note("a", "gone", 1.0, known=True)
    changes.note("b", "arrived", 1.0, known=False, origin=changes.origin_of("a", known=True))
    assert changes.origin_of("b", known=False) == "a"
    assert changes.origin_of("b", known=True) == "b"
    assert changes.origin_of("c", known=False) == "c"


def test_what_was_told_is_not_told_again_for_a_while() -> None:
    changes = Changes()
    changes.told("a", 1.0)
    changes.note("a", "closed", 1.01, known=True)
    changes.note("b", "closed", 1.01, known=True)
    assert changes.next_due() == 1.01
    assert due(changes, 1.02) == ["b"]
    assert due(changes, 1.0 + AGAIN) == ["a"]
    changes.told("b", 1.0 + 2 * AGAIN)
    changes.note("a", "closed", 1.0 + 2 * AGAIN, known=True)
    assert due(changes, 1.0 + 2 * AGAIN) == ["a"]


def test_debounce_waits_for_rest_and_not_for_ever() -> None:
    changes = Changes(debounce=1.0)
    times = []
    for number in range(100):
        now = number / 2
        changes.note("a", "closed", now, known=True)
        if due(changes, now):
            times.append(now)
    assert times == [10.0, 20.5, 31.0, 41.5]


def test_a_name_that_comes_and_goes_all_the_time_is_not_held_for_ever() -> None:
    changes = Changes()
    times = []
    for number in range(200):
        now = number * HOLD / 2
        changes.note("lock", "created" if number % 2 else "gone", now, known=True)
        times += [now for _ in due(changes, now)]
    assert 5 <= len(times) <= 11


def test_what_is_being_written_is_not_due_until_it_is_noted_again() -> None:
    changes = Changes()
    changes.note("a", "created", 1.0, known=False)
    ((path, pending),) = changes.due(2.0)
    changes.leave_open(path, pending)
    assert changes.next_due() == float("inf")
    changes.note("a", "closed", 3.0, known=False)
    assert due(changes, 3.0) == ["a"]
    assert not changes.open


def test_the_moment_of_a_key_has_the_change_of_the_inode_where_that_came_later() -> None:
    assert moment(Seen(1, 1, 1_000_000_000, 1_000_000_000)) == "1000000000"
    assert moment(Seen(1, 1, 1_000_000_000, 1_040_000_000)) == "1000000000"
    assert moment(Seen(1, 1, 1_000_000_000, 1_060_000_000)) == "1000000000.1060000000"
    assert moment(Seen(1, 1, 1_000_000_000, 900_000_000)) == "1000000000.900000000"


def test_paths_that_differ_have_keys_that_do() -> None:
    paths = ["/a", "/a\n", "/\udcff", "/\\udcff", "/é", "/é", "/" + "x" * 400, "/" + "x" * 401]
    keys = [path_key(path) for path in paths]
    assert len(set(keys)) == len(set(paths))
    assert all(key.isprintable() and key.isascii() and len(key) <= 300 for key in keys)
