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
from waitbus.sources.pytest_rows import COUNTS
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
        (b'<?xml version="1.0" encoding="klingon"?><testsuite/>', "is not XML: unknown encoding"),
        (
            b'<?xml version="1.0" encoding="shift_jis"?><testsuite/>',
            "is not XML: multi-byte encodings are not supported",
        ),
        (b'<?xml version="1.0" encoding="utf-16"?><testsuite/>', "is not XML: encoding specified in XML declaration"),
        (b'<?xml version="1.0" encoding="utf-8"?><testsuite name="\xff"/>', "is not XML: not well-formed"),
        ("<testsuite name='\ud800'/>".encode("utf-16", "surrogatepass"), "is not XML: "),
        (b'<testsuite name="\0"/>', "is not XML: not well-formed"),
    ],
)
def test_what_is_no_report_is_refused(data: bytes, said: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        junit.rows(data, what="r.xml")
    assert caught.value.message.startswith(f"r.xml {said}")
    assert caught.value.hint


# What runners other than pytest write, each shortened.
NODE = b"""<?xml version="1.0" encoding="utf-8"?>
<testsuites>
\t<testcase name="adds" time="0.001" classname="test" file="/src/a.test.mjs"/>
\t<testcase name="fails" time="0.002" classname="test" file="/src/a.test.mjs" failure="boom">
\t\t<failure type="testCodeFailure" message="boom">stack</failure>
\t</testcase>
\t<testsuite name="inner" time="0.001" disabled="0" errors="0" tests="1" failures="0" skipped="1" hostname="h">
\t\t<testcase name="later" time="0" classname="test"><skipped type="skipped" message="true"/></testcase>
\t</testsuite>
</testsuites>"""
NEXTEST = b"""<?xml version="1.0" encoding="UTF-8"?>
<testsuites name="nextest-run" tests="3" failures="1" errors="0" timestamp="2024-01-09T07:50:12.664+00:00" time="0.023">
 <testsuite name="crate::basic" tests="3" disabled="0" errors="0" failures="1">
  <testcase name="cwd" classname="crate::basic" timestamp="2024-01-09T07:50:12.665+00:00" time="0.004"></testcase>
  <testcase name="flaky" classname="crate::basic" time="0.004"><flakyFailure type="test failure">once</flakyFailure></testcase>
  <testcase name="bad" classname="crate::basic" time="0.004"><failure type="test failure">no</failure>
   <rerunFailure time="0.004" type="test failure"><system-out>no</system-out></rerunFailure></testcase>
 </testsuite>
</testsuites>"""
SUREFIRE = b"""<?xml version="1.0" encoding="UTF-8"?>
<testsuite version="3.0" name="com.example.CartTest" time="1,234.5" tests="2" errors="1" skipped="0" failures="0">
  <properties><property name="java.version" value="21"/></properties>
  <testcase name="adds" classname="com.example.CartTest" time="0.01"/>
  <testcase name="removes" classname="com.example.CartTest" time="0.01">
    <error message="gone" type="java.lang.IllegalStateException"><![CDATA[java.lang.IllegalStateException: gone]]></error>
    <system-out><![CDATA[<testcase name="not one">]]></system-out>
  </testcase>
</testsuite>"""
GOTESTSUM = b"""<?xml version="1.0" encoding="UTF-8"?>
<testsuites tests="3" failures="2" errors="0" time="0.204000">
\t<testsuite tests="3" failures="2" time="0.004000" name="example.com/cart" timestamp="2026-03-01T10:00:00+01:00">
\t\t<properties><property name="go.version" value="go1.24 linux/amd64"></property></properties>
\t\t<testcase classname="example.com/cart" name="TestMain" time="0.00"><failure message="Failed" type="">x</failure></testcase>
\t\t<testcase classname="example.com/cart" name="TestAdd/two" time="0.00"><failure message="Failed" type=""></failure></testcase>
\t\t<testcase classname="example.com/cart" name="TestRemove" time="0.000000"></testcase>
\t</testsuite>
</testsuites>"""
JEST = b"""<?xml version="1.0" encoding="UTF-8"?>
<testsuites name="jest tests" tests="2" failures="0" errors="1" time="1.2">
  <testsuite name="cart" errors="0" failures="0" skipped="1" timestamp="2026-03-01T10:00:00" time="0.4" tests="2">
    <testcase classname="cart adds" name="two" time="0.003" file="src/cart.test.js"></testcase>
    <testcase classname="cart removes" name="two" time="0" file="src/cart.test.js"><skipped/></testcase>
  </testsuite>
  <testsuite name="src/broken.test.js" errors="1" failures="0" skipped="0" timestamp="2026-03-01T10:00:00" tests="0"></testsuite>
</testsuites>"""
GOOGLETEST = b"""<?xml version="1.0" encoding="UTF-8"?>
<testsuites tests="2" failures="1" disabled="1" errors="0" time="0" timestamp="2026-03-01T10:00:00.196" name="AllTests">
  <testsuite name="Cart" tests="3" failures="1" disabled="1" skipped="0" errors="0" time="0" timestamp="2026-03-01T10:00:00.196">
    <testcase name="Adds" file="/src/cart_test.cc" line="6" status="run" result="completed" time="0.1" classname="Cart" />
    <testcase name="DISABLED_Pays" file="/src/cart_test.cc" line="9" status="notrun" result="suppressed" classname="Cart" />
    <testcase name="Empties" file="/src/cart_test.cc" line="12" status="run" result="completed" time="0" classname="Cart">
      <failure message="1 vs 2" type="">one</failure><failure message="3 vs 4" type="">two</failure>
    </testcase>
  </testsuite>
</testsuites>"""


@pytest.mark.parametrize(
    ("data", "suites", "bad"),
    [
        (NODE, [("inner", "success", {"skipped": 1}), ("pytest", "failure", {"passed": 1, "failed": 1})],
         ["/src/a.test.mjs::test::fails"]),
        (NEXTEST, [("crate::basic", "failure", {"passed": 2, "failed": 1})], ["crate::basic::bad"]),
        (SUREFIRE, [("com.example.CartTest", "failure", {"passed": 1, "errors": 1})], ["com.example.CartTest::removes"]),
        (GOTESTSUM, [("example.com/cart", "failure", {"passed": 1, "failed": 2})],
         ["example.com/cart::TestMain", "example.com/cart::TestAdd/two"]),
        (JEST, [("cart", "success", {"passed": 1, "skipped": 1}), ("src/broken.test.js", "failure", {})], []),
        (GOOGLETEST, [("Cart", "failure", {"passed": 1, "failed": 1, "skipped": 1})], ["/src/cart_test.cc::Cart::Empties"]),
    ],
    ids=["node", "nextest", "surefire", "gotestsum", "jest", "googletest"],
)  # fmt: skip
def test_what_other_runners_write(data: bytes, suites: list[Any], bad: list[str]) -> None:
    found = junit.rows(data, what="r.xml")
    sessions = [row for row in found if row.event_type == "pytest_session"]
    counts = [{key: row.fields[key] for key in COUNTS if row.fields[key]} for row in sessions]
    assert [(row.repo, row.conclusion, got) for row, got in zip(sessions, counts, strict=True)] == suites
    assert [row.fields["nodeid"] for row in found if row.event_type == "pytest_test"] == bad


def test_a_name_that_stands_twice_is_two_failures() -> None:
    twice = b"<testcase name='t'><failure/></testcase>" * 2
    *tests, _ = junit.rows(b"<testsuite>" + twice + b"</testsuite>", what="r")
    assert len({test.delivery_id for test in tests}) == 2


def test_a_report_of_nothing_that_says_that_something_failed_is_a_failure() -> None:
    (row,) = junit.rows(b'<testsuites name="all" errors="1"/>', what="r")
    assert (row.repo, row.conclusion) == ("all", "failure")


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
