"""The repository of a directory, from the address of its remote."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import support
from waitbus.ops.origin import origin, parse_origin


@pytest.mark.parametrize(
    "url",
    [
        "https://github.com/octo/hello.git",
        "https://github.com/octo/hello",
        "https://github.com/octo/hello/\n",
        "https://user:token@github.example.com:8443/octo/hello.git",
        "HTTPS://github.com/octo/hello",
        "ssh://git@github.com/octo/hello.git",
        "ssh://git@github.com:22/octo/hello",
        "git://host/octo/hello.git",
        "git@github.com:octo/hello.git",
        "github.com:octo/hello",
        "work-alias:octo/hello.git",
    ],
)
def test_owner_and_name_are_found_in_every_form_of_address(url: str) -> None:
    assert parse_origin(url) == ("octo", "hello")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "/srv/git/octo/hello.git",
        "../octo/hello",
        "file:///srv/octo/hello",
        "https://host/hello",
        "https://host/group/sub/hello.git",
        "https://host/octo/",
        "git@host:octo",
        "git@host:octo/he llo",
        "https://host/octo/*",
    ],
)
def test_what_has_no_owner_and_name_is_none(url: str) -> None:
    assert parse_origin(url) is None


def test_the_current_directory_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With `insteadOf` applied; None outside of a repository, without a remote, and without git."""
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.chdir(tmp_path)
    assert origin() is None
    support.run(["git", "init", "-q", "."])
    assert origin() is None
    support.run(["git", "remote", "add", "origin", "gh:octo/hello"])
    support.run(["git", "config", "url.https://github.com/.insteadOf", "gh:"])
    assert origin() == ("octo", "hello")
    monkeypatch.setenv("PATH", "/nowhere")
    assert origin() is None
