"""The ledger as the admin port shows it: one plain mapping for each candidate in each epoch."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from shadow.ledger.epochs import read_judging
from shadow.ledger.state import LedgerState
from shadow.verdict.eprocess import mean_of
from shadow.verdict.headline import NOTHING_TO_DIVIDE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from shadow.verdict import Differences

Figures = dict[str, Any]

NOT_YET = "no conversation has entered yet"

NOTHING_WAITED_FOR = "nothing more is waited for"


def current_views(views: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Only those of the epoch that each task and primary is in: of its versions, that with the latest conversation.

    Of one version it is the newest epoch, whatever a clock that was ahead has written into an older one.
    """
    newest: dict[tuple[str, str, str], int] = {}
    for view in views:
        lane = (view["task"], view["primary"], view["version"])
        newest[lane] = max(newest.get(lane, 0), view["number"])
    views = [view for view in views if newest[view["task"], view["primary"], view["version"]] == view["number"]]
    current: dict[tuple[str, str], tuple[Any, int]] = {}
    for view in views:
        key, age = (view["task"], view["primary"]), (view["last_started_at"], view["number"])
        current[key] = max(current.get(key, age), age)
    return [
        view for view in views if current[view["task"], view["primary"]] == (view["last_started_at"], view["number"])
    ]


def verdict_figures(view: Mapping[str, Any]) -> Figures:
    """Show one candidate in one epoch. `view` is a row of `shadow.store.base.Ledger.views`."""
    state, verdict = LedgerState.loaded(view["state"]), json.loads(view["verdict"])
    judging = read_judging(view["evaluators"])
    waiting = view["waiting"]
    return {
        "task": view["task"],
        "primary": view["primary"],
        "candidate": view["candidate"],
        "epoch": {
            "number": view["number"],
            "started": view["started_at"],
            "version": view["version"] or None,
            "because": view["because"],
            "quality_by": judging.quality,
            "alpha": view["epoch_alpha"],
            "candidate_alpha": view["alpha"],
            "reason": None,
        },
        "conversations": view["entered"],
        "open": sum(waiting.values()),
        "pairs": state.pairs,
        "verdict": verdict.get("state"),
        "why": verdict.get("why", NOT_YET),
        "quality_diff": _quality_diff(state, verdict),
        **_headline(state, verdict.get("headline") or {}),
        "more_needed": _more_needed(verdict.get("more_needed"), ended=verdict.get("ended")),
        "proofs": verdict.get("proofs", []),
        "missing": {
            "conversations": state.missing,
            "share": verdict.get("missing_share"),
            "effective_margin": verdict.get("effective_margin"),
        },
        "entry": {
            "waiting": {name: waiting.get(name, 0) for name in ("open", "pending", "settled", "left_out")},
            "waits_for": verdict.get("waiting", NOT_YET),
            "entered_until": view["entered_until"],
            "late": state.late,
            "set_back": state.set_back,
            "duplicates": state.duplicates,
            "turns": state.turns,
            "pairs": state.pairs,
            "scored": state.scored,
            "left_out": dict(state.left_out),
        },
        "failures": _failures(state),
        "guards": {name: _differences(found) for name, found in state.guards.items()},
        "spent_usd": state.spent_usd,
        "stopped": {"because": view["stopped_because"], "at": view["stopped_at"]},
        "ended": verdict.get("ended"),
    }


def _quality_diff(state: LedgerState, verdict: Mapping[str, Any]) -> Figures:
    estimate = verdict.get("quality_diff") or {}
    low, high = estimate.get("low"), estimate.get("high")
    known = low is not None and high is not None
    return {
        "mean": estimate.get("value"),
        "ci": [low, high] if known else None,
        "level": estimate.get("level") if known else None,
        "n": state.quality.conversations,
        "first_turn": _differences(state.first_turns)["mean"],
        "first_turns": state.first_turns.conversations,
        "reason": None if known else estimate.get("reason") or NOT_YET,
    }


def _headline(state: LedgerState, found: Mapping[str, Any]) -> Figures:
    """Cost per quality point of both, its ratio, and the cost ratio. The intervals are for display."""
    known, cost = state.headline, None if state.cost is None else state.cost.test
    counted = known.sums.conversations
    beside = {
        # None, not 0, once prices changed: a figure of nothing would be told of the window, whose prices are mixed.
        "n": None if known.since is not None and not counted else counted,
        "unknown": known.unknown,
        "basis": "uncached",
        "prices_since": known.since,
    }
    since = "" if known.since is None else f"since prices changed at {known.since:%Y-%m-%d %H:%M} UTC"
    if since and not counted:
        since += " none that began has entered with both costs known"
    return {
        "cost_per_quality_point_usd": {
            **{name: _estimate(found.get(name), since=since) for name in ("candidate", "primary", "ratio")},
            **beside,
        },
        "cost_ratio": {
            **_estimate(found.get("cost_ratio"), since=since),
            **beside,
            "gate": None
            if cost is None
            else {
                "cost_epoch": cost.number,
                "w_usd": cost.w_usd,
                "conversations": cost.conversations,
                "unpriced": cost.unpriced,
                "too_large": cost.too_large,
            },
        },
        "faster": {**_differences(state.faster), "ttft": _differences(state.faster_ttft)},
    }


def _estimate(found: Mapping[str, Any] | None, *, since: str) -> Figures:
    if found is None:
        return {"value": None, "ci": None, "level": None, "reason": NOT_YET}
    reason = found["reason"] if not since or found["reason"] != NOTHING_TO_DIVIDE else None
    reason = "; ".join(filter(None, (since, reason))) or None
    known = found["low"] is not None and found["high"] is not None
    return {
        "value": found["value"],
        "ci": [found["low"], found["high"]] if known else None,
        "level": found["level"] if known else None,
        "reason": reason,
    }


def _more_needed(found: Mapping[str, Any] | None, *, ended: str | None) -> Figures:
    if found is None:
        none = {"low": None, "high": None}
        return {
            "conversations": none,
            "days": None,
            "usd": None,
            "advice": None,
            "reason": NOTHING_WAITED_FOR if ended is None else f"the comparison has ended: {ended}",
        }
    return {
        "conversations": {"low": found["conversations_low"], "high": found["conversations_high"]},
        **{name: found[name] for name in ("days", "usd", "advice", "reason")},
    }


def _failures(state: LedgerState) -> Figures:
    """Both sides' share of failed calls, averaged over conversations as the guard counts; and the calls themselves."""
    shares = state.failures
    return {
        "primary": mean_of(shares.primary) if shares.primary else None,
        "candidate": mean_of(shares.candidate) if shares.candidate else None,
        "conversations": sum(shares.candidate.values()),
        "unit": "mean share per conversation",
        "calls": None if state.calls is None else asdict(state.calls),
    }


def _differences(differences: Differences) -> Figures:
    """Mean of the middle between both roundings."""
    if not differences.conversations:
        return {"mean": None, "n": 0}
    middle = (mean_of(differences.good) + mean_of(differences.bad)) / 2
    return {"mean": middle, "n": differences.conversations}
