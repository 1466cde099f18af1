"""From the ledger's state to the evidence a decision is made of, and the decision written down."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from shadow.ledger.outcome import SLO_GUARD
from shadow.verdict import SLO_MARGIN, Differences, Evidence, Guard

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shadow.ledger.outcome import Judging
    from shadow.ledger.state import LedgerState
    from shadow.verdict import Estimate, Pace, Rules

BY_RULE = frozenset(
    {
        "stateful", "server_tools", "mcp", "files", "holds_key", "too_large", "unreadable", "dialect", "same_model",
        "no_credentials", "price_unknown", "price_varies", "no_output_limit", "routed_elsewhere",
    }
)  # fmt: skip
"""Why turns of a kind are never asked: the verdict does not speak for traffic like them."""

FORMAT_ONLY = (
    "quality is judged by the shape of answers alone ({name}); say `decides: true` on it if that is all that matters"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the ledger is told from outside about one candidate beside one primary."""

    withheld: tuple[str, ...] = ()
    """Sentences that hold `promote` back: judge untrusted, price unknown, ..."""
    prices: str | None = None
    """Fingerprint of both models' prices; None where one is unknown."""
    judge_has_money: bool = True
    """False: nothing may enter."""


def evidence_of(
    state: LedgerState,
    *,
    primary: str,
    candidate: str,
    alpha: float,
    rules: Rules,
    judging: Judging,
    facts: Facts,
    pace: Pace | None = None,
    settled: int | None = None,
    cost_ratio: Estimate | None = None,
    ended: str | None = None,
) -> Evidence:
    """Give all that is known about one candidate, as `shadow.verdict.decide` takes it."""
    withheld = [*facts.withheld]
    if judging.format_only:
        withheld.append(FORMAT_ONLY.format(name=judging.quality))
    return Evidence(
        primary=primary,
        candidate=candidate,
        alpha=alpha,
        rules=rules,
        quality=state.quality,
        missing=state.missing,
        unscored=state.unscored,
        guards=_guards(state, judging),
        failures=state.failures,
        calls=state.calls,
        settled=settled,
        cost_ratio=cost_ratio,
        prices_since=state.headline.since,
        cost=None if state.cost is None else state.cost.test,
        withheld=withheld,
        latched=state.latched,
        watch=state.watch,
        pace=pace,
        traffic_share=traffic_share(state),
        late=state.late,
        ended=ended,
    )


def _guards(state: LedgerState, judging: Judging) -> Sequence[Guard]:
    slo = {} if judging.slo_ms is None else {SLO_GUARD: SLO_MARGIN}
    margins = {**judging.guards, **slo}
    return [
        Guard(name=name, margin=margin, differences=state.guards.get(name, Differences()))
        for name, margin in margins.items()
    ]


def traffic_share(state: LedgerState) -> float | None:
    """Which share of the sampled turns is of a kind that is compared; None before the first.

    The share that is asked by rule, times the share of those asked to which the evaluator applies. What the candidate
    answers, or that it does not, has no say in it.
    """
    if not state.turns:
        return None
    by_rule = sum(count for reason, count in state.left_out.items() if reason in BY_RULE)
    known = state.kinds.compared + state.kinds.others
    return (1 - by_rule / state.turns) * (state.kinds.compared / known if known else 1.0)
