"""One row of the models' table out of rollups: the same fields as `shadow.stats.models` makes of single calls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from shadow.records import FAILURES, Outcome
from shadow.stats.figures import finite, percentile_bounds, ratio
from shadow.stats.models import (
    MEASURED,
    NO_OVERHEAD,
    OF_THE_EPOCH,
    no_cost_per_point,
    requests_of_known_cost,
    why_unpriced,
    with_versions,
)
from shadow.stats.quality import PAIRWISE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from shadow.rollups import Totals

_ERRORS = (*FAILURES, Outcome.INCOMPATIBLE)

Evaluators = dict[tuple[str, str], "Totals"]
"""Scores by evaluator and version."""


def rolled_model_row(
    *,
    model: str | None,
    role: Literal["primary", "candidate"],
    totals: Totals,
    evaluators: Evaluators,
    missing_line: Callable[[str], str | None],
    is_compared: bool = False,
) -> dict[str, Any]:
    """Build the row. `is_compared`: other answers are judged against this model's, pair by pair."""
    measured = {"measured": MEASURED[role]}
    latency_ms = spread(totals, "latency_ms", none_because="no answer ended well yet") | measured
    cost_usd = _cost(totals, model=model, missing_line=missing_line)
    quality = _quality(totals, evaluators, role=role, is_compared=is_compared)
    per_point = cost_per_point(totals, pairwise=quality["reason"] == PAIRWISE)
    per_point["reason"] = with_versions(per_point["reason"], quality["by_evaluator"])
    return {
        "model": model,
        "role": role,
        "requests": totals.count("requests"),
        "client_retries": totals.count("retries"),
        "outcomes": outcomes(totals),
        "error_rate": _error_rate(totals),
        "latency_ms": latency_ms,
        "ttft_ms": spread(totals, "ttft_ms", none_because="no streamed answer ended well yet") | measured,
        "overhead_ms": spread_of(totals, "overhead_ms", none_because=NO_OVERHEAD) if role == "primary" else None,
        "tokens": {
            name: totals.count(f"tokens.{name}") for name in ("input", "cache_read", "cache_write", "output", "unknown")
        },
        "cost_usd": cost_usd,
        "quality": quality,
        "cost_per_quality_point_usd": per_point,
        "avg_latency_ms": latency_ms["avg"],
        "avg_quality": quality["avg"],
        "total_cost": cost_usd["total"],
        "cost_per_quality_point": per_point["value"],
    }


def outcomes(totals: Totals) -> dict[str, int]:
    """Count the ends, in their usual order."""
    counts = {outcome.value: totals.count(f"outcome.{outcome.value}") for outcome in Outcome}
    return {name: count for name, count in counts.items() if count}


def spread(totals: Totals, name: str, *, none_because: str) -> dict[str, Any]:
    """Give `spread_of` with the bounds of its percentiles."""
    figures = spread_of(totals, name, none_because=none_because)
    return figures | percentile_bounds(figures["n"], totals.spread(name).values_at)


def spread_of(totals: Totals, name: str, *, none_because: str) -> dict[str, Any]:
    """`{n, avg, p50, p95, p99, reason}`: the mean is exact, percentiles are nearest ranks within 1 %."""
    p50, p95, p99 = totals.spread(name).quantiles((50, 95, 99))
    mean = average(totals, name)
    reason = none_because if mean is None else None
    return {"n": totals.count(f"{name}.n"), "avg": mean, "p50": p50, "p95": p95, "p99": p99, "reason": reason}


def average(totals: Totals, name: str) -> float | None:
    """Mean of one distribution; None of nothing."""
    return ratio_of(totals[f"{name}.sum"], totals.count(f"{name}.n"))


def ratio_of(part: float, count: int) -> float | None:
    """`part / count`, None when there is nothing to divide by."""
    return finite(part / count) if count > 0 else None


def _error_rate(totals: Totals) -> float | None:
    ended = totals.count("requests") - totals.count(f"outcome.{Outcome.ABORTED}")
    return ratio(sum(totals.count(f"outcome.{outcome}") for outcome in _ERRORS), ended)


def spent_usd(totals: Totals) -> float | None:
    """Billed USD of all calls of known cost; None when none is known."""
    return finite(totals["billed.sum"]) if totals.count("billed.n") else None


def _cost(totals: Totals, *, model: str | None, missing_line: Callable[[str], str | None]) -> dict[str, Any]:
    requests, priced = totals.count("requests"), totals.count("billed.n")
    unpriced = requests - priced
    spent, well = spent_usd(totals), totals.count("billed.well")
    line = missing_line(model) if unpriced and model is not None else None
    known = requests_of_known_cost(
        first_tries=requests - totals.count("retries"),
        priced=priced,
        priced_first_tries=totals.count("billed.first_tries"),
        priced_well=well,
    )
    return {
        "total": spent,
        "per_request": ratio(spent, known),
        "per_success": ratio(spent, well),
        "unpriced": unpriced,
        "basis": "billed",
        "reason": why_unpriced(unpriced, of=requests, line=line),
        "add_to_config": line,
    }


def cost_per_point(totals: Totals, *, pairwise: bool) -> dict[str, Any]:
    """`{value, ci, level, n, unpriced, basis, reason}`: cost per quality point, without an interval."""
    priced, unpriced = totals.count("graded.n"), totals.count("graded.unpriced")
    mean_quality = ratio_of(totals["graded.quality"], priced)
    reason = no_cost_per_point(average=mean_quality, unpriced=unpriced, pairwise=pairwise)
    left_out = f"; {unpriced} without a known cost are left out" if unpriced else ""
    return {
        "value": None if reason else ratio(totals["graded.cost"], totals["graded.quality"]),
        "ci": None,
        "level": None,
        "n": priced,
        "unpriced": unpriced,
        "basis": "uncached",
        "reason": reason or f"ci is null: {OF_THE_EPOCH}{left_out}",
    }


def _quality(
    totals: Totals, evaluators: Evaluators, *, role: Literal["primary", "candidate"], is_compared: bool
) -> dict[str, Any]:
    by_evaluator = _by_evaluator(evaluators)
    counts = _of_newest(totals, evaluators, by_evaluator)
    return {
        "avg": ratio_of(counts["sum"], round(counts["n"])),
        "ci": None,
        "level": None,
        "conversations": None,
        "conversation_avg": None,
        "n": round(counts["n"]),
        "missing": round(counts["missing"]),
        "not_applicable": round(counts["not_applicable"]),
        "not_counted": totals.count("quality.not_counted"),
        "reason": _why(totals, counts, by_evaluator, role=role, is_compared=is_compared),
        "by_evaluator": by_evaluator,
    }


def _of_newest(totals: Totals, evaluators: Evaluators, by_evaluator: Mapping[str, Any]) -> dict[str, float]:
    """Sums of quality without what a deciding evaluator said in older versions than its newest: another measure."""
    counts = {part: totals[f"quality.{part}"] for part in ("answers", "n", "sum", "missing", "not_applicable")}
    for (name, version), scores in evaluators.items():
        if name in by_evaluator and version != by_evaluator[name]["versions"][-1] and scores.count("decides"):
            counts["answers"] -= scores["seen"]
            parts = (
                ("missing", "not_applicable") if scores.count("pairwise") else ("n", "sum", "missing", "not_applicable")
            )
            for part in parts:
                counts[part] -= scores[part]
    return counts


_WHOSE = {
    "primary": "no answer of this model is scored yet: answers are scored together with a candidate's",
    "candidate": "all answers are to opted-in exchanges or to redacted copies, which are never counted",
}


def _why(
    totals: Totals,
    counts: Mapping[str, float],
    by_evaluator: Mapping[str, Any],
    *,
    role: Literal["primary", "candidate"],
    is_compared: bool,
) -> str:
    answers, missing = round(counts["answers"]), round(counts["missing"])
    if round(counts["n"]):
        return f"ci is null: {OF_THE_EPOCH}"
    if totals.count("quality.pairwise") or is_compared:
        return PAIRWISE
    if not sum(totals.count(f"outcome.{outcome}") for outcome in (Outcome.OK, Outcome.REFUSAL, Outcome.TRUNCATED)):
        return "no answer ended well yet"
    if not answers:
        return _WHOSE[role]
    if missing:
        return f"none of the {answers} answers has a score: {missing} missing"
    names = ", ".join(name for name, figures in by_evaluator.items() if figures["decides"])
    return f"the deciding evaluator ({names}) applies to none of the {answers} answers"


def _by_evaluator(evaluators: Evaluators) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in sorted({name for name, _ in evaluators}):
        versions = {version: totals for (of, version), totals in evaluators.items() if of == name}
        seen = {version: totals for version, totals in versions.items() if totals.count("seen")}
        if not seen:
            continue
        oldest_first = sorted(seen, key=lambda version: (seen[version].last, len(version), version))
        newest = seen[oldest_first[-1]]
        found[name] = {
            "avg": ratio_of(newest["sum"], newest.count("n")),
            "n": newest.count("n"),
            "missing": newest.count("missing"),
            "not_applicable": newest.count("not_applicable"),
            "decides": newest.count("decides") > 0,
            "pairwise": newest.count("pairwise") > 0,
            "versions": oldest_first,
        }
    return found
