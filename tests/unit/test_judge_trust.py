"""How far a judge can be trusted: what proves it, what speaks against it, and what is not known yet."""

from __future__ import annotations

import random
from functools import cache
from typing import Any

import pytest

from shadow.judge.figures import JudgeBook
from shadow.judge.trust import (
    Labels,
    Tally,
    controls_needed,
    judge_block,
    kappa_of,
    rate_interval,
    trust_of,
)

GOOD: dict[str, Any] = {"ruled": 100, "flips": 10, "ties": 30, "controls": 30, "controls_passed": 30, "calls": 230}


def tally(**given: Any) -> Tally:
    return Tally(**({"model": "judge", "version": "1"} | GOOD | given))


def trust(**given: Any) -> tuple[bool | None, str]:
    found = trust_of(tally(**given), max_missing=0.05)
    return found.trusted, found.reason


# --- the interval of the pass rate ---


def test_nineteen_controls_without_a_failure_prove_a_pass_rate_above_four_fifths() -> None:
    assert rate_interval(18, 18)[0] < 0.8 <= rate_interval(19, 19)[0]
    assert rate_interval(0, 0) == (0.0, 1.0)
    assert rate_interval(19, 19)[1] == 1.0
    assert rate_interval(0, 9)[0] == 0.0


@pytest.mark.parametrize(
    ("passed", "controls", "more"), [(0, 0, 19), (19, 19, 0), (12, 12, 7), (48, 50, 0), (38, 40, 1)]
)
def test_how_many_more_controls_would_do_is_told(passed: int, controls: int, more: int) -> None:
    assert controls_needed(passed, controls) == more
    assert rate_interval(passed + more, controls + more)[0] >= 0.8
    assert more == 0 or rate_interval(passed + more - 1, controls + more - 1)[0] < 0.8


def test_a_judge_that_failed_half_of_a_thousand_controls_will_not_make_it_up() -> None:
    assert controls_needed(500, 1000) is None


@pytest.mark.parametrize("rate", [0.5, 0.8, 0.95])
def test_the_interval_holds_the_rate_at_every_moment_in_at_least_95_of_100_runs(rate: float) -> None:
    interval = cache(rate_interval)
    chance = random.Random(20261127)
    missed = 0
    for _ in range(400):
        passed = 0
        for n in range(1, 121):
            passed += chance.random() < rate
            # What `rate_interval` decides, asked for this one rate: is it outside?
            low, high = interval(passed, n) if n % 20 == 0 else (0.0, 1.0)
            if not low - 1e-6 <= rate <= high + 1e-6:
                missed += 1
                break
    assert missed <= 0.05 * 400


def test_a_judge_whose_true_pass_rate_is_too_low_is_hardly_ever_proved() -> None:
    # The runs pass by the same counts again and again, and each count has one answer: it is worked out once.
    needed = cache(controls_needed)
    chance = random.Random(7)
    proved = 0
    for _ in range(400):
        passed = 0
        for n in range(1, 151):
            passed += chance.random() < 0.8
            if needed(passed, n) == 0:
                proved += 1
                break
    assert proved <= 0.05 * 400


# --- trusted, not trusted, not known ---


def test_a_judge_that_passes_its_controls_and_keeps_to_its_word_is_trusted() -> None:
    trusted, reason = trust()
    assert trusted is True
    assert reason.startswith(
        "the judge judge can be trusted: it passed 30 of 30 controls (at least 86% in the long run)"
    )
    assert reason.endswith("its orders disagree in 10 of 100 (10%) pairs")


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"controls": 20, "controls_passed": 5}, "it passed 5 of 20 controls, at most 74% in the long run where 80%"),
        ({"flips": 31}, "its ruling changes with the order of the answers in 31 of 100 (31%) pairs, at most 30%"),
        ({"failed": 6}, "it gave no ruling for 6 of 106 (6%) pairs, at most 5% may be missing"),
    ],
)
def test_what_speaks_against_a_judge_is_said(given: dict[str, Any], sentence: str) -> None:
    trusted, reason = trust(**given)
    assert trusted is False
    assert reason.startswith("the judge judge cannot be trusted: ")
    assert sentence in reason


def test_a_few_pairs_prove_nothing_against_a_judge() -> None:
    trusted, reason = trust(ruled=5, flips=5, failed=3, controls=1, controls_passed=0)
    assert trusted is None
    assert reason.startswith("it is not known yet whether the judge judge can be trusted: it passed 0 of 1 controls")


@pytest.mark.parametrize(
    ("given", "ending"),
    [
        ({"controls": 0, "controls_passed": 0}, "it has had no control yet; 19 more, all passed, would do"),
        ({"controls": 12, "controls_passed": 12}, "(at least 72% in the long run); 7 more, all passed, would do"),
        ({"ruled": 0, "flips": 0, "identical": 9}, "all pairs were identical, it was never asked"),
        ({"ruled": 0, "flips": 0}, "no pair is judged yet"),
    ],
)
def test_what_is_missing_until_it_is_known_is_said(given: dict[str, Any], ending: str) -> None:
    trusted, reason = trust(**given)
    assert trusted is None
    assert reason.endswith(ending)


def test_what_would_take_a_thousand_controls_is_not_promised() -> None:
    trusted, reason = trust(controls=100_000, controls_passed=80_000)
    assert trusted is None
    assert reason.endswith("long run)")


def test_a_judge_of_single_answers_is_proved_by_its_controls_and_has_no_orders() -> None:
    trusted, reason = trust(pairwise=False, controls=30, controls_passed=30)
    assert trusted is True
    assert reason.endswith("it passed 30 of 30 controls (at least 86% in the long run)")
    assert trust(pairwise=False, controls=30, controls_passed=3)[0] is False
    assert trust(pairwise=False, controls=0, controls_passed=0)[0] is None


@pytest.mark.parametrize("counts", [{1.0: 40, 0.0: 60}, {-1.0: 40, 0.0: 60}])
def test_a_judge_that_finds_a_difference_between_two_answers_of_one_model_is_not_trusted(
    counts: dict[float, int],
) -> None:
    found = trust_of(tally(), max_missing=0.05, aa_counts=counts)
    assert found.trusted is False
    assert "a difference between two answers of the same model (100 pairs of the primary)" in found.reason
    assert trust_of(tally(), max_missing=0.05, aa_counts={1.0: 5, -1.0: 5, 0.0: 20}).trusted is True


# --- labels ---


def test_kappa_is_agreement_beyond_chance_with_an_interval_that_is_never_empty() -> None:
    found = kappa_of(Labels(counts={("primary", "primary"): 20, ("tie", "tie"): 15, ("candidate", "primary"): 15}))
    assert found.n == 50
    assert found.agreement == 0.7
    # chance agreement: .4 x .7 + .3 x .3 = .37
    assert found.kappa == pytest.approx((0.7 - 0.37) / (1 - 0.37))
    assert found.ci is not None
    assert found.ci[0] < (found.kappa or 0) < found.ci[1]


def test_full_agreement_of_few_labels_still_has_a_wide_interval() -> None:
    found = kappa_of(Labels(counts={("primary", "primary"): 3, ("candidate", "candidate"): 3}))
    assert found.kappa == 1.0
    assert found.ci is not None
    assert found.ci[0] < 0.2
    assert found.ci[1] == 1.0


def test_kappa_is_not_told_without_labels_or_where_everybody_says_one_thing() -> None:
    assert kappa_of(Labels()).reason == "no pair has been labelled; shadow-gateway label does that"
    same = kappa_of(Labels(counts={("tie", "tie"): 9}))
    assert (same.agreement, same.kappa, same.ci) == (1.0, None, None)
    assert "nothing tells agreement from chance" in (same.reason or "")


# --- the block ---


def test_the_block_of_a_comparison_without_a_judge_invents_nothing() -> None:
    block = judge_block(None)
    assert block["trusted"] is None
    assert block["reason"] == "no judge decides here"
    assert block["model"] is None
    assert block["control_pass_rate"] == {"value": None, "ci": None, "n": 0, "without_ruling": 0}
    assert block["aa_evidence"] == {
        "greater": None,
        "less": None,
        "n": 0,
        "reason": "the primary has not been asked twice yet",
    }
    for name in ("coverage", "missing", "flip_rate", "tie_rate", "length_ratio"):
        assert block[name] is None
    assert block["warnings"] == []


def test_the_block_tells_shares_money_and_what_to_keep_in_mind() -> None:
    found = tally(
        failed=25,
        identical=75,
        primary_chars=1000,
        candidate_chars=1600,
        cost_usd=0.5,
        unpriced_calls=2,
        failed_calls=3,
    )
    block = judge_block(found, aa_counts={0.0: 30}, relatives=("judge-2",), max_missing=0.2)
    assert block["coverage"] == 0.8
    assert block["missing"] == 0.125
    assert (block["flip_rate"], block["tie_rate"]) == (0.1, 0.3)
    assert block["control_pass_rate"]["value"] == 1.0
    assert block["control_pass_rate"]["ci"] == list(rate_interval(30, 30))
    assert block["length_ratio"] == 1.6
    assert block["aa_evidence"]["n"] == 30
    assert block["aa_evidence"]["greater"] < 20
    assert block["self_preference_risk"] is True
    assert block["trusted"] is True
    assert [warning.split(":")[0] for warning in block["warnings"]] == [
        "self-preference",
        "the candidate's answers are 1.6 times as long",
        "of 2 calls the cost is not known; the budget was charged the worst case",
    ]
    assert judge_block(tally(pairwise=False))["flip_rate"] is None


# --- from rows ---


def row(**given: Any) -> dict[str, Any]:
    counts = dict.fromkeys(
        (
            *("ruled", "identical_pairs", "failed", "flips", "ties", "unreadable_calls", "failed_calls", "calls"),
            *("controls", "controls_passed", "controls_failed_to_rule", "primary_chars", "candidate_chars"),
            *("unpriced_calls", "is_single"),
        ),
        0,
    )
    names = {"task": "t", "primary": "p", "candidate": "c", "model": "claude-judge", "version": "1", "latest": 1}
    return names | {"evaluator": "llm-pairwise"} | counts | {"cost_usd": 0.25, "control_cost_usd": 0.05} | given


def test_controls_are_added_up_over_the_candidates_beside_one_primary() -> None:
    book = JudgeBook(
        [
            row(ruled=50, controls=10, controls_passed=10),
            row(candidate="d", ruled=40, controls=12, controls_passed=12, controls_failed_to_rule=1),
            row(primary="other", ruled=40, controls=5),
        ]
    )
    block = book.block("t", "p", "c")
    assert block["control_pass_rate"]["n"] == 22
    assert block["control_pass_rate"]["without_ruling"] == 1
    assert block["judgements"] == 50
    assert block["trusted"] is True
    trust = book.trust("t", "p", "d", evaluator="llm-pairwise", version="1")
    assert trust is not None
    assert trust.trusted is True


def test_the_newest_judge_is_told_and_the_money_of_all() -> None:
    old, new = row(ruled=50, latest=1, version="1"), row(ruled=7, latest=2, version="2")
    for rows in ([old, new], [new, old]):
        block = JudgeBook(rows).block("t", "p", "c")
        assert (block["version"], block["judgements"]) == ("2", 7)
        assert (block["cost_usd"], block["control_cost_usd"]) == (0.5, 0.1)


def test_a_verdict_is_carried_by_the_trust_of_its_own_judge_whoever_ruled_last() -> None:
    proven = {"ruled": 50, "controls": 40, "controls_passed": 40}
    failing = {"ruled": 50, "controls": 40}
    deciding, other = row(version="new", latest=1, **failing), row(version="old", latest=2, **proven)
    for rows in ([deciding, other], [other, deciding]):
        book = JudgeBook(rows, unusable={"t": "there is no API key"})
        said = [book.trust("t", "p", "c", evaluator="llm-pairwise", version=version) for version in ("new", "old", "3")]
        assert [trust.trusted for trust in said if trust is not None] == [False, True, False]
        assert [trust.reason for trust in said if trust is not None][2] == "there is no API key"
        assert JudgeBook(rows).trust("t", "p", "c", evaluator="llm-rubric", version="new") is None


def test_labels_belong_to_the_judge_they_stand_beside() -> None:
    label = {"task": "t", "primary": "p", "candidate": "c", "model": "claude-judge", "person": "primary"}
    labels = [
        {**label, "version": "1", "judge": "primary", "count": 3},
        {**label, "version": "1", "judge": "tie", "count": 1},
        {**label, "version": "0", "judge": "tie", "count": 9},
    ]
    block = JudgeBook([row(ruled=50)], labels).block("t", "p", "c")
    assert (block["labels"]["n"], block["labels"]["agreement"]) == (4, 0.75)


def test_why_a_judge_cannot_be_asked_is_told_in_its_block_and_holds_the_verdict_back() -> None:
    book = JudgeBook([], unusable={"t": "there is no API key"})
    assert book.block("t", "p", "c")["reason"] == "there is no API key"
    trust = book.trust("t", "p", "c", evaluator="llm-pairwise", version="1")
    assert trust is not None
    assert (trust.trusted, trust.reason) == (False, "there is no API key")
    assert book.trust("another", "p", "c", evaluator="llm-pairwise", version="1") is None
    assert book.tally("another", "p", "c") is None


def test_a_judge_of_the_house_of_a_compared_model_is_named() -> None:
    block = JudgeBook([row(primary="claude-sonnet-5", ruled=1)]).block("t", "claude-sonnet-5", "c")
    assert block["self_preference_risk"] is True
    assert block["relatives"] == ["claude-sonnet-5"]
    assert JudgeBook([row(primary=None, ruled=1)]).block("t", None, "c")["relatives"] == []
