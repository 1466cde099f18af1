"""What weekly runs and shadow weeks come down to: figures without any content, frozen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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

    def quality(self) -> float | None:
        """Give the deciding evaluator's value of this answer alone; None when there is none."""
        return next((score.value for score in self.scores if score.quality and not score.pairwise), None)

    def compared(self) -> float | None:
        """Give what a deciding evaluator that compares says of it against the primary's."""
        return next((score.value for score in self.scores if score.quality and score.pairwise), None)


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
