"""`--root` and `--glob` as terms on the path: others may watch more than a wait is for."""

from __future__ import annotations

import fnmatch
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waitbus.document import Document
from waitbus.errors import InvalidWait
from waitbus.events import EventInsert
from waitbus.predicate import Predicate, parse_term
from waitbus.sources.narrowing import covers, fs_predicate, glob_pattern, path_terms


def holds(predicate: Predicate, path: str) -> bool:
    event = EventInsert(source="fs", event_type="fs_change", fields={"path": path})
    return predicate.matches(Document.of_insert(event))


@pytest.mark.parametrize(
    ("roots", "globs", "words"),
    [
        (["src"], [], "--root src"),
        ([], ["*.py"], "--glob '*.py'"),
        (["src", "a b"], ["*.py", "*.md"], "--root src --root 'a b' --glob '*.py' --glob '*.md'"),
        (["/" + "x" * 2000], [], f"--root /{'x' * 2000}"),
    ],
)
def test_what_is_asked_for_is_said_as_it_was_written(roots: list[str], globs: list[str], words: str) -> None:
    predicate = fs_predicate(roots, globs)
    assert predicate.describe() == f"{words} on fs"
    assert Predicate.from_wire(predicate.wire()) == predicate


def test_a_folder_that_is_a_file_is_refused_and_the_right_words_are_told(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(home)
    (home / "src").mkdir()
    (home / "src" / "a b.py").write_text("")
    with pytest.raises(InvalidWait) as caught:
        fs_predicate(["src/a b.py"], [])
    assert caught.value.message == "--root src/a b.py is a file, not a folder"
    assert caught.value.hint == "for that file alone: --root src --glob '/a b.py'"


WHERE = [
    # (roots, globs, path, whether it is meant)
    (["/w/src"], [], "/w/src/a.py", True),
    (["/w/src"], [], "/w/src/a/b/c", True),
    (["/w/src"], [], "/w/src", True),
    (["/w/src"], [], "/w/src2/a.py", False),
    (["/w/src"], [], "/w/other", False),
    (["/w/src"], [], "/x/w/src/a.py", False),
    (["/w/src/"], [], "/w/src/a.py", True),
    (["/w/./x/../src"], [], "/w/src/a.py", True),
    (["/"], [], "/a", True),
    (["/"], ["*.py"], "/a.py", True),
    (["/"], ["*.py"], "/w/a.py", True),
    (["/"], ["*.py"], "/w/a.txt", False),
    (["/w/src"], ["*.py"], "/w/src/a.py", True),
    (["/w/src"], ["*.py"], "/w/src/deep/er/a.py", True),
    (["/w/src"], ["*.py"], "/w/src/a.pyc", False),
    (["/w/src"], ["*.py"], "/w/src/a.py/b", True),
    (["/w/src"], ["*.py"], "/w/src", False),
    (["/w/src"], ["*.py"], "/w/a.py", False),
    (["/w/src"], ["*.py", "*.toml"], "/w/src/a.toml", True),
    (["/w/src", "/w/tests"], [], "/w/tests/a", True),
    (["/w/src", "/w/tests"], [], "/w/docs/a", False),
    (["/w/src", "/w/tests"], ["*.py"], "/w/tests/a.py", True),
    (["/w/src", "/w/tests"], ["*.py"], "/w/tests/a.txt", False),
    (["/w", "/w/src"], [], "/w/a", True),
    (["/a/b", "/c/d"], [], "/c/d/e", True),
    (["/a/b", "/c/d"], [], "/c/b/e", False),
    (["/w/a (1)+"], [], "/w/a (1)+/x", True),
    (["/w/a.b"], [], "/w/aXb/x", False),
    (["/w/ü"], ["ß*"], "/w/ü/ßa", True),
    (["/w"], ["a?c"], "/w/abc", True),
    (["/w"], ["a?c"], "/w/a/c", False),
    (["/w"], ["[ab]*"], "/w/bcd", True),
    (["/w"], ["[!ab]*"], "/w/bcd", False),
    (["/w"], ["[!ab]*"], "/w/xyz", True),
    (["/w"], ["[z-a]"], "/w/q", True),
    (["/w"], ["src/*.py"], "/w/src/a.py", True),
    (["/w"], ["src/*.py"], "/w/x/src/a.py", False),
    (["/w"], ["src/**/*.py"], "/w/src/a.py", True),
    (["/w"], ["src/**/*.py"], "/w/src/x/y/a.py", True),
    (["/w"], ["**/a.py"], "/w/x/a.py", True),
    (["/w"], ["/a.py"], "/w/a.py", True),
    (["/w"], ["/a.py"], "/w/x/a.py", False),
    (["/w"], ["build/**"], "/w/build/x/y", True),
    (["/w"], ["*.py"], "/w/a\nb.py", True),
    (["/w"], ["docs/"], "/w/x/docs/a", True),
    (["/w"], ["docs/"], "/w/docs", False),
    (["/w"], ["*.{py,toml}"], "/w/a.toml", True),
    (["/w"], ["*.{py,toml}"], "/w/a.txt", False),
    (["/w"], ["!*.tmp"], "/w/a.txt", True),
    (["/w"], ["*.py", "!a.py"], "/w/a.txt", False),
    (["/w"], ["a\\*b"], "/w/a*b", True),
    (["/w"], ["a\\*b"], "/w/axb", False),
]


@pytest.mark.parametrize(("roots", "globs", "path", "meant"), WHERE)
def test_which_paths_are_meant(roots: list[str], globs: list[str], path: str, meant: bool) -> None:
    assert holds(fs_predicate(roots, globs), path) is meant


def test_a_pattern_alone_is_about_the_current_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert holds(fs_predicate([], ["*.py"]), f"{tmp_path}/a.py")
    assert not holds(fs_predicate([], ["*.py"]), "/elsewhere/a.py")


def test_a_folder_counts_by_both_of_its_names(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    predicate = fs_predicate([str(tmp_path / "link")], ["*.py"])
    assert holds(predicate, f"{tmp_path}/link/a.py")
    assert holds(predicate, f"{tmp_path}/real/a.py")


def test_without_a_folder_and_a_pattern_nothing_is_narrower() -> None:
    assert path_terms([], []) == ()


def test_terms_are_of_the_grammar() -> None:
    """They travel to the daemon as text."""
    for term in path_terms(["/w/src", "/w/te'st"], ["*.py", "[!a]b"]):
        assert parse_term(str(term)) == term


@given(st.text("abc*?./-_", min_size=1, max_size=8), st.text("abc./-_", min_size=1, max_size=8))
def test_names_match_as_a_shell_says(glob: str, name: str) -> None:
    if "/" in glob or "/" in name or "**" in glob or name in (".", "..") or glob.strip(".") == "":
        return
    assert holds(fs_predicate(["/w"], [glob]), f"/w/{name}") is fnmatch.fnmatchcase(name, glob)


@given(st.text(min_size=1, max_size=20).filter(lambda text: "\0" not in text))
def test_every_pattern_is_a_regular_expression(glob: str) -> None:
    parse_term(f"path~=^{glob_pattern(glob)}$")


@pytest.mark.parametrize(
    ("roots", "globs", "option"), [([""], [], "--root"), ([], [" "], "--glob"), (["a\0b"], [], "--root")]
)
def test_what_is_empty_is_refused(roots: list[str], globs: list[str], option: str) -> None:
    with pytest.raises(InvalidWait) as caught:
        path_terms(roots, globs)
    assert caught.value.message == f"{option} is empty"


def test_what_no_term_can_hold_is_refused() -> None:
    with pytest.raises(InvalidWait) as caught:
        path_terms(["/w"], [f"*.{number}" for number in range(100)])
    assert caught.value.message == "1 folder and 100 globs are too much for one wait"


def test_a_deep_folder_is_no_obstacle() -> None:
    root = "/" + "/".join(["x" * 100] * 12)
    assert holds(fs_predicate([root], []), f"{root}/a")


@pytest.mark.parametrize(
    ("watched", "roots", "covered"),
    [
        (["/w"], ["/w"], True),
        (["/w"], ["/w/src"], True),
        (["/w/src"], ["/w"], False),
        (["/w"], ["/w2"], False),
        (["/w", "/x"], ["/x/a", "/w/b"], True),
        (["/w"], ["/w/a", "/y"], False),
        (["/"], ["/w"], True),
        ([], ["/w"], False),
        ([], [], True),
    ],
)
def test_what_a_daemon_watches_already(watched: list[str], roots: list[str], covered: bool) -> None:
    assert covers(watched, roots) is covered
