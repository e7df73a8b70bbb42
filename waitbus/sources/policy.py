"""Which plugins may be used at all: `[plugins]` of the configuration and two variables of the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Literal
from urllib.parse import urlsplit

import attrs

from waitbus import config, paths
from waitbus.errors import ConfigError
from waitbus.sources.discovery import Entry, normalised

Trust = Literal["distribution", "content"]
TRUSTS: tuple[Trust, ...] = ("distribution", "content")
KEYS = ("autoload", "allow", "deny", "trust", "require_attestation", "index_url")
INDEX_URL = "https://pypi.org/simple"


@attrs.frozen
class Policy:
    """`deny` always wins. Without `autoload` only those of `allow` are used. A name is a source's or a distribution's.

    `require_attestation`: only a version that a publisher attested is used. `index_url`: where attestations are looked for, a
    simple repository with JSON (PEP 691).
    """

    autoload: bool = True
    allow: frozenset[str] = frozenset()
    deny: frozenset[str] = frozenset()
    trust: Trust = "distribution"
    require_attestation: bool = False
    index_url: str = INDEX_URL

    def refusal(self, entry: Entry) -> str:
        """Why the plugin may not be used; empty where it may."""
        names = {normalised(entry.name), entry.distribution}
        if names & self.deny:
            return "plugins.deny names it"
        if not self.autoload and not names & self.allow:
            return "plugins are not loaded by themselves here, and plugins.allow does not name it"
        return ""


def policy(table: Mapping[str, Any], environment: Mapping[str, str] = os.environ) -> Policy:
    """What `[plugins]` says, under `WAITBUS_PLUGINS` (replaces `allow`) and `WAITBUS_DISABLE_SOURCE_AUTOLOAD` (any value).

    Raises:
      ConfigError: a key is unknown, or a value is of the wrong kind.
    """
    for key in table:
        if key not in KEYS:
            raise ConfigError(f"unknown key 'plugins.{key}'", hint=f"known here: {', '.join(KEYS)}")
    allow = environment.get("WAITBUS_PLUGINS")
    return Policy(
        autoload=_flag(table, "autoload", True) and not environment.get("WAITBUS_DISABLE_SOURCE_AUTOLOAD"),
        allow=_names(table, "allow") if allow is None else _set(allow.split(",")),
        deny=_names(table, "deny"),
        trust=_trust(table.get("trust", "distribution")),
        require_attestation=_flag(table, "require_attestation", False),
        index_url=_url(table.get("index_url", INDEX_URL)),
    )


def in_force() -> Policy:
    """The policy of the configuration file and this process's environment.

    Raises:
      ConfigError: as `policy`.
    """
    return policy(config.read(paths.config_path()).get("plugins", {}))


def _flag(table: Mapping[str, Any], key: str, default: bool) -> bool:
    value = table.get(key, default)
    if not isinstance(value, bool):
        raise ConfigError(
            f"plugins.{key}: {value!r} is neither true nor false", hint="write one of them, without quotes"
        )
    return value


def _names(table: Mapping[str, Any], key: str) -> frozenset[str]:
    value = table.get(key, [])
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise ConfigError(f"plugins.{key}: {value!r} is no list of names", hint=f'write {key} = ["timer"]')
    return _set(value)


def _set(names: list[str]) -> frozenset[str]:
    return frozenset(normalised(name.strip()) for name in names if name.strip())


def _url(value: object) -> str:
    try:
        parts = urlsplit(value if isinstance(value, str) else "")
        if parts.scheme in ("http", "https") and parts.hostname and parts.geturl().isprintable() and parts.port != 0:
            return parts.geturl().rstrip("/")
    except ValueError:
        pass
    raise ConfigError(
        f"plugins.index_url: {str(value)[:200]!r} is no URL", hint=f"write https://HOST/PATH, as in {INDEX_URL}"
    )


def _trust(value: object) -> Trust:
    for known in TRUSTS:
        if value == known:
            return known
    raise ConfigError(f"plugins.trust: {value!r} is none of {', '.join(TRUSTS)}", hint="write one of them")
