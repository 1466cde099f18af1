"""What the product is packed by: the locks, the dependencies and the Dockerfile."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
LOCKS = ("requirements.lock", "requirements-dev.lock")
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


def normal(name: str) -> str:
    """PEP 503."""
    return re.sub(r"[-_.]+", "-", name).lower()


def names_of(requirements: list[str]) -> set[str]:
    found = (re.match(r"[A-Za-z0-9._-]+", requirement) for requirement in requirements)
    return {normal(match[0]) for match in found if match}


RUNTIME = names_of(PROJECT["project"]["dependencies"])
DEMO = names_of(PROJECT["project"]["optional-dependencies"]["demo"])
DEV = names_of(PROJECT["dependency-groups"]["dev"])


def locked(lock: str) -> set[str]:
    lines = (ROOT / lock).read_text("utf-8").splitlines()
    return names_of([line for line in lines if re.match(r"[A-Za-z0-9]", line)])


def imported() -> Iterator[str]:
    """The top-level names that the product imports, wherever in a file."""
    for package in ("gateway", "shadow"):
        for file in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text("utf-8"))):
                if isinstance(node, ast.Import):
                    yield from (alias.name.partition(".")[0] for alias in node.names)
                elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                    yield node.module.partition(".")[0]


def test_the_dockerfile_passes_hadolint() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    ended = subprocess.run([hadolint, "Dockerfile"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (0, "")


def test_the_dockerfile_copies_only_what_is_there() -> None:
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", (ROOT / "Dockerfile").read_text("utf-8"), re.MULTILINE)
    files = [file for line in copied for file in line.split()]
    assert "requirements.lock" in files
    assert [file for file in files if not (ROOT / file).exists()] == []


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_names_no_host_and_pins_everything_by_hash(lock: str) -> None:
    text = (ROOT / lock).read_text("utf-8")
    assert "://" not in text
    entries = re.split(r"^(?=[A-Za-z0-9])", text, flags=re.MULTILINE)[1:]
    unpinned = [entry.splitlines()[0] for entry in entries if "==" not in entry or "--hash=sha256:" not in entry]
    assert unpinned == []


def test_there_is_one_kind_of_lock_only() -> None:
    assert not (ROOT / "uv.lock").exists()


def test_every_dependency_is_locked_and_tools_are_in_the_lock_for_development_only() -> None:
    assert RUNTIME - locked("requirements.lock") == set()
    assert locked("requirements.lock") - locked("requirements-dev.lock") == set()
    assert (RUNTIME | DEMO | DEV) - locked("requirements-dev.lock") == set()
    assert {"pytest", "ruff", "mypy"} & locked("requirements.lock") == set()


def test_every_dependency_is_imported_and_every_import_is_a_dependency() -> None:
    packages = metadata.packages_distributions()
    foreign = set(imported()) - set(sys.stdlib_module_names) - {"gateway", "shadow"}
    # pydantic_core and click come with the libraries they are the core of.
    used = {normal(name) for module in foreign for name in packages[module]} - {"pydantic-core", "click"}
    assert used == RUNTIME | DEMO


def test_the_version_is_told_once() -> None:
    changes = (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert metadata.version("shadow-gateway") == PROJECT["project"]["version"]
    assert "## [Unreleased]" in changes or f"## [{PROJECT['project']['version']}]" in changes
