"""From the store's rows to the block `judge` of each comparison. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

from shadow.judge.families import relatives
from shadow.judge.trust import ALPHA, Labels, Tally, Trust, judge_block, trust_of

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Mapping
    from typing import TypeVar

    from shadow.judge.trust import Winner
    from shadow.runfacts import JudgedFact

    K = TypeVar("K", bound=Hashable)

Key = tuple[str, str | None, str]
"""Task, primary, candidate."""

MAX_MISSING = 0.05

_COUNTS = (
    "ruled", "failed", "flips", "ties", "unreadable_calls", "failed_calls", "calls", "controls",
    "controls_passed", "controls_failed_to_rule", "primary_chars", "candidate_chars", "unpriced_calls",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class _Judged:
    """One comparison (by one evaluator, or all) by its newest judge, and what all its judges cost."""

    tally: Tally
    latest: Any


class JudgeBook:
    """What judges did in one window, asked by comparison.

    Where a judge was exchanged meanwhile, its figures are those of the newest; the money is all of it. Controls are
    added up over the candidates beside one primary.
    """

    def __init__(
        self,
        tallies: Iterable[Mapping[str, Any]],
        labels: Iterable[Mapping[str, Any]] = (),
        *,
        max_missing: float = MAX_MISSING,
        alpha: float = ALPHA,
        unusable: Mapping[str, str] | None = None,
    ) -> None:
        """`unusable` says by task why its judge cannot be asked (no key, price unknown)."""
        rows = list(tallies)
        self._max_missing = max_missing
        self._alpha = alpha
        self._unusable = unusable or {}
        self._judged = _newest(rows, _comparison)
        self._by_version = _newest(rows, _comparison_and_evaluator)
        self._controls = _controls(rows)
        self._labels = _labels(labels)

    def tally(self, task: str, primary: str | None, candidate: str) -> Tally | None:
        """What the newest judge of a comparison did; None when none was asked."""
        return self._with_controls(task, primary, self._judged.get((task, primary, candidate)))

    def _with_controls(self, task: str, primary: str | None, judged: _Judged | None) -> Tally | None:
        if judged is None:
            return None
        tally = judged.tally
        controls = self._controls[task, primary, tally.model, tally.version]
        return replace(tally, controls=controls[0], controls_passed=controls[1], controls_failed_to_rule=controls[2])

    def trust(
        self,
        task: str,
        primary: str | None,
        candidate: str,
        *,
        evaluator: str,
        version: str,
        aa_counts: Mapping[float, int] | None = None,
    ) -> Trust | None:
        """Whether the judge of that evaluator may carry a verdict, whoever ruled last; None when no judge decides here.

        A judge's version names its model too, so what another one did never speaks for it.
        """
        judged = self._by_version.get((task, primary, candidate, evaluator, version))
        tally = self._with_controls(task, primary, judged)
        if tally is None:
            reason = self._unusable.get(task)
            return None if reason is None else Trust(trusted=False, reason=reason)
        return trust_of(tally, max_missing=self._max_missing, alpha=self._alpha, aa_counts=aa_counts)

    def block(
        self,
        task: str,
        primary: str | None,
        candidate: str,
        *,
        aa_counts: Mapping[float, int] | None = None,
        aa_reason: str = "the primary has not been asked twice yet",
    ) -> dict[str, Any]:
        """Build the block `judge` of one comparison."""
        tally = self.tally(task, primary, candidate)
        compared = [name for name in (primary, candidate) if name]
        return judge_block(
            tally,
            none_because=self._unusable.get(task, "no judge has decided anything here"),
            max_missing=self._max_missing,
            alpha=self._alpha,
            aa_counts=aa_counts,
            aa_reason=aa_reason,
            labels=None if tally is None else self._labels.get((task, primary, candidate, tally.model, tally.version)),
            relatives=() if tally is None else relatives(tally.model, compared),
        )


def tally_of(facts: Iterable[JudgedFact]) -> Tally | None:
    """Add up what one judge did in several weekly runs; None when it was never asked."""
    found = list(facts)
    if not found:
        return None
    sums = {
        name: sum(getattr(fact, name) for fact in found)
        for name in (*_COUNTS, "identical", "cost_usd", "control_cost_usd")
    }
    last = found[-1]
    return Tally(model=last.judge, version=last.version, pairwise=not last.grades, **sums)


def _comparison(row: Mapping[str, Any]) -> Key:
    return row["task"], row["primary"], row["candidate"]


def _comparison_and_evaluator(row: Mapping[str, Any]) -> tuple[str, str | None, str, str, str]:
    return *_comparison(row), row["evaluator"], row["version"]


def _newest(rows: Iterable[Mapping[str, Any]], key_of: Callable[[Mapping[str, Any]], K]) -> dict[K, _Judged]:
    judged: dict[K, _Judged] = {}
    for row in rows:
        key = key_of(row)
        before = judged.get(key)
        tally = Tally(
            model=row["model"],
            version=row["version"],
            pairwise=not row["is_single"],
            cost_usd=row["cost_usd"] + (before.tally.cost_usd if before else 0.0),
            control_cost_usd=row["control_cost_usd"] + (before.tally.control_cost_usd if before else 0.0),
            identical=int(row["identical_pairs"]),
            **{name: int(row[name]) for name in _COUNTS},
        )
        if before is not None and before.latest > row["latest"]:
            tally = replace(before.tally, cost_usd=tally.cost_usd, control_cost_usd=tally.control_cost_usd)
        latest = row["latest"] if before is None else max(before.latest, row["latest"])
        judged[key] = _Judged(tally=tally, latest=latest)
    return judged


def _controls(rows: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str | None, str, str], tuple[int, int, int]]:
    """Add up controls, passed ones, and those without a ruling, by task, primary and judge."""
    found: dict[tuple[str, str | None, str, str], tuple[int, int, int]] = {}
    for row in rows:
        key = (row["task"], row["primary"], row["model"], row["version"])
        before = found.get(key, (0, 0, 0))
        found[key] = (
            before[0] + row["controls"],
            before[1] + row["controls_passed"],
            before[2] + row["controls_failed_to_rule"],
        )
    return found


def _labels(rows: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str | None, str, str, str], Labels]:
    counts: dict[tuple[str, str | None, str, str, str], dict[tuple[Winner, Winner], int]] = {}
    for row in rows:
        key = (row["task"], row["primary"], row["candidate"], row["model"], row["version"])
        said = cast("tuple[Winner, Winner]", (row["person"], row["judge"]))
        of = counts.setdefault(key, {})
        of[said] = of.get(said, 0) + row["count"]
    return {key: Labels(counts=found) for key, found in counts.items()}
