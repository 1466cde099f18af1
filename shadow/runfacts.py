"""What weekly runs and shadow weeks come down to: figures without any content, frozen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

GOLDEN = "golden"
"""How the source of a case begins that comes from the frozen golden set."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreFact:
    """One score of one answer; `value` is None unless it is `scored`."""

    evaluator: str
    version: str
    quality: bool
    pairwise: bool
    """True: says something of an answer beside the primary's; False: of this answer alone, from 0 to 1."""
    status: str
    value: float | None
    cost_usd: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerFact:
    """One answer of a run. Milliseconds and USD; None: not known."""

    case_id: str
    prompt: str
    """Hash of the prompt."""
    task: str
    cluster: str | None
    golden: bool
    model: str
    repeat: int
    outcome: str
    model_answered: str | None
    latency_ms: float | None
    ttft_ms: float | None
    cost_usd: float | None
    """All input as fresh, every attempt included."""
    reserve_usd: float
    """What it could cost at most, known before it was asked."""
    scores: tuple[ScoreFact, ...] = ()
    kept: bool = True
    """True while the answer's content is kept."""

    def quality(self) -> float | None:
        """Give the deciding evaluator's value of this answer alone; None when there is none."""
        return next((score.value for score in self.scores if score.quality and not score.pairwise), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class LookFact:
    """One answer beside an earlier one of the same model to the same prompt, as a judge that only compares saw them."""

    task: str
    prompt: str
    cluster: str | None
    case_id: str
    model: str
    repeat: int
    before_run: str
    """Id of the earlier run; the run itself for two answers of one run, where nothing can have changed."""
    before_case_id: str
    before_repeat: int
    evaluator: str
    version: str
    status: str
    value: float | None
    """From -1 to 1; positive: the later answer is better."""
    reason: str = ""
    """Why there is no value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedFact:
    """What one judge that decides did about one task in one run, counted; see `shadow.judge.trust.Tally`."""

    task: str
    evaluator: str
    version: str
    judge: str
    """The model that judges."""
    grades: bool = False
    """True: it grades single answers; False: it compares two."""
    ruled: int = 0
    identical: int = 0
    failed: int = 0
    flips: int = 0
    ties: int = 0
    unreadable_calls: int = 0
    failed_calls: int = 0
    calls: int = 0
    controls: int = 0
    controls_passed: int = 0
    controls_failed_to_rule: int = 0
    primary_chars: int = 0
    candidate_chars: int = 0
    cost_usd: float = 0.0
    control_cost_usd: float = 0.0
    unpriced_calls: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Decider:
    """The evaluator that decided about a task in a run."""

    evaluator: str
    version: str
    absolute: bool
    """False: it only compares, and says nothing of one answer alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFacts:
    """One weekly run with its answers."""

    id: str
    period: str | None
    state: str
    reason: str | None
    started_at: datetime
    finished_at: datetime | None
    primary: str | None
    models: tuple[str, ...]
    note: str
    spent_usd: float
    max_cost_usd: float | None
    answers: tuple[AnswerFact, ...]
    deciders: Mapping[str, Decider] = field(default_factory=dict)
    """By task."""
    looks: tuple[LookFact, ...] = ()
    judged: tuple[JudgedFact, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseFact:
    """One case of an earlier run: since which run it is asked again and again, and whether its request is kept."""

    case_id: str
    prompt: str
    task: str
    source: str | None
    runs: int
    """In how many weekly runs it was asked."""
    kept: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ShadowWeek:
    """One model's shadowed pairs of one task and week of live traffic, a value a conversation where one is needed."""

    week: datetime
    """Monday 00:00 UTC."""
    task: str
    model: str
    role: str
    """`primary` or `candidate`."""
    exchanges: int
    qualities: Sequence[float]
    """Mean quality of each conversation that was scored."""
    sums: Sequence[tuple[float, float]]
    """(cost in USD, sum of quality) of each conversation in which every answer has both."""
    latencies_ms: Sequence[float]
    ttfts_ms: Sequence[float]
