"""Plugins as installers leave them: wheels made without a build backend, and Pythons to install them into."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import site
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
TIMER = ROOT / "docs" / "examples" / "waitbus-timer"


def contents(project: Path) -> dict[str, bytes]:
    """Name -> content of each file of the wheel of a project, RECORD among them."""
    about: dict[str, Any] = tomllib.loads((project / "pyproject.toml").read_text())["project"]
    modules = {str(file.relative_to(project)): file.read_bytes() for file in sorted(project.rglob("*.py"))}
    return with_info(about["name"], about["version"], about.get("entry-points", {}), modules)


def with_info(
    name: str, version: str, entry_points: Mapping[str, Mapping[str, str]], modules: Mapping[str, bytes]
) -> dict[str, bytes]:
    """The files of a wheel with these modules."""
    info = f"{name.replace('-', '_')}-{version}.dist-info"
    points = "".join(
        f"[{group}]\n" + "".join(f"{key} = {value}\n" for key, value in table.items())
        for group, table in entry_points.items()
    )
    files = {
        **modules,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": points.encode(),
    }
    return {**files, f"{info}/RECORD": record(files, info)}


def record(files: Mapping[str, bytes], info: str) -> bytes:
    lines = [f"{name},sha256={_hash(data)},{len(data)}" for name, data in files.items()]
    return "\n".join([*lines, f"{info}/RECORD,,", ""]).encode()


def _hash(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


def unpacked(files: Mapping[str, bytes], folder: Path) -> Path:
    """Put the files into `folder` as an installer does; gives its `*.dist-info`."""
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder / next(name for name in files if name.endswith("/RECORD")).partition("/")[0]


def wheel(files: Mapping[str, bytes], folder: Path) -> Path:
    """The wheel with these files."""
    info = next(name for name in files if name.endswith("/RECORD")).partition("/")[0]
    path = folder / f"{info.removesuffix('.dist-info')}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def editable(info: Path) -> None:
    """Let a distribution be one that is installed to be edited."""
    (info / "direct_url.json").write_text(json.dumps({"url": "file:///src", "dir_info": {"editable": True}}))


class Venv:
    """A Python with waitbus and what it needs, and nothing else of this one's."""

    def __init__(self, folder: Path) -> None:
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True, timeout=60)
        self.python = folder / "bin" / "python"
        self.site = next(folder.glob("lib/python*/site-packages"))
        ours = [str(ROOT), *site.getsitepackages()]
        (self.site / "waitbus-of-this-checkout.pth").write_text("\n".join(ours) + "\n")

    def install(self, files: Mapping[str, bytes], folder: Path) -> None:
        """By pip, from a wheel, without asking anybody."""
        made = wheel(files, folder)
        pip = [sys.executable, "-m", "pip", "--python", str(self.python), "--disable-pip-version-check"]
        subprocess.run(
            [*pip, "install", "--quiet", "--no-index", "--no-deps", "--upgrade", str(made)],
            check=True,
            timeout=120,
            env={**os.environ, "PIP_CONFIG_FILE": os.devnull},
        )

    @property
    def waitbus(self) -> tuple[str, ...]:
        return (str(self.python), "-P", "-m", "waitbus")


def has_pip() -> bool:
    import importlib.util

    return importlib.util.find_spec("pip") is not None


needs_pip = pytest.mark.skipif(not has_pip(), reason="no pip in this environment")
