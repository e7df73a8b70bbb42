"""The root group: it knows every command by name from the static table and imports the one that is called."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import import_module
from typing import TYPE_CHECKING

import click

from waitbus.cli import output
from waitbus.cli.command import Group
from waitbus.cli.table import COMMANDS, entries, help_text, location

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from waitbus.cli.table import Table


class LazyGroup(Group):
    """A group whose commands are named by a table and loaded by `get_command`, one at a time."""

    def __init__(self, name: str, table: Table) -> None:
        super().__init__(name)
        self.table = table

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for name, _ in entries(self.table)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        where = location(cmd_name, self.table)
        return None if where is None else _load(where)

    def get_help(self, ctx: click.Context) -> str:
        return help_text(self.table)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        # click's own would import every command whose name begins so, to read its help; the table has it.
        from click.shell_completion import CompletionItem

        return [
            CompletionItem(name, help=text) for name, (_, text) in entries(self.table) if name.startswith(incomplete)
        ]


def root(table: Table = COMMANDS) -> LazyGroup:
    """The program."""
    return LazyGroup("waitbus", table)


def iter_commands(group: click.Group | None = None, path: str = "waitbus") -> Iterator[tuple[str, click.Command]]:
    """Every command that can be called, with its full name (`waitbus bookmark list`); imports them all. For tests."""
    group = root() if group is None else group
    ctx = click.Context(group, info_name=path)
    for name in group.list_commands(ctx):
        found = group.get_command(ctx, name)
        if isinstance(found, click.Group):
            yield from iter_commands(found, f"{path} {name}")
        elif found is not None:
            yield f"{path} {name}", found


def _load(where: str) -> click.Command:
    module, _, attribute = where.partition(":")
    found = getattr(import_module(module), attribute)
    if not isinstance(found, click.Command):
        raise TypeError(f"{where} in the table of commands is {found!r}, not a click command")
    if "logging" in sys.modules:
        # Never imported for its own sake: it is 7 ms, and most commands that can log have it from trio.
        output.hear_logging()
    return found
