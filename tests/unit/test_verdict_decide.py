"""Every state of a verdict, and the sentence that goes with it."""

import math
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shadow.verdict import (
    Calls,
    CostTest,
    Differences,
    Estimate,
    Evidence,
    FailureShares,
    Guard,
    Latch,
    Pace,
    Rules,
    Verdict,
    Watch,
    decide,
)

NO_FAILURES = FailureShares(primary={0.0: 5000}, candidate={0.0: 600})
PACE = Pace(conversations_per_day=30, usd_per_conversation=0.02, sample_rate=0.1, budget_usd_per_day=5.0)


def _counts(worse: int = 0, same: int = 0, better: int = 0) -> Differences:
    counts = {value: count for value, count in ((-1.0, worse), (0.0, same), (1.0, better)) if count}
    return Differences(good=counts, bad=counts)


def _cost(candidate_usd: float, primary_usd: float = 0.01, *, times: int = 600) -> CostTest:
    test = CostTest(w_usd=0.05, min_saving=0.05)
    for _ in range(times):
        test = test.add(candidate_usd=candidate_usd, primary_usd=primary_usd, reserve_usd=0.05)
    return test


CHEAPER, SAME_COST, DEARER = _cost(0.005), _cost(0.0095), _cost(0.02)
NEXT_PRICES = CostTest(w_usd=CHEAPER.w_usd, min_saving=CHEAPER.min_saving, number=2)
"""A price has changed: the next cost test, with nothing counted yet."""


def _evidence(quality: Differences, **changed: Any) -> Evidence:
    given: dict[str, Any] = {"cost": CHEAPER, "failures": NO_FAILURES, "pace": PACE, **changed}
    return Evidence(primary="alpha", candidate="beta", alpha=0.04, quality=quality, **given)


def _proof(verdict: Verdict, name: str) -> bool:
    return next(proof.proved for proof in verdict.proofs if proof.name == name)


def test_not_worse_cheaper_and_no_guard_fallen_is_promoted() -> None:
    verdict = decide(
        _evidence(
            _counts(20, 580, 22),
            guards=[Guard(name="json-schema", margin=0.05, differences=_counts(0, 600))],
            saving_usd_per_month=Estimate(value=312.4, low=240, high=380.2, level=0.96),
            traffic_share=0.83,
        )
    )

    assert verdict.state == "promote"
    assert not verdict.stops
    assert verdict.more_needed is None
    assert verdict.why == (
        "beta can take over from alpha; proved: at most 0.05 worse in quality, at least 5 % cheaper, failing at most 2"
        " percentage points more often, at most 0.05 lower in json-schema; over 622 conversations the quality"
        " difference (candidate minus primary, each 0 to 1) is +0.003, 92 % interval -0.031 to +0.038; it costs 50 %"
        " less; at this app's traffic it saves about $312 a month ($240 to $380); this speaks for 83 % of the task's"
        " traffic."
    )


def test_the_interval_and_the_proof_say_the_same() -> None:
    for worse in range(0, 60, 3):
        verdict = decide(_evidence(_counts(worse, 500 - worse, 20)))

        assert verdict.quality_diff.low is not None
        assert verdict.quality_diff.high is not None
        assert _proof(verdict, "not_worse") == (verdict.quality_diff.low >= -0.05)
        assert _proof(verdict, "worse") == (verdict.quality_diff.high <= -0.05)
        assert verdict.quality_diff.level == pytest.approx(0.92)


@pytest.mark.parametrize(
    ("changed", "missing"),
    [
        ({"cost": SAME_COST}, "at least 5 % cheaper"),
        ({"cost": None}, "at least 5 % cheaper"),
        ({"failures": None}, "failing at most 2 percentage points more often"),
        ({"failures": FailureShares(candidate={0.0: 560, 1.0: 40})}, "failing at most 2 percentage points more often"),
        ({"guards": [Guard(name="slo", margin=0.05)]}, "at most 0.05 lower in slo"),
    ],
)
def test_whatever_is_not_proved_keeps_it_undecided_and_is_named(changed: Mapping[str, Any], missing: str) -> None:
    verdict = decide(_evidence(_counts(0, 600), **changed))

    assert verdict.state == "undecided"
    assert f"not proved: {missing}" in verdict.why


def test_clearly_worse_is_rejected_and_waits_for_nothing() -> None:
    verdict = decide(
        _evidence(_counts(20, 0), withheld=["the judge is not trusted"], missing=15.0, failures=None, cost=None)
    )

    assert verdict.state == "reject"
    assert verdict.stops
    assert verdict.why.startswith("beta is more than 0.05 worse in quality than alpha, so it is shadowed no longer")
    assert "; with this reservation: the judge is not trusted." in verdict.why


def test_failures_on_both_sides_do_not_reject() -> None:
    shares = FailureShares(candidate={0.0: 950, 1.0: 50}, primary={0.0: 9500, 1.0: 500})
    verdict = decide(_evidence(_counts(10, 930, 10), failures=shares))

    assert verdict.state == "undecided"
    assert "5 % of a conversation's calls to it failed on average (5 % to the primary)" in verdict.why


def test_too_few_conversations_hold_a_promotion_back_even_when_all_is_proved() -> None:
    rules = Rules(margin=0.5, failure_margin=0.5)
    verdict = decide(_evidence(_counts(0, 30), rules=rules, failures=FailureShares(candidate={0.0: 30})))

    assert _proof(verdict, "not_worse")
    assert verdict.state == "insufficient_data"
    assert verdict.why.startswith("It is too early to judge beta against alpha: 30 of at least 50 conversations;")
    assert verdict.more_needed is not None
    assert verdict.more_needed.conversations_low == 20


def test_what_is_needed_is_counted_in_conversations_that_are_asked() -> None:
    """Of 600 that were asked 120 count: so does each fifth of those to come, and each that is asked costs."""
    given: dict[str, Any] = {"cost": _cost(0.005, times=120), "settled": 120, "rules": Rules(failure_margin=0.2)}
    asked, counted = (
        decide(_evidence(_counts(1, 118, 1), failures=FailureShares(candidate={0.0: many}), **given))
        for many in (600, 120)
    )
    assert asked.state == counted.state == "undecided"
    assert asked.more_needed is not None
    assert counted.more_needed is not None
    assert counted.more_needed.conversations_low is not None
    assert asked.more_needed.conversations_low == 5 * counted.more_needed.conversations_low
    assert asked.more_needed.conversations_high == 5 * (counted.more_needed.conversations_high or 0)
    high = asked.more_needed.conversations_high
    assert (asked.more_needed.days, asked.more_needed.usd) == (pytest.approx(high / 30), pytest.approx(high * 0.02))
    assert "conversations more are needed (all that are asked, 120 count of 600 so far), up to" in asked.why
    assert "conversations more are needed, up to" in counted.why
    early = decide(_evidence(_counts(0, 20), failures=FailureShares(candidate={0.0: 100})))
    assert early.more_needed is not None
    assert early.more_needed.conversations_low is not None
    assert early.more_needed.conversations_low >= (50 - 20) * 5


def test_failed_calls_are_told_as_calls_and_what_is_tested_where_that_is_another_number() -> None:
    shares = FailureShares(candidate={0.0: 20, 1.0: 20}, primary={0.0: 40})
    calls = Calls(asked=420, failed=20, primary=420, primary_failed=0)
    told = decide(_evidence(_counts(0, 20), failures=shares, calls=calls)).why
    assert (
        "; 20 of its 420 calls failed (4.76 %), 0 of the primary's 420 (0 %), while 50 % of a conversation's calls to"
        " it failed on average (0 % to the primary), which is what is tested;"
    ) in told
    alike = FailureShares(candidate={0.0: 95, 1.0: 5}, primary={0.0: 99, 1.0: 1})
    calls = Calls(asked=200, failed=10, primary=200, primary_failed=2)
    told = decide(_evidence(_counts(0, 95), failures=alike, calls=calls)).why
    assert "; 10 of its 200 calls failed (5 %), 2 of the primary's 200 (1 %); " in told


@pytest.mark.parametrize(
    ("refused", "told"),
    [
        (0, ""),
        (3, "; 3 of its 40 calls were refused with status 400, 404 or 422;"),
        (
            40,
            "; every one of its 40 calls was refused with status 400, 404 or 422, as calls to a wrong name or base_url",
        ),
    ],
)
def test_calls_that_were_refused_are_told(refused: int, told: str) -> None:
    calls = Calls(asked=40, primary=40, refused=refused) + Calls()
    why = decide(_evidence(_counts(0, 60), calls=calls)).why
    assert told in why
    assert ("refused" in why) == bool(refused)


def test_conversations_that_came_too_late_are_told() -> None:
    assert (
        "; 1 conversation was known too late for the order of starts" in decide(_evidence(_counts(0, 60), late=1)).why
    )
    assert "; 300 conversations were known too late" in decide(_evidence(_counts(0, 60), late=300)).why


def test_the_cost_that_is_told_is_the_one_that_is_shown() -> None:
    shown = Estimate(value=0.8)
    assert "; it costs 20 % less." in decide(_evidence(_counts(0, 600), cost_ratio=shown)).why
    both = decide(_evidence(_counts(0, 600), cost=DEARER, cost_ratio=shown)).why
    assert "it costs 20 % less (by the mean call of a conversation, as the saving is tested, 100 % more)" in both
    unknown = Estimate(value=None, reason="no cost or no quality above 0 yet")
    since = datetime(2026, 11, 24, 9, 30, tzinfo=UTC)
    changed = decide(_evidence(_counts(0, 600), cost=NEXT_PRICES, cost_ratio=unknown, prices_since=since)).why
    assert "; since prices changed on 2026-11-24 at 09:30 costs can not be compared yet" in changed


@pytest.mark.parametrize(
    ("state", "changed", "lead"),
    [
        ("promote", {"quality": _counts(0, 600)}, "beta could take over from alpha"),
        ("reject", {"quality": _counts(40)}, "beta was more than 0.05 worse in quality than alpha"),
        ("better_costlier", {"quality": _counts(20, 350, 90), "cost": DEARER}, "beta was better in quality than alpha"),
        ("equivalent", {"quality": _counts(0, 600), "cost": DEARER}, "beta gave no proved reason to leave alpha"),
        ("insufficient_data", {"quality": _counts(0, 9)}, "It was too early to judge beta against alpha"),
        ("undecided", {"quality": _counts(0, 60)}, "It was not known whether beta could take over from alpha"),
        (
            "withheld",
            {"quality": _counts(0, 600), "withheld": ["the judge is not trusted"]},
            "A verdict on beta against alpha was held back",
        ),
        (
            "withdrawn",
            {"quality": _counts(0, 600), "watch": Watch(blocks=[{-1.0: 60}])},
            "beta was fit to take over from alpha once, and had become more than 0.05 worse in quality",
        ),
    ],
)
def test_a_comparison_that_ended_is_told_in_the_past_and_waits_for_nothing(
    state: str, changed: Mapping[str, Any], lead: str
) -> None:
    verdict = decide(_evidence(ended="beta is not among shadow.candidates any more", traffic_share=0.8, **changed))
    assert (verdict.state, verdict.more_needed) == (state, None)
    assert verdict.ended == "beta is not among shadow.candidates any more"
    assert verdict.summary.startswith(f"{lead} when their comparison ended")
    assert "; it ended because beta is not among shadow.candidates any more; " in verdict.why
    assert "; this spoke for 80 % of the task's traffic" in verdict.why
    present = (" is +", "it costs", "speaks", "needed", "no longer", "nothing else", " can ")
    assert not [words for words in present if words in verdict.why]


def test_nothing_at_all_is_too_early_and_says_what_holds_it_back() -> None:
    verdict = decide(Evidence(primary="alpha", candidate="beta", alpha=0.04, withheld=["the price of beta is unknown"]))

    assert verdict.state == "insufficient_data"
    assert verdict.missing_share == 0
    assert verdict.quality_diff.value is None
    assert verdict.why.endswith("; with this reservation: the price of beta is unknown.")
    assert "costs can not be compared yet" in verdict.why
    assert verdict.more_needed is not None
    assert (verdict.more_needed.conversations_low, verdict.more_needed.conversations_high) == (50, 3000)
    assert verdict.more_needed.days is None


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"withheld": ["the judge is not trusted: it passed 5 of 12 controls"]}, "it passed 5 of 12 controls"),
        ({"missing": 48.0}, "scoring failed for 8 % of the conversations, more than the 5 % allowed"),
        (
            {"cost": CHEAPER.add(candidate_usd=None, primary_usd=1, reserve_usd=0.01)},
            None,
        ),
    ],
)
def test_what_is_not_trustworthy_withholds_a_promotion(changed: Mapping[str, Any], reason: str | None) -> None:
    verdict = decide(_evidence(_counts(0, 600), **changed))

    assert verdict.state == ("promote" if reason is None else "withheld")
    assert reason is None or (reason in verdict.why and "nothing else is missing" in verdict.why)
    assert verdict.more_needed is None


def test_a_verdict_held_back_says_what_it_takes_beside() -> None:
    verdict = decide(_evidence(_counts(10, 180, 10), withheld=["the judge is not trusted"]))

    assert verdict.state == "withheld"
    assert verdict.more_needed is not None
    assert "; but for that, about " in verdict.why


def test_costs_that_mostly_can_not_be_compared_withhold_it_too() -> None:
    cost = CHEAPER
    for _ in range(40):
        cost = cost.add(candidate_usd=0.001, primary_usd=0.01, reserve_usd=1.0)
    verdict = decide(_evidence(_counts(0, 600), cost=cost))

    assert verdict.state == "withheld"
    assert "(0 without a known cost, 40 with a reserve above the bound)" in verdict.why


def test_a_cost_test_of_another_saving_proves_nothing() -> None:
    verdict = decide(_evidence(_counts(0, 600), rules=Rules(min_saving=0.1)))

    assert verdict.state == "undecided"
    assert "not proved: at least 10 % cheaper" in verdict.why


def test_without_a_demand_for_saving_the_claim_is_cheaper() -> None:
    verdict = decide(_evidence(_counts(0, 100), rules=Rules(min_saving=0.0), cost=None))

    assert "not proved: at most 0.05 worse in quality, cheaper" in verdict.why


def test_missing_scores_widen_the_loss_that_is_excluded_and_it_is_said() -> None:
    verdict = decide(_evidence(_counts(0, 588), missing=12.0, unscored=12))

    assert verdict.state == "promote"
    assert verdict.effective_margin == pytest.approx(0.07)
    assert "scoring failed for 2 %, so the loss that can be excluded is 0.07, not 0.05" in verdict.why


def test_better_and_dearer_is_better_costlier_and_may_become_promote() -> None:
    better = decide(_evidence(_counts(20, 350, 90), cost=DEARER))

    assert better.state == "better_costlier"
    assert better.why.startswith("beta is better in quality than alpha, but not shown to be at least 5 % cheaper")
    assert "it costs 100 % more" in better.why
    assert "not proved" not in better.why
    later = decide(_evidence(_counts(20, 350, 90), latched=better.latched, cost=CHEAPER))
    assert later.state == "promote"
    assert "proved: better in quality, at least 5 % cheaper" in later.why


def test_better_and_cheaper_waits_for_its_guards_as_undecided() -> None:
    verdict = decide(_evidence(_counts(20, 350, 90), failures=None))

    assert verdict.state == "undecided"


def test_within_the_margin_and_no_saving_is_equivalent_and_stops() -> None:
    verdict = decide(_evidence(_counts(10, 700, 10), cost=DEARER))

    assert verdict.state == "equivalent"
    assert verdict.stops
    assert verdict.more_needed is None
    assert verdict.why.startswith("beta gives no reason to leave alpha, so it is shadowed no longer; proved:")


def test_an_untrusted_judge_does_not_prove_equality() -> None:
    verdict = decide(_evidence(_counts(0, 720), cost=DEARER, withheld=["the judge always says tie"]))

    assert verdict.state == "withheld"


def test_the_count_ends_at_max_conversations_without_calling_it_equal() -> None:
    verdict = decide(_evidence(_counts(80, 1800, 80), unscored=40, missing=40.0, rules=Rules(max_conversations=2000)))

    assert verdict.state == "promote"  # what is proved is said, whenever that was
    tied = decide(
        _evidence(_counts(280, 1400, 280), unscored=40, missing=40.0, rules=Rules(max_conversations=2000), cost=None)
    )
    assert tied.state == "equivalent"
    assert tied.stops
    assert "gives no proved reason to leave alpha after 2,000 conversations, where the count ends" in tied.why


def test_a_candidate_that_never_answers_is_not_asked_for_ever() -> None:
    verdict = decide(_evidence(_counts(0, 0), failures=FailureShares(primary={0.0: 9000}, candidate={1.0: 3000})))

    assert (verdict.state, verdict.stops) == ("equivalent", True)
    assert "gives no proved reason to leave alpha after 3,000 conversations, where the count ends" in verdict.why
    assert "100 % of a conversation's calls to it failed on average (0 % to the primary)" in verdict.why


def test_better_costlier_stops_where_the_count_ends_and_needs_no_more() -> None:
    verdict = decide(_evidence(_counts(20, 350, 90), cost=DEARER, rules=Rules(max_conversations=460)))

    assert verdict.state == "better_costlier"
    assert verdict.stops
    assert verdict.more_needed is None


def test_a_promotion_is_watched_as_long_as_it_took_at_most() -> None:
    rules = Rules(max_conversations=500)
    watching = decide(_evidence(_counts(0, 499), rules=rules, watch=Watch(blocks=({0.0: 499},))))
    watched = decide(_evidence(_counts(0, 500), rules=rules, watch=Watch(blocks=({0.0: 500},))))

    assert (watching.state, watching.stops) == ("promote", False)
    assert (watched.state, watched.stops) == ("promote", True)


def test_evidence_that_crossed_is_kept_and_said_to_have_faded() -> None:
    early = decide(_evidence(_counts(0, 300)))
    assert early.state == "promote"

    later = decide(_evidence(_counts(24, 376), latched=early.latched))

    assert later.state == "promote"
    assert "at most 0.05 worse in quality (proved after 300 conversations, less clear since)" in later.why
    assert decide(_evidence(_counts(24, 376))).state == "undecided"


def test_lost_trust_shows_withheld_and_trust_regained_shows_promote_again() -> None:
    promoted = decide(_evidence(_counts(0, 600)))
    withheld = decide(_evidence(_counts(0, 600), latched=promoted.latched, withheld=["the judge is not trusted"]))
    again = decide(_evidence(_counts(0, 601), latched=withheld.latched))

    assert (promoted.state, withheld.state, again.state) == ("promote", "withheld", "promote")


def test_a_loss_after_the_promotion_withdraws_it_for_good() -> None:
    promoted = decide(_evidence(_counts(0, 600)))
    lost = Watch(blocks=({-1.0: 14, 0.0: 26},))
    withdrawn = decide(_evidence(_counts(14, 626), latched=promoted.latched, watch=lost))

    assert withdrawn.state == "withdrawn"
    assert withdrawn.why.startswith(
        "beta was fit to take over from alpha, and has become more than 0.05 worse in quality since"
        " (difference -0.350 over the 40 conversations since);"
    )
    healed = Watch(blocks=({-1.0: 14, 0.0: 486},))
    assert decide(_evidence(_counts(14, 1086), latched=withdrawn.latched, watch=healed)).state == "withdrawn"
    assert decide(_evidence(_counts(14, 1086), latched=withdrawn.latched, watch=Watch())).state == "withdrawn"


@pytest.mark.parametrize(
    ("name", "latch", "holds"),
    [
        ("not_worse", Latch(bound=0.03, alpha=0.04, conversations=9), True),
        ("not_worse", Latch(bound=0.10, alpha=0.04, conversations=9), False),
        ("not_worse", Latch(bound=0.05, alpha=0.05, conversations=9), False),
        ("worse", Latch(bound=0.10, alpha=0.04, conversations=9), True),
        ("worse", Latch(bound=0.03, alpha=0.04, conversations=9), False),
    ],
)
def test_a_latch_counts_only_for_claims_it_covers(name: str, latch: Latch, holds: bool) -> None:  # noqa: FBT001
    verdict = decide(_evidence(_counts(30, 100, 30), latched={name: latch}))

    assert _proof(verdict, name) is holds


def test_a_new_cost_epoch_has_to_be_proved_anew() -> None:
    promoted = decide(_evidence(_counts(0, 600)))
    renewed = decide(_evidence(_counts(0, 600), latched=promoted.latched, cost=NEXT_PRICES))

    assert renewed.state == "undecided"
    assert "not proved: at least 5 % cheaper" in renewed.why


def test_a_cost_nobody_foresaw_leaves_no_proof_of_a_saving() -> None:
    cost = CHEAPER.add(candidate_usd=1.0, primary_usd=0.01, reserve_usd=0.05)
    verdict = decide(_evidence(_counts(0, 600), cost=cost))

    proof = next(proof for proof in verdict.proofs if proof.name == "cheaper:1")
    assert proof.log_e is None
    assert not proof.proved
    assert not proof.faded


def test_a_latched_saving_stays_when_it_can_not_be_tested_any_more() -> None:
    cost = CHEAPER.add(candidate_usd=1.0, primary_usd=0.01, reserve_usd=0.05)
    latched = {"cheaper:1": Latch(bound=0.05, alpha=0.04, conversations=100)}
    verdict = decide(_evidence(_counts(0, 600), cost=cost, latched=latched))

    assert verdict.state == "promote"
    assert "at least 5 % cheaper (proved after 100 conversations, less clear since)" in verdict.why


def test_the_decision_is_the_same_after_a_restart() -> None:
    evidence = _evidence(_counts(3, 100, 4), guards=[Guard(name="slo", margin=0.05, differences=_counts(1, 100))])
    restarted = msgspec.json.decode(msgspec.json.encode(evidence), type=Evidence)

    assert decide(restarted) == decide(evidence)
    assert len(msgspec.json.encode(evidence)) < 4000


def test_the_same_cost_is_said_to_be_the_same() -> None:
    assert "it costs the same" in decide(_evidence(_counts(3, 100, 4), cost=_cost(0.01))).why


def test_a_model_of_many_times_the_price_is_told_in_figures_people_read() -> None:
    assert "it costs 1,570 % more" in decide(_evidence(_counts(3, 100, 4), cost=_cost(0.0167, 0.001))).why
    assert "it costs 1,000 % more" in decide(_evidence(_counts(3, 100, 4), cost=_cost(0.010997, 0.001))).why


def test_a_saving_without_an_interval_is_given_without_one() -> None:
    verdict = decide(_evidence(_counts(3, 100, 4), saving_usd_per_month=Estimate(value=-3.456)))

    assert "; at this app's traffic it adds about $3.46 a month; " in verdict.why


_COUNT = st.integers(0, 4000)
_SHARES = st.dictionaries(st.sampled_from([0.0, 0.25, 1.0]), st.integers(0, 3000), max_size=3)


@settings(max_examples=100, deadline=None)
@given(
    counts=st.tuples(_COUNT, _COUNT, _COUNT),
    cost=st.sampled_from([None, CHEAPER, SAME_COST, DEARER, NEXT_PRICES]),
    failures=st.one_of(st.none(), st.builds(FailureShares, primary=_SHARES, candidate=_SHARES)),
    missing=st.integers(0, 100),
    withheld=st.lists(st.just("a reason"), max_size=1),
    lost=st.one_of(st.none(), st.integers(0, 300)),
    pace=st.sampled_from([None, PACE]),
)
def test_whatever_the_evidence_the_verdict_follows_its_rules(
    *,
    counts: tuple[int, int, int],
    cost: CostTest | None,
    failures: FailureShares | None,
    missing: int,
    withheld: list[str],
    lost: int | None,
    pace: Pace | None,
) -> None:
    watch = None if lost is None else Watch(blocks=({-1.0: lost, 0.0: 20},))
    evidence = _evidence(
        _counts(*counts),
        cost=cost,
        failures=failures,
        missing=float(missing),
        unscored=missing,
        withheld=withheld,
        watch=watch,
        pace=pace,
    )
    verdict = decide(evidence)

    proved = {proof.name.split(":")[0] for proof in verdict.proofs if proof.proved}
    assert (verdict.state == "reject") == ("worse" in proved)
    if verdict.state == "promote":
        assert proved >= {"not_worse", "cheaper", "failures"}
        assert evidence.conversations >= 50
    if verdict.state in {"promote", "better_costlier"}:
        assert not withheld
        assert verdict.missing_share <= 0.05
    assert verdict.stops or evidence.asked < 3000 or verdict.state == "promote"
    assert verdict.why.endswith(".")
    assert verdict.why.startswith(verdict.summary.removesuffix("."))
    needed = verdict.more_needed
    if needed is not None:
        assert needed.conversations_low is not None
        assert needed.conversations_high is not None
        assert 1 <= needed.conversations_low <= needed.conversations_high <= 3000 - evidence.asked
    again = decide(replace(evidence, latched=verdict.latched))
    assert (again.state, again.latched) == (verdict.state, verdict.latched)


@pytest.mark.parametrize("alpha", [0, 0.5, 1, math.nan])
def test_an_alpha_that_proves_nothing_is_refused(alpha: float) -> None:
    with pytest.raises(ValueError, match="alpha must lie between 0 and"):
        Evidence(primary="alpha", candidate="beta", alpha=alpha)


@pytest.mark.parametrize("changed", [{"margin": 0}, {"margin": 1}, {"failure_margin": 0}])
def test_margins_that_allow_nothing_or_all_are_refused(changed: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must lie between 0 and 1"):
        Rules(**changed)  # type: ignore[arg-type]
