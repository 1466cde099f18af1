"""The worker over a real store and real sockets: what is asked, what is not and why, and what it may cost."""

from __future__ import annotations

import asyncio
import json
import logging
import sqlite3
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from shadow.candidates import CallLimits, ShadowCopy, bounded
from shadow.records import Batch as StoredBatch
from shadow.records import Dialect, EvaluatorSpec, Price
from shadow.simulator import Script, SimModel, Simulator, Timing
from shadow.worker import Decided, WorkerLimits
from tests.support.ledger import Books, plan
from tests.support.shadowing import (
    ANSWER,
    KEY,
    PRIMARY,
    batch,
    candidate,
    eventually_async,
    question,
    running,
    workshop,
)
from tests.support.upstream import Answer, Upstream
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from shadow.candidates import Asked
    from shadow.records import JobBody, LeasedJob, PairResult
    from tests.support.shadowing import Workshop

SLOW = Script(models=(SimModel(name="slow", timing=Timing(header_delay_ms=300)),))
LATE = datetime(2026, 11, 23, 23, 59, tzinfo=UTC)
"""Late in a day: all but a thousandth of its budget has accrued."""


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with Simulator() as simulator:
        yield simulator


# --- one job ---


async def test_a_sampled_exchange_is_asked_of_each_candidate_scored_and_its_copy_deleted(
    tmp_path: Path, simulator: Simulator
) -> None:
    rivals = [candidate("rival-a", simulator.base_url), candidate("rival-b", simulator.base_url)]
    async with workshop(tmp_path, *rivals) as shop:
        await shop.add(batch(1, "rival-a", "rival-b"))
        async with running(shop.worker()):
            tally = await shop.ended(2)
        answers = await shop.answers()
        pair = await shop.store.reader.pair("exchange-0001:rival-a")
        spent = await shop.spent()

    assert tally == {("rival-a", "done", None): 1, ("rival-b", "done", None): 1}
    assert {row["candidate"] for row in answers} == {"rival-a", "rival-b"}
    assert all(row["outcome"] == "ok" and row["cost_billed_usd"] > 0 for row in answers)
    assert spent["reserved_usd"] == 0
    assert spent["spent_usd"] == pytest.approx(sum(row["cost_billed_usd"] for row in answers), abs=1e-8)
    assert pair is not None
    assert {(score["role"], score["evaluator"]) for score in pair["scores"]} == {
        ("primary", "is-json"),
        ("candidate", "is-json"),
    }
    assert copies_left(tmp_path) == 0


async def test_the_candidate_is_asked_with_its_key_and_the_hop_mark(tmp_path: Path, simulator: Simulator) -> None:
    async with workshop(tmp_path, candidate("rival", simulator.base_url)) as shop:
        await shop.add(batch(1, "rival"))
        async with running(shop.worker()):
            await shop.ended(1)

    (call,) = simulator.log.calls()
    assert call.key == KEY
    assert call.header("x-shadow-hop") == "deployment-1"


async def test_a_pair_whose_copy_was_redacted_says_so(tmp_path: Path, simulator: Simulator) -> None:
    secret = question(prompt="My key is sk-abcdefghijklmnopqrstuvwxyz0123456789ABCD, is it safe?")
    async with workshop(tmp_path, candidate("rival", simulator.base_url, same_origin=False), redact=("key",)) as shop:
        await shop.add(batch(1, "rival", request=secret), batch(2, "rival"))
        async with running(shop.worker()):
            await shop.ended(2)
        changed = {row["exchange_id"]: bool(row["redaction_changed"]) for row in await shop.answers()}

    assert changed == {"exchange-0001": True, "exchange-0002": False}
    assert all(b"sk-abcdef" not in call.body for call in simulator.log.calls())


@pytest.mark.parametrize("fault", ["400", "404", "422"])
async def test_a_request_the_candidate_refuses_is_incompatible_and_the_live_answer_is_scored_all_the_same(
    tmp_path: Path, simulator: Simulator, fault: str
) -> None:
    async with workshop(tmp_path, candidate(f"rival~{fault}", simulator.base_url)) as shop:
        await shop.add(batch(1, f"rival~{fault}"))
        async with running(shop.worker()):
            tally = await shop.ended(1)
        (answer,) = await shop.answers()
        pair = await shop.store.reader.pair(f"exchange-0001:rival~{fault}")

    assert tally == {(f"rival~{fault}", "done", None): 1}
    assert answer["outcome"] == "incompatible"
    assert pair is not None
    assert [(score["role"], score["value"]) for score in pair["scores"]] == [("primary", 1.0)]


async def test_a_candidate_that_turns_every_copy_away_is_told_once_with_what_to_look_at(
    tmp_path: Path, simulator: Simulator, caplog: pytest.LogCaptureFixture
) -> None:
    async with workshop(tmp_path, candidate("rival~404", simulator.base_url)) as shop:
        for number in (1, 2):
            await shop.add(batch(number, "rival~404"))
        async with running(shop.worker()):
            await shop.ended(2)

    (told,) = (record.getMessage() for record in caplog.records if "answered 404" in record.getMessage())
    assert told.startswith(f"rival~404 at {simulator.base_url} answered 404: ")
    assert "base_url" in told


async def test_an_only_candidate_that_refuses_everything_loses_every_comparison(
    tmp_path: Path, simulator: Simulator
) -> None:
    async with workshop(tmp_path, candidate("rival~400", simulator.base_url)) as shop:
        await shop.add(batch(1, "rival~400"), batch(2, "rival~400"))
        async with running(shop.worker()):
            await shop.ended(2)
        (task,) = (await shop.stats())["tasks"]

    (comparison,) = task["comparisons"]
    assert (comparison["scored"], comparison["left_out"]) == (2, {})
    assert (comparison["quality_diff"]["mean"], comparison["loss_rate"]) == (-1.0, 1.0)


async def test_failures_on_free_text_say_nothing_about_quality(tmp_path: Path, simulator: Simulator) -> None:
    """An evaluator that does not apply to the question must not turn a failed answer into quality 0."""
    async with workshop(tmp_path, candidate("rival~500", simulator.base_url), evaluators=None) as shop:
        await shop.add(batch(1, "rival~500"), batch(2, "rival~500"))
        async with running(shop.worker()):
            await shop.ended(2)
        (task,) = (await shop.stats())["tasks"]

    rival = task["models"][-1]
    assert rival["outcomes"] == {"error_http": 2}
    assert rival["cost_per_quality_point_usd"]["n"] == 0
    assert rival["cost_per_quality_point_usd"]["reason"] == "n/a: no answer is scored yet"


# --- what is not asked ---


@pytest.mark.parametrize(
    ("given", "about", "priced", "ending"),
    [
        ({}, {"model": "rival"}, None, ("skipped", "same_model")),
        ({"api_key": None}, {}, None, ("skipped", "no_credentials")),
        ({"dialects": (Dialect.OPENAI_CHAT,)}, {}, None, ("skipped", "dialect")),
        ({}, {"request": b"{"}, None, ("skipped", "unreadable")),
        ({}, {}, (), ("skipped", "price_unknown")),
        ({"model": "another"}, {"age": timedelta(minutes=1)}, None, ("skipped", "not_configured")),
        ({}, {"request": question(max_tokens=500_000_000)}, None, ("skipped", "over_budget")),
        ({}, {"age": timedelta(hours=1)}, None, ("dropped", "too_old")),
    ],
)
async def test_what_is_not_asked_is_counted_by_its_reason(
    tmp_path: Path,
    simulator: Simulator,
    *,
    given: dict[str, Any],
    about: dict[str, Any],
    ending: tuple[str, str],
    priced: tuple[str, ...] | None,
) -> None:
    asked = candidate(**({"model": "rival", "base_url": simulator.base_url} | given))
    given_at = {"at": datetime.now(UTC) - about["age"]} if "age" in about else about
    async with workshop(tmp_path, asked, priced=priced) as shop:
        await shop.add(batch(1, "rival", **given_at))
        async with running(shop.worker()):
            tally = await shop.ended(1)

    assert tally == {("rival", *ending): 1}
    assert simulator.log.calls() == []
    assert copies_left(tmp_path) == 0


async def test_a_candidate_the_live_process_knows_first_is_waited_for(tmp_path: Path, simulator: Simulator) -> None:
    """At a reload each process takes over the new settings in its own time."""
    known, new = (candidate(name, simulator.base_url) for name in ("known", "new"))
    async with workshop(tmp_path, known, priced=("known", "new")) as shop:
        await shop.add(batch(1, "new"), batch(2, "known"))
        async with running(shop.worker()):
            assert await shop.ended(1) == {("known", "done", None): 1, ("new", "pending", None): 1}
        shop.candidates = [known, new]
        async with running(shop.worker("after the reload")):
            assert await shop.ended(2) == {("known", "done", None): 1, ("new", "done", None): 1}


async def test_what_was_leased_when_the_stop_came_goes_back(tmp_path: Path, simulator: Simulator) -> None:
    async with workshop(tmp_path, candidate("rival", simulator.base_url)) as shop:
        await shop.add(batch(1, "rival"))
        worker = shop.worker()
        lease = shop.store.jobs.lease

        async def late(**given: Any) -> Any:
            found = await lease(**given)
            worker.stop()
            return found

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(shop.store.jobs, "lease", late)
            await worker.run()
        assert await shop.tally() == {("rival", "pending", None): 1}
    assert simulator.log.calls() == []


async def test_a_job_whose_copy_is_gone_is_dropped(tmp_path: Path, simulator: Simulator) -> None:
    async with workshop(tmp_path, candidate("rival", simulator.base_url)) as shop:
        whole = batch(1, "rival")
        await shop.add(StoredBatch(exchanges=whole.exchanges, jobs=whole.jobs))
        async with running(shop.worker()):
            tally = await shop.ended(1)

    assert tally == {("rival", "dropped", "too_old"): 1}


# --- when it is not asked ---


async def test_after_a_limit_the_origin_rests_and_its_jobs_wait(tmp_path: Path, simulator: Simulator) -> None:
    limited = candidate("rival~429; retry-after=100", simulator.base_url)
    one_by_one = WorkerLimits(budget_usd_per_day=1000, max_concurrency=1)
    async with workshop(tmp_path, limited, limits=one_by_one) as shop:
        await shop.add(*(batch(n, limited.model) for n in range(5)))
        async with running(shop.worker()):
            await shop.ended(1)
            rests = await shop.store.jobs.origin_rests(now=shop.now())
            await asyncio.sleep(0.5)
            tally = await shop.tally()

    assert len(simulator.log.calls()) == 1
    assert tally == {(limited.model, "done", None): 1, (limited.model, "pending", None): 4}
    (until,) = rests.values()
    assert timedelta(seconds=90) < until - shop.now() <= timedelta(seconds=100)


async def test_a_live_limit_lets_shadow_calls_to_that_origin_wait_and_no_other(tmp_path: Path) -> None:
    with Simulator() as limited, Simulator() as free:
        rivals = [candidate("limited", limited.base_url), candidate("free", free.base_url)]
        async with workshop(tmp_path, *rivals) as shop:
            until = shop.now() + timedelta(seconds=1)
            await shop.add(StoredBatch(origin_rests={limited.base_url: until}), batch(1, "limited", "free"))
            async with running(shop.worker()):
                await shop.ended(1)
                assert (len(limited.log.calls()), len(free.log.calls())) == (0, 1)
                await shop.ended(2)
                assert shop.now() >= until


async def test_a_failing_candidate_is_left_alone_after_five_failures(tmp_path: Path, simulator: Simulator) -> None:
    rivals = [candidate("rival~500", simulator.base_url), candidate("healthy", simulator.base_url)]
    one_by_one = WorkerLimits(budget_usd_per_day=1000, max_concurrency=2)
    async with workshop(tmp_path, *rivals, limits=one_by_one) as shop:
        await shop.add(*(batch(n, "rival~500", "healthy") for n in range(12)))
        async with running(shop.worker()):
            tally = await shop.ended(17)
            await asyncio.sleep(0.3)

    assert tally["healthy", "done", None] == 12
    assert len(simulator.log.calls(model="rival~500")) == 5
    assert tally["rival~500", "done", None] == 5
    assert tally["rival~500", "pending", None] == 7


async def test_a_hanging_candidate_ends_in_time_and_holds_up_no_other(tmp_path: Path, simulator: Simulator) -> None:
    rivals = [candidate("rival~hang", simulator.base_url), candidate("healthy", simulator.base_url)]
    bounds = WorkerLimits(budget_usd_per_day=1000, max_concurrency=4)
    call = CallLimits(first_byte_timeout_s=0.5)
    async with workshop(tmp_path, *rivals, limits=bounds, call=call) as shop:
        await shop.add(*(batch(n, "rival~hang", "healthy") for n in range(4)))
        async with running(shop.worker()):
            await shop.ended(8)
        outcomes = {(row["candidate"], row["outcome"]) for row in await shop.answers()}

    assert outcomes == {("rival~hang", "timeout"), ("healthy", "ok")}
    slowest_healthy = max(call.ended_at or 0 for call in simulator.log.calls(model="healthy"))
    first_hanging = min(call.ended_at or 0 for call in simulator.log.calls(model="rival~hang"))
    assert slowest_healthy < first_hanging + 0.5


async def test_no_candidate_has_more_calls_under_way_than_its_share(tmp_path: Path) -> None:
    with Simulator(SLOW) as simulator:
        rivals = [candidate("slow", simulator.base_url), candidate("other", simulator.base_url)]
        bounds = WorkerLimits(budget_usd_per_day=1000, max_concurrency=4)
        async with workshop(tmp_path, *rivals, limits=bounds) as shop:
            await shop.add(*(batch(n, "slow") for n in range(8)))
            async with running(shop.worker()):
                await shop.ended(8)
        calls = simulator.log.calls(model="slow")

    overlaps = [sum(c.arrived_at <= t < (c.ended_at or 0) for c in calls) for t in (c.arrived_at for c in calls)]
    assert max(overlaps) == 2


# --- money ---


async def test_a_candidate_that_costs_more_than_its_limit_allows_is_reserved_more_from_then_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    usage = b'"usage": {"input_tokens": 12, "output_tokens": 100000}'
    runaway = ANSWER.replace(b'"usage": {"input_tokens": 12, "output_tokens": 6}', usage)
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(runaway)
    with Upstream() as upstream:
        upstream.answer(Answer(parts=(head + runaway,)))
        rival = candidate("rival", upstream.base_url)
        limits = WorkerLimits(budget_usd_per_day=0.7, max_concurrency=1)
        async with workshop(tmp_path, rival, limits=limits, now=lambda: LATE) as shop:
            await shop.add(*(batch(n, "rival", at=LATE) for n in range(2)))
            async with running(shop.worker()):
                tally = await shop.ended(2)
            spent = await shop.spent()
        asked = len(upstream.requests)

    assert runaway != ANSWER
    assert tally == {("rival", "done", None): 1, ("rival", "skipped", "over_budget"): 1}
    assert asked == 1
    assert 0.5 < spent["spent_usd"] < 0.7
    assert "does not keep to the output limit" in caplog.text


async def test_dear_answers_that_were_under_way_together_tell_the_same_and_not_the_product(tmp_path: Path) -> None:
    usage = b'"usage": {"input_tokens": 12, "output_tokens": 100000}'
    runaway = ANSWER.replace(b'"usage": {"input_tokens": 12, "output_tokens": 6}', usage)
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(runaway)
    with Upstream() as upstream:
        gate = upstream.gate()
        upstream.answer(Answer(parts=(gate, head + runaway)))
        limits = WorkerLimits(budget_usd_per_day=2.0, max_concurrency=2)
        async with workshop(tmp_path, candidate("rival", upstream.base_url), limits=limits, now=lambda: LATE) as shop:
            await shop.add(*(batch(n, "rival", at=LATE) for n in range(2)))
            async with running(shop.worker()):
                await asyncio.to_thread(eventually, lambda: upstream.has_seen(1), what="two questions")
                gate.open()
                await shop.ended(2)
                await shop.add(batch(2, "rival", at=LATE))
                tally = await shop.ended(3)

    assert tally == {("rival", "done", None): 3}, "half a dollar each, and the third has room for that"


async def test_a_burst_of_fifty_conversations_never_passes_the_cap(tmp_path: Path, simulator: Simulator) -> None:
    rivals = [candidate("rival-a", simulator.base_url), candidate("rival-b", simulator.base_url)]
    prices = Price(input=100.0, output=500.0)
    async with workshop(tmp_path, *rivals, price=prices, now=lambda: LATE) as shop:
        asked = question(max_tokens=64)
        copy = ShadowCopy(url="", headers=(), content=asked)
        _, worst = bounded(rivals[0], copy, Dialect.ANTHROPIC_MESSAGES, prices=shop.prices)
        cap = 4.5 * worst
        shop.limits = WorkerLimits(budget_usd_per_day=cap, max_concurrency=16)
        await shop.add(*(batch(n, "rival-a", "rival-b", request=asked, at=LATE) for n in range(50)))
        seen: list[float] = []
        async with running(shop.worker("one"), shop.worker("two")):
            while sum((await shop.tally()).values()) == 100:
                spent = await shop.spent()
                seen.append(spent["spent_usd"] + spent["reserved_usd"])
                tally = await shop.tally()
                if all(state in {"done", "skipped"} for _, state, _ in tally):
                    break
                await asyncio.sleep(0.005)
        final = await shop.spent()
        calls = simulator.log.calls()

    assert sum(tally.values()) == 100, "every job is counted, at every moment"
    assert {(state, reason) for _, state, reason in tally} == {("done", None), ("skipped", "over_budget")}
    assert max(seen) <= cap
    assert final["spent_usd"] <= cap
    assert final["reserved_usd"] == 0
    assert len(calls) == sum(n for (_, state, _), n in tally.items() if state == "done")
    assert len(calls) >= 4


async def test_one_request_dearer_than_a_whole_day_does_not_end_the_day(
    tmp_path: Path, simulator: Simulator, caplog: pytest.LogCaptureFixture
) -> None:
    bounds = WorkerLimits(budget_usd_per_day=5.0)
    async with workshop(tmp_path, candidate("rival", simulator.base_url), limits=bounds) as shop:
        await shop.add(*(batch(n, "rival", request=question(max_tokens=2_000_000)) for n in (1, 2)))
        async with running(shop.worker()):
            await shop.ended(2)
            await shop.add(batch(3, "rival"))
            tally = await shop.ended(3)
        spent = await shop.spent()

    assert tally == {("rival", "skipped", "over_budget"): 2, ("rival", "done", None): 1}
    assert not spent["closed"]
    (told,) = (record.message for record in caplog.records if "budget_usd_per_day" in record.message)
    assert told.startswith("a request to rival may cost up to $10.0")


async def test_an_answer_of_unknown_cost_keeps_its_reserve_spent(tmp_path: Path, simulator: Simulator) -> None:
    async with workshop(tmp_path, candidate("rival~cut; after=2", simulator.base_url)) as shop:
        await shop.add(batch(1, "rival~cut; after=2", request=question(stream=True)))
        async with running(shop.worker()):
            await shop.ended(1)
        (answer,) = await shop.answers()
        spent = await shop.spent()

    assert answer["outcome"] == "error_stream"
    assert answer["cost_billed_usd"] is None
    assert spent["reserved_usd"] == 0
    assert spent["spent_usd"] > 64 * 5 / 1e6


# --- several workers, crashes, ends ---


async def test_two_workers_on_one_store_ask_each_question_once(tmp_path: Path, simulator: Simulator) -> None:
    async with workshop(tmp_path, candidate("rival", simulator.base_url)) as shop:
        await shop.add(*(batch(n, "rival") for n in range(40)))
        async with running(shop.worker("one"), shop.worker("two")):
            tally = await shop.ended(40)
        answers = await shop.answers()

    assert tally == {("rival", "done", None): 40}
    assert len(simulator.log.calls()) == 40
    assert len({row["exchange_id"] for row in answers}) == 40


async def test_a_call_lost_in_a_crash_is_counted_and_never_paid_twice(tmp_path: Path, simulator: Simulator) -> None:
    bounds = WorkerLimits(budget_usd_per_day=1000, lease_s=0.5)
    async with workshop(tmp_path, candidate("rival~hang", simulator.base_url), limits=bounds) as shop:
        await shop.add(batch(1, "rival~hang"))
        crashed = asyncio.create_task(shop.worker("crashing").run())
        await eventually_async(lambda: asyncio.sleep(0, simulator.log.calls()), what="the call")
        crashed.cancel()
        await asyncio.gather(crashed, return_exceptions=True)
        assert await shop.tally() == {("rival~hang", "sent", None): 1}

        async with running(shop.worker("next")):
            await eventually_async(lambda: lost(shop), what="a lost job")
            tally = await shop.tally()
            await asyncio.sleep(0.3)
        spent = await shop.spent()

    assert tally == {("rival~hang", "dropped", "lost_on_crash"): 1}
    assert len(simulator.log.calls()) == 1
    assert spent["spent_usd"] > 0, "it may have been billed"
    assert spent["reserved_usd"] == 0
    assert copies_left(tmp_path) == 0


async def test_a_long_call_of_a_live_worker_is_not_taken_for_a_crash(tmp_path: Path) -> None:
    patient = Script(models=(SimModel(name="slow", timing=Timing(header_delay_ms=1200)),))
    bounds = WorkerLimits(budget_usd_per_day=1000, lease_s=0.5)
    with Simulator(patient) as simulator:
        async with workshop(tmp_path, candidate("slow", simulator.base_url), limits=bounds) as shop:
            await shop.add(batch(1, "slow"))
            tidying = asyncio.create_task(shop.upkeep().run())
            async with running(shop.worker()):
                tally = await shop.ended(1)
            tidying.cancel()
            await asyncio.gather(tidying, return_exceptions=True)

    assert tally == {("slow", "done", None): 1}


async def test_stop_lets_calls_under_way_end_and_begins_no_other(tmp_path: Path) -> None:
    with Simulator(SLOW) as simulator:
        bounds = WorkerLimits(budget_usd_per_day=1000, max_concurrency=2)
        async with workshop(tmp_path, candidate("slow", simulator.base_url), limits=bounds) as shop:
            await shop.add(*(batch(n, "slow") for n in range(6)))
            async with running(shop.worker()):
                await eventually_async(lambda: asyncio.sleep(0, len(simulator.log.calls()) == 2), what="two calls")
            tally = await shop.tally()

    assert tally == {("slow", "done", None): 2, ("slow", "pending", None): 4}


async def test_stop_waits_only_so_long_for_a_hanging_call(tmp_path: Path, simulator: Simulator) -> None:
    bounds = WorkerLimits(budget_usd_per_day=1000, drain_s=0.2)
    async with workshop(tmp_path, candidate("rival~hang", simulator.base_url), limits=bounds) as shop:
        await shop.add(batch(1, "rival~hang"))
        async with running(shop.worker()):
            await eventually_async(lambda: asyncio.sleep(0, simulator.log.calls()), what="the call")
            stopped_at = time.monotonic()
        took_s = time.monotonic() - stopped_at
        tally = await shop.tally()

    assert took_s < 5
    assert tally == {("rival~hang", "sent", None): 1}


async def test_told_to_abandon_it_breaks_off_at_once(tmp_path: Path, simulator: Simulator) -> None:
    async with workshop(tmp_path, candidate("rival~hang", simulator.base_url)) as shop:
        await shop.add(batch(1, "rival~hang"))
        worker = shop.worker()
        async with running(worker):
            await eventually_async(lambda: asyncio.sleep(0, simulator.log.calls()), what="the call")
            worker.abandon()
        tally = await shop.tally()

    assert tally == {("rival~hang", "sent", None): 1}


async def test_a_fault_of_ours_costs_one_job_is_told_once_and_quotes_nothing(
    tmp_path: Path, simulator: Simulator, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with workshop(tmp_path, candidate("rival", simulator.base_url)) as shop:
        real = shop.comparer

        class Stumbling:
            def scoring_worst_case_usd(self, leased: LeasedJob, body: JobBody) -> float:
                return real.scoring_worst_case_usd(leased, body)

            async def pair(
                self, leased: LeasedJob, body: JobBody, asked: Asked, *, redaction_changed: bool
            ) -> PairResult:
                if leased.job.exchange_id == "exchange-0003":
                    raise RuntimeError(f"cannot read {body.request!r}")
                return await real.pair(leased, body, asked, redaction_changed=redaction_changed)

        shop.comparer = Stumbling()  # type: ignore[assignment]  # an object of the same shape
        await shop.add(*(batch(n, "rival", request=question(prompt="tell nobody")) for n in range(6)))
        worker = shop.worker()
        async with running(worker):
            tally = await shop.ended(6)
        spent = await shop.spent()

    assert tally == {("rival", "done", None): 5, ("rival", "dropped", "worker_error"): 1}
    assert worker.errors == {"RuntimeError": 1}
    (told,) = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert told.startswith("a shadow job failed: RuntimeError at test_worker.py:")
    assert "tell nobody" not in caplog.text
    assert KEY not in caplog.text
    assert spent["reserved_usd"] == 0


async def test_a_paid_answer_waits_for_a_store_that_is_busy(tmp_path: Path) -> None:
    with Simulator(SLOW) as simulator:
        async with workshop(tmp_path, candidate("slow", simulator.base_url)) as shop:
            await shop.add(batch(1, "slow"))
            async with running(shop.worker()):
                await eventually_async(lambda: asyncio.sleep(0, simulator.log.calls()), what="the call")
                release = lock(tmp_path)
                await asyncio.sleep(0.6)
                release.set()
                tally = await shop.ended(1)

    assert tally == {("slow", "done", None): 1}


# --- what is kept ---


@pytest.mark.parametrize(
    ("mode", "prompt"),
    [("none", None), ("redacted", "[email]"), ("full", "ann@example.com")],
)
async def test_content_is_kept_as_configured_and_never_with_a_key(
    tmp_path: Path, simulator: Simulator, mode: Any, prompt: str | None
) -> None:
    asked = question(prompt=f"Write to ann@example.com that the key is {KEY}.")
    async with workshop(tmp_path, candidate("rival", simulator.base_url), content=mode, redact=("email",)) as shop:
        await shop.add(batch(1, "rival", request=asked))
        async with running(shop.worker()):
            await shop.ended(1)
        pair = await shop.store.reader.pair("exchange-0001:rival")

    assert pair is not None
    kept = json.dumps(pair, default=str)
    assert KEY not in kept
    if prompt is None:
        assert "Write to" not in kept
    else:
        assert "Write to" in kept
        assert ("ann@example.com" in kept) is (mode == "full")


@pytest.mark.parametrize("mode", ["none", "redacted"])
async def test_what_a_provider_says_of_a_refused_request_is_kept_like_content(
    tmp_path: Path, simulator: Simulator, mode: Any
) -> None:
    async with workshop(tmp_path, candidate("rival~400", simulator.base_url), content=mode) as shop:
        await shop.add(batch(1, "rival~400"))
        async with running(shop.worker()):
            await shop.ended(1)
        (answer,) = await shop.answers()

    assert (answer["error"] == "what the provider said is not kept (content: none)") is (mode == "none")


async def test_scores_come_from_the_evaluators_of_the_task(tmp_path: Path, simulator: Simulator) -> None:
    specs = (EvaluatorSpec(type="icontains", options={"value": "answer"}, quality=True),)
    async with workshop(tmp_path, candidate("rival", simulator.base_url), evaluators=specs) as shop:
        await shop.add(batch(1, "rival", task="no-set-of-its-own"))
        async with running(shop.worker()):
            await shop.ended(1)
        pair = await shop.store.reader.pair("exchange-0001:rival")

    assert pair is not None
    assert {score["evaluator"] for score in pair["scores"]} == {"icontains"}
    assert [score["value"] for score in pair["scores"] if score["role"] == "primary"] == [1.0]


# --- upkeep ---


async def test_a_queue_that_is_too_long_drops_its_oldest(tmp_path: Path, simulator: Simulator) -> None:
    async with workshop(tmp_path, candidate("rival", simulator.base_url)) as shop:
        now = shop.now()
        await shop.add(*(batch(n, "rival", at=now + timedelta(milliseconds=n)) for n in range(10)))
        done = await shop.upkeep(queue_size=4).tidy()
        tally = await shop.tally()
        oldest = await shop.store.reader.exchange("exchange-0000")

    assert done["queue_full"] == 6
    assert tally == {("rival", "dropped", "queue_full"): 6, ("rival", "pending", None): 4}
    assert oldest is not None
    assert copies_left(tmp_path) == 4


async def test_exchanges_get_their_price_and_old_ones_go(tmp_path: Path) -> None:
    async with workshop(tmp_path) as shop:
        await shop.add(batch(1), batch(2, at=shop.now() - timedelta(days=40)))
        upkeep = shop.upkeep()
        priced = await upkeep.price()
        pruned = await upkeep.prune()
        kept = await shop.store.reader.exchanges(since=shop.now() - timedelta(days=90), until=shop.now())

    assert (priced, pruned) == (2, 1)
    assert [row["id"] for row in kept] == ["exchange-0001"]
    assert kept[0]["cost_billed_usd"] == pytest.approx((12 * 1 + 6 * 5) / 1e6)


async def lost(shop: Workshop) -> int:
    return (await shop.upkeep().tidy())["lost_on_crash"]


async def test_many_old_exchanges_go_in_small_chunks(tmp_path: Path) -> None:
    async with workshop(tmp_path) as shop:
        old = [batch(n, at=shop.now() - timedelta(days=40)).exchanges[0] for n in range(501)]
        await shop.add(StoredBatch(exchanges=old))
        pruned = await shop.upkeep().prune()

    assert pruned == 501


def copies_left(folder: Path) -> int:
    with sqlite3.connect(folder / "shadow.db") as connection:
        (count,) = connection.execute("SELECT count(*) FROM job_body").fetchone()
    connection.close()
    return int(count)


def lock(folder: Path) -> threading.Event:
    """Hold the store's write lock from another connection until the event is set."""
    release, held = threading.Event(), threading.Event()

    def hold() -> None:
        connection = sqlite3.connect(folder / "shadow.db", isolation_level=None)
        connection.execute("BEGIN IMMEDIATE")
        held.set()
        release.wait(10)
        connection.execute("ROLLBACK")
        connection.close()

    threading.Thread(target=hold, daemon=True).start()
    assert held.wait(5)
    return release


async def test_a_decided_candidate_is_not_asked_and_its_money_is_there_for_the_others(
    tmp_path: Path, simulator: Simulator
) -> None:
    rivals = [candidate(name, simulator.base_url) for name in ("bad", "other")]
    async with workshop(tmp_path, *rivals) as shop:
        books = Books(store=shop.store, now=datetime.now(UTC) - timedelta(minutes=5))
        keeper = books.bookkeeper(plan("bad", "other"))
        for number in range(60):
            await books.turn(f"c{number}", candidates=["bad"], model=PRIMARY)
            await books.answer(candidate=0.0)
            books.later(1)
        books.later(61)
        await keeper.catch_up()
        spent = (await shop.spent())["spent_usd"]
        worker = shop.worker()
        worker._decided = Decided(shop.store.ledger)
        await shop.add(*(batch(5000 + number, "bad", "other") for number in range(3)))
        async with running(worker):
            tally = await shop.ended(66)
        money = await shop.spent()

    assert tally == {("bad", "done", None): 60, ("bad", "skipped", "decided"): 3, ("other", "done", None): 3}
    assert {call.model for call in simulator.log.calls()} == {"other"}
    assert money["spent_usd"] > spent, "the other one went on"
