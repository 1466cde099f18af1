"""How far a judge can be trusted, out of what it did: controls, flips, failures, labels of people. Pure.

The pass rate of controls has an interval that holds at every moment at once, however often one looks: the mixture of
likelihood ratios of a Bernoulli variable over a Beta prior (Robbins 1970; Howard, Ramdas, McAuliffe and Sekhon, "Time-
uniform, nonparametric, nonasymptotic confidence sequences", Annals of Statistics 49(2) 2021). The prior, Beta(9, 1), is
fixed beforehand and leans toward judges that pass: 19 controls passed without a failure prove a rate above 0.8.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

from shadow.verdict import e_value

if TYPE_CHECKING:
    from collections.abc import Callable

LEAST_CONTROL_PASS_RATE = 0.8
MOST_FLIPS = 0.3
LEAST_JUDGEMENTS = 20
"""Below so many pairs a share of flips or failures proves nothing against a judge; nothing is proved for it either."""

ALPHA = 0.05
LONG_ANSWERS = 1.5
"""From this ratio of lengths on, people are told to look whether the judge prefers the longer answer."""

_PRIOR_PASS, _PRIOR_FAIL = 9.0, 1.0
_TOLERANCE = 1e-9

Winner = Literal["primary", "candidate", "tie"]
WINNERS: tuple[Winner, ...] = ("primary", "tie", "candidate")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What one judge, in one version, did about one primary and one candidate in a window.

    Controls are those of all candidates beside the same primary: they test the judge, not a candidate.
    """

    model: str
    version: str
    pairwise: bool = True
    """False when it grades single answers: there are no orders then, and a control passes with a lower grade."""
    ruled: int = 0
    """Pairs with a ruling: in both orders, or a grade for both answers."""
    identical: int = 0
    """Pairs whose answers were identical: ties without a call."""
    failed: int = 0
    """Pairs without a ruling, retry included."""
    flips: int = 0
    """Pairs in which the orders disagree."""
    ties: int = 0
    """Pairs that were a tie, flips included."""
    unreadable_calls: int = 0
    """Calls whose answer was no ruling, refusals included."""
    failed_calls: int = 0
    """All calls without a ruling."""
    calls: int = 0
    controls: int = 0
    controls_passed: int = 0
    controls_failed_to_rule: int = 0
    """Controls that got no ruling: neither passed nor lost."""
    primary_chars: int = 0
    candidate_chars: int = 0
    """Sums over the ruled pairs."""
    cost_usd: float = 0.0
    """Of all calls whose cost is known, controls included."""
    control_cost_usd: float = 0.0
    unpriced_calls: int = 0
    """Calls whose provider did not say what it billed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """People's labels beside the judge's rulings: (person, judge) -> how many pairs."""

    counts: Mapping[tuple[Winner, Winner], int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """Whether a judge's rulings may carry a verdict. `trusted` None: not known yet; the reason says what is missing."""

    trusted: bool | None
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Kappa:
    """Agreement beyond chance between people and the judge, with its interval; None with a reason."""

    n: int
    agreement: float | None
    kappa: float | None
    ci: tuple[float, float] | None
    reason: str | None


@lru_cache(maxsize=1024)
def rate_interval(successes: int, trials: int, *, alpha: float = ALPHA) -> tuple[float, float]:
    """Give the interval of a rate that holds at every moment at once, with probability 1 - alpha; (0, 1) at first."""

    def disproved(rate: float) -> bool:
        return _log_evidence(successes, trials - successes, rate) >= -math.log(alpha)

    seen = successes / trials if trials else 0.5
    return _edge(disproved, outside=0.0, inside=seen), _edge(disproved, outside=1.0, inside=seen)


@lru_cache(maxsize=1024)
def controls_needed(passed: int, controls: int, *, alpha: float = ALPHA) -> int | None:
    """Say how many more controls, all passed, would prove the pass rate; None when more than a thousand would."""
    rate, failures = LEAST_CONTROL_PASS_RATE, controls - passed
    for more in range(1000):
        proved = _log_evidence(passed + more, failures, rate) >= -math.log(alpha)
        if proved and passed + more > rate * (controls + more):
            return more
    return None


def _log_evidence(successes: int, failures: int, rate: float) -> float:
    """Logarithm of the evidence against a rate: how much better the mixture explains what was seen."""
    log_mixture = _log_beta(_PRIOR_PASS + successes, _PRIOR_FAIL + failures) - _log_beta(_PRIOR_PASS, _PRIOR_FAIL)
    return log_mixture - _times_log(successes, rate) - _times_log(failures, 1.0 - rate)


def kappa_of(labels: Labels) -> Kappa:
    """Compare people's labels with the judge's rulings: agreement, and Cohen's kappa with an interval.

    The interval is that of the agreement, which holds at every moment, carried over to kappa with the chance agreement
    as it was seen; so it never has a width of 0, however few labels agree.
    """
    n = sum(labels.counts.values())
    if not n:
        return Kappa(
            n=0, agreement=None, kappa=None, ci=None, reason="no pair has been labelled; shadow-gateway label does that"
        )
    agreeing = sum(count for (person, judge), count in labels.counts.items() if person == judge)
    agreement = agreeing / n
    chance = sum(_share(labels, n, 0, winner) * _share(labels, n, 1, winner) for winner in WINNERS)
    if chance > 1 - _TOLERANCE:
        same = "people and judge said the same one thing about every pair: nothing tells agreement from chance"
        return Kappa(n=n, agreement=agreement, kappa=None, ci=None, reason=same)
    low, high = rate_interval(agreeing, n)
    return Kappa(
        n=n,
        agreement=agreement,
        kappa=_beyond_chance(agreement, chance),
        ci=(max(-1.0, _beyond_chance(low, chance)), _beyond_chance(high, chance)),
        reason=None,
    )


def trust_of(
    tally: Tally, *, max_missing: float, alpha: float = ALPHA, aa_counts: Mapping[float, int] | None = None
) -> Trust:
    """Decide whether a judge can be trusted.

    `aa_counts` are its rulings about two answers of the primary to the same request (value -> how often): a judge that
    proves a difference there proves anything. None: nobody has asked the primary twice.
    """
    faults = _faults(tally, max_missing=max_missing, alpha=alpha, aa_counts=aa_counts)
    if faults:
        return Trust(trusted=False, reason=f"the judge {tally.model} cannot be trusted: {'; '.join(faults)}")
    if not tally.ruled:
        nothing = "no pair is judged yet" if not tally.identical else "all pairs were identical, it was never asked"
        return Trust(
            trusted=None, reason=f"it is not known yet whether the judge {tally.model} can be trusted: {nothing}"
        )
    low, _ = rate_interval(tally.controls_passed, tally.controls)
    if low < LEAST_CONTROL_PASS_RATE:
        return Trust(trusted=None, reason=_unproven(tally, low))
    passed = (
        f"it passed {tally.controls_passed} of {tally.controls} controls (at least {_at_least(low)} in the long run)"
    )
    told = f"{passed}, and its orders disagree in {_of(tally.flips, tally.ruled)} pairs" if tally.pairwise else passed
    return Trust(trusted=True, reason=f"the judge {tally.model} can be trusted: {told}")


def judge_block(
    tally: Tally | None,
    *,
    none_because: str = "no judge decides here",
    max_missing: float = 0.05,
    alpha: float = ALPHA,
    aa_counts: Mapping[float, int] | None = None,
    aa_reason: str = "the primary has not been asked twice yet",
    labels: Labels | None = None,
    relatives: tuple[str, ...] = (),
) -> dict[str, Any]:
    """Build the block `judge` of one comparison in `/stats`; `relatives` are compared models of the judge's house."""
    used = tally or Tally(model="", version="")
    trust = Trust(trusted=None, reason=none_because)
    if tally is not None:
        trust = trust_of(tally, max_missing=max_missing, alpha=alpha, aa_counts=aa_counts)
    judged = used.ruled + used.failed
    low, high = rate_interval(used.controls_passed, used.controls)
    kappa = kappa_of(labels or Labels())
    length_ratio = _ratio(used.candidate_chars, used.primary_chars)
    return {
        "model": used.model or None,
        "version": used.version or None,
        "judgements": used.ruled,
        "identical": used.identical,
        "failed": used.failed,
        "coverage": _ratio(used.ruled, judged),
        "missing": _ratio(used.failed, judged + used.identical),
        "calls": used.calls,
        "parse_failures": used.unreadable_calls,
        "failed_calls": used.failed_calls,
        "flip_rate": _ratio(used.flips, used.ruled) if used.pairwise else None,
        "tie_rate": _ratio(used.ties, used.ruled) if used.pairwise else None,
        "control_pass_rate": {
            "value": _ratio(used.controls_passed, used.controls),
            "ci": [low, high] if used.controls else None,
            "n": used.controls,
            "without_ruling": used.controls_failed_to_rule,
        },
        "aa_evidence": _aa_evidence(aa_counts, aa_reason),
        "length_ratio": length_ratio,
        "labels": {
            "n": kappa.n,
            "agreement": kappa.agreement,
            "kappa": kappa.kappa,
            "ci": None if kappa.ci is None else list(kappa.ci),
            "reason": kappa.reason,
        },
        "cost_usd": used.cost_usd,
        "control_cost_usd": used.control_cost_usd,
        "unpriced_calls": used.unpriced_calls,
        "self_preference_risk": bool(relatives),
        "relatives": list(relatives),
        "warnings": _warnings(used, relatives=relatives, length_ratio=length_ratio),
        "trusted": trust.trusted,
        "reason": trust.reason,
    }


def _faults(tally: Tally, *, max_missing: float, alpha: float, aa_counts: Mapping[float, int] | None) -> list[str]:
    """Name what speaks against the judge; empty when nothing is proved against it."""
    faults = []
    _, high = rate_interval(tally.controls_passed, tally.controls)
    if high < LEAST_CONTROL_PASS_RATE:
        passed = f"it passed {tally.controls_passed} of {tally.controls} controls"
        faults.append(
            f"{passed}, at most {_at_most(high)} in the long run where {LEAST_CONTROL_PASS_RATE:.0%} are needed"
        )
    if tally.ruled >= LEAST_JUDGEMENTS and tally.flips > MOST_FLIPS * tally.ruled:
        flips = f"its ruling changes with the order of the answers in {_of(tally.flips, tally.ruled)} pairs"
        faults.append(f"{flips}, at most {MOST_FLIPS:.0%} are allowed")
    judged = tally.ruled + tally.failed + tally.identical
    if judged >= LEAST_JUDGEMENTS and tally.failed > max_missing * judged:
        faults.append(
            f"it gave no ruling for {_of(tally.failed, judged)} pairs, at most {max_missing:.0%} may be missing"
        )
    for side in ("greater", "less"):
        if aa_counts and _evidence(tuple(aa_counts.items()), side) >= 1 / alpha:
            n = sum(aa_counts.values())
            faults.append(f"it finds a difference between two answers of the same model ({n} pairs of the primary)")
    return faults


def _unproven(tally: Tally, low: float) -> str:
    told = f"it is not known yet whether the judge {tally.model} can be trusted: "
    if tally.controls:
        passed = f"it passed {tally.controls_passed} of {tally.controls} controls"
        told += f"{passed} (at least {_at_least(low)} in the long run)"
    else:
        told += "it has had no control yet"
    more = controls_needed(tally.controls_passed, tally.controls)
    if more is None:
        return told
    return f"{told}; {more} more, all passed, would do"


def _aa_evidence(counts: Mapping[float, int] | None, reason: str) -> dict[str, Any]:
    if not counts:
        return {"greater": None, "less": None, "n": 0, "reason": reason}
    seen = tuple(counts.items())
    greater, less = _evidence(seen, "greater"), _evidence(seen, "less")
    return {"greater": greater, "less": less, "n": sum(counts.values()), "reason": None}


@lru_cache(maxsize=1024)
def _evidence(counts: tuple[tuple[float, int], ...], side: Literal["greater", "less"]) -> float:
    """Give the evidence against "no difference"; asked again for every candidate beside the same primary."""
    return e_value(dict(counts), 0.0, side)


def _warnings(tally: Tally, *, relatives: tuple[str, ...], length_ratio: float | None) -> list[str]:
    warnings = []
    if relatives:
        named = ", ".join(relatives)
        warnings.append(f"self-preference: the judge {tally.model} and {named} come from one house")
    if length_ratio is not None and length_ratio >= LONG_ANSWERS:
        warnings.append(f"the candidate's answers are {length_ratio:.1f} times as long: judges tend to like that")
    if tally.unpriced_calls:
        warnings.append(f"of {tally.unpriced_calls} calls the cost is not known; the budget was charged the worst case")
    return warnings


def _edge(disproved: Callable[[float], bool], *, outside: float, inside: float) -> float:
    """Find where a disproved end meets the rates that are not; `outside` itself when it is not disproved."""
    if not disproved(outside):
        return outside
    while abs(outside - inside) > _TOLERANCE:
        middle = (outside + inside) / 2
        if disproved(middle):
            outside = middle
        else:
            inside = middle
    return outside


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


def _times_log(count: int, rate: float) -> float:
    """Give count * log(rate), 0 for no count, and minus infinity for what cannot have happened."""
    if not count:
        return 0.0
    return count * math.log(rate) if rate > 0 else -math.inf


def _share(labels: Labels, n: int, side: int, winner: Winner) -> float:
    return sum(count for pair, count in labels.counts.items() if pair[side] == winner) / n


def _beyond_chance(agreement: float, chance: float) -> float:
    return (agreement - chance) / (1 - chance)


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def _at_least(rate: float) -> str:
    """Round a lower bound down: it must not look as if it had reached what it has not."""
    return f"{math.floor(100 * rate)}%"


def _at_most(rate: float) -> str:
    return f"{math.ceil(100 * rate)}%"


def _of(part: int, whole: int) -> str:
    return f"{part} of {whole} ({part / whole:.0%})"
