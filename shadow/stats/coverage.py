"""How much of the eligible traffic a candidate was asked, and what became of the rest; the sums are exact."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from shadow.stats.rows import Row

NOT_SAMPLED_REASON = "opted_out"
"""A job row with this reason stands for an exchange that was never sampled."""

_SENT = frozenset({"sent", "done"})
_PENDING = frozenset({"pending", "leased"})

ComparisonKey = tuple[str, str | None, str]
"""Task, primary (None: the request could not be read), candidate."""


def coverage_figures(
    rows: Iterable[Row],
) -> tuple[dict[tuple[str, str | None], int], dict[ComparisonKey, dict[str, Any]]]:
    """Eligible exchanges by (task, primary), and the coverage of each candidate that has jobs."""
    eligible: dict[tuple[str, str | None], int] = {}
    jobs: dict[ComparisonKey, list[Row]] = {}
    for row in rows:
        if row["candidate"] is None:
            key = (row["task"], row["primary"])
            eligible[key] = eligible.get(key, 0) + row["count"]
        else:
            jobs.setdefault((row["task"], row["primary"], row["candidate"]), []).append(row)
    return eligible, {key: coverage_of(found, eligible=eligible.get(key[:2], 0)) for key, found in jobs.items()}


def compared(
    task: str,
    answered: Iterable[tuple[str | None, str]],
    *,
    eligible: Iterable[tuple[str, str | None]],
    candidates: Iterable[str],
    jobs: Iterable[ComparisonKey],
    epochs: Iterable[ComparisonKey],
) -> list[tuple[str | None, str]]:
    """Pairs of models to show: with answers, jobs or an epoch, and each configured candidate beside each primary."""
    names = list(candidates)
    configured = {
        (primary, candidate)
        for name, primary in eligible
        for candidate in names
        if name == task and candidate != primary
    }
    known = {(primary, candidate) for keys in (jobs, epochs) for name, primary, candidate in keys if name == task}
    return sorted({*answered, *configured, *known}, key=lambda pair: (pair[0] is None, pair[0] or "", pair[1]))


def coverage_of(jobs: Iterable[Row], *, eligible: int) -> dict[str, Any]:
    """`eligible = sampled + not_sampled` and `sampled = sent + skipped + dropped + pending`, in exchanges."""
    sent = pending = 0
    skipped: dict[str, int] = {}
    dropped: dict[str, int] = {}
    for row in jobs:
        count, state, reason = row["count"], row["state"], row["reason"] or "unknown"
        if state in _SENT:
            sent += count
        elif state in _PENDING:
            pending += count
        elif state == "dropped":
            dropped[reason] = dropped.get(reason, 0) + count
        elif reason != NOT_SAMPLED_REASON:
            skipped[reason] = skipped.get(reason, 0) + count
    sampled = sent + sum(skipped.values()) + sum(dropped.values()) + pending
    return {
        "eligible": eligible,
        "sampled": sampled,
        "not_sampled": eligible - sampled,
        "sent": sent,
        "skipped": dict(sorted(skipped.items())),
        "dropped": dict(sorted(dropped.items())),
        "pending": pending,
    }
