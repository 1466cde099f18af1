"""Makes the folder above `tests` importable, so that every test can use `tests.support`; declares the markers."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

# The suite starts hundreds of short processes. Where the environment forbids compiled files (container images do), each
# of them would compile the whole product again: 0.2 s of the 0.7 s in which the measuring process starts.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "slow: takes seconds because a deadline of the product does")
