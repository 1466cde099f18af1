"""From weekly runs and shadow weeks to trends, leads and drift; pure.

A prompt of a run counts once for a candidate's lead, in the run that asked it first: a sample of the traffic proves
something about the traffic, the same prompts again only about themselves. For drift it is the other way round.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from shadow.benchmark.intervals import (
    difference_interval,
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
from shadow.runfacts import AnswerFact
from shadow.verdict import AlphaBook, CostTest, Rules, log_e_value, rounded_down, rounded_up

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from shadow.runfacts import LookFact, RunFacts, ShadowWeek

Interval = tuple[float, float]

LOWEST_QUALITY = 0.05
"""Where the lower end of the mean quality lies at or below this, a cost per quality point says nothing."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Lead:
    """Where a candidate stands against the primary over all weekly runs, each prompt counted once."""

    task: str
    primary: str
    candidate: str
    state: Literal["insufficient_data", "withheld", "undecided", "promote", "better_costlier", "reject"]
    why: str
    n: int
    """Conversations (or golden prompts) with a difference."""
    unit: str
    runs: int
    missing: int
    """Conversations without a score although both answered."""
    failures: int
    """Conversations the candidate failed to answer though the primary did."""
    difference: float | None
    interval: Interval | None
    level: float
    cost_ratio: float | None
    cost_ratio_interval: Interval | None
    cost_per_quality_point: tuple[float | None, float | None]
    """Of the primary and of the candidate."""


def drifts_of(runs: Sequence[RunFacts], *, alpha: float = ALPHA) -> list[ModelDrift]:
    """Look for drift of every model on every task, by every evaluator that judges one answer alone.

    Where the one that decides only compares, it is asked about the answers of two runs. It has the whole `alpha`; the
    others share as much among them. The primary comes first, and of one model the deciding evaluator.
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
            judge=judge_trust(runs, task, evaluator, version) if decides else None,
        )
        for (task, model, evaluator, version, decides), asked in askings.items()
    ]
    found += _compared_drifts(runs, answered, alpha=alpha)
    return sorted(
        found, key=lambda each: (not each.is_primary, not each.decides, each.task, each.model, each.evaluator)
    )


def _compared_drifts(
    runs: Sequence[RunFacts], answered: Mapping[tuple[str, str], list[tuple[int, str]]], *, alpha: float
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
                judge=judge_trust(runs, task, evaluator, version),
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


def judge_trust(runs: Sequence[RunFacts], task: str, evaluator: str, version: str) -> Trust | None:
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
    return trust_of(tally, max_missing=Rules().max_missing, aa_counts=same or None)


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


def leads_of(
    runs: Sequence[RunFacts],
    *,
    alpha: float = 0.05,
    rules: Rules | None = None,
    candidates: Sequence[str] | None = None,
) -> list[Lead]:
    """Say of each candidate of the latest run where it stands. `alpha` is shared among all candidates there ever were.

    Only runs with the latest run's primary count. `candidates` None: those of the latest run.
    """
    if not runs or runs[-1].primary is None:
        return []
    primary, chosen = runs[-1].primary, rules or Rules()
    same = [run for run in runs if run.primary == primary]
    book = AlphaBook(alpha=alpha)
    for run in same:
        book = book.join([model for model in run.models if model != primary])
    wanted = [model for model in runs[-1].models if model != primary] if candidates is None else candidates
    tasks = sorted({answer.task for run in same for answer in run.answers})
    deciders = runs[-1].deciders
    judges = {task: judge_trust(runs, task, decider.evaluator, decider.version) for task, decider in deciders.items()}
    return [
        _waiting(
            _lead(same, task, primary=primary, candidate=candidate, alpha=book.of(candidate), rules=chosen),
            judges.get(task),
        )
        for task in tasks
        for candidate in wanted
        if any(candidate in run.models for run in same)
    ]


def _waiting(lead: Lead, judge: Trust | None) -> Lead:
    """Hold a lead back that rests on a judge which has not shown that it looks."""
    if judge is None or judge.trusted or lead.state not in {"promote", "better_costlier"}:
        return lead
    return replace(lead, state="withheld", why=f"It would be proved, but {judge.reason}.")


@dataclass(slots=True)
class _Sides:
    """One conversation's answers of both models, added up."""

    primary: list[AnswerFact] = field(default_factory=list)
    candidate: list[AnswerFact] = field(default_factory=list)


def _lead(runs: Sequence[RunFacts], task: str, *, primary: str, candidate: str, alpha: float, rules: Rules) -> Lead:
    golden_only = not any(not answer.golden for run in runs for answer in run.answers if answer.task == task)
    units: list[_Sides] = []
    seen: set[str] = set()
    used = first = 0
    for run in runs:
        fresh = _first_askings(run, task, (primary, candidate), seen, golden=golden_only)
        used += bool(fresh)
        units.extend(fresh)
        first = first or len(fresh)
    tally = _Tally(rules=rules, alpha=alpha)
    # W of the cost test: the most any conversation of the first run could cost, known before it was asked.
    largest = max(map(_reserve, units[:first]), default=0.0)
    tally.cost = CostTest(w_usd=largest, min_saving=rules.min_saving) if largest > 0 else None
    for unit in units:
        tally.add(unit)
    state, why = tally.state()
    return Lead(
        task=task,
        primary=primary,
        candidate=candidate,
        state=state,
        why=why,
        n=len(tally.values),
        unit="golden prompts" if golden_only else "conversations",
        runs=used,
        missing=tally.missing,
        failures=tally.failures,
        difference=_mean(tally.values),
        interval=difference_interval(tally.values, 2 * alpha),
        level=1 - 2 * alpha,
        cost_ratio=tally.cost_ratio(),
        cost_ratio_interval=ratio_interval(
            [candidate for _, candidate in tally.costs], [primary for primary, _ in tally.costs], 2 * alpha
        ),
        cost_per_quality_point=(_per_point(tally.points[0]), _per_point(tally.points[1])),
    )


def _first_askings(run: RunFacts, task: str, models: tuple[str, str], seen: set[str], *, golden: bool) -> list[_Sides]:
    """Give the conversations whose prompts both models were asked for the first time in this run."""
    by_prompt: dict[str, _Sides] = defaultdict(_Sides)
    clusters: dict[str, str] = {}
    for answer in run.answers:
        if answer.task == task and answer.golden == golden and answer.model in models and answer.prompt not in seen:
            side = by_prompt[answer.prompt]
            (side.primary if answer.model == models[0] else side.candidate).append(answer)
            clusters[answer.prompt] = answer.cluster or answer.prompt
    units: dict[str, _Sides] = defaultdict(_Sides)
    for prompt, side in by_prompt.items():
        if side.primary and side.candidate:
            seen.add(prompt)
            units[clusters[prompt]].primary.extend(side.primary)
            units[clusters[prompt]].candidate.extend(side.candidate)
    return list(units.values())


@dataclass(slots=True)
class _Tally:
    """What all conversations together say of a candidate."""

    rules: Rules
    alpha: float
    good: dict[float, int] = field(default_factory=lambda: defaultdict(int))
    bad: dict[float, int] = field(default_factory=lambda: defaultdict(int))
    values: list[float] = field(default_factory=list)
    costs: list[tuple[float, float]] = field(default_factory=list)
    points: tuple[list[tuple[float, float]], list[tuple[float, float]]] = field(default_factory=lambda: ([], []))
    cost: CostTest | None = None
    missing: int = 0
    failures: int = 0

    def add(self, unit: _Sides) -> None:
        primary = [answer for answer in unit.primary if answer.outcome in _WELL]
        if not primary:
            return  # the primary itself failed: says nothing about the candidate
        candidate = [answer for answer in unit.candidate if answer.outcome in _WELL or answer.outcome == _REFUSED]
        self._add_cost(unit)
        before = _mean([value for answer in primary if (value := answer.quality()) is not None])
        if not candidate:
            self.failures += 1
            if before is not None:
                self.good[rounded_down(-before)] += 1  # against it where it is to be shown good, never where bad
            return
        difference = _difference(candidate, before)
        if difference is None:
            self.missing += 1
            return
        self.values.append(difference)
        self.good[rounded_down(difference)] += 1
        self.bad[rounded_up(difference)] += 1

    def _add_cost(self, unit: _Sides) -> None:
        both = (_cost(unit.primary), _cost(unit.candidate))
        if self.cost is not None:
            self.cost = self.cost.add(primary_usd=both[0], candidate_usd=both[1], reserve_usd=_reserve(unit))
        if both[0] is not None and both[1] is not None:
            self.costs.append((both[0], both[1]))
        for points, side, cost in zip(self.points, (unit.primary, unit.candidate), both, strict=True):
            qualities = [0.0 if answer.outcome not in _WELL else answer.quality() for answer in side]
            known = [quality for quality in qualities if quality is not None]
            if cost is not None and len(known) == len(qualities):
                points.append((cost, sum(known) / len(known)))

    def cost_ratio(self) -> float | None:
        """Cost of the candidate as a share of the primary's."""
        before = sum(primary for primary, _ in self.costs)
        return sum(candidate for _, candidate in self.costs) / before if before > 0 else None

    def state(
        self,
    ) -> tuple[Literal["insufficient_data", "withheld", "undecided", "promote", "better_costlier", "reject"], str]:
        """Decide as the verdict on live traffic does, with the conversations of all runs."""
        rules, line = self.rules, math.log(1 / self.alpha)
        margin, counted = rules.margin, len(self.values)
        if log_e_value(self.bad, -margin, "less") >= line:
            return "reject", f"It is proved to be more than {margin:g} worse."
        if counted < rules.min_conversations:
            return "insufficient_data", f"{counted} of the {rules.min_conversations} conversations it takes are there."
        share = self.missing / (counted + self.missing)
        if share > rules.max_missing:
            return "withheld", f"Scoring failed for {share:.1%} of the conversations."
        log_e_saving = None if self.cost is None else self.cost.log_e_saving
        cheaper = log_e_saving is not None and log_e_saving >= line
        if cheaper and log_e_value(self.good, -margin, "greater") >= line:
            better = log_e_value(self.good, 0.0, "greater") >= line
            quality = "it is better" if better else f"it is not more than {margin:g} worse"
            return "promote", f"Proved: {quality}, and it saves at least {rules.min_saving:.0%}."
        if log_e_value(self.good, 0.0, "greater") >= line:
            return (
                "better_costlier",
                f"Proved: it is better. Not proved: that it saves at least {rules.min_saving:.0%}.",
            )
        return "undecided", "Neither is proved yet."


def _reserve(unit: _Sides) -> float:
    """Give the most an answer of a conversation could cost, on average over its answers."""
    return max(sum(answer.reserve_usd for answer in side) / len(side) for side in (unit.primary, unit.candidate))


def _difference(candidate: Sequence[AnswerFact], before: float | None) -> float | None:
    compared = [value for answer in candidate if (value := answer.compared()) is not None]
    if compared:
        return math.fsum(compared) / len(compared)
    after = [0.0 if answer.outcome == _REFUSED else answer.quality() for answer in candidate]
    known = [value for value in after if value is not None]
    if before is None or len(known) < len(after):
        return None
    return math.fsum(known) / len(known) - before


def _cost(answers: Sequence[AnswerFact]) -> float | None:
    costs = [answer.cost_usd for answer in answers]
    known = [cost for cost in costs if cost is not None]
    return sum(known) / len(known) if len(known) == len(costs) and known else None


def _per_point(points: Sequence[tuple[float, float]]) -> float | None:
    quality = sum(value for _, value in points)
    interval = mean_interval([value for _, value in points], ALPHA)
    if interval is None or interval[0] <= LOWEST_QUALITY:
        return None
    return sum(cost for cost, _ in points) / quality


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
