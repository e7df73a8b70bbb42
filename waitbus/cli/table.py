"""The static table of commands, and the help page made of it without importing any of them."""

from __future__ import annotations

TYPE_CHECKING = False  # typing is 8 ms; mypy knows the name by itself
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    Table = Mapping[str, Mapping[str, tuple[str, str]]]

COMMANDS: dict[str, dict[str, tuple[str, str]]] = {
    # heading -> {name: ("module:attribute", "what it does, in one line without a full stop")}; "" stands first.
    "": {
        "wait": ("waitbus.cli.wait:wait", "wait until it happens; the answer is the exit code"),
        "on": ("waitbus.cli.on:on", "run a command when it happens, once or each time"),
        "run": ("waitbus.cli.run:run", "run a command, and tell whoever waits when it ends and how"),
        "emit": ("waitbus.cli.emit:emit", "tell that something happened"),
        "status": ("waitbus.cli.status:status", "show the daemon, the log, and who waits for what"),
    },
    "Look": {
        "read-events": ("waitbus.cli.read_events:read_events", "show the newest events, or what comes: list, watch"),
        "replay": ("waitbus.cli.replay:replay", "print what is in the log already"),
        "events": ("waitbus.cli.events:events", "ask the log questions in SQL: query"),
        "cursor": ("waitbus.cli.cursor:cursor", "print the cursor of now, to go on from later"),
        "bookmark": ("waitbus.cli.bookmark:bookmark", "keep a reader's place in the log: list, set, delete"),
    },
    "Agents": {},
    "Sources": {
        "source": ("waitbus.cli.source:source", "what there is to wait for: list, show, verify, run"),
        "allowlist": (
            "waitbus.cli.allowlist:allowlist",
            "say which plugins are trusted: list, add, remove, verify, repair",
        ),
    },
    "Set up": {
        "serve": ("waitbus.cli.serve:serve", "serve the bus to many waiters at once"),
        "init": ("waitbus.cli.init:init", "make the folders, the log and a config file"),
        "db": ("waitbus.cli.db:db", "look at the log's file, and look after it"),
        "config": ("waitbus.cli.config:config", "check, explain and show the configuration"),
        "broadcast": ("waitbus.cli.broadcast:broadcast", "look at the bus as it runs: serve, tap"),
        "completion": ("waitbus.cli.completion:completion", "print the completion script of bash, zsh or fish"),
    },
    "Try": {
        "demo": ("waitbus.cli.demo:demo", "see it at work, in a few seconds"),
    },
}

HELP_LINES = 40
"""A help page longer than a terminal is a manual. Beyond this, the groups after the first shrink to lists of names."""

HEAD = """\
Wait for anything that happens on this machine, and get the answer as an exit code.

Usage: waitbus COMMAND [OPTIONS]
"""
FOOT = "`waitbus COMMAND --help` shows two examples and every option."


def entries(table: Table = COMMANDS) -> Iterator[tuple[str, tuple[str, str]]]:
    """Every (name, (location, help)), in the order of the help page."""
    for group in table.values():
        yield from group.items()


def location(name: str, table: Table = COMMANDS) -> str | None:
    """`module:attribute` of a command, or None if there is none of that name."""
    return next((group[name][0] for group in table.values() if name in group), None)


def help_text(table: Table = COMMANDS, width: int = 100) -> str:
    """The page of `waitbus --help`: at most 40 lines, only commands that exist."""
    full = "\n".join([HEAD, *_sections(table), FOOT])
    if full.count("\n") < HELP_LINES:
        return full
    return "\n".join([HEAD, *_sections({"": table.get("", {})}), *_compact(table, width), "", FOOT])


def _sections(table: Table) -> Iterator[str]:
    column = max((len(name) for name, _ in entries(table)), default=0)
    for heading, group in table.items():
        if not group:
            continue
        if heading:
            yield f"{heading}:"
        for name, (_, text) in group.items():
            yield f"  {name:<{column}}  {text}"
        yield ""


def _compact(table: Table, width: int) -> Iterator[str]:
    for heading, group in table.items():
        if heading and group:
            line = f"  {heading:<9}"
            for name in group:
                if len(line) + 2 + len(name) > width:
                    yield line
                    line = " " * 11
                line += f"  {name}"
            yield line
