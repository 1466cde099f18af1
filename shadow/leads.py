"""Where candidates stand against the primary over the weekly runs, by the evidence and rules of a live verdict; pure.

A prompt counts once, in the run that asked it first: a sample of the traffic proves something about the traffic, the
same prompts again only about themselves. Only runs judged by what decides now count, as in an epoch of live traffic.
What a lead is stricter in: an answer that never came counts as the worst one where the candidate is to be shown good.
"""

from __future__ import annotations

import math
import sys
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, cast

from shadow.ledger import Facts, Judging, LedgerState, Outcome, Totals
from shadow.ledger.evidence import evidence_of
from shadow.ledger.outcome import SLO_GUARD
from shadow.records import ENDED_WELL, FAILURES
from shadow.records import Outcome as Ending
from shadow.runfacts import AnswerFact, Decider, RunFacts
from shadow.trends import judge_trust
from shadow.verdict import AlphaBook, Differences, Rules, decide, headline, slo_difference
from shadow.verdict.eprocess import mean_of, upper_bound

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from shadow.ledger import Plan
    from shadow.runfacts import ScoreFact
    from shadow.verdict import Evidence, Proof, Verdict

Interval = tuple[float, float]
LeadState = Literal["insufficient_data", "withheld", "undecided", "promote", "better_costlier", "equivalent", "reject"]

_WELL = frozenset(map(str, ENDED_WELL))
_FAILED = frozenset(map(str, FAILURES))
_REFUSED = str(Ending.INCOMPATIBLE)

_PRICES = "as each run was billed"
"""A run's costs are those of its day: there is one cost test for all of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lead:
    """Where a candidate stands against the primary over the weekly runs that are judged as the latest one is."""

    task: str
    primary: str
    candidate: str
    state: LeadState
    why: str
    """What is proved and what is not, what failed, and what it rests on, in sentences."""
    n: int
    """Conversations (or golden prompts) with a difference, those of which every answer failed among them."""
    unit: str
    runs: int
    """Runs that brought prompts which count."""
    evaluator: str
    """That decides, in this version."""
    version: str
    since_run: str
    """The first run that counts."""
    anew: str | None
    """Why runs before it do not, in a sentence; None where all do."""
    missing: int
    """Conversations with an answer whose scoring failed."""
    not_applicable: int
    """Conversations the evaluator does not apply to: left out."""
    answers: int
    """Of the candidate, to what the primary answered."""
    failures: int
    """Of those, how many never came (429, 5xx, timeout, broken stream): each counts as the worst answer there is."""
    primary_answers: int
    primary_failures: int
    """Those say nothing about the candidate."""
    difference: float | None
    """Mean over conversations, failures counted."""
    interval: Interval | None
    level: float
    cost_ratio: float | None
    cost_ratio_interval: Interval | None
    cost_per_quality_point: tuple[float | None, float | None]
    """Of the primary and of the candidate, uncached."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stretch:
    """The newest runs of a task that the same evaluator in the same version decides: what an epoch is to traffic."""

    runs: Sequence[RunFacts]
    decider: Decider
    anew: str | None


def leads_of(runs: Sequence[RunFacts], *, plan: Plan, candidates: Sequence[str] | None = None) -> list[Lead]:
    """Say of each candidate of the latest run where it stands, by the rules and evaluators of `plan`.

    Only runs with the latest run's primary count. `alpha` is shared among all candidates there were since the deciding
    evaluator began. `candidates` None: those of the latest run.
    """
    if not runs or runs[-1].primary is None:
        return []
    primary = runs[-1].primary
    same = [run for run in runs if run.primary == primary]
    wanted = [model for model in runs[-1].models if model != primary] if candidates is None else candidates
    answers = _by_task(same)
    found = []
    for task in sorted(answers):
        stretch = _stretch(same, task)
        if stretch is None:
            continue
        book = AlphaBook(alpha=plan.alpha)
        for run in stretch.runs:
            book = book.join([model for model in run.models if model != primary])
        withheld = _withheld(runs, task, stretch.decider, plan)
        found += [
            _lead(
                stretch,
                answers[task],
                _Asked(task=task, primary=primary, candidate=candidate, alpha=book.of(candidate), withheld=withheld),
                plan,
            )
            for candidate in wanted
            if any(candidate in run.models for run in stretch.runs)
        ]
    return found


def _by_task(runs: Iterable[RunFacts]) -> Mapping[str, Mapping[str, Sequence[AnswerFact]]]:
    """Group answers by task and run."""
    found: dict[str, dict[str, list[AnswerFact]]] = defaultdict(lambda: defaultdict(list))
    for run in runs:
        for answer in run.answers:
            found[answer.task][run.id].append(answer)
    return found


def _stretch(runs: Sequence[RunFacts], task: str) -> _Stretch | None:
    """Give the newest runs that are judged alike; None where none is judged."""
    judged = [(run, run.deciders[task]) for run in runs if task in run.deciders]
    if not judged:
        return None
    decider, start = judged[-1][1], len(judged)
    while start and _same(judged[start - 1][1], decider):
        start -= 1
    chosen = [run for run, _ in judged[start:]]
    if not start:
        return _Stretch(runs=chosen, decider=decider, anew=None)
    before = judged[start - 1][1]
    anew = (
        f"Counted anew from the run of {chosen[0].started_at:%Y-%m-%d} on, which {_named(decider)} decides "
        f"({_named(before)} before)."
    )
    return _Stretch(runs=chosen, decider=decider, anew=anew)


def _same(one: Decider, other: Decider) -> bool:
    return (one.evaluator, one.version) == (other.evaluator, other.version)


def _named(decider: Decider) -> str:
    return f"{decider.evaluator} {decider.version}"


def _withheld(runs: Sequence[RunFacts], task: str, decider: Decider, plan: Plan) -> Sequence[str]:
    """Say what holds a lead back: its judge has not shown that it looks, or something else decides by now."""
    found = []
    trust = judge_trust(runs, task, decider.evaluator, decider.version, max_missing=plan.rules.max_missing)
    if trust is not None and not trust.trusted:
        found.append(trust.reason)
    judging = plan.judging_of(task)
    version = judging.versions.get(judging.quality, decider.version)
    if (judging.quality, version) != (decider.evaluator, decider.version):
        found.append(f"{judging.quality} {version} decides now, and no weekly run was judged by it yet")
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """Who is compared, and how sure a proof must be."""

    task: str
    primary: str
    candidate: str
    alpha: float
    withheld: Sequence[str]


def _lead(stretch: _Stretch, answers: Mapping[str, Sequence[AnswerFact]], asked: _Asked, plan: Plan) -> Lead:
    golden_only = all(answer.golden for run in stretch.runs for answer in answers.get(run.id, ()))
    unit = "golden prompts" if golden_only else "conversations"
    tally = _Tally(judging=plan.judging_of(asked.task), rules=plan.rules, decider=stretch.decider)
    seen: set[str] = set()
    used = 0
    for run in stretch.runs:
        fresh = _first_askings(answers.get(run.id, ()), (asked.primary, asked.candidate), seen, golden=golden_only)
        used += bool(fresh)
        for talk in fresh:
            tally.add(talk, at=run.started_at, since=stretch.runs[0].started_at)
    evidence = tally.evidence(asked)
    verdict, shown = decide(evidence), tally.shown
    figures = headline(
        tally.state.headline.sums,
        alpha=2 * asked.alpha,
        candidate_quality=tally.state.headline.candidate_quality if stretch.decider.absolute else None,
        primary_quality=tally.state.headline.primary_quality if stretch.decider.absolute else None,
    )
    ratio, low = figures.cost_ratio, verdict.quality_diff.low
    high = verdict.quality_diff.high if shown == evidence.quality else upper_bound(shown.bad, asked.alpha)
    return Lead(
        task=asked.task,
        primary=asked.primary,
        candidate=asked.candidate,
        state=cast("LeadState", verdict.state),  # nothing is watched after a promotion, so nothing is withdrawn
        why=_why(evidence, verdict, tally, unit=unit, anew=stretch.anew),
        n=shown.conversations,
        unit=unit,
        runs=used,
        evaluator=stretch.decider.evaluator,
        version=stretch.decider.version,
        since_run=stretch.runs[0].id,
        anew=stretch.anew,
        missing=tally.missing,
        not_applicable=tally.not_applicable,
        answers=tally.answers,
        failures=tally.failures,
        primary_answers=tally.primary_answers,
        primary_failures=tally.primary_failures,
        difference=(mean_of(shown.good) + mean_of(shown.bad)) / 2 if shown.good else None,
        interval=None if low is None or high is None else (low, high),
        level=1 - 2 * asked.alpha,
        cost_ratio=ratio.value,
        cost_ratio_interval=None if ratio.low is None or ratio.high is None else (ratio.low, ratio.high),
        cost_per_quality_point=(figures.primary.value, figures.candidate.value),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Turn:
    """One answer of each model to the same prompt."""

    primary: AnswerFact
    candidate: AnswerFact


def _first_askings(
    answers: Sequence[AnswerFact], models: tuple[str, str], seen: set[str], *, golden: bool
) -> list[list[_Turn]]:
    """Give the conversations whose prompts both models were asked for the first time in this run."""
    sides: tuple[dict[tuple[str, int], AnswerFact], ...] = ({}, {})
    for answer in answers:
        if answer.golden == golden and answer.model in models and answer.prompt not in seen:
            sides[models.index(answer.model)][answer.case_id, answer.repeat] = answer
    talks: dict[str, list[_Turn]] = defaultdict(list)
    for key, primary in sides[0].items():
        if key in sides[1]:
            seen.add(primary.prompt)
            talks[primary.cluster or primary.prompt].append(_Turn(primary=primary, candidate=sides[1][key]))
    return list(talks.values())


_TurnState = Literal["scored", "missing", "not_applicable", "failure", "unfinished", "other_evaluator"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Judged:
    """What one turn teaches, in the words of `shadow.stats.quality`."""

    state: _TurnState
    difference: float | None = None
    """Of a failure: the worst it may have been."""
    qualities: tuple[float, float] = (0.0, 0.0)
    """Candidate's and primary's; 0 where a judge compares."""


def _judged(turn: _Turn, decider: Decider) -> _Judged:
    ending = turn.candidate.outcome
    if ending not in _WELL and ending not in _FAILED and ending != _REFUSED:
        return _Judged(state="unfinished")
    came = ending in _WELL
    counts: _TurnState = "failure" if ending in _FAILED else "scored"
    candidate = _score(turn.candidate, decider) if came else None
    if candidate is not None and not isinstance(candidate, float):
        return _Judged(state=candidate)
    if not decider.absolute:
        # The app would get that error: it loses to any answer.
        return _Judged(state=counts, difference=-1.0 if candidate is None else candidate)
    primary = _score(turn.primary, decider)
    if not isinstance(primary, float):
        return _Judged(state="failure" if counts == "failure" else primary)
    value = candidate or 0.0
    return _Judged(state=counts, difference=value - primary, qualities=(value, primary))


def _score(answer: AnswerFact, decider: Decider) -> float | _TurnState:
    """Give the deciding evaluator's value, or why there is none."""
    deciding = [score for score in answer.scores if score.quality]
    found = next((each for each in deciding if _by(each, decider.evaluator, decider.version)), None)
    if found is None:
        return "other_evaluator" if deciding else "missing"
    if found.value is None:
        return "not_applicable" if found.status == "not_applicable" else "missing"
    return float(found.value)


def _by(score: ScoreFact, evaluator: str, version: str | None) -> bool:
    return score.evaluator == evaluator and version in {None, score.version}


@dataclass(slots=True, kw_only=True)
class _Tally:
    """What all conversations together say of a candidate: kept as the ledger keeps it, and failures beside."""

    judging: Judging
    rules: Rules
    decider: Decider
    state: LedgerState = field(default_factory=LedgerState)
    shown: Differences = field(default_factory=Differences)
    """Differences with failures among them."""
    missing: int = 0
    not_applicable: int = 0
    answers: int = 0
    failures: int = 0
    primary_answers: int = 0
    primary_failures: int = 0

    def add(self, talk: Sequence[_Turn], *, at: datetime, since: datetime) -> None:
        """Take in one conversation (or golden prompt) of the run that began `at`; the first run began `since`."""
        failed = sum(turn.primary.outcome in _FAILED for turn in talk)
        self.primary_answers += len(talk)
        self.primary_failures += failed
        judged = [(turn, _judged(turn, self.decider)) for turn in talk if turn.primary.outcome in _WELL]
        counted = [each for each in judged if each[1].state not in {"unfinished", "other_evaluator"}]
        outcome = replace(self._outcome(counted), turns=len(talk), primary_failures=failed / len(talk))
        states = Counter(each.state for _, each in counted)
        self.answers += len(counted)
        self.failures += states["failure"]
        self.missing += outcome.missing > 0
        self.not_applicable += 0 < states["not_applicable"] == len(counted)
        worst = [each.difference for _, each in counted if each.difference is not None]
        if worst:
            self.shown = self.shown.add(math.fsum(worst) / len(worst))
        if outcome.standing == "left_out":
            self._pass_over(failed / len(talk), outcome.failures)
            return
        entered = self.state.enter(outcome, started_at=at)
        self.state = entered.priced(prices=_PRICES, rules=self.rules, first=since, now=since)

    def _pass_over(self, primary_failures: float, failures: float | None) -> None:
        """Take in a conversation in which nothing counts but which share of the calls failed."""
        shares = self.state.failures.add_primary(primary_failures)
        self.state = replace(self.state, failures=shares if failures is None else shares.add_candidate(failures))

    def _outcome(self, counted: Sequence[tuple[_Turn, _Judged]]) -> Outcome:
        """Give what the ledger would be told of it."""
        states = Counter(judged.state for _, judged in counted)
        differences = [judged.difference for _, judged in counted if judged.state == "scored"]
        # Of an answer that never came, to a prompt whose primary's answer has no score, nobody knows what was lost.
        unknown = sum(
            judged.state == "failure" and judged.difference is None and _score(turn.primary, self.decider) == "missing"
            for turn, judged in counted
        )
        missing, scored = states["missing"] + unknown, states["scored"]
        settled = scored or missing or states["failure"]
        return Outcome(
            standing="settled" if settled else "left_out",
            scored=scored,
            difference=_mean(differences),
            missing=missing / (scored + missing) if missing else 0.0,
            failures=states["failure"] / len(counted) if counted else None,
            guards=self._guards([turn for turn, _ in counted]),
            candidate_usd=_mean([turn.candidate.cost_usd for turn, _ in counted]),
            primary_usd=_mean([turn.primary.cost_usd for turn, _ in counted]),
            reserve_usd=max((turn.candidate.reserve_usd for turn, _ in counted), default=0.0),
            totals=_totals(counted),
        )

    def _guards(self, turns: Sequence[_Turn]) -> Mapping[str, float]:
        found = {name: [self._fallen(turn, name) for turn in turns] for name in self.judging.guards}
        slo_ms = self.judging.slo_ms
        if slo_ms is not None:
            found[SLO_GUARD] = [_within_slo(turn, slo_ms) for turn in turns]
        means = {name: _mean([each for each in values if each is not None]) for name, values in found.items()}
        return {name: value for name, value in means.items() if value is not None}

    def _fallen(self, turn: _Turn, name: str) -> float | None:
        version = self.judging.versions.get(name)
        values = []
        for answer in (turn.primary, turn.candidate):
            found = next((each for each in answer.scores if _by(each, name, version)), None)
            if found is not None and found.pairwise:
                return found.value
            values.append(None if found is None else found.value)
        return None if values[0] is None or values[1] is None else values[1] - values[0]

    def evidence(self, asked: _Asked) -> Evidence:
        """Give all that is known, as a live verdict is made of it.

        Failures speak against the candidate where it is to be shown good, never where bad: they may pass. There is no
        number of conversations at which weekly runs end.
        """
        found = evidence_of(
            self.state,
            primary=asked.primary,
            candidate=asked.candidate,
            alpha=asked.alpha,
            rules=replace(self.rules, max_conversations=sys.maxsize),
            judging=self.judging,
            facts=Facts(withheld=tuple(asked.withheld)),
        )
        # Where no answer ever came there is nothing that could speak for a loss.
        bad = self.state.quality.bad or {0.0: self.shown.conversations}
        return replace(found, quality=Differences(good=self.shown.good, bad=bad))


def _within_slo(turn: _Turn, slo_ms: float) -> float | None:
    """An answer that never came was not in time."""
    primary, candidate = turn.primary.latency_ms, turn.candidate.latency_ms
    if primary is None:
        return None
    if turn.candidate.outcome not in _WELL or candidate is None:
        candidate = math.inf
    return slo_difference(candidate, primary, slo_ms=slo_ms)


def _totals(counted: Sequence[tuple[_Turn, _Judged]]) -> Totals | None:
    """Add up the turns whose qualities are known; None where there is none, or a cost of one is not known."""
    pairs = [
        (turn.candidate.cost_usd, turn.primary.cost_usd, *judged.qualities)
        for turn, judged in counted
        if judged.difference is not None
    ]
    costs = [(candidate, primary) for candidate, primary, *_ in pairs if candidate is not None and primary is not None]
    if not pairs or len(costs) < len(pairs):
        return None
    return Totals(
        pairs=len(pairs),
        candidate_usd=math.fsum(candidate for candidate, _ in costs),
        primary_usd=math.fsum(primary for _, primary in costs),
        candidate_quality=math.fsum(pair[2] for pair in pairs),
        primary_quality=math.fsum(pair[3] for pair in pairs),
    )


def _mean(values: Sequence[float | None]) -> float | None:
    """Mean of values that are all known; None where one is not, or there is none."""
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known and len(known) == len(values) else None


_PRAISE = ("better", "not_worse", "cheaper", "failures", "guard")
"""What a lead is made of, in the order in which it is told."""


def _why(evidence: Evidence, verdict: Verdict, tally: _Tally, *, unit: str, anew: str | None) -> str:
    """Say what is proved and what is not, then what failed, and since when it is counted."""
    parts = [_proved(evidence, verdict, unit), *_failures(tally)]
    if tally.missing and verdict.state != "withheld":
        parts.append(f"Scoring failed in {tally.missing:,} {unit}.")
    if tally.not_applicable:
        parts.append(f"{tally.not_applicable:,} {unit} the evaluator does not apply to are left out.")
    return " ".join([*parts, *([anew] if anew else [])])


def _proved(evidence: Evidence, verdict: Verdict, unit: str) -> str:
    proofs = {proof.name.partition(":")[0]: proof for proof in verdict.proofs if not proof.name.startswith("guard:")}
    if verdict.state == "reject":
        return f"Proved: {proofs['worse'].claim}."
    if verdict.state == "insufficient_data":
        return f"{evidence.conversations:,} of the {evidence.rules.min_conversations:,} {unit} it takes are there."
    if verdict.state == "withheld":
        return verdict.summary
    if verdict.state == "equivalent":
        return f"Proved: {', '.join(proofs[name].claim for name in ('not_worse', 'not_better', 'no_saving'))}."
    return _claims(verdict)


def _claims(verdict: Verdict) -> str:
    """Give what is proved, and what keeps it from being more."""
    told = sorted(
        (proof for proof in verdict.proofs if _kind(proof) in _PRAISE), key=lambda proof: _PRAISE.index(_kind(proof))
    )
    better = any(proof.proved for proof in told if _kind(proof) == "better")
    needed = [proof for proof in told if _kind(proof) != ("not_worse" if better else "better")]
    proved = ", ".join(proof.claim for proof in needed if proof.proved)
    open_claims = ", ".join(proof.claim for proof in needed if not proof.proved)
    parts = [f"Proved: {proved}."] if proved else []
    return " ".join([*parts, *([f"Not proved: {open_claims}."] if open_claims else [])])


def _kind(proof: Proof) -> str:
    return proof.name.partition(":")[0]


def _failures(tally: _Tally) -> list[str]:
    if not tally.failures and not tally.primary_failures:
        return []
    part = f"{tally.failures:,} of its {tally.answers:,} answers ({_share(tally.failures, tally.answers)}) never came"
    counts = "has quality 0" if tally.decider.absolute else "counts as a loss"
    primary = f"of the primary's {tally.primary_answers:,} it was {tally.primary_failures:,}"
    return [f"{part}; such an answer {counts}; {primary}."]


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.3g} %" if whole else "n/a"
