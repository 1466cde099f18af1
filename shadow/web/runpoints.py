"""What weekly runs come down to, worked out once: a run that has ended stays as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from shadow.leads import leads_of
from shadow.trends import drifts_of, trend_points

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shadow.leads import Lead
    from shadow.ledger import Plan
    from shadow.runfacts import RunFacts
    from shadow.trends import ModelDrift

    Points = Sequence[dict[str, Any]]


class RunPoints:
    """Points of every run, and leads and drift over all of them, kept as long as the very same runs are asked for.

    Leads and drift are kept as long as the plan is the same, too.

    CPU work: call it in a thread. Two threads at once may both work something out; what they keep is the same.
    """

    def __init__(self) -> None:
        self._points: dict[str, tuple[RunFacts, Points]] = {}
        self._proved: tuple[Sequence[RunFacts], Plan | None, Sequence[Lead], Sequence[ModelDrift]] = ((), None, (), ())

    def points(self, runs: Sequence[RunFacts]) -> list[dict[str, Any]]:
        """Give the points of these runs; nobody may change them."""
        found: list[dict[str, Any]] = []
        for run in runs:
            known = self._points.get(run.id)
            if known is None or known[0] is not run:
                known = run, trend_points([run], ())
                self._points[run.id] = known
            found += known[1]
        return found

    def proved(self, runs: Sequence[RunFacts], *, plan: Plan) -> tuple[Sequence[Lead], Sequence[ModelDrift]]:
        """Give leads and drift over all these runs by the rules of `plan`, and forget the points of others."""
        known = self._proved
        if known[1] != plan or not _same(known[0], runs):
            known = tuple(runs), plan, leads_of(runs, plan=plan), drifts_of(runs, max_missing=plan.rules.max_missing)
            self._proved = known
            names = {run.id for run in runs}
            self._points = {name: kept for name, kept in self._points.items() if name in names}
        return known[2], known[3]


def _same(known: Sequence[RunFacts], runs: Sequence[RunFacts]) -> bool:
    return len(known) == len(runs) and all(one is other for one, other in zip(known, runs, strict=True))
