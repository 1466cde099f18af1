"""kill -9 in the middle of bookkeeping: a real process, a real file, and the ledger of one that nobody disturbed."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from shadow.store import open_store
from tests.integration.test_bookkeeper import dump
from tests.support.ledger import Books, plan

if TYPE_CHECKING:
    from pathlib import Path

CANDIDATES = ("rival", "other")
KILLED_AT = (1, 2, 3, 40, 43, 60, 17, 90, 5, 44)
"""Statement of the write connection: the first of a transaction, its claim, some in the middle, near its end."""


async def filled(path: Path) -> Books:
    """A file with conversations that nobody has looked at yet."""
    chance = random.Random(3)
    async with await open_store(f"sqlite:///{path}") as store:
        books = Books(store=store)
        for number in range(70):
            await books.turn(f"c{number % 55:02}", candidates=CANDIDATES)
            await books.answer(candidate=chance.choice((1.0, 1.0, 0.0, 0.33, None)))
            books.later(1)
        books.later(700)
    return books


@pytest.mark.timeout(240)
async def test_a_keeper_that_is_killed_again_and_again_leaves_the_ledger_of_one_that_was_not(tmp_path: Path) -> None:
    undisturbed, killed = tmp_path / "undisturbed.db", tmp_path / "killed.db"
    books = await filled(undisturbed)
    shutil.copyfile(undisturbed, killed)
    killed.chmod(0o600)

    async with await open_store(f"sqlite:///{undisturbed}") as store:
        await Books(store=store, now=books.now).bookkeeper(plan(*CANDIDATES)).catch_up()

    def keep(killed_at: int) -> int:
        command = [sys.executable, "-m", "tests.support.keeping", f"sqlite:///{killed}", books.now.isoformat()]
        return subprocess.run([*command, str(killed_at), *CANDIDATES], check=False, timeout=60).returncode

    codes = [keep(killed_at) for killed_at in KILLED_AT]
    assert codes.count(-signal.SIGKILL) >= 6, codes
    assert keep(0) == 0
    assert dump(killed) == dump(undisturbed)
    states = [row[2] for row in dump(killed)["entries"]]
    assert len(states) == 110
    assert set(states) <= {"entered", "passed"}
