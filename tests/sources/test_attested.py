"""Who published what is installed: a real wheel, its real attestation, and everything that may be wrong with either.

The attestation is the one that the package index publishes of that wheel, and is verified by the keys that the extra brings.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import schemas, support, wheels
from tests.sources.shelf import Answer, Shelf, serving, status
from waitbus.errors import ExtraMissing
from waitbus.paths import config_path
from waitbus.sources import attested, index, package_index, pins, wheel
from waitbus.sources.discovery import Entry

NAME, VERSION = "abi3info", "2024.10.8"
WHEEL = f"{NAME}-{VERSION}-py3-none-any.whl"
PROVENANCE = Path(__file__).parent / "attested" / f"{WHEEL}.provenance"
PUBLISHER = "GitHub woodruffw/abi3info release.yml"

Call = Callable[..., support.Result]


@pytest.fixture(scope="session")
def real(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The wheel, as the registry has it."""
    if not wheels.has_pip():
        pytest.skip("no pip in this environment")
    folder = tmp_path_factory.mktemp("attested")
    asked = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--no-deps", "--only-binary=:all:"]
    done = subprocess.run(
        [*asked, "--dest", str(folder), f"{NAME}=={VERSION}"], capture_output=True, text=True, check=False, timeout=120
    )
    if done.returncode != 0:
        pytest.skip(f"no package registry: {done.stderr.strip().splitlines()[-1]}")
    return (folder / WHEEL).read_bytes()


@pytest.fixture
def info(home: Path, real: bytes, monkeypatch: pytest.MonkeyPatch) -> Path:
    """It is installed, and a plugin."""
    with zipfile.ZipFile(io.BytesIO(real)) as archive:
        archive.extractall(home / "site")
    found = home / "site" / f"{NAME}-{VERSION}.dist-info"
    (found / "INSTALLER").write_text("pip\n")
    monkeypatch.setattr(index, "installed", lambda: [Entry("abi3", NAME, NAME, VERSION, found)])
    return found


@pytest.fixture
def shelf(monkeypatch: pytest.MonkeyPatch) -> Iterator[Shelf]:
    """The index that the configuration names. Nobody else is asked: neither for attestations nor for keys."""
    monkeypatch.setenv("WAITBUS_OFFLINE", "1")
    with serving() as shelf:
        configure(shelf.url)
        yield shelf


@pytest.fixture
def laid(shelf: Shelf, real: bytes) -> Shelf:
    """The index has the wheel and its attestation."""
    shelf.put(NAME, WHEEL, real, PROVENANCE.read_bytes())
    return shelf


def configure(url: str, more: str = "") -> None:
    config_path().parent.mkdir(mode=0o700, exist_ok=True)
    config_path().write_text(f'[plugins]\nindex_url = "{url}/simple"\n{more}')


def looked(call: Call, *argv: str) -> tuple[int, dict[str, Any]]:
    """The exit code, and what is said of the attestation."""
    done = call("allowlist", "verify", "--attestations", "--json", *argv)
    (row,) = schemas.lines("allowlist-verify", done.out)
    return done.code, row["attestation"]


# -- it is as it should be -----------------------------------------------------------------------------------------------


def test_who_published_what_is_installed_is_said(call: Call, info: Path, laid: Shelf) -> None:
    done = call("allowlist", "verify", "--attestations")
    assert (done.code, done.err, done.out.splitlines()) == (
        0,
        "",
        [
            f"abi3  {NAME} {VERSION}  not used yet; trusted when it is",
            "      its 6 files are those of RECORD",
            f"      published by {PUBLISHER}: {WHEEL} is attested, by the keys that came with the extra, and what is installed "
            "was in it",
        ],
    )
    assert looked(call) == (
        0,
        {"state": "attested", "publisher": PUBLISHER, "wheel": WHEEL, "reason": "", "keys": "shipped"},
    )
    assert not pins.pins_path().exists()


def test_a_publisher_is_trusted_from_then_on_and_no_other_one(call: Call, info: Path, laid: Shelf) -> None:
    row = schemas.checked("allowlist-add", call("allowlist", "add", "abi3", "--attested", "--json").out)
    assert (row["state"], row["publisher"]) == ("pinned", PUBLISHER)
    assert [pin.publisher for pin in pins.read()] == [PUBLISHER]
    done = call("allowlist", "verify")
    assert (done.code, done.out.splitlines()[1]) == (
        0,
        f"      its 6 files are those of RECORD, and those that are trusted, as {PUBLISHER} published them",
    )
    assert looked(call)[0] == 0
    text = pins.pins_path().read_text()
    pins.pins_path().write_text(text.replace("woodruffw", "mallory"))
    assert looked(call) == (
        1,
        {
            **dict.fromkeys(("wheel",), WHEEL),
            "state": "wrong",
            "publisher": PUBLISHER,
            "keys": "shipped",
            "reason": f"{PUBLISHER} published it, and GitHub mallory/abi3info release.yml is trusted",
        },
    )
    pins.pins_path().write_text(text.replace("woodruffw", "mallory").replace(VERSION, "2024.10.3"))
    assert call("allowlist", "verify").code == 1, "a new version, and nobody looked who published it"
    done = call("allowlist", "add", "abi3", "--attested")
    assert (done.code, done.err.splitlines()) == (
        2,
        [
            f"error: plugin 'abi3' of {NAME} {VERSION} was published by {PUBLISHER}, and "
            "GitHub mallory/abi3info release.yml is trusted",
            "hint: `waitbus allowlist remove abi3` forgets who was trusted; then add it once more",
        ],
    )
    assert call("allowlist", "add", "abi3").code == 0, "somebody decided"
    assert call("allowlist", "verify").code == 0


def test_files_in_the_place_of_the_index_need_nobody(
    call: Call, info: Path, home: Path, real: bytes, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / WHEEL).write_bytes(real)
    files = ("--wheel", str(home / WHEEL), "--provenance", str(PROVENANCE))
    assert looked(call, "abi3", *files)[1]["state"] == "attested"
    assert call("allowlist", "add", "abi3", *files).code == 0
    assert [pin.publisher for pin in pins.read()] == [PUBLISHER]
    assert shelf.asked == []
    (home / f"other-{WHEEL}").write_bytes(real)
    code, said = looked(call, "abi3", "--wheel", str(home / f"other-{WHEEL}"), "--provenance", str(PROVENANCE))
    assert (code, said["reason"]) == (
        1,
        f"other-{WHEEL} is no wheel of {NAME} {VERSION} for py3-none-any",
    )
    done = call("allowlist", "verify", *files)
    assert (done.code, done.err.splitlines()[0]) == (2, "error: --wheel is of one plugin, and none is named")
    done = call("allowlist", "add", "abi3", "--provenance", str(home / "nothing"))
    assert (done.code, "--provenance" in done.err, "cannot be read" in done.err) == (2, True, True)


def test_what_the_configuration_asks_for_is_looked_at_by_add(call: Call, info: Path, laid: Shelf) -> None:
    configure(laid.url, "require_attestation = true\n")
    done = call("allowlist", "verify", "abi3")
    assert (done.code, done.out.splitlines()) == (
        1,
        [
            f"abi3  {NAME} {VERSION}  not used: nobody's attestation of it was looked at, and plugins.require_attestation "
            "asks for one",
            "      `waitbus allowlist add abi3 --attested` looks at it",
        ],
    )
    assert call("allowlist", "add", "abi3").code == 0
    assert call("allowlist", "verify", "abi3").code == 0


# -- nobody attests it -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lay", "reason"),
    [
        (lambda shelf, data: None, f"127.0.0.1 has no project {NAME}"),
        (lambda shelf, data: shelf.put(NAME, WHEEL, data, None), f"127.0.0.1 has no attestation of {WHEEL}"),
        (
            lambda shelf, data: shelf.put(NAME, WHEEL, data, status(404)),
            f"127.0.0.1 has no attestation of {WHEEL}",
        ),
        (
            lambda shelf, data: shelf.put(NAME, f"{NAME}-{VERSION}.tar.gz", data, None),
            f"127.0.0.1 has no wheel of {NAME} {VERSION} for py3-none-any",
        ),
        (
            lambda shelf, data: shelf.put(NAME, WHEEL, data, PROVENANCE.read_bytes(), url="/nowhere"),
            f"127.0.0.1 lists {WHEEL}, and does not have it",
        ),
    ],
    ids=["no project", "no provenance", "404", "no wheel", "no file"],
)
def test_that_nobody_attests_it_is_no_failure_unless_it_is_asked_for(
    call: Call, info: Path, shelf: Shelf, real: bytes, lay: Callable[[Shelf, bytes], None], reason: str
) -> None:
    lay(shelf, real)
    code, said = looked(call)
    assert (code, said["state"], said["reason"]) == (0, "none", reason)
    assert call("allowlist", "verify", "--attestations").out.splitlines()[-1] == f"      nobody attests it: {reason}"
    done = call("allowlist", "add", "abi3", "--attested")
    assert (done.code, done.err.splitlines()[0]) == (
        2,
        f"error: plugin 'abi3' of {NAME} {VERSION} is not attested: {reason}",
    )
    assert call("allowlist", "add", "abi3").code == 0
    pins.pins_path().write_text(pins.pins_path().read_text() + f'publisher = "{PUBLISHER}"\n')
    assert looked(call)[0] == 1


# -- it is not as it should be ---------------------------------------------------------------------------------------------


def altered(change: Callable[[dict[str, Any]], object]) -> bytes:
    """The provenance with something changed."""
    provenance = json.loads(PROVENANCE.read_bytes())
    change(provenance)
    return json.dumps(provenance).encode()


def bundle(provenance: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = provenance["attestation_bundles"][0]
    return found


def other_statement(provenance: dict[str, Any]) -> None:
    envelope = bundle(provenance)["attestations"][0]["envelope"]
    envelope["statement"] = envelope["statement"][:-4] + "IH0="


@pytest.mark.parametrize(
    ("provenance", "said"),
    [
        (b"<html>log in</html>", "its provenance is none: Invalid JSON"),
        (b"\xff\x00", "its provenance is none: Invalid JSON"),
        (b"[]", "its provenance is none: Input should be an object"),
        (b"[" * 100_000, "its provenance is none: Invalid JSON: recursion limit exceeded"),
        (b"{}", "its provenance is none: Field required at attestation_bundles"),
        (b'{"attestation_bundles": []}', "its provenance names nobody as its publisher, and it has to be one"),
        (altered(lambda one: bundle(one).update(attestations=[])), "names nobody as its publisher"),
        (
            altered(lambda one: bundle(one)["publisher"].update(kind="Nobody")),
            "its provenance is none: Input tag 'Nobody'",
        ),
        (
            altered(lambda one: bundle(one)["publisher"].update(repository="mallory/abi3info")),
            "does not hold: Certificate",
        ),
        (altered(lambda one: bundle(one)["publisher"].update(workflow="other.yml")), "does not hold: Certificate"),
        (altered(lambda one: bundle(one)["attestations"].append({})), "its provenance is none: Field required"),
        (altered(other_statement), "its attestation does not hold"),
        (
            altered(
                lambda one: bundle(one)["attestations"][0]["verification_material"].update(certificate="AAAA"),
            ),
            "its attestation does not hold: invalid X.509 certificate",
        ),
        (
            altered(
                lambda one: bundle(one)["attestations"][0]["verification_material"]["transparency_entries"][0].update(
                    logIndex="1"
                ),
            ),
            "its attestation does not hold",
        ),
    ],
    ids=[
        *("a page", "bytes", "a list", "nested", "nothing", "no bundles", "no attestations", "a strange publisher"),
        *("another repository", "another workflow", "an empty one too", "another statement", "no certificate"),
        "another entry of the log",
    ],
)
def test_a_provenance_that_does_not_hold_is_one_clear_sentence(
    call: Call, info: Path, shelf: Shelf, real: bytes, provenance: bytes, said: str
) -> None:
    shelf.put(NAME, WHEEL, real, provenance)
    wrong(call, said)


def wrong(call: Call, said: str) -> None:
    code, found = looked(call)
    assert (code, found["state"]) == (1, "wrong"), found
    assert said in found["reason"]
    assert "\n" not in found["reason"]
    done = call("allowlist", "verify", "--attestations")
    assert (done.code, done.err, len(done.out.splitlines())) == (1, "", 3)
    done = call("allowlist", "add", "abi3", "--attested")
    assert (done.code, said in done.err) == (2, True)
    assert not pins.pins_path().exists()


def test_another_wheel_than_the_one_that_was_attested(call: Call, info: Path, shelf: Shelf, real: bytes) -> None:
    shelf.put(NAME, WHEEL, real + b" ", PROVENANCE.read_bytes())
    wrong(call, "its attestation does not hold: subject does not match distribution digest")


def test_the_attestation_of_another_file(call: Call, info: Path, shelf: Shelf, real: bytes) -> None:
    (info / "WHEEL").write_text((info / "WHEEL").read_text().replace("py3-none-any", "cp311-abi3-any"))
    rerecord(info)
    other = WHEEL.replace("py3-none-any", "cp311-abi3-any")
    shelf.put(NAME, other, real, PROVENANCE.read_bytes())
    wrong(call, f"subject does not match distribution name: {WHEEL} != {other}")


def rerecord(info: Path) -> None:
    """Let RECORD agree with what is there: whoever changed a file has thought of it."""
    folder = info.parent
    files = {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in ("RECORD", "INSTALLER")
    }
    (info / "RECORD").write_bytes(wheels.record(files, info.name))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda package: (package / "_internal.py").write_text("import os\n"),
            "abi3info/_internal.py is another file than in the wheel",
        ),
        (lambda package: (package / "more.py").write_text(""), "abi3info/more.py is installed, and not in the wheel"),
        (lambda package: (package / "models.py").unlink(), "abi3info/models.py is in the wheel, and not installed"),
    ],
    ids=["changed", "added", "removed"],
)
def test_what_is_installed_is_not_what_was_published(
    call: Call, info: Path, laid: Shelf, change: Callable[[Path], object], said: str
) -> None:
    """Also where RECORD says that it is."""
    change(info.parent / NAME)
    rerecord(info)
    wrong(call, f"what {PUBLISHER} published is not what is installed: {said}")


# -- the index cannot be asked ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "answer", "said"),
    [
        (f"/simple/{NAME}/", b"<html>", "127.0.0.1 does not answer as an index in JSON"),
        (f"/simple/{NAME}/", status(500), "127.0.0.1 answered 500"),
        (f"/simple/{NAME}/", status(302, location=f"/simple/{NAME}/"), "127.0.0.1 redirects more than 5 times"),
        (
            f"/simple/{NAME}/",
            status(302, location="https://index.example/"),
            "it is at index.example, and WAITBUS_OFFLINE forbids to ask another machine",
        ),
        (f"/simple/{NAME}/", "endless", f"what 127.0.0.1 sends as the page of {NAME} is longer than 32 MiB"),
        (f"/simple/{NAME}/", "silent", "127.0.0.1 took more than 1 s"),
        (f"/integrity/{WHEEL}/provenance", status(503), "127.0.0.1 answered 503"),
        (
            f"/integrity/{WHEEL}/provenance",
            "endless",
            f"what 127.0.0.1 sends as the provenance of {WHEEL} is longer than 1 MiB",
        ),
        (f"/integrity/{WHEEL}/provenance", "silent", "127.0.0.1 took more than 1 s"),
        (f"/files/{WHEEL}", "endless", f"what 127.0.0.1 sends as {WHEEL} is longer than 2 MiB"),
        (f"/files/{WHEEL}", "silent", "127.0.0.1 took more than 1 s"),
        (f"/files/{WHEEL}", b"PK", f"what 127.0.0.1 sends as {WHEEL} is not the file that it lists"),
    ],
    ids=[
        *(
            "no JSON",
            "500",
            "redirects",
            "elsewhere",
            "an endless page",
            "a silent page",
            "503",
            "an endless provenance",
        ),
        *("a silent provenance", "an endless wheel", "a silent wheel", "another wheel"),
    ],
)
def test_an_index_that_cannot_be_asked_is_one_clear_sentence(
    call: Call,
    info: Path,
    laid: Shelf,
    monkeypatch: pytest.MonkeyPatch,
    path: str,
    answer: str | bytes | Answer,
    said: str,
) -> None:
    monkeypatch.setattr(package_index, "FILE_MAX", 2 << 20)
    if answer == "silent":
        monkeypatch.setattr(attested, "TIME", 1.0)
    laid.things[path] = getattr(laid, answer) if isinstance(answer, str) else answer
    unknown(call, said)


def unknown(call: Call, said: str) -> None:
    code, found = looked(call)
    assert (code, found["state"], found["reason"]) == (69, "unknown", said)
    done = call("allowlist", "add", "abi3", "--attested")
    assert (done.code, done.err.splitlines()[0]) == (
        69,
        f"error: who published plugin 'abi3' of {NAME} {VERSION} cannot be looked at: {said}",
    )
    assert not pins.pins_path().exists()


def test_an_index_where_nobody_listens(call: Call, info: Path, laid: Shelf) -> None:
    configure("http://127.0.0.1:1")
    code, found = looked(call)
    assert (code, found["state"], found["reason"].startswith("127.0.0.1 cannot be asked: ")) == (69, "unknown", True)


def test_another_machine_is_not_asked_where_that_is_forbidden(call: Call, info: Path, shelf: Shelf) -> None:
    configure("https://index.example")
    done = call("allowlist", "verify", "--attestations")
    assert (done.code, done.out, done.err.splitlines()[0]) == (
        2,
        "",
        "error: looking for attestations would ask index.example, and WAITBUS_OFFLINE forbids to ask another machine",
    )


def test_keys_that_cannot_be_renewed_are_those_that_came_with_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    assert attested._renew() == "shipped"


# -- the extra ---------------------------------------------------------------------------------------------------------------


def test_without_the_extra_it_is_said_how_to_get_it(
    call: Call, info: Path, laid: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pypi_attestations", None)
    done = call("allowlist", "verify", "--attestations")
    assert (done.code, done.out, done.err.splitlines()) == (
        69,
        "",
        [
            "error: attestations are verified by packages that are not installed here: pypi_attestations",
            "hint: pip install '<where this came from>[plugin-verify]'",
        ],
    )
    assert call("allowlist", "verify").code == 0
    with pytest.raises(ExtraMissing):
        attested.look([], attested.Where(""))


def test_nothing_else_imports_it(home: Path) -> None:
    script = """
import sys
import waitbus.cli.allowlist, waitbus.daemon, waitbus.sources.attested, waitbus.sources.index, waitbus.sources.plugins
print(sorted({"pypi_attestations", "sigstore", "pydantic", "packaging", "httpx2"} & set(sys.modules)))
"""
    done = support.run([sys.executable, "-c", script])
    assert (done.out, done.err) == ("[]\n", "")


# -- wheels ------------------------------------------------------------------------------------------------------------------


def zipped(files: dict[str, bytes]) -> io.BytesIO:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return out


@pytest.fixture
def timer(home: Path) -> tuple[dict[str, bytes], Path]:
    """The files of the example's wheel, and what is installed of it."""
    files = wheels.contents(wheels.TIMER)
    return files, wheels.unpacked(files, home / "site")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({}, ""),
        ({"waitbus_timer-1.0.dist-info/RECORD.jws": b"{}"}, ""),
        ({"waitbus_timer-1.0.data/scripts/tick": b"#!python\n"}, ""),
        ({"waitbus_timer-1.0.data/data/share/x": b""}, ""),
        ({"waitbus_timer-1.0.data/purelib/evil.py": b""}, "evil.py is in the wheel, and not installed"),
        ({"../evil.py": b""}, ""),
    ],
    ids=str,
)
def test_what_of_a_wheel_lies_beside_its_modules(
    timer: tuple[dict[str, bytes], Path], more: dict[str, bytes], said: str
) -> None:
    files, info = timer
    assert wheel.difference(zipped({**files, **more}), info) == said


def test_modules_may_lie_in_a_folder_of_their_own(timer: tuple[dict[str, bytes], Path]) -> None:
    files, info = timer
    moved = {
        f"waitbus_timer-1.0.data/purelib/{name}" if name.endswith(".py") else name: data for name, data in files.items()
    }
    assert wheel.difference(zipped(moved), info) == ""


def test_a_wheel_that_is_none_or_a_bomb_is_refused(
    timer: tuple[dict[str, bytes], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    files, info = timer
    whole = zipped(files).getvalue()
    for data in (b"", b"PK", whole[:-30], whole[:60] + b"\xff" * 40 + whole[100:]):
        assert wheel.difference(io.BytesIO(data), info) == "the wheel cannot be unpacked"
    monkeypatch.setattr(wheel, "SIZE_MAX", 1 << 20)
    assert wheel.difference(zipped({**files, "x": bytes(2 << 20)}), info) == "the wheel is larger than a plugin may be"


@pytest.mark.parametrize(
    ("name", "is_it"),
    [
        ("waitbus_timer-1.0-py3-none-any.whl", True),
        ("waitbus_timer-1.0.0-py3-none-any.whl", True),
        ("Waitbus.Timer-1.0-py3-none-any.whl", True),
        ("waitbus_timer-1.1-py3-none-any.whl", False),
        ("waitbus_timer-1.0-1-py3-none-any.whl", False),
        ("waitbus_timer-1.0-cp312-cp312-linux_x86_64.whl", False),
        ("other-1.0-py3-none-any.whl", False),
        ("waitbus_timer-1.0.tar.gz", False),
        ("", False),
        ("..", False),
    ],
)
def test_which_wheel_it_was_installed_from(timer: tuple[dict[str, bytes], Path], name: str, is_it: bool) -> None:
    entry = Entry("timer", "waitbus_timer:spec", "waitbus-timer", "1.0", timer[1])
    assert wheel.is_of(name, entry) is is_it


def test_the_attestation_of_the_tests_is_of_the_wheel_that_the_registry_has(real: bytes) -> None:
    statement = bundle(json.loads(PROVENANCE.read_bytes()))["attestations"][0]["envelope"]["statement"]
    (subject,) = json.loads(base64.b64decode(statement))["subject"]
    assert subject == {"name": WHEEL, "digest": {"sha256": hashlib.sha256(real).hexdigest()}}
