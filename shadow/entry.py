"""Which conversations may enter a comparison now: strictly in the order of their start.

Evidence that does not depend on the order of values still depends on *which* values are in when one looks. If losing
conversations close late, or wait for a judge while identical answers do not, the early ones flatter; each such
selection, simulated, promoted a worse model in 16 to 100 % of streams. So nobody overtakes: a conversation waits until
each one that began before it is settled or out of the count.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

Standing = Literal["open", "pending", "settled", "left_out"]
"""Where an admitted conversation stands.

`open`: another turn of it could still count. `pending`: closed, and an answer or a score is still to come. `settled`:
closed, and each counted turn is scored, failed or declared missing. `left_out`: nothing of it is counted, for a reason
that does not depend on the candidate's answer (our own drop or limit, no money when it began, opted in, redacted).
"""


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A conversation's place in the order of starts; the id decides between equal times."""

    started_at: datetime
    conversation: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Admitted:
    """A conversation that was admitted to shadowing and has not entered yet. `started_at` is aware."""

    conversation: str
    started_at: datetime
    standing: Standing

    @property
    def place(self) -> Place:
        """Its place in the order."""
        return Place(self.started_at, self.conversation)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """Who enters now, and why the others do not."""

    entering: Sequence[Admitted]
    """Settled ones that enter, in order."""
    left_out: Sequence[Admitted]
    """Passed over for good."""
    late: Sequence[Admitted]
    """Known only after one that began later had entered: shown, never counted. See `known_until`."""
    waiting: Sequence[Admitted]
    """Still in the queue, in order; the first of them holds up the others."""
    last: Place | None
    """The place to remember: whoever comes before it comes too late."""
    why: str
    """What the queue waits for, for people."""


def enter(
    admitted: Sequence[Admitted],
    *,
    last: Place | None,
    known_until: datetime,
    judge_has_money: bool = True,
) -> Entry:
    """Say which conversations enter now.

    `admitted` are those that have not entered yet, in any order; `last` is `Entry.last` of the call before.
    `known_until` is the moment before which every start is known: a conversation is first heard of when its first
    answer has ended, so it is now minus the longest answer under way and the recorder's lag. Without money for the
    judge nothing enters, identical answers included: they need no judge, and alone they would look like equality.
    """
    late = [each for each in admitted if last is not None and each.place <= last]
    queue = sorted((each for each in admitted if last is None or each.place > last), key=lambda each: each.place)
    passed = _settled_head(queue, known_until=known_until) if judge_has_money else 0
    head, waiting = queue[:passed], queue[passed:]
    return Entry(
        entering=[each for each in head if each.standing == "settled"],
        left_out=[each for each in head if each.standing == "left_out"],
        late=late,
        waiting=waiting,
        last=head[-1].place if head else last,
        why=_why(waiting, judge_has_money=judge_has_money),
    )


def _settled_head(queue: Sequence[Admitted], *, known_until: datetime) -> int:
    for position, each in enumerate(queue):
        if each.standing in {"open", "pending"} or each.started_at >= known_until:
            return position
    return len(queue)


def _why(waiting: Sequence[Admitted], *, judge_has_money: bool) -> str:
    if not waiting:
        return "nothing waits"
    if not judge_has_money:
        return f"the judge has no money, so none of the {len(waiting)} that wait may enter"
    first, behind = waiting[0], len(waiting) - 1
    held = f"; {behind} that began later wait behind it" if behind else ""
    reasons = {
        "open": f"the conversation of {first.started_at:%Y-%m-%d %H:%M} is still open",
        "pending": f"an answer or a score of the conversation of {first.started_at:%Y-%m-%d %H:%M} is still to come",
    }
    recent = f"one that began before {first.started_at:%Y-%m-%d %H:%M} may not be known yet"
    return f"{reasons.get(first.standing, recent)}{held}"
