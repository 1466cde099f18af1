"""One row of the models' table: how one model answered, live or as a candidate."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, Any, Literal

from shadow.records import Outcome
from shadow.stats.figures import bounded, distribution, mean, ratio, total
from shadow.stats.quality import ALPHA, PAIRWISE
from shadow.stats.rows import FAILURES
from shadow.verdict import Sums, headline, rounded_down

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from shadow.stats.rows import Call
    from shadow.verdict import Estimate

OF_THE_EPOCH = "its interval is over conversations and of the whole epoch, see the comparison"

MIN_QUALITY = 0.05
"""At or below this mean quality a cost per quality point says nothing: it swings by factors of hundreds."""

_ERRORS = FAILURES | {Outcome.INCOMPATIBLE}

NO_OVERHEAD = "no answer of the upstream was passed on yet"
MEASURED = {"primary": "live", "candidate": "off the live path"}
"""Where a model's times were taken: a candidate's calls wait for nobody and carry no client's connection."""

Graded = tuple["Call", float, str]
"""A counted call, its quality and its conversation; a call that failed has quality 0, its cost counts all the same."""


def model_row(
    *,
    model: str | None,
    role: Literal["primary", "candidate"],
    calls: Sequence[Call],
    quality: dict[str, Any],
    graded: Sequence[Graded],
    missing_line: Callable[[str], str | None],
    overheads: Sequence[float] = (),
) -> dict[str, Any]:
    """Build the row. `graded` are the counted calls whose quality is known, `overheads` what the gateway added, ms."""
    latency_ms = _latency(calls) | {"measured": MEASURED[role]}
    cost_usd = _cost(calls, model=model, missing_line=missing_line)
    cost_per_point = cost_per_quality_point(graded, pairwise=quality["reason"] == PAIRWISE)
    cost_per_point["reason"] = with_versions(cost_per_point["reason"], quality["by_evaluator"])
    return {
        "model": model,
        "role": role,
        "requests": len(calls),
        "client_retries": sum(call.is_retry for call in calls),
        "outcomes": _outcomes(calls),
        "error_rate": error_rate(calls),
        "latency_ms": latency_ms,
        "ttft_ms": _ttft(calls) | {"measured": MEASURED[role]},
        "overhead_ms": distribution(sorted(overheads), none_because=NO_OVERHEAD) if role == "primary" else None,
        "tokens": _tokens(calls),
        "cost_usd": cost_usd,
        "quality": quality,
        "cost_per_quality_point_usd": cost_per_point,
        "avg_latency_ms": latency_ms["avg"],
        "avg_quality": quality["avg"],
        "total_cost": cost_usd["total"],
        "cost_per_quality_point": cost_per_point["value"],
    }


def error_rate(calls: Sequence[Call]) -> float | None:
    """Share of calls that ended in an error, a timeout or a refused request, among those nobody hung up on."""
    ended = [call for call in calls if call.outcome is not Outcome.ABORTED]
    return ratio(sum(call.outcome in _ERRORS for call in ended), len(ended))


def cost_per_quality_point(graded: Sequence[Graded], *, pairwise: bool) -> dict[str, Any]:
    """`{value, ci, level, n, unpriced, basis, reason}`: sum of costs over sum of quality, failures' cost included.

    Costs are uncached ones, because the app's own traffic finds warm caches and a shadow does not.
    """
    known = [(call.uncached_usd, quality, of) for call, quality, of in graded if call.uncached_usd is not None]
    priced = [(cost, quality) for cost, quality, _ in known]
    unpriced = len(graded) - len(priced)
    qualities = [quality for _, quality in priced]
    reason = no_cost_per_point(average=mean(qualities), unpriced=unpriced, pairwise=pairwise)
    value = None if reason else ratio(total([cost for cost, _ in priced]), total(qualities))
    left_out = f"{unpriced} without a known cost are left out" if unpriced else None
    interval = _interval_of(known)
    if reason is None and interval.low is None:
        left_out = "; ".join(part for part in (f"ci is null: {interval.reason}; {OF_THE_EPOCH}", left_out) if part)
    shown = reason is None and interval.low is not None
    return {
        "value": value,
        "ci": [interval.low, interval.high] if shown else None,
        "level": interval.level if shown else None,
        "n": len(priced),
        "unpriced": unpriced,
        "basis": "uncached",
        "reason": reason or left_out,
    }


def _interval_of(known: Sequence[tuple[float, float, str]]) -> Estimate:
    """Give the interval over conversation sums: the turns of one depend on one another."""
    by_conversation: dict[str, list[tuple[float, float]]] = {}
    for cost, quality, conversation in known:
        by_conversation.setdefault(conversation, []).append((cost, quality))
    sums, qualities = Sums(), Counter[float]()
    for turns in by_conversation.values():
        cost, quality = math.fsum(each for each, _ in turns), math.fsum(each for _, each in turns)
        sums = sums.add(candidate_usd=cost, candidate_quality=quality, primary_usd=cost, primary_quality=quality)
        qualities[rounded_down(quality / len(turns))] += 1
    return headline(sums, alpha=ALPHA, candidate_quality=qualities, primary_quality=None).candidate


def no_cost_per_point(*, average: float | None, unpriced: int, pairwise: bool) -> str | None:
    """Say why there is no cost per quality point; None when there is one."""
    if pairwise:
        return f"n/a: {PAIRWISE}"
    if average is None:
        return "n/a: no cost of a scored answer is known" if unpriced else "n/a: no answer is scored yet"
    if average <= MIN_QUALITY:
        return f"n/a: quality is too low (mean {average:.3f}, needed above {MIN_QUALITY})"
    return None


def with_versions(reason: str | None, by_evaluator: Mapping[str, Any]) -> str | None:
    """Add, to what is said of a cost per quality point, which versions of the deciding evaluator its quality is by."""
    told = [
        f"its quality is by {listed(each['versions'], 'version')} of {name} together"
        for name, each in by_evaluator.items()
        if each["decides"] and not each["pairwise"] and len(each["versions"]) > 1
    ]
    return "; ".join([*([reason] if reason else []), *told]) or None


def listed(names: Sequence[str], noun: str) -> str:
    """`version 1`, `versions 1 and 2`, `versions 1, 2 and 3`."""
    *first, last = names
    return f"{noun}s {', '.join(first)} and {last}" if first else f"{noun} {last}"


def _outcomes(calls: Sequence[Call]) -> dict[str, int]:
    counts = Counter(call.outcome.value for call in calls)
    return {outcome.value: counts[outcome.value] for outcome in Outcome if counts[outcome.value]}


def _latency(calls: Sequence[Call]) -> dict[str, Any]:
    values = [call.latency_ms for call in calls if call.ended_well and call.latency_ms is not None]
    return bounded(values, none_because="no answer ended well yet")


def _ttft(calls: Sequence[Call]) -> dict[str, Any]:
    values = [call.ttft_ms for call in calls if call.ended_well and call.ttft_ms is not None]
    return bounded(values, none_because="no streamed answer ended well yet")


def _tokens(calls: Sequence[Call]) -> dict[str, int]:
    known = [call.tokens for call in calls if call.tokens is not None]
    return {
        "input": sum(tokens.input for tokens in known),
        "cache_read": sum(tokens.cache_read for tokens in known),
        "cache_write": sum(tokens.cache_write for tokens in known),
        "output": sum(tokens.output for tokens in known),
        "unknown": sum(call.ended_well and call.tokens is None for call in calls),
    }


def _cost(calls: Sequence[Call], *, model: str | None, missing_line: Callable[[str], str | None]) -> dict[str, Any]:
    """Billed cost. A request that the client's SDK repeated is one request, and all its tries cost."""
    priced = [(call, call.billed_usd) for call in calls if call.billed_usd is not None]
    unpriced = len(calls) - len(priced)
    spent = total([cost for _, cost in priced])
    line = missing_line(model) if unpriced and model is not None else None
    well = sum(call.ended_well for call, _ in priced)
    requests = requests_of_known_cost(
        first_tries=sum(not call.is_retry for call in calls),
        priced=len(priced),
        priced_first_tries=sum(not call.is_retry for call, _ in priced),
        priced_well=well,
    )
    return {
        "total": spent,
        "per_request": ratio(spent, requests),
        "per_success": ratio(spent, well),
        "unpriced": unpriced,
        "basis": "billed",
        "reason": why_unpriced(unpriced, of=len(calls), line=line),
        "add_to_config": line,
    }


def requests_of_known_cost(*, first_tries: int, priced: int, priced_first_tries: int, priced_well: int) -> int:
    """Count the requests whose cost is in the sum, an SDK's repeats being one with their first try.

    A repeat does not say which try it repeats. As many as failed at a known cost are taken to repeat those; the others
    stand for requests of which the first try has no known cost (it ran into a timeout, say).
    """
    repeats_of_unknown = priced - priced_first_tries - (priced - priced_well)
    return priced_first_tries + min(first_tries - priced_first_tries, max(0, repeats_of_unknown))


def why_unpriced(unpriced: int, *, of: int, line: str | None) -> str | None:
    """Say how many of the calls have no known cost, and the line of `prices:` that would change it."""
    if not unpriced:
        return None
    if line is not None:
        return f"{unpriced} of {of} have no known cost and are left out: the price of this model is unknown, add {line}"
    return f"{unpriced} of {of} have no known cost and are left out: their token counts or a price for them are unknown"
