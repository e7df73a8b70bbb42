"""Predicates that are legal and may never match: what is said about them."""

from __future__ import annotations

from typing import Any

import pytest

from waitbus.doubts import doubts
from waitbus.predicate import Predicate, parse_clause

SOURCES = {"pytest", "docker", "fs", "github", "process", "agent"}
DECLARED = {"pytest": {"nodeid": "test id", "passed": "count"}, "docker": ["name", "action", "exit_code"]}
SEEN = {"pytest": {"duration_s"}, "custom": {"env"}}


def said(predicate: Predicate) -> list[str]:
    return doubts(predicate, SOURCES, DECLARED, SEEN)


@pytest.mark.parametrize(
    ("predicate", "sentence"),
    [
        (
            Predicate.parse(source="pytset"),
            "no source 'pytset' is known here; did you mean 'pytest'? Waiting anyway.",
        ),
        (Predicate.parse(source="FS"), "no source 'FS' is known here; did you mean 'fs'? Waiting anyway."),
        (
            Predicate.parse("fields.concluson=failure", source="pytest"),
            "no pytest event ever had a key 'fields.concluson'; did you mean 'fields.conclusion'?",
        ),
        (
            parse_clause("docker:exitcode=1").predicate,
            "no docker event ever had a key 'exitcode'; did you mean 'exit_code'?",
        ),
        (Predicate.parse("fields.zzz=1", source="pytest"), "no pytest event ever had a key 'fields.zzz'"),
        (Predicate.parse("nodeidd=1"), "no event ever had a key 'nodeidd'; did you mean 'nodeid'?"),
        (Predicate.parse("x<a", source="fs"), ""),
        (Predicate.parse("seq<a"), 'seq<"a" compares a text with a number, which is never true'),
        (Predicate.parse("run_id>a", source="github"), 'run_id>"a" compares a text with a number, which is never true'),
        (Predicate.parse("status<true"), ""),
        (Predicate.parse("head_sha>5"), 'head_sha>"5" compares texts, character by character; 10 comes before 9'),
        (Predicate.parse("exit_code>true"), "exit_code>true is never true: only numbers and texts have an order"),
        (
            Predicate.parse("exit_code=null"),
            "exit_code=null is never true: null is the same as absent; write exit_code?",
        ),
        (Predicate.parse("passed*=4"), 'passed*=4 looks for 4 in a list; to look inside of a text write passed*="4"'),
        (
            Predicate.parse("conclusion='failure'"),
            "conclusion=\"'failure'\" has a quote as part of its value; the shell needs one around the whole term, "
            "the term none",
        ),
    ],
)
def test_what_is_doubted(predicate: Predicate, sentence: str) -> None:
    """The words that people are shown, with a suggestion where there is one."""
    assert said(predicate) == ([sentence] if sentence else [])


@pytest.mark.parametrize(
    "predicate",
    [
        Predicate.parse(source="pytest"),
        Predicate.parse(source="deploy_tool"),
        Predicate.parse("nodeid=x", source="pytest"),
        Predicate.parse("fields.duration_s>1", source="pytest"),
        Predicate.parse("fields.conclusion=failure", source="pytest"),
        Predicate.parse("head_sha=1234567"),
        Predicate.parse("anything=1", source="fs"),
        Predicate.parse("env=staging", source="custom"),
        Predicate.parse("env=staging"),
        Predicate.parse("payload.anything=1", source="pytest"),
        Predicate.parse("seq>5"),
        Predicate.parse("nodeid.0=x", source="pytest"),
        Predicate.parse(repo="o/r", to="bob", conditions="failed"),
        Predicate(),
    ],
)
def test_what_is_not_doubted(predicate: Predicate) -> None:
    """Known names, names nobody can know, and values of their kind."""
    assert said(predicate) == []


def test_where_nothing_is_known_nothing_is_doubted() -> None:
    """An empty log on a bare machine is no reason to warn."""
    nothing: dict[str, Any] = {}
    assert doubts(Predicate.parse("fields.concluson=failure", source="pytset"), [], nothing, nothing) == []
