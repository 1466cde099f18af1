"""The dashboard over handmade answers of the API, shaped as design.md 10 writes them, on a real socket in a thread."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import socket
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Route

from shadow.web.answers import ErrorAnswer, JsonAnswer
from shadow.web.dashboard import Dashboard
from shadow.web.guard import Guard
from tests.support.admin import settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from starlette.requests import Request
    from starlette.responses import Response

    from shadow.web.admin import AdminSettings

PRIMARY, GOOD, BAD, OPEN = "claude-sonnet-4-5", "gemini-2.5-pro", "tiny-swift", "openai/gpt-4o"
SINCE, UNTIL = "2026-11-13T12:00:00Z", "2026-11-20T12:00:00Z"

HOSTILE = (
    "<script>alert(1)</script>",
    "</textarea></title></style></svg><img src=x onerror=alert(1)>",
    "javascript:alert(1)//\"'><a href='javascript:alert(1)'>x</a>",
    "a\u202egnp.exe\u202c \u2066isolate\u2069 \u200fright\u200e",
    "\x1b[31mred\x1b[0m \x07bell\x08\x08 \x9b2J",
    "nul\x00nul \ufffe\uffff \ud800 half",
    "{{ 7*7 }} {% raw %} ${7*7} #{7*7}",
    "x" * 1_000_000,
    "\u0301" * 3000,
    "&lt;b&gt; &amp; &#x3c;script&#x3e;",
    "]]><!--\u2028\u2029--><![CDATA[",
)
"""What a model might say to whoever reads it; each must arrive as text."""


def model(name: str, role: str, **given: Any) -> dict[str, Any]:
    """A model's row with every value there."""
    row: dict[str, Any] = {
        "model": name,
        "role": role,
        "requests": 1234,
        "outcomes": {"ok": 1220, "error_http": 14},
        "error_rate": 0.0113,
        "latency_ms": {
            "n": 1220, "avg": 1430.5, "p50": 1210.0, "p95": 3120.0, "p99": 5260.0, "reason": None,
            "p50_ci": [1180.0, 1250.0], "p95_ci": [2900.0, 3400.0], "p99_ci": [840.0, 6100.0], "level": 0.95,
            "ci_reason": None, "measured": "live" if role == "primary" else "off the live path",
        },
        "ttft_ms": {
            "n": 300, "avg": 410.0, "p50": 380.0, "p95": 720.0, "p99": 1350.0, "reason": None,
            "p50_ci": [370.0, 391.0], "p95_ci": [700.0, 760.0], "p99_ci": None, "level": 0.95,
            "ci_reason": "300 values: for bounds of its own p99 needs 368", "measured": "live",
        },
        "tokens": {"input": 1_000_000, "cache_read": 20_000, "cache_write": 1000, "output": 150_000},
        "cost_usd": {
            "total": 5.31,
            "per_request": 0.0043,
            "per_success": 0.00435,
            "unpriced": 0,
            "basis": "billed",
            "reason": None,
            "add_to_config": None,
        },
        "quality": {
            "avg": 0.912,
            "ci": [0.89, 0.931],
            "conversations": 400,
            "conversation_avg": 0.908,
            "n": 1200,
            "missing": 3,
            "not_applicable": 0,
            "not_counted": 0,
            "reason": None,
            "by_evaluator": {
                "is-json": {
                    "avg": 0.97, "n": 1200, "missing": 0, "not_applicable": 0, "decides": True, "pairwise": False,
                    "versions": ["1"],
                }
            },
        },
        "cost_per_quality_point_usd": {
            "value": 0.00471, "ci": [0.0045, 0.005], "n": 1200, "unpriced": 0, "basis": "uncached", "reason": None,
        },
        "avg_latency_ms": 1430.5,
        "avg_quality": 0.912,
        "total_cost": 5.31,
        "cost_per_quality_point": 0.00471,
    }  # fmt: skip
    return merged(row, given)


def comparison(candidate: str, **given: Any) -> dict[str, Any]:
    """A comparison with every value there."""
    row: dict[str, Any] = {
        "primary": PRIMARY,
        "candidate": candidate,
        "epoch": {"number": 2, "started": SINCE, "reason": None},
        "pairs": 812,
        "scored": 800,
        "conversations": 410,
        "open": 6,
        "left_out": {"failure": 5, "missing": 3, "later_turn": 4},
        "missing": {"conversations": 3.0, "share": 0.007, "effective_margin": 0.057},
        "verdict": "undecided",
        "why": f"{candidate} is not yet proved to be within 0.05 of {PRIMARY}: 410 conversations say "
        "-0.021 [-0.06, 0.02].",
        "add_to_config": None,
        "quality_diff": {
            "mean": -0.021, "ci": [-0.06, 0.02], "level": 0.99, "n": 405, "first_turn": -0.018,
            "reason": None,
        },
        "win_rate": 0.08,
        "tie_rate": 0.81,
        "loss_rate": 0.11,
        "q_cand": 0.89,
        "q_prim": 0.911,
        "cost_ratio": {"value": 0.52, "ci": [0.49, 0.56], "n": 790, "basis": "uncached", "reason": None},
        "projected_saving_usd_per_month": {"value": 132.4, "ci": [110.0, 151.0], "reason": None},
        "latency_diff_ms": {"n": 800, "p50": -420.0, "p95": 310.0},
        "ttft_diff_ms": {"n": 600, "p50": -120.0, "p95": 90.0},
        "failure_rate": {"primary": 0.011, "candidate": 0.006},
        "noise_floor": {"n": 60, "discordance": 0.06, "identical": 0.4, "cost_usd": 0.052, "reason": None},
        "judge": {
            "trusted": True,
            "reason": "it passes its controls",
            "model": "judge-1",
            "cost_usd": 0.35,
            "flip_rate": 0.11,
            "control_pass_rate": {"value": 0.95, "ci": [0.86, 0.99], "n": 60},
            "labels": {"n": 42, "agreement": 0.83, "kappa": 0.71, "ci": [0.52, 0.86], "reason": None},
        },
        "more_needed": {
            "conversations": {"low": 120, "high": 400},
            "days": 3.2,
            "usd": 1.4,
            "advice": "sample_rate 0.4: 2 days, about $3/day",
            "reason": None,
        },
        "representative": {"n": 800, "input_tokens_p50": 812, "p95": 2300, "tools_share": 0.2, "hours": 24},
        "coverage": {
            "eligible": 16_400,
            "sampled": 840,
            "not_sampled": 15_560,
            "sent": 812,
            "skipped": {"over_budget": 12, "client_retry": 3},
            "dropped": {"queue_full": 2},
            "pending": 11,
        },
    }  # fmt: skip
    return merged(row, given)


def filled_stats() -> dict[str, Any]:
    """What `/stats` says with every part built: one promote, one reject, one undecided."""
    return {
        "since": SINCE,
        "until": UNTIL,
        "shadowing": {"on": True, "reason": None},
        "tasks": [
            {
                "task": "support",
                "models": [
                    model(PRIMARY, "primary", requests=16_400),
                    model(GOOD, "candidate", requests=812, quality={"avg": 0.921}, cost_usd={"per_request": 0.0021}),
                    model(OPEN, "candidate", requests=812, quality={"avg": 0.891}),
                    model(BAD, "candidate", requests=300, quality={"avg": 0.61}, cost_usd={"per_request": 0.0004}),
                ],
                "comparisons": [
                    comparison(
                        GOOD,
                        verdict="promote",
                        why=f"{GOOD} is proved to be at most 0.05 worse than {PRIMARY} and at least 5 % cheaper, on "
                        "812 pairs of 410 conversations.",
                        quality_diff={"mean": 0.012, "ci": [-0.011, 0.034]},
                        cost_ratio={"value": 0.49, "ci": [0.44, 0.55]},
                        switch={
                            "file": "/etc/shadow/config.yaml",
                            "change": f"primary.model: {GOOD}",
                            "yaml": f"primary:\n  model: {GOOD}\n",
                            "steps": [f"in /etc/shadow/config.yaml set primary.model: {GOOD}", "reload"],
                        },
                        more_needed={
                            "conversations": {"low": None, "high": None}, "days": None, "usd": None, "advice": None,
                            "reason": "nothing more is needed",
                        },
                    ),
                    comparison(OPEN),
                    comparison(
                        BAD,
                        verdict="reject",
                        why=f"{BAD} is proved to be worse than {PRIMARY} by more than 0.05.",
                        quality_diff={"mean": -0.31, "ci": [-0.4, -0.22]},
                        cost_ratio={"value": 0.09, "ci": [0.08, 0.1]},
                        latency_diff_ms={"p50": -900.0, "p95": -200.0},
                    ),
                ],
                "insights": [
                    {
                        "reading": "moderate_quality_low_cost",
                        "models": [BAD],
                        "text": f"{BAD} reaches quality 0.61 over 300 answers at $0.0004 a request, the lowest cost.",
                    }
                ],
            }
        ],
        "dropped": {"tee_full": 4},
        "budget": {
            "day": "2026-11-20",
            "cap_usd": 5.0,
            "paced_usd": 2.9,
            "spent_usd": 1.2,
            "reserved_usd": 0.3,
            "left_usd": 3.5,
            "closed": False,
        },
    }  # fmt: skip


def odd_task() -> dict[str, Any]:
    """A task in which everything is odd: an unknown price, an untrusted judge, a verdict withheld, nothing streamed."""
    nothing = {
        "n": 0,
        "avg": None,
        "p50": None,
        "p95": None,
        "p99": None,
        "reason": "no streamed answer ended well yet",
    }
    unpriced = {
        "per_request": None,
        "total": None,
        "reason": "price unknown",
        "add_to_config": "prices: {x: {input: 1}}",
    }
    return {
        "task": "search",
        "models": [
            model(PRIMARY, "primary", ttft_ms=nothing),
            model(
                OPEN,
                "candidate",
                ttft_ms=nothing,
                cost_usd=unpriced,
                cost_per_quality_point_usd={"value": None, "ci": None, "reason": "price unknown"},
            ),
        ],
        "comparisons": [
            comparison(
                OPEN,
                verdict="withheld",
                why="the judge fails its controls",
                judge={"trusted": False, "reason": "it passed 11 of 21 controls"},
                add_to_config="prices: {x: {input: 1}}",
                cost_ratio={"value": None, "ci": None, "reason": "price unknown"},
                ttft_diff_ms={"n": 0, "p50": None, "p95": None},
            ),
            null_comparison(GOOD, "not yet"),
        ],
        "insights": [],
    }


def many_stats(*, tasks: int, models: int) -> dict[str, Any]:
    """What `/stats` says of many tasks with many models each."""
    names = [f"provider/some-model-of-the-year-{number}" for number in range(models - 1)]
    one = {
        "models": [model(PRIMARY, "primary"), *(model(name, "candidate") for name in names)],
        "comparisons": [comparison(name) for name in names],
        "insights": [
            {"reading": "x", "models": [name], "text": f"{name} is the cheapest of them all."} for name in names[:4]
        ],
    }
    return {**filled_stats(), "tasks": [{"task": f"task-{number}", **copy.deepcopy(one)} for number in range(tasks)]}


def many_curves(stats: dict[str, Any]) -> dict[str, Any]:
    """What `/latency` says beside it."""
    told = {"latency_ms": spread(500, 1.1), "ttft_ms": spread(180, 0.8)}
    tasks = [
        {
            "task": task["task"],
            "models": [{"model": row["model"], "role": row["role"], **told} for row in task["models"]],
        }
        for task in stats["tasks"]
    ]
    return {"since": SINCE, "until": UNTIL, "tasks": tasks}


def many_trends(stats: dict[str, Any]) -> dict[str, Any]:
    """What `/trends` says beside it, of live weeks and of runs."""
    told = trends()
    point = told["points"][0]
    told["points"] = [
        {**point, "at": f"2026-{9 + week // 4:02}-{1 + 7 * (week % 4):02}T00:00:00Z", "source": source,
         "run": f"weekly-{week}" if source == "run" else None, "task": task["task"],
         "model": row["model"], "role": row["role"]}
        for task in stats["tasks"]
        for row in task["models"]
        for week in range(12)
        for source in ("live", "run")
    ]  # fmt: skip
    told["drift"] = [{**told["drift"][0], "task": task["task"]} for task in stats["tasks"]]
    return told


def null_comparison(candidate: str, because: str) -> dict[str, Any]:
    """A comparison in which every value that may be null is, each beside its reason."""
    none = {"value": None, "ci": None, "reason": f"{because}: value"}
    return comparison(
        candidate,
        verdict=None,
        why=f"{because}: why",
        epoch={"number": None, "started": None, "reason": f"{because}: epoch"},
        pairs=0,
        scored=0,
        conversations=0,
        open=0,
        win_rate=None,
        tie_rate=None,
        loss_rate=None,
        q_cand=None,
        q_prim=None,
        quality_diff={
            "mean": None, "closed_mean": None, "ci": None, "level": None, "first_turn": None,
            "reason": f"{because}: quality",
        },
        cost_ratio={**none, "n": 0, "reason": f"{because}: cost"},
        projected_saving_usd_per_month={**none, "reason": f"{because}: saving"},
        latency_diff_ms={"n": 0, "p50": None, "p95": None},
        ttft_diff_ms={"n": 0, "p50": None, "p95": None},
        failure_rate={"primary": None, "candidate": None},
        noise_floor={"n": None, "discordance": None, "identical": None, "reason": f"{because}: noise"},
        judge={
            "trusted": None,
            "reason": f"{because}: judge",
            "flip_rate": None,
            "cost_usd": 0.0,
            "control_pass_rate": {"value": None, "ci": None, "n": 0},
            "labels": {"n": 0, "agreement": None, "kappa": None, "ci": None, "reason": f"{because}: labels"},
        },
        more_needed={
            "conversations": {"low": None, "high": None}, "days": None, "usd": None, "advice": None,
            "reason": f"{because}: more",
        },
    )  # fmt: skip


def null_model(name: str, role: str, because: str) -> dict[str, Any]:
    """A model's row without a single known value."""
    empty = {"n": 0, "avg": None, "p50": None, "p95": None, "p99": None}
    return model(
        name,
        role,
        requests=0,
        error_rate=None,
        latency_ms={**empty, "reason": f"{because}: latency"},
        ttft_ms={**empty, "reason": f"{because}: ttft"},
        cost_usd={
            "total": None,
            "per_request": None,
            "per_success": None,
            "unpriced": 3,
            "reason": f"{because}: price",
        },
        quality={
            "avg": None,
            "ci": None,
            "conversation_avg": None,
            "conversations": 0,
            "n": 0,
            "reason": f"{because}: quality of {role}",
        },
        cost_per_quality_point_usd={"value": None, "ci": None, "n": 0, "reason": f"{because}: point"},
    )


def spread(fastest_ms: float, decades: float) -> dict[str, Any]:
    """A distribution over some decades, denser in its middle."""
    shares = [(step + 1) / 60 for step in range(60)]
    points = [[fastest_ms * 10 ** (decades * (0.5 + 4 * (share - 0.5) ** 3)), share] for share in shares]
    return {"n": 900, "points": points}


def latency() -> dict[str, Any]:
    """What `/latency` says beside `filled_stats`."""
    names = [(PRIMARY, "primary", 1.0), (GOOD, "candidate", 0.7), (OPEN, "candidate", 0.95), (BAD, "candidate", 0.3)]
    return {
        "since": SINCE,
        "until": UNTIL,
        "tasks": [
            {
                "task": "support",
                "models": [
                    {
                        "model": name,
                        "role": role,
                        "latency_ms": spread(factor * 500, 1.1),
                        "ttft_ms": spread(factor * 180, 0.8),
                    }
                    for name, role, factor in names
                ],
            }
        ],
    }  # fmt: skip


def pair_row(number: int, **given: Any) -> dict[str, Any]:
    """One pair of the list."""
    row: dict[str, Any] = {
        "id": f"x{number}:{OPEN}",
        "exchange_id": f"x{number}",
        "candidate": OPEN,
        "primary": PRIMARY,
        "task": "support",
        "conversation": "c1",
        "first_turn": True,
        "started_at": "2026-11-20T11:59:00Z",
        "outcome": "ok",
        "status": 200,
        "latency_ms": 900.0,
        "ttft_ms": 210.0,
        "stop_reason": "end_turn",
        "model_answered": OPEN,
        "streamed": True,
        "input_tokens": 812,
        "cache_read_tokens": 0,
        "cache_write_5m_tokens": 0,
        "cache_write_1h_tokens": 0,
        "output_tokens": 96,
        "cost_billed_usd": 0.0021,
        "cost_uncached_usd": 0.0021,
        "price_source": "config",
        "error": None,
        "redaction_changed": False,
        "quality_primary": 1.0,
        "quality_candidate": 0.5,
        "quality_diff": -0.5,
        "primary_outcome": "ok",
        "primary_latency_ms": 1310.0,
        "primary_ttft_ms": 390.0,
        "primary_cost_billed_usd": 0.0043,
        "primary_cost_uncached_usd": 0.0043,
    }
    return row | given


def whole_pair(number: int = 1, **given: Any) -> dict[str, Any]:
    """One pair with content and scores."""
    content = {
        "prompt": '{"model": "m", "max_tokens": 300, "system": "You are the shop\'s support.", "messages": [{"role": '
        '"user", "content": "My desk lamp is broken."}, {"role": "assistant", "content": "When did you buy it?"}, '
        '{"role": "user", "content": [{"type": "text", "text": "Last week. Can I send it back?"}]}]}',
        "primary_output": "Yes, within 30 days. I have made a return label for the lamp.",
        "candidate_output": "Yes, within 14 days. I have made a label for the desk lamp.",
        "primary_tool_calls": '[{"name": "make_label", "arguments": {"item": "desk lamp", "days": 30}}]',
        "candidate_tool_calls": '[{"name": "make_label", "arguments": {"item": "desk lamp", "days": 14}}]',
    }
    scores = [
        score("llm-pairwise", "pair", -0.5, "A names the right period; B says 14 days.", quality=True, cost_usd=0.0012),
        score("is-valid-tool-call", "candidate", 1.0, "the call fits its schema"),
        score("is-json", "primary", None, "no JSON was asked for", status="not_applicable"),
    ]
    return pair_row(number, content=content, scores=scores) | given


def score(evaluator: str, role: str, value: float | None, reason: str, **given: Any) -> dict[str, Any]:
    """One score."""
    row = {
        "candidate": "" if role == "primary" else OPEN,
        "evaluator": evaluator,
        "version": "1",
        "quality": False,
        "role": role,
        "status": "scored",
        "value": value,
        "reason": reason,
        "cost_usd": 0.0,
    }
    return row | given


def trends() -> dict[str, Any]:
    """What `/trends` says of twelve weeks: a drift of the primary, and a lead."""
    points = [
        {
            "at": f"2026-{9 + week // 4:02}-{1 + 7 * (week % 4):02}T00:00:00Z",
            "source": source,
            "run": f"run-{week}" if source == "run" else None,
            "task": "support",
            "model": name,
            "role": "primary" if name == PRIMARY else "candidate",
            "conversations": 120,
            "quality": {"mean": best - 0.004 * week, "ci": [best - 0.03 - 0.004 * week, best + 0.03], "n": 120},
            "cost_per_quality_point_usd": {"value": 0.004, "ci": None, "reason": "too few"},
            "latency_ms": {"n": 120, "p50": 900.0, "p50_ci": None, "p95": 2900.0 + 20 * week, "p95_ci": [2500, 3500]},
            "ttft_ms": {"n": 0, "p50": None, "p95": None},
        }
        for week in range(12)
        for source in ("live", "run")
        for name, best in ((PRIMARY, 0.93), (GOOD, 0.95))
    ]
    change = {
        "direction": "worse",
        "found_in_run": "run-9",
        "since_run": "run-2",
        "conversations": 100,
        "mean": -0.05,
        "ci": [-0.08, -0.02],
        "level": 0.95,
        "examples": [
            {
                "case": f"case-{number}",
                "difference": -1.0,
                "reason": "the fence is no part of what was asked for",
                "before": {"run": "run-2", "case": "c", "repeat": 0, "quality": 1.0, "output": '{"days": 30}'},
                "now": {"run": "run-9", "case": "c", "repeat": 0, "quality": 0.0, "output": kept},
            }
            for number, kept in enumerate(('```json\n{"days": 30}\n```', None))
        ],
    }
    drift = {"task": "support", "model": PRIMARY, "role": "primary", "evaluator": "llm-rubric", "changes": [change]}
    lead = {
        "task": "support", "candidate": GOOD, "state": "promote", "why": f"{GOOD} leads by 2 points.", "n": 120,
        "unit": "conversations", "beside": "The verdict on live traffic is another: undecided over 92 conversations.",
    }  # fmt: skip
    return {
        "since": "2026-08-28T12:00:00Z",
        "until": UNTIL,
        "points": points,
        "leads": [lead],
        "drift": [drift],
        "next_run": {"at": "2026-11-22T03:00:00Z", "under_way": False, "reason": None},
    }  # fmt: skip


def run_header(run_id: str, **given: Any) -> dict[str, Any]:
    """One benchmark run of the list."""
    return {
        "id": run_id,
        "kind": "bench",
        "name": "cases.jsonl",
        "period": None,
        "state": "done",
        "reason": None,
        "started_at": "2026-11-19T08:00:00Z",
        "finished_at": "2026-11-19T08:04:00Z",
        "models": [PRIMARY, GOOD],
        "primary": PRIMARY,
        "repeats": 1,
        "seed": "",
        "cases": 50,
        "cells": 100,
        "answered": 100,
        "max_cost_usd": 2.0,
        "estimate_usd": 1.1,
        "spent_usd": 0.43,
        "reserved_usd": 0.0,
        "evaluators": {"support": [{"name": "is-json", "version": "1", "quality": True}]},
        "base_urls": {PRIMARY: "https://ezaiapi.com", GOOD: "https://ezaiapi.com"},
        "note": "",
    } | given


def run_summary(run_id: str, **given: Any) -> dict[str, Any]:
    """What `/runs/{id}` says."""
    task = filled_stats()["tasks"][0]
    compared = [
        {name: one[name] for name in ("primary", "candidate", "pairs", "quality_diff", "cost_ratio", "latency_diff_ms")}
        for one in task["comparisons"][:1]
    ]
    shown = {**task, "models": task["models"][:2], "comparisons": compared, "cases": 50}
    return {"run": run_header(run_id, **given), "level": 0.95, "tasks": [shown]}


def to_label(number: int) -> dict[str, Any]:
    """One pair that waits for a label."""
    pair = whole_pair(number)
    named = {name: pair[name] for name in ("exchange_id", "candidate", "task", "primary")}
    return {"pair": pair["id"], **named, **pair["content"], "judged": 1}


def merged(row: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """Put values over those of a row; objects are merged, so that a test names only what it is about."""
    out = copy.deepcopy(row)
    for name, value in given.items():
        inner = out.get(name)
        out[name] = merged(inner, value) if isinstance(inner, dict) and isinstance(value, dict) else value
    return out


@dataclass(slots=True)
class FakeApi:
    """Answers by path; a path that is not there is not built. What was posted is kept."""

    answers: dict[str, Any] = field(default_factory=dict)
    posted: list[tuple[str, Any]] = field(default_factory=list)

    async def answer(self, request: Request) -> Response:
        path = request.url.path
        if request.method == "POST":
            self.posted.append((path, await request.json()))
        found = self.answers.get(path)
        if callable(found) and not isinstance(found, ErrorAnswer):
            found = found(dict(request.query_params))
        if isinstance(found, ErrorAnswer):
            return found
        if found is None:
            return ErrorAnswer(status=404, kind="not_built", message=f"not built yet: {path}")
        return JsonAnswer(found)


def filled_api() -> FakeApi:
    """An API with everything there."""
    return FakeApi(
        answers={
            "/readyz": {"ready": True},
            "/stats": filled_stats(),
            "/latency": latency(),
            "/pairs": {"pairs": [pair_row(number) for number in range(1, 21)], "next_cursor": "next"},
            "/trends": trends(),
            "/alerts": {"alerts": [], "mutes": []},
            "/runs": {"runs": [run_header("r2", state="running", answered=40), run_header("r1")], "next_cursor": None},
            "/runs/r1": run_summary("r1"),
            "/runs/r2": run_summary("r2", cases=60),
            "/labels/next": {"pairs": [to_label(number) for number in (1, 2, 3)], "seed": "blind-1"},
            "/feedback": {"kept": True},
            **{f"/pairs/x{number}:{OPEN}": whole_pair(number) for number in range(1, 21)},
        }
    )


def dashboard_app(api: FakeApi, chosen: Callable[[], AdminSettings]) -> Starlette:
    """The dashboard's routes beside a fake API, behind the real guard."""
    app = Starlette(
        routes=[
            *Dashboard(settings=chosen).routes(),
            Route("/{path:path}", api.answer, methods=["GET", "POST"]),
        ],
        middleware=[Middleware(Guard, settings=chosen)],
    )
    app.router.redirect_slashes = False
    return app


def chosen_settings(**given: Any) -> AdminSettings:
    """Settings with the models of the handmade answers."""
    return settings(**({"candidates": (GOOD, OPEN, BAD), "tasks": ("support",)} | given))


@contextlib.contextmanager
def served(app: Starlette) -> Iterator[str]:
    """Serve an app from a thread with a loop of its own, so that a browser test needs no loop; gives its address."""
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off"))
    ready = threading.Event()

    async def serve() -> None:
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        while not server.started and not serving.done():  # noqa: ASYNC110  (uvicorn tells it by a flag)
            await asyncio.sleep(0.01)
        ready.set()
        await serving

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    try:
        assert ready.wait(30)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listening.close()
