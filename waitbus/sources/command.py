"""Sources without Python: `[sources.NAME]` with a `command`, each line of whose output is an event."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from waitbus.errors import ConfigError, InvalidValue
from waitbus.events import NAME, NAME_MAX
from waitbus.quantities import parse_duration, parse_size
from waitbus.sources.spec import SourceSpec
from waitbus.sources.surroundings import MEMORY

COMMON = frozenset({"enabled", "env", "memory"})
"""Keys that the table of every source of somebody else's may have; the others are the source's own."""
OWN = frozenset({"command", "event_type", "about", "silence"})
IMPLEMENTATION = "waitbus.sources.command:CommandTable"
"""What stands as the implementation of a command source: that it is one."""


@attrs.frozen(kw_only=True)
class Given:
    """What a table says about the child: variables that it gets besides the few, and its address space in bytes."""

    env: tuple[str, ...] = ()
    memory: int | None = MEMORY


@attrs.frozen(kw_only=True)
class CommandTable(Given):
    """The table of a command source. `silence`: s without a line after which it is taken to hang; None is never."""

    name: str
    command: tuple[str, ...]
    event_type: str
    about: str
    silence: float | None = None

    def spec(self) -> SourceSpec:
        """The declaration that follows from it."""
        return SourceSpec(
            name=self.name,
            event_types=(self.event_type,),
            about=self.about,
            fields={"line": "the line, where it is text and no JSON"},
            natural_key="what the line says as delivery_id, else none: each line is an event",
            example={"event_type": self.event_type, "fields": {"line": "disk almost full"}},
            matches=("line*=full", f"event_type={self.event_type}"),
            implementation=IMPLEMENTATION,
        )


def given(name: str, table: Mapping[str, Any]) -> Given:
    """The common part of a table.

    Raises:
      ConfigError: a value is of the wrong kind.
    """
    return Given(env=_env(name, table.get("env", [])), memory=_memory(name, table.get("memory", MEMORY)))


def command_table(name: str, table: Mapping[str, Any]) -> CommandTable:
    """The table of a command source.

    Raises:
      ConfigError: a key is unknown, or a value is of the wrong kind.
    """
    for key in table:
        if key not in COMMON | OWN:
            known = ", ".join(sorted(COMMON | OWN))
            raise ConfigError(f"unknown key 'sources.{name}.{key}'", hint=f"known here: {known}")
    common = given(name, table)
    return CommandTable(
        env=common.env,
        memory=common.memory,
        name=_name(name, "name", name),
        command=_command(name, table["command"]),
        event_type=_name(name, "event_type", table.get("event_type", f"{name}_line"[:NAME_MAX])),
        about=_text(name, "about", table.get("about", f"The lines that {_command(name, table['command'])[0]} prints.")),
        silence=_silence(name, table.get("silence", "none")),
    )


def _wrong(name: str, key: str, value: object, what: str, hint: str) -> ConfigError:
    return ConfigError(f"sources.{name}.{key}: {str(value)[:200]!r} is {what}", hint=hint)


def _command(name: str, value: Any) -> tuple[str, ...]:
    if (
        not isinstance(value, list)
        or not value
        or not all(isinstance(word, str) and "\0" not in word for word in value)
    ):
        raise _wrong(name, "command", value, "no list of words", 'write command = ["tail", "-F", "/var/log/syslog"]')
    if not value[0]:
        raise _wrong(name, "command", value, "without a command", "its first word is the program")
    return tuple(value)


def _name(name: str, key: str, value: Any) -> str:
    if not isinstance(value, str) or not NAME.match(value) or len(value) > NAME_MAX:
        raise _wrong(
            name, key, value, "not a name", f"a name is a-z, then a-z, 0-9 and _, {NAME_MAX} characters at most"
        )
    return value


def _text(name: str, key: str, value: Any) -> str:
    if not isinstance(value, str):
        raise _wrong(name, key, value, "not a text", "put it in quotes")
    return value[:400]


def _env(name: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(one, str) and one and "=" not in one for one in value):
        raise _wrong(name, "env", value, "no list of variables", 'write their names: env = ["GITHUB_TOKEN"]')
    return tuple(value)


def _memory(name: str, value: Any) -> int | None:
    try:
        return None if value == "none" else parse_size(str(value))
    except InvalidValue as error:
        raise ConfigError(f"sources.{name}.memory: {error.message}", hint=error.hint) from None


def _silence(name: str, value: Any) -> float | None:
    try:
        return parse_duration(str(value))
    except InvalidValue as error:
        raise ConfigError(f"sources.{name}.silence: {error.message}", hint=error.hint) from None
