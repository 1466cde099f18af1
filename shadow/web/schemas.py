"""JSON Schemas of the admin port's answers, as `/openapi.json` publishes them. Fields are only ever added."""

from __future__ import annotations

from typing import Any

from shadow.judge.blind import CHOICES
from shadow.records import Outcome
from shadow.web.weekly_schemas import weekly_schemas

Schema = dict[str, Any]


def ref(name: str) -> Schema:
    """Point to one of `schemas()`."""
    return {"$ref": f"#/components/schemas/{name}"}


def schemas() -> dict[str, Schema]:
    """All named schemas."""
    return {
        "Stats": _stats(),
        "Task": _task(),
        "Model": _model(),
        "Distribution": _distribution(),
        "Quality": _quality(),
        "EvaluatorFigures": _evaluator(),
        "Cost": _cost(),
        "CostPerQualityPoint": _cost_per_quality_point(),
        "Comparison": _comparison(),
        "Coverage": _coverage(),
        "Insight": _insight(),
        "Judge": _judge(),
        "Labels": _object({"labels": _list(_label())}),
        "PairsToLabel": _object({"pairs": _list(_pair_to_label()), "seed": _text("The seed to shuffle sides by.")}),
        "LabelKept": _object(
            {
                "pair": _text("`<exchange id>:<candidate>`."),
                "labeller": _text("Who said it."),
                "choice": _text("As it was given.", enum=list(CHOICES)),
                "winner": _winner("Whose answer that was."),
                "side_a": _maybe(_text("Whose answer was A; null when it was not blind.")),
            }
        ),
        "Verdicts": _verdicts(),
        "Latency": _latency(),
        "Curve": _curve(),
        "NewEpochs": _new_epochs(),
        "PairPage": _pair_page(),
        "PairSummary": _object(_pair_fields()),
        "Pair": _pair(),
        "Score": _score(),
        "Exchange": _exchange(),
        "FeedbackKept": _object({"feedback": _feedback(), "note": _text("What is done with it.")}),
        "ShadowJob": _job(),
        "RunPage": _run_page(),
        "Run": _object(_run_fields()),
        "RunSummary": _run_summary(),
        "RunTask": _run_task(),
        "RunModel": _run_model(),
        "Health": _object({"status": {"const": "ok"}}),
        "Ready": _object({"ready": _flag("True when the store can be read.")}),
        "NotReady": _object({"ready": {"const": False}, "reason": _text("Why not.")}),
        "ReloadAsked": _object({"reload": {"const": "asked"}, "note": _text("What happens next.")}),
        **weekly_schemas(),
        "Error": _object({"error": _object({"type": _text("A stable name."), "message": _text("One sentence.")})}),
    }


def _object(properties: dict[str, Schema], description: str | None = None) -> Schema:
    """Build an object whose every listed field is always there."""
    schema: Schema = {"type": "object", "properties": properties, "required": list(properties)}
    return schema if description is None else {**schema, "description": description}


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
    """Allow null, which means: not known, or not built yet (a `reason` stands beside)."""
    return {**schema, "type": [schema["type"], "null"]}


def _time(description: str) -> Schema:
    return _text(description, format="date-time")


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _counts(description: str) -> Schema:
    return _typed("object", description, additionalProperties={"type": "integer", "minimum": 0})


def _reason() -> Schema:
    return _maybe(_text("Why something here is null or left out; null when nothing is."))


def _not_built(kind: str) -> Schema:
    return {"type": [kind, "null"], "description": "Null until its part is built; `reason` says so."}


def _interval() -> Schema:
    return {
        "type": ["array", "null"],
        "items": {"type": "number"},
        "minItems": 2,
        "maxItems": 2,
        "description": "Low and high end at the level beside it; null with a reason.",
    }


def _level() -> Schema:
    return _maybe(_number("How sure the interval is: at every moment at once, but for percentiles."))


def _share(description: str) -> Schema:
    return _maybe(_number(description, minimum=0, maximum=1))


def _stats() -> Schema:
    return _object(
        {
            "since": _time("Start of the window, included."),
            "until": _time("End of the window, excluded."),
            "read": _object(
                {
                    "since": _time("From when on the numbers really are."),
                    "until": _time("Until when."),
                    "reason": _reason(),
                },
                "Sums are kept by the minute (older ones by the hour or day), so a window is widened to whole ones.",
            ),
            "shadowing": _object({"on": _flag("True when traffic is shadowed."), "reason": _reason()}),
            "tasks": _list(ref("Task")),
            "dropped": _counts("Copies and records lost since the store was made, by reason."),
            "budget": _object(
                {
                    "day": _text("The UTC day.", format="date"),
                    "cap_usd": _number("What may be spent on this day."),
                    "paced_usd": _number("What of it has accrued by now; new conversations are admitted below it."),
                    "spent_usd": _number("What calls cost that have ended, judges' among them."),
                    "judge_usd": _number("What judges cost of that, as far as their providers said."),
                    "reserved_usd": _number("Worst case of calls under way."),
                    "left_usd": _number("Cap less spent and reserved, not below 0."),
                    "closed": _flag("True when no new conversation is admitted because a reserve did not fit."),
                }
            ),
        }
    )


def _task() -> Schema:
    return _object(
        {
            "task": _text("Name of the task; `default` is traffic that matches none."),
            "models": _list(ref("Model")),
            "comparisons": _list(ref("Comparison")),
            "insights": _list(ref("Insight")),
        }
    )


def _model() -> Schema:
    return _object(
        {
            "model": _maybe(_text("Name as asked; null when requests named none.")),
            "role": {"enum": ["primary", "candidate"]},
            "requests": _count("Live exchanges of a primary, shadow calls of a candidate."),
            "client_retries": _count("How many of them were repeats by the app's SDK."),
            "outcomes": {
                **_counts("How they ended; only ends that occurred."),
                "propertyNames": {"enum": [outcome.value for outcome in Outcome]},
            },
            "error_rate": _share("Errors, timeouts and refused requests among those not aborted by the client."),
            "latency_ms": ref("Distribution"),
            "ttft_ms": ref("Distribution"),
            "tokens": _object(
                {
                    "input": _count("Fresh input tokens."),
                    "cache_read": _count("Input tokens read from a cache."),
                    "cache_write": _count("Input tokens written to a cache."),
                    "output": _count("Output tokens, reasoning included."),
                    "unknown": _count("Answers that ended well without saying their token counts."),
                }
            ),
            "cost_usd": ref("Cost"),
            "quality": ref("Quality"),
            "cost_per_quality_point_usd": ref("CostPerQualityPoint"),
            "avg_latency_ms": _maybe(_number("Same as latency_ms.avg.")),
            "avg_quality": _maybe(_number("Same as quality.avg.")),
            "total_cost": _maybe(_number("Same as cost_usd.total.")),
            "cost_per_quality_point": _maybe(_number("Same as cost_per_quality_point_usd.value.")),
        }
    )


def _distribution() -> Schema:
    return _object(
        {
            "n": _count("How many values."),
            "avg": _maybe(_number("Arithmetic mean.")),
            "p50": _maybe(_number("Median, nearest rank.")),
            "p95": _maybe(_number("95th percentile, nearest rank; with fewer than 20 values the largest.")),
            "p99": _maybe(_number("99th percentile, nearest rank; with fewer than 100 values the largest.")),
            "reason": _reason(),
            "p50_ci": _interval(),
            "p95_ci": _interval(),
            "p99_ci": _interval(),
            "level": _maybe(_number("Of the bounds, for one look at independent values.")),
            "ci_reason": _maybe(_text("Which percentile has no bounds, and how many values it takes.")),
            "measured": {
                "enum": ["live", "off the live path"],
                "description": "A candidate's times are its own calls': no client waits, no live connection is shared.",
            },
        },
        "Milliseconds of answers that ended well (ok, refusal, truncated); time to first token of streamed ones only.",
    )


def _quality() -> Schema:
    return _object(
        {
            "avg": _maybe(_number("Mean of the deciding evaluator's scores, 0 to 1.", minimum=0, maximum=1)),
            "ci": _interval(),
            "level": _level(),
            "conversations": _maybe(_count("Conversations that `ci` is over; null: only the ledger counts them.")),
            "conversation_avg": _share("Mean over conversations, which `ci` is of."),
            "n": _count("Scored answers."),
            "missing": _count("Answers whose deciding score failed or is not there."),
            "not_applicable": _count("Answers the deciding evaluator does not apply to; they leave the population."),
            "not_counted": _count("Answers of opted-in exchanges or of copies that redaction changed."),
            "reason": _reason(),
            "by_evaluator": {"type": "object", "additionalProperties": ref("EvaluatorFigures")},
        }
    )


def _evaluator() -> Schema:
    return _object(
        {
            "avg": _maybe(_number("Mean score; from -1 to 1 for a pairwise evaluator, else 0 to 1.")),
            "n": _count("Scored answers."),
            "missing": _count("Evaluations that failed."),
            "not_applicable": _count("Answers it does not apply to."),
            "decides": _flag("True for the evaluator that is the quality."),
            "pairwise": _flag("True when it compares two answers."),
            "versions": _list({"type": "string"}),
        }
    )


def _cost() -> Schema:
    return _object(
        {
            "total": _maybe(_number("Billed USD of every call of known cost; null when none is known.")),
            "per_request": _maybe(_number("Total by requests of known cost, an SDK's repeats being one request.")),
            "per_success": _maybe(_number("Total by answers that ended well.")),
            "unpriced": _count("Calls without a known cost; they are in none of the sums."),
            "basis": {"const": "billed"},
            "reason": _reason(),
            "add_to_config": _maybe(_text("The line of `prices:` that makes this model's cost known.")),
        },
        "A call refused before any answer (error_connect, error_http, incompatible) without token counts costs 0.",
    )


def _cost_per_quality_point() -> Schema:
    return _object(
        {
            "value": _maybe(_number("USD: sum of costs by sum of quality; null is n/a.", minimum=0)),
            "ci": _interval(),
            "level": _maybe(_number("Level of the interval, over the conversations of the window.")),
            "n": _count("Counted answers of known quality and cost; failures count with quality 0 and their cost."),
            "unpriced": _count("Counted answers left out because their cost is not known."),
            "basis": {"const": "uncached"},
            "reason": _reason(),
        }
    )


def _comparison() -> Schema:
    epoch = _epoch_figures()
    return _object(
        {
            "primary": _maybe(_text("Model that answered the app.")),
            "candidate": _text("Model under test."),
            **epoch,
            "scope": _object(
                {"epoch": _list({"type": "string"}), "window": _list({"type": "string"})},
                "Which fields speak of the whole present epoch, and which of the window that was asked for.",
            ),
            "window": _object(
                {
                    "conversations": _maybe(_count("Closed conversations of the window; null: the ledger counts.")),
                    "open": _maybe(_count("Those that may still grow; null like the one above.")),
                    "quality_diff": epoch["quality_diff"],
                    "cost_ratio": epoch["cost_ratio"],
                }
            ),
            "pairs": _count("Exchanges both sides answered (or the candidate could not take at all)."),
            "scored": _count("Those of them with a quality difference."),
            "left_out": _counts("Pairs that are not among `pairs`, by reason."),
            "add_to_config": _maybe(_text("The line of `prices:` that lets this candidate be shadowed.")),
            "win_rate": _share("Share of pairs the candidate is better in."),
            "tie_rate": _share("Share of pairs without a difference (below 0.005)."),
            "loss_rate": _share("Share of pairs the candidate is worse in."),
            "q_cand": _share("Candidate's quality over the pairs; win + tie/2 for a pairwise evaluator."),
            "q_prim": _share("Primary's quality over the pairs; loss + tie/2 for a pairwise evaluator."),
            "projected_saving_usd_per_month": _object(
                {
                    "value": _maybe(_number("The window's live cost projected to a month, times what is saved of it.")),
                    "ci": _interval(),
                    "level": _level(),
                    "live_usd_per_month": _maybe(_number("The primary's uncached cost projected to a month.")),
                    "hours": _number("Of live traffic that this is projected from."),
                    "reason": _reason(),
                }
            ),
            "latency_diff_ms": _quantiles(
                "Candidate less primary per pair; the candidate is measured off the live path."
            ),
            "ttft_diff_ms": _quantiles("The same for the first token, both sides streamed."),
            "failure_rate": _object(
                {
                    "primary": _share("Of its live traffic."),
                    "candidate": _share("Of its counted answers."),
                }
            ),
            "noise_floor": _object(
                {
                    "n": _count("Times the primary was asked again and both answers have a quality."),
                    "unit": {"const": "pairs"},
                    "conversations": _count("Conversations these and the unscored ones belong to."),
                    "discordance": _share("Of `n`: quality differs by 0.005 or more."),
                    "answered": _count("Times both questions were answered."),
                    "identical": _share("Of `answered`: the same, word for word."),
                    "cost_usd": _number("What asking and scoring again cost; within the budget."),
                    "reason": _reason(),
                },
                "The primary against itself: the same question asked twice.",
            ),
            "judge": ref("Judge"),
            "representative": _object(
                {
                    "n": _count("Counted pairs."),
                    "input_tokens_p50": _maybe(_number("Median input tokens of the primary's requests.")),
                    "p95": _maybe(_number("95th percentile of the same.")),
                    "tools_share": _share("Share of requests with tools."),
                    "hours": _count("In how many of the 24 UTC hours of a day they began."),
                }
            ),
            "coverage": ref("Coverage"),
        }
    )


def _epoch_figures() -> dict[str, Schema]:
    """List what is known of a candidate over its whole epoch."""
    some = {"type": ["object", "null"]}
    return {
        "epoch": _object(
            {
                "number": _maybe(_typed("integer", "Counted within task and primary; null before the first.")),
                "started": _maybe(_time("When it began.")),
                "reason": _reason(),
            }
        ),
        "conversations": _count("Conversations that have entered."),
        "open": _count("Conversations that have not: open, waiting for an answer, or behind one that does."),
        "verdict": {"enum": [*_STATES, None], "description": "Null before the epoch; `why` says more."},
        "why": _text("One sentence about the verdict: what is proved, what is not, and the numbers."),
        "quality_diff": _object(
            {
                "mean": _maybe(_number("Candidate less primary, averaged per conversation.")),
                "ci": _interval(),
                "level": _level(),
                "n": _count("Conversations."),
                "first_turn": _maybe(_number("The same over first turns alone.")),
                "reason": _reason(),
            }
        ),
        "cost_ratio": _object(
            {
                "value": _maybe(_number("Candidate's cost by primary's over conversations.")),
                "ci": _interval(),
                "level": _level(),
                "n": _count("Conversations (pairs, of a window) of known cost."),
                "basis": {"const": "uncached"},
                "reason": _reason(),
            }
        ),
        "more_needed": _object(
            {
                "conversations": _object(
                    {"low": _maybe(_count("At best.")), "high": _maybe(_count("At worst, or until the count ends."))}
                ),
                "days": _maybe(_number("Until then, at the present traffic.")),
                "usd": _maybe(_number("Until then.")),
                "advice": _maybe(_text("What could be set, and what comes of it.")),
                "reason": _reason(),
            }
        ),
        "switch": {
            "anyOf": [
                _object(
                    {
                        "file": _text("The file to edit."),
                        "change": _text("The line, such as `primary.model: gpt-4o`."),
                        "yaml": _text("What stands in the file afterwards."),
                        "steps": _list(_text("One step.")),
                    }
                ),
                {"type": "null"},
            ],
            "description": "What to change for `promote`; null with any other verdict. Nothing switches by itself.",
        },
        "proofs": _list(
            _object(
                {
                    "name": _text("`not_worse`, `worse`, `better`, `cheaper:1`, `failures`, `guard:<name>`, ..."),
                    "claim": _text("The claim in words."),
                    "log_e": _maybe(_number("Natural logarithm of the evidence for it.")),
                    "line": _number("Where it counts as proved."),
                }
            )
        ),
        "guards": {"type": "object", "description": "Mean difference by guard."},
        "missing": _object(
            {
                "conversations": _number("Whose score is missing, by the share of their turns."),
                "share": _share("Of what has entered."),
                "effective_margin": _maybe(_number("verdict.margin and the missing share.")),
            }
        ),
        "entry": {
            **some,
            "description": "Who waits to enter and for what, what was late, what asks the same, what does not count.",
        },
        "spent_usd": _maybe(_number("What asking and scoring this candidate was billed in this epoch.")),
        "stopped": _object({"because": _reason(), "at": _maybe(_time("Since when it is no longer asked."))}),
    }


_STATES = (
    "insufficient_data",
    "withheld",
    "undecided",
    "promote",
    "better_costlier",
    "equivalent",
    "reject",
    "withdrawn",
)


def _quantiles(description: str) -> Schema:
    return _object(
        {
            "n": _count("How many pairs."),
            "p50": _maybe(_number("Median, milliseconds.")),
            "p95": _maybe(_number("95th percentile, milliseconds.")),
        },
        description,
    )


def _coverage() -> Schema:
    return _object(
        {
            "eligible": _count("Recognised exchanges that ended."),
            "sampled": _count("Of them, chosen for this candidate."),
            "not_sampled": _typed("integer", "Of them, the rest."),
            "sent": _count("Asked of the candidate."),
            "skipped": _counts("Not asked on purpose, by reason."),
            "dropped": _counts("Lost, by reason."),
            "pending": _count("Waiting."),
        },
        "eligible = sampled + not_sampled; sampled = sent + skipped + dropped + pending.",
    )


def _insight() -> Schema:
    return _object(
        {
            "reading": _text("Which pattern."),
            "models": _list({"type": "string"}),
            "text": _text("The sentence, with its numbers; point estimates, no verdict."),
        }
    )


def _judge() -> Schema:
    interval = {"type": ["array", "null"], "items": {"type": "number"}, "minItems": 2, "maxItems": 2}
    evidence = _maybe(_number("e-value against `no difference`; 1/alpha or more would be proof of one."))
    return _object(
        {
            "model": _maybe(_text("The judge; null when none decided anything.")),
            "version": _maybe(_text("What its rulings depend on: model, prompt and rubric.")),
            "judgements": _count("Counted pairs with a ruling."),
            "identical": _count("Counted pairs whose answers were identical: ties without a call."),
            "failed": _count("Counted pairs without a ruling, after one retry."),
            "coverage": _share("Share of the pairs it was asked about that have a ruling."),
            "missing": _share("Share of all counted pairs without a ruling."),
            "calls": _count("All calls, controls and failed ones included."),
            "parse_failures": _count("Calls whose answer was no ruling, refusals included."),
            "failed_calls": _count("All calls without a ruling: errors and timeouts too."),
            "flip_rate": _share("Share of ruled pairs in which the orders disagree; null for one that grades."),
            "tie_rate": _share("Share of ruled pairs that are a tie, flips included; null for one that grades."),
            "control_pass_rate": _object(
                {
                    "value": _share("Controls in which the answer that must lose lost in both orders."),
                    "ci": {**interval, "description": "95 %, valid at every moment however often one looks."},
                    "n": _count("Controls with a ruling, over all candidates beside this primary."),
                    "without_ruling": _count("Controls without one."),
                }
            ),
            "aa_evidence": _object({"greater": evidence, "less": evidence, "n": _count("Pairs."), "reason": _reason()}),
            "length_ratio": _maybe(_number("Mean length of the candidate's answers, in lengths of the primary's.")),
            "labels": _object(
                {
                    "n": _count("Labels of people for pairs with a ruling."),
                    "agreement": _share("Share in which the judge said the same."),
                    "kappa": _maybe(_number("Cohen's kappa: agreement beyond chance.", minimum=-1, maximum=1)),
                    "ci": {**interval, "description": "95 % for kappa."},
                    "reason": _reason(),
                }
            ),
            "cost_usd": _number("What its calls cost, controls included, as far as the provider said."),
            "control_cost_usd": _number("What the controls cost of that."),
            "unpriced_calls": _count("Calls whose cost is not known; the budget was charged their worst case."),
            "self_preference_risk": _flag("True when it comes from the house of a compared model."),
            "relatives": _list(_text("Those models.")),
            "warnings": _list(_text("What to keep in mind.")),
            "trusted": _maybe(_flag("Whether its rulings may carry a verdict; null: not known yet.")),
            "reason": _text("Why, in one sentence."),
        }
    )


def _winner(description: str) -> Schema:
    return _text(description, enum=["primary", "candidate", "tie"])


def _label() -> Schema:
    return _object(
        {
            "pair": _text("`<exchange id>:<candidate>`."),
            "exchange_id": _text("Its exchange."),
            "candidate": _text("Its candidate."),
            "labeller": _text("Who said it."),
            "winner": _winner("Whose answer was chosen."),
            "choice": _text("As it was given.", enum=list(CHOICES)),
            "side_a": _maybe(_text("Whose answer was A; null when it was not blind.")),
            "seed": _maybe(_text("What the sides were shuffled by.")),
            "source": _text("`label` or `api`."),
            "labelled_at": _time("When."),
            "task": _text("The exchange's task."),
            "primary": _maybe(_text("Who answered the app.")),
        }
    )


def _pair_to_label() -> Schema:
    content = {name: _maybe(_text("As it is kept.")) for name in ("prompt", "primary_output", "candidate_output")}
    calls = {name: _maybe(_text("JSON.")) for name in ("primary_tool_calls", "candidate_tool_calls")}
    named = {name: _text(f"Its {name.replace('_', ' ')}.") for name in ("exchange_id", "candidate", "task")}
    return _object(
        {
            "pair": _text("`<exchange id>:<candidate>`."),
            **named,
            "primary": _maybe(_text("Who answered the app.")),
            **content,
            **calls,
            "judged": _count("1 when a judge ruled about it."),
        }
    )


def _verdicts() -> Schema:
    verdict = _object(
        {
            "task": _text("Name of the task."),
            "primary": _text("Model that answered the app."),
            "candidate": _text("Model under test."),
            **_epoch_figures(),
            "pairs": _count("Exchanges both sides answered (or the candidate could not take at all)."),
        }
    )
    return _object({"verdicts": _list(verdict)})


def _new_epochs() -> Schema:
    opened = _object(
        {
            "task": _text("Name of the task."),
            "primary": _text("Model that answers the app."),
            "version": _text("x-shadow-version; empty for none."),
            "number": _count("Its number."),
            "started": _time("When it began."),
            "because": _text("Why."),
        }
    )
    return _object({"epochs": _list(opened)})


def _latency() -> Schema:
    row = {
        "model": _maybe(_text("Name as asked.")),
        "role": {"enum": ["primary", "candidate"]},
        "latency_ms": ref("Curve"),
        "ttft_ms": ref("Curve"),
    }
    task = _object({"task": _text("Name of the task."), "models": _list(_object(row))})
    return _object({"since": _time("As in /stats."), "until": _time("As in /stats."), "tasks": _list(task)})


def _curve() -> Schema:
    point = {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2}
    return _object(
        {"n": _count("How many durations."), "points": _list(point)},
        "Each point: milliseconds, and the share of answers that ended well and had come by then.",
    )


def _answer_fields() -> dict[str, Schema]:
    """List the fields that a live answer and a candidate's answer share."""
    return {
        "started_at": _time("When it was asked."),
        "outcome": {"enum": [outcome.value for outcome in Outcome]},
        "status": _maybe(_typed("integer", "HTTP status; null when no answer came.")),
        "latency_ms": _number("Until the last byte."),
        "ttft_ms": _maybe(_number("Until the first token; null when not streamed.")),
        "stop_reason": _maybe(_text("As the model said it.")),
        "model_answered": _maybe(_text("The model named in the answer.")),
        "streamed": _flag("True for an event stream."),
        "input_tokens": _maybe(_count("Fresh input tokens.")),
        "cache_read_tokens": _maybe(_count("Input tokens from a cache.")),
        "cache_write_5m_tokens": _maybe(_count("Input tokens into a 5-minute cache.")),
        "cache_write_1h_tokens": _maybe(_count("Input tokens into a 1-hour cache.")),
        "output_tokens": _maybe(_count("Output tokens.")),
        "cost_billed_usd": _maybe(_number("With cache discounts.")),
        "cost_uncached_usd": _maybe(_number("All input priced as fresh.")),
        "price_source": _maybe(_text("Where the price comes from, or why there is none.")),
        "error": _maybe(_text("One short sentence, without keys.")),
    }


def _pair_fields() -> dict[str, Schema]:
    return {
        "id": _text("`<exchange id>:<candidate>`."),
        "exchange_id": _text("The x-shadow-request-id of the live answer."),
        "candidate": _text("Model under test."),
        "primary": _maybe(_text("Model that answered the app.")),
        "task": _text("Name of the task."),
        "conversation": _maybe(_text("Hash of the conversation's key.")),
        "first_turn": _flag("True for the first turn of its conversation."),
        **_answer_fields(),
        "redaction_changed": _flag("True when the copy differed from the original; the pair is not compared."),
        "quality_primary": _maybe(_number("Deciding score of the primary's answer.")),
        "quality_candidate": _maybe(_number("Deciding score of the candidate's answer.")),
        "quality_diff": _maybe(_number("Candidate less primary.")),
        "primary_outcome": {"enum": [outcome.value for outcome in Outcome]},
        "primary_latency_ms": _number("Latency of the live answer."),
        "primary_ttft_ms": _maybe(_number("First token of the live answer.")),
        "primary_cost_billed_usd": _maybe(_number("Billed cost of the live answer.")),
        "primary_cost_uncached_usd": _maybe(_number("Uncached cost of the live answer.")),
    }


def _pair_page() -> Schema:
    cursor = _maybe(_text("`cursor` of the next page; null at the end."))
    return _object({"pairs": _list(ref("PairSummary")), "next_cursor": cursor})


def _pair() -> Schema:
    parts = ("prompt", "primary_output", "primary_tool_calls", "candidate_output", "candidate_tool_calls")
    content = _object({name: _maybe(_text("Text from outside: show it as text only.")) for name in parts})
    kept = {**_maybe(content), "description": "Null when nothing is kept (`content: none`)."}
    return _object({**_pair_fields(), "content": kept, "scores": _list(ref("Score"))})


def _score() -> Schema:
    return _object(
        {
            "candidate": _text("Whose answer; empty for the primary's."),
            "evaluator": _text("Name of the evaluator."),
            "version": _text("Its version."),
            "quality": _flag("True for the deciding evaluator."),
            "role": {"enum": ["primary", "candidate", "pair"]},
            "status": {"enum": ["scored", "not_applicable", "failed"]},
            "value": _maybe(_number("The score; null unless scored.")),
            "reason": _text("Why."),
            "cost_usd": _number("What the evaluation cost."),
        }
    )


def _job() -> Schema:
    return _object(
        {
            "candidate": _text("Model to be asked."),
            "state": {"enum": ["pending", "leased", "sent", "done", "skipped", "dropped"]},
            "reason": _maybe(_text("Why it was skipped or dropped.")),
            "counted": _flag("False for an opted-in exchange."),
        }
    )


def _feedback() -> Schema:
    return _object(
        {
            "request_id": _text("x-shadow-request-id of the live answer; in an exchange it is not repeated."),
            "given_at": _time("When it last changed."),
            "score": _maybe(_number("How good the primary's answer was, 0 to 1.")),
            "expected": _maybe(_text("What would have been right, as it may be kept.")),
            "expected_changed": _flag("Redaction changed it, so it is not used to score."),
            "rescored_at": _maybe(_time("When what is kept was scored with it.")),
        },
        "What users of the app said about the primary's answer.",
    )


def _exchange() -> Schema:
    answer = _object({"candidate": _text("Model under test."), **_answer_fields()})
    return _object(
        {
            "id": _text("The x-shadow-request-id of the live answer."),
            "method": _text("HTTP method."),
            "path": _text("Path without query."),
            "dialect": _maybe(_text("Wire format; null when not understood.")),
            "task": _text("Name of the task."),
            "conversation": _maybe(_text("Hash of the conversation's key.")),
            "model": _maybe(_text("Model asked.")),
            **_answer_fields(),
            "request_bytes": _count("Size of the request's body."),
            "response_bytes": _count("Size of the answer's body."),
            "first_turn": _flag("True for the first turn of its conversation."),
            "has_tools": _flag("True when the request declares tools."),
            "client_retry": _flag("True when the app's SDK says it is a repeat."),
            "version": _maybe(_text("x-shadow-version, when the app sent one.")),
            "eligible": _flag("True when coverage counts it."),
            "gateway_error": _maybe(_text("Set when the answer was the gateway's own.")),
            "jobs": _list(ref("ShadowJob")),
            "answers": _list(answer),
            "scores": _list(ref("Score")),
            "feedback": _maybe(_feedback()),
        }
    )


def _run_page() -> Schema:
    return _object(
        {"runs": _list(ref("Run")), "next_cursor": _maybe(_text("Ask for the next page with it; null at the end."))}
    )


def _run_fields() -> dict[str, Schema]:
    return {
        "id": _text("Of the run."),
        "kind": {"enum": ["bench", "replay", "weekly"]},
        "name": _text("Such as the case file."),
        "period": _maybe(_text("Of a scheduled run: what it is for.")),
        "state": {"enum": ["running", "done", "stopped", "failed"]},
        "reason": _maybe(_text("Why it stopped or failed.")),
        "started_at": _time("When it began."),
        "finished_at": _maybe(_time("When it ended.")),
        "models": _list({"type": "string"}),
        "primary": _maybe(_text("The model the others are compared with.")),
        "repeats": _count("How often each case is asked."),
        "seed": _text("Orders the questions."),
        "cases": _count("Questions."),
        "cells": _count("Answers that make it complete."),
        "answered": _count("Answers that are there, failures included."),
        "max_cost_usd": _maybe(_number("What it may never spend more than.")),
        "estimate_usd": _maybe(_number("The most it can cost, as known before it began.")),
        "spent_usd": _number("What was spent, scoring included; answers of unknown cost at their worst case."),
        "reserved_usd": _number("Worst case of answers under way."),
        "evaluators": {"type": "object", "description": "Name, version and whether it decides, by task."},
        "base_urls": {"type": "object", "additionalProperties": {"type": "string"}},
        "note": _text("How the cases were sampled."),
    }


def _run_summary() -> Schema:
    return _object(
        {
            "run": ref("Run"),
            "level": _number("Each interval holds with this probability, however often the run is looked at."),
            "tasks": _list(ref("RunTask")),
        }
    )


def _run_task() -> Schema:
    comparison = _object(
        {
            "primary": _text("The model beside which the other stands."),
            "candidate": _text("The other."),
            "pairs": _count("Questions both were asked."),
            "failed": _object({"primary": _count("Failures."), "candidate": _count("Failures.")}),
            "quality_diff": {"type": "object", "description": "Candidate less primary: mean, ci, n, missing, rates."},
            "cost_ratio": {"type": "object", "description": "Candidate's cost by the primary's: value, ci, n."},
            "latency_diff_ms": {"type": "object", "description": "Quantiles of per-pair differences."},
        }
    )
    return _object(
        {
            "task": _text("Name of the task."),
            "cases": _count("Its questions."),
            "models": _list(ref("RunModel")),
            "comparisons": _list(comparison),
            "insights": _list(ref("Insight")),
        }
    )


def _run_model() -> Schema:
    figures = {"type": "object", "description": "As in `/stats`, with intervals."}
    return _object(
        {
            "model": _text("Name as asked."),
            "role": {"enum": ["primary", "candidate"]},
            "requests": _count("Answers, failures included."),
            "attempts": _count("Calls, retries included."),
            "retries": _count("Calls beyond the first of each answer."),
            "outcomes": _counts("How they ended."),
            "error_rate": _share("Errors, timeouts and refused requests."),
            "error_rate_ci": _interval(),
            "errors": {
                "type": "array",
                "items": {"type": "object"},
                "description": "The most frequent failures: outcome, status, error, count.",
            },
            "latency_ms": figures,
            "ttft_ms": figures,
            "tokens": figures,
            "cost_usd": figures,
            "quality": figures,
            "cost_per_quality_point_usd": figures,
            "avg_latency_ms": _maybe(_number("Same as latency_ms.avg.")),
            "avg_quality": _maybe(_number("Same as quality.avg.")),
            "total_cost": _maybe(_number("Same as cost_usd.total.")),
            "cost_per_quality_point": _maybe(_number("Same as cost_per_quality_point_usd.value.")),
            "models_answered": _list({"type": "string"}),
        }
    )
