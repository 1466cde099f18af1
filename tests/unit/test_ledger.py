"""What one conversation teaches, and what is remembered of it: pure, row by row."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shadow.ledger import Facts, Judging, LedgerState, Outcome, Totals, conversation_outcome
from shadow.ledger.epochs import Plan, Shelf, joinings, openings, read_judging, write_judging
from shadow.ledger.evidence import evidence_of, traffic_share
from shadow.ledger.outcome import Kinds
from shadow.ledger.pace import MOST, Intake, Stretches
from shadow.ledger.state import COST_AFTER, MOST_RESCALES, RESCALE_AFTER, read_outcome, write_outcome
from shadow.verdict import Calls, Rules, decide

NOW = datetime(2026, 11, 23, tzinfo=UTC)
RULES = Rules()

Row = dict[str, Any]


def judging(**given_values: Any) -> Judging:
    values: dict[str, Any] = {"quality": "right", "versions": {"right": "1", "short": "1"}, "definition": "d"}
    return Judging(**(values | given_values))


def turn(number: int = 1, **given_values: Any) -> Row:
    row: Row = {
        "id": f"x{number}",
        "started_at": NOW + timedelta(seconds=number),
        "task": "default",
        "conversation": "c",
        "first_turn": number == 1,
        "has_tools": False,
        "client_retry": False,
        "model": "primary",
        "outcome": "ok",
        "latency_ms": 100.0,
        "ttft_ms": None,
        "streamed": False,
        "input_tokens": 10,
        "cache_read_tokens": 0,
        "cache_write_5m_tokens": 0,
        "cache_write_1h_tokens": 0,
        "output_tokens": 5,
        "cost_billed_usd": 0.004,
        "cost_uncached_usd": 0.004,
        "state": "done",
        "reason": None,
        "counted": True,
        "asking_nano_usd": 5_000_000,
        "candidate": "rival",
        "redaction_changed": False,
        "asked_at": NOW + timedelta(seconds=number),
        "candidate_outcome": "ok",
        "candidate_latency_ms": 80.0,
        "candidate_ttft_ms": None,
        "candidate_streamed": False,
        "candidate_input_tokens": 10,
        "candidate_cost_billed_usd": 0.001,
        "candidate_cost_uncached_usd": 0.001,
    }
    return row | given_values


def score(number: int, role: str, value: float | None, **given_values: Any) -> Row:
    row: Row = {
        "exchange_id": f"x{number}",
        "candidate": "" if role == "primary" else "rival",
        "evaluator": "right",
        "version": "1",
        "quality": True,
        "role": role,
        "status": "failed" if value is None else "scored",
        "value": value,
        "reason": "",
        "cost_usd": 0.0,
    }
    return row | given_values


def outcome(rows: list[Row], scores: list[Row], by: Judging | None = None, **given_values: Any) -> Outcome:
    options: dict[str, Any] = {"judging": by or judging(), "ends_at": None}
    return conversation_outcome(rows, scores, **(options | given_values))


# ---- one conversation


def test_scores_by_another_version_say_nothing_in_this_epochs_terms() -> None:
    found = outcome([turn()], [score(1, "primary", 1.0, version="2"), score(1, "candidate", 0.0, version="2")])
    assert (found.standing, found.left_out, found.primary_failures) == ("left_out", {"other_evaluator": 1}, 0.0)


def test_a_pairwise_guard_and_one_that_scored_one_side_alone() -> None:
    guarded = judging(versions={"right": "1", "short": "1", "half": "1"}, guards={"short": 0.1, "half": 0.1})
    scores = [
        score(1, "primary", 1.0),
        score(1, "candidate", 1.0),
        score(1, "pair", -0.5, evaluator="short", quality=False),
        score(1, "candidate", 1.0, evaluator="half", quality=False),
    ]
    assert outcome([turn()], scores, guarded).guards == {"short": -0.5}


def test_an_answer_that_never_came_was_not_in_time_and_an_unknown_time_says_nothing() -> None:
    limited = judging(slo_ms=90.0)
    both = [score(1, "primary", 1.0), score(1, "candidate", 1.0)]
    assert outcome([turn()], both, limited).guards == {"latency SLO": 1.0}
    failed = turn(candidate_outcome="timeout", latency_ms=50.0)
    assert outcome([failed], [score(1, "primary", 1.0)], limited).guards == {"latency SLO": -1.0}
    assert outcome([turn(latency_ms=None)], both, limited).guards == {}


def test_a_failure_costs_and_has_quality_0_where_the_primary_could_be_judged() -> None:
    rows = [turn(1), turn(2, candidate_outcome="timeout")]
    scores = [score(1, "primary", 1.0), score(1, "candidate", 0.5), score(2, "primary", 1.0)]
    found = outcome(rows, scores)
    assert found.totals == Totals(
        pairs=2, candidate_usd=0.002, candidate_quality=0.5, primary_usd=0.008, primary_quality=2.0
    )
    assert (found.difference, found.failures, found.pairs) == (-0.5, 0.5, 1)
    alone = outcome([turn(1, candidate_outcome="timeout")], [])
    assert (alone.standing, alone.totals) == ("settled", None)


def test_of_an_evaluator_that_compares_every_pair_is_in_the_costs() -> None:
    found = outcome([turn()], [score(1, "pair", -1.0)], judging(pairwise=True))
    assert found.totals == Totals(
        pairs=1, candidate_usd=0.001, candidate_quality=0.0, primary_usd=0.004, primary_quality=0.0
    )
    assert found.difference == -1.0


def test_an_unknown_cost_leaves_the_conversation_out_of_all_costs() -> None:
    both = [score(1, "primary", 1.0), score(1, "candidate", 1.0)]
    found = outcome([turn(candidate_cost_uncached_usd=None, candidate_cost_billed_usd=None)], both)
    assert (found.candidate_usd, found.totals, found.spent_usd) == (None, None, 0.0)


def test_the_client_that_hung_up_says_nothing_about_the_primary() -> None:
    skipped = turn(state="skipped", reason="primary_error", outcome="aborted", asked_at=None)
    found = outcome([skipped], [])
    assert (found.primary_failures, found.standing, found.left_out) == (None, "left_out", {"primary_error": 1})


def test_what_was_spent_is_asking_and_scoring() -> None:
    scores = [score(1, "primary", 1.0, cost_usd=9.0), score(1, "candidate", 1.0, cost_usd=0.01)]
    assert outcome([turn()], scores).spent_usd == pytest.approx(0.011), "the primary's score is paid once, elsewhere"


def test_first_tokens_are_compared_where_both_sides_streamed() -> None:
    both = [score(1, "primary", 1.0), score(1, "candidate", 1.0)]
    streamed = turn(streamed=True, ttft_ms=40.0, candidate_streamed=True, candidate_ttft_ms=50.0)
    assert (outcome([streamed], both).faster, outcome([streamed], both).faster_ttft) == (1.0, -1.0)
    assert outcome([turn(ttft_ms=40.0, candidate_ttft_ms=50.0)], both).faster_ttft is None


def test_an_outcome_is_written_and_read_back_as_it_was() -> None:
    both = [score(1, "primary", 1.0), score(1, "candidate", 1 / 3)]
    for found in (outcome([turn()], both), outcome([turn(state="pending", asked_at=None)], [])):
        assert read_outcome(write_outcome(found)) == found


# ---- what is remembered


SETTLED = Outcome(standing="settled", turns=1, pairs=1, scored=1, difference=0.0, reserve_usd=0.01)


def entered(state: LedgerState, times: int, **given_values: Any) -> LedgerState:
    values = {"standing": "settled", "turns": 1, "pairs": 1, "scored": 1, "difference": 0.0, "reserve_usd": 0.01}
    for _ in range(times):
        one = Outcome(**{**values, "candidate_usd": 0.001, "primary_usd": 0.004, **given_values})  # type: ignore[arg-type]
        state = state.enter(one, started_at=NOW).priced(prices="p", rules=RULES, first=NOW, now=NOW)
    return state


def test_the_cost_test_begins_when_some_reserves_are_known_and_anew_where_they_outgrow_it() -> None:
    before = entered(LedgerState(), COST_AFTER - 1)
    assert before.cost is None
    begun = entered(before, 1)
    assert begun.cost is not None
    assert (begun.cost.test.w_usd, begun.cost.test.conversations) == (pytest.approx(0.015), 0)
    grown = entered(begun, RESCALE_AFTER, reserve_usd=0.1)
    assert grown.cost is not None
    assert (grown.cost.test.w_usd, grown.cost.test.number, grown.rescales) == (pytest.approx(0.15), 2, 1)
    shares = begun.cost.test.share + MOST_RESCALES * grown.cost.test.share
    assert shares == pytest.approx(1)  # together they may err as often as one test alone
    for power in range(2, 9):
        grown = entered(grown, RESCALE_AFTER, reserve_usd=10.0**power)
    assert grown.rescales == MOST_RESCALES


def test_without_a_reserve_there_is_no_scale() -> None:
    assert entered(LedgerState(), 2 * COST_AFTER, reserve_usd=0.0).cost is None


def test_costs_from_before_a_price_changed_are_not_compared_at_the_new_one() -> None:
    state = entered(LedgerState(), COST_AFTER + 3)
    later = NOW + timedelta(days=1)
    changed = state.priced(prices="q", rules=RULES, first=NOW, now=later)
    old = changed.enter(SETTLED, started_at=NOW)
    assert changed.cost is not None
    assert old.cost is not None
    assert (changed.cost.test.number, changed.cost.test.conversations, old.cost.test.unpriced) == (2, 0, 1)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-1, 1), min_size=1, max_size=40))
def test_a_state_written_down_at_any_moment_goes_on_as_if_it_never_was(differences: list[float]) -> None:
    straight = pieces = LedgerState()
    for value in differences:
        totals = Totals(pairs=1, candidate_usd=0.1, candidate_quality=0.5, primary_usd=0.3, primary_quality=0.7)
        one = Outcome(
            standing="settled", difference=value, first_turn=value, missing=0.25, failures=0.5, primary_failures=0.1,
            guards={"short": value}, candidate_usd=abs(value) / 3, primary_usd=0.2, reserve_usd=0.5, totals=totals,
            faster=1.0, faster_ttft=-1.0, left_out={"late": 1}, spent_usd=0.1,
        )  # fmt: skip
        straight = straight.enter(one, started_at=NOW).priced(prices="p", rules=RULES, first=NOW, now=NOW)
        pieces = LedgerState.loaded(pieces.dumped())
        pieces = pieces.enter(one, started_at=NOW).priced(prices="p", rules=RULES, first=NOW, now=NOW)
    assert pieces == straight
    assert pieces.dumped() == straight.dumped()


def test_a_state_of_an_older_version_is_read_and_what_it_did_not_count_is_not_made_up() -> None:
    totals = Totals(pairs=1, candidate_usd=0.1, candidate_quality=0.5, primary_usd=0.2, primary_quality=0.7)
    state = entered(
        LedgerState(), 20, totals=totals, failures=0.5, primary_failures=0.0, left_out={"not_applicable": 0}
    )
    assert state.calls is None, "the outcomes were an older version's, too"
    found = json.loads(state.dumped())
    for name in ("calls", "kinds", "stretches", "set_back"):
        del found[name]
    for name in ("prices", "since"):
        del found["headline"][name]
    found["left_out"], found["pairs"] = {"not_applicable": 5, "stateful": 2, "redaction_changed": 1}, 18
    old = LedgerState.loaded(json.dumps(found))
    assert (old.calls, old.stretches, old.set_back) == (None, Stretches(), 0)
    assert old.kinds == Kinds(compared=13, others=6)
    assert (old.headline.prices, old.headline.since, old.headline.sums) == ("p", None, state.headline.sums)
    assert old.enter(SETTLED, started_at=NOW).calls is None
    of_the_second = {**found["cost"], "test": {**found["cost"]["test"], "number": 2}}
    mixed = LedgerState.loaded(json.dumps({**found, "cost": of_the_second}))
    assert mixed.cost is not None
    assert (mixed.headline.sums.conversations, mixed.headline.since) == (0, mixed.cost.since)
    assert mixed.headline.candidate_quality == state.headline.candidate_quality
    unpriced = LedgerState.loaded(json.dumps({**found, "cost": None}))
    assert (unpriced.headline.prices, unpriced.headline.sums) == (None, state.headline.sums)


def test_what_is_shown_of_costs_begins_anew_with_a_price_and_not_with_the_saving_asked_for() -> None:
    totals = Totals(pairs=1, candidate_usd=0.1, candidate_quality=0.5, primary_usd=0.2, primary_quality=0.7)
    state = entered(LedgerState(), COST_AFTER + 2, totals=totals)
    later = NOW + timedelta(hours=1)
    asked_more = state.priced(prices="p", rules=replace(RULES, min_saving=0.3), first=NOW, now=later)
    assert asked_more.headline == state.headline
    assert asked_more.cost is not None
    assert asked_more.cost.test.number == 2
    dearer = state.priced(prices="q", rules=RULES, first=NOW, now=later)
    assert (dearer.headline.sums.conversations, dearer.headline.since) == (0, later)
    before, after = (dearer.enter(replace(SETTLED, totals=totals), started_at=at) for at in (NOW, later))
    assert (before.headline.sums.conversations, before.headline.unknown) == (0, 1)
    assert (after.headline.sums.conversations, after.headline.unknown) == (1, 0)
    early = entered(LedgerState(), 2, totals=totals).priced(prices="q", rules=RULES, first=NOW, now=later)
    begun = early
    for _ in range(COST_AFTER):
        begun = begun.enter(SETTLED, started_at=later).priced(prices="q", rules=RULES, first=NOW, now=later)
    assert begun.cost is not None
    assert begun.cost.since == later, "the two of the first price are in no test"


# ---- how fast it comes in


def at(stretches: Stretches, day: float, **given_values: Any) -> Stretches:
    now = NOW + timedelta(days=day)
    values: dict[str, Any] = {"sample_rate": 0.1, "prices": "p", "first": NOW, "in_force": now, "now": now}
    return stretches.at(**(values | given_values))


def asked(stretches: Stretches, *days: float) -> Stretches:
    one = Outcome(standing="settled", failures=0.0, spent_usd=0.5)
    for day in days:
        stretches = stretches.add(one, started_at=NOW + timedelta(days=day))
    return stretches


def test_a_stretch_is_a_day_or_ends_with_its_sample_rate_or_prices_and_a_week_is_kept() -> None:
    first = at(Stretches(), 3)
    assert [each.since for each in first.kept] == [NOW]
    days = asked(first, 0, 0.5, 1, 2.9, 1.5)
    assert [(each.since - NOW, each.asked) for each in days.kept] == [
        (timedelta(days=0), 2),
        (timedelta(days=1), 2),
        (timedelta(days=2), 1),
    ]
    assert at(days, 9) is days
    raised = at(days, 3, sample_rate=0.2)
    dearer = at(raised, 3.5, sample_rate=0.2, prices="q")
    assert [(each.sample_rate, each.prices) for each in dearer.kept[-3:]] == [(0.1, "p"), (0.2, "p"), (0.2, "q")]
    assert asked(dearer, 9.6).kept[0].since == NOW + timedelta(days=2), "what ended more than a week ago is gone"
    assert asked(dearer, -1) is not None
    assert asked(dearer, -1).kept == dearer.kept
    assert dearer.add(Outcome(standing="left_out"), started_at=NOW) is dearer
    seen_late = at(days, 5, sample_rate=0.2, in_force=NOW + timedelta(days=3))
    assert seen_late.kept == raised.kept, "it begins when it came into force, not when somebody looked"
    assert at(raised, 5, in_force=NOW).kept[-1].since == raised.kept[-1].since, "and none begins before the last one"
    back = at(dearer, 1.5, sample_rate=1.0, prices="q")
    assert [each.since - NOW for each in back.kept] == [timedelta(days=day) for day in (0, 1, 1.5)]
    many = first
    for number in range(100):
        many = at(many, (number + 1) / 1440, sample_rate=number / 100)
    assert len(many.kept) == MOST
    assert Stretches.loaded(dearer.plain()) == dearer


def test_intake_scales_what_was_asked_by_the_rate_it_was_sampled_with() -> None:
    low = at(Stretches(), 0, sample_rate=0.05)
    both = at(asked(low, *(day / 5 for day in range(10))), 2, sample_rate=0.5, prices="q")
    given_values: dict[str, Any] = {"until": NOW + timedelta(days=2), "least": timedelta(minutes=1)}
    at_once = both.intake(sample_rate=0.5, prices="q", **given_values)
    assert at_once == Intake(conversations_per_day=pytest.approx(50), usd_per_conversation=None)
    known = both.intake(sample_rate=0.5, prices="p", **given_values)
    assert known is not None
    assert known.usd_per_conversation == 0.5
    few = asked(low, 0).intake(sample_rate=0.05, prices="p", until=NOW, least=timedelta(hours=1))
    assert few is not None
    assert few.conversations_per_day == pytest.approx(24), "one that has just entered took that long at least"
    assert low.intake(sample_rate=0.05, prices="p", **given_values) is None
    assert Stretches().intake(sample_rate=0.05, prices="p", **given_values) is None
    never = at(Stretches(), 0, sample_rate=0.0)
    assert never.intake(sample_rate=0.0, prices="p", **given_values) is None


def test_the_kind_of_a_failed_call_is_told_by_the_primarys_score() -> None:
    rows = [turn(1), *(turn(number, candidate_outcome="timeout") for number in (2, 3, 4, 5))]
    scores = [
        score(1, "primary", 1.0),
        score(1, "candidate", 1.0),
        score(2, "primary", 1.0),
        score(3, "primary", None, status="not_applicable"),
        score(4, "primary", None, status="failed"),
    ]
    found = outcome(rows, scores)
    assert found.kinds == Kinds(compared=3, others=1)
    assert found.calls == Calls(asked=5, failed=4, primary=5, primary_failed=0)
    assert (found.failures, found.left_out.get("not_applicable", 0)) == (0.8, 0)


def test_calls_that_were_not_taken_are_counted_apart() -> None:
    rows = [turn(1), turn(2, candidate_outcome="incompatible")]
    found = outcome(rows, [score(number, side, 1.0) for number in (1, 2) for side in ("primary", "candidate")])
    assert found.calls == Calls(asked=2, primary=2, refused=1)


def test_nothing_known_is_an_empty_state() -> None:
    assert LedgerState.loaded("{}") == LedgerState()
    assert traffic_share(LedgerState()) is None


def test_what_is_never_compared_by_rule_is_no_traffic_the_verdict_speaks_for() -> None:
    state = LedgerState(turns=10, left_out={"stateful": 2, "over_budget": 3})
    assert math.isclose(traffic_share(state) or 0, 0.8)


def test_a_check_of_the_shape_alone_withholds_what_it_would_recommend() -> None:
    state = entered(LedgerState(), 400, failures=0.0, primary_failures=0.0)
    known = {"primary": "a", "candidate": "b", "alpha": 0.04, "rules": RULES}
    shape = evidence_of(state, judging=judging(format_only=True), facts=Facts(prices="p"), **known)  # type: ignore[arg-type]
    whole = evidence_of(state, judging=judging(), facts=Facts(prices="p"), **known)  # type: ignore[arg-type]
    assert (decide(shape).state, decide(whole).state) == ("withheld", "promote")
    assert "say `decides: true` on it" in decide(shape).why


# ---- epochs


def plan(*candidates: str, **given_values: Any) -> Plan:
    values: dict[str, Any] = {
        "alpha": 0.05,
        "rules": RULES,
        "judging": {"default": judging()},
        "candidates": dict.fromkeys(candidates, "v1"),
    }
    return Plan(**(values | given_values))


def epoch(number: int, *, started: int = 0, **given_values: Any) -> Row:
    row: Row = {
        "id": number,
        "task": "default",
        "primary": "a",
        "version": "",
        "number": number,
        "started_at": NOW + timedelta(hours=started),
        "alpha": 0.05,
        "evaluators": write_judging(judging()),
    }
    return row | given_values


def ledger(number: int, of: int, candidate: str, *, batch: int = 1, definition: str = "v1") -> Row:
    return {"id": number, "epoch": of, "candidate": candidate, "batch": batch, "definition": definition, "alpha": 0.02}


def test_how_an_epoch_judges_is_written_and_read_back() -> None:
    whole = judging(guards={"short": 0.1}, slo_ms=5.0, pairwise=True)
    assert read_judging(write_judging(whole)) == whole


def test_a_conversation_belongs_to_the_epoch_it_began_in_and_the_first_takes_what_came_late() -> None:
    shelf = Shelf(epochs=[epoch(1), epoch(2, started=5)], ledgers=[])
    lane = ("default", "a", "")

    def at(hours: int) -> int:
        found = shelf.at(lane, NOW + timedelta(hours=hours), now=NOW + timedelta(days=9))
        return 0 if found is None else found["number"]

    assert [at(-1), at(0), at(4), at(5), at(9)] == [1, 1, 1, 2, 2]
    assert shelf.at(("other", "a", ""), NOW, now=NOW) is None
    assert shelf.newest(("other", "a", "")) is None
    assert shelf.ends_at(shelf.epoch(1)) == NOW + timedelta(hours=5)
    assert shelf.ends_at(shelf.epoch(2)) is None


def test_an_epoch_ends_when_what_it_compares_has_changed_and_not_before() -> None:
    shelf = Shelf(epochs=[epoch(1)], ledgers=[ledger(1, 1, "b"), ledger(2, 1, "gone")])
    assert openings(shelf, plan("b", "new")) == []
    changed = plan("b", candidates={"b": "v2"})
    assert [each.because for each in openings(shelf, changed)] == ["the definition of b changed"]
    other = plan("b", judging={"default": judging(definition="e", versions={"right": "2"})})
    assert [each.because for each in openings(shelf, other)] == [
        "the evaluators changed (deciding: right 1, now right 2)"
    ]


def test_who_is_new_joins_as_one_batch_and_the_primary_is_no_candidate_of_itself() -> None:
    present = {"b": ledger(1, 1, "b")}
    assert joinings(epoch(1), present, plan("a", "b")) == []
    found = joinings(epoch(1), present, plan("a", "b", "c", "d"))
    assert [(each.candidate, each.batch) for each in found] == [("c", 2), ("d", 2)]
    assert [each.alpha for each in found] == pytest.approx([0.004, 0.004])
