"""The wheel: everything the code opens is inside, and what is installed from it runs wherever it is started."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.support.serving import plain_environment

ROOT = Path(__file__).parents[2]
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
OPENS_A_STORE = """
import asyncio
from shadow.store import open_store

async def pending_jobs():
    async with await open_store("sqlite:///shadow.db") as store:
        return (await store.reader.health())["pending_jobs"]

print(asyncio.run(pending_jobs()))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = ["wheel", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(folder), str(ROOT)]
    built = subprocess.run([*PIP, *build], capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    (file,) = folder.iterdir()
    return file


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("installed")
    subprocess.run([*PIP, "install", "--no-deps", "--no-index", "--target", str(target), str(wheel)], check=True)
    return target


def test_the_wheel_holds_every_file_of_both_packages_and_nothing_else(wheel: Path) -> None:
    inside = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    here = {
        str(file.relative_to(ROOT))
        for package in ("gateway", "shadow")
        for file in (ROOT / package).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    assert inside == here
    opened = {"gateway/template.yaml", "gateway/py.typed", "shadow/py.typed", "shadow/store/sqlite/intake.sql"}
    assert opened <= inside
    shown = {"templates/base.html", "templates/overview.html", "static/app.css", "static/app.js"}
    assert {f"shadow/web/dashboard/{name}" for name in shown} <= inside


def test_the_wheel_names_its_commands_its_licence_and_its_dependencies(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    info = {name.rpartition("/")[2]: archive.read(name).decode() for name in archive.namelist() if ".dist-info" in name}
    assert "shadow-gateway = gateway.cli:main" in info["entry_points.txt"]
    assert "shadow = gateway.cli:main" in info["entry_points.txt"]
    assert "Apache License" in info["LICENSE"]
    assert "Requires-Python: >=3.11" in info["METADATA"]
    assert "Requires-Dist: uvicorn" in info["METADATA"]


def test_what_is_installed_runs_where_decoy_packages_lie(installed: Path, tmp_path: Path) -> None:
    for name in ("gateway", "shadow"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise RuntimeError('the decoy was imported')\n", encoding="utf-8")

    def run(*command: str) -> str:
        environ = plain_environment(PYTHONPATH=str(installed))
        ended = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    script = str(installed / "bin" / "shadow-gateway")
    told = run(sys.executable, "-P", "-c", "import gateway, shadow; print(gateway.__file__); print(shadow.__file__)")
    assert [Path(line).parents[1] for line in told.splitlines()] == [installed, installed]
    assert json.loads(run(script, "version", "--json"))["shadow-gateway"] == run(script, "version").strip()
    assert run(script, "init", "--candidates", "some-model").startswith("wrote config.yaml and config.schema.json")
    assert run(script, "check").splitlines()[-1] == "config.yaml: ok"
    assert run(sys.executable, "-P", "-c", OPENS_A_STORE) == "0\n"
