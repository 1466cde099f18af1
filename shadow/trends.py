"""From weekly runs and shadow weeks to trends and drift; pure. Leads have a file of their own."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from shadow.benchmark.intervals import (
    mean_interval,
    quantile_interval,
    ratio_interval,
)
from shadow.drift import (
    ALPHA,
    REACH,
    SAME,
    AnswerOf,
    Asking,
    DriftReport,
    NoiseFloor,
    Pairing,
    drift_of,
    drift_of_pairings,
)
from shadow.judge.figures import tally_of
from shadow.judge.trust import Trust, trust_of
from shadow.records import ENDED_WELL, Outcome
from shadow.verdict import Rules

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from shadow.runfacts import AnswerFact, LookFact, RunFacts, ShadowWeek

Interval = tuple[float, float]

LOWEST_QUALITY = 0.05
"""Where the lower end of the mean quality lies at or below this, a cost per quality point says nothing."""

MAX_MISSING = Rules().max_missing
"""`verdict.max_missing`, where the configuration does not say otherwise."""

_WELL = frozenset(map(str, ENDED_WELL))
_REFUSED = str(Outcome.INCOMPATIBLE)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelDrift:
    """What is known of one model's behaviour on one task, by one evaluator in one version."""

    task: str
    model: str
    evaluator: str
    version: str
    decides: bool
    """True for the evaluator that decides about quality."""
    is_primary: bool
    report: DriftReport
    answered: tuple[tuple[int, str], ...]
    """(number of the run, model name the provider answered under), where it was a new one."""
    compared: bool = False
    """True where no answer has a quality of its own: a judge set the answers side by side."""
    judge: Trust | None = None
    """Of that judge; None where no language model judges, or none was ever asked."""
    reason: str | None = None
    """Why the latest run says nothing, or not all, about it; None: it says all it could."""

    @property
    def withheld(self) -> str | None:
        """Why a change that is proved is not told: its judge has not shown that it looks; None: nothing is withheld."""
        return None if self.judge is None or self.judge.trusted else self.judge.reason


def drifts_of(runs: Sequence[RunFacts], *, alpha: float = ALPHA, max_missing: float = MAX_MISSING) -> list[ModelDrift]:
    """Look for drift of every model on every task, by every evaluator that judges one answer alone.

    Where the one that decides only compares, it is asked about the answers of two runs. It has the whole `alpha`; the
    others share as much among them. The primary comes first, and of one model the deciding evaluator. `max_missing` is
    the share of rulings a judge may fail to give.
    """
    primary = runs[-1].primary if runs else None
    askings: dict[tuple[str, str, str, str, bool], list[Asking]] = defaultdict(list)
    answered: dict[tuple[str, str], list[tuple[int, str]]] = defaultdict(list)
    for number, run in enumerate(runs):
        for case in _cases(run).values():
            _note_names(answered[case[0].task, case[0].model], number, case)
            for (evaluator, version, decides), values in _values(case).items():
                askings[case[0].task, case[0].model, evaluator, version, decides].append(
                    Asking(
                        run=number,
                        prompt=case[0].prompt,
                        qualities=values,
                        cluster=case[0].cluster,
                        case_id=case[0].case_id,
                    )
                )
    others: dict[tuple[str, str], int] = defaultdict(int)
    for task, model, _, _, decides in askings:
        others[task, model] += not decides
    found = [
        ModelDrift(
            task=task,
            model=model,
            evaluator=evaluator,
            version=version,
            decides=decides,
            is_primary=model == primary,
            report=drift_of(asked, alpha=alpha if decides else alpha / others[task, model]),
            answered=tuple(answered[task, model]),
            judge=judge_trust(runs, task, evaluator, version, max_missing=max_missing) if decides else None,
        )
        for (task, model, evaluator, version, decides), asked in askings.items()
    ]
    found += _compared_drifts(runs, answered, alpha=alpha, max_missing=max_missing)
    return sorted(
        found, key=lambda each: (not each.is_primary, not each.decides, each.task, each.model, each.evaluator)
    )


def _compared_drifts(
    runs: Sequence[RunFacts],
    answered: Mapping[tuple[str, str], list[tuple[int, str]]],
    *,
    alpha: float,
    max_missing: float,
) -> list[ModelDrift]:
    """Look for drift where a judge compares: by what it said of the answers of two runs."""
    numbers = {run.id: number for number, run in enumerate(runs)}
    latest = runs[-1] if runs else None
    looks: dict[tuple[str, str, str, str], list[tuple[int, LookFact]]] = defaultdict(list)
    for number, run in enumerate(runs):
        for look in run.looks:
            looks[look.task, look.model, look.evaluator, look.version].append((number, look))
    if latest is not None:
        for task, decider in latest.deciders.items():
            if not decider.absolute:
                for model in dict.fromkeys(answer.model for answer in latest.answers if answer.task == task):
                    looks.setdefault((task, model, decider.evaluator, decider.version), [])
    found = []
    for (task, model, evaluator, version), of_model in looks.items():
        noise = [look.value for number, look in of_model if look.before_run == runs[number].id]
        found.append(
            ModelDrift(
                task=task,
                model=model,
                evaluator=evaluator,
                version=version,
                decides=True,
                is_primary=latest is not None and model == latest.primary,
                report=drift_of_pairings(_pairings(of_model, numbers), noise=_judged_noise(noise), alpha=alpha),
                answered=tuple(answered.get((task, model), ())),
                compared=True,
                judge=judge_trust(runs, task, evaluator, version, max_missing=max_missing),
                reason=None if latest is None else _unsaid(runs, task, model, evaluator, version),
            )
        )
    return found


def _pairings(looks: Iterable[tuple[int, LookFact]], numbers: Mapping[str, int]) -> Iterator[Pairing]:
    for number, look in looks:
        before = numbers.get(look.before_run)
        if look.value is not None and before is not None and before < number:
            yield Pairing(
                prompt=look.prompt,
                unit=look.cluster or look.prompt,
                now=AnswerOf(run=number, case_id=look.case_id, repeat=look.repeat, quality=None),
                before=AnswerOf(run=before, case_id=look.before_case_id, repeat=look.before_repeat, quality=None),
                difference=look.value,
            )


def _judged_noise(values: Iterable[float | None]) -> NoiseFloor:
    known = [abs(value) >= SAME for value in values if value is not None]
    return NoiseFloor(n=len(known), discordance=sum(known) / len(known) if known else None)


def judge_trust(
    runs: Sequence[RunFacts], task: str, evaluator: str, version: str, *, max_missing: float
) -> Trust | None:
    """Say whether a judge has shown, in all weekly runs together, that it looks; None: no judge, or never asked.

    What one that compares said of two answers of the primary in one run must show no difference.
    """
    key = (task, evaluator, version)
    tally = tally_of(fact for run in runs for fact in run.judged if (fact.task, fact.evaluator, fact.version) == key)
    if tally is None:
        return None
    same = Counter(
        round(look.value, 2)
        for run in runs
        for look in run.looks
        if look.value is not None and look.before_run == run.id and look.model == run.primary
        if (look.task, look.evaluator, look.version) == key
    )
    return trust_of(tally, max_missing=max_missing, aa_counts=same or None)


def _unsaid(runs: Sequence[RunFacts], task: str, model: str, evaluator: str, version: str) -> str | None:
    """Say why the latest run compared nothing, or not all, of a model with before; None when it did."""
    latest = runs[-1]
    looks = [
        look
        for look in latest.looks
        if (look.task, look.model, look.evaluator, look.version) == (task, model, evaluator, version)
        if look.before_run != latest.id
    ]
    lost = Counter(look.reason for look in looks if look.value is None)
    if lost:
        ((reason, _),) = lost.most_common(1)
        return f"{lost.total()} of {len(looks)} comparisons of the latest run have no result: {reason}"
    return None if looks else _unlooked(runs, task, model)


def _unlooked(runs: Sequence[RunFacts], task: str, model: str) -> str:
    """Say why the latest run compared no answer of a model with an earlier one."""
    if len(runs) == 1:
        return "this is the first weekly run: there is nothing yet to compare its answers with"
    latest = runs[-1]
    answers = [each for each in latest.answers if (each.task, each.model) == (task, model) and each.outcome in _WELL]
    if not answers:
        return "no answer of it in the latest run ended well"
    prompts = {answer.prompt for answer in answers}
    earlier = [
        answer
        for run in runs[-1 - REACH : -1]
        for answer in run.answers
        if answer.model == model and answer.prompt in prompts and answer.outcome in _WELL
    ]
    if not earlier:
        return "no prompt of the latest run was answered by it in the two runs before, too"
    if not any(answer.kept for answer in answers) or not any(answer.kept for answer in earlier):
        kept = "shadow.content: none, or older than shadow.retention_days"
        return f"the answers are not kept ({kept}), so that a judge has nothing to compare"
    if latest.state == "stopped":
        return f"the latest run ended before its answers were compared: {latest.reason}"
    return "the latest run compared none of its answers with earlier ones"


def _mean(values: Sequence[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None


def _cases(run: RunFacts) -> dict[tuple[str, str], list[AnswerFact]]:
    """Group the answers of a run by case and model."""
    found: dict[tuple[str, str], list[AnswerFact]] = defaultdict(list)
    for answer in sorted(run.answers, key=lambda each: each.repeat):
        found[answer.case_id, answer.model].append(answer)
    return found


def _values(answers: Sequence[AnswerFact]) -> dict[tuple[str, str, bool], list[float | None]]:
    """Give each evaluator's values of a case's answers, by repeat; None where it gave none."""
    found: dict[tuple[str, str, bool], list[float | None]] = {}
    for answer in answers:
        for score in answer.scores:
            if not score.pairwise:
                values = found.setdefault((score.evaluator, score.version, score.quality), [None] * len(answers))
                values[answers.index(answer)] = score.value
    return found


def _note_names(names: list[tuple[int, str]], number: int, answers: Sequence[AnswerFact]) -> None:
    """Remember the first run in which a model answered under a name."""
    known = {name for _, name in names}
    names.extend(
        (number, name)
        for name in dict.fromkeys(answer.model_answered for answer in answers)
        if name and name not in known
    )


# --- one axis ---


def trend_points(
    runs: Iterable[RunFacts],
    weeks: Iterable[ShadowWeek],
    *,
    task: str | None = None,
    model: str | None = None,
    alpha: float = 0.05,
) -> list[dict[str, Any]]:
    """Give quality, cost per quality point and latency of every model with intervals, per run and per shadow week.

    Points are sorted by time; both kinds have the same fields, so that they share one axis.
    """
    points = [_run_point(run, *key, answers, alpha) for run in runs for key, answers in _groups(run).items()]
    points += [_week_point(week, alpha) for week in weeks]
    return in_order(points, tasks=() if task is None else (task,), model=model)


def in_order(points: Iterable[dict[str, Any]], *, tasks: Collection[str], model: str | None) -> list[dict[str, Any]]:
    """Choose the points of some tasks (none: of all) and of a model (None: of all) and sort them by time."""
    wanted = [
        point
        for point in points
        if (not tasks or point["task"] in tasks) and (model is None or point["model"] == model)
    ]
    return sorted(
        wanted, key=lambda point: (point["at"], point["source"], point["task"], point["role"], point["model"])
    )


def _groups(run: RunFacts) -> dict[tuple[str, str], list[AnswerFact]]:
    found: dict[tuple[str, str], list[AnswerFact]] = defaultdict(list)
    for answer in run.answers:
        found[answer.task, answer.model].append(answer)
    return found


def _run_point(run: RunFacts, task: str, model: str, answers: Sequence[AnswerFact], alpha: float) -> dict[str, Any]:
    units: dict[str, list[AnswerFact]] = defaultdict(list)
    for answer in answers:
        units[answer.cluster or answer.prompt].append(answer)
    qualities, sums = [], []
    for unit in units.values():
        values = [0.0 if answer.outcome == _REFUSED else answer.quality() for answer in unit]
        known = [value for value in values if value is not None]
        if known:
            qualities.append(math.fsum(known) / len(known))
        costs = [answer.cost_usd for answer in unit if answer.cost_usd is not None]
        if len(costs) == len(unit) == len(known):
            sums.append((math.fsum(costs), math.fsum(known)))
    well = [answer for answer in answers if answer.outcome in _WELL]
    return _point(
        at=run.started_at,
        source="run",
        run=run.id,
        task=task,
        model=model,
        role="primary" if model == run.primary else "candidate",
        n=len(units),
        answers=len(answers),
        qualities=qualities,
        sums=sums,
        latencies_ms=[answer.latency_ms for answer in well if answer.latency_ms is not None],
        ttfts_ms=[answer.ttft_ms for answer in well if answer.ttft_ms is not None],
        error_rate=1 - len(well) / len(answers),
        model_answered=sorted({answer.model_answered for answer in answers if answer.model_answered}),
        alpha=alpha,
    )


def _week_point(week: ShadowWeek, alpha: float) -> dict[str, Any]:
    return _point(
        at=week.week,
        source="live",
        run=None,
        task=week.task,
        model=week.model,
        role=week.role,
        n=len(week.qualities),
        answers=week.exchanges,
        qualities=week.qualities,
        sums=week.sums,
        latencies_ms=week.latencies_ms,
        ttfts_ms=week.ttfts_ms,
        error_rate=None,
        model_answered=None,
        alpha=alpha,
    )


def _point(
    *,
    at: datetime,
    source: str,
    run: str | None,
    task: str,
    model: str,
    role: str,
    n: int,
    answers: int,
    qualities: Sequence[float],
    sums: Sequence[tuple[float, float]],
    latencies_ms: Sequence[float],
    ttfts_ms: Sequence[float],
    error_rate: float | None,
    model_answered: Sequence[str] | None,
    alpha: float,
) -> dict[str, Any]:
    interval = mean_interval(qualities, alpha)
    mean = _mean(qualities)
    return {
        "at": at,
        "source": source,
        "run": run,
        "task": task,
        "model": model,
        "role": role,
        "conversations": n,
        "answers": answers,
        "level": 1 - alpha,
        "quality": {
            "mean": mean,
            "ci": interval,
            "n": len(qualities),
            "reason": None
            if mean is not None
            else "no answer has a quality of its own (an evaluator that only compares has none)",
        },
        "cost_per_quality_point_usd": _cpq(sums, interval, alpha),
        "latency_ms": _latency(latencies_ms, alpha),
        "ttft_ms": _latency(ttfts_ms, alpha),
        "error_rate": error_rate,
        "model_answered": model_answered,
    }


def _cpq(sums: Sequence[tuple[float, float]], quality: Interval | None, alpha: float) -> dict[str, Any]:
    points = math.fsum(value for _, value in sums)
    if not sums or points <= 0:
        return {"value": None, "ci": None, "reason": "no conversation has both a cost and a quality"}
    if quality is None or quality[0] <= LOWEST_QUALITY:
        reason = f"n/a: the mean quality may be as low as {LOWEST_QUALITY:g} or lower"
        return {"value": None, "ci": None, "reason": reason}
    interval = ratio_interval([cost for cost, _ in sums], [value for _, value in sums], alpha)
    why = None if interval is not None else "too few conversations for an interval"
    return {"value": math.fsum(cost for cost, _ in sums) / points, "ci": interval, "reason": why}


def _latency(values: Sequence[float], alpha: float) -> dict[str, Any]:
    ordered = sorted(values)
    told: dict[str, Any] = {"n": len(ordered)}
    for percent in (50, 95):
        rank = max(math.ceil(len(ordered) * percent / 100), 1)
        told[f"p{percent}"] = ordered[rank - 1] if ordered else None
        ends = quantile_interval(ordered, percent, alpha) if ordered else (None, None)
        told[f"p{percent}_ci"] = None if None in ends else ends  # a sample may be too small to bound one side
    return told
