"""`emit --junit`: a report becomes rows, twice is once, and a hostile file is a sentence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import support
from tests.logs import rows as all_rows
from waitbus.errors import InvalidValue
from waitbus.sources import junit
from waitbus.store import Log
from waitbus.wire import frame_of_row

Call = Callable[..., support.Result]

REPORT = b"""<?xml version="1.0" encoding="utf-8"?>
<testsuites name="all"><testsuite name="api" tests="99" timestamp="2026-11-21T07:00:00+00:00" hostname="h">
<testcase classname="tests.test_auth.TestLogin" file="tests/test_auth.py" name="test_ok" time="0.25"/>
<testcase classname="tests.test_auth.TestLogin" file="tests/test_auth.py" name="test_expiry" time="1,000.5">
<failure message="assert 1 == 2">long text</failure></testcase>
<testcase classname="Outer$Inner" name="boots"><error type="x"/></testcase>
<testcase classname="c" name="later"><skipped message="no"/></testcase>
<testcase classname="c" name="known"><skipped type="pytest.xfail"/></testcase>
</testsuite><testsuite name="empty" tests="0"/></testsuites>"""


def frames(log: Log) -> list[dict[str, Any]]:
    found = [frame_of_row(row, log.tag) for row in all_rows(log)]
    return [{**frame.fields, "delivery_id": frame.delivery_id, "received_at": frame.received_at} for frame in found]


def test_a_report_is_a_row_for_each_suite_and_each_failure(call: Call, log: Log, tmp_path: Path) -> None:
    (tmp_path / "r.xml").write_bytes(REPORT)
    done = call("emit", "--junit", str(tmp_path / "r.xml"))
    assert (done.code, done.err) == (0, "4 written\n")
    assert [line.split("  ", 1)[1] for line in done.out.splitlines()] == [
        "pytest_test  tests/test_auth.py::TestLogin::test_expiry  failure  16 min 40 s",
        "pytest_test  Outer$Inner::boots  failure",
        "pytest_session  api  failure  1 failed, 1 error, 1 passed, 1 skipped, 1 xfailed in 16 min 41 s"
        "  tests/test_auth.py::TestLogin::test_expiry",
        "pytest_session  empty  neutral",
    ]
    suite = frames(log)[2]
    assert (suite["source"], suite["repo"], suite["ingest_method"]) == ("pytest", "api", "junit")
    assert suite["first_failures"] == ["tests/test_auth.py::TestLogin::test_expiry", "Outer$Inner::boots"]
    assert suite["received_at"] == 1795244400_000_000_000 + 1_000_750_000_000


def test_twice_is_once(call: Call, log: Log, tmp_path: Path) -> None:
    (tmp_path / "r.xml").write_bytes(REPORT)
    call("emit", "--junit", str(tmp_path / "r.xml"))
    (tmp_path / "copy.xml").write_bytes(REPORT)
    assert call("emit", "--junit", str(tmp_path / "copy.xml")).err == "0 written, 4 in the log already\n"
    (tmp_path / "copy.xml").write_bytes(REPORT.replace(b"test_ok", b"test_other"))
    assert call("emit", "--junit", str(tmp_path / "copy.xml")).err == "3 written, 1 in the log already\n"
    assert len(frames(log)) == 7


def test_what_pytest_writes_is_read_as_it_said_itself(call: Call, log: Log, tmp_path: Path) -> None:
    (tmp_path / "test_a.py").write_text("class TestA:\n def test_x(self): assert 0\n def test_y(self): pass\n")
    run = [support.PYTHON, "-m", "pytest", "-q", "-c", "/dev/null", "--rootdir", ".", "-p", "no:cacheprovider"]
    assert support.run([*run, "--junit-xml=r.xml", "-o", "junit_family=legacy"], cwd=tmp_path).code == 1
    call("emit", "--junit", str(tmp_path / "r.xml"), "--repo", "api", "--owner", "me")
    test, session = frames(log)
    assert (test["nodeid"], test["conclusion"]) == ("test_a.py::TestA::test_x", "failure")
    assert (session["passed"], session["failed"], session["repo"], session["owner"]) == (1, 1, "api", "me")


BOMB = b'<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]><testsuites>&b;</testsuites>'
OUTSIDE = b'<!DOCTYPE x SYSTEM "file:///etc/passwd"><testsuite/>'


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "is not XML: no element found"),
        (b"{}", "is not XML: not well-formed"),
        (b"<testsuite>", "is not XML: no element found"),
        (b"<html/>", "begins with <html>, not with <testsuites>"),
        (BOMB, "has a document type, which may define anything"),
        (OUTSIDE, "has a document type, which may define anything"),
        (b"<testsuite>" + b"<a>" * 70, "is nested too deeply"),
        (b"<testsuite>&b;</testsuite>", "is not XML: undefined entity"),
    ],
)
def test_what_is_no_report_is_refused(data: bytes, said: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        junit.rows(data, what="r.xml")
    assert caught.value.message.startswith(f"r.xml {said}")
    assert caught.value.hint


def test_too_many_tests_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(junit, "TESTS_MAX", 3)
    with pytest.raises(InvalidValue, match="more than 3 tests"):
        junit.rows(b"<testsuite>" + b"<testcase/>" * 4 + b"</testsuite>", what="r")


def test_odd_but_legal_reports_are_read() -> None:
    assert junit.rows(b"<testsuites/>", what="r") == []
    nested = b'<testsuite name="o"><testsuite name="i"><testcase name="t" time="soon"/></testsuite></testsuite>'
    (row,) = junit.rows(nested, what="r")
    assert (row.repo, row.conclusion, row.fields["passed"]) == ("i", "success", 1)
    wide = '<?xml version="1.0" encoding="utf-16"?><testsuite name="ü"/>'.encode("utf-16")
    assert [row.repo for row in junit.rows(wide, what="r")] == ["ü"]
    (row,) = junit.rows(b'<testsuite name="' + b"n" * 999 + b'" timestamp="0001-01-01T00:00:00+00:00"/>', what="r")
    assert len(row.repo) == 200


@pytest.mark.parametrize(
    "argv", [["x", "--junit", "r"], ["--junit", "r", "--conclusion", "success"], ["--junit", "r", "--batch", "b"]]
)
def test_options_that_the_file_decides_are_refused(call: Call, log: Log, argv: list[str]) -> None:
    done = call("emit", *argv)
    assert (done.code, "--junit" in done.err, "hint:" in done.err) == (2, True, True)


def test_a_file_that_is_not_there_or_too_large_is_a_sentence(
    call: Call, log: Log, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "cannot be read" in call("emit", "--junit", str(tmp_path / "none")).err
    monkeypatch.setattr(junit, "FILE_MAX", 10)
    (tmp_path / "r.xml").write_bytes(REPORT)
    assert "has more than 10 bytes" in call("emit", "--junit", str(tmp_path / "r.xml")).err
