"""Whatever happens to the measuring side, an app gets the answers it would get directly, and the books stay exact."""

from __future__ import annotations

import http.client
import json
import os
import signal
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self

import pytest

from shadow.simulator import Script, SimModel, Simulator, Timing
from tests.support.serving import HEADERS, Serve, ask, is_alive, question
from tests.support.stored import rows_of
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

SLOW = Timing(ttft_ms=100, gap_ms=20)
"""A stream of about a second."""

LATE = Timing(header_delay_ms=1500)

ASKED = [question(f"Question {number}: what is {number} + 2?", stream=number % 2 == 0) for number in range(8)]
"""Eight conversations; every other one is streamed."""


@pytest.fixture
def upstream() -> Iterator[Simulator]:
    models = (
        SimModel(name="slow", words=40, timing=SLOW),
        SimModel(name="late", timing=LATE),
        SimModel(name="prompt"),
    )
    with Simulator(Script(models=models)) as simulator:
        yield simulator


def config(at: Simulator, *, candidate: str = "prompt", **shadow: Any) -> str:
    """Everything is shadowed to one candidate: no judge, and the primary is asked nothing again."""
    whole = {
        "listen": "127.0.0.1:0",
        "admin": {"listen": "127.0.0.1:0"},
        "upstream": {"base_url": at.base_url, "api_key": "key-of-the-gateway"},
        "shadow": {
            "sample_rate": 1,
            "noise_floor_rate": 0,
            "budget_usd_per_day": 1000,
            "candidates": [{"model": candidate}],
            **shadow,
        },
        "evaluators": [{"type": "request-checks", "quality": True}],
        "prices": {"primary": {"input": 1, "output": 2}, candidate: {"input": 1, "output": 2}},
    }
    return json.dumps(whole)


class App:
    """Asks the same questions through the gateway and directly, and compares every byte."""

    def __init__(self, serving: Serve, upstream: Simulator) -> None:
        self._serving = serving
        address = type(serving.listen).parse(f"127.0.0.1:{upstream.port}")
        self._direct = [ask(address, "POST", "/v1/messages", asked) for asked in ASKED]
        self.count = 0

    def ask_all(self) -> None:
        """Every question once; an answer that differs or does not come fails the test."""
        for asked, direct in zip(ASKED, self._direct, strict=True):
            assert ask(self._serving.listen, "POST", "/v1/messages", asked) == direct
            self.count += 1

    def ask_until(self, done: threading.Event) -> None:
        """Keep asking."""
        while not done.wait(0.2):
            self.ask_all()


def rows(folder: Path, sql: str) -> list[tuple[Any, ...]]:
    return rows_of(folder / "shadow.db", sql)


def states(folder: Path) -> dict[str, int]:
    """How many jobs are in which state."""
    return dict(rows(folder, "SELECT state || coalesce(':' || reason, ''), count(*) FROM shadow_job GROUP BY 1"))


def wait_until_all_jobs_ended(folder: Path) -> None:
    open_jobs = "SELECT count(*) FROM shadow_job WHERE state IN ('pending', 'leased', 'sent')"
    eventually(lambda: rows(folder, open_jobs) == [(0,)], within_s=60, what="the end of all jobs")


def stats(serving: Serve) -> dict[str, Any]:
    def look() -> bytes | None:
        try:
            status, body = ask(serving.admin, "GET", "/stats")
        except (ConnectionError, http.client.HTTPException):
            return None
        return body if status == 200 else None

    found: dict[str, Any] = json.loads(eventually(look, within_s=30, what="the stats"))
    return found


def the_books_are_exact(serving: Serve, *, eligible: int) -> dict[str, Any]:
    """The coverage of the only comparison, after checking that it adds up."""
    (task,) = stats(serving)["tasks"]
    (comparison,) = task["comparisons"]
    coverage: dict[str, Any] = comparison["coverage"]
    parts = (coverage["sent"], *coverage["skipped"].values(), *coverage["dropped"].values(), coverage["pending"])
    assert coverage["sampled"] == sum(parts)
    assert coverage["eligible"] == coverage["sampled"] + coverage["not_sampled"]
    assert (coverage["eligible"], coverage["not_sampled"]) == (eligible, 0)
    assert [each["requests"] for each in task["models"] if each["role"] == "primary"] == [eligible]
    return coverage


def test_a_measuring_process_that_is_killed_is_not_felt_and_what_it_held_is_counted(
    tmp_path: Path, upstream: Simulator
) -> None:
    with Serve(tmp_path, config(upstream, candidate="late")) as serving:
        app, done = App(serving, upstream), threading.Event()
        with ThreadPoolExecutor() as pool:
            asking = pool.submit(app.ask_until, done)
            for _ in range(2):
                eventually(lambda: "sent" in states(tmp_path), within_s=20, what="a shadow call under way")
                victim = serving.child("gateway.measuring")
                os.kill(victim, signal.SIGKILL)
                eventually(lambda pid=victim: not is_alive(pid))  # type: ignore[misc]  # a loop variable bound at once
                eventually(lambda: serving.children("gateway.measuring"), within_s=20, what="the next process")
            done.set()
            asking.result(timeout=60)
        eventually(lambda: rows(tmp_path, "SELECT count(*) FROM exchange") == [(app.count,)])
        # Long before its leases run out: its parent knows that it is dead.
        wait_until_all_jobs_ended(tmp_path)
        coverage = the_books_are_exact(serving, eligible=app.count)
        assert serving.stop() == 0
    assert coverage["dropped"]["lost_on_crash"] > 0
    assert coverage["dropped"].keys() == {"lost_on_crash"}
    assert coverage["sent"] == app.count - coverage["dropped"]["lost_on_crash"] > 0


def test_a_measuring_process_that_stands_still_is_not_felt_and_goes_on_where_it_was(
    tmp_path: Path, upstream: Simulator
) -> None:
    with Serve(tmp_path, config(upstream)) as serving:
        app = App(serving, upstream)
        app.ask_all()
        measuring = serving.child("gateway.measuring")
        os.kill(measuring, signal.SIGSTOP)
        try:
            for _ in range(5):
                app.ask_all()
        finally:
            os.kill(measuring, signal.SIGCONT)
        eventually(lambda: rows(tmp_path, "SELECT count(*) FROM exchange") == [(app.count,)], within_s=20)
        wait_until_all_jobs_ended(tmp_path)
        coverage = the_books_are_exact(serving, eligible=app.count)
        assert serving.stop() == 0
    assert (coverage["sent"], coverage["dropped"]) == (app.count, {})


def test_a_store_that_is_locked_is_not_felt_and_loses_nothing(tmp_path: Path, upstream: Simulator) -> None:
    with Serve(tmp_path, config(upstream)) as serving:
        app = App(serving, upstream)
        app.ask_all()
        eventually(lambda: rows(tmp_path, "SELECT count(*) FROM exchange") == [(app.count,)])
        with closing(sqlite3.connect(tmp_path / "shadow.db", isolation_level=None, timeout=30)) as holder:
            holder.execute("BEGIN EXCLUSIVE")
            held_since = time.monotonic()
            while time.monotonic() - held_since < 3:
                app.ask_all()
                time.sleep(0.2)
            assert holder.execute("SELECT count(*) FROM exchange").fetchall() == [(len(ASKED),)]
            holder.execute("ROLLBACK")
        eventually(lambda: rows(tmp_path, "SELECT count(*) FROM exchange") == [(app.count,)], within_s=20)
        wait_until_all_jobs_ended(tmp_path)
        coverage = the_books_are_exact(serving, eligible=app.count)
        assert serving.stop() == 0
    assert (coverage["sent"], coverage["dropped"]) == (app.count, {})


def test_a_candidate_that_hangs_is_not_felt_and_does_not_hold_up_the_end(tmp_path: Path, upstream: Simulator) -> None:
    with Serve(tmp_path, config(upstream, candidate="prompt~hang", max_concurrency=4)) as serving:
        app = App(serving, upstream)
        for _ in range(3):
            app.ask_all()
        eventually(lambda: states(tmp_path) == {"sent": 4, "pending": app.count - 4}, within_s=20)
        coverage = the_books_are_exact(serving, eligible=app.count)
        assert (coverage["sent"], coverage["pending"]) == (4, app.count - 4)
        assert serving.stop() == 0
    assert rows(tmp_path, "SELECT count(*) FROM exchange") == [(app.count,)]
    # Calls that were under way stay as they are, for they may have been paid; the others wait for the next start.
    assert states(tmp_path) == {"sent": 4, "pending": app.count - 4}


def stream(serving: Serve, number: int, begun: threading.Semaphore) -> bytes:
    """A streamed answer to its end; http.client.IncompleteRead when it was broken off."""
    connection = http.client.HTTPConnection(serving.listen.host, serving.listen.port, timeout=60)
    with closing(connection):
        body = json.dumps(question(f"Write about sea {number}.", model="slow", stream=True))
        connection.request("POST", "/v1/messages", body, HEADERS)
        response = connection.getresponse()
        first = response.readline()
        begun.release()
        return first + response.read()


def test_sigterm_under_fifty_streams_cuts_none_and_records_all(tmp_path: Path, upstream: Simulator) -> None:
    with Serve(tmp_path, config(upstream)) as serving, ThreadPoolExecutor(50) as pool:
        begun = threading.Semaphore(0)
        streams = [pool.submit(stream, serving, number, begun) for number in range(50)]
        for _ in streams:
            assert begun.acquire(timeout=30)
        serving.signal(signal.SIGTERM)
        answers = [each.result() for each in streams]
        assert serving.wait() == 0
    assert [answer for answer in answers if not answer.rstrip().endswith(b'{"type":"message_stop"}')] == []
    recorded = rows(tmp_path, "SELECT outcome, count(*), count(DISTINCT conversation) FROM exchange GROUP BY outcome")
    assert recorded == [("ok", 50, 50)]
    assert sum(states(tmp_path).values()) == 50


class Purse:
    """Looks at the day's money as often as it can."""

    def __init__(self, folder: Path) -> None:
        self.seen: list[tuple[int, int]] = []
        self._folder = folder
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._done.is_set():
            self.seen += rows(self._folder, "SELECT spent_nano_usd, reserved_nano_usd FROM budget_day")
            time.sleep(0.002)


def test_spend_never_passes_the_budget_and_who_came_too_late_is_counted(tmp_path: Path, upstream: Simulator) -> None:
    cap_usd = 0.01
    day = datetime.now(UTC).date()
    with Serve(tmp_path, config(upstream, budget_usd_per_day=cap_usd)) as serving:
        eventually(lambda: ask(serving.admin, "GET", "/readyz")[0] == 200)
        with Purse(tmp_path) as purse, ThreadPoolExecutor(10) as pool:
            asked = [question(f"Tell {number} things about the sea.") for number in range(50)]
            statuses = list(pool.map(lambda one: ask(serving.listen, "POST", "/v1/messages", one)[0], asked))
            eventually(lambda: rows(tmp_path, "SELECT count(*) FROM shadow_job") == [(50,)], within_s=20)
            wait_until_all_jobs_ended(tmp_path)
        budget = stats(serving)["budget"]
        coverage = the_books_are_exact(serving, eligible=50)
        assert serving.stop() == 0
    assert statuses == [200] * 50
    assert coverage["skipped"] == {"over_budget": 50 - coverage["sent"]}
    assert 0 < coverage["sent"] < 50
    if datetime.now(UTC).date() == day:  # else the test ran over midnight UTC, and two days have a budget each
        assert max(spent + reserved for spent, reserved in purse.seen) <= cap_usd * 1e9
        assert purse.seen[-1][1] == 0
        assert budget["spent_usd"] == pytest.approx(purse.seen[-1][0] / 1e9)
        assert reached(purse.seen)


def reached(seen: Sequence[tuple[int, int]]) -> bool:
    """Whether money was seen both reserved and spent, so that looking meant something."""
    return any(reserved for _, reserved in seen) and any(spent for spent, _ in seen)
