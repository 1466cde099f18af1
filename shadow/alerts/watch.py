"""What of all that was seen is told: each change of state once, only when it holds, and not while it is muted. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from shadow.notices import Alert, Watched

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from shadow.notices import Mute, Observation


def changes(
    observations: Iterable[Observation],
    watched: Mapping[str, Watched],
    mutes: Sequence[Mute],
    *,
    now: datetime,
    batch: str,
) -> tuple[list[Watched], list[Alert]]:
    """Give what is to be remembered and what is to be told.

    A state counts once it was seen in as many looks in a row as its observation asks for: what flickers is not told. A
    muted change counts as told, so that the end of a mute brings no flood. `batch` starts the ids of this look's
    alerts; they sort in the order of the observations.
    """
    remembered: list[Watched] = []
    alerts: list[Alert] = []
    for seen in observations:
        known = watched.get(seen.subject) or Watched(subject=seen.subject, told="", told_at=now, seen="", looks=0)
        looks = min(known.looks + 1, seen.looks) if known.seen == seen.state else 1
        told, told_at = known.told, known.told_at
        if seen.state != told and looks >= seen.looks:
            told, told_at = seen.state, now
            if not seen.silent:
                muted = any(mute.covers(seen) for mute in mutes)
                alerts.append(_alert(seen, f"{batch}-{len(alerts):03}", known.told or None, now, muted=muted))
        fresh = Watched(subject=seen.subject, told=told, told_at=told_at, seen=seen.state, looks=looks)
        if fresh != known:
            remembered.append(fresh)
    return remembered, alerts


def _alert(seen: Observation, alert_id: str, previous: str | None, now: datetime, *, muted: bool) -> Alert:
    return Alert(
        id=alert_id,
        kind=seen.kind,
        subject=seen.subject,
        state=seen.state,
        previous=previous,
        created_at=now,
        task=seen.task,
        primary=seen.primary,
        candidate=seen.candidate,
        title=seen.title,
        sentence=seen.sentence,
        details=seen.details,
        facts=seen.facts,
        muted=muted,
    )
