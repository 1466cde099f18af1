"""JSON Schemas of `/trends`, `/alerts` and `POST /runs`; published with all others."""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]


def weekly_schemas() -> dict[str, Schema]:
    """All named schemas of these routes."""
    return {
        "RunAsked": _object({"run": {"const": "asked"}, "note": _text("What happens next.")}),
        "Trends": _trends(),
        "TrendPoint": _trend_point(),
        "TrendLatency": _trend_latency(),
        "Lead": _lead(),
        "Drift": _drift(),
        "DriftChange": _drift_change(),
        "Alerts": _alerts(),
        "Alert": _alert(),
    }


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _object(properties: dict[str, Schema]) -> Schema:
    """Build an object whose every listed field is always there."""
    return {"type": "object", "properties": properties, "required": list(properties)}


def _typed(kind: str, description: str, **more: Any) -> Schema:
    return {"type": kind, "description": description, **more}


def _text(description: str, **more: Any) -> Schema:
    return _typed("string", description, **more)


def _flag(description: str) -> Schema:
    return _typed("boolean", description)


def _count(description: str) -> Schema:
    return _typed("integer", description, minimum=0)


def _number(description: str, **more: Any) -> Schema:
    return _typed("number", description, **more)


def _maybe(schema: Schema) -> Schema:
    """Allow null, which means: not known (a `reason` stands beside)."""
    return {**schema, "type": [schema["type"], "null"]}


def _time(description: str) -> Schema:
    return _text(description, format="date-time")


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _reason() -> Schema:
    return _maybe(_text("Why something here is null; null when nothing is."))


def _bounds(what: str) -> Schema:
    """An interval of known numbers, or null."""
    return {
        "type": ["array", "null"],
        "items": {"type": "number"},
        "minItems": 2,
        "maxItems": 2,
        "description": f"Low and high end of {what}; null when one of them is not known.",
    }


def _trends() -> Schema:
    next_run = {
        "at": _maybe(_time("When the next weekly run is due.")),
        "under_way": _flag("True while this process makes one."),
        "reason": _reason(),
    }
    return _object(
        {
            "since": _time("Start of the window, included."),
            "until": _time("End of the window, excluded."),
            "points": _list(_ref("TrendPoint")),
            "leads": _list(_ref("Lead")),
            "drift": _list(_ref("Drift")),
            "next_run": _object(next_run),
        }
    )


def _trend_point() -> Schema:
    figure = {"value": _maybe(_number("USD.")), "ci": _bounds("it"), "reason": _reason()}
    quality = {
        "mean": _maybe(_number("Over conversations.", minimum=0, maximum=1)),
        "ci": _bounds("it"),
        "n": _count("Conversations with a quality."),
        "reason": _reason(),
    }
    return _object(
        {
            "at": _time("Start of the run, or Monday of the week."),
            "source": _text("A weekly run, or a week of live shadow traffic.", enum=["run", "live"]),
            "run": _maybe(_text("The run's id.")),
            "task": _text("The task."),
            "model": _text("The model."),
            "role": _text("Its role.", enum=["primary", "candidate"]),
            "conversations": _count("Units of the statistics."),
            "answers": _count("Answers, or exchanges."),
            "level": _number("Of the intervals, such as 0.95."),
            "quality": _object(quality),
            "cost_per_quality_point_usd": _object(figure),
            "latency_ms": _ref("TrendLatency"),
            "ttft_ms": _ref("TrendLatency"),
            "error_rate": _maybe(_number("Share of answers that did not end well; null for live weeks.")),
            "model_answered": {
                "type": ["array", "null"],
                "items": {"type": "string"},
                "description": "Names the provider answered under; null for live weeks.",
            },
        }
    )


def _trend_latency() -> Schema:
    return _object(
        {
            "n": _count("Answers with this time."),
            "p50": _maybe(_number("Milliseconds.")),
            "p50_ci": _bounds("p50"),
            "p95": _maybe(_number("Milliseconds.")),
            "p95_ci": _bounds("p95"),
        }
    )


def _lead() -> Schema:
    states = ["insufficient_data", "withheld", "undecided", "promote", "better_costlier", "reject"]
    return _object(
        {
            "task": _text("The task."),
            "primary": _text("The primary."),
            "candidate": _text("The candidate."),
            "state": _text("As a verdict, over all weekly runs, each prompt counted once.", enum=states),
            "why": _text("What is proved, in a sentence."),
            "n": _count("Units with a difference."),
            "unit": _text("What one unit is."),
            "runs": _count("Runs that brought new prompts."),
            "missing": _count("Units whose scoring failed."),
            "failures": _count("Units the candidate failed to answer; counted against it."),
            "difference": _maybe(_number("Mean quality of the candidate minus the primary's.")),
            "interval": _bounds("the difference"),
            "level": _number("Of the interval."),
            "cost_ratio": _maybe(_number("Cost of the candidate as a share of the primary's.")),
            "cost_ratio_interval": _bounds("the cost ratio"),
            "cost_per_quality_point": {
                "type": "array",
                "items": {"type": ["number", "null"]},
                "minItems": 2,
                "maxItems": 2,
                "description": "USD, of the primary and of the candidate.",
            },
        }
    )


def _drift() -> Schema:
    now = _object(
        {
            "since_run": _text("The first run that could be compared since the last change."),
            "conversations": _count("Values, one a conversation and run."),
            "mean": _number("Mean difference, now minus before."),
            "ci": _bounds("the mean"),
            "level": _number("Of the interval."),
        }
    )
    noise = {
        "n": _count("Prompts answered twice in one run."),
        "discordance": _maybe(_number("Share of them whose two answers had different qualities.")),
    }
    evidence = {
        "log_e_worse": _number("Logarithm of the evidence that it became worse."),
        "log_e_better": _number("The same, better."),
        "needed_log_e": _number("Where evidence becomes proof."),
    }
    return _object(
        {
            "task": _text("The task."),
            "model": _text("The model."),
            "role": _text("Its role in the latest run.", enum=["primary", "candidate"]),
            "evaluator": _text("By which it is judged."),
            "version": _text("The evaluator's version."),
            "decides": _flag("True for the evaluator that decides about quality."),
            "noise_floor": _object(noise),
            "now": {"anyOf": [now, {"type": "null"}], "description": "Since the last change; null without a pair."},
            "evidence": _object(evidence),
            "changes": _list(_ref("DriftChange")),
            "model_answered": _list(_object({"run": _text("Since this run."), "name": _text("The provider's name.")})),
        }
    )


def _drift_change() -> Schema:
    answer = _object(
        {
            "run": _text("The run."),
            "repeat": _count("Which answer."),
            "quality": _number("Its quality."),
            "output": _maybe(_text("What is kept of it, at most 1,000 characters; null when nothing is.")),
        }
    )
    return _object(
        {
            "direction": _text("Which way.", enum=["worse", "better"]),
            "found_in_run": _text("The run in which it was proved."),
            "since_run": _text("About when it began."),
            "conversations": _count("Values since then."),
            "mean": _number("Mean difference since then."),
            "ci": _bounds("the mean, as if the beginning had been known"),
            "level": _number("Of the interval."),
            "examples": _list(_object({"case": _text("The case's id."), "before": answer, "now": answer})),
        }
    )


def _alerts() -> Schema:
    mute = _object({"scope": _text("all, kind:…, task:… or model:…"), "until": _time("When it ends.")})
    return _object({"alerts": _list(_ref("Alert")), "mutes": _list(mute)})


def _alert() -> Schema:
    delivery = _object(
        {
            "target": _text("Kind of the target and a short hash of its address."),
            "state": _text("How far.", enum=["pending", "sending", "sent", "failed"]),
            "attempts": _count("Tries so far."),
            "ended_at": _maybe(_time("When it arrived or was given up.")),
            "error": _maybe(_text("Why the last try failed.")),
        }
    )
    return _object(
        {
            "id": _text("Sorts by time."),
            "kind": _text("What it is about."),
            "subject": _text("What is watched."),
            "state": _text("The state that is told."),
            "previous": _maybe(_text("The state told before.")),
            "created_at": _time("When it was seen."),
            "task": _maybe(_text("The task.")),
            "primary": _maybe(_text("The primary.")),
            "candidate": _maybe(_text("The candidate.")),
            "title": _text("A line."),
            "sentence": _text("All of it."),
            "details": {"type": "array", "items": {"type": "array", "items": {"type": "string"}}},
            "facts": _typed("object", "The numbers behind the sentence."),
            "muted": _flag("Recorded and not sent."),
            "deliveries": _list(delivery),
        }
    )
