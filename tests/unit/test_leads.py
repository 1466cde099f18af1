"""Where candidates stand by the weekly runs: as strict as a live verdict, and by the same rules. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from shadow.alerts.lookout import lead_observations
from shadow.alerts.words import Standing, beside, standing_of_lead
from shadow.leads import Lead, leads_of
from shadow.runfacts import Decider
from tests.support.runfacts import CHECK, JUDGE, answer, judged, pairs, plan, rulings, run, score

if TYPE_CHECKING:
    from shadow.ledger import Plan
    from shadow.runfacts import AnswerFact, RunFacts

CHEAP = {"cost_usd": 0.001}
ANY_FAILURES = 0.9
"""A failure margin that 400 conversations prove at once."""


def lead(*runs: RunFacts, by: Plan | None = None) -> Lead:
    (found,) = leads_of(runs, plan=by or plan())
    return found


def alerts(found: Lead) -> list[str]:
    standing = standing_of_lead(found, live=None)
    seen = lead_observations([standing], config_file="config.yaml", several_tasks=False)
    return [each.title for each in seen if not each.silent]


def test_a_prompt_counts_once_in_the_run_that_asked_it_first() -> None:
    first, again = pairs(0, 60, p=1.0, c=1.0), pairs(0, 60, p=1.0, c=0.0)
    found = lead(run(0, *first), run(1, *again, *pairs(60, 10, p=1.0, c=1.0)))
    assert (found.n, found.difference, found.runs, found.since_run, found.anew) == (70, 0.0, 2, "run-0", None)


def test_a_dear_equal_model_leads_nowhere_and_a_cheap_equal_one_is_promoted_when_all_is_proved() -> None:
    dear = lead(run(0, *pairs(0, 400, p=1.0, c=1.0, cost_usd=0.0098)))
    assert dear.state == "undecided"
    assert dear.why == (
        "Proved: at most 0.05 worse in quality, failing at most 2 percentage points more often. "
        "Not proved: at least 5 % cheaper."
    )
    found = lead(run(0, *pairs(0, 400, p=1.0, c=1.0, **CHEAP)))
    assert (found.state, found.why) == (
        "promote",
        "Proved: at most 0.05 worse in quality, at least 5 % cheaper, failing at most 2 percentage points more often.",
    )
    assert alerts(found) == ["c does the work of p for less - consider switching"]
    assert found.cost_ratio == pytest.approx(0.1)
    assert found.cost_per_quality_point == pytest.approx((0.01, 0.001))
    assert found.interval is not None
    assert -0.05 < found.interval[0] < 0 < found.interval[1]
    same = lead(run(0, *pairs(0, 400, p=1.0, c=1.0, cost_usd=0.05)))
    assert (same.state, same.why) == (
        "equivalent", "Proved: at most 0.05 worse in quality, at most 0.05 better in quality, less than 5 % cheaper.",
    )  # fmt: skip


def test_better_is_proved_apart_from_cheaper() -> None:
    better = lead(run(0, *pairs(0, 400, p=0.8, c=1.0)))
    assert (better.state, better.why) == (
        "better_costlier",
        "Proved: better in quality, failing at most 2 percentage points more often. Not proved: at least 5 % cheaper.",
    )
    both = lead(run(0, *pairs(0, 400, p=0.8, c=1.0, **CHEAP)))
    assert both.state == "promote"
    assert both.why.startswith("Proved: better in quality, at least 5 % cheaper, ")
    assert alerts(both) == ["c now outperforms p - consider switching"]


def test_a_bad_candidate_is_rejected_early_and_few_prompts_decide_nothing_else() -> None:
    bad = lead(run(0, *pairs(0, 30, p=1.0, c=0.0)))
    assert (bad.state, bad.why) == ("reject", "Proved: more than 0.05 worse in quality.")
    few = lead(run(0, *pairs(0, 30, p=1.0, c=1.0)))
    assert (few.state, few.why) == ("insufficient_data", "30 of the 50 conversations it takes are there.")
    assert lead(run(0, *pairs(0, 30, p=1.0, c=1.0)), by=plan(min_conversations=10)).state == "undecided"


def test_what_the_user_asks_for_is_what_a_lead_is_decided_by() -> None:
    cheap = run(0, *pairs(0, 400, p=1.0, c=1.0, cost_usd=0.006))
    assert lead(cheap).state == "promote"
    assert lead(cheap, by=plan(margin=0.01)).state == "undecided"
    assert "at least 50 % cheaper" in lead(cheap, by=plan(min_saving=0.5)).why
    assert lead(cheap, by=plan(min_saving=0.5)).state == "undecided"
    assert lead(cheap, by=plan(failure_margin=0.001)).state == "undecided"
    assert lead(cheap, by=plan(alpha=0.000001)).state == "undecided"
    assert lead(cheap, by=plan(min_conversations=500)).state == "insufficient_data"
    assert lead(cheap, by=plan(max_conversations=100)).state == "promote"  # weekly runs do not end there
    some_missing = run(0, *pairs(0, 400, p=1.0, c=1.0, **CHEAP), *pairs(400, 16, p=1.0, c=None, **CHEAP))
    assert lead(some_missing).state == "promote"
    assert lead(some_missing, by=plan(max_missing=0.01)).state == "withheld"


FAILING: dict[str, tuple[Decider, list[AnswerFact]]] = {
    "a judge compares, every second request is a 500": (
        JUDGE,
        [
            one
            for at in range(400)
            for one in (rulings(at, 1, None, outcome="error_http", scores=(), cost_usd=0.0) if at % 2
                        else rulings(at, 1, 0.0, **CHEAP))
        ],
    ),
    "two turns a conversation, the second times out": (
        CHECK,
        [
            answer(f"x{at}.{turn}", model, None if bad else 1.0, cluster=f"talk {at}",
                   cost_usd=0.01 if model == "p" else 0.001,
                   **({"outcome": "timeout", "scores": ()} if bad else {}))
            for at in range(400) for turn in (0, 1) for model in ("p", "c") for bad in [turn and model == "c"]
        ],
    ),
    "two repeats, one breaks off": (
        CHECK,
        [
            answer(f"x{at}", model, None if bad else 1.0, repeat=repeat, cost_usd=0.01 if model == "p" else 0.001,
                   **({"outcome": "error_stream", "scores": ()} if bad else {}))
            for at in range(400) for repeat in (0, 1) for model in ("p", "c") for bad in [repeat and model == "c"]
        ],
    ),
}  # fmt: skip


@pytest.mark.parametrize("situation", FAILING)
def test_a_candidate_that_fails_half_of_what_it_is_asked_leads_nowhere(situation: str) -> None:
    decider, answers = FAILING[situation]
    found = lead(run(0, *answers, decider=decider, judged=(judged(30),)), by=plan(decider))
    assert found.state == "undecided"
    assert found.difference == pytest.approx(-0.5)
    assert found.interval is not None
    assert found.interval[0] < -0.5 < found.interval[1]
    assert 2 * found.failures == found.answers == found.primary_answers
    assert (found.n, found.missing, found.primary_failures) == (400, 0, 0)
    assert "Not proved: at most 0.05 worse in quality, failing at most 2" in found.why
    counts = "has quality 0" if decider.absolute else "counts as a loss"
    assert f"answers (50 %) never came; such an answer {counts}; of the primary's" in found.why
    assert alerts(found) == []


def test_rare_failures_are_held_against_the_failure_margin_though_quality_and_saving_are_proved() -> None:
    lost = [one for at in range(16) for one in pairs(400 + at, 1, p=1.0, c=None, outcome="error_http", scores=(),
                                                      cost_usd=0.0)]  # fmt: skip
    answers = [*pairs(0, 400, p=1.0, c=1.0, **CHEAP), *pairs(500, 400, p=1.0, c=1.0, **CHEAP), *lost]
    found = lead(run(0, *answers))
    assert found.state == "undecided"
    assert "Proved: at most 0.05 worse in quality, at least 5 % cheaper. Not proved: failing at most 2" in found.why
    assert lead(run(0, *answers), by=plan(failure_margin=0.1)).state == "promote"
    # A primary that fails as often itself is no better.
    both = [answer(f"y{at}", "p", None, outcome="error_http", scores=()) for at in range(200)]
    both += [answer(f"y{at}", "c", 1.0) for at in range(200)]
    assert lead(run(0, *answers, *both)).state == "promote"
    assert lead(run(0, *answers, *both)).primary_failures == 200


def test_what_failed_speaks_never_for_a_loss_and_what_the_primary_failed_for_nothing() -> None:
    broken = pairs(0, 400, p=1.0, c=None, outcome="error_http", scores=(), cost_usd=0.0)
    assert lead(run(0, *broken)).state == "undecided"  # it may pass: no reason to reject
    answers = pairs(0, 400, p=1.0, c=1.0, **CHEAP)
    rest = [
        answer("y", "p", None, outcome="timeout", scores=()),
        answer("y", "c", 1.0),
        answer("only the primary", "p", 1.0),
        answer("nobody scored", "p", None),
        answer("nobody scored", "c", None, outcome="timeout", scores=()),
        answer("does not apply", "p", None, scores=(score(None, status="not_applicable"),)),
        answer("does not apply", "c", None, outcome="timeout", scores=()),
        answer("paused", "p", 1.0),
        answer("paused", "c", None, outcome="paused", scores=()),
    ]
    found = lead(run(0, *answers, *rest))
    assert (found.n, found.answers, found.failures, found.missing) == (400, 402, 2, 1)
    assert (found.primary_answers, found.primary_failures) == (404, 1)
    refused = lead(run(0, *pairs(0, 40, p=1.0, c=None, outcome="incompatible", scores=())))
    assert (refused.state, refused.difference, refused.failures) == ("reject", -1.0, 0)
    lost = lead(run(0, *rulings(0, 40, None, outcome="incompatible", scores=()), decider=JUDGE), by=plan(JUDGE))
    assert (lost.state, lost.difference) == ("reject", -1.0)
    unscored = pairs(0, 60, p=None, c=None, outcome="incompatible", scores=())
    assert lead(run(0, *unscored)).missing == 60


def test_what_the_evaluator_does_not_apply_to_is_left_out_and_no_failure() -> None:
    apart = {"scores": (score(None, status="not_applicable"),)}
    other = [answer(f"y{at}", model, None, **apart) for at in range(600) for model in ("p", "c")]
    found = lead(run(0, *pairs(0, 400, p=1.0, c=1.0, **CHEAP), *other))
    assert (found.state, found.n, found.not_applicable, found.missing) == ("promote", 400, 600, 0)
    assert found.why.endswith("600 conversations the evaluator does not apply to are left out.")
    half = [answer("z", "p", 1.0), answer("z", "c", None, **apart)]
    assert lead(run(0, *half)).not_applicable == 1


def test_missing_scores_and_unknown_costs_withhold() -> None:
    found = lead(run(0, *pairs(0, 100, p=1.0, c=1.0), *pairs(100, 20, p=1.0, c=None)))
    assert (found.state, found.missing) == ("withheld", 20)
    assert "scoring failed for 16.7 % of the conversations" in found.why
    few = lead(run(0, *pairs(0, 100, p=1.0, c=1.0), *pairs(100, 2, p=1.0, c=None)))
    assert few.why.endswith("Scoring failed in 2 conversations.")
    unpriced = lead(run(0, *pairs(0, 300, p=1.0, c=1.0, cost_usd=None)))
    assert (unpriced.state, unpriced.cost_ratio, unpriced.cost_per_quality_point) == ("withheld", None, (None, None))
    assert "without a known cost" in unpriced.why
    free = [answer(f"f{at}", model, 1.0, reserve_usd=0.0, cost_usd=0.0) for at in range(60) for model in ("p", "c")]
    assert lead(run(0, *free)).state == "undecided"


def test_a_judge_that_compares_gives_the_difference_itself() -> None:
    found = lead(run(0, *rulings(0, 300, 0.5), decider=JUDGE, judged=(judged(30),)), by=plan(JUDGE))
    assert (found.state, found.difference, found.cost_per_quality_point) == ("better_costlier", 0.5, (None, None))
    assert found.cost_ratio == pytest.approx(1.0)


def test_the_turns_of_a_conversation_are_one_unit_and_the_golden_set_counts_where_there_is_nothing_else() -> None:
    turns = [answer(f"x{at}", model, 1.0, cluster=f"talk {at // 5}") for at in range(20) for model in ("p", "c")]
    assert lead(run(0, *turns)).n == 4
    golden = [answer(f"g{at}", model, 1.0, golden=True) for at in range(20) for model in ("p", "c")]
    assert lead(run(0, *turns, *golden)).n == 4
    alone = lead(run(0, *golden))
    assert (alone.n, alone.unit) == (20, "golden prompts")
    assert alone.why == "20 of the 50 golden prompts it takes are there."


def test_alpha_is_shared_by_all_candidates_there_ever_were_and_only_the_latest_primary_counts() -> None:
    first = run(0, *pairs(0, 10, p=1.0, c=1.0))
    second = run(1, *pairs(10, 10, p=1.0, c=1.0), models=("p", "c", "d"))
    assert lead(first).level == pytest.approx(1 - 2 * 0.04)
    # One of five of what is left goes to the candidate that joined later.
    both = leads_of([first, second], plan=plan())
    assert [each.level for each in both] == pytest.approx([1 - 2 * 0.04, 1 - 2 * 0.008])
    assert leads_of([first, second], plan=plan(), candidates=["nobody"]) == []
    other = run(2, *[answer("z", model, 1.0) for model in ("q", "c")], primary="q", models=("q", "c"))
    assert lead(first, other).n == 1
    assert leads_of([], plan=plan()) == []
    assert leads_of([run(0, primary=None)], plan=plan()) == []
    assert leads_of([run(0, *pairs(0, 10, p=1.0, c=1.0), deciders={})], plan=plan()) == []  # nothing decides


RIGHT = Decider(evaluator="right-answer", version="1", absolute=True)


def by_right_answer(start: int, count: int, *, c: float) -> list[AnswerFact]:
    scores = {model: (score(value, evaluator="right-answer"),) for model, value in (("p", 1.0), ("c", c))}
    return [
        answer(f"x{at}", model, None, scores=scores[model], cost_usd=cost)
        for at in range(start, start + count)
        for model, cost in (("p", 0.01), ("c", 0.001))
    ]


def test_another_deciding_evaluator_or_version_begins_anew_and_says_so() -> None:
    formatted = [run(number, *pairs(40 * number, 40, p=1.0, c=1.0, **CHEAP)) for number in range(10)]
    assert lead(*formatted).state == "promote"
    right = [run(number, *by_right_answer(1000 + 50 * number, 50, c=0.7), decider=RIGHT) for number in (10, 11)]
    found = lead(*formatted, *right, by=plan(RIGHT))
    alone = lead(*right, by=plan(RIGHT))
    assert (found.state, found.n, found.difference, found.runs) == ("reject", 100, pytest.approx(-0.3), 2)
    assert (found.difference, found.interval, found.level) == (alone.difference, alone.interval, alone.level)
    assert (found.evaluator, found.version, found.since_run) == ("right-answer", "1", "run-10")
    assert found.anew == "Counted anew from the run of 2027-01-10 on, which right-answer 1 decides (is-json 1 before)."
    assert found.why == f"Proved: more than 0.05 worse in quality. {found.anew}"
    # Another version of the same evaluator is another measure; a prompt of before may count again.
    newer = Decider(evaluator="is-json", version="2", absolute=True)
    scores = (score(1.0, version="2"), score(0.0))  # scored again, and the old score is kept
    again = [answer(f"x{at}", model, None, scores=scores) for at in range(10) for model in ("p", "c")]
    old = [answer("old", model, 1.0) for model in ("p", "c")]  # not scored again: of another measure
    renewed = lead(*formatted, run(10, *again, *old, decider=newer), by=plan(newer))
    assert (renewed.n, renewed.difference, renewed.missing) == (10, 0.0, 0)
    assert renewed.anew is not None
    assert "which is-json 2 decides (is-json 1 before)" in renewed.anew
    # Runs in which the task was not asked are no break, and those that were judged alike before it count no more.
    gap = run(10, *by_right_answer(0, 5, c=1.0), decider=RIGHT)
    assert lead(*formatted, gap, run(11, *pairs(900, 5, p=1.0, c=1.0))).n == 5
    asked_elsewhere = run(10, deciders={})
    assert lead(*formatted, asked_elsewhere, run(11, *pairs(900, 5, p=1.0, c=1.0))).n == 405


def test_a_lead_waits_for_a_run_that_is_judged_as_traffic_is_now_and_not_for_shape_alone() -> None:
    runs = [run(0, *pairs(0, 400, p=1.0, c=1.0, **CHEAP))]
    changed = lead(*runs, by=plan(RIGHT))
    assert changed.state == "withheld"
    assert "right-answer 1 decides now, and no weekly run was judged by it yet" in changed.why
    shaped = lead(*runs, by=plan(judging={"format_only": True}))
    assert shaped.state == "withheld"
    assert "judged by the shape of answers alone (is-json)" in shaped.why


def test_guards_of_the_configuration_hold_a_lead_back_as_they_do_a_verdict() -> None:
    def guarded(candidate: float | None, **given: Any) -> list[AnswerFact]:
        made = []
        for at in range(400):
            for model, value in (("p", 1.0), ("c", candidate)):
                beside = score(value, evaluator="is-refusal", quality=False, **given)
                told = CHEAP if model == "c" else {}
                made.append(answer(f"x{at}", model, None, scores=(score(1.0), beside), **told))
        return made

    by = plan(judging={"guards": {"is-refusal": 0.05}, "versions": {"is-json": "1", "is-refusal": "1"}})
    assert lead(run(0, *guarded(1.0)), by=by).state == "promote"
    fallen = lead(run(0, *guarded(0.5)), by=by)
    assert fallen.state == "undecided"
    assert "at most 0.05 lower in is-refusal" in fallen.why
    assert lead(run(0, *guarded(1.0, version="0")), by=by).state == "undecided"  # of another version: nothing known
    assert lead(run(0, *guarded(None)), by=by).state == "undecided"
    compared = [
        answer(f"x{at}", model, None, scores=(score(1.0), *beside), cost_usd=cost)
        for at in range(400)
        for model, cost, beside in (
            ("p", 0.01, ()),
            ("c", 0.001, (score(0.0, evaluator="is-refusal", quality=False, pairwise=True),)),
        )
    ]
    assert lead(run(0, *compared), by=by).state == "promote"

    slow = plan(judging={"slo_ms": 150.0})
    in_time = pairs(0, 400, p=1.0, c=1.0, **CHEAP)
    assert lead(run(0, *in_time), by=slow).state == "promote"
    late = lead(run(0, *pairs(0, 400, p=1.0, c=1.0, latency_ms=200.0, **CHEAP)), by=slow)
    assert late.state == "undecided"
    assert "latency SLO" in late.why
    unknown = [answer(f"x{at}", model, 1.0, latency_ms=None) for at in range(60) for model in ("p", "c")]
    assert lead(run(0, *unknown), by=slow).state == "undecided"
    never = pairs(400, 100, p=1.0, c=None, outcome="timeout", scores=(), cost_usd=0.0)
    assert "latency SLO" in lead(run(0, *in_time, *never), by=slow).why


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        ((judged(10, 2),), "cannot be trusted: it passed 4 of 20 controls"),
        ((judged(0),), "it has had no control yet"),
        ((judged(10, failed=20),), "it gave no ruling for 40 of 100 (40%) pairs"),
    ],
)
def test_a_judge_that_has_not_shown_that_it_looks_withholds_a_lead(facts: Any, why: str) -> None:
    won = rulings(0, 300, 0.5)
    found = lead(run(0, *won, decider=JUDGE, judged=facts + facts), by=plan(JUDGE))
    assert found.state == "withheld"
    assert why in found.why
    assert lead(run(0, *won, decider=JUDGE, judged=(judged(30),)), by=plan(JUDGE)).state == "better_costlier"


FIELDS: dict[str, Any] = {
    "task": "default", "primary": "p", "candidate": "c", "state": "undecided", "why": "", "n": 92,
}  # fmt: skip


def test_where_live_traffic_says_something_else_the_words_say_what_each_rests_on() -> None:
    found = lead(run(0, *pairs(0, 400, p=1.0, c=1.0, **CHEAP)))
    live = Standing(**FIELDS)
    (seen,) = lead_observations([standing_of_lead(found, live=live)], config_file=None, several_tasks=False)
    assert (
        "The verdict on live traffic is another: undecided over 92 conversations. The weekly runs rest on prompts of "
        "the app that were asked anew" in seen.sentence
    )
    assert "Task default, 1 weekly run, 400 conversations" in seen.sentence
    agreed = standing_of_lead(found, live=Standing(**{**FIELDS, "state": "promote"})).beside
    assert agreed == "The verdict on live traffic is the same: promote over 92 conversations."
    verdict = beside(Standing(**FIELDS), standing_of_lead(found, live=None))
    assert "What the weekly runs say is another: promote over 400 conversations. The weekly runs" in verdict.beside
