"""`waitbus allowlist`: which plugins are trusted, and what somebody decides about them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import attrs

from waitbus.cli import output
from waitbus.cli.command import Usage, group
from waitbus.cli.files import opened
from waitbus.cli.options import argument, json_option, option
from waitbus.cli.status import tidy
from waitbus.errors import EXIT_NO, EXIT_UNAVAILABLE
from waitbus.quantities import say_count
from waitbus.render import neutral
from waitbus.sources import pins, trusted
from waitbus.sources.policy import in_force

if TYPE_CHECKING:
    from collections.abc import Callable

    from waitbus.sources.attested import Attestation, Where
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


def attestation_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Files in the place of what the index has."""
    group = "Attestations"
    by = option("--provenance", metavar="FILE", group=group, help="What attests it (PEP 740) [default: the index's].")
    return option("--wheel", metavar="FILE", group=group, help="The wheel it is from [default: the index's].")(
        by(command)
    )


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
@option(
    "--attested", is_flag=True, group="Attestations", help="Only if a publisher attests it, and trust no other one."
)
@attestation_options
@json_option
def allowlist_add(name: str, attested: bool, wheel: str | None, provenance: str | None, as_json: bool) -> None:
    """Trust a plugin as it is installed now.

    With --attested the wheel that the index (plugins.index_url) has of it has to be attested by a publisher, such as a workflow
    of a repository, and to be what is installed. From then on a version that another publisher attests, or nobody, is not used
    until it is added. This needs the extra plugin-verify.
    """
    where = _where(wheel, provenance) if attested or wheel or provenance else None
    row = trusted.add(name, where=where)
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


@allowlist.command(
    "verify",
    examples=[
        ("waitbus allowlist verify", 0),
        ("waitbus allowlist verify --attestations", 0),
        ("waitbus allowlist verify --json", 0),
    ],
)
@argument("name", required=False, note="the source's name [default: all that are installed]")
@option("--attestations", is_flag=True, group="Attestations", help="Look who published them; it asks the index.")
@attestation_options
@json_option
def allowlist_verify(
    name: str | None, attestations: bool, wheel: str | None, provenance: str | None, as_json: bool
) -> int:
    """Hold the files of installed plugins against what is trusted; exit 1 if one may not be used.

    Nothing is changed, and nothing new is trusted. With --attestations (extra plugin-verify) it also exits 1 where an attestation
    does not hold, or is none that is asked for, by plugins.require_attestation or by `allowlist add --attested`; and 69 where the
    index (plugins.index_url) cannot be asked. That nobody attests a plugin is no failure by itself.
    """
    if name is None and (wheel or provenance):
        what = "--wheel" if wheel else "--provenance"
        raise Usage(f"{what} is of one plugin, and none is named", hint=f"waitbus allowlist verify NAME {what} FILE")
    rows = [row for row in trusted.rows() if row.state != "not_installed" and name in (None, row.name)]
    if name is not None and not rows:
        raise trusted.unknown(name)
    found: list[Attestation | None] = [None] * len(rows)
    if rows and (attestations or wheel or provenance):
        found = [*trusted.attestations(rows, _where(wheel, provenance))]
    if not rows and not as_json:
        output.talk("no plugin is installed in this Python")
    for row, one in zip(rows, found, strict=True):
        _show(row, one, as_json)
    return _exit_code(rows, found)


def _where(wheel: str | None, provenance: str | None) -> Where:
    for what, name in (("--wheel", wheel), ("--provenance", provenance)):
        if name is not None:
            with opened(what, name):
                pass
    return trusted.whereabouts(in_force(), wheel, provenance)


def _show(row: Row, one: Attestation | None, as_json: bool) -> None:
    if as_json:
        output.record({**attrs.asdict(row), "attestation": None if one is None else attrs.asdict(one)}, flush=False)
        return
    more = [_held(row), "" if one is None else _published(one)]
    output.data("\n      ".join([_line(row), *(neutral(text) for text in more if text)]), flush=False)


def _held(row: Row) -> str:
    """What was looked at, where it is as it should be."""
    files = f"its {say_count(row.files, 'file')} are those of RECORD"
    if row.state == "pinned":
        return f"{files}, and those that are trusted" + (
            f", as {row.publisher} published them" if row.publisher else ""
        )
    return files if row.state in ("new", "new_version") else ""


def _published(one: Attestation) -> str:
    match one.state:
        case "attested":
            keys = "" if one.keys == "renewed" else ", by the keys that came with the extra"
            return f"published by {one.publisher}: {one.wheel} is attested{keys}, and what is installed was in it"
        case "none":
            return f"nobody attests it: {one.reason}"
        case "unknown":
            return f"who published it cannot be looked at: {one.reason}"
        case _:
            return f"not as it was published: {one.reason}"


def _exit_code(rows: list[Row], found: list[Attestation | None]) -> int:
    pairs = list(zip(rows, found, strict=True))
    is_missed = any(one is not None and one.state == "none" and row.publisher for row, one in pairs)
    if is_missed or any(row.state == "refused" or (one is not None and one.state == "wrong") for row, one in pairs):
        return EXIT_NO
    return EXIT_UNAVAILABLE if any(one is not None and one.state == "unknown" for one in found) else 0


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
