"""Makes the folder above `tests` importable, so that every test can use `tests.support`; declares the markers."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "slow: takes seconds because a deadline of the product does")
