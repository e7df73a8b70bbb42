"""What is ignored: the answer of `git check-ignore` itself for generated paths, patterns and repositories."""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from waitbus.sources import gitignore_files
from waitbus.sources.gitignore import Scope, latin, parse, rule

WORDS = ["a", "b", "foo", "bar", "build", "x.py", "x.o", "lib.so", "a b", "Foo", "[x]", "é", "#x", "!y", "t~", "docs"]
PATTERNS = [
    *("*.py", "*.o", "/build", "build/", "foo", "!foo", "foo/", "!foo/bar", "/foo/*", "!/foo/x.py", "**/bar", "bar/**"),
    *(
        "a/**/b",
        "foo**/bar",
        "!*.so",
        "lib.*",
        "?",
        "??",
        "[ab]",
        "[!ab]",
        "[a-c]*",
        "\\#x",
        "\\!y",
        "#comment",
        "",
        "  ",
    ),
    *(
        "a\\ b",
        "a b   ",
        "*~",
        "/*",
        "!/*/",
        "/a/b/",
        "docs/*.py",
        "**/docs/**",
        "*",
        "!*/",
        "x.[po]*",
        "[[:upper:]]oo",
    ),
    *("[", "x\\", "[]x]", "\\[x\\]", "é", "a/*/b", "/**", "!**/x.py", "foo/**/x.py", "*/x.py", "**", "b/", "!b", "/"),
]


def git(folder: Path, *arguments: str, given: bytes = b"") -> bytes:
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": os.environ["HOME"],
        "XDG_CONFIG_HOME": os.environ["XDG_CONFIG_HOME"],
    }
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments],
        input=given,
        capture_output=True,
        env=environment,
        timeout=30,
        check=False,
    )
    assert done.returncode in (0, 1), done.stderr
    return done.stdout


@pytest.fixture
def repository(home: Path) -> Path:
    top = home / "repo"
    top.mkdir()
    git(top, "init", "-q")
    return top


def scopes(root: Path) -> Iterator[tuple[str, Scope]]:
    """Every path below the root with the scope it stands in; ignored folders with what is in them."""
    left = [(str(root), scope_of(str(root), gitignore_files.scope_around(str(root))))]
    while left:
        folder, scope = left.pop()
        for name in os.listdir(folder):
            path = os.path.join(folder, name)
            if name == ".git":
                continue
            yield path, scope
            if os.path.isdir(path) and not os.path.islink(path) and not scope.ignores(latin(name), is_folder=True):
                left.append((path, scope_of(path, scope)))


def scope_of(folder: str, outer: Scope | None) -> Scope:
    found = gitignore_files.repository_at(folder)
    return gitignore_files.scope_of(folder, os.path.basename(folder), outer, found)


def ours(root: Path) -> set[str]:
    """The paths that are ignored and whose folder is not; git is asked about no others."""
    return {
        path
        for path, scope in scopes(root)
        if scope.ignores(latin(os.path.basename(path)), is_folder=os.path.isdir(path) and not os.path.islink(path))
    }


def theirs(root: Path) -> set[str]:
    paths = [path for path, _ in scopes(root)]
    said = git(root, "check-ignore", "-z", "--no-index", "--stdin", given=b"\0".join(map(os.fsencode, paths)))
    return {os.fsdecode(path) for path in said.split(b"\0") if path}


def grow(chance: random.Random, top: Path, count: int) -> None:
    """Files, folders and rules at random."""
    folders = [top]
    for _ in range(count):
        folder = chance.choice(folders)
        place = folder / chance.choice(WORDS)
        if place.exists():
            continue
        if chance.random() < 0.4:
            place.mkdir()
            folders.append(place)
        else:
            place.write_text("")
    for folder in chance.sample(folders, max(1, len(folders) // 3)):
        lines = chance.choices(PATTERNS, k=chance.randint(1, 6))
        (folder / ".gitignore").write_text(chance.choice(["\n", "\r\n"]).join(lines) + chance.choice(["", "\n"]))
    if chance.random() < 0.5:
        (top / ".git" / "info" / "exclude").write_text("\n".join(chance.choices(PATTERNS, k=2)))


def test_the_answer_is_that_of_git_for_hundreds_of_generated_paths(home: Path) -> None:
    """Nested files, negations and `info/exclude` in each of the repositories."""
    count = ignored = 0
    for seed in range(10):
        top = home / f"repo{seed}"
        top.mkdir()
        git(top, "init", "-q")
        grow(random.Random(seed), top, 200)
        found = ours(top)
        assert found == theirs(top), seed
        count += len(list(scopes(top)))
        ignored += len(found)
    assert count >= 600
    assert 200 <= ignored <= count - 200


def test_the_generated_paths_are_of_both_kinds(repository: Path) -> None:
    (repository / ".gitignore").write_text("*.o\n")
    for name in ("x.o", "x.py"):
        (repository / name).write_text("")
    assert ours(repository) == theirs(repository) == {str(repository / "x.o")}


def test_every_pattern_alone_has_gits_answer(repository: Path) -> None:
    for word in WORDS:
        (repository / f"d{word}").mkdir()
        (repository / word).write_text("")
        for inner in ("a", "b", "foo", "x.py"):
            (repository / f"d{word}" / inner).write_text("")
    for name in ("foo", "a", "build"):
        (repository / name).unlink()
        (repository / name / "b" / "x").mkdir(parents=True)
        (repository / name / "bar").write_text("")
        (repository / name / "b" / "x.py").write_text("")
    for pattern in PATTERNS:
        (repository / ".gitignore").write_text(pattern)
        assert ours(repository) == theirs(repository), pattern


def test_a_root_inside_of_a_repository_has_the_rules_around_it(repository: Path) -> None:
    root = repository / "sub" / "deep"
    root.mkdir(parents=True)
    (repository / ".gitignore").write_text("*.o\n/sub/deep/only\nelse\n")
    (repository / "sub" / ".gitignore").write_text("!keep.o\n")
    for name in ("x.o", "keep.o", "only", "x.py"):
        (root / name).write_text("")
    assert ours(root) == theirs(root) == {str(root / "x.o"), str(root / "only")}


def test_a_worktree_has_the_exclude_of_its_repository(repository: Path, home: Path) -> None:
    git(repository, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "--allow-empty", "-m", "x")
    other = home / "other"
    git(repository, "worktree", "add", "-q", str(other))
    (repository / ".git" / "info" / "exclude").write_text("*.log\n")
    (other / "x.log").write_text("")
    (other / "x.txt").write_text("")
    assert ours(other) == theirs(other) == {str(other / "x.log")}


def test_the_rules_of_the_user_count_last(repository: Path) -> None:
    ignore = Path(os.environ["XDG_CONFIG_HOME"]) / "git" / "ignore"
    ignore.parent.mkdir(parents=True)
    ignore.write_text("*.swp\n*.o\n")
    (repository / ".gitignore").write_text("!x.o\n")
    for name in ("x.swp", "x.o", "y.o"):
        (repository / name).write_text("")
    assert ours(repository) == theirs(repository) == {str(repository / "x.swp"), str(repository / "y.o")}


def test_a_submodule_has_an_exclude_of_its_own(repository: Path, home: Path) -> None:
    """And a repository whose folder of git lies elsewhere: both have a file `.git` that names it."""
    who = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "protocol.file.allow=always")
    other, elsewhere = home / "other", home / "elsewhere"
    git(home, "init", "-q", str(other))
    git(other, *who, "commit", "-q", "--allow-empty", "-m", "x")
    git(repository, *who, "submodule", "--quiet", "add", str(other), "sub")
    git(home, "init", "-q", "--separate-git-dir", str(home / "place"), str(elsewhere))
    for top, place in ((repository / "sub", repository / ".git" / "modules" / "sub"), (elsewhere, home / "place")):
        assert (top / ".git").is_file()
        (place / "info").mkdir(exist_ok=True)
        (place / "info" / "exclude").write_text("*.log\n")
        (repository / ".git" / "info" / "exclude").write_text("*.txt\n")
        for name in ("x.log", "x.txt"):
            (top / name).write_text("")
        assert ours(top) == theirs(top) == {str(top / "x.log")}


@pytest.mark.parametrize("excludes", ["rules", "~/rules", "", "nowhere"])
@pytest.mark.parametrize("scope", ["--local", "--global"])
def test_the_file_of_the_user_is_the_one_that_the_repository_names(
    repository: Path, home: Path, excludes: str, scope: str
) -> None:
    """An empty name is no file, and not the usual one; a relative one is meant from the top."""
    usual = Path(os.environ["XDG_CONFIG_HOME"]) / "git" / "ignore"
    usual.parent.mkdir(parents=True)
    usual.write_text("*.usual\n")
    (home / "rules").write_text("*.home\n")
    (repository / "rules").write_text("*.top\n")
    names = ("x.usual", "x.home", "x.top")
    for name in names:
        (repository / name).write_text("")
    assert ours(repository) == theirs(repository) == {str(repository / "x.usual")}
    git(repository, "config", scope, "core.excludesFile", excludes)
    assert ours(repository) == theirs(repository)
    assert str(repository / "x.usual") not in ours(repository)


def test_a_hook_of_git_asks_about_the_repository_that_is_watched(
    repository: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git(home, "init", "-q", "other")
    git(home / "other", "config", "core.excludesFile", "rules")
    (repository / "rules").write_text("*.o\n")
    (repository / "x.o").write_text("")
    monkeypatch.setenv("GIT_DIR", str(home / "other" / ".git"))
    assert ours(repository) == set()


def test_where_capitals_do_not_count_each_pattern_has_gits_answer(repository: Path) -> None:
    """`core.ignoreCase`, which git itself sets on macOS. A capital letter in a bracket or behind a backslash matches nothing."""
    git(repository, "config", "core.ignoreCase", "true")
    for folder in (".", "Foo", "build", "A", "dx/FOO"):
        place = repository / folder
        place.mkdir(parents=True, exist_ok=True)
        for name in ("a", "B", "X.PY", "x.o", "Lib.So", "é", "É", "Readme", "foo.Log"):
            if not (place / name).exists():
                (place / name).write_text("")
    count = 0
    for pattern in (*PATTERNS, *CAPITALS):
        (repository / ".gitignore").write_text(pattern)
        assert ours(repository) == theirs(repository), pattern
        count += len(ours(repository))
    assert count > 200


CAPITALS = [
    *(
        "*.LOG",
        "readME",
        "/FOO",
        "fOO/",
        "[A-C]",
        "[!A-C]",
        "[a-c]",
        "[AB]",
        "[R]eadme",
        "[[:upper:]]eadme",
        "\\A",
        "É",
    ),
    *("**/LIB.*", "foo/B", "DX/f?o/x.[PO]", "D*/FOO", "[[:lower:]].O", "*[Gg]", "X.P[X-Z]", "[[:alpha:]]", "?.pY"),
]


def test_a_link_in_the_place_of_the_rules_is_not_followed(repository: Path) -> None:
    (repository / "rules").write_text("*.o\n")
    (repository / ".gitignore").symlink_to("rules")
    (repository / "x.o").write_text("")
    assert ours(repository) == theirs(repository) == set()


def test_names_that_are_no_text_are_matched_by_their_bytes(repository: Path) -> None:
    (repository / ".gitignore").write_bytes(b"\xff*\n")
    for name in (b"\xffx", b"\xfex"):
        Path(os.fsdecode(os.fsencode(repository) + b"/" + name)).write_text("")
    assert ours(repository) == theirs(repository)
    assert len(ours(repository)) == 1


@pytest.mark.parametrize("content", [b"", b"\n\n", b"#\n", b"\xef\xbb\xbf", b"!\n", b"/\n", b"   \n"])
def test_a_file_may_say_nothing(content: bytes) -> None:
    assert parse(content) == ()


def test_what_stands_in_a_line() -> None:
    rules = parse(b"\xef\xbb\xbfa\r\n!b/\n/c\n")
    assert [(one.negative, one.folders_only, one.by_name) for one in rules] == [
        (False, False, False),
        (True, True, True),
        (False, False, True),
    ]
    assert rule("") is None
