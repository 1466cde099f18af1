"""A process that keeps the ledger of one file and is killed in the middle of it: `python -m tests.support.keeping`."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from datetime import datetime

from shadow.store import open_store
from tests.support.ledger import Books, plan


async def keep(url: str, *, now: datetime, candidates: list[str], killed_at: int) -> None:
    """Do all there is to do; the write connection's statement number `killed_at` is the last this process sees."""
    async with await open_store(url) as store:
        seen = 0

        def count(_statement: str) -> None:
            nonlocal seen
            seen += 1
            if seen == killed_at:
                os.kill(os.getpid(), signal.SIGKILL)

        connection = store.ledger._writer._connection
        assert connection is not None
        await connection.set_trace_callback(count)
        await Books(store=store, now=now).bookkeeper(plan(*candidates)).catch_up()


if __name__ == "__main__":
    asyncio.run(
        keep(
            sys.argv[1],
            now=datetime.fromisoformat(sys.argv[2]),
            killed_at=int(sys.argv[3]),
            candidates=sys.argv[4:],
        )
    )
