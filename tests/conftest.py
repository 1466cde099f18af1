"""Makes the folder above `tests` importable, so that every test can use `tests.support`; says what is traced."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

# The suite starts hundreds of short processes. Where the environment forbids compiled files (container images do), each
# of them would compile the whole product again: 0.2 s of the 0.7 s in which the measuring process starts.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

TRACED = tuple(Path(__file__).with_name(folder) for folder in ("unit", "integration"))
"""Whose tests must cover the pure modules. Tracing doubles what a test costs, and the servers that run in its process
are as slow as it is."""


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "slow: takes seconds because a deadline of the product does")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Take no coverage of the other tests."""
    for item in items:
        if not any(item.path.is_relative_to(folder) for folder in TRACED):
            item.add_marker(pytest.mark.no_cover)
