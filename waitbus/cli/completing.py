"""What a shell is offered behind an option or in the place of an argument, where click does not know it by itself.

Each is click's `shell_complete`: (context, parameter, what was typed) -> items.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


IN_CHILD = "waitbus.in_child"
"""In a context's `meta`: whether the words of a child have begun."""


def event_types(ctx: click.Context, param: click.Parameter, typed: str) -> list[str] | list[CompletionItem]:
    """Every event type that is declared here; behind the `--` of a child, files."""
    if ctx.meta.get(IN_CHILD):
        return files(ctx, param, typed)
    from waitbus.sources import known_sources

    found = {name for spec in known_sources().values() for name in spec.event_types}
    return sorted(name for name in found if name.startswith(typed))


def files(_ctx: click.Context, _param: click.Parameter, typed: str) -> list[CompletionItem]:
    """Files, which the shell finds itself."""
    from click.shell_completion import CompletionItem

    return [CompletionItem(typed, type="file")]


def folders(_ctx: click.Context, _param: click.Parameter, typed: str) -> list[CompletionItem]:
    from click.shell_completion import CompletionItem

    return [CompletionItem(typed, type="dir")]


def source_names(_ctx: click.Context, _param: click.Parameter, typed: str) -> list[str]:
    """Every source that is known here."""
    from waitbus.sources import known_sources

    return [name for name in sorted(known_sources()) if name.startswith(typed)]


def bookmark_names(_ctx: click.Context, _param: click.Parameter, typed: str) -> list[str]:
    """The bookmarks that there are."""
    from waitbus.client import bookmarks

    return [name for name in bookmarks.names() if name.startswith(typed)]


def condition_names(_ctx: click.Context, _param: click.Parameter, typed: str) -> list[str]:
    """Our own conditions; those of packages are not loaded for a tab."""
    return [name for name in ("failed", "finished", "succeeded") if name.startswith(typed)]
