"""The one sentence a candidate gets: what is proved, what is not, how long it takes, what it costs to know."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shadow.verdict.eprocess import mean_of, merged
from shadow.verdict.needed import dollars, in_days
from shadow.verdict.proofs import percent, usable_cost

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from shadow.verdict.evidence import Estimate, Evidence, MoreNeeded, Proof, State

_NEEDED = frozenset({"not_worse", "cheaper", "failures", "guard"})
"""What stands between a candidate and `promote`."""

_SAME = 0.0005
"""A saving or a rise smaller than this is none."""

_ALIKE = 0.01
"""Two shares that differ by less say the same."""

_MORE_ASKED = 1.1
"""Where this many times as many conversations are asked as count, the sentence says which of them it means."""

_OPEN_CLAIMS_UNTOLD: frozenset[State] = frozenset({"insufficient_data", "reject", "withdrawn", "promote"})


def summary(evidence: Evidence, *, state: State, proofs: Mapping[str, Proof], held_back: Sequence[str]) -> str:
    """Say the verdict in its shortest form."""
    return f"{_lead(evidence, state, proofs, held_back)}."


def why(
    evidence: Evidence,
    *,
    state: State,
    proofs: Mapping[str, Proof],
    quality: Estimate,
    held_back: Sequence[str],
    needed: MoreNeeded | None,
) -> str:
    """Say why the verdict is what it is, in one sentence of clauses."""
    clauses = [
        _lead(evidence, state, proofs, held_back),
        *([] if evidence.ended is None else [f"it ended because {evidence.ended}"]),
        *_of_proofs(state, proofs),
        _difference(evidence, quality),
        *_cost(evidence),
        *_refused(evidence),
        *_failures(evidence),
        *_missing(evidence, state),
        *_late(evidence),
        *_needed(evidence, state, needed),
        *_share(evidence),
        *_reservations(state, held_back),
    ]
    return "; ".join(clauses) + "."


def _lead(evidence: Evidence, state: State, proofs: Mapping[str, Proof], held_back: Sequence[str]) -> str:
    if evidence.ended is not None:
        return _ended_lead(evidence, state, proofs, held_back)
    cand, prim = evidence.candidate, evidence.primary
    worse, cheaper = proofs["worse"], _named(proofs, "cheaper")
    leads: dict[State, str] = {
        "reject": f"{cand} is {worse.claim} than {prim}{_since(worse)}, so it is shadowed no longer",
        "withdrawn": _withdrawn(evidence),
        "promote": f"{cand} can take over from {prim}",
        "better_costlier": f"{cand} is better in quality than {prim}, but not shown to be {cheaper.claim}",
        "equivalent": _equivalent(evidence),
        "insufficient_data": _too_early(evidence),
        "withheld": f"A verdict on {cand} against {prim} is held back: {'; '.join(held_back)}",
        "undecided": f"It is not known yet whether {cand} can take over from {prim}",
    }
    return leads[state]


def _ended_lead(evidence: Evidence, state: State, proofs: Mapping[str, Proof], held_back: Sequence[str]) -> str:
    cand, prim, least = evidence.candidate, evidence.primary, evidence.rules.min_conversations
    then = "when their comparison ended"
    leads: dict[State, str] = {
        "reject": f"{cand} was {proofs['worse'].claim} than {prim} {then}",
        "withdrawn": (
            f"{cand} was fit to take over from {prim} once, and had become more than {evidence.rules.margin:g} worse"
            f" in quality {then}"
        ),
        "promote": f"{cand} could take over from {prim} {then}",
        "better_costlier": (
            f"{cand} was better in quality than {prim} {then}, but not shown to be {_named(proofs, 'cheaper').claim}"
        ),
        "equivalent": f"{cand} gave no proved reason to leave {prim} {then}",
        "insufficient_data": (
            f"It was too early to judge {cand} against {prim} {then}: {evidence.conversations:,} of at least"
            f" {least:,} conversations"
        ),
        "withheld": f"A verdict on {cand} against {prim} was held back {then}: {'; '.join(held_back)}",
        "undecided": f"It was not known whether {cand} could take over from {prim} {then}",
    }
    return leads[state]


def _too_early(evidence: Evidence) -> str:
    counted, least = evidence.conversations, evidence.rules.min_conversations
    of = f"{counted:,} of at least {least:,} conversations"
    return f"It is too early to judge {evidence.candidate} against {evidence.primary}: {of}"


def _equivalent(evidence: Evidence) -> str:
    cand, prim, asked = evidence.candidate, evidence.primary, evidence.asked
    if asked >= evidence.rules.max_conversations:
        ended = f"after {asked:,} conversations, where the count ends, so it is shadowed no longer"
        return f"{cand} gives no proved reason to leave {prim} {ended}"
    return f"{cand} gives no reason to leave {prim}, so it is shadowed no longer"


def _withdrawn(evidence: Evidence) -> str:
    blocks = evidence.watch.blocks if evidence.watch is not None else ()
    counts = merged(blocks)
    lost = (
        f" (difference {mean_of(counts):+.3f} over the {sum(counts.values()):,} conversations since)" if counts else ""
    )
    return (
        f"{evidence.candidate} was fit to take over from {evidence.primary}, and has become more than"
        f" {evidence.rules.margin:g} worse in quality since{lost}"
    )


def _of_proofs(state: State, proofs: Mapping[str, Proof]) -> list[str]:
    proved = [
        f"{proof.claim}{_since(proof)}"
        for proof in proofs.values()
        if proof.proved and _kind(proof) not in _unsaid(state, proofs)
    ]
    told = state not in _OPEN_CLAIMS_UNTOLD
    missing = [proof.claim for proof in proofs.values() if told and not proof.proved and _kind(proof) in _NEEDED]
    if state == "better_costlier":
        missing.remove(_named(proofs, "cheaper").claim)
    clauses = [f"proved: {', '.join(proved)}"] if proved else []
    return [*clauses, f"not proved: {', '.join(missing)}"] if missing else clauses


def _unsaid(state: State, proofs: Mapping[str, Proof]) -> set[str]:
    """Give the claims that the lead has made, and those that follow from a stronger one."""
    unsaid = {"worse", "withdrawn"}
    if state != "equivalent":
        unsaid.add("not_better")
    if proofs["better"].proved:
        unsaid |= {"not_worse"}
    if state == "better_costlier":
        unsaid.add("better")
    return unsaid


def _difference(evidence: Evidence, quality: Estimate) -> str:
    if quality.value is None or quality.low is None or quality.high is None or quality.level is None:
        return "no conversation has a quality difference yet"
    interval = f"{quality.level * 100:.3g} % interval {quality.low:+.3f} to {quality.high:+.3f}"
    return (
        f"over {evidence.conversations:,} conversations the quality difference (candidate minus primary, each 0 to 1)"
        f" {'is' if evidence.ended is None else 'was'} {quality.value:+.3f}, {interval}"
    )


def _cost(evidence: Evidence) -> list[str]:
    cost, ratio, since = usable_cost(evidence), evidence.cost_ratio, evidence.prices_since
    tested = cost.saving if cost is not None else None
    saving = 1 - ratio.value if ratio is not None and ratio.value is not None else tested
    changed = f"since prices changed on {since:%Y-%m-%d at %H:%M} " if since is not None else ""
    if saving is None:
        return [f"{changed}costs can not be compared yet"]
    verb, least = ("costs" if evidence.ended is None else "cost"), evidence.rules.min_saving
    clause = f"{changed}it {verb} {_compared(saving)}"
    if tested is not None and (tested < least) != (saving < least):
        clause += f" (by the mean call of a conversation, as the saving is tested, {_compared(tested)})"
    return [clause, *_monthly(evidence.saving_usd_per_month)]


def _compared(saving: float) -> str:
    return "the same" if abs(saving) < _SAME else f"{percent(abs(saving))} {'less' if saving >= 0 else 'more'}"


def _monthly(saving: Estimate | None) -> list[str]:
    if saving is None or saving.value is None:
        return []
    verb, sign = ("saves", 1) if saving.value >= 0 else ("adds", -1)
    ends = sorted(sign * end for end in (saving.low, saving.high) if end is not None)
    interval = f" ({' to '.join(map(dollars, ends))})" if ends else ""
    return [f"at this app's traffic it {verb} about {dollars(sign * saving.value)} a month{interval}"]


def _refused(evidence: Evidence) -> list[str]:
    """Say that copies were not taken at all: which may be the model's fault, or that of the settings."""
    calls = evidence.calls
    if calls is None or not calls.refused:
        return []
    if calls.refused < calls.asked:
        return [f"{calls.refused:,} of its {calls.asked:,} calls were refused with status 400, 404 or 422"]
    every = f"every one of its {calls.asked:,} calls was refused with status 400, 404 or 422"
    return [f"{every}, as calls to a wrong name or base_url are"]


def _failures(evidence: Evidence) -> list[str]:
    failures = evidence.failures
    if failures is None or not (any(failures.candidate.values()) and any(failures.primary.values())):
        return []
    candidate, primary = mean_of(failures.candidate), mean_of(failures.primary)
    if not (candidate or primary):
        return []
    mean = f"{percent(candidate)} of a conversation's calls to it failed on average ({percent(primary)} to the primary)"
    calls = evidence.calls
    if calls is None or not (calls.asked and calls.primary):
        return [mean]
    shares = calls.failed / calls.asked, calls.primary_failed / calls.primary
    clause = (
        f"{calls.failed:,} of its {calls.asked:,} calls failed ({percent(shares[0])}), {calls.primary_failed:,} of the"
        f" primary's {calls.primary:,} ({percent(shares[1])})"
    )
    alike = abs(shares[0] - candidate) < _ALIKE and abs(shares[1] - primary) < _ALIKE
    return [clause if alike else f"{clause}, while {mean}, which is what is tested"]


def _missing(evidence: Evidence, state: State) -> list[str]:
    share, margin = evidence.missing_share, evidence.rules.margin
    if not share or state not in {"promote", "equivalent", "undecided", "better_costlier"}:
        return []
    return [
        f"scoring failed for {percent(share)}, so the loss that can be excluded is {margin + share:.3g}, not {margin:g}"
    ]


def _late(evidence: Evidence) -> list[str]:
    if not evidence.late:
        return []
    were = "conversation was" if evidence.late == 1 else "conversations were"
    return [f"{evidence.late:,} {were} known too late for the order of starts and count for nothing"]


def _needed(evidence: Evidence, state: State, needed: MoreNeeded | None) -> list[str]:
    if needed is None or needed.conversations_low is None or needed.conversations_high is None:
        return ["nothing else is missing"] if state == "withheld" and evidence.ended is None else []
    low, high = needed.conversations_low, needed.conversations_high
    count = f"{low:,}" if low == high else f"{low:,} to {high:,}"
    first = "but for that, about" if state == "withheld" else "about"
    parts = [f"{first} {count} conversations more are needed"]
    if evidence.asked >= _MORE_ASKED * max(evidence.conversations, 1):
        counts = f"{evidence.conversations:,} count of {evidence.asked:,} so far"
        parts = [f"{parts[0]} (all that are asked, {counts})"]
    if needed.days is not None:
        parts.append(f"up to {in_days(needed.days)} at present")
    if needed.usd is not None:
        parts.append(f"up to {dollars(needed.usd)}")
    return [", ".join(parts) + (f" ({needed.advice})" if needed.advice else "")]


def _share(evidence: Evidence) -> list[str]:
    if evidence.traffic_share is None:
        return []
    verb = "speaks" if evidence.ended is None else "spoke"
    return [f"this {verb} for {percent(evidence.traffic_share)} of the task's traffic"]


def _reservations(state: State, held_back: Sequence[str]) -> list[str]:
    """Say what is not to be trusted where the verdict does not wait for it, or waits for more than that."""
    return [f"with this reservation: {reason}" for reason in held_back if state != "withheld"]


def _since(proof: Proof) -> str:
    if proof.latch is None or not proof.faded:
        return ""
    return f" (proved after {proof.latch.conversations:,} conversations, less clear since)"


def _kind(proof: Proof) -> str:
    return proof.name.partition(":")[0]


def _named(proofs: Mapping[str, Proof], kind: str) -> Proof:
    return next(proof for proof in proofs.values() if _kind(proof) == kind)
