"""The demo's EzAI, in a process of its own, so that the app's work does not slow the models it measures.

`python -P -m gateway.demo.upstream` writes its base_url to standard output and ends when its standard input does.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class UpstreamError(Exception):
    """The simulator's process did not start; what it said is on standard error."""


@contextlib.asynccontextmanager
async def simulated() -> AsyncIterator[str]:
    """Run the simulator in a child process; gives its base_url. Raises UpstreamError."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",
        "-m",
        "gateway.demo.upstream",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is for the parent alone
        env=dict(os.environ),
    )
    if process.stdin is None or process.stdout is None:
        raise AssertionError("both pipes were asked for")
    try:
        base_url = (await process.stdout.readline()).decode().strip()
        if not base_url:
            raise UpstreamError("the simulator ended before it was ready; its last lines are above")
        yield base_url
    finally:
        process.stdin.close()
        await process.wait()


def _main() -> None:
    from gateway.demo.cast import SCRIPT  # noqa: PLC0415  (only the child needs the simulator)
    from shadow.simulator import Simulator  # noqa: PLC0415

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with Simulator(SCRIPT) as simulator:
        sys.stdout.write(f"{simulator.base_url}\n")
        sys.stdout.flush()
        sys.stdin.read()


if __name__ == "__main__":
    _main()
