"""The page of promises names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = ("docs/guarantees.md", "SECURITY.md")
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


@pytest.mark.parametrize("page", PAGES)
def test_every_test_a_page_names_is_there(page: str) -> None:
    named = NAMED.findall((ROOT / page).read_text("utf-8"))
    assert named
    missing = [
        f"{file}::{name}"
        for file, name in named
        if not re.search(rf"^(async )?def {name}\(", (ROOT / file).read_text("utf-8"), re.MULTILINE)
    ]
    assert missing == []


def test_every_promise_names_its_proof_and_no_figure_was_left_open() -> None:
    page = (ROOT / "docs/guarantees.md").read_text("utf-8")
    promises = re.findall(r"^\| \d+ \|.*$", page, re.MULTILINE)
    assert len(promises) >= 12
    assert [promise for promise in promises if not NAMED.search(promise)] == []
    assert re.findall(r"@[A-Z]+@", page) == []
