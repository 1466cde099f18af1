"""One window's figures out of rollups: what `shadow.stats.build` makes of raw rows, without reading one of them.

What differs, and only this: percentiles are within 1 %, edges are whole minutes, and turns after their conversation has
closed are among the window's pairs (the epoch's figures, which decide, leave them out).
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from shadow.records import FAILURES, Outcome
from shadow.rollups import WHOLE, Series, Totals, read_detail
from shadow.stats.brief import brief_comparison
from shadow.stats.comparisons import (
    NO_INTERVAL,
    cost_ratio_figures,
    no_epoch,
    projected_saving,
    told,
    why,
)
from shadow.stats.coverage import compared, coverage_of
from shadow.stats.figures import finite, ratio
from shadow.stats.insights import changed_evaluators, crowded_key, insights
from shadow.stats.rolled_models import average, ratio_of, rolled_model_row, spent_usd

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from shadow.rollups import Window
    from shadow.stats.besides import Besides
    from shadow.stats.coverage import ComparisonKey
    from shadow.stats.rows import RolledRows

_JOB = "job."
_NOT_SCORED = ("missing", "not_applicable")
_LEFT_OUT = ("failure", "opted_in", "redaction_changed", "unfinished")


def job_counts(totals: Mapping[Series, Totals]) -> list[dict[str, Any]]:
    """Give the rows of the store's `coverage` but for the eligible exchanges: task, primary, candidate and counts."""
    return [
        {"task": series.task, "primary": series.primary, "candidate": series.candidate, **row}
        for series, sums in totals.items()
        if series.detail == WHOLE
        for row in _jobs(sums)
    ]


class Rolled:
    """The sums of one window, grouped once."""

    def __init__(
        self,
        rows: RolledRows,
        totals_of: Mapping[Series, Totals],
        *,
        as_of: datetime,
        candidates: Sequence[str],
        missing_line: Callable[[str], str | None],
        epochs: Mapping[ComparisonKey, Mapping[str, Any]],
        besides: Besides,
    ) -> None:
        self._besides = besides
        self._candidates, self._missing_line, self._epochs = candidates, missing_line, epochs
        began = as_of if rows.began is None else rows.began
        self._hours = max(0.0, (as_of - began).total_seconds() / 3600)
        self._wholes: dict[Series, Totals] = {}
        self._series: defaultdict[str, list[Series]] = defaultdict(list)
        self._evaluators: defaultdict[Series, dict[tuple[str, str], Totals]] = defaultdict(dict)
        for series, totals in totals_of.items():
            self._sort(series, totals)
        self._conversations: defaultdict[str, list[str]] = defaultdict(list)
        for row in rows.conversations:
            self._conversations[row["task"]].append(row["conversation"])
        self._eligible = {
            (series.task, series.primary): totals.count("eligible")
            for series, totals in self._wholes.items()
            if not series.candidate and totals.count("eligible")
        }
        self._jobs: dict[ComparisonKey, list[dict[str, Any]]] = {
            (series.task, series.primary, series.candidate): jobs
            for series, totals in self._wholes.items()
            if series.candidate and (jobs := _jobs(totals))
        }

    def _sort(self, series: Series, totals: Totals) -> None:
        if series.detail == WHOLE:
            self._wholes[series] = totals
            self._series[series.task].append(series)
            return
        kind, *names = read_detail(series.detail)
        if kind == "score":
            evaluator, version = names
            self._evaluators[series._replace(detail=WHOLE)][evaluator, version] = totals

    def tasks(self) -> set[str]:
        """Name every task that has anything in this window or in an epoch."""
        called = {series.task for series, totals in self._wholes.items() if totals.count("requests")}
        decided = (name for name, _, _ in self._epochs)
        return {*called, *decided, *(name for name, _ in self._eligible), *(name for name, _, _ in self._jobs)}

    def task(self, name: str) -> dict[str, Any]:
        """Give models, comparisons and readings of one task."""
        judged = {each.primary for each in self._called(name, candidate=True) if self._is_by_pair(each)}
        models = [
            *(
                self._primary(series, is_compared=series.primary in judged)
                for series in self._called(name, candidate=False)
            ),
            *(
                self._row(answered, "candidate", candidate)
                for candidate, answered in sorted(self._by_candidate(name).items())
            ),
        ]
        return {
            "task": name,
            "models": models,
            "comparisons": [
                self._comparison(name, primary, candidate, pairwise=bool(judged))
                for primary, candidate in self._compared(name)
            ],
            "insights": [*crowded_key(self._conversations[name]), *changed_evaluators(models), *insights(models)],
        }

    def _is_by_pair(self, series: Series) -> bool:
        return self._wholes[series].count("decided_by_pair") > 0

    def size(self, task: str) -> int:
        """Count the models of a task."""
        return len(self._called(task, candidate=False)) + len(self._by_candidate(task))

    def brief(self, name: str) -> dict[str, Any]:
        """Give what `shadow.stats.brief.brief` leaves of a task, without making the rest."""
        sides = (
            ("primary", [(each.primary, [each]) for each in self._called(name, candidate=False)]),
            ("candidate", sorted(self._by_candidate(name).items())),
        )
        return {
            "task": name,
            "models": [
                {"model": model, "role": role, "cost_usd": {"total": self._spent(of)}}
                for role, found in sides
                for model, of in found
            ],
            "comparisons": [
                brief_comparison(
                    primary=primary,
                    candidate=candidate,
                    verdict=epoch["verdict"],
                    ended=epoch.get("ended"),
                    coverage=self._coverage(name, primary, candidate),
                    judge_usd=self._besides.judge_usd(name, primary, candidate),
                    noise_floor_usd=self._besides.noise_floor(name, primary)["cost_usd"],
                )
                for primary, candidate in self._compared(name)
                for epoch in [self._epochs.get((name, primary, candidate)) or no_epoch()]
            ],
        }

    def _spent(self, of: Sequence[Series]) -> float | None:
        totals = Totals()
        for series in of:
            totals.add(self._wholes[series].numbers, {})
        return spent_usd(totals)

    def _called(self, task: str, *, candidate: bool) -> list[Series]:
        """Give the series of one side that have answers, most requests first."""
        found = [
            series
            for series in self._series[task]
            if bool(series.candidate) is candidate and self._wholes[series].count("requests")
        ]
        return sorted(
            found,
            key=lambda series: (
                -self._wholes[series].count("requests"),
                series.primary is None,
                series.primary or "",
                series.candidate,
            ),
        )

    def _by_candidate(self, task: str) -> dict[str, list[Series]]:
        found: dict[str, list[Series]] = {}
        for series in self._called(task, candidate=True):
            found.setdefault(series.candidate, []).append(series)
        return found

    def _primary(self, series: Series, *, is_compared: bool) -> dict[str, Any]:
        row = self._row([series], "primary", series.primary, is_compared=is_compared)
        self._besides.add_feedback(row["quality"], series.task, series.primary)
        return row

    def _row(self, of: Sequence[Series], role: Any, model: str | None, *, is_compared: bool = False) -> dict[str, Any]:
        if len(of) == 1:
            totals, evaluators = self._wholes[of[0]], self._evaluators[of[0]]
        else:
            totals, evaluators = Totals(), {}
            for series in of:
                totals.absorb(self._wholes[series])
                for key, scores in self._evaluators[series].items():
                    evaluators.setdefault(key, Totals()).absorb(scores)
        return rolled_model_row(
            model=model,
            role=role,
            totals=totals,
            evaluators=evaluators,
            missing_line=self._missing_line,
            is_compared=is_compared,
        )

    def _compared(self, task: str) -> list[tuple[str | None, str]]:
        return compared(
            task,
            [(series.primary, series.candidate) for series in self._called(task, candidate=True)],
            eligible=self._eligible,
            candidates=self._candidates,
            jobs=self._jobs,
            epochs=self._epochs,
        )

    def _comparison(self, task: str, primary: str | None, candidate: str, *, pairwise: bool) -> dict[str, Any]:
        totals = self._wholes.get(Series(task, primary, candidate)) or Totals()
        live = self._wholes.get(Series(task, primary, "")) or Totals()
        epoch = self._epochs.get((task, primary, candidate)) or no_epoch()
        pairs = _Pairs(totals, pairwise=pairwise)
        figures = told(epoch, pairs.window())
        price_line = self._missing_line(candidate)
        spent = finite(live["uncached.sum"]) if live.count("uncached.n") else None
        return {
            "primary": primary,
            "candidate": candidate,
            **figures,
            # Conversations are the ledger's to count: before it has looked, none has entered.
            "conversations": figures["conversations"] or 0,
            "open": figures["open"] or 0,
            "switch": epoch.get("switch"),
            "why": why(epoch["why"], pairs=totals.count("requests"), price_line=price_line),
            "projected_saving_usd_per_month": projected_saving(spent, figures["cost_ratio"], hours=self._hours),
            "pairs": pairs.compared,
            "scored": pairs.scored,
            "left_out": pairs.left_out(),
            "add_to_config": price_line,
            **pairs.win_rates(),
            "latency_diff_ms": _quantiles(totals, "latency_diff_ms"),
            "ttft_diff_ms": _quantiles(totals, "ttft_diff_ms"),
            "failure_rate": {
                "primary": _share_of_failures(live),
                "candidate": ratio(totals.count("pair.failure"), totals.count("counted")),
            },
            "noise_floor": dict(self._besides.noise_floor(task, primary)),
            "judge": self._besides.judge(task, primary, candidate),
            "representative": _representative(totals),
            "coverage": self._coverage(task, primary, candidate),
        }

    def _coverage(self, task: str, primary: str | None, candidate: str) -> dict[str, Any]:
        jobs = self._jobs.get((task, primary, candidate), [])
        return coverage_of(jobs, eligible=self._eligible.get((task, primary), 0))


def traffic_figures(
    window: Window, *, task: str, primary: str | None, candidate: str, cost_ratio: Mapping[str, Any], hours: float
) -> dict[str, Any]:
    """Give what a window's traffic says beside an epoch: how much of it the candidate was asked, and what it may save.

    `hours` is how long the window's traffic lasted.
    """
    totals = window.totals()
    live = totals.get(Series(task, primary, "")) or Totals()
    spent = finite(live["uncached.sum"]) if live.count("uncached.n") else None
    jobs = _jobs(totals.get(Series(task, primary, candidate)) or Totals())
    return {
        "coverage": coverage_of(jobs, eligible=live.count("eligible")),
        "projected_saving_usd_per_month": projected_saving(spent, cost_ratio, hours=hours),
    }


class _Pairs:
    """What one candidate's pairs teach. A request it cannot take counts by the kind of the deciding evaluator."""

    def __init__(self, totals: Totals, *, pairwise: bool) -> None:
        self._totals = totals
        self._pairwise = pairwise
        refused = {state: totals.count(f"pair.refused.{state}") for state in ("scored", *_NOT_SCORED)}
        # Compared pair by pair, a request that one side cannot take is lost to the other one, whatever that scored.
        self._refused = {"scored": sum(refused.values()), "missing": 0, "not_applicable": 0} if pairwise else refused
        self.scored = totals.count("pair.scored") + self._refused["scored"]
        self.compared = self.scored + sum(self._not_scored().values())

    def _not_scored(self) -> dict[str, int]:
        return {state: self._totals.count(f"pair.{state}") + self._refused[state] for state in _NOT_SCORED}

    def left_out(self) -> dict[str, int]:
        found = {state: self._totals.count(f"pair.{state}") for state in _LEFT_OUT} | self._not_scored()
        return {state: found[state] for state in sorted(found) if found[state]}

    def _difference(self) -> float | None:
        """Mean over pairs; a refused request is worth 0 to the candidate."""
        lost = float(self._refused["scored"]) if self._pairwise else self._totals["refused_q_prim.sum"]
        return ratio_of(self._totals["quality_diff.sum"] - lost, self.scored)

    def window(self) -> dict[str, Any]:
        totals = self._totals
        known = totals.count("both.n")
        ratio_of_costs = ratio(totals["both.cand"], totals["both.prim"]) if known else None
        return {
            "conversations": None,
            "open": None,
            "quality_diff": {
                "mean": self._difference(),
                "ci": None,
                "level": None,
                "n": self.scored,
                "first_turn": average(totals, "first_turn"),
                "reason": f"{NO_INTERVAL}; until then every pair weighs the same"
                if self.scored
                else "no pair is scored yet",
            },
            "cost_ratio": cost_ratio_figures(ratio_of_costs, n=known, left_out=totals.count("both.unpriced")),
        }

    def win_rates(self) -> dict[str, Any]:
        totals = self._totals
        worse = self._refused["scored"] if self._pairwise else totals.count("refused_loss")
        tied = 0 if self._pairwise else self._refused["scored"] - worse
        win = ratio(totals.count("win"), self.scored)
        tie = ratio(totals.count("tie") + tied, self.scored)
        loss = ratio(totals.count("loss") + worse, self.scored)
        q_cand = ratio_of(totals["q_cand.sum"], totals.count("q_pair.n"))
        q_prim = ratio_of(totals["q_prim.sum"], totals.count("q_pair.n"))
        if self._pairwise and win is not None and tie is not None and loss is not None:
            q_cand, q_prim = win + tie / 2, loss + tie / 2
        return {"win_rate": win, "tie_rate": tie, "loss_rate": loss, "q_cand": q_cand, "q_prim": q_prim}


def _jobs(totals: Totals) -> list[dict[str, Any]]:
    """Read the counts of jobs as the store's `coverage` gives them."""
    found = []
    for name, count in totals.named(_JOB).items():
        state, _, reason = name.partition(".")
        found.append({"state": state, "reason": reason or None, "count": count})
    return found


def _quantiles(totals: Totals, name: str) -> dict[str, Any]:
    p50, p95 = totals.spread(name).quantiles((50, 95))
    return {"n": totals.count(f"{name}.n"), "p50": p50, "p95": p95}


def _share_of_failures(live: Totals) -> float | None:
    ended = live.count("requests") - live.count(f"outcome.{Outcome.ABORTED}")
    return ratio(sum(live.count(f"outcome.{outcome}") for outcome in FAILURES), ended)


def _representative(totals: Totals) -> dict[str, Any]:
    counted = totals.count("counted")
    p50, p95 = totals.spread("input_tokens").quantiles((50, 95))
    return {
        "n": counted,
        "input_tokens_p50": p50,
        "p95": p95,
        "tools_share": ratio(totals.count("with_tools"), counted),
        "hours": len(totals.named("hour.")),
    }
