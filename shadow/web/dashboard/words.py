"""The words of the dashboard: what each verdict means and what to do next, and what the usual reasons stand for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from shadow.web.dashboard.formats import days, usd

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shadow.web.dashboard.nodes import Node


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictWords:
    """A verdict for people: its name, a sign that needs no colour, its colour, what it means, what to do next."""

    name: str
    sign: str
    tone: str
    meaning: str
    next: str


VERDICTS: Mapping[str | None, VerdictWords] = {
    None: VerdictWords(
        name="Not decided",
        sign="·",
        tone="calm",
        meaning="No verdict has been made yet.",
        next="Let traffic flow; the numbers on this page are what is known so far.",
    ),
    "insufficient_data": VerdictWords(
        name="Not enough data",
        sign="…",
        tone="calm",
        meaning="Fewer conversations are closed than verdict.min_conversations asks for.",
        next="Let traffic flow; where shadow.sample_rate is below 1, a higher one knows sooner.",
    ),
    "withheld": VerdictWords(
        name="Withheld",
        sign="!",
        tone="warn",
        meaning="The measurement itself is in doubt, so nothing good is said of this candidate.",
        next="Mend what the sentence names: label pairs under Review, add a price, or look at missing scores.",
    ),
    "undecided": VerdictWords(
        name="Undecided",
        sign="?",
        tone="calm",
        meaning="Not proved yet: that it can take over, or that it is worse; looking at it as often as you like makes "
        "it no less true.",
        next="Let traffic flow; where shadow.sample_rate is below 1, a higher one knows sooner.",
    ),
    "promote": VerdictWords(
        name="Promote",
        sign="✓",
        tone="good",
        meaning="Proved to be no worse than the margin allows, and cheaper.",
        next="Set primary.model in config.yaml and reload; the old primary may stay as a candidate.",
    ),
    "better_costlier": VerdictWords(
        name="Better, but costs more",
        sign="+",
        tone="good",
        meaning="Proved to be better; the saving is not proved.",
        next="Decide what the gain in quality is worth to you.",
    ),
    "equivalent": VerdictWords(
        name="Equivalent",
        sign="=",
        tone="calm",
        meaning="No difference that matters, and no saving to be had. Shadowing of it has stopped.",
        next="Take it from shadow.candidates, or try another model.",
    ),
    "reject": VerdictWords(
        name="Reject",
        sign="×",  # noqa: RUF001  (a multiplication sign is meant: a cross)
        tone="bad",
        meaning="Proved to be worse than the margin allows. Shadowing of it has stopped.",
        next="Take it from shadow.candidates; the worst pairs show why.",
    ),
    "withdrawn": VerdictWords(
        name="Withdrawn",
        sign="↓",
        tone="bad",
        meaning="It was promoted, and has been proved worse since.",
        next="Set primary.model back to the former primary and reload.",
    ),
}


def verdict_words(verdict: object, *, ended: bool = False) -> VerdictWords:
    """Give the words for a verdict; one this version does not know is shown by its name.

    `ended`: nobody is asked for this comparison any more, so there is nothing to do about it.
    """
    known = VERDICTS.get(verdict) if isinstance(verdict, str | None) else None
    if known is None:
        known = VerdictWords(name=str(verdict), sign="·", tone="calm", meaning="", next="")
    return replace(known, name=f"{known.name}, ended", tone="calm", next="") if ended else known


_OPEN = frozenset({None, "insufficient_data", "withheld", "undecided", "better_costlier"})
_LOST = frozenset({"reject", "withdrawn"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Sentence:
    """The sentence about a candidate in its parts: what it comes to, what matters at once, and the rest."""

    lead: str
    points: Sequence[str]
    rest: Sequence[str]


def sentence(comparison: Node) -> Sentence:
    """Take `why` apart at its semicolons, and add how long it takes and what it saves, where it does not say so."""
    lead, *clauses = [clause.strip() for clause in str(comparison["why"] or "nothing is known yet").split(";")]
    first = [clause for clause in clauses if clause.startswith(("proved", "not proved")) or "needed" in clause]
    rest = [clause for clause in clauses if clause not in first]
    until, saving = until_known(comparison), monthly_saving(comparison)
    if until is not None and not any("needed" in clause for clause in first):
        first.append(until)
    if saving is not None:
        first.append(saving)
    names = [name for side in ("candidate", "primary") if isinstance(name := comparison[side], str)]
    return Sentence(
        lead=_begun(lead, names),
        points=[_begun(clause, names) for clause in first],
        rest=[_begun(each, names) for each in rest],
    )


def _begun(clause: str, names: Sequence[str]) -> str:
    """Begin with a capital and end with a full stop; the name of a model stays as it is written."""
    word = clause.partition(" ")[0]
    is_word = (word.isalpha() or word.endswith(":")) and not any(clause.startswith(f"{name} ") for name in names)
    told = clause[:1].upper() + clause[1:] if is_word else clause
    return told if told.endswith((".", "!", "?")) else f"{told}."


def until_known(comparison: Node) -> str | None:
    """Say how long it takes until there is a verdict, and what that costs; None when nothing is known of it."""
    if comparison["verdict"] not in _OPEN:
        return None
    more = comparison.node("more_needed")
    low, high = more["conversations.low"], more["conversations.high"]
    if not _is_number(low):
        return None
    span = f"{low:,.0f}" if low == high or not _is_number(high) else f"{low:,.0f} to {high:,.0f}"
    told = f"About {span} more conversations are needed"
    if _is_number(more["days"]):
        told += f", {days(more['days'])} at the present traffic"
    if _is_number(more["usd"]):
        told += f", for about {usd(more['usd'])}"
    return f"{told}."


def monthly_saving(comparison: Node) -> str | None:
    """Say what the candidate saves a month, with the interval; None when that is not known, or beside the point."""
    value, ci = comparison["projected_saving_usd_per_month.value"], comparison["projected_saving_usd_per_month.ci"]
    if not _is_number(value) or comparison["verdict"] in _LOST:
        return None
    between = f" (between {usd(ci[0])} and {usd(ci[1])})" if isinstance(ci, list | tuple) and len(ci) == 2 else ""  # noqa: PLR2004
    if value < 0:
        return f"At this traffic it costs {usd(-value)} a month more{between}."
    return f"At this traffic it saves {usd(value)} a month{between}."


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
