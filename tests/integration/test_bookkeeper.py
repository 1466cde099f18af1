"""The ledger over a real SQLite file: what enters, when, and once; epochs, stops, restarts, a recomputation."""

from __future__ import annotations

import asyncio
import json
import random
import sqlite3
from contextlib import closing
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from shadow.ledger import Facts
from shadow.ledger.figures import current_views, verdict_figures
from shadow.records import Outcome, RequestFacts
from shadow.sampling import conversation_hash, conversation_key
from shadow.store import open_store
from shadow.store.base import MovedError
from shadow.switch import SwitchAdvisor
from shadow.verdict import Rules
from tests.support.ledger import START, Books, judging, plan

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from shadow.bookkeeper import Bookkeeper


@pytest.fixture
async def books(tmp_path: Path) -> AsyncIterator[Books]:
    async with await open_store(f"sqlite:///{tmp_path / 'shadow.db'}") as store:
        yield Books(store=store)


async def quality(books: Books) -> dict[float, int]:
    return dict((await books.states())["rival"].quality.good)


# ---- what enters


async def test_a_conversation_enters_once_with_the_mean_of_its_turns(books: Books) -> None:
    keeper = books.bookkeeper()
    for value in (1.0, 0.0):
        await books.turn("c1")
        await books.answer(candidate=value)
        books.later(10)
    await keeper.catch_up()
    assert await quality(books) == {}, "it is still open"

    books.later(61)
    await keeper.catch_up()
    await keeper.catch_up()
    view = await books.view()
    assert (view["entered"], await quality(books)) == (1, {-0.5: 1})
    assert (view["number"], view["started_at"], view["because"]) == (1, START, "first traffic")


async def test_a_turn_after_the_pause_is_shown_and_not_counted(books: Books) -> None:
    keeper = books.bookkeeper()
    await books.turn("c1")
    await books.answer(candidate=0.0)
    books.later(61)
    await keeper.catch_up()
    await books.turn("c1")
    await books.answer(candidate=1.0)
    books.later(61)
    await keeper.catch_up()
    assert await quality(books) == {-1.0: 1}
    assert (await books.view())["entered"] == 1


async def test_the_last_turn_closes_a_conversation_and_later_ones_are_not_counted(books: Books) -> None:
    keeper = books.bookkeeper()
    for number in range(7):
        await books.turn("c1")
        await books.answer(candidate=1.0 if number < 5 else 0.0)
        books.later(1)
    books.later(60)
    await keeper.catch_up()
    assert await quality(books) == {0.0: 1}
    assert (await books.states())["rival"].turns == 5


async def test_nobody_overtakes_a_conversation_that_began_earlier(books: Books) -> None:
    keeper = books.bookkeeper()
    await books.turn("slow")
    await books.answer(candidate=0.0)
    for number in range(4):
        books.later(50)
        if number < 3:
            await books.turn("slow")
        await books.turn(f"quick{number}")
        await books.answer(candidate=1.0)
        await keeper.catch_up()
    assert await quality(books) == {}, "what closed before it waits"
    assert (await books.view())["waiting"] == {"open": 3, "settled": 2}

    books.later(61)
    await keeper.catch_up()
    assert await quality(books) == {-0.25: 1, 0.0: 4}


async def test_an_answer_that_is_still_to_come_holds_up_those_behind_it(books: Books) -> None:
    keeper = books.bookkeeper()
    await books.turn("first")
    (job,) = await books.store.jobs.lease(worker="slow", limit=1, lease_s=900, now=books.now)
    books.later(1)
    await books.turn("second")
    await books.answer()
    books.later(120)
    await keeper.catch_up()
    assert (await books.view())["entered"] == 0
    waits_for = json.loads((await books.view())["verdict"])["waiting"]
    assert waits_for.startswith("an answer or a score of the conversation of 2026-11-23 12:00 is still to come")

    await books.finish(job, candidate=0.0)
    await keeper.catch_up()
    assert await quality(books) == {-1.0: 1, 0.0: 1}


async def test_an_answer_that_never_comes_is_declared_missing_in_the_end(books: Books) -> None:
    keeper = books.bookkeeper()
    await books.turn("first")
    await books.store.jobs.lease(worker="gone", limit=1, lease_s=10_000, now=books.now)
    books.later(1)
    await books.turn("second")
    await books.answer()
    books.later(120)
    await keeper.catch_up()
    assert (await books.view())["entered"] == 0
    books.later(600 + 120)
    await keeper.catch_up()
    state = (await books.states())["rival"]
    assert (dict(state.quality.good), state.missing, state.unscored) == ({0.0: 1}, 1.0, 1)


async def test_a_record_that_comes_after_a_later_one_entered_is_shown_and_never_counted(books: Books) -> None:
    keeper = books.bookkeeper()
    books.later(5)
    await books.turn("prompt")
    await books.answer()
    books.later(61)
    await keeper.catch_up()
    await books.turn("late", at=START)
    await books.answer(candidate=0.0)
    books.later(61)
    await keeper.catch_up()
    state = (await books.states())["rival"]
    assert (dict(state.quality.good), state.late) == ({0.0: 1}, 1)


async def test_nothing_enters_while_the_judge_has_no_money_and_all_of_it_does_after(books: Books) -> None:
    broke, paid = (books.bookkeeper(facts=Facts(prices="p1", judge_has_money=money)) for money in (False, True))
    await books.conversations(3)
    await broke.catch_up()
    assert (await books.view())["entered"] == 0
    assert "the judge has no money" in json.loads((await books.view())["verdict"])["waiting"]
    await paid.catch_up()
    assert (await books.view())["entered"] == 3


async def test_opted_in_and_redacted_pairs_never_enter(books: Books) -> None:
    keeper = books.bookkeeper()
    await books.turn("asked for", counted=False)
    await books.answer(candidate=0.0)
    books.later(1)
    await books.turn("redacted")
    await books.answer(candidate=0.0, redaction_changed=True)
    books.later(1)
    await books.turn("plain")
    await books.answer()
    books.later(61)
    await keeper.catch_up()
    state = (await books.states())["rival"]
    assert (dict(state.quality.good), dict(state.left_out)) == ({0.0: 1}, {"redaction_changed": 1})


async def test_what_the_candidate_cannot_take_counts_as_quality_0_and_its_failures_apart(books: Books) -> None:
    keeper = books.bookkeeper()
    for number, outcome in enumerate((Outcome.INCOMPATIBLE, Outcome.TIMEOUT, Outcome.OK)):
        await books.turn(f"c{number}")
        await books.answer(outcome=outcome)
        books.later(1)
    await books.turn("primary failed", outcome=Outcome.ERROR_HTTP, job={"state": "skipped", "reason": "primary_error"})
    books.later(61)
    await keeper.catch_up()
    state = (await books.states())["rival"]
    assert dict(state.quality.good) == {-1.0: 1, 0.0: 1}
    assert dict(state.failures.candidate) == {0.0: 2, 1.0: 1}
    assert dict(state.failures.primary) == {0.0: 3, 1.0: 1}
    assert (state.missing, (await books.view())["entered"]) == (0.0, 3)


async def test_a_failed_score_is_missing_by_its_share_of_the_conversation(books: Books) -> None:
    keeper = books.bookkeeper()
    for value in (1.0, None, None, 0.0):
        await books.turn("c1")
        await books.answer(candidate=value)
        books.later(1)
    await books.turn("c2")
    await books.answer(candidate=None)
    books.later(1)
    await books.turn("c3")
    await books.answer(candidate=None, primary=None, status="not_applicable")
    books.later(61)
    await keeper.catch_up()
    state = (await books.states())["rival"]
    assert (dict(state.quality.good), state.missing, state.unscored) == ({-0.5: 1}, 1.5, 1)
    assert dict(state.left_out) == {"not_applicable": 1}


async def test_our_own_drops_and_limits_say_nothing_about_the_candidate(books: Books) -> None:
    keeper = books.bookkeeper()
    await books.turn("c1", job={"state": "skipped", "reason": "over_budget"})
    books.later(1)
    await books.turn("c2", job={"state": "dropped", "reason": "tee_full"})
    books.later(1)
    await books.turn("c3")
    await books.answer()
    books.later(61)
    await keeper.catch_up()
    state = (await books.states())["rival"]
    assert (dict(state.quality.good), state.missing) == ({0.0: 1}, 0.0)
    assert dict(state.left_out) == {"over_budget": 1, "tee_full": 1}


async def test_guards_and_the_time_limit_are_differences_of_their_own(books: Books) -> None:
    guarded = judging(
        versions={"is-json": "1", "short": "1", "unknown": "1"}, guards={"short": 0.05, "unknown": 0.05}, slo_ms=100.0
    )
    keeper = books.bookkeeper(plan(judging={"default": guarded}))
    for number, latency_ms in enumerate((80.0, 500.0)):
        await books.turn(f"c{number}", latency_ms=50.0)
        await books.answer(others={"short": (1.0, 0.25)}, latency_ms=latency_ms)
        books.later(1)
    books.later(61)
    await keeper.catch_up()
    guards = (await books.states())["rival"].guards
    assert {name: dict(found.good) for name, found in guards.items()} == {
        "latency SLO": {0.0: 1, -1.0: 1},
        "short": {-0.75: 2},
    }
    names = [proof["name"] for proof in json.loads((await books.view())["verdict"])["proofs"]]
    assert [name for name in names if name.startswith("guard:")] == [
        "guard:short", "guard:unknown", "guard:latency SLO"
    ]  # fmt: skip


async def test_with_key_request_each_exchange_is_a_conversation_that_enters_by_itself(books: Books) -> None:
    keeper = books.bookkeeper()
    headers, facts = {"x-shadow-conversation": "c1"}, RequestFacts(model="m", conversation="session:s1")
    for number, value in enumerate((1.0, 0.0, 1.0, 0.0)):
        raw = conversation_key(facts, headers, mode="request", exchange_id=f"x-{number}")
        await books.turn(conversation_hash(raw, seed="s"))
        await books.answer(candidate=value)
        books.later(1)
    books.later(56.5)
    await keeper.catch_up()
    assert (await books.view())["entered"] == 1, "the others have not been quiet for a minute"
    books.later(10)
    await keeper.catch_up()
    view = await books.view()
    assert (view["entered"], view["waiting"], await quality(books)) == (4, {}, {0.0: 2, -1.0: 2})
    assert (await books.states())["rival"].turns == 4


async def test_a_first_prompt_that_was_asked_before_counts_and_is_told(books: Books) -> None:
    keeper = books.bookkeeper()
    for number, prompt in enumerate(("p1", "p2", "p1", None, None)):
        await books.turn(f"c{number}", prompt=prompt)
        await books.answer()
        books.later(1)
    books.later(61)
    await keeper.catch_up()
    assert ((await books.view())["entered"], (await books.states())["rival"].duplicates) == (5, 1)

    await books.turn("c5", prompt="p2")
    await books.answer()
    books.later(1)
    await books.turn("c5", prompt="p1")
    await books.answer()
    books.later(61)
    await keeper.catch_up()
    assert ((await books.view())["entered"], (await books.states())["rival"].duplicates) == (6, 2)


# ---- decisions


async def test_a_cheaper_and_as_good_candidate_is_promoted_and_a_bad_one_rejected_and_no_longer_asked(
    books: Books,
) -> None:
    keeper = books.bookkeeper(plan("good", "bad", "dear"))
    for number in range(120):
        await books.turn(f"c{number:03}", candidates=("good", "bad", "dear"))
        for job in await books.store.jobs.lease(worker="w", limit=5, lease_s=60, now=books.now):
            lost = job.job.candidate == "bad" and number % 2
            cost_usd = {"good": 0.001, "bad": 0.001, "dear": 0.005}[job.job.candidate]
            await books.finish(job, candidate=0.0 if lost else 1.0, cost_usd=cost_usd)
        books.later(1)
    books.later(61)
    await keeper.catch_up()
    verdicts = {view["candidate"]: json.loads(view["verdict"])["state"] for view in await books.store.ledger.views()}
    assert verdicts == {"good": "promote", "bad": "reject", "dear": "equivalent"}
    stopped = {row["candidate"]: row["stopped_because"] for row in await books.store.ledger.stopped()}
    assert stopped == {"bad": "reject", "dear": "equivalent"}
    changes = await books.store.ledger.changes((await books.view("good"))["id"])
    assert [(row["verdict_before"], row["verdict"]) for row in changes][-1] == ("undecided", "promote")


async def test_facts_from_outside_are_decided_by_anew_without_new_conversations(books: Books) -> None:
    await books.conversations(80)
    await books.bookkeeper().catch_up()
    assert json.loads((await books.view())["verdict"])["state"] == "promote"
    doubted = Facts(prices="p1", withheld=("the judge is not trusted: it flips",))
    await books.bookkeeper(facts=doubted).catch_up()
    verdict = json.loads((await books.view())["verdict"])
    assert verdict["state"] == "withheld"
    assert "the judge is not trusted: it flips" in verdict["why"]
    await books.bookkeeper().catch_up()
    assert json.loads((await books.view())["verdict"])["state"] == "promote"


async def test_a_promoted_candidate_that_then_loses_is_withdrawn(books: Books) -> None:
    keeper = books.bookkeeper()
    await books.conversations(80)
    await keeper.catch_up()
    assert json.loads((await books.view())["verdict"])["state"] == "promote"
    await books.conversations(40, start=80, candidate=0.0)
    await keeper.catch_up()
    assert json.loads((await books.view())["verdict"])["state"] in {"withdrawn", "reject"}


# ---- epochs


async def test_a_changed_evaluator_begins_a_new_epoch_and_the_old_one_stays_readable(books: Books) -> None:
    await books.conversations(5)
    await books.bookkeeper().catch_up()
    other = plan(judging={"default": judging(definition="d2", versions={"is-json": "2"})})
    books.later(10)
    keeper = books.bookkeeper(other)
    await keeper.catch_up()
    await books.conversations(3, start=5, version="2")
    await keeper.catch_up()
    views = await books.store.ledger.views()
    assert [(view["number"], view["entered"]) for view in views] == [(1, 5), (2, 3)]
    assert views[1]["because"] == "the evaluators changed (deciding: is-json 1, now is-json 2)"


async def test_pairs_scored_in_another_epochs_terms_enter_neither(books: Books) -> None:
    """The conversation began before the change and was answered after it."""
    await books.conversations(2)
    await books.bookkeeper().catch_up()
    await books.turn("between")
    books.later(1)
    keeper = books.bookkeeper(plan(judging={"default": judging(definition="d2", versions={"is-json": "2"})}))
    await keeper.catch_up()
    books.later(1)
    await books.answer(version="2", candidate=0.0)
    books.later(61)
    await keeper.catch_up()
    views = await books.store.ledger.views()
    assert [(view["number"], view["entered"]) for view in views] == [(1, 2), (2, 0)]
    left_out = json.loads(views[0]["state"])["left_out"]
    assert left_out == {"epoch_changed": 1}


async def test_a_declared_version_is_an_epoch_of_its_own_and_going_back_to_it_continues_it(books: Books) -> None:
    keeper = books.bookkeeper()
    for number, version in enumerate(("v1", "v1", "v2", "v1")):
        await books.turn(f"c{number}", version=version)
        await books.answer()
        books.later(1)
    books.later(61)
    await keeper.catch_up()
    views = await books.store.ledger.views()
    assert [(view["version"], view["number"], view["entered"]) for view in views] == [("v1", 1, 3), ("v2", 2, 1)]
    assert views[1]["because"] == "first traffic of version v2"


async def test_an_epoch_at_somebodys_word_begins_with_nothing_and_lifts_stops(books: Books) -> None:
    keeper = books.bookkeeper()
    await books.conversations(60, candidate=0.0)
    await keeper.catch_up()
    assert await books.store.ledger.stopped() != []
    (opened,) = await keeper.open_epochs(because="a new prompt")
    assert (opened["number"], opened["because"]) == (2, "a new prompt")
    assert await books.store.ledger.stopped() == []
    assert (await books.view())["entered"] == 0
    assert await keeper.open_epochs(because="nobody's", task="other") == []


async def test_a_candidate_that_is_taken_out_and_comes_back_continues_what_it_had(books: Books) -> None:
    await books.conversations(4)
    await books.bookkeeper(plan("rival", "other")).catch_up()
    books.later(1)
    await books.bookkeeper(plan("other")).catch_up()
    keeper = books.bookkeeper(plan("rival", "other", "third"))
    await books.conversations(3, start=4)
    await keeper.catch_up()
    views = {view["candidate"]: view for view in await books.store.ledger.views()}
    assert {view["number"] for view in views.values()} == {1}
    assert views["rival"]["entered"] == 7
    assert {name: view["alpha"] for name, view in views.items()} == pytest.approx(
        {"rival": 0.02, "other": 0.02, "third": 0.2 * 0.8 * 0.05}
    )


async def test_a_changed_definition_of_a_candidate_begins_a_new_epoch(books: Books) -> None:
    await books.conversations(2)
    await books.bookkeeper().catch_up()
    await books.bookkeeper(plan(candidates={"rival": "v2"})).catch_up()
    views = await books.store.ledger.views()
    assert [(view["number"], view["because"]) for view in views] == [
        (1, "first traffic"),
        (2, "the definition of rival changed"),
    ]


async def test_a_changed_price_begins_the_cost_test_and_all_that_is_shown_of_costs_anew(books: Books) -> None:
    keeper = books.bookkeeper(facts=Facts(prices="p1"))
    await books.conversations(70, cost_usd=0.001, primary_usd=0.002)
    await keeper.catch_up()
    before = verdict_figures(await books.view())
    assert (before["cost_ratio"]["value"], before["cost_ratio"]["n"]) == (pytest.approx(0.5), 70)
    changed_at = books.now
    keeper = books.bookkeeper(facts=Facts(prices="p2"))
    await keeper.catch_up()
    at_once = verdict_figures(await books.view())
    since = f"since prices changed at {changed_at:%Y-%m-%d %H:%M} UTC"
    for figure in (at_once["cost_ratio"], at_once["cost_per_quality_point_usd"]["ratio"]):
        assert (figure["value"], figure["ci"]) == (None, None)
        assert figure["reason"].startswith(since)
    assert at_once["cost_ratio"]["n"] is None, "0 would have the window's mixed prices told in its place"
    assert f"since prices changed on {changed_at:%Y-%m-%d at %H:%M} costs can not be compared yet" in at_once["why"]

    await books.conversations(12, start=70, cost_usd=0.004, primary_usd=0.002)
    await keeper.catch_up()
    after = verdict_figures(await books.view())
    assert (after["cost_ratio"]["value"], after["cost_ratio"]["n"]) == (pytest.approx(2.0), 12)
    assert after["cost_ratio"]["gate"] == {**after["cost_ratio"]["gate"], "cost_epoch": 2, "conversations": 12}
    assert after["cost_ratio"]["prices_since"] == changed_at
    assert after["cost_ratio"]["reason"] == f"{since}; no interval yet: 12 of at least 50 conversations"
    assert after["cost_per_quality_point_usd"]["candidate"]["value"] == pytest.approx(0.004)
    assert "it costs 100 % more" in after["why"]
    assert (after["conversations"], after["epoch"]["number"], after["quality_diff"]["n"]) == (82, 1, 82)


async def test_what_is_still_needed_is_told_at_the_present_sample_rate_and_traffic(books: Books) -> None:
    """A hundred conversations a day of the app, of which 5 % and then half are asked."""
    for count, rate, every_s in ((50, 0.05, 86_400 / 5), (100, 0.5, 86_400 / 50)):
        keeper = books.bookkeeper(sample_rates={"rival": rate})
        await keeper.catch_up()
        for _ in range(count):
            await books.turn(f"c{books.number:05}")
            await books.answer(candidate=float(books.number % 4 > 0), primary=float((books.number + 1) % 4 > 0))
            books.later(every_s)
            if not books.number % 10:
                await keeper.catch_up()
        books.later(61)
        await keeper.catch_up()
        more = verdict_figures(await books.view())["more_needed"]
        assert more["days"] == pytest.approx(more["conversations"]["high"] / (100 * rate), rel=0.05)
        assert more["usd"] == pytest.approx(more["conversations"]["high"] * 0.001)
    await books.bookkeeper(sample_rates={"rival": 1.0}).catch_up()
    raised = verdict_figures(await books.view())["more_needed"]
    assert raised["days"] == pytest.approx(raised["conversations"]["high"] / 100, rel=0.05), "at once, not in a month"
    await books.bookkeeper(sample_rates={"rival": 0.0}).catch_up()
    none = verdict_figures(await books.view())["more_needed"]
    assert (none["days"], "nothing is asked at present" in none["reason"]) == (None, True)


async def test_what_is_needed_counts_and_costs_what_is_asked_though_little_of_it_can_be_compared(books: Books) -> None:
    keeper = books.bookkeeper(plan(rules=Rules(margin=0.05, min_conversations=50)))
    for number in range(100):
        await books.turn(f"c{number:05}")
        value = 1.0 if number % 5 == 0 else None
        await books.answer(primary=value, candidate=value, status="not_applicable", cost_usd=0.001)
        books.later(60)
    books.later(61)
    await keeper.catch_up()
    shown = verdict_figures(await books.view())
    more = shown["more_needed"]
    assert shown["quality_diff"]["n"] == 20
    assert more["conversations"]["low"] >= (50 - 20) * 5
    assert more["days"] == pytest.approx(more["conversations"]["high"] / 1440, rel=0.03)
    assert more["usd"] == pytest.approx(more["conversations"]["high"] * 0.001)
    assert "this speaks for 20 % of the task's traffic" in shown["why"]


async def test_the_share_of_traffic_a_verdict_speaks_for_is_the_same_whatever_the_candidate_answers(
    books: Books,
) -> None:
    keeper = books.bookkeeper(plan("rival", "flaky"))
    for number in range(40):
        await books.turn(f"c{number:05}", candidates=("rival", "flaky"))
        value = 1.0 if number % 4 else None
        for job in await books.store.jobs.lease(worker="w", limit=9, lease_s=60, now=books.now):
            fails = job.job.candidate == "flaky" and number % 3 == 0
            outcome = Outcome.TIMEOUT if fails else Outcome.OK
            await books.finish(job, primary=value, candidate=value, status="not_applicable", outcome=outcome)
        books.later(1)
    books.later(61)
    await keeper.catch_up()
    for candidate in ("rival", "flaky"):
        why = verdict_figures(await books.view(candidate))["why"]
        assert "this speaks for 75 % of the task's traffic" in why
    assert "; 14 of its 40 calls failed (35 %), 0 of the primary's 40 (0 %); " in why


# ---- clocks that are put right


async def test_a_clock_that_was_ahead_for_a_minute_does_not_end_the_count(
    books: Books, caplog: pytest.LogCaptureFixture
) -> None:
    keeper = books.bookkeeper()
    await books.conversations(5)
    await keeper.catch_up()
    books.later(86_400)
    await books.conversations(1, start=5)
    await keeper.catch_up()
    books.later(-86_400)
    await keeper.catch_up()
    await books.conversations(5, start=6)
    await keeper.catch_up()
    shown = verdict_figures(await books.view())
    assert (shown["conversations"], shown["entry"]["late"], shown["entry"]["set_back"]) == (11, 0, 1)
    assert shown["entry"]["entered_until"] < books.now
    assert "the clock went back: a conversation of 2026-11-24 12:01" in caplog.text
    # The order of starts holds on: what comes to light later than one that began after it is late, and told.
    await books.turn("slow", at=START + timedelta(seconds=2))
    await books.answer(candidate=0.0)
    await keeper.catch_up()
    books.later(61)
    await keeper.catch_up()
    shown = verdict_figures(await books.view())
    assert (shown["conversations"], shown["entry"]["late"]) == (11, 1)
    assert "1 conversation was known too late for the order of starts and count for nothing" in shown["why"]


async def test_after_a_clock_that_went_back_an_hour_conversations_enter_in_its_order(books: Books) -> None:
    keeper = books.bookkeeper()
    await books.conversations(12)
    await keeper.catch_up()
    books.later(-3600)
    await books.conversations(12, start=12)
    await keeper.catch_up()
    shown = verdict_figures(await books.view())
    assert (shown["conversations"], shown["entry"]["late"]) == (24, 0)
    assert shown["cost_ratio"]["gate"]["unpriced"] == 0, "at the first prices all of an epoch counts"


async def test_an_epoch_that_was_begun_by_a_clock_ahead_has_begun(books: Books) -> None:
    await books.conversations(3)
    await books.bookkeeper().catch_up()
    books.later(86_400)
    changed = books.bookkeeper(plan(judging={"default": judging(definition="d2")}))
    await changed.catch_up()
    books.later(-86_400)
    await books.conversations(3, start=3)
    await changed.catch_up()
    views = await books.store.ledger.views()
    assert [(view["number"], view["entered"]) for view in views] == [(1, 3), (2, 3)]
    assert [view["number"] for view in current_views(views)] == [2]


# ---- comparisons that ended


async def test_a_candidate_that_is_taken_out_ends_its_comparison_and_what_was_known_of_it_stays(books: Books) -> None:
    await books.conversations(80)
    await books.bookkeeper(facts=Facts(prices="p1")).catch_up()
    gone = books.bookkeeper(plan("other"), facts=Facts(withheld=("the price of rival is unknown",)))
    await gone.catch_up()
    shown = verdict_figures(await books.view())
    because = "rival is not among shadow.candidates any more"
    assert (shown["verdict"], shown["ended"]) == ("promote", because), "its price went with it and withholds nothing"
    assert shown["why"].startswith(
        f"rival could take over from primary when their comparison ended; it ended because {because}; proved: "
    )
    assert shown["more_needed"]["reason"] == f"the comparison has ended: {because}"
    assert SwitchAdvisor(config_file="c.yaml")(shown) is None
    await books.bookkeeper().catch_up()
    back = verdict_figures(await books.view())
    assert (back["verdict"], back["ended"]) == ("promote", None)
    assert SwitchAdvisor(config_file="c.yaml")(back) is not None


async def test_a_primary_that_answers_nobody_any_more_ends_its_comparisons(books: Books) -> None:
    keeper = books.bookkeeper()
    await books.conversations(12)
    await keeper.catch_up()
    books.later(6 * 86_400)
    await keeper.catch_up()
    assert verdict_figures(await books.view())["ended"] is None
    books.later(86_400)
    await keeper.catch_up()
    quiet = verdict_figures(await books.view())
    assert quiet["ended"] == "no conversation with primary was sampled since 2026-11-23"
    assert quiet["more_needed"]["conversations"] == {"low": None, "high": None}
    await books.conversations(1, start=12)
    await keeper.catch_up()
    assert verdict_figures(await books.view())["ended"] is None
    switched = books.bookkeeper(plan(primary="rival"))
    await switched.catch_up()
    assert verdict_figures(await books.view())["ended"] is None, "some requests keep the model they name"
    books.later(3601)
    await switched.catch_up()
    assert verdict_figures(await books.view())["ended"] == "primary.model is rival now"


# ---- restarts, several at once, and a recomputation


def dump(path: Path) -> dict[str, Any]:
    """What the ledger holds: each candidate's state, and which conversation entered as which."""
    with closing(sqlite3.connect(path)) as connection:
        states = connection.execute(
            "SELECT candidate, number, entered, state FROM ledger JOIN epoch ON epoch.id = epoch ORDER BY 1, 2"
        ).fetchall()
        entries = connection.execute(
            "SELECT candidate, conversation, ledger_conversation.state, entry, outcome FROM ledger_conversation"
            " JOIN ledger ON ledger.id = ledger ORDER BY 1, 2"
        ).fetchall()
    return {"states": states, "entries": entries}


async def traffic(books: Books, keepers: list[Bookkeeper], *, seed: int, looks: bool) -> None:
    """Two hundred turns in sixty conversations at random, some answered late; with `looks` kept up with meanwhile."""
    chance, looking = random.Random(seed), random.Random(seed)
    waiting: list[Any] = []
    for _ in range(200):
        books.later(chance.choice((0.5, 3, 20)))
        await books.turn(f"c{chance.randrange(60):02}", candidates=("rival", "other"))
        waiting += await books.store.jobs.lease(worker="w", limit=9, lease_s=9000, now=books.now)
        chance.shuffle(waiting)
        while waiting and chance.random() < 0.7:
            value = chance.choice((1.0, 1.0, 1.0, 0.0, 0.33, None))
            outcome = chance.choice((Outcome.OK,) * 9 + (Outcome.TIMEOUT,))
            await books.finish(
                waiting.pop(), candidate=value, outcome=outcome, cost_usd=chance.choice((0.001, 0.002, 0.003))
            )
        if looks:
            await asyncio.gather(*(keeper.catch_up() for keeper in looking.sample(keepers, 2)))
    for job in waiting:
        await books.finish(job)
    books.later(700)


@pytest.mark.timeout(300)
async def test_two_keepers_at_once_restarted_again_and_again_know_what_one_look_at_the_end_knows(
    tmp_path: Path,
) -> None:
    found = []
    for name, looks in (("pieces", True), ("whole", False)):
        path = tmp_path / f"{name}.db"
        async with await open_store(f"sqlite:///{path}") as store, await open_store(f"sqlite:///{path}") as second:
            books = Books(store=store)
            other = Books(store=second)
            both = plan("rival", "other")

            def clock(books: Books = books) -> Any:
                return books.now

            keepers = [books.bookkeeper(both), other.bookkeeper(both)]
            for keeper in keepers:
                keeper._now = clock
            await traffic(books, keepers, seed=7, looks=looks)
            await keepers[0].catch_up()
        found.append(dump(path))
    pieces, whole = found
    assert [row[:3] for row in pieces["states"]] == [row[:3] for row in whole["states"]]
    assert pieces["entries"] == whole["entries"]
    assert pieces["states"] == whole["states"]
    assert sum(row[2] == "entered" for row in whole["entries"]) > 60


async def test_a_step_that_is_broken_off_has_changed_nothing(tmp_path: Path) -> None:
    path = tmp_path / "shadow.db"
    async with await open_store(f"sqlite:///{path}") as store:
        books = Books(store=store)
        await books.conversations(5)
        keeper = books.bookkeeper()
        keeper._keep = broken  # type: ignore[assignment,method-assign]
        with pytest.raises(ZeroDivisionError):
            await keeper.catch_up()
        assert dump(path) == {"states": [], "entries": []}
        await books.bookkeeper().catch_up()
        assert (await books.view())["entered"] == 5


async def test_a_change_that_somebody_else_overtook_writes_nothing_and_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "shadow.db"
    async with await open_store(f"sqlite:///{path}") as store, await open_store(f"sqlite:///{path}") as second:
        books = Books(store=store)
        await books.conversations(5)

        async def overtaken_change() -> None:
            async with second.ledger.book() as book:
                (row,) = await book.inbox(limit=1)
                await books.bookkeeper().catch_up()
                await book.forget([row["id"]])
                await book.open_epoch(
                    task="t", primary="p", version="", started_at=START, because="b", alpha=0.05, evaluators="{}"
                )

        with pytest.raises(MovedError):
            await overtaken_change()
        assert [(row[1], row[2]) for row in dump(path)["states"]] == [(1, 5)]

        overtaken = Books(store=second, now=books.now).bookkeeper()
        opened = await asyncio.gather(
            *(keeper.open_epochs(because="a new prompt") for keeper in (books.bookkeeper(), overtaken))
        )
        assert sorted(epoch["number"] for (epoch,) in opened) == [2, 3]


async def test_working_out_what_changes_holds_no_lock(tmp_path: Path) -> None:
    path = tmp_path / "shadow.db"
    async with await open_store(f"sqlite:///{path}") as store:
        books = Books(store=store)
        await books.conversations(5)
        async with store.ledger.book() as book:
            await book.forget([row["id"] for row in await book.inbox(limit=50)])
            with closing(sqlite3.connect(path, timeout=0)) as other:
                other.execute("BEGIN IMMEDIATE")
        assert not await store.ledger.any_work(now=books.now)


async def broken(*_: object, **__: object) -> None:
    raise ZeroDivisionError


async def test_old_conversations_are_forgotten_and_what_they_taught_stays(books: Books) -> None:
    keeper = books.bookkeeper()
    await books.conversations(3)
    await keeper.catch_up()
    books.later(timedelta(days=31).total_seconds())
    assert await keeper.prune() == 3
    assert (await books.view())["entered"] == 3
    assert await quality(books) == {0.0: 3}


async def test_what_is_decided_is_no_basis_for_asking(books: Books) -> None:
    """The rules of a test may be tightened at any time: the epoch stays, the verdict is decided anew."""
    await books.conversations(30)
    await books.bookkeeper().catch_up()
    strict = plan(rules=Rules(margin=0.1, min_conversations=500, max_conversations=3000))
    await books.bookkeeper(strict).catch_up()
    verdict = json.loads((await books.view())["verdict"])
    assert verdict["state"] == "insufficient_data"
    assert (await books.view())["number"] == 1
