"""Ways to the fault server: each a whole `serve`, whose measuring side is off, well, or broken in one way."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import threading
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from tests.support.serving import Serve, ask
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime
    from pathlib import Path

    from shadow.simulator import Simulator

LANES = ("off", "on", "hanging", "locked", "gone", "killed")
"""Shadow off; on and well; its candidates hang and refuse; its store is locked, or deleted; or it is killed."""

FIRST_BYTE_S = 3.0
IDLE_S = 3.0
CONNECT_S = 3.0
WRITE_STALL_S = 10.0
HEALTHY = "healthy-model"


class Lane:
    """One `serve` in front of the fault server."""

    def __init__(self, name: str, folder: Path, config: Mapping[str, Any]) -> None:
        self.name = name
        self.folder = folder
        self.serving = Serve(folder, json.dumps(config))

    @property
    def address(self) -> tuple[str, int]:
        """Where apps connect."""
        return self.serving.listen.host, self.serving.listen.port

    @property
    def live(self) -> int:
        """The process id of its live process."""
        return self.serving.child("gateway.live")

    @contextmanager
    def broken(self) -> Iterator[None]:
        """Its measuring side is broken within this block, in the way of the lane; a well lane stays well."""
        how = {"locked": self._locked, "gone": self._gone, "killed": self._killed}
        with how.get(self.name, contextlib.nullcontext)():
            yield

    def rows(self, query: str, *values: object) -> list[dict[str, Any]]:
        """Rows of its store."""
        with closing(sqlite3.connect(f"file:{self._store}?mode=ro", uri=True, timeout=30)) as connection:
            connection.row_factory = sqlite3.Row
            return [dict(row) for row in connection.execute(query, values)]

    def exchanges(self, count: int = 1, *, path: str) -> list[dict[str, Any]]:
        """The exchanges with this path, as soon as `count` are there."""

        def look() -> list[dict[str, Any]]:
            found = self.rows("SELECT * FROM exchange WHERE path = ?", path)
            return found if len(found) >= count else []

        return eventually(look, within_s=20, what=f"{count} records of {path} in lane {self.name}")

    def jobs(self, exchange: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The shadow jobs of one exchange."""
        return self.rows("SELECT * FROM shadow_job WHERE exchange_id = ?", exchange["id"])

    def coverage(self, *, since: datetime, until: datetime) -> list[dict[str, Any]]:
        """The coverage of every comparison in this window, from /stats."""
        query = urlencode({"since": since.isoformat(), "until": until.isoformat()})

        def look() -> dict[str, Any] | None:
            try:
                status, body = ask(self.serving.admin, "GET", f"/stats?{query}")
            except OSError:
                return None
            return json.loads(body) if status == 200 else None

        stats = eventually(look, within_s=60, what=f"the stats of lane {self.name}")
        assert stats
        return [comparison["coverage"] for task in stats["tasks"] for comparison in task["comparisons"]]

    @property
    def _store(self) -> Path:
        return self.folder / "shadow.db"

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with closing(sqlite3.connect(self._store, isolation_level=None, timeout=30)) as holder:
            holder.execute("BEGIN EXCLUSIVE")
            yield
            holder.execute("ROLLBACK")

    @contextmanager
    def _gone(self) -> Iterator[None]:
        """Delete the store; the file itself last, for then it is made anew, and what is made anew shall stay."""
        for path in sorted(self.folder.glob("shadow.db*"), reverse=True):
            path.unlink()
        yield

    @contextmanager
    def _killed(self) -> Iterator[None]:
        """Kill the measuring process as soon as it is there, and the next one, before it can do much."""
        done = threading.Event()

        def kill() -> None:
            for _ in range(2):
                while not (found := self.serving.children("gateway.measuring")):
                    if done.wait(0.05):
                        return
                for pid in found:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                if done.wait(0.5):
                    return

        killer = threading.Thread(target=kill)
        killer.start()
        try:
            yield
        finally:
            done.set()
            killer.join()


def config(name: str, *, base_url: str, simulator: Simulator, refused: str, **upstream: Any) -> dict[str, Any]:
    """The configuration of one lane; `upstream` are more keys of that section."""
    healthy = {"model": HEALTHY, "base_url": simulator.base_url, "api_key": "key-of-the-candidate"}
    refusing = {"model": "refusing", "base_url": refused, "api_key": "key-of-the-candidate"}
    candidates = [healthy | {"model": f"{HEALTHY}~hang"}, refusing] if name == "hanging" else [healthy]
    priced = [each["model"] for each in candidates] + ["primary"]
    return {
        "listen": "127.0.0.1:0",
        "admin": {"listen": "127.0.0.1:0"},
        "drain_timeout_s": 1,
        "upstream": {
            "base_url": base_url,
            "connect_timeout_s": CONNECT_S,
            "first_byte_timeout_s": FIRST_BYTE_S,
            "idle_timeout_s": IDLE_S,
            "write_stall_timeout_s": WRITE_STALL_S,
            **upstream,
        },
        "shadow": {
            "enabled": name != "off",
            "sample_rate": 1,
            "noise_floor_rate": 0,
            "budget_usd_per_day": 1000,
            "candidates": candidates,
            "max_concurrency": 4,
        },
        "prices": {model: {"input": 1, "output": 2} for model in priced},
    }


@contextmanager
def lanes_between(folder: Path, **about: Any) -> Iterator[dict[str, Lane]]:
    """Start every lane at once, and end them; each must end with exit code 0."""
    made: dict[str, Lane] = {}
    with contextlib.ExitStack() as stack:
        for name in LANES:
            (folder / name).mkdir()
            made[name] = Lane(name, folder / name, config(name, **about))
            stack.push(made[name].serving)  # ended even if another one does not start
        for lane in made.values():
            lane.serving.__enter__()  # waits until it is ready
        yield made
        for lane in made.values():
            lane.serving.signal(signal.SIGTERM)
        ended = {name: lane.serving.wait() for name, lane in made.items()}
        logs = {name: lane.serving.stderr for name, lane in made.items()}
        told = {name: log for name, log in logs.items() if ended[name] or "Traceback" in log}
        assert ended == dict.fromkeys(LANES, 0), told
        assert not told, told
