"""Documents for tests of predicates and verdicts, and Hypothesis strategies for events and terms that meet now and then."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

from waitbus.document import Document
from waitbus.predicate import Predicate
from waitbus.terms import Term

COLUMNS: dict[str, Any] = {
    "event_id": "01M7XJ614PK8CHXM5935SQP1H1",
    "seq": 7,
    "event_type": "pytest_session",
    "owner": "local",
    "repo": "pytest",
    "received_at": 1_738_324_800_000_000_000,
    "delivery_id": "d",
    "summary": "3 failed, 212 passed",
    "kind": "event",
    "source": "pytest",
    "status": "completed",
    "conclusion": "failure",
    "ingest_method": "api",
}


def document(payload: str | bytes | None = None, fields: dict[str, Any] | None = None, **columns: Any) -> Document:
    """A failed test session, with what is given in the place of its own."""
    return Document({**COLUMNS, **columns}, json.dumps(fields or {}), payload)


SCALARS = st.sampled_from(
    [0, 1, 2, -1, 1.0, 1.5, 2**53 + 1, 1e16, 1e-7, True, False, None, "", "1", "true", "a", "ab", "failure", 'q"\\\n']
)
TEXTS = st.sampled_from(["", "a", "ab", "b", "success", "failure", "fs", "pytest", "o", "O", "r"])
FIELD_VALUES = SCALARS | st.lists(SCALARS, max_size=3)

DOCUMENTS = st.builds(
    lambda columns, fields, payload: Document({**COLUMNS, **columns}, fields, payload),
    st.fixed_dictionaries(
        {
            "source": TEXTS,
            "event_type": TEXTS,
            "owner": TEXTS,
            "repo": TEXTS,
            "status": st.none() | TEXTS,
            "conclusion": st.none() | TEXTS,
            "seq": st.integers(0, 3),
        }
    ),
    st.dictionaries(st.sampled_from(["x", "y", "x.y", "head_sha", "msg_to"]), FIELD_VALUES),
    st.none() | st.dictionaries(st.sampled_from(["x", "y"]), FIELD_VALUES).map(json.dumps),
)

_TEXT_KEYS = st.sampled_from(
    [
        "source",
        "fields.source",
        "conclusion",
        "fields.conclusion",
        "status",
        "event_type",
        "head_sha",
        "fields.head_sha",
    ]
)
_OTHER_KEYS = st.sampled_from(["seq", "x", "fields.x", "y", "x.y", "x.0", "payload.x", "payload.y.-1"])
_KEYS = _TEXT_KEYS | _OTHER_KEYS
_OPERATORS = st.sampled_from(["=", "=", "=", "!=", "<", "<=", ">", ">=", "*="])
_SPECIAL = st.builds(Term, st.sampled_from(["@source", "@to"]), st.just("="), TEXTS) | st.sampled_from(
    [Term("@repo", "=", "o/r"), Term("@repo", "=", "O/*"), Term("@cond", "=", "failed"), Term("@cond", "=", "finished")]
)
TERMS = (
    st.builds(Term, _OTHER_KEYS, _OPERATORS, SCALARS | TEXTS)
    | st.builds(Term, _TEXT_KEYS, _OPERATORS, TEXTS)
    | st.builds(Term, _KEYS, st.just("^="), TEXTS)
    | st.builds(Term, _KEYS, st.just("~="), st.sampled_from(["a|b", "^f", "[0-9]", ""]))
    | st.builds(Term, _KEYS, st.just("?"))
    | _SPECIAL
)
PREDICATES = st.lists(TERMS, max_size=4).map(lambda terms: Predicate(tuple(terms)))
