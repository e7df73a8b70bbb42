"""Which subscribers may want an event: equality terms are hashed, so that an event costs what it matches.

Each alternative of a subscriber is filed once: under one of its equality keys, the one whose values have the fewest waiters at
that moment, or, without equality, in a list that is evaluated for every event (ARCHITECTURE B11).
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, Generic, TypeVar

import attrs

from waitbus.document import Document, Path
from waitbus.predicate import HashedValue, Predicate, Wanted

Token = TypeVar("Token", bound=Hashable)
Key = tuple[Path, bool, Any]

_COARSE = frozenset({"source", "event_type", "owner", "repo", "status", "conclusion", "ingest_method", "kind"})
"""Columns with few values: the last choice where nothing else decides."""


@attrs.frozen(eq=False)
class _Filed(Generic[Token]):
    token: Token
    predicate: Predicate
    keys: tuple[Key, ...] | None
    """The places it stands at; None for the list of those without equality."""
    is_proved: bool
    """Whether who is found at such a place matches: the one term that there is says no more than the place."""


class Index(Generic[Token]):
    """Subscribers by what they wait for. `evaluations` counts predicates that were really evaluated."""

    def __init__(self) -> None:
        self.evaluations = 0
        self.by_token: dict[Token, list[_Filed[Token]]] = {}
        """Who is filed."""
        self._by_key: dict[Key, dict[_Filed[Token], None]] = {}
        self._paths: dict[Path, int] = {}
        self._unindexed: dict[_Filed[Token], None] = {}

    def __len__(self) -> int:
        return len(self.by_token)

    def __contains__(self, token: Token) -> bool:
        return token in self.by_token

    def add(self, token: Token, wanted: Wanted) -> None:
        """File a subscriber, in the place of what it wanted before."""
        self.discard(token)
        self.by_token[token] = [self._file(token, predicate) for predicate in wanted.alternatives]

    def discard(self, token: Token) -> None:
        """Forget a subscriber, known or not."""
        for filed in self.by_token.pop(token, ()):
            self._unfile(filed)

    def matching(self, document: Document) -> list[Token]:
        """Each subscriber that wants this event, once."""
        # One function: where caches are cold a generator costs more than what it finds.
        wanted: dict[Token, None] = {}
        evaluated = [*self._unindexed] if self._unindexed else []
        for path in self._paths:
            value = document.get(path)
            if isinstance(value, (str, int, float)):
                for filed in self._by_key.get((path, value.__class__ is bool, value), ()):
                    if filed.is_proved:
                        wanted[filed.token] = None
                    else:
                        evaluated.append(filed)
        for filed in evaluated:
            if filed.token not in wanted:
                self.evaluations += 1
                if filed.predicate.matches(document):
                    wanted[filed.token] = None
        return list(wanted)

    def _file(self, token: Token, predicate: Predicate) -> _Filed[Token]:
        path, values = self._rarest(predicate)
        if path is None:
            filed = _Filed(token, predicate, None, is_proved=False)
            self._unindexed[filed] = None
            return filed
        keys = tuple((path, *value) for value in values)
        filed = _Filed(token, predicate, keys, is_proved=len(predicate.terms) == 1)
        for key in filed.keys or ():
            self._by_key.setdefault(key, {})[filed] = None
            self._paths[path] = self._paths.get(path, 0) + 1
        return filed

    def _unfile(self, filed: _Filed[Token]) -> None:
        if filed.keys is None:
            del self._unindexed[filed]
            return
        for key in filed.keys:
            del self._by_key[key][filed]
            if not self._by_key[key]:
                del self._by_key[key]
            self._paths[key[0]] -= 1
            if not self._paths[key[0]]:
                del self._paths[key[0]]

    def _rarest(self, predicate: Predicate) -> tuple[Path | None, set[HashedValue]]:
        equalities = {path: values for path, values in predicate.equalities().items() if path.root != "payload"}
        if not equalities:
            return None, set()
        return min(equalities.items(), key=lambda item: (self._waiters(*item), item[0].name in _COARSE))

    def _waiters(self, path: Path, values: set[HashedValue]) -> int:
        return sum(len(self._by_key.get((path, *value), ())) for value in values)
