"""One term of the match grammar: `KEY OP VALUE`, read, written canonically, and evaluated.

Values have exact types. A bare word is text unless it reads as JSON's true, false, null or plain number, and for keys that
are always text (`head_sha`, `conclusion`, ...) not even then: a commit called 1234567 is no number.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import attrs

from waitbus.conditions import check_condition, check_evaluator, condition_holds, evaluator_holds
from waitbus.document import Path, resolve
from waitbus.errors import EvaluatorUnavailableError, InvalidPredicate
from waitbus.events import TEXT_FIELDS, encodable

if TYPE_CHECKING:
    from waitbus.document import Document

Value = str | int | float | bool | None

KEY_MAX = 256
VALUE_MAX = 4096
"""Characters of a value (0.2: 256 of the whole term)."""
TERM_MAX = 32_768
"""Characters of a term's text: room for the longest value with every character escaped."""
PATTERN_MAX = 256
REGEX_INPUT_MAX = 64 * 1024
"""Bytes of the text that `~=` looks at."""

SPECIAL = {
    "@source": Path("column", "source"),
    "@to": Path("fields", "msg_to"),
    "@repo": Path("special", "repo"),
    "@cond": Path("special", "cond"),
    "@eval": Path("special", "eval"),
}
"""Keys that options stand for. Being keys of their own, `--source a --match source=b` is both, not either."""

_GRAMMAR = "write KEY=VALUE, as in conclusion=failure; the operators are = != < <= > >= ^= *= ~= and KEY? (exists)"
_TERM = re.compile(r"\s*([^\s=!<>^*~?\"]+)\s*(!=|<=|>=|\^=|\*=|~=|=|<|>|\?)(.*)\Z", re.DOTALL)
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?\Z")
_WORDS: dict[str, Value] = {"true": True, "false": False, "null": None}
_NOT_TEXT_COLUMNS = frozenset({"seq", "received_at"})


def _typed(value: Value) -> tuple[bool, Value]:
    """Python holds True == 1; the grammar does not."""
    return value.__class__ is bool, value


@attrs.frozen
class Term:
    """`key op value`, with the key as it was written; `str()` is text that parses to an equal term. `said`: what a person wrote
    in its place, "" where another term says it; None: the term itself."""

    key: str
    op: str
    value: Value = attrs.field(default=None, eq=_typed)
    said: str | None = attrs.field(default=None, eq=False, repr=False)
    path: Path = attrs.field(init=False, eq=False, repr=False)

    @path.default
    def _resolved(self) -> Path:
        return SPECIAL.get(self.key) or resolve(self.key)

    def __str__(self) -> str:
        return f"{self.key}?" if self.op == "?" else f"{self.key}{self.op}{written(self.value)}"

    def matches(self, document: Document) -> bool:
        """Whether the term holds; null and absent are the same, and only `?` and `!=` see them."""
        path = self.path
        if path.root == "special":
            return _SPECIAL_CHECKS[path.name](document, self.value)
        subject = document.get(path)
        if self.op == "=":  # inlined: the hub evaluates little else
            value = self.value
            return (
                subject is not None
                and bool(subject == value)
                and (subject.__class__ is bool) is (value.__class__ is bool)
            )
        if self.op in _ORDERS and _incomparable(subject, self.value):
            if not document.tells:
                return True
            text = str(self)
            document.doubts[text] = (
                f"{text} compares a {_kind(self.value)} with a {_kind(subject)}, which is never true"
            )
        return _CHECKS[self.op](subject, self.value)

    @property
    def is_light(self) -> bool:
        """Whether the daemon evaluates it: nothing that can run for long (ARCHITECTURE A10)."""
        return self.op != "~=" and self.path.root != "payload" and self.key not in ("@cond", "@eval")

    @property
    def is_text(self) -> bool:
        """Whether the key's values are always text."""
        return is_text_key(self.path)


# -- read and write ----------------------------------------------------------------------------------------------------


def parse_term(text: str, *, what: str = "", compiled: bool = True) -> Term:
    """The term a text says; `what` names the option in errors.

    With `compiled=False` regular expressions, conditions and evaluators are taken on trust: whoever only takes the
    prefilter (the daemon) has no use for them.

    Raises:
      InvalidPredicate: the text does not follow the grammar, or is too long.
      EvaluatorUnavailableError: it needs something that is not installed.
    """
    text = encodable(text)
    shown = f"{what} {_shown(text)}".strip()
    if len(text) > TERM_MAX:
        raise InvalidPredicate(f"{shown} has {len(text)} characters", hint=f"a term has {TERM_MAX} at most")
    found = _TERM.match(text)
    if found is None:
        raise InvalidPredicate(f"{shown} is not a term", hint=_GRAMMAR)
    key, op, rest = found.groups()
    _check_key(key, op, shown)
    if op == "?":
        if rest.strip():
            raise InvalidPredicate(f"{shown} has something after the ?", hint=f"write {key}? (it exists)")
        return Term(key, op)
    value = _checked_value(key, op, rest, shown)
    term = Term(key, op, value)
    if term.path.root == "special":
        _check_special(term, compiled)
    elif op == "~=" and compiled:
        _check_pattern(str(value), shown)
    return term


def parse_value(text: str, key: str = "", op: str = "=") -> Value:
    """The value a text says for a key: JSON string, true, false, null, plain number; everything else is itself."""
    bare = text.strip()
    if bare.startswith('"'):
        quoted = _quoted(bare)
        return bare if quoted is None else quoted
    path = SPECIAL.get(key) or resolve(key)
    if op in ("^=", "~=") or is_text_key(path):  # a prefix or a pattern that is no text could never match
        return bare
    if bare in _WORDS:
        return _WORDS[bare]
    number = _NUMBER.match(bare)
    if number is None or len(bare) > VALUE_MAX:
        return bare
    if number[1] is None:
        return int(bare)
    return float(bare) if math.isfinite(float(bare)) else bare


def written(value: Value) -> str:
    """The canonical text of a value: strings always quoted, numbers without an exponent."""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, float):
        return _positional(value)
    return json.dumps(value)


def is_text_key(path: Path) -> bool:
    """Whether a bare value for this key is text, whatever it looks like."""
    if path.root == "column":
        return path.name not in _NOT_TEXT_COLUMNS
    return path.root == "special" or (path.root == "fields" and path.name in TEXT_FIELDS)


def _check_key(key: str, op: str, shown: str) -> None:
    if len(key) > KEY_MAX:
        raise InvalidPredicate(f"{shown} has a key of {len(key)} characters", hint=f"a key has {KEY_MAX} at most")
    if not all(key.split(".")):
        raise InvalidPredicate(f"{shown} has an empty part in its key", hint=_GRAMMAR)
    if key in ("fields", "payload"):
        raise InvalidPredicate(f"{shown} names no key inside of {key}", hint=f"write {key}.KEY")
    if key.startswith("@") and (key not in SPECIAL or op != "="):
        raise InvalidPredicate(f"{shown} is not a term", hint=f"of this kind there are {', '.join(SPECIAL)}, with =")


def _checked_value(key: str, op: str, rest: str, shown: str) -> Value:
    if not rest.strip():
        raise InvalidPredicate(
            f"{shown} has no value", hint=f'write {key}{op}"" for an empty text, or {key}? for a key that exists'
        )
    if op == "=" and rest.startswith("="):
        raise InvalidPredicate(f"{shown} has one = too many", hint=f"write {key}={rest[1:].strip()}")
    value = parse_value(rest, key, op)
    if isinstance(value, str) and len(value) > VALUE_MAX:
        raise InvalidPredicate(
            f"{shown} has a value of {len(value)} characters", hint=f"a value has {VALUE_MAX} at most"
        )
    if op == "~=" and len(str(value)) > PATTERN_MAX:
        raise InvalidPredicate(
            f"{shown} has a pattern of {len(str(value))} characters",
            hint=f"a regular expression has {PATTERN_MAX} at most",
        )
    return value


def _check_pattern(text: str, shown: str) -> None:
    try:
        pattern(text)
    except InvalidPredicate as error:
        raise InvalidPredicate(f"{shown}: {error.message}", hint=error.hint) from None


def _check_special(term: Term, compiled: bool) -> None:
    value = str(term.value)
    if term.key == "@repo":
        owner, slash, repo = value.partition("/")
        if not (owner and slash and repo) or "/" in repo or "*" in owner or ("*" in repo and repo != "*"):
            raise InvalidPredicate(f"--repo {_shown(value)} is not a repository", hint="write owner/name or owner/*")
    elif term.key == "@cond" and compiled:
        check_condition(value)
    elif term.key == "@eval" and compiled:
        check_evaluator(value)


def _quoted(text: str) -> str | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return encodable(value) if isinstance(value, str) else None


def _positional(value: float) -> str:
    text = repr(value)
    if "e" not in text:
        return text
    from decimal import Decimal  # only the rare number with an exponent needs it

    text = format(Decimal(text), "f")
    return text if "." in text else text + ".0"


def _shown(text: str) -> str:
    return repr(text) if len(text) <= 80 else repr(text[:77])[:-1] + "...'"


# -- evaluate ----------------------------------------------------------------------------------------------------------


def same(subject: Any, value: Value) -> bool:
    """Equality of exact types: 1 is 1.0, and neither is true."""
    return bool(subject == value) and (subject.__class__ is bool) is (value.__class__ is bool)


@lru_cache(maxsize=256)
def pattern(text: str) -> Callable[[str], bool]:
    """Whether RE2 finds the pattern in a text: in linear time, whatever the pattern is."""
    try:
        import re2
    except ImportError as error:
        raise EvaluatorUnavailableError(
            "~= needs RE2, which cannot be imported here", hint=f"pip install google-re2 ({error})"
        ) from None
    options = re2.Options()
    options.log_errors = False
    try:
        compiled = re2.compile(text.encode("utf-8", "replace"), options)
    except re2.error as error:
        reason = error.args[0].decode("utf-8", "replace") if isinstance(error.args[0], bytes) else error
        raise InvalidPredicate(
            f"{_shown(text)} is not a regular expression: {reason}",
            hint="RE2 has neither look-around nor back-references; quote what is meant literally with \\",
        ) from None
    return lambda subject: bool(compiled.search(_cut(subject)))


def _cut(text: str) -> bytes:
    data = text[:REGEX_INPUT_MAX].encode("utf-8", "replace")
    if len(data) <= REGEX_INPUT_MAX:
        return data
    return data[:REGEX_INPUT_MAX].decode("utf-8", "ignore").encode()


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and value.__class__ is not bool


def _ordered(compare: Callable[[Any, Any], bool]) -> Callable[[Any, Value], bool]:
    def check(subject: Any, value: Value) -> bool:
        if (isinstance(subject, str) and isinstance(value, str)) or (_is_number(subject) and _is_number(value)):
            return compare(subject, value)
        return False

    return check


def _incomparable(subject: Any, value: Value) -> bool:
    return (isinstance(subject, str) and _is_number(value)) or (_is_number(subject) and isinstance(value, str))


def _kind(value: Any) -> str:
    return "text" if isinstance(value, str) else "number"


def _contains(subject: Any, value: Value) -> bool:
    if isinstance(subject, list):
        return any(same(item, value) for item in subject)
    return isinstance(subject, str) and isinstance(value, str) and value in subject


def _in_repo(document: Document, wanted: Value) -> bool:
    owner, _, repo = str(wanted).lower().partition("/")
    columns = document.columns
    return owner == str(columns.get("owner")).lower() and repo in ("*", str(columns.get("repo")).lower())


_ORDERS: dict[str, Callable[[Any, Value], bool]] = {
    "<": _ordered(lambda subject, value: subject < value),
    "<=": _ordered(lambda subject, value: subject <= value),
    ">": _ordered(lambda subject, value: subject > value),
    ">=": _ordered(lambda subject, value: subject >= value),
}
_CHECKS: dict[str, Callable[[Any, Value], bool]] = {
    **_ORDERS,
    "!=": lambda subject, value: subject is None or not same(subject, value),
    "^=": lambda subject, value: isinstance(subject, str) and subject.startswith(str(value)),
    "*=": _contains,
    "~=": lambda subject, value: isinstance(subject, str) and pattern(str(value))(subject),
    "?": lambda subject, value: subject is not None,
}
_SPECIAL_CHECKS: dict[str, Callable[[Document, Value], bool]] = {
    "repo": _in_repo,
    "cond": lambda document, value: condition_holds(str(value), document),
    "eval": lambda document, value: evaluator_holds(str(value), document),
}
