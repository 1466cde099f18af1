"""JSON Schemas of `/trends`, `/alerts` and `POST /runs`; published with all others."""

from __future__ import annotations

from shadow.web.shapes import Schema, count, flag, list_of, maybe, moment, number, object_of, ref, text, typed


def weekly_schemas() -> dict[str, Schema]:
    """All named schemas of these routes."""
    return {
        "RunAsked": object_of({"run": {"const": "asked"}, "note": text("What happens next.")}),
        "Trends": _trends(),
        "TrendPoint": _trend_point(),
        "TrendLatency": _trend_latency(),
        "Lead": _lead(),
        "Drift": _drift(),
        "DriftChange": _drift_change(),
        "Alerts": _alerts(),
        "Alert": _alert(),
    }


def _reason() -> Schema:
    return maybe(text("Why something here is null; null when nothing is."))


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
        "at": maybe(moment("When the next weekly run is due.")),
        "under_way": flag("True while this process makes one."),
        "reason": _reason(),
    }
    return object_of(
        {
            "since": moment("Start of the window, included."),
            "until": moment("End of the window, excluded."),
            "read": object_of(
                {
                    "from": text(
                        "What live weeks are made of: single rows, sums, or the older of sums.",
                        enum=["rows", "sums", "both"],
                    ),
                    "reason": _reason(),
                }
            ),
            "points": list_of(ref("TrendPoint")),
            "leads": list_of(ref("Lead")),
            "drift": list_of(ref("Drift")),
            "next_run": object_of(next_run),
        }
    )


def _trend_point() -> Schema:
    figure = {"value": maybe(number("USD.")), "ci": _bounds("it"), "reason": _reason()}
    quality = {
        "mean": maybe(number("Over conversations, in weeks read from sums over answers.", minimum=0, maximum=1)),
        "ci": _bounds("it"),
        "n": count("Conversations (in weeks read from sums: answers) with a quality."),
        "reason": _reason(),
    }
    return object_of(
        {
            "at": moment("Start of the run, or Monday of the week."),
            "source": text("A weekly run, or a week of live shadow traffic.", enum=["run", "live"]),
            "run": maybe(text("The run's id.")),
            "task": text("The task."),
            "model": text("The model."),
            "role": text("Its role.", enum=["primary", "candidate"]),
            "conversations": maybe(count("Units of the statistics; null where a live week is read from sums.")),
            "answers": count("Answers, or exchanges."),
            "level": number("Of the intervals, such as 0.95."),
            "quality": object_of(quality),
            "cost_per_quality_point_usd": object_of(figure),
            "latency_ms": ref("TrendLatency"),
            "ttft_ms": ref("TrendLatency"),
            "error_rate": maybe(number("Share of answers that did not end well; null for live weeks.")),
            "model_answered": {
                "type": ["array", "null"],
                "items": {"type": "string"},
                "description": "Names the provider answered under; null for live weeks.",
            },
        }
    )


def _trend_latency() -> Schema:
    return object_of(
        {
            "n": count("Answers with this time."),
            "p50": maybe(number("Milliseconds.")),
            "p50_ci": _bounds("p50"),
            "p95": maybe(number("Milliseconds.")),
            "p95_ci": _bounds("p95"),
        }
    )


def _lead() -> Schema:
    states = ["insufficient_data", "withheld", "undecided", "promote", "better_costlier", "equivalent", "reject"]
    return object_of(
        {
            "task": text("The task."),
            "primary": text("The primary."),
            "candidate": text("The candidate."),
            "state": text("As a verdict, over all weekly runs, each prompt counted once.", enum=states),
            "why": text("What is proved and what is not by `verdict` of the configuration, and what failed."),
            "n": count("Units with a difference; those of which every answer failed have one."),
            "unit": text("What one unit is."),
            "runs": count("Runs that brought prompts which count."),
            "evaluator": text("The one that decides."),
            "version": text("Its version; with another one it is counted anew."),
            "since_run": text("The first run that counts."),
            "anew": maybe(text("Why earlier runs do not; null where all do.")),
            "missing": count("Units with an answer whose scoring failed."),
            "not_applicable": count("Units the evaluator does not apply to; left out."),
            "answers": count("The candidate's, to what the primary answered."),
            "failures": count("Of those, how many never came; each counts as quality 0, or as a loss."),
            "primary_answers": count("The primary's."),
            "primary_failures": count("Of those, how many never came; they say nothing about the candidate."),
            "difference": maybe(number("Mean quality of the candidate minus the primary's, failures counted.")),
            "interval": _bounds("the difference"),
            "level": number("Of the interval."),
            "cost_ratio": maybe(number("Cost of the candidate as a share of the primary's.")),
            "cost_ratio_interval": _bounds("the cost ratio"),
            "cost_per_quality_point": {
                "type": "array",
                "items": {"type": ["number", "null"]},
                "minItems": 2,
                "maxItems": 2,
                "description": "USD, of the primary and of the candidate.",
            },
            "live": maybe(
                object_of({"verdict": text("The verdict on live traffic."), "conversations": count("That entered it.")})
            ),
            "beside": text("What live traffic says, and, where that is something else, what each rests on."),
        }
    )


def _drift() -> Schema:
    now = object_of(
        {
            "since_run": text("The first run that could be compared since the last change."),
            "conversations": count("Values, one a conversation and run."),
            "mean": number("Mean difference, now minus before."),
            "ci": _bounds("the mean"),
            "level": number("Of the interval."),
        }
    )
    noise = {
        "n": count("Prompts answered twice in one run."),
        "discordance": maybe(number("Share of them whose two answers differed: in quality, or by the judge's word.")),
    }
    judge = {
        "trusted": {"type": ["boolean", "null"], "description": "Null: not known yet."},
        "reason": text("What that rests on."),
    }
    evidence = {
        "log_e_worse": number("Logarithm of the evidence that it became worse."),
        "log_e_better": number("The same, better."),
        "needed_log_e": number("Where evidence becomes proof."),
    }
    return object_of(
        {
            "task": text("The task."),
            "model": text("The model."),
            "role": text("Its role in the latest run.", enum=["primary", "candidate"]),
            "evaluator": text("By which it is judged."),
            "version": text("The evaluator's version."),
            "decides": flag("True for the evaluator that decides about quality."),
            "compared": flag(
                "True where no answer has a quality of its own: a judge set answers of two runs side by side."
            ),
            "judge": {"anyOf": [object_of(judge), {"type": "null"}], "description": "Of that judge; null without one."},
            "withheld": maybe(text("Why a change would not be told: its judge has not shown that it looks.")),
            "reason": maybe(text("Why the latest run says nothing, or not all; null when it says all it could.")),
            "noise_floor": object_of(noise),
            "now": {"anyOf": [now, {"type": "null"}], "description": "Since the last change; null without a pair."},
            "evidence": object_of(evidence),
            "changes": list_of(ref("DriftChange")),
            "model_answered": list_of(
                object_of({"run": text("Since this run."), "name": text("The provider's name.")})
            ),
        }
    )


def _drift_change() -> Schema:
    answer = object_of(
        {
            "run": text("The run."),
            "case": text("The case's id there."),
            "repeat": count("Which answer."),
            "quality": maybe(number("Its quality; null where a judge compared the two.")),
            "output": maybe(text("What is kept of it, at most 1,000 characters; null when nothing is.")),
        }
    )
    example = {
        "case": text("The case's id."),
        "difference": number("Now against before, from -1 to 1."),
        "before": answer,
        "now": answer,
        "reason": maybe(
            text("What the judge said, at most 1,000 characters; null where none compared or none is kept.")
        ),
    }
    return object_of(
        {
            "direction": text("Which way.", enum=["worse", "better"]),
            "found_in_run": text("The run in which it was proved."),
            "since_run": text("About when it began."),
            "conversations": count("Values since then."),
            "mean": number("Mean difference since then."),
            "ci": _bounds("the mean, as if the beginning had been known"),
            "level": number("Of the interval."),
            "examples": list_of(object_of(example)),
        }
    )


def _alerts() -> Schema:
    mute = object_of({"scope": text("all, kind:…, task:… or model:…"), "until": moment("When it ends.")})
    return object_of({"alerts": list_of(ref("Alert")), "mutes": list_of(mute)})


def _alert() -> Schema:
    delivery = object_of(
        {
            "target": text("Kind of the target and a short hash of its address."),
            "state": text("How far.", enum=["pending", "sending", "sent", "failed"]),
            "attempts": count("Tries so far."),
            "ended_at": maybe(moment("When it arrived or was given up.")),
            "error": maybe(text("Why the last try failed.")),
        }
    )
    return object_of(
        {
            "id": text("Sorts by time."),
            "kind": text("What it is about."),
            "subject": text("What is watched."),
            "state": text("The state that is told."),
            "previous": maybe(text("The state told before.")),
            "created_at": moment("When it was seen."),
            "task": maybe(text("The task.")),
            "primary": maybe(text("The primary.")),
            "candidate": maybe(text("The candidate.")),
            "title": text("A line."),
            "sentence": text("All of it."),
            "details": {"type": "array", "items": {"type": "array", "items": {"type": "string"}}},
            "facts": typed("object", "The numbers behind the sentence."),
            "muted": flag("Recorded and not sent."),
            "deliveries": list_of(delivery),
        }
    )
