"""Commands and groups whose `--help` is: one sentence, examples that work as typed, then options grouped by purpose.

The first paragraph of the docstring is the sentence, the rest follows the options as notes. Examples are data
(`Command.examples`): the help shows them and tests/cli/test_examples.py runs each and checks its exit code.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, TypeVar

import click

from waitbus import interrupt
from waitbus.cli import output
from waitbus.cli.completing import IN_CHILD, files

F = TypeVar("F", bound=Callable[..., Any])

SETTINGS = {"max_content_width": 100}
WORDS_LEFT = {"allow_extra_args": True}
"""Of commands: click's own sentence about words too many names no remedy."""
LAST_GROUPS = ("Output", "Other")
"""Headings that stand last, whatever the order of the decorators: the same on every page."""


class Usage(click.UsageError):
    """What was typed is wrong; `hint` says what to type instead."""

    def __init__(self, message: str, *, hint: str = "", ctx: click.Context | None = None) -> None:
        super().__init__(message, ctx)
        self.hint = hint


class Example(NamedTuple):
    """A command line as typed, the exit code it ends with, and what must be there before.

    `setup` is a key of `SETUPS` in tests/cli/test_examples.py; None is an empty folder and an empty log.
    """

    line: str
    exit_code: int = 0
    setup: str | None = None


class GroupedOption(click.Option):
    """An option that stands under a heading of its command's help."""

    def __init__(self, *args: Any, group: str = "Other", **attrs: Any) -> None:
        super().__init__(*args, **attrs)
        self.group = group


class HelpOption(GroupedOption):
    """`--help`, printed by `output`. Ours, since click's own asks gettext for its text at every start: 1 ms and six stats."""

    def __init__(self) -> None:
        super().__init__(
            ["-h", "--help"],
            is_flag=True,
            is_eager=True,
            expose_value=False,
            callback=_show_help,
            help="Show this page.",
        )


class NotedArgument(click.Argument):
    """An argument that has a line in its command's help (click's own `help=` for arguments came with 8.5)."""

    def __init__(self, *args: Any, note: str = "", **attrs: Any) -> None:
        super().__init__(*args, **attrs)
        self.note = note


class Command(click.Command):
    """A command with examples, grouped options and, if `tail` is given, the argument vector of a child.

    With `tail="command"` the callback gets `command: tuple[str, ...]`, everything that belongs to the child, untouched.
    If the command has no other arguments the child begins at the first word that is no option, with or without `--`
    before it (`waitbus run --name x make -j4`); else it begins behind the first `--`, which must be there.
    """

    def __init__(
        self,
        *args: Any,
        examples: Iterable[Example | tuple[Any, ...]] = (),
        tail: str | None = None,
        **attrs: Any,
    ) -> None:
        attrs["context_settings"] = {**SETTINGS, **WORDS_LEFT, **(attrs.get("context_settings") or {})}
        super().__init__(*args, **attrs)
        self._help_page = HelpOption()
        self.examples = tuple(Example(*example) for example in examples)
        self.tail = tail
        self.tail_needs_dashes = any(isinstance(param, click.Argument) for param in self.params)
        if tail is not None and not self.tail_needs_dashes:
            words = click.Argument([tail], nargs=-1, type=click.UNPROCESSED, metavar="COMMAND", shell_complete=files)
            self.params.append(words)
            self.context_settings["allow_interspersed_args"] = False

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return self._parse_args(ctx, args)
        except click.UsageError as error:
            error.ctx = error.ctx or ctx  # click's parser leaves it out of some, and the hint would name no command
            raise

    def invoke(self, ctx: click.Context) -> Any:
        interrupt.become_exception()
        return super().invoke(ctx)

    def _parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if self.tail is None:
            return self._parse_own(ctx, args)
        if not self.tail_needs_dashes:
            rest = self._parse_own(ctx, args)
        else:
            at = args.index("--") if "--" in args else len(args)
            child = tuple(args[at + 1 :])
            rest = self._parse_own(ctx, args[:at])
            ctx.params[self.tail] = child
            ctx.meta[IN_CHILD] = at < len(args)
        if not ctx.params[self.tail] and not ctx.resilient_parsing:
            raise Usage("no command to run is given", hint=f"write it last: {_usage(ctx)}", ctx=ctx)
        return rest

    def _parse_own(self, ctx: click.Context, args: list[str]) -> list[str]:
        rest = super().parse_args(ctx, args)
        if rest and not ctx.resilient_parsing:
            raise Usage(
                f"{rest[0]!r} is one word too many",
                hint=f"write {_usage(ctx)}; quote what has blanks in it",
                ctx=ctx,
            )
        return rest

    def get_help_option(self, ctx: click.Context) -> click.Option | None:
        return self._help_page

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        if self.tail is None:
            return super().collect_usage_pieces(ctx)
        pieces = super().collect_usage_pieces(ctx)
        return [*(pieces if self.tail_needs_dashes else pieces[:-1]), "-- COMMAND [ARG]..."]

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        sentence, notes = _sentence_and_notes(self.help)
        formatter.write_text(sentence)
        formatter.write_paragraph()
        for example in self.examples:
            formatter.write(f"  {example.line}\n")
        formatter.write_paragraph()
        self.format_usage(ctx, formatter)
        notes_of_arguments = [
            (param.human_readable_name, param.note) for param in self.params if isinstance(param, NotedArgument)
        ]
        if notes_of_arguments:
            with formatter.section("Arguments"):
                formatter.write_dl(notes_of_arguments)
        self.format_options(ctx, formatter)
        if notes:
            formatter.write_paragraph()
            formatter.write_text(notes)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for heading, rows in self.option_groups(ctx).items():
            with formatter.section(heading):
                formatter.write_dl(rows)

    def option_groups(self, ctx: click.Context) -> dict[str, list[tuple[str, str]]]:
        """Heading -> rows of its options, in the order of the page."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            row = param.get_help_record(ctx)
            if row is not None and not isinstance(param, click.Argument):
                groups.setdefault(getattr(param, "group", "Other"), []).append(row)
        first = {heading: rows for heading, rows in groups.items() if heading not in LAST_GROUPS}
        return first | {heading: groups[heading] for heading in LAST_GROUPS if heading in groups}


class Group(click.Group):
    """A group of commands; called without one, it says which there are."""

    command_class = Command
    group_class = type

    def __init__(self, *args: Any, **attrs: Any) -> None:
        attrs["context_settings"] = {**SETTINGS, **(attrs.get("context_settings") or {})}
        self._help_page = HelpOption()
        attrs.setdefault("no_args_is_help", False)
        attrs.setdefault("subcommand_metavar", "COMMAND [OPTIONS]")
        attrs.setdefault("options_metavar", "")
        super().__init__(*args, **attrs)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args and not ctx.resilient_parsing:
            names = ", ".join(self.list_commands(ctx))
            raise Usage(f"`{ctx.command_path}` needs a command: {names}", hint=see_help(ctx), ctx=ctx)
        return super().parse_args(ctx, args)

    def get_help_option(self, ctx: click.Context) -> click.Option | None:
        return self._help_page

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if self.get_command(ctx, args[0]) is None and not ctx.resilient_parsing:
            raise Usage(f"no command {args[0]!r}", hint=_near(args[0], self.list_commands(ctx), ctx), ctx=ctx)
        return super().resolve_command(ctx, args)

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        sentence, notes = _sentence_and_notes(self.help)
        formatter.write_text(sentence)
        formatter.write_paragraph()
        self.format_usage(ctx, formatter)
        self.format_commands(ctx, formatter)
        if notes:
            formatter.write_paragraph()
            formatter.write_text(notes)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)  # as written: the order is an explanation, the alphabet is none


def command(
    name: str, *, examples: Iterable[Example | tuple[Any, ...]], tail: str | None = None, **attrs: Any
) -> Callable[[Callable[..., Any]], Command]:
    """Make a function a command; its return value is the exit code (None is 0)."""
    return click.command(name, cls=Command, examples=examples, tail=tail, **attrs)


def group(name: str, **attrs: Any) -> Callable[[Callable[..., Any]], Group]:
    """Make a function a group; its commands are added by `@the_group.command("list", examples=[...])`."""
    return click.group(name, cls=Group, **attrs)


def see_help(ctx: click.Context | None) -> str:
    """The hint where there is no better one."""
    return f"see `{ctx.command_path if ctx else 'waitbus'} --help`"


def parameter_name(param: click.Parameter, ctx: click.Context | None) -> str:
    """What a person calls a parameter: `--timeout`, `TYPE`, or the variable that its value came from."""
    source = ctx.get_parameter_source(param.name) if ctx is not None and param.name else None
    if source is click.core.ParameterSource.ENVIRONMENT and param.envvar:
        return param.envvar if isinstance(param.envvar, str) else next(iter(param.envvar))
    return max(param.opts, key=len) if isinstance(param, click.Option) else param.human_readable_name


def near(word: str, known: Iterable[str], *, cutoff: float = 0.6) -> str | None:
    """The known word that was probably meant."""
    from difflib import get_close_matches

    # Nobody mistypes a page, and to compare one takes minutes.
    return next(iter(get_close_matches(word, list(known), n=1, cutoff=cutoff)), None) if len(word) <= 100 else None


def _near(word: str, known: Iterable[str], ctx: click.Context) -> str:
    meant = near(word, known)
    listing = f"`{ctx.command_path} --help` lists them all"
    return f"did you mean {meant!r}? {listing}" if meant else listing


def _show_help(ctx: click.Context, _param: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        output.data(ctx.get_help())
        ctx.exit()


def _usage(ctx: click.Context) -> str:
    pieces = ctx.command.collect_usage_pieces(ctx)
    return " ".join([ctx.command_path, *pieces])


def _sentence_and_notes(help_text: str | None) -> tuple[str, str]:
    sentence, _, notes = inspect.cleandoc(help_text or "").partition("\n\n")
    return sentence, notes
