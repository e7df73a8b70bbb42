"""Git's rules that stand outside of what is watched: a change of them is noticed when it happens, wherever that is."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.sources.fs_watching import Bus, git, watching
from tests.sources.test_fs_watch import drained
from waitbus.sources import fs_watch
from waitbus.sources.fs_globs import Globs
from waitbus.sources.fs_watch import RootWatch

WHO = ("-c", "user.name=a", "-c", "user.email=a@b")


@pytest.fixture
def root(home: Path) -> Path:
    root = (home / "root").resolve()
    root.mkdir()
    return root


def repository(top: Path) -> Path:
    """A repository at `top`; its file of excludes."""
    git(top.parent, "init", "-q", str(top))
    return top / ".git" / "info" / "exclude"


async def shown(bus: Bus, folder: Path, *names: str) -> list[str]:
    """Which of these names are told of when files appear under them; what happened before is told by then."""
    await bus.told()
    for name in names:
        (folder / name).write_text("x")
    found = sorted(name for action, name, *_ in await bus.changes() if action == "created")
    for name in names:
        (folder / name).unlink()
    return [os.path.basename(name) for name in found]


async def test_the_exclude_of_a_repository_in_the_root_is_noticed(root: Path) -> None:
    exclude = repository(root / "inner")
    async with watching(root) as bus:
        assert await shown(bus, root / "inner", "a.x", "a.y") == ["a.x", "a.y"]
        exclude.write_text("*.x\n")
        assert await shown(bus, root / "inner", "a.x", "a.y") == ["a.y"]
        exclude.write_text("*.y\n")
        assert await shown(bus, root / "inner", "a.x", "a.y") == ["a.x"]
        exclude.unlink()
        assert await shown(bus, root / "inner", "a.x", "a.y") == ["a.x", "a.y"]
        exclude.write_text("*.x\n")
        assert await shown(bus, root / "inner", "a.x", "a.y") == ["a.y"]
        assert await shown(bus, root, "a.x") == ["a.x"]


async def test_a_repository_that_comes_into_the_root_has_its_rules(root: Path) -> None:
    """Made there by git, which takes a moment, and moved there."""
    async with watching(root) as bus:
        repository(root / "made").write_text("*.x\n")
        assert await shown(bus, root / "made", "a.x", "a.y") == ["a.y"]
        repository(root.parent / "moved").write_text("*.x\n")
        (root.parent / "moved").rename(root / "moved")
        assert await shown(bus, root / "moved", "a.x", "a.y") == ["a.y"]
        (root / "moved" / ".git" / "info" / "exclude").write_text("*.y\n")
        assert await shown(bus, root / "moved", "a.x", "a.y") == ["a.x"]
        repository(root).write_text("*.z\n")
        assert await shown(bus, root, "a.x", "a.z") == ["a.x"]
        shutil.rmtree(root / "made" / ".git")
        assert await shown(bus, root / "made", "a.x", "a.z") == ["a.x"]


async def test_a_worktree_and_a_submodule_have_the_excludes_of_where_git_keeps_them(root: Path, home: Path) -> None:
    main, other = home / "main", home / "other"
    exclude = repository(main)
    repository(other)
    for top in (main, other):
        git(top, "commit", "-q", "--allow-empty", "-m", "x")
    git(main, "worktree", "add", "-q", str(root / "tree"))
    repository(root / "top")
    git(root / "top", "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(other), "sub")
    own = root / "top" / ".git" / "modules" / "sub" / "info" / "exclude"
    own.parent.mkdir(exist_ok=True)
    async with watching(root) as bus:
        assert await shown(bus, root / "tree", "a.x", "a.y") == ["a.x", "a.y"]
        exclude.write_text("*.x\n")
        own.write_text("*.y\n")
        assert await shown(bus, root / "tree", "a.x", "a.y") == ["a.y"]
        assert await shown(bus, root / "top" / "sub", "a.x", "a.y") == ["a.x"]


async def test_a_folder_of_git_that_is_watched_too_is_told_of_nevertheless(root: Path) -> None:
    """A file of rules in the root itself: it is both."""
    git(root, "init", "-q", "--separate-git-dir", str(root / "place"), str(root / "tree"))
    info = root / "place" / "info"
    info.mkdir(exist_ok=True)
    async with watching(root) as bus:
        (info / "exclude").write_text("*.x\n")
        assert ("place/info/exclude") in [change[1] for change in await bus.changes()]
        assert await shown(bus, root / "tree", "a.x", "a.y") == ["a.y"]
        assert await shown(bus, info, "more") == ["more"]


@pytest.mark.parametrize("place", [".", "inner"])
async def test_the_rules_of_the_user_are_noticed(root: Path, home: Path, place: str) -> None:
    """Also when they come to be, and when an editor renames a new file over them."""
    top = root / place
    repository(top)
    users = Path(os.environ["XDG_CONFIG_HOME"]) / "git" / "ignore"
    async with watching(root) as bus:
        assert await shown(bus, top, "a.x", "a.y") == ["a.x", "a.y"]
        users.parent.mkdir(parents=True)
        users.write_text("*.x\n")
        assert await shown(bus, top, "a.x", "a.y") == ["a.y"]
        for rules, told in (("*.y\n", ["a.x"]), ("*.x\n", ["a.y"]), ("", ["a.x", "a.y"])):
            users.with_suffix(".new").write_text(rules)
            users.with_suffix(".new").rename(users)
            assert await shown(bus, top, "a.x", "a.y") == told
        dotfiles = home / "dotfiles"
        dotfiles.write_text("*.x\n")
        users.unlink()
        users.symlink_to(dotfiles)
        assert await shown(bus, top, "a.x", "a.y") == ["a.y"]
        dotfiles.write_text("*.y\n")
        assert await shown(bus, top, "a.x", "a.y") == ["a.x"]


@pytest.mark.parametrize("scope", ["--local", "--global"])
@pytest.mark.parametrize("place", [".", "inner"])
async def test_what_gits_configuration_says_of_rules_is_noticed(root: Path, home: Path, scope: str, place: str) -> None:
    top = root / place
    repository(top)
    rules = home / "rules"
    async with watching(root) as bus:
        assert await shown(bus, top, "a.x", "a.y") == ["a.x", "a.y"]
        git(top, "config", scope, "core.excludesFile", str(rules))
        rules.write_text("*.x\n")
        assert await shown(bus, top, "a.x", "a.y") == ["a.y"]
        rules.write_text("*.y\n")
        assert await shown(bus, top, "a.x", "a.y") == ["a.x"]
        git(top, "config", scope, "core.ignoreCase", "true")
        rules.write_text("*.X\n")
        assert await shown(bus, top, "a.x", "a.y") == ["a.y"]
        git(top, "config", scope, "--unset", "core.excludesFile")
        assert await shown(bus, top, "a.x", "a.y") == ["a.x", "a.y"]


async def test_what_rules_hid_and_show_again_is_no_news(root: Path) -> None:
    exclude = repository(root / "inner")
    exclude.write_text("*.x\n")
    async with watching(root) as bus:
        (root / "inner" / "old.x").write_text("x")
        await bus.told()
        exclude.write_text("")
        assert await bus.changes() == []
        (root / "inner" / "old.x").write_text("more")
        assert await bus.changes() == [("modified", "inner/old.x")]


# -- whatever happens --------------------------------------------------------------------------------------------------

PLACES = ["", "a", "a/b", "c"]
RULES = ["*.x\n", "*.y\n", "!*.x\n", "b/\n", "/a\n", "", "*\n!*/\n"]
PLACE = st.sampled_from(PLACES)
STEPS = st.one_of(
    st.tuples(st.just("ignore"), PLACE, st.sampled_from(RULES)),
    st.tuples(st.just("exclude"), PLACE, st.sampled_from(RULES)),
    st.tuples(st.just("user"), PLACE, st.sampled_from(RULES)),
    st.tuples(st.just("named"), PLACE, st.sampled_from(RULES)),
    st.tuples(st.just("init"), PLACE),
    st.tuples(st.just("uninit"), PLACE),
    st.tuples(st.just("unignore"), PLACE),
    st.tuples(st.just("away"), PLACE),
    st.tuples(st.just("turn"), PLACE),
    st.tuples(st.just("rest"), PLACE),
)


def do(root: Path, kind: str, place: Path, rules: str) -> None:
    """One step, where it is possible."""
    with contextlib.suppress(OSError):
        match kind:
            case "ignore":
                (place / ".gitignore").write_text(rules)
            case "unignore":
                (place / ".gitignore").unlink()
            case "exclude":
                (place / ".git" / "info" / "exclude").write_text(rules)
            case "user":
                users = root.parent / "xc" / "git" / "ignore"
                users.parent.mkdir(parents=True, exist_ok=True)
                users.write_text(rules)
            case "named":
                with (place / ".git" / "config").open("a") as config:
                    config.write("[core]\n\texcludesFile = named\n")
                (place / "named").write_text(rules)
            case "init":
                shutil.copytree(root.parent / "template", place / ".git")
            case "uninit":
                shutil.rmtree(place / ".git")
            case "away":
                place.rename(root.parent / "kept")
                (root.parent / "kept").rename(place)


@pytest.mark.parametrize("hears", [True, False], ids=["the kernel tells", "walks alone"])
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(STEPS, max_size=25))
def test_whatever_rules_change_what_is_known_is_what_is_not_ignored(
    monkeypatch: pytest.MonkeyPatch, hears: bool, steps: list[tuple[str, ...]]
) -> None:
    """A watch that was there all the time knows what one knows that begins now."""
    monkeypatch.setattr(fs_watch, "HAS_INOTIFY", hears)
    home = Path(tempfile.mkdtemp(prefix="wb-rules-")).resolve()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / "xc"))
    root = home / "root"
    for place in PLACES:
        (root / place).mkdir(parents=True, exist_ok=True)
        for name in ("1.x", "2.y", "3"):
            (root / place / name).write_text("")
    repository(home / "made")
    (home / "made" / ".git").rename(home / "template")
    watches = [RootWatch(str(root), Globs())]
    try:
        list(drained(watches[0]))
        for kind, place, *rules in steps:
            if kind == "turn":
                watches[0].turn()
            elif kind == "rest":
                list(drained(watches[0]))
            else:
                do(root, kind, root / place, "".join(rules))
        list(drained(watches[0]))
        watches.append(RootWatch(str(root), Globs()))
        list(drained(watches[1]))
        before, now = ({path: set(folder.files) for path, folder in one.tree.folders.items()} for one in watches)
        assert before == now
    finally:
        for watch in watches:
            watch.close()
        shutil.rmtree(home)


# -- what it costs -----------------------------------------------------------------------------------------------------


def test_what_else_git_does_wakes_nobody(root: Path) -> None:
    """Its index, its logs and its objects are none of ours."""
    for top in (root, root / "inner"):
        repository(top)
    watch = RootWatch(str(root), Globs())
    try:
        list(drained(watch))
        for top in (root, root / "inner"):
            git(top, "commit", "-q", "--allow-empty", "-m", "x")
            git(top, "branch", "other")
            git(top, "checkout", "-q", "other")
        assert watch.queue is not None
        assert select.select([watch.queue.fd], [], [], 0)[0] == []
    finally:
        watch.close()


def test_what_is_followed_for_a_repository_is_forgotten_with_it(root: Path) -> None:
    repository(root)
    watch = RootWatch(str(root), Globs())
    try:
        list(drained(watch))
        assert watch.rules is not None
        before = (dict(watch.rules._folders), dict(watch.rules._followed), dict(watch.rules._watches))
        for number in range(5):
            repository(root / f"{number}")
        list(drained(watch))
        assert len(watch.rules._folders) == 6
        for number in range(5):
            shutil.rmtree(root / f"{number}")
        list(drained(watch))
        (root / ".git" / "info" / "exclude").write_text("x\n")
        list(drained(watch))
        after = (watch.rules._folders, watch.rules._followed, watch.rules._watches)
        assert [one.keys() for one in after] == [one.keys() for one in before]
    finally:
        watch.close()
