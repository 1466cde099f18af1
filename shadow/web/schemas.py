"""JSON Schemas of the admin port's answers, as `/openapi.json` publishes them. Fields are only ever added."""

from __future__ import annotations

from shadow.judge.blind import CHOICES
from shadow.records import Outcome
from shadow.web.shapes import Schema, count, flag, list_of, maybe, moment, number, object_of, ref, text, typed
from shadow.web.weekly_schemas import weekly_schemas


def schemas() -> dict[str, Schema]:
    """All named schemas."""
    return {
        "Stats": _stats(),
        "Task": _task(),
        "MoreTask": _more_task(),
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
        "Labels": object_of({"labels": list_of(_label())}),
        "PairsToLabel": object_of({"pairs": list_of(_pair_to_label()), "seed": text("The seed to shuffle sides by.")}),
        "LabelKept": object_of(
            {
                "pair": text("`<exchange id>:<candidate>`."),
                "labeller": text("Who said it."),
                "choice": text("As it was given.", enum=list(CHOICES)),
                "winner": _winner("Whose answer that was."),
                "side_a": maybe(text("Whose answer was A; null when it was not blind.")),
            }
        ),
        "Verdicts": _verdicts(),
        "Latency": _latency(),
        "Curve": _curve(),
        "NewEpochs": _new_epochs(),
        "PairPage": _pair_page(),
        "PairSummary": object_of(_pair_fields()),
        "Pair": _pair(),
        "Score": _score(),
        "Exchange": _exchange(),
        "FeedbackKept": object_of({"feedback": _feedback(), "note": text("What is done with it.")}),
        "ShadowJob": _job(),
        "RunPage": _run_page(),
        "Run": object_of(_run_fields()),
        "RunSummary": _run_summary(),
        "RunTask": _run_task(),
        "RunModel": _run_model(),
        "Health": object_of({"status": {"const": "ok"}}),
        "Ready": object_of({"ready": flag("True when the store can be read.")}),
        "NotReady": object_of({"ready": {"const": False}, "reason": text("Why not.")}),
        "ReloadAsked": object_of({"reload": {"const": "asked"}, "note": text("What happens next.")}),
        **weekly_schemas(),
        "Error": object_of({"error": object_of({"type": text("A stable name."), "message": text("One sentence.")})}),
    }


def _counts(description: str) -> Schema:
    return typed("object", description, additionalProperties={"type": "integer", "minimum": 0})


def _reason() -> Schema:
    return maybe(text("Why something here is null or left out; null when nothing is."))


def _interval() -> Schema:
    return {
        "type": ["array", "null"],
        "items": {"type": "number"},
        "minItems": 2,
        "maxItems": 2,
        "description": "Low and high end at the level beside it; null with a reason.",
    }


def _level() -> Schema:
    return maybe(number("How sure the interval is: at every moment at once, but for percentiles."))


def _share(description: str) -> Schema:
    return maybe(number(description, minimum=0, maximum=1))


def _stats() -> Schema:
    return object_of(
        {
            "since": moment("Start of the window, included."),
            "until": moment("End of the window, excluded."),
            "read": object_of(
                {
                    "since": moment("From when on the numbers really are."),
                    "until": moment("Until when."),
                    "reason": _reason(),
                },
                "Sums are kept by the minute (older ones by the hour or day), so a window is widened to whole ones.",
            ),
            "shadowing": object_of({"on": flag("True when traffic is shadowed."), "reason": _reason()}),
            "tasks": list_of(ref("Task")),
            "more_tasks": list_of(ref("MoreTask")),
            "dropped": _counts("Copies and records lost since the store was made, by reason."),
            "budget": object_of(
                {
                    "day": text("The UTC day.", format="date"),
                    "cap_usd": number("What may be spent on this day."),
                    "paced_usd": number("What of it has accrued by now; new conversations are admitted below it."),
                    "spent_usd": number("What calls cost that have ended, judges' among them."),
                    "judge_usd": number("What judges cost of that, as far as their providers said."),
                    "reserved_usd": number("Worst case of calls under way."),
                    "left_usd": number("Cap less spent and reserved, not below 0."),
                    "closed": flag("True when no new conversation is admitted because a reserve did not fit."),
                }
            ),
        }
    )


def _task() -> Schema:
    return object_of(
        {
            "task": text("Name of the task; `default` is traffic that matches none."),
            "models": list_of(ref("Model")),
            "comparisons": list_of(ref("Comparison")),
            "insights": list_of(ref("Insight")),
        }
    )


def _more_task() -> Schema:
    judge = object_of({"cost_usd": number("As in Judge.")})
    one = {
        "primary": maybe(text("Model that answered the app.")),
        "candidate": text("Model under test."),
        "verdict": _comparison()["properties"]["verdict"],
        "ended": _comparison()["properties"]["ended"],
        "coverage": ref("Coverage"),
        "judge": judge,
        "noise_floor": object_of({"cost_usd": number("As in Comparison: of the primary's second answers.")}),
    }
    model = {
        "model": maybe(text("Name as asked.")),
        "role": {"enum": ["primary", "candidate"]},
        "cost_usd": object_of({"total": maybe(number("As in Cost."))}),
    }
    told = "A task for which `room` left none: the same fields as in Task, only fewer."
    return object_of(
        {"task": text("Its name."), "models": list_of(object_of(model)), "comparisons": list_of(object_of(one))}, told
    )


def _model() -> Schema:
    return object_of(
        {
            "model": maybe(text("Name as asked; null when requests named none.")),
            "role": {"enum": ["primary", "candidate"]},
            "requests": count("Live exchanges of a primary, shadow calls of a candidate."),
            "client_retries": count("How many of them were repeats by the app's SDK."),
            "outcomes": {
                **_counts("How they ended; only ends that occurred."),
                "propertyNames": {"enum": [outcome.value for outcome in Outcome]},
            },
            "error_rate": _share("Errors, timeouts and refused requests among those not aborted by the client."),
            "latency_ms": ref("Distribution"),
            "ttft_ms": ref("Distribution"),
            "overhead_ms": maybe(
                object_of(
                    {
                        "n": count("How many answers of the upstream were passed on."),
                        "avg": maybe(number("Arithmetic mean.")),
                        "p50": maybe(number("Median, nearest rank.")),
                        "p95": maybe(number("95th percentile.")),
                        "p99": maybe(number("99th percentile.")),
                        "reason": _reason(),
                    },
                    "What the gateway itself added to live answers, in milliseconds; null for candidates.",
                )
            ),
            "tokens": object_of(
                {
                    "input": count("Fresh input tokens."),
                    "cache_read": count("Input tokens read from a cache."),
                    "cache_write": count("Input tokens written to a cache."),
                    "output": count("Output tokens, reasoning included."),
                    "unknown": count("Answers that ended well without saying their token counts."),
                }
            ),
            "cost_usd": ref("Cost"),
            "quality": ref("Quality"),
            "cost_per_quality_point_usd": ref("CostPerQualityPoint"),
            "avg_latency_ms": maybe(number("Same as latency_ms.avg.")),
            "avg_quality": maybe(number("Same as quality.avg.")),
            "total_cost": maybe(number("Same as cost_usd.total.")),
            "cost_per_quality_point": maybe(number("Same as cost_per_quality_point_usd.value.")),
        }
    )


def _distribution() -> Schema:
    return object_of(
        {
            "n": count("How many values."),
            "avg": maybe(number("Arithmetic mean.")),
            "p50": maybe(number("Median, nearest rank.")),
            "p95": maybe(number("95th percentile, nearest rank; with fewer than 20 values the largest.")),
            "p99": maybe(number("99th percentile, nearest rank; with fewer than 100 values the largest.")),
            "reason": _reason(),
            "p50_ci": _interval(),
            "p95_ci": _interval(),
            "p99_ci": _interval(),
            "level": maybe(number("Of the bounds, for one look at independent values.")),
            "ci_reason": maybe(text("Which percentile has no bounds, and how many values it takes.")),
            "measured": {
                "enum": ["live", "off the live path"],
                "description": "A candidate's times are its own calls': no client waits, no live connection is shared.",
            },
        },
        "Milliseconds of answers that ended well (ok, refusal, truncated); time to first token of streamed ones only.",
    )


def _quality() -> Schema:
    return object_of(
        {
            "avg": maybe(
                number(
                    "Mean of the deciding evaluator's scores, 0 to 1; in its newest version, where it had several.",
                    minimum=0,
                    maximum=1,
                )
            ),
            "ci": _interval(),
            "level": _level(),
            "conversations": maybe(count("Conversations that `ci` is over; null: only the ledger counts them.")),
            "conversation_avg": _share("Mean over conversations, which `ci` is of."),
            "n": count("Scored answers."),
            "missing": count("Answers whose deciding score failed or is not there."),
            "not_applicable": count("Answers the deciding evaluator does not apply to; they leave the population."),
            "not_counted": count("Answers of opted-in exchanges or of copies that redaction changed."),
            "reason": _reason(),
            "by_evaluator": {"type": "object", "additionalProperties": ref("EvaluatorFigures")},
        }
    )


def _evaluator() -> Schema:
    return object_of(
        {
            "avg": maybe(number("Mean score; from -1 to 1 for a pairwise evaluator, else 0 to 1.")),
            "n": count("Scored answers."),
            "missing": count("Evaluations that failed."),
            "not_applicable": count("Answers it does not apply to."),
            "decides": flag("True for the evaluator that is the quality."),
            "pairwise": flag("True when it compares two answers."),
            "versions": {
                **list_of({"type": "string"}),
                "description": "Those of this window, the newest last; all figures are of that one.",
            },
        }
    )


def _cost() -> Schema:
    return object_of(
        {
            "total": maybe(number("Billed USD of every call of known cost; null when none is known.")),
            "per_request": maybe(number("Total by requests of known cost, an SDK's repeats being one request.")),
            "per_success": maybe(number("Total by answers that ended well.")),
            "unpriced": count("Calls without a known cost; they are in none of the sums."),
            "basis": {"const": "billed"},
            "reason": _reason(),
            "add_to_config": maybe(text("The line of `prices:` that makes this model's cost known.")),
        },
        "A call refused before any answer (error_connect, error_http, incompatible) without token counts costs 0.",
    )


def _cost_per_quality_point() -> Schema:
    return object_of(
        {
            "value": maybe(number("USD: sum of costs by sum of quality; null is n/a.", minimum=0)),
            "ci": _interval(),
            "level": maybe(number("Level of the interval, over the conversations of the window.")),
            "n": count("Counted answers of known quality and cost; failures count with quality 0 and their cost."),
            "unpriced": count("Counted answers left out because their cost is not known."),
            "basis": {"const": "uncached"},
            "reason": _reason(),
        }
    )


def _comparison() -> Schema:
    epoch = _epoch_figures()
    return object_of(
        {
            "primary": maybe(text("Model that answered the app.")),
            "candidate": text("Model under test."),
            **epoch,
            "scope": object_of(
                {"epoch": list_of({"type": "string"}), "window": list_of({"type": "string"})},
                "Which fields speak of the whole present epoch, and which of the window that was asked for.",
            ),
            "window": object_of(
                {
                    "conversations": maybe(count("Closed conversations of the window; null: the ledger counts.")),
                    "open": maybe(count("Those that may still grow; null like the one above.")),
                    "quality_diff": epoch["quality_diff"],
                    "cost_ratio": epoch["cost_ratio"],
                }
            ),
            "pairs": count("Exchanges both sides answered (or the candidate could not take at all)."),
            "scored": count("Those of them with a quality difference."),
            "left_out": _counts("Pairs that are not among `pairs`, by reason."),
            "add_to_config": maybe(text("The line of `prices:` that lets this candidate be shadowed.")),
            "win_rate": _share("Share of pairs the candidate is better in."),
            "tie_rate": _share("Share of pairs without a difference (below 0.005)."),
            "loss_rate": _share("Share of pairs the candidate is worse in."),
            "q_cand": _share("Candidate's quality over the pairs; win + tie/2 for a pairwise evaluator."),
            "q_prim": _share("Primary's quality over the pairs; loss + tie/2 for a pairwise evaluator."),
            "projected_saving_usd_per_month": object_of(
                {
                    "value": maybe(number("The window's live cost projected to a month, times what is saved of it.")),
                    "ci": _interval(),
                    "level": _level(),
                    "live_usd_per_month": maybe(number("The primary's uncached cost projected to a month.")),
                    "hours": number("Of live traffic that this is projected from."),
                    "reason": _reason(),
                }
            ),
            "latency_diff_ms": _quantiles(
                "Candidate less primary per pair; the candidate is measured off the live path."
            ),
            "ttft_diff_ms": _quantiles("The same for the first token, both sides streamed."),
            "failure_rate": object_of(
                {
                    "primary": _share("Of its live traffic."),
                    "candidate": _share("Of its counted answers."),
                }
            ),
            "noise_floor": object_of(
                {
                    "n": count("Times the primary was asked again and both answers have a quality."),
                    "unit": {"const": "pairs"},
                    "conversations": count("Conversations these and the unscored ones belong to."),
                    "discordance": _share("Of `n`: quality differs by 0.005 or more."),
                    "answered": count("Times both questions were answered."),
                    "identical": _share("Of `answered`: the same, word for word."),
                    "cost_usd": number("What asking and scoring again cost; within the budget."),
                    "reason": _reason(),
                },
                "The primary against itself: the same question asked twice.",
            ),
            "judge": ref("Judge"),
            "representative": object_of(
                {
                    "n": count("Counted pairs."),
                    "input_tokens_p50": maybe(number("Median input tokens of the primary's requests.")),
                    "p95": maybe(number("95th percentile of the same.")),
                    "tools_share": _share("Share of requests with tools."),
                    "hours": count("In how many of the 24 UTC hours of a day they began."),
                }
            ),
            "coverage": ref("Coverage"),
        }
    )


def _epoch_figures() -> dict[str, Schema]:
    """List what is known of a candidate over its whole epoch."""
    some = {"type": ["object", "null"]}
    return {
        "epoch": object_of(
            {
                "number": maybe(typed("integer", "Counted within task and primary; null before the first.")),
                "started": maybe(moment("When it began.")),
                "reason": _reason(),
            }
        ),
        "conversations": count("Conversations that have entered."),
        "open": count("Conversations that have not: open, waiting for an answer, or behind one that does."),
        "verdict": {"enum": [*_STATES, None], "description": "Null before the epoch; `why` says more."},
        "why": text("One sentence about the verdict: what is proved, what is not, and the numbers."),
        "quality_diff": object_of(
            {
                "mean": maybe(number("Candidate less primary, averaged per conversation.")),
                "ci": _interval(),
                "level": _level(),
                "n": count("Conversations."),
                "first_turn": maybe(number("The same over first turns alone.")),
                "reason": _reason(),
            }
        ),
        "cost_ratio": object_of(
            {
                "value": maybe(number("Candidate's cost by primary's over conversations.")),
                "ci": _interval(),
                "level": _level(),
                "n": maybe(
                    count("Conversations (pairs, of a window) of known cost; null: none yet since prices changed.")
                ),
                "basis": {"const": "uncached"},
                "reason": _reason(),
            }
        ),
        "more_needed": object_of(
            {
                "conversations": object_of(
                    {"low": maybe(count("At best.")), "high": maybe(count("At worst, or until the count ends."))},
                    "Conversations that are asked of the candidate, whether or not something in them can be compared.",
                ),
                "days": maybe(number("Until then, at the traffic of the last days and the present sample_rate.")),
                "usd": maybe(number("Until then, at what one that is asked has cost lately.")),
                "advice": maybe(text("What could be set, and what comes of it.")),
                "reason": _reason(),
            }
        ),
        "switch": {
            "anyOf": [
                object_of(
                    {
                        "file": text("The file to edit."),
                        "change": text("The line, such as `primary.model: gpt-4o`."),
                        "yaml": text("What is to stand in the file; what to do with the candidates is a comment."),
                        "steps": list_of(text("One step.")),
                    }
                ),
                {"type": "null"},
            ],
            "description": "What to change for `promote`; null with any other verdict, and once the comparison has "
            "ended. Nothing switches by itself.",
        },
        "proofs": list_of(
            object_of(
                {
                    "name": text("`not_worse`, `worse`, `better`, `cheaper:1`, `failures`, `guard:<name>`, ..."),
                    "claim": text("The claim in words."),
                    "log_e": maybe(number("Natural logarithm of the evidence for it.")),
                    "line": number("Where it counts as proved."),
                }
            )
        ),
        "guards": {"type": "object", "description": "Mean difference by guard."},
        "missing": object_of(
            {
                "conversations": number("Whose score is missing, by the share of their turns."),
                "share": _share("Of what has entered."),
                "effective_margin": maybe(number("verdict.margin and the missing share.")),
            }
        ),
        "entry": {
            **some,
            "description": "Who waits to enter and for what, what was `late` for the order of starts, how often the "
            "order was `set_back` with the clock, what asks the same, what does not count.",
        },
        "spent_usd": maybe(number("What asking and scoring this candidate was billed in this epoch.")),
        "stopped": object_of({"because": _reason(), "at": maybe(moment("Since when it is no longer asked."))}),
        "ended": maybe(text("Why nobody is asked for this comparison any more; null while it goes on.")),
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
    return object_of(
        {
            "n": count("How many pairs."),
            "p50": maybe(number("Median, milliseconds.")),
            "p95": maybe(number("95th percentile, milliseconds.")),
        },
        description,
    )


def _coverage() -> Schema:
    return object_of(
        {
            "eligible": count("Recognised exchanges that ended."),
            "sampled": count("Of them, chosen for this candidate."),
            "not_sampled": typed("integer", "Of them, the rest."),
            "sent": count("Asked of the candidate."),
            "skipped": _counts("Not asked on purpose, by reason."),
            "dropped": _counts("Lost, by reason."),
            "pending": count("Waiting."),
        },
        "eligible = sampled + not_sampled; sampled = sent + skipped + dropped + pending.",
    )


def _insight() -> Schema:
    return object_of(
        {
            "reading": text("Which pattern."),
            "models": list_of({"type": "string"}),
            "text": text("The sentence, with its numbers; point estimates, no verdict."),
        }
    )


def _judge() -> Schema:
    interval = {"type": ["array", "null"], "items": {"type": "number"}, "minItems": 2, "maxItems": 2}
    evidence = maybe(number("e-value against `no difference`; 1/alpha or more would be proof of one."))
    return object_of(
        {
            "model": maybe(text("The judge; null when none decided anything.")),
            "version": maybe(text("What its rulings depend on: model, prompt and rubric.")),
            "judgements": count("Counted pairs with a ruling."),
            "identical": count("Counted pairs whose answers were identical: ties without a call."),
            "failed": count("Counted pairs without a ruling, after one retry."),
            "coverage": _share("Share of the pairs it was asked about that have a ruling."),
            "missing": _share("Share of all counted pairs without a ruling."),
            "calls": count("All calls, controls and failed ones included."),
            "parse_failures": count("Calls whose answer was no ruling, refusals included."),
            "failed_calls": count("All calls without a ruling: errors and timeouts too."),
            "flip_rate": _share("Share of ruled pairs in which the orders disagree; null for one that grades."),
            "tie_rate": _share("Share of ruled pairs that are a tie, flips included; null for one that grades."),
            "control_pass_rate": object_of(
                {
                    "value": _share("Controls in which the answer that must lose lost in both orders."),
                    "ci": {**interval, "description": "95 %, valid at every moment however often one looks."},
                    "n": count("Controls with a ruling, over all candidates beside this primary."),
                    "without_ruling": count("Controls without one."),
                }
            ),
            "aa_evidence": object_of(
                {"greater": evidence, "less": evidence, "n": count("Pairs."), "reason": _reason()}
            ),
            "length_ratio": maybe(number("Mean length of the candidate's answers, in lengths of the primary's.")),
            "labels": object_of(
                {
                    "n": count("Labels of people for pairs with a ruling."),
                    "agreement": _share("Share in which the judge said the same."),
                    "kappa": maybe(number("Cohen's kappa: agreement beyond chance.", minimum=-1, maximum=1)),
                    "ci": {**interval, "description": "95 % for kappa."},
                    "reason": _reason(),
                }
            ),
            "cost_usd": number("What its calls cost, controls included, as far as the provider said."),
            "control_cost_usd": number("What the controls cost of that."),
            "unpriced_calls": count("Calls whose cost is not known; the budget was charged their worst case."),
            "self_preference_risk": flag("True when it comes from the house of a compared model."),
            "relatives": list_of(text("Those models.")),
            "warnings": list_of(text("What to keep in mind.")),
            "trusted": maybe(flag("Whether its rulings may carry a verdict; null: not known yet.")),
            "reason": text("Why, in one sentence."),
        }
    )


def _winner(description: str) -> Schema:
    return text(description, enum=["primary", "candidate", "tie"])


def _label() -> Schema:
    return object_of(
        {
            "pair": text("`<exchange id>:<candidate>`."),
            "exchange_id": text("Its exchange."),
            "candidate": text("Its candidate."),
            "labeller": text("Who said it."),
            "winner": _winner("Whose answer was chosen."),
            "choice": text("As it was given.", enum=list(CHOICES)),
            "side_a": maybe(text("Whose answer was A; null when it was not blind.")),
            "seed": maybe(text("What the sides were shuffled by.")),
            "source": text("`label` or `api`."),
            "labelled_at": moment("When."),
            "task": text("The exchange's task."),
            "primary": maybe(text("Who answered the app.")),
        }
    )


def _pair_to_label() -> Schema:
    content = {name: maybe(text("As it is kept.")) for name in ("prompt", "primary_output", "candidate_output")}
    calls = {name: maybe(text("JSON.")) for name in ("primary_tool_calls", "candidate_tool_calls")}
    named = {name: text(f"Its {name.replace('_', ' ')}.") for name in ("exchange_id", "candidate", "task")}
    return object_of(
        {
            "pair": text("`<exchange id>:<candidate>`."),
            **named,
            "primary": maybe(text("Who answered the app.")),
            **content,
            **calls,
            "judged": count("1 when a judge ruled about it."),
        }
    )


def _verdicts() -> Schema:
    verdict = object_of(
        {
            "task": text("Name of the task."),
            "primary": text("Model that answered the app."),
            "candidate": text("Model under test."),
            **_epoch_figures(),
            "pairs": count("Exchanges both sides answered (or the candidate could not take at all)."),
        }
    )
    return object_of({"verdicts": list_of(verdict)})


def _new_epochs() -> Schema:
    opened = object_of(
        {
            "task": text("Name of the task."),
            "primary": text("Model that answers the app."),
            "version": text("x-shadow-version; empty for none."),
            "number": count("Its number."),
            "started": moment("When it began."),
            "because": text("Why."),
        }
    )
    return object_of({"epochs": list_of(opened)})


def _latency() -> Schema:
    row = {
        "model": maybe(text("Name as asked.")),
        "role": {"enum": ["primary", "candidate"]},
        "latency_ms": ref("Curve"),
        "ttft_ms": ref("Curve"),
    }
    task = object_of({"task": text("Name of the task."), "models": list_of(object_of(row))})
    return object_of({"since": moment("As in /stats."), "until": moment("As in /stats."), "tasks": list_of(task)})


def _curve() -> Schema:
    point = {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2}
    return object_of(
        {"n": count("How many durations."), "points": list_of(point)},
        "Each point: milliseconds, and the share of answers that ended well and had come by then.",
    )


def _answer_fields() -> dict[str, Schema]:
    """List the fields that a live answer and a candidate's answer share."""
    return {
        "started_at": moment("When it was asked."),
        "outcome": {"enum": [outcome.value for outcome in Outcome]},
        "status": maybe(typed("integer", "HTTP status; null when no answer came.")),
        "latency_ms": number("Until the last byte."),
        "ttft_ms": maybe(number("Until the first token; null when not streamed.")),
        "stop_reason": maybe(text("As the model said it.")),
        "model_answered": maybe(text("The model named in the answer.")),
        "streamed": flag("True for an event stream."),
        "input_tokens": maybe(count("Fresh input tokens.")),
        "cache_read_tokens": maybe(count("Input tokens from a cache.")),
        "cache_write_5m_tokens": maybe(count("Input tokens into a 5-minute cache.")),
        "cache_write_1h_tokens": maybe(count("Input tokens into a 1-hour cache.")),
        "output_tokens": maybe(count("Output tokens.")),
        "cost_billed_usd": maybe(number("With cache discounts.")),
        "cost_uncached_usd": maybe(number("All input priced as fresh.")),
        "price_source": maybe(text("Where the price comes from, or why there is none.")),
        "error": maybe(text("One short sentence, without keys.")),
    }


def _pair_fields() -> dict[str, Schema]:
    return {
        "id": text("`<exchange id>:<candidate>`."),
        "exchange_id": text("The x-shadow-request-id of the live answer."),
        "candidate": text("Model under test."),
        "primary": maybe(text("Model that answered the app.")),
        "task": text("Name of the task."),
        "conversation": maybe(text("Hash of the conversation's key.")),
        "first_turn": flag("True for the first turn of its conversation."),
        **_answer_fields(),
        "redaction_changed": flag("True when the copy differed from the original; the pair is not compared."),
        "quality_primary": maybe(number("Deciding score of the primary's answer.")),
        "quality_candidate": maybe(number("Deciding score of the candidate's answer.")),
        "quality_diff": maybe(number("Candidate less primary.")),
        "unanswered": flag("True when one of both sides gave no answer."),
        "primary_outcome": {"enum": [outcome.value for outcome in Outcome]},
        "primary_latency_ms": number("Latency of the live answer."),
        "primary_ttft_ms": maybe(number("First token of the live answer.")),
        "primary_cost_billed_usd": maybe(number("Billed cost of the live answer.")),
        "primary_cost_uncached_usd": maybe(number("Uncached cost of the live answer.")),
    }


def _pair_page() -> Schema:
    cursor = maybe(text("`cursor` of the next page; null at the end."))
    return object_of({"pairs": list_of(ref("PairSummary")), "next_cursor": cursor})


def _pair() -> Schema:
    parts = ("prompt", "primary_output", "primary_tool_calls", "candidate_output", "candidate_tool_calls")
    content = object_of({name: maybe(text("Text from outside: show it as text only.")) for name in parts})
    kept = {**maybe(content), "description": "Null when nothing is kept (`content: none`)."}
    return object_of({**_pair_fields(), "content": kept, "scores": list_of(ref("Score"))})


def _score() -> Schema:
    return object_of(
        {
            "candidate": text("Whose answer; empty for the primary's."),
            "evaluator": text("Name of the evaluator."),
            "version": text("Its version."),
            "quality": flag("True for the deciding evaluator."),
            "role": {"enum": ["primary", "candidate", "pair"]},
            "status": {"enum": ["scored", "not_applicable", "failed"]},
            "value": maybe(number("The score; null unless scored.")),
            "reason": text("Why."),
            "cost_usd": number("What the evaluation cost."),
        }
    )


def _job() -> Schema:
    return object_of(
        {
            "candidate": text("Model to be asked."),
            "state": {"enum": ["pending", "leased", "sent", "done", "skipped", "dropped"]},
            "reason": maybe(text("Why it was skipped or dropped.")),
            "counted": flag("False for an opted-in exchange."),
        }
    )


def _feedback() -> Schema:
    return object_of(
        {
            "request_id": text("x-shadow-request-id of the live answer; in an exchange it is not repeated."),
            "given_at": moment("When it last changed."),
            "score": maybe(number("How good the primary's answer was, 0 to 1.")),
            "expected": maybe(text("What would have been right, as it may be kept.")),
            "expected_changed": flag("Redaction changed it, so it is not used to score."),
            "rescored_at": maybe(moment("When what is kept was scored with it.")),
        },
        "What users of the app said about the primary's answer.",
    )


def _exchange() -> Schema:
    answer = object_of({"candidate": text("Model under test."), **_answer_fields()})
    return object_of(
        {
            "id": text("The x-shadow-request-id of the live answer."),
            "method": text("HTTP method."),
            "path": text("Path without query."),
            "dialect": maybe(text("Wire format; null when not understood.")),
            "task": text("Name of the task."),
            "conversation": maybe(text("Hash of the conversation's key.")),
            "model": maybe(text("Model asked.")),
            **_answer_fields(),
            "request_bytes": count("Size of the request's body."),
            "response_bytes": count("Size of the answer's body."),
            "first_turn": flag("True for the first turn of its conversation."),
            "has_tools": flag("True when the request declares tools."),
            "client_retry": flag("True when the app's SDK says it is a repeat."),
            "version": maybe(text("x-shadow-version, when the app sent one.")),
            "eligible": flag("True when coverage counts it."),
            "gateway_error": maybe(text("Set when the answer was the gateway's own.")),
            "overhead_us": maybe(count("What the gateway itself added, in microseconds.")),
            "jobs": list_of(ref("ShadowJob")),
            "answers": list_of(answer),
            "scores": list_of(ref("Score")),
            "feedback": maybe(_feedback()),
        }
    )


def _run_page() -> Schema:
    return object_of(
        {"runs": list_of(ref("Run")), "next_cursor": maybe(text("Ask for the next page with it; null at the end."))}
    )


def _run_fields() -> dict[str, Schema]:
    return {
        "id": text("Of the run."),
        "kind": {"enum": ["bench", "replay", "weekly"]},
        "name": text("Such as the case file."),
        "period": maybe(text("Of a scheduled run: what it is for.")),
        "state": {"enum": ["running", "done", "stopped", "failed"]},
        "reason": maybe(text("Why it stopped or failed.")),
        "started_at": moment("When it began."),
        "finished_at": maybe(moment("When it ended.")),
        "models": list_of({"type": "string"}),
        "primary": maybe(text("The model the others are compared with.")),
        "repeats": count("How often each case is asked."),
        "seed": text("Orders the questions."),
        "cases": count("Questions."),
        "cells": count("Answers that make it complete."),
        "answered": count("Answers that are there, failures included."),
        "max_cost_usd": maybe(number("What it may never spend more than.")),
        "estimate_usd": maybe(number("The most it can cost, as known before it began.")),
        "spent_usd": number("What was spent, scoring included; answers of unknown cost at their worst case."),
        "reserved_usd": number("Worst case of answers under way."),
        "evaluators": {"type": "object", "description": "Name, version and whether it decides, by task."},
        "base_urls": {"type": "object", "additionalProperties": {"type": "string"}},
        "note": text("How the cases were sampled."),
    }


def _run_summary() -> Schema:
    return object_of(
        {
            "run": ref("Run"),
            "level": number("Each interval holds with this probability, however often the run is looked at."),
            "tasks": list_of(ref("RunTask")),
        }
    )


def _run_task() -> Schema:
    comparison = object_of(
        {
            "primary": text("The model beside which the other stands."),
            "candidate": text("The other."),
            "pairs": count("Questions both were asked."),
            "failed": object_of({"primary": count("Failures."), "candidate": count("Failures.")}),
            "quality_diff": {"type": "object", "description": "Candidate less primary: mean, ci, n, missing, rates."},
            "cost_ratio": {"type": "object", "description": "Candidate's cost by the primary's: value, ci, n."},
            "latency_diff_ms": {"type": "object", "description": "Quantiles of per-pair differences."},
        }
    )
    return object_of(
        {
            "task": text("Name of the task."),
            "cases": count("Its questions."),
            "models": list_of(ref("RunModel")),
            "comparisons": list_of(comparison),
            "insights": list_of(ref("Insight")),
        }
    )


def _run_model() -> Schema:
    figures = {"type": "object", "description": "As in `/stats`, with intervals."}
    return object_of(
        {
            "model": text("Name as asked."),
            "role": {"enum": ["primary", "candidate"]},
            "requests": count("Answers, failures included."),
            "attempts": count("Calls, retries included."),
            "retries": count("Calls beyond the first of each answer."),
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
            "avg_latency_ms": maybe(number("Same as latency_ms.avg.")),
            "avg_quality": maybe(number("Same as quality.avg.")),
            "total_cost": maybe(number("Same as cost_usd.total.")),
            "cost_per_quality_point": maybe(number("Same as cost_per_quality_point_usd.value.")),
            "models_answered": list_of({"type": "string"}),
        }
    )
