"""A run in figures: per task and model, with intervals; the fields are those of `/stats`. Pure.

The unit of statistics is the cluster (a conversation) or, without one, the case: its answers and repeats are averaged
first, for they are not independent of one another.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, Any

from shadow.benchmark.intervals import Interval, mean_interval, quantile_interval, ratio_interval
from shadow.benchmark.paired import Unit, cost_comparison, quality_comparison
from shadow.records import Outcome
from shadow.stats.figures import distribution, finite, mean, ratio, total
from shadow.stats.insights import insights

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from shadow.records import StoredScore
    from shadow.runs import Case, Run, RunAnswer, RunResult

ALPHA = 0.05
"""Intervals hold with probability 1 - ALPHA, each by itself."""

MIN_QUALITY = 0.05
"""Where mean quality may be this low, a cost per quality point says nothing."""

FAILED = frozenset(
    {Outcome.ERROR_CONNECT, Outcome.ERROR_HTTP, Outcome.ERROR_STREAM, Outcome.TIMEOUT, Outcome.INCOMPATIBLE}
)
"""Ends that an app would have seen as an error; `paused` and `aborted` say nothing of the model."""

_TRANSIENT = FAILED - {Outcome.INCOMPATIBLE}

_ERRORS_TOLD = 3

PAIRWISE = "a pairwise evaluator gives no answer an absolute quality; see the comparisons"

Row = dict[str, Any]


def summarize(
    result: RunResult, *, missing_line: Callable[[str], str | None] = lambda _: None, alpha: float = ALPHA
) -> Row:
    """Turn a run into figures: `{run, level, tasks: [{task, models, comparisons, insights}]}`, plain JSON values.

    `missing_line` gives the line of `prices:` to add for a model whose price is unknown, None for one that is known.
    """
    cases = {case.id: case for case in result.cases}
    by_task: dict[str, list[RunAnswer]] = {}
    for case in result.cases:
        by_task.setdefault(case.task, [])
    for answer in result.answers:
        by_task[cases[answer.cell.case_id].task].append(answer)
    return {
        "run": run_header(result.run),
        "level": 1 - alpha,
        "tasks": [
            _task(task, answers, cases, result.run, alpha=alpha, missing_line=missing_line)
            for task, answers in sorted(by_task.items())
        ],
    }


def run_header(run: Run) -> Row:
    """Give what a list of runs shows of one."""
    return {
        "id": run.id,
        "kind": run.kind,
        "name": run.name,
        "period": run.period,
        "state": run.state,
        "reason": run.reason,
        "started_at": run.started_at,
        "finished_at": run.finished_at,
        "models": list(run.models),
        "primary": run.primary,
        "repeats": run.repeats,
        "seed": run.seed,
        "cases": run.cases,
        "cells": run.cells,
        "answered": run.answered,
        "max_cost_usd": run.max_cost_usd,
        "estimate_usd": run.estimate_usd,
        "spent_usd": run.spent_usd,
        "reserved_usd": run.reserved_usd,
        "evaluators": {
            task: [{"name": each.name, "version": each.version, "quality": each.quality} for each in listed]
            for task, listed in run.evaluators.items()
        },
        "base_urls": dict(run.base_urls),
        "note": run.note,
    }


def unit_of(case: Case) -> str:
    """Name the unit of statistics a case belongs to."""
    return case.id if case.cluster is None else f"cluster {case.cluster}"


def deciding(answer: RunAnswer) -> StoredScore | None:
    """Give the score that is this answer's quality; None when there is none."""
    return next((stored for stored in answer.scores if stored.quality), None)


def quality_of(answer: RunAnswer) -> float | None:
    """Give an answer's absolute quality: 0 for a failure, None where it is missing, inapplicable or only compared."""
    if answer.answer.outcome in FAILED:
        return 0.0
    score = deciding(answer)
    return score.score.value if score is not None and score.role != "pair" else None


def means_by_unit(values: Iterable[tuple[str, float]]) -> dict[str, float]:
    """Average per unit."""
    units: dict[str, list[float]] = {}
    for unit, value in values:
        units.setdefault(unit, []).append(value)
    return {unit: math.fsum(found) / len(found) for unit, found in units.items()}


def model_row(
    model: str,
    answers: Sequence[RunAnswer],
    cases: Mapping[str, Case],
    *,
    role: str = "candidate",
    pairwise: bool = False,
    missing_line: Callable[[str], str | None] = lambda _: None,
    alpha: float = ALPHA,
) -> Row:
    """Build one model's row out of its answers in one task. `pairwise`: the deciding evaluator compares two answers."""
    latency_ms = _times([each.answer.latency_ms for each in answers if each.ended_well], "no answer ended well", alpha)
    firsts = [each.answer.ttft_ms for each in answers if each.ended_well and each.answer.streamed]
    ttft_ms = _times([value for value in firsts if value is not None], "no streamed answer ended well", alpha)
    cost_usd = _cost(model, answers, missing_line)
    quality = _quality(answers, cases, alpha, pairwise=pairwise)
    per_point = _cost_per_point(answers, cases, quality, alpha)
    return {
        "model": model,
        "role": role,
        "requests": len(answers),
        "attempts": sum(each.attempts for each in answers),
        "retries": sum(max(0, each.attempts - 1) for each in answers),
        "outcomes": _counted(answers),
        "error_rate": ratio(sum(each.answer.outcome in FAILED for each in answers), _ended(answers)),
        "error_rate_ci": _error_interval(answers, cases, alpha),
        "errors": _errors(answers),
        "latency_ms": latency_ms,
        "ttft_ms": ttft_ms,
        "tokens": _tokens(answers),
        "cost_usd": cost_usd,
        "quality": quality,
        "cost_per_quality_point_usd": per_point,
        "avg_latency_ms": latency_ms["avg"],
        "avg_quality": quality["avg"],
        "total_cost": cost_usd["total"],
        "cost_per_quality_point": per_point["value"],
        "models_answered": sorted({each.answer.model_answered for each in answers if each.answer.model_answered}),
    }


def _task(
    task: str,
    answers: Sequence[RunAnswer],
    cases: Mapping[str, Case],
    run: Run,
    *,
    alpha: float,
    missing_line: Callable[[str], str | None],
) -> Row:
    by_model: dict[str, list[RunAnswer]] = {model: [] for model in run.models}
    for answer in answers:
        by_model.setdefault(answer.cell.model, []).append(answer)
    rows = [
        model_row(
            model,
            found,
            cases,
            role="primary" if model == run.primary else "candidate",
            pairwise=any(each.quality and not each.absolute for each in run.evaluators.get(task, ())),
            missing_line=missing_line,
            alpha=alpha,
        )
        for model, found in by_model.items()
    ]
    return {
        "task": task,
        "cases": sum(case.task == task for case in cases.values()),
        "models": rows,
        "comparisons": _comparisons(by_model, cases, run, alpha),
        "insights": insights(rows),
    }


def _comparisons(
    by_model: Mapping[str, Sequence[RunAnswer]], cases: Mapping[str, Case], run: Run, alpha: float
) -> list[Row]:
    """Set every model beside the run's primary, or beside its first model where it has none."""
    base = run.primary if run.primary in by_model else next(iter(by_model), None)
    if base is None:
        return []
    return [
        {
            "primary": base,
            "candidate": model,
            **compare_answers(by_model[base], found, cases, alpha=alpha),
        }
        for model, found in by_model.items()
        if model != base
    ]


def compare_answers(
    primary: Sequence[RunAnswer], candidate: Sequence[RunAnswer], cases: Mapping[str, Case], *, alpha: float = ALPHA
) -> Row:
    """Compare two models' answers to the same cases, pair by pair: quality, cost, latency.

    A refused request (`incompatible`) has quality 0; a pair in which one side failed (429, 5xx, timeout) or was given
    up teaches nothing of quality and is counted apart.
    """
    beside = {(each.cell.case_id, each.repeat): each for each in primary}
    pairs = [
        (cases[each.cell.case_id], beside[each.cell.case_id, each.repeat], each)
        for each in candidate
        if (each.cell.case_id, each.repeat) in beside and each.cell.case_id in cases
    ]
    return {
        "pairs": len(pairs),
        "failed": {
            "primary": sum(one.answer.outcome in _TRANSIENT for _, one, _ in pairs),
            "candidate": sum(other.answer.outcome in _TRANSIENT for _, _, other in pairs),
        },
        "quality_diff": {
            **quality_comparison(_quality_units(pairs), alpha),
            "failed": sum(not (_settled(one) and _settled(other)) for _, one, other in pairs),
        },
        "cost_ratio": cost_comparison(
            [
                Unit(name=unit_of(case), primary=one.cost.uncached_usd, candidate=other.cost.uncached_usd)
                for case, one, other in pairs
            ],
            alpha,
        ),
        "latency_diff_ms": _latency_diff(pairs),
    }


def _quality_units(pairs: Sequence[tuple[Case, RunAnswer, RunAnswer]]) -> list[Unit]:
    """Qualities of both sides; from an evaluator that compares, the candidate's difference against 0.

    A question to which the evaluator does not apply, on either side, is none of its population and not missing.
    """
    units = []
    for case, one, other in pairs:
        if not (_settled(one) and _settled(other)) or (_inapplicable(one) and _inapplicable(other)):
            continue
        score = deciding(other)
        if score is not None and score.role == "pair":
            units.append(Unit(name=unit_of(case), primary=0.0, candidate=score.score.value))
        else:
            units.append(Unit(name=unit_of(case), primary=quality_of(one), candidate=quality_of(other)))
    return units


def _inapplicable(answer: RunAnswer) -> bool:
    score = deciding(answer)
    return score is not None and score.score.status == "not_applicable"


def _settled(answer: RunAnswer) -> bool:
    return answer.ended_well or answer.answer.outcome is Outcome.INCOMPATIBLE


def _latency_diff(pairs: Sequence[tuple[Case, RunAnswer, RunAnswer]]) -> Row:
    differences = [
        other.answer.latency_ms - one.answer.latency_ms
        for _, one, other in pairs
        if one.ended_well and other.ended_well
    ]
    told = distribution(differences, none_because="no pair in which both answers ended well")
    return {name: told[name] for name in ("n", "p50", "p95", "reason")}


def _counted(answers: Sequence[RunAnswer]) -> dict[str, int]:
    counts = Counter(each.answer.outcome.value for each in answers)
    return {outcome.value: counts[outcome.value] for outcome in Outcome if counts[outcome.value]}


def _errors(answers: Sequence[RunAnswer]) -> list[Row]:
    """Say what the failures were, the most frequent first; `error` is what the endpoint said, or what we know."""
    told = Counter(
        (each.answer.outcome.value, each.answer.status, each.answer.error)
        for each in answers
        if each.answer.outcome in FAILED
    )
    return [
        {"outcome": outcome, "status": status, "error": error, "count": count}
        for (outcome, status, error), count in told.most_common(_ERRORS_TOLD)
    ]


def _ended(answers: Sequence[RunAnswer]) -> int:
    return sum(each.ended_well or each.answer.outcome in FAILED for each in answers)


def _error_interval(answers: Sequence[RunAnswer], cases: Mapping[str, Case], alpha: float) -> Interval | None:
    ended = (
        (unit_of(cases[each.cell.case_id]), float(each.answer.outcome in FAILED))
        for each in answers
        if each.ended_well or each.answer.outcome in FAILED
    )
    return mean_interval(list(means_by_unit(ended).values()), alpha)


def _times(values: Sequence[float], none_because: str, alpha: float) -> Row:
    told = distribution(values, none_because=none_because)
    ordered = sorted(values)
    for percent in (50, 95):
        told[f"p{percent}_ci"] = quantile_interval(ordered, percent, alpha) if ordered else None
    return told


def _tokens(answers: Sequence[RunAnswer]) -> dict[str, int]:
    """Tokens of the last attempts."""
    known = [each.answer.usage for each in answers if each.answer.usage is not None]
    return {
        "input": sum(usage.input for usage in known),
        "cache_read": sum(usage.cache_read for usage in known),
        "cache_write": sum(usage.cache_write_5m + usage.cache_write_1h for usage in known),
        "output": sum(usage.output for usage in known),
        "unknown": sum(each.ended_well and each.answer.usage is None for each in answers),
    }


def _cost(model: str, answers: Sequence[RunAnswer], missing_line: Callable[[str], str | None]) -> Row:
    """Billed cost of all attempts; what scoring cost stands beside it, for a switch would not bring it."""
    priced = [(each, each.cost.billed_usd) for each in answers if each.cost.billed_usd is not None]
    unpriced = len(answers) - len(priced)
    spent = total([cost for _, cost in priced])
    line = missing_line(model) if unpriced else None
    sources = Counter(each.cost.source for each in answers if each.cost.billed_usd is None)
    reason = None
    if unpriced:
        told = f"price unknown, add {line}" if line else ", ".join(f"{count} {why}" for why, count in sources.items())
        reason = f"{unpriced} of {len(answers)} have no known cost and are left out: {told}"
    return {
        "total": spent,
        "per_request": ratio(spent, len(priced)),
        "per_success": ratio(spent, sum(each.ended_well for each, _ in priced)),
        "unpriced": unpriced,
        "scoring": math.fsum(stored.score.cost_usd for each in answers for stored in each.scores),
        "basis": "billed",
        "reason": reason,
        "add_to_config": line,
    }


def _quality(answers: Sequence[RunAnswer], cases: Mapping[str, Case], alpha: float, *, pairwise: bool) -> Row:
    """`avg` and `ci` are over answers that came, as in `/stats`; `with_failures` counts a failure as 0."""
    well = [each for each in answers if each.ended_well]
    scores = [(each, deciding(each)) for each in well]
    values = [
        (unit_of(cases[each.cell.case_id]), score.score.value)
        for each, score in scores
        if score is not None and score.role != "pair" and score.score.value is not None
    ]
    failures = [(unit_of(cases[each.cell.case_id]), 0.0) for each in answers if each.answer.outcome in FAILED]
    inapplicable = sum(score is not None and score.score.status == "not_applicable" for _, score in scores)
    missing = 0 if pairwise else len(well) - len(values) - inapplicable
    by_unit = list(means_by_unit(values).values())
    # Where nothing that came could be scored, failures alone say nothing of quality.
    all_units = list(means_by_unit([*values, *failures]).values()) if values or not well else []
    return {
        "avg": mean(by_unit),
        "ci": mean_interval(by_unit, alpha),
        "n": len(values),
        "units": len(by_unit),
        "missing": missing,
        "not_applicable": inapplicable,
        "with_failures": {"avg": mean(all_units), "ci": mean_interval(all_units, alpha), "units": len(all_units)},
        "reason": _no_quality(scores, values=len(values), pairwise=pairwise, missing=missing),
        "by_evaluator": _by_evaluator(answers, cases, alpha),
    }


def _no_quality(
    scores: Sequence[tuple[RunAnswer, StoredScore | None]], *, values: int, pairwise: bool, missing: int
) -> str | None:
    if values:
        return None
    if pairwise:
        return PAIRWISE
    if not scores:
        return "no answer ended well"
    told = Counter(score.score.reason for _, score in scores if score is not None and score.score.reason)
    why = f": {told.most_common(1)[0][0]}" if told else ""
    kind = f"{missing} missing" if missing else "the deciding evaluator applies to none of them"
    return f"none of the {len(scores)} answers has a quality, {kind}{why}"


def _by_evaluator(answers: Sequence[RunAnswer], cases: Mapping[str, Case], alpha: float) -> Row:
    named: dict[str, list[tuple[str, StoredScore]]] = {}
    for answer in answers:
        for stored in answer.scores:
            named.setdefault(stored.evaluator, []).append((unit_of(cases[answer.cell.case_id]), stored))
    return {name: _one_evaluator(named[name], alpha) for name in sorted(named)}


def _one_evaluator(scores: Sequence[tuple[str, StoredScore]], alpha: float) -> Row:
    values = [(unit, stored.score.value) for unit, stored in scores if stored.score.value is not None]
    pairwise = any(stored.role == "pair" for _, stored in scores)
    by_unit = list(means_by_unit(values).values())
    return {
        "avg": mean(by_unit),
        "ci": None if pairwise else mean_interval(by_unit, alpha),
        "n": len(values),
        "missing": sum(stored.score.status == "failed" for _, stored in scores),
        "not_applicable": sum(stored.score.status == "not_applicable" for _, stored in scores),
        "decides": any(stored.quality for _, stored in scores),
        "pairwise": pairwise,
        "versions": sorted({stored.version for _, stored in scores}),
        "cost_usd": math.fsum(stored.score.cost_usd for _, stored in scores),
    }


def _cost_per_point(answers: Sequence[RunAnswer], cases: Mapping[str, Case], quality: Row, alpha: float) -> Row:
    """Sum of costs over sum of qualities; failures and retries with their cost. Billed cost of an uncached prompt."""
    graded = [(unit_of(cases[each.cell.case_id]), each.cost.uncached_usd, quality_of(each)) for each in answers]
    known = [(unit, cost, value) for unit, cost, value in graded if cost is not None and value is not None]
    unpriced = sum(value is not None and cost is None for _, cost, value in graded)
    reason = quality["reason"] and f"n/a: {quality['reason']}"
    low = quality["with_failures"]["ci"]
    if reason is None and low is not None and low[0] <= MIN_QUALITY:
        reason = f"n/a: mean quality may be as low as {low[0]:.3f} (needed above {MIN_QUALITY})"
    if reason is None and not known:
        reason = "n/a: no cost of a scored answer is known"
    costs, points = _sums_by_unit(known)
    value = None if reason else finite(math.fsum(costs) / math.fsum(points)) if math.fsum(points) > 0 else None
    interval = None if value is None else ratio_interval(costs, points, alpha)
    return {
        "value": value,
        "ci": interval,
        "n": len(known),
        "unpriced": unpriced,
        "basis": "uncached",
        "reason": reason or _no_interval(interval, units=len(costs), unpriced=unpriced),
    }


def _no_interval(interval: Interval | None, *, units: int, unpriced: int) -> str | None:
    parts = [] if interval is not None else [f"ci is null: {units} cases are too few"]
    return "; ".join([*parts, *([f"{unpriced} without a known cost are left out"] if unpriced else [])]) or None


def _sums_by_unit(graded: Sequence[tuple[str, float, float]]) -> tuple[list[float], list[float]]:
    sums: dict[str, tuple[float, float]] = {}
    for unit, cost, value in graded:
        before = sums.get(unit, (0.0, 0.0))
        sums[unit] = (before[0] + cost, before[1] + value)
    return [cost for cost, _ in sums.values()], [value for _, value in sums.values()]
