"""When a conversation is over, and which of its turns count: later ones are shown, not counted."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversationRules:
    """A conversation closes after a pause of `idle_s`, with its `max_turns`-th turn, or `max_age_s` after its start."""

    idle_s: float = 1800
    max_turns: int = 20
    max_age_s: float = 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """The first `turns` of a conversation count; `open` while another one still could."""

    turns: int
    open: bool


def extent(starts: Sequence[datetime], rules: ConversationRules, *, as_of: datetime) -> Extent:
    """Say how far a conversation counts. `starts` are its turns' start times in order, at least one.

    A pause is measured from the start of one turn to the start of the next, so that it does not depend on how long a
    model took to answer.
    """
    idle, age = timedelta(seconds=rules.idle_s), timedelta(seconds=rules.max_age_s)
    first = starts[0]
    for turns, (earlier, later) in enumerate(zip(starts, [*starts[1:], as_of], strict=True), start=1):
        if turns >= rules.max_turns or later - earlier >= idle or later - first >= age:
            return Extent(turns=turns, open=False)
    return Extent(turns=len(starts), open=True)
