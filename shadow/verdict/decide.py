"""From evidence to a verdict: which state, and the sentence that says why."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from shadow.verdict.eprocess import lower_bound, mean_of, upper_bound
from shadow.verdict.evidence import Estimate, Evidence, MoreNeeded, Proof, State, Verdict
from shadow.verdict.needed import FEWEST, more_needed, range_of
from shadow.verdict.proofs import growth_of, latched, percent, proofs_of, usable_cost
from shadow.verdict.sentences import summary, why

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def decide(evidence: Evidence) -> Verdict:
    """Decide about one candidate. Pure: the same evidence gives the same verdict.

    Give `Verdict.latched` back with the next evidence. The probability that a candidate worse by more than the margin,
    not cheaper, failing more, or lower in a guard is ever called `promote` is at most its alpha, whenever and however
    often one looks.
    """
    proofs = proofs_of(evidence)
    held_back = _held_back(evidence)
    state = _state(evidence, proofs, held_back=bool(held_back))
    quality = quality_difference(evidence)
    waits = state in _WAITING and evidence.ended is None
    needed = _more_needed(evidence, state, proofs) if waits else None
    return Verdict(
        state=state,
        summary=summary(evidence, state=state, proofs=proofs, held_back=held_back),
        why=why(evidence, state=state, proofs=proofs, quality=quality, held_back=held_back, needed=needed),
        latched=latched(evidence.latched, proofs),
        quality_diff=quality,
        missing_share=evidence.missing_share,
        effective_margin=evidence.rules.margin + evidence.missing_share,
        proofs=list(proofs.values()),
        more_needed=needed,
        stops=_stops(evidence, state),
        ended=evidence.ended,
    )


_WAITING: frozenset[State] = frozenset({"insufficient_data", "withheld", "undecided", "better_costlier"})


def quality_difference(evidence: Evidence) -> Estimate:
    """Give the mean difference, and the interval whose ends are the claims this alpha can disprove now.

    Its level is 1 - 2 alpha: each end is as sure as a claim of the verdict, so that the two never contradict.
    """
    counts, level = evidence.quality, 1 - 2 * evidence.alpha
    if not evidence.conversations:
        return Estimate(value=None, level=level, reason="no conversation has a quality difference yet")
    return Estimate(
        value=(mean_of(counts.good) + mean_of(counts.bad)) / 2,
        low=lower_bound(counts.good, evidence.alpha),
        high=upper_bound(counts.bad, evidence.alpha),
        level=level,
    )


def _held_back(evidence: Evidence) -> list[str]:
    """Give the reasons that hold `promote` and `better_costlier` back, as sentences."""
    rules, reasons = evidence.rules, list(evidence.withheld)
    if evidence.missing_share > rules.max_missing:
        reasons.insert(
            0,
            f"scoring failed for {percent(evidence.missing_share)} of the conversations,"
            f" more than the {percent(rules.max_missing)} allowed",
        )
    cost = usable_cost(evidence)
    if cost is not None and cost.left_out_share > rules.max_missing:
        reasons.append(
            f"costs of {percent(cost.left_out_share)} of the conversations could not be compared"
            f" ({cost.unpriced} without a known cost, {cost.too_large} with a reserve above the bound),"
            f" more than the {percent(rules.max_missing)} allowed"
        )
    return reasons


def _state(evidence: Evidence, proofs: Mapping[str, Proof], *, held_back: bool) -> State:
    too_few = evidence.conversations < evidence.rules.min_conversations
    waits: State = "insufficient_data" if too_few else "withheld" if held_back else "undecided"
    ended = evidence.asked >= evidence.rules.max_conversations
    cheaper, may_praise = _of(proofs, "cheaper").proved, not (held_back or too_few)
    rules: list[tuple[State, bool]] = [
        ("reject", proofs["worse"].proved),
        ("withdrawn", "withdrawn" in proofs and proofs["withdrawn"].proved),
        (
            "promote",
            may_praise and cheaper and proofs["not_worse"].proved and all(each.proved for each in guards_of(proofs)),
        ),
        ("better_costlier", may_praise and not cheaper and proofs["better"].proved),
        ("equivalent", ended or (not held_back and _within(proofs))),
    ]
    return next((state for state, holds in rules if holds), waits)


def _within(proofs: Mapping[str, Proof]) -> bool:
    return all(proof.proved for proof in (proofs["not_worse"], proofs["not_better"], _of(proofs, "no_saving")))


def guards_of(proofs: Mapping[str, Proof]) -> list[Proof]:
    """Give what must hold beside quality and cost: the failure guard and those of the configuration."""
    return [proof for name, proof in proofs.items() if name == "failures" or name.startswith("guard:")]


def _of(proofs: Mapping[str, Proof], kind: str) -> Proof:
    """Give a claim about cost, whatever its epoch."""
    return next(proof for name, proof in proofs.items() if name.startswith(f"{kind}:"))


def _stops(evidence: Evidence, state: State) -> bool:
    if state == "promote":
        watched = evidence.watch.conversations if evidence.watch is not None else 0
        return watched >= evidence.rules.max_conversations
    return state in {"reject", "equivalent"} or evidence.asked >= evidence.rules.max_conversations


def _fewest(evidence: Evidence) -> int:
    """Give the conversations to be asked at least until there are enough: of some nothing can be compared."""
    few = max(evidence.rules.min_conversations - evidence.conversations, 1)
    each = evidence.asked / evidence.conversations if evidence.conversations else 1.0
    return math.ceil(few * max(1.0, each))


def _more_needed(evidence: Evidence, state: State, proofs: Mapping[str, Proof]) -> MoreNeeded | None:
    rules = evidence.rules
    left = rules.max_conversations - evidence.asked
    if left <= 0:
        return None
    cheaper = _of(proofs, "cheaper")
    promote = [proofs["not_worse"], cheaper, *guards_of(proofs)]
    if state == "withheld" and all(proof.proved for proof in promote):
        return None
    ends: list[Sequence[Proof]] = [
        promote,
        [proofs["worse"]],
        [proofs["not_worse"], proofs["not_better"], _of(proofs, "no_saving")],
    ]
    if not cheaper.proved:
        ends.append([proofs["better"]])
    reached_already = state != "insufficient_data"
    ways = [
        range_of(growth_of(evidence, proof.name) for proof in end if not proof.proved)
        for end in ends
        if not (reached_already and all(proof.proved for proof in end))
    ]
    return more_needed(
        ways,
        at_least=min(_fewest(evidence), left),
        at_most=left,
        pace=evidence.pace,
        told=evidence.conversations >= FEWEST,
    )
