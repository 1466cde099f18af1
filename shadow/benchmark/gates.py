"""Gates: conditions a run must meet, decided by intervals. Pure.

A gate passes when the whole interval lies on its side, fails when none of it does, and is inconclusive otherwise: a
run of ten good answers does not prove 90 %.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from shadow.benchmark.between import compare_pairs, pairs_of
from shadow.benchmark.intervals import ratio_of_ratios_interval
from shadow.benchmark.summary import ALPHA, quality_of, unit_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from shadow.benchmark.between import Pair
    from shadow.runs import RunResult

State = Literal["pass", "fail", "inconclusive"]

MAX_MISSING = 0.05
"""With a larger share of answers or pairs without a figure, a gate decides nothing: they may not be lost by chance."""

_GATE = re.compile(
    r"\s*(?:(?P<model>\S(?:.*\S)?)\s*:)?\s*(?P<metric>[a-z][a-z0-9_]*(?:\.\S+?)?)\s*(?P<op><=|>=)\s*"
    r"(?P<bound>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*"
)


class GateError(Exception):
    """A gate cannot be understood; the message says what would be right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """One condition: `metric op bound`, for one model (`model: …`) or for every model of the run."""

    text: str
    """Without the model."""
    metric: str
    op: Literal["<=", ">="]
    bound: float
    model: str | None = None

    @property
    def compares(self) -> bool:
        """Tell whether it compares: with the baseline run, or without one with the run's own primary."""
        return self.metric in _AGAINST_BASELINE


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """What a gate looks at: a value with its interval (a side without a bound is None), or why there is none."""

    value: float | None
    low: float | None = None
    high: float | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """One gate's outcome for one model."""

    gate: str
    model: str
    state: State
    value: float | None
    ci: tuple[float | None, float | None] | None
    sentence: str


def read_gate(text: str) -> Gate:
    """Read a gate such as `quality>=0.9` or `gpt-4o: cost_per_quality_point<=0.002`. Raises GateError."""
    found = _GATE.fullmatch(text)
    if found is None:
        raise GateError(
            f"gate {text!r} is not understood; write METRIC>=NUMBER or METRIC<=NUMBER, such as quality>=0.9"
        )
    metric = found["metric"]
    if metric not in METRICS and not metric.startswith("score."):
        raise GateError(f"gate {text!r}: there is no figure {metric!r}; there are {', '.join(METRICS)} and score.NAME")
    return Gate(
        text=f"{metric}{found['op']}{found['bound']}",
        metric=metric,
        op="<=" if found["op"] == "<=" else ">=",
        bound=float(found["bound"]),
        model=found["model"],
    )


def decide(
    gates: Sequence[Gate],
    summary: Mapping[str, Any],
    *,
    result: RunResult,
    baseline: RunResult | None = None,
    alpha: float = ALPHA,
) -> list[Decision]:
    """Decide every gate for every model it is about, in each task. `summary` is `summarize(result)`.

    A run that lacks answers passes no gate: those that are missing may be the ones that would fail. Without a baseline
    a comparing gate sets each model beside the run's primary, about which it says nothing.
    """
    return [
        _decision(
            gate,
            _figure(gate, row, task, result, baseline, alpha),
            name=row["model"] if len(summary["tasks"]) == 1 else f"{row['model']} ({task['task']})",
            unfinished=result.run.cells - result.run.answered,
        )
        for gate in gates
        for task in summary["tasks"]
        for row in task["models"]
        if gate.model in {None, row["model"]} and (baseline is not None or not gate.compares or _beside(row, task))
    ]


def _beside(row: Mapping[str, Any], task: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Find the comparison of a model with the run's primary."""
    return next((each for each in task["comparisons"] if each["candidate"] == row["model"]), None)


def overall(decisions: Sequence[Decision]) -> State:
    """`fail` when any gate failed, else `inconclusive` when any is, else `pass`."""
    states = {decision.state for decision in decisions}
    return "fail" if "fail" in states else "inconclusive" if "inconclusive" in states else "pass"


def _decision(gate: Gate, figure: Figure, *, name: str, unfinished: int) -> Decision:
    low, high = figure.low, figure.high
    state: State = "inconclusive"
    if figure.value is not None:
        state = _side(gate, low, high)
    why = figure.reason
    if state == "pass" and unfinished:
        state, why = "inconclusive", f"{unfinished} answers are missing"
    shown = "n/a" if figure.value is None else f"{figure.value:.4g}"
    interval = None if figure.value is None else (low, high)
    told = "" if interval is None or low == high else f" ({_end(low)} to {_end(high)})"
    because = f": {why}" if why and state == "inconclusive" else ""
    return Decision(
        gate=gate.text,
        model=name,
        state=state,
        value=figure.value,
        ci=interval,
        sentence=f"{state}: {name}: {gate.text}, it is {shown}{told}{because}",
    )


def _side(gate: Gate, low: float | None, high: float | None) -> State:
    """Compare an interval with a bound; an end that is not known never proves anything."""
    good, bad = (low, high) if gate.op == ">=" else (high, low)

    def meets(value: float) -> bool:
        return value >= gate.bound if gate.op == ">=" else value <= gate.bound

    if good is not None and meets(good):
        return "pass"
    return "fail" if bad is not None and not meets(bad) else "inconclusive"


def _end(value: float | None) -> str:
    return "?" if value is None else f"{value:.4g}"


def _figure(  # noqa: PLR0917  (what a figure may come from)
    gate: Gate,
    row: Mapping[str, Any],
    task: Mapping[str, Any],
    result: RunResult,
    baseline: RunResult | None,
    alpha: float,
) -> Figure:
    if gate.metric.startswith("score."):
        return _score(row, gate.metric.removeprefix("score."))
    against = _AGAINST_BASELINE.get(gate.metric)
    if against is None:
        return _OF_ONE_RUN[gate.metric](row)
    if baseline is None:
        return _of_comparison(gate.metric, _beside(row, task) or {})
    pairs = [pair for pair in _matching(row["model"], result, baseline) if pair[0].task == task["task"]]
    return against(pairs, alpha)


def _of_comparison(metric: str, told: Mapping[str, Any]) -> Figure:
    """Read a figure out of a comparison within the run."""
    field, value = {"quality_diff": ("quality_diff", "mean"), "cost_ratio": ("cost_ratio", "value")}.get(
        metric, ("", "")
    )
    if field not in told:
        return Figure(value=None, reason="needs --baseline RUN")
    return _read(told[field], value)


def _read(told: Mapping[str, Any], value: str) -> Figure:
    if told[value] is None or told["ci"] is None:
        return Figure(value=told[value], reason=told["reason"])
    lost = told["missing"] + told.get("failed", 0)
    pairs = f"{lost} of {told['n'] + lost} pairs have no difference, for an answer or its figure is missing"
    return _unless_lost(lost, told["n"], pairs) or Figure(value=told[value], low=told["ci"][0], high=told["ci"][1])


def _quality(row: Mapping[str, Any]) -> Figure:
    """Failures count as 0 here: a gate must not pass because nothing came."""
    quality = row["quality"]
    told = quality["with_failures"]
    if quality["reason"] or told["ci"] is None:
        return Figure(value=None, reason=quality["reason"] or "no answer has a quality")
    return _unless_missing(quality) or Figure(value=told["avg"], low=told["ci"][0], high=told["ci"][1])


def _unless_missing(told: Mapping[str, Any]) -> Figure | None:
    """Refuse figures from which too many scores are missing."""
    wanted = told["n"] + told["missing"]
    return _unless_lost(told["missing"], told["n"], f"{told['missing']} of {wanted} answers could not be scored")


def _unless_lost(lost: int, known: int, reason: str) -> Figure | None:
    return None if lost <= MAX_MISSING * (known + lost) else Figure(value=None, reason=reason)


def _score(row: Mapping[str, Any], name: str) -> Figure:
    found = row["quality"]["by_evaluator"].get(name)
    if found is None or found["ci"] is None:
        return Figure(value=None, reason=f"no score of {name!r}")
    return _unless_missing(found) or Figure(value=found["avg"], low=found["ci"][0], high=found["ci"][1])


def _per_point(row: Mapping[str, Any]) -> Figure:
    told = row["cost_per_quality_point_usd"]
    if told["value"] is None or told["ci"] is None:
        return Figure(value=told["value"], reason=told["reason"])
    unpriced = f"{told['unpriced']} of {told['n'] + told['unpriced']} answers have no known cost"
    lost = _unless_missing(row["quality"]) or _unless_lost(told["unpriced"], told["n"], unpriced)
    return lost or Figure(value=told["value"], low=told["ci"][0], high=told["ci"][1])


def _errors(row: Mapping[str, Any]) -> Figure:
    interval = row["error_rate_ci"]
    if interval is None:
        return Figure(value=None, reason="no answer ended")
    return Figure(value=row["error_rate"], low=interval[0], high=interval[1])


def _money(name: str) -> Callable[[Mapping[str, Any]], Figure]:
    """A sum of this run is a fact, not an estimate: its interval is a point."""

    def figure(row: Mapping[str, Any]) -> Figure:
        cost = row["cost_usd"]
        if cost["unpriced"] or cost[name] is None:
            return Figure(value=None, reason=cost["reason"] or "no cost is known")
        return Figure(value=cost[name], low=cost[name], high=cost[name])

    return figure


def _time(name: str, percent: int) -> Callable[[Mapping[str, Any]], Figure]:
    def figure(row: Mapping[str, Any]) -> Figure:
        told = row[name]
        value, interval = told[f"p{percent}"], told[f"p{percent}_ci"]
        if value is None or interval is None:
            return Figure(value=None, reason=told["reason"])
        return Figure(value=value, low=interval[0], high=interval[1], reason=f"{told['n']} answers are too few")

    return figure


def _matching(model: str, result: RunResult, baseline: RunResult) -> list[Pair]:
    """Pair a model with itself in the baseline, else with the baseline's only model."""
    base = model if model in baseline.run.models or len(baseline.run.models) != 1 else baseline.run.models[0]
    return pairs_of(baseline, result, base, model)


def _compared(field: str, value: str) -> Callable[[Sequence[Pair], float], Figure]:
    return lambda pairs, alpha: _read(compare_pairs(pairs, alpha)[field], value)


def _per_point_ratio(pairs: Sequence[Pair], alpha: float) -> Figure:
    sides: tuple[dict[str, tuple[float, float]], dict[str, tuple[float, float]]] = ({}, {})
    lost = 0
    for case, *both in pairs:
        values = [(each.cost.uncached_usd, quality_of(each)) for each in both]
        if any(cost is None or quality is None for cost, quality in values):
            lost += 1
            continue
        for side, (cost, quality) in zip(sides, values, strict=True):
            before = side.get(unit_of(case), (0.0, 0.0))
            side[unit_of(case)] = (before[0] + (cost or 0.0), before[1] + (quality or 0.0))
    old, new = list(sides[0].values()), list(sides[1].values())
    sums = [sum(pair[at] for pair in side) for side in (new, old) for at in (0, 1)]
    if min(sums, default=0.0) <= 0:
        return Figure(value=None, reason="no question has a cost and a quality above 0 in both runs")
    value = sums[0] / sums[1] / (sums[2] / sums[3])
    if refused := _unless_lost(lost, len(pairs) - lost, f"{lost} of {len(pairs)} pairs lack a cost or a quality"):
        return refused
    interval = ratio_of_ratios_interval(new, old, alpha)
    if interval is None:
        return Figure(value=value, reason=f"{len(new)} cases are too few")
    return Figure(value=value, low=interval[0], high=interval[1])


_OF_ONE_RUN: Mapping[str, Callable[[Mapping[str, Any]], Figure]] = {
    "quality": _quality,
    "cost_per_quality_point": _per_point,
    "error_rate": _errors,
    "total_cost": _money("total"),
    "cost_per_request": _money("per_request"),
    "cost_per_success": _money("per_success"),
    "latency_p50_ms": _time("latency_ms", 50),
    "latency_p95_ms": _time("latency_ms", 95),
    "ttft_p50_ms": _time("ttft_ms", 50),
    "ttft_p95_ms": _time("ttft_ms", 95),
}
_AGAINST_BASELINE: Mapping[str, Callable[[Sequence[Pair], float], Figure]] = {
    "quality_diff": _compared("quality_diff", "mean"),
    "cost_ratio": _compared("cost_ratio", "value"),
    "cost_per_quality_point_ratio": _per_point_ratio,
}
METRICS: Sequence[str] = (*_OF_ONE_RUN, *_AGAINST_BASELINE)
