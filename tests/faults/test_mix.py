"""Kills, restarts, locks, a full disk, dead candidates and reloads, mixed by a seed under mixed traffic.

`SHADOW_TEST_SECONDS=300` runs it for so long, `SHADOW_TEST_SEED` chooses another schedule.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.support.chaos import mixed

if TYPE_CHECKING:
    from pathlib import Path

SECONDS = float(os.environ.get("SHADOW_TEST_SECONDS", "8"))
SEED = int(os.environ.get("SHADOW_TEST_SEED", "1"))


@pytest.mark.timeout(SECONDS + 240)
async def test_whatever_is_done_to_it_no_promise_is_broken(tmp_path: Path) -> None:
    report = await mixed(tmp_path, seconds=SECONDS, seed=SEED)
    print(*report.lines(), sep="\n")  # noqa: T201  (pytest shows it beside a failure, and with -s)
    assert report.violations == []
    assert report.calls["whole"] > 0
    assert report.jobs["done"] > 0
    if report.left_out:
        pytest.skip("; ".join(report.left_out))
