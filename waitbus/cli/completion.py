"""`waitbus completion SHELL`: the script that makes a shell complete commands and options."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from waitbus.cli import output
from waitbus.cli.command import command


@command(
    "completion",
    examples=[('eval "$(waitbus completion bash)"', 0), ("waitbus completion fish > waitbus.fish", 0)],
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script of a shell.

    bash: add the first example to ~/.bashrc. zsh: the same with zsh, in ~/.zshrc. fish: write it into
    ~/.config/fish/completions/waitbus.fish.
    """
    from waitbus.cli.lazy import root

    found = get_completion_class(shell)
    assert found is not None, shell
    script = found(root(), {}, "waitbus", output.COMPLETE_VARIABLE)
    # Not script.source(): for bash that first runs a bash, to warn about versions of 2009.
    text = script.source_template % script.source_vars()
    # click's script for fish ends a help text at its first comma.
    output.data(text.replace('string split "," $completion', 'string split --max 1 "," $completion'))
