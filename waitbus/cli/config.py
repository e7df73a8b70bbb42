"""`waitbus config`: is the file right, what may stand in it, and what is in force."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from waitbus import whole
from waitbus.cli import output
from waitbus.cli.command import group
from waitbus.cli.options import argument, json_option, option, quiet_option
from waitbus.cli.status import tidy
from waitbus.errors import EXIT_USAGE, ConfigError, FileUnwritable
from waitbus.ops.config_schema import json_schema, line, toml_example
from waitbus.ops.settings import Finding, Judgement, in_force, judge
from waitbus.paths import config_path


@group("config")
def config() -> None:
    """Check, explain and show the configuration."""


@config.command(
    "validate",
    examples=[("waitbus config validate", 0), ("waitbus config validate ./config.toml --json", 0, "config")],
)
@argument("path", required=False, type=click.Path(path_type=Path), note="the file [default: the one that is in force]")
@quiet_option
@json_option
def validate(path: Path | None, as_json: bool) -> int:
    """Say whether a config file is right, with every error and the line it stands on.

    The exit code is 0 if it is, 2 if it is not. No file at all is right: everything has a default. Variables of the
    environment are not looked at. Keys that only 0.2 had are named, and are no error.
    """
    if path is not None and _is_absent(path):
        raise ConfigError(f"there is no file {path}", hint="without a path, the file that is in force is checked")
    judged = judge(config_path() if path is None else path)
    if as_json:
        output.record(_judgement(judged))
        return EXIT_USAGE if judged.findings else 0
    for key in judged.of_old:
        output.warn(f"{tidy(judged.path)}: {key!r} meant something to 0.2 and means nothing here; remove it")
    for finding in judged.findings:
        output.fail(_message(judged.path, finding), finding.problem.hint, EXIT_USAGE)
    if judged.findings:
        return EXIT_USAGE
    if not output.is_quiet():
        output.data(f"{tidy(judged.path)} is {'valid' if judged.exists else 'not there; the defaults are in force'}")
    return 0


def _is_absent(path: Path) -> bool:
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False  # whoever reads it says why it cannot be
    return False


def _message(path: Path, finding: Finding) -> str:
    where = tidy(path) if finding.line is None else f"{tidy(path)}:{finding.line}"
    return f"{where}: {finding.problem.message}"


def _judgement(judged: Judgement) -> dict[str, Any]:
    errors = [
        {"place": one.problem.place, "line": one.line, "error": one.problem.message, "hint": one.problem.hint}
        for one in judged.findings
    ]
    return {
        "path": os.fspath(judged.path),
        "exists": judged.exists,
        "valid": not judged.findings,
        "errors": errors,
        "of_old": list(judged.of_old),
    }


@config.command(
    "schema",
    examples=[
        ("waitbus config schema --format toml-example", 0),
        ("waitbus config schema --out config.schema.json", 0),
    ],
)
@option(
    "-f",
    "--format",
    "form",
    type=click.Choice(["json", "toml-example"]),
    default="json",
    show_default=True,
    group="Output",
    help="A JSON Schema, or a commented file of all settings.",
)
@option("--out", type=click.Path(path_type=Path), group="Output", help="Write it there instead of to stdout.")
def schema(form: str, out: Path | None) -> int:
    """Print every setting with what it means, its unit and its default."""
    import json

    text = toml_example() if form == "toml-example" else json.dumps(json_schema(), indent=2) + "\n"
    if out is None:
        output.data(text.removesuffix("\n"))
        return 0
    _write(out, text)
    output.talk(f"wrote {out}")
    return 0


def _write(out: Path, text: str) -> None:
    try:
        whole.write(out, text.encode(), mode=0o666)
    except OSError as error:
        is_slip = isinstance(error, FileNotFoundError | NotADirectoryError | IsADirectoryError)
        kind = ConfigError if is_slip else FileUnwritable
        raise kind(f"{out} cannot be written: {error.strerror}", hint="leave --out away to print it") from None


@config.command("show", examples=[("waitbus config show", 0), ("waitbus config show --json", 0)])
@json_option
def show(as_json: bool) -> int:
    """Print the settings in force, each with where it came from: default, file, or a variable.

    It is printed as TOML, so it may be used as a config file.
    """
    path = config_path()
    found = in_force(path)
    if as_json:
        values = {one.name: {"value": one.value, "origin": one.origin} for one in found}
        output.record({"path": os.fspath(path), "exists": path.exists(), "settings": values})
        return 0
    output.talk(f"{tidy(path)}{'' if path.exists() else ' (not there)'}")
    rows = [(line(one.name, one.value).strip(), one) for one in found if not isinstance(one.value, dict)]
    width = max(len(text) for text, _ in rows)
    for text, one in rows:
        output.data(f"{text:<{width}}  # {one.origin}", flush=False)
    for one in found:
        if isinstance(one.value, dict) and one.value:
            output.data(f"\n# {one.origin}\n{line(one.name, one.value).rstrip()}", flush=False)
    return 0
