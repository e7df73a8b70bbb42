"""`waitbus allowlist`: which plugins are trusted, and what somebody decides about them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import attrs

from waitbus.cli import output
from waitbus.cli.command import group
from waitbus.cli.options import argument, json_option, option
from waitbus.cli.status import tidy
from waitbus.errors import EXIT_NO
from waitbus.quantities import say_count
from waitbus.render import neutral
from waitbus.sources import pins, trusted

if TYPE_CHECKING:
    from waitbus.sources.trusted import Row

IN_WORDS = {
    "pinned": "trusted",
    "new": "not used yet; trusted when it is",
    "new_version": "a new version, not used yet; trusted when it is",
    "editable": "installed to be edited: used, and never pinned",
    "refused": "not used",
    "not_installed": "trusted, not installed here",
}


@group("allowlist")
def allowlist() -> None:
    """Say which plugins are trusted.

    A plugin is trusted when it is used for the first time: its distribution, version and content are pinned in plugins.toml,
    beside the configuration. A new version of it is pinned too, and told once, where its files are those that its installer wrote
    down; with `plugins.trust = "content"` it waits for `allowlist add`. Anything else that changed is not used.
    """


@allowlist.command("list", examples=[("waitbus allowlist list", 0), ("waitbus allowlist list --json", 0)])
@json_option
def allowlist_list(as_json: bool) -> None:
    """List the plugins that are installed or trusted."""
    rows = trusted.rows()
    if as_json:
        for row in rows:
            output.record(attrs.asdict(row), flush=False)
    elif not rows:
        output.talk("no plugins: none is installed in this Python, and none was ever trusted")
    for row in rows if not as_json else ():
        output.data(_line(row), flush=False)


@allowlist.command(
    "add",
    examples=[
        ("waitbus allowlist add timer", 0, "plugin"),
        ("waitbus allowlist add no_such_plugin --json", 2),
    ],
)
@argument("name", note="the source's name")
@json_option
def allowlist_add(name: str, as_json: bool) -> None:
    """Trust a plugin as it is installed now."""
    row = trusted.add(name)
    if as_json:
        output.record(attrs.asdict(row))
    else:
        output.data(_line(row))


@allowlist.command(
    "remove",
    examples=[
        ("waitbus allowlist add timer && waitbus allowlist remove timer", 0, "plugin"),
        ("waitbus allowlist remove timer --json", 1),
    ],
)
@argument("name", note="the source's name")
@json_option
def allowlist_remove(name: str, as_json: bool) -> int:
    """Forget that a plugin was trusted; exit 1 if none of that name was.

    If it is still installed it is trusted once more when it is used. To forbid it, name it in plugins.deny.
    """
    removed = trusted.remove(name)
    if as_json:
        output.record({"name": name, "removed": removed})
        return 0 if removed else EXIT_NO
    if not removed:
        return output.fail(f"no plugin {name!r} is trusted", "`waitbus allowlist list` lists them", EXIT_NO)
    output.talk(f"forgot {say_count(removed, 'version')} of {name}")
    return 0


@allowlist.command("verify", examples=[("waitbus allowlist verify", 0), ("waitbus allowlist verify --json", 0)])
@argument("name", required=False, note="the source's name [default: all that are installed]")
@json_option
def allowlist_verify(name: str | None, as_json: bool) -> int:
    """Hold the files of installed plugins against what is trusted; exit 1 if one may not be used.

    Nothing is changed, and nothing new is trusted.
    """
    rows = [row for row in trusted.rows() if row.state != "not_installed" and name in (None, row.name)]
    if name is not None and not rows:
        raise trusted.unknown(name)
    if as_json:
        for row in rows:
            output.record(attrs.asdict(row), flush=False)
    elif not rows:
        output.talk("no plugin is installed in this Python")
    for row in rows if not as_json else ():
        output.data(_line(row), flush=False)
    return EXIT_NO if any(row.state == "refused" for row in rows) else 0


@allowlist.command(
    "repair", examples=[("waitbus allowlist repair", 0), ("waitbus allowlist repair --dry-run --json", 0)]
)
@option("--dry-run", "dry", is_flag=True, group="What", help="Say what would be done, and do nothing.")
@json_option
def allowlist_repair(dry: bool, as_json: bool) -> None:
    """Mend a damaged plugins.toml: set it aside, and keep of it what can be read."""
    done = trusted.repair(dry=dry)
    if as_json:
        output.record(_repaired(done, dry))
        return
    path = tidy(pins.pins_path())
    if not done.wrong:
        output.talk(f"{path} is in order")
        return
    kept = say_count(done.kept, "pin")
    output.talk(f"{path}: {done.wrong}")
    output.talk(f"would keep {kept}" if dry else f"kept {kept}; the damaged file is {tidy(done.aside or path)}")


def _repaired(done: trusted.Repaired, dry: bool) -> dict[str, Any]:
    aside = None if done.aside is None else os.fspath(done.aside)
    return {
        "path": os.fspath(pins.pins_path()),
        "wrong": done.wrong or None,
        "kept": done.kept,
        "aside": aside,
        "dry": dry,
    }


def _line(row: Row) -> str:
    words = IN_WORDS[row.state]
    parts = [row.name, f"{row.distribution} {row.version}", f"{words}: {row.reason}" if row.reason else words]
    if row.trusted_at is not None and row.state in ("pinned", "not_installed"):
        parts.append(f"since {row.trusted_at} ({row.how})")
    return "\n      ".join(neutral(part) for part in ("  ".join(parts), row.hint) if part)
