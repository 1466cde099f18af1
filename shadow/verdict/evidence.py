"""What a decision is made of, and what it says: frozen values in and out of `decide`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from shadow.verdict.cost import CostTest
from shadow.verdict.differences import Differences, FailureShares, Watch

State = Literal[
    "insufficient_data",
    "withheld",
    "undecided",
    "promote",
    "better_costlier",
    "equivalent",
    "reject",
    "withdrawn",
]

MAX_ALPHA = 0.5
"""Above it "proved" would mean less than the toss of a coin."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """`verdict:` of the configuration, but for `alpha`, which is spent per batch of candidates (`AlphaBook`)."""

    margin: float = 0.05
    """How much worse, in quality from 0 to 1, a cheaper model may be."""
    min_saving: float = 0.05
    min_conversations: int = 50
    max_conversations: int = 3000
    max_missing: float = 0.05
    failure_margin: float = 0.02

    def __post_init__(self) -> None:
        for name in ("margin", "failure_margin"):
            if not 0 < getattr(self, name) < 1:
                raise ValueError(f"{name} must lie between 0 and 1, both excluded, not {getattr(self, name)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """Something that may not fall by `margin`: another evaluator's score, or the share of answers within the SLO."""

    name: str
    margin: float
    differences: Differences = field(default_factory=Differences)


@dataclass(frozen=True, slots=True, kw_only=True)
class Latch:
    """A test that crossed its line once: it stays proved, for this bound and this alpha, whatever comes later."""

    bound: float
    """The line that was crossed, in the test's own unit: a margin or a saving."""
    alpha: float
    conversations: int
    """How many there were when it crossed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How fast evidence comes in at present, for the estimate of what is still needed."""

    conversations_per_day: float
    """Conversations a day that the candidate is asked, at the present `sample_rate`."""
    usd_per_conversation: float | None
    """Candidate and judge together, for one that is asked; None when not known."""
    sample_rate: float
    budget_usd_per_day: float | None = None
    usd_unknown: str = "a price is missing"
    """Why dollars are not known, where they are not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Calls:
    """Single calls, the candidate's and the primary's live ones in the same conversations, and how many failed."""

    asked: int = 0
    failed: int = 0
    primary: int = 0
    primary_failed: int = 0
    refused: int = 0
    """Of the candidate's, those its endpoint would not take (400, 404, 422); 0 in what older versions counted."""

    def __add__(self, other: Calls) -> Calls:
        return Calls(
            asked=self.asked + other.asked,
            failed=self.failed + other.failed,
            primary=self.primary + other.primary,
            primary_failed=self.primary_failed + other.primary_failed,
            refused=self.refused + other.refused,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A number with the interval that holds it; None where nothing can be said, with the reason."""

    value: float | None
    low: float | None = None
    high: float | None = None
    level: float | None = None
    """Probability that the interval holds the truth, at all times together: 0.96 is 96 %."""
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """All that is known about one candidate against one primary in one task and epoch. Small, and no secrets in it."""

    primary: str
    candidate: str
    alpha: float
    """The candidate's own share, from `AlphaBook`; fixed for the epoch."""
    rules: Rules = field(default_factory=Rules)
    quality: Differences = field(default_factory=Differences)
    missing: float = 0.0
    """Conversations without a quality difference because scoring failed; one in which it failed for a third of the
    turns adds a third. Failures of the candidate are not among them, they are `failures`."""
    unscored: int = 0
    """Conversations among `missing` in which no turn at all was scored, so that they are not in `quality`."""
    guards: Sequence[Guard] = ()
    failures: FailureShares | None = None
    calls: Calls | None = None
    """The calls behind `failures`; None where they were not counted."""
    settled: int | None = None
    """Conversations in which anything counts, the candidate's failures among them; None: those of `entered`."""
    cost: CostTest | None = None
    """None: no cost is known, so that nothing can be shown to be cheaper."""
    cost_ratio: Estimate | None = None
    """The candidate's cost by the primary's as it is shown beside the verdict; None: as in `cost`."""
    prices_since: datetime | None = None
    """When the prices changed that the cost figures speak of; None: they are those of the whole epoch."""
    withheld: Sequence[str] = ()
    """Sentences from outside that hold `promote` and `better_costlier` back: judge untrusted, price unknown, ..."""
    latched: Mapping[str, Latch] = field(default_factory=dict)
    """`Verdict.latched` of the decision before."""
    watch: Watch | None = None
    """Conversations since the verdict first became `promote`; None before, `Watch()` from that decision on."""
    pace: Pace | None = None
    saving_usd_per_month: Estimate | None = None
    traffic_share: float | None = None
    """Share of the task's eligible exchanges whose like was compared (the rest was skipped by rule)."""
    late: int = 0
    """Conversations that became known too late for their place in the order of starts, so that they do not count."""
    ended: str | None = None
    """Why nobody asks the candidate beside this primary any more, as a sentence's part; None: it goes on."""

    def __post_init__(self) -> None:
        if not 0 < self.alpha < MAX_ALPHA:
            raise ValueError(f"alpha must lie between 0 and {MAX_ALPHA}, both excluded, not {self.alpha}")

    @property
    def conversations(self) -> int:
        """How many have a quality difference."""
        return self.quality.conversations

    @property
    def entered(self) -> int:
        """How many have entered, those in which scoring failed altogether among them."""
        return self.quality.conversations + self.unscored

    @property
    def asked(self) -> int:
        """How many the candidate was asked, those in which all its calls failed among them: what the count ends by."""
        failures = self.failures.candidate if self.failures is not None else {}
        return max(self.entered, sum(failures.values()))

    @property
    def missing_share(self) -> float:
        """Share of what entered that has no score."""
        return self.missing / self.entered if self.entered else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """One claim the decision needs, and how far it is proved."""

    name: str
    """`worse`, `not_worse`, `better`, `not_better`, `cheaper:1`, `no_saving:1` (the cost epoch), `failures`,
    `guard:<name>`, `withdrawn`."""
    claim: str
    """The claim in words, with its numbers, to be read after "the candidate is"."""
    bound: float
    """The margin or saving it is about."""
    log_e: float | None
    """Natural logarithm of the e-value now; None when there is nothing to count, or it can not be proved any more."""
    line: float
    """ln(1/alpha): where it is proved."""
    latch: Latch | None = None
    """Set once it is proved, now or before."""

    @property
    def proved(self) -> bool:
        """True once the line was crossed: it stays so."""
        return self.latch is not None

    @property
    def faded(self) -> bool:
        """True when it was proved before, and what came later speaks less clearly."""
        return self.latch is not None and (self.log_e is None or self.log_e < self.line)


@dataclass(frozen=True, slots=True, kw_only=True)
class MoreNeeded:
    """What it takes to know more: conversations that are asked, from `low` to `high`, then days, dollars and advice."""

    conversations_low: int | None
    conversations_high: int | None
    days: float | None
    """At the present traffic and `sample_rate`, for `conversations_high`."""
    usd: float | None
    """For `conversations_high`."""
    advice: str | None
    """For example "sample_rate 0.4: 7 days, about $2/day"."""
    reason: str | None = None
    """Why a field is None."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The decision, its one sentence, and what to remember for the next one."""

    state: State
    summary: str
    """The verdict in its shortest form, for a table or a headline: the first clause of `why`."""
    why: str
    """For the person who decides: what is proved, what is not, and the numbers."""
    latched: Mapping[str, Latch]
    quality_diff: Estimate
    missing_share: float
    effective_margin: float
    """margin + missing share: the loss that `promote` excludes, were every missing answer the worst there is."""
    proofs: Sequence[Proof]
    more_needed: MoreNeeded | None
    """None once nothing more is waited for."""
    stops: bool
    """True when this candidate need not be shadowed any longer, so that its budget goes to the others."""
    ended: str | None = None
    """`Evidence.ended`: the verdict is what was known then."""
