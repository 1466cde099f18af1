"""The claims a verdict rests on, each an e-process of its own, latched when it crosses its line."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from shadow.verdict.differences import CANDIDATE_SHARE
from shadow.verdict.eprocess import bets, log_e_value
from shadow.verdict.evidence import Evidence, Latch, Proof
from shadow.verdict.needed import FEWEST, Growth, growth

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shadow.verdict.cost import CostTest
    from shadow.verdict.eprocess import Side

_MORE_IS_STRONGER = ("worse", "cheaper", "withdrawn")
"""Claims that prove more the larger their bound is; the others prove more the smaller it is."""

_NOISE = 1e-12
_WHOLE = 999.5
"""From here on three figures would be written with an exponent."""


def proofs_of(evidence: Evidence) -> dict[str, Proof]:
    """Give every claim by its name, `guard:<name>` for each guard."""
    found = [*_of_quality(evidence), *_of_cost(evidence), *_of_failures(evidence), *_of_guards(evidence)]
    if evidence.watch is not None:
        margin = evidence.rules.margin
        claim = f"more than {margin:g} worse in quality since it was promoted"
        found.append(_proof(evidence, "withdrawn", claim, margin, evidence.watch.log_e_value(margin)))
    return {proof.name: proof for proof in found}


def latched(before: Mapping[str, Latch], proofs: Mapping[str, Proof]) -> dict[str, Latch]:
    """Give what is to be remembered: everything that was, and what is proved now."""
    return {**before, **{name: proof.latch for name, proof in proofs.items() if proof.latch is not None}}


def growth_of(evidence: Evidence, name: str) -> Growth | None:
    """Give how fast the evidence for a claim grows; None when too little is there to tell."""
    line = -math.log(evidence.alpha)
    if name == "failures":
        return _growth_of_failures(evidence, line=line)
    if name.startswith(("cheaper:", "no_saving:")):
        return _growth_of_cost(evidence, name, line=line)
    margin, quality = evidence.rules.margin, evidence.quality
    tests: dict[str, tuple[Mapping[float, int], float, Side]] = {
        "worse": (quality.bad, -margin, "less"),
        "not_worse": (quality.good, -margin, "greater"),
        "better": (quality.good, 0.0, "greater"),
        "not_better": (quality.bad, margin, "less"),
        **{f"guard:{guard.name}": (guard.differences.good, -guard.margin, "greater") for guard in evidence.guards},
    }
    counts, m0, side = tests[name]
    return _each_asked(growth(counts, m0, side, line=line), evidence)


def _of_quality(evidence: Evidence) -> list[Proof]:
    margin, quality = evidence.rules.margin, evidence.quality
    tests = [
        ("worse", f"more than {margin:g} worse in quality", margin, log_e_value(quality.bad, -margin, "less")),
        ("not_worse", f"at most {margin:g} worse in quality", margin, log_e_value(quality.good, -margin, "greater")),
        ("better", "better in quality", 0.0, log_e_value(quality.good, 0.0, "greater")),
        ("not_better", f"at most {margin:g} better in quality", margin, log_e_value(quality.bad, margin, "less")),
    ]
    return [_proof(evidence, name, claim, bound, log_e) for name, claim, bound, log_e in tests]


def _of_cost(evidence: Evidence) -> list[Proof]:
    cost, saving = usable_cost(evidence), evidence.rules.min_saving
    number = cost.number if cost is not None else 1
    at_least = f"at least {percent(saving)} cheaper" if saving else "cheaper"
    too_little = f"less than {percent(saving)} cheaper" if saving else "not cheaper"
    return [
        _proof(evidence, f"cheaper:{number}", at_least, saving, cost.log_e_saving if cost is not None else None),
        _proof(evidence, f"no_saving:{number}", too_little, saving, cost.log_e_no_saving if cost is not None else None),
    ]


def _of_failures(evidence: Evidence) -> list[Proof]:
    margin, failures = evidence.rules.failure_margin, evidence.failures
    log_e = failures.log_e_value(margin, evidence.alpha) if failures is not None and failures.candidate else None
    claim = f"failing at most {margin * 100:.3g} percentage points more often"
    return [_proof(evidence, "failures", claim, margin, log_e)]


def _of_guards(evidence: Evidence) -> list[Proof]:
    return [
        _proof(
            evidence,
            f"guard:{guard.name}",
            f"at most {guard.margin:g} lower in {guard.name}",
            guard.margin,
            log_e_value(guard.differences.good, -guard.margin, "greater"),
        )
        for guard in evidence.guards
    ]


def usable_cost(evidence: Evidence) -> CostTest | None:
    """Give the cost test when it asks for the saving that is asked for now; one of other rules proves nothing."""
    cost = evidence.cost
    return cost if cost is not None and cost.min_saving == evidence.rules.min_saving else None


def percent(share: float) -> str:
    """Write a share as a percentage: three figures, or whole where it has more."""
    value = share * 100
    return f"{value:.3g} %" if abs(value) < _WHOLE else f"{value:,.0f} %"


def _proof(evidence: Evidence, name: str, claim: str, bound: float, log_e: float | None) -> Proof:
    line = -math.log(evidence.alpha)
    latch = evidence.latched.get(name)
    if latch is not None and not _covers(latch, name, bound=bound, alpha=evidence.alpha):
        latch = None
    if latch is None and log_e is not None and log_e >= line:
        latch = Latch(bound=bound, alpha=evidence.alpha, conversations=evidence.entered)
    return Proof(name=name, claim=claim, bound=bound, log_e=log_e, line=line, latch=latch)


def _covers(latch: Latch, name: str, *, bound: float, alpha: float) -> bool:
    """Say whether what was proved then proves the claim of now: the line may have moved with the configuration."""
    excess = bound - latch.bound if name.startswith(_MORE_IS_STRONGER) else latch.bound - bound
    return excess <= _NOISE and latch.alpha <= alpha + _NOISE


def _each_asked(found: Growth | None, evidence: Evidence) -> Growth | None:
    """Say what each conversation that counts takes: not of all that are asked something can be compared."""
    return None if found is None else replace(found, asked_each=max(1.0, evidence.asked / found.seen))


def _growth_of_failures(evidence: Evidence, *, line: float) -> Growth | None:
    if evidence.failures is None:
        return None
    limit = evidence.failures.candidate_limit(evidence.rules.failure_margin, evidence.alpha)
    return growth(evidence.failures.candidate, limit, "less", line=line - math.log(CANDIDATE_SHARE))


def _growth_of_cost(evidence: Evidence, name: str, *, line: float) -> Growth | None:
    cost = usable_cost(evidence)
    if cost is None:
        return None
    side: Side = "less" if name.startswith("cheaper") else "greater"
    wealths = cost.saving_wealths if side == "less" else cost.no_saving_wealths
    ended = cost.above if side == "less" else cost.below
    if ended or cost.conversations < FEWEST:
        return None
    # A test that began anew has seen few of those that were asked: what it has left out of late says how many it takes.
    settled = evidence.settled or evidence.entered
    each_settled = max(1.0, evidence.asked / settled) if settled else 1.0
    variance = max(0.0, cost.sum_y2 / cost.conversations - (cost.sum_y / cost.conversations) ** 2)
    return Growth(
        line=line,
        wealths=wealths,
        mean=[wealth / cost.conversations for wealth in wealths],
        spread=[abs(stake) * math.sqrt(variance) for stake in bets(0.0, side)],
        worst=[0.0] * len(wealths),
        seen=cost.conversations,
        asked_each=each_settled / (1 - cost.left_out_share),
    )
