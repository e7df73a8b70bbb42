"""Git's patterns, by table; `test_gitignore.py` asks git itself."""

from __future__ import annotations

import pytest

from waitbus.sources.wildmatch import name_matcher, path_matcher

NAMES = [
    ("a", "a", True),
    ("a", "ab", False),
    ("*.py", "x.py", True),
    ("*.py", ".py", True),
    ("*.py", "x.pyc", False),
    ("*", "anything", True),
    ("a*c*e", "abcde", True),
    ("?", "é".encode().decode("latin-1"), False),  # two bytes
    ("??", "é".encode().decode("latin-1"), True),
    ("[abc]x", "bx", True),
    ("[!abc]x", "bx", False),
    ("[^abc]x", "dx", True),
    ("[]x]", "]", True),
    ("[a-", "a", False),
    ("[", "[", False),
    ("\\[", "[", True),
    ("x\\", "x", False),
    ("[[:digit:]]", "7", True),
    ("[[:nothing:]]", "7", False),
    ("[[:space:]]", "\v", False),
    ("[z-a]", "m", False),
    ("[\\]]", "]", True),
    ("[a-c-e]", "-", True),
    ("a.c", "abc", False),
    ("x*y", "x\ny", True),
]

PATHS = [
    ("a/b", "a/b", True),
    ("a/*", "a/b", True),
    ("a/*", "a/b/c", False),
    ("a/**", "a/b/c", True),
    ("**/c", "c", True),
    ("**/c", "a/b/c", True),
    ("a/**/c", "a/c", True),
    ("a/**/c", "a/x/y/c", True),
    ("a/**/c", "a/xc", False),
    ("foo**/bar", "foobar", True),  # nobody would say so, and git does
    ("foo**/bar", "foo/x/bar", True),
    ("a/x**y", "a/x/y", False),
    ("a?b", "a/b", False),
    ("a[/]b", "a/b", False),
    ("a[!x]b", "a/b", False),
]


@pytest.mark.parametrize(("pattern", "name", "matches"), NAMES)
def test_a_name_is_matched_as_git_does(pattern: str, name: str, matches: bool) -> None:
    assert name_matcher(pattern)(name) is matches


@pytest.mark.parametrize(("pattern", "path", "matches"), PATHS)
def test_a_path_is_matched_as_git_does(pattern: str, path: str, matches: bool) -> None:
    assert path_matcher(pattern)(path) is matches


def test_a_pattern_made_to_be_slow_takes_no_time() -> None:
    """With a backtracking engine this would outlast the machine."""
    assert name_matcher("*a" * 200 + "b")("a" * 255) is False
